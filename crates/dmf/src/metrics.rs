//! What DMF counts.

use metrics::counter;

/// A message came from a device.
pub fn received() {
    counter!("kettle_dmf_received_total").increment(1);
}

/// A message was carried out and acknowledged.
pub fn done() {
    counter!("kettle_dmf_done_total").increment(1);
}

/// A message went to the dead letters.
pub fn refused(reason: &'static str) {
    counter!("kettle_dmf_refused_total", "reason" => reason).increment(1);
}

/// A batch of messages failed for a reason that passes, and is tried again.
pub fn retried() {
    counter!("kettle_dmf_retried_total").increment(1);
}

/// Commands went out, and were confirmed by the broker.
pub fn sent(count: usize) {
    counter!("kettle_dmf_sent_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
}
