//! The device API over AMQP (DMF, semantics.md D).
//!
//! Wire types, the connection to the broker, receiving and sending, and nothing else: what messages do is the domain's.

mod incoming;
mod wire;
