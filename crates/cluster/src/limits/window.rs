//! One key's count on one node, and how much of the limit is this node's. Pure.
//!
//! A window lasts for a second from its first attempt. Of the others, only what they say is known, up to a few tenths of a
//! second late; so what counts of a node is the larger of two windows, the one under way and the one before.

/// How long a window lasts.
pub(super) const LIFE_MS: u64 = 1_000;

/// hawkBit: the first request of a window only makes its counter, and the next ones pass until the count is above the
/// limit: two more than the limit get through.
pub(super) const SLACK: u64 = 2;

#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    began_ms: u64,
    attempts: u64,
    admitted: u64,
    /// Attempts of the window before, if that was just before.
    before: u64,
    /// The limit that it was last asked for.
    limit: u64,
}

impl Counter {
    pub(super) fn new(now_ms: u64) -> Counter {
        Counter { began_ms: now_ms, attempts: 0, admitted: 0, before: 0, limit: 0 }
    }

    /// Counts an attempt; whether it may go on, if there were `others` on the other nodes.
    ///
    /// While all attempts together are within the limit, all may. Above it, a node admits the part of the limit that its
    /// part of all attempts is: these parts add up to the limit, however the attempts are spread.
    pub(super) fn admit(&mut self, limit: u64, others: u64, now_ms: u64) -> bool {
        if now_ms >= self.began_ms + LIFE_MS {
            let before = if self.is_over(now_ms) { 0 } else { self.attempts };
            *self = Counter { before, ..Counter::new(now_ms) };
        }
        self.limit = limit;
        self.attempts += 1;
        let (own, whole) = (self.weight(), limit + SLACK);
        let admitted = own + others <= whole || self.admitted < whole * own / (own + others);
        self.admitted += u64::from(admitted);
        admitted
    }

    /// Attempts in about the last second: what others are told.
    pub(super) fn recent(&self, now_ms: u64) -> u64 {
        if now_ms < self.began_ms + LIFE_MS {
            self.weight()
        } else if self.is_over(now_ms) {
            0
        } else {
            self.attempts
        }
    }

    /// Whether others have to know, if they are `nodes` in all: what all but one leave unsaid is less than a tenth of the
    /// limit.
    pub(super) fn is_busy(&self, nodes: u64, now_ms: u64) -> bool {
        let recent = self.recent(now_ms);
        recent > 0 && recent * 10 * nodes >= self.limit
    }

    /// Whether it can be forgotten.
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.began_ms + 2 * LIFE_MS
    }

    /// Attempts in the larger of the two windows.
    pub(super) fn weight(&self) -> u64 {
        self.attempts.max(self.before)
    }
}
