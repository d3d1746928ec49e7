//! The device API over AMQP, by topic: what gateways send, what they are sent, and what happens when something breaks.

mod action_status;
mod amqps;
mod attributes;
mod batch;
mod broker_down;
mod cancel;
mod commands;
mod confirmation;
mod dead_letters;
mod declarations;
mod download_ids;
mod flood;
mod killed;
mod order;
mod ping;
mod registration;
mod roles;
mod virtual_hosts;

use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Ids of things.
fn things(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}
