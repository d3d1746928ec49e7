//! The one place that reads the time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Wall-clock time in epoch milliseconds, or a time that a test sets.
///
/// The system's follows the database's clock where several nodes share one ([`Clock::correct`]): then all nodes mean the same
/// by a time, also one whose own clock is wrong.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// What is to be added to the machine's clock.
    System(Arc<AtomicI64>),
    Fixed(Arc<AtomicI64>),
}

/// By less than this the clocks of good machines differ, and times should not jump.
const TOLERATED_MS: i64 = 100;
/// From here on a person should look.
const STRANGE_MS: i64 = 5_000;

impl Clock {
    pub fn system() -> Clock {
        Clock(Source::System(Arc::default()))
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn fixed(now_ms: i64) -> Clock {
        Clock(Source::Fixed(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Moves a fixed clock on; the system's goes by itself.
    pub fn advance(&self, ms: i64) {
        if let Source::Fixed(fixed) = &self.0 {
            fixed.fetch_add(ms, Ordering::Relaxed);
        }
    }

    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::Fixed(fixed) => fixed.load(Ordering::Relaxed),
            Source::System(offset) => machine_ms().saturating_add(offset.load(Ordering::Relaxed)),
        }
    }

    /// The database said `database_ms` at some time between `before` and now, both by this clock.
    pub(crate) fn correct(&self, before: i64, database_ms: i64) {
        let Source::System(offset) = &self.0 else { return };
        let after = self.now_ms();
        let off = if database_ms < before {
            database_ms - before
        } else if database_ms > after {
            database_ms - after
        } else {
            return;
        };
        if off.abs() < TOLERATED_MS {
            return;
        }
        if off.abs() >= STRANGE_MS {
            tracing::warn!(
                off_ms = off,
                "this machine's clock is not the database's; this node goes by the database's"
            );
        }
        offset.fetch_add(off, Ordering::Relaxed);
    }
}

fn machine_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the injected clock's one source")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_clock_follows_the_databases() {
        let clock = Clock::system();
        let hour = 3_600_000;
        let before = clock.now_ms();
        clock.correct(before, before + hour);
        assert!((clock.now_ms() - before - hour).abs() < 5_000);
        let before = clock.now_ms();
        clock.correct(before, before - 2 * hour);
        assert!((clock.now_ms() - before + 2 * hour).abs() < 5_000);
    }

    #[test]
    fn a_little_is_tolerated() {
        let clock = Clock::system();
        let before = clock.now_ms() - 1_000;
        clock.correct(before, before + 500);
        clock.correct(before, before - 50);
        assert!((clock.now_ms() - machine_ms()).abs() < 20);
    }
}
