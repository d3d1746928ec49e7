//! The device API over AMQP.
