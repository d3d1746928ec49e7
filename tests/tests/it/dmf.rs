//! The device API over AMQP, by topic: what gateways send, what they are sent, and what happens when something breaks.

mod ping;
mod registration;
