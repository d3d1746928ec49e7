//! The message broker. Owns how a connection to it is made and kept; must not know what goes over one.

pub mod connection;
mod settings;

pub use settings::{Address, Broker, Password, Tls};
