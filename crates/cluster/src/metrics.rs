//! What the cluster counts.

use metrics::{counter, gauge, histogram};

/// Messages of events went out, and were confirmed by the broker.
pub fn told(count: usize) {
    counter!("kettle_events_told_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
}

/// A message came that another server published. `channel`: `kettle`, `fan-out` or `service`.
pub fn heard(channel: &'static str) {
    counter!("kettle_events_heard_total", "channel" => channel).increment(1);
}

/// For how long the oldest announcement has been waiting to be told.
pub fn untold(ms: i64) {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of hours at most")]
    gauge!("kettle_events_untold_seconds").set(ms as f64 / 1000.0);
}

/// How long an event of another node was under way.
pub fn lag(ms: i64) {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of hours at most")]
    histogram!("kettle_event_lag_seconds").record(ms as f64 / 1000.0);
}
