//! Logins that failed, counted for all nodes: by the user name that was claimed, whether there is such a user or not, and
//! by the client's address. The more there were in a row, the longer further tries are refused unseen.
//!
//! Counts lie in the database, or in Redis where that is wanted; while Redis is away, in the database. All times are theirs,
//! never a node's.

mod redis;
mod store;
mod subject;

use std::time::Duration;

use kettle_cluster::{JobContext, Lease, LeaseError, Redis, Tx};
use kettle_db::Db;

use crate::error::Result;

pub use subject::{Kind, Subject};

/// A failure is forgotten when none came after it for this long.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// More than this is not kept: names can be made up faster than they are forgotten.
const MOST: i64 = 100_000;
const PRUNED_AT_ONCE: i64 = 10_000;

/// How long a login is refused after failures.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub user: Delay,
    pub address: Delay,
}

#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// How many failures in a row cost nothing.
    pub free: u32,
    /// After one more; each further failure doubles it.
    pub first: Duration,
    /// Zero: no delay at all.
    pub longest: Duration,
}

impl Default for Delays {
    fn default() -> Delays {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        Delays {
            user: Delay { free: 5, first: second, longest: minute },
            address: Delay { free: 20, first: second, longest: 5 * minute },
        }
    }
}

impl Delay {
    /// How long after the last of so many failures.
    fn after(&self, failures: u64) -> Duration {
        let Some(more) = failures.checked_sub(u64::from(self.free)) else { return Duration::ZERO };
        let factor = u32::try_from(more).ok().and_then(|more| 1_u32.checked_shl(more)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

impl Delays {
    fn of(&self, kind: Kind) -> &Delay {
        match kind {
            Kind::User => &self.user,
            Kind::Address => &self.address,
        }
    }
}

/// What is kept of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub subject: Subject,
    pub failures: u64,
    /// Epoch milliseconds.
    pub failed_at: i64,
    /// How long ago that was, in milliseconds.
    pub ago: i64,
}

/// A subject with failures, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedLogin {
    pub subject: Subject,
    pub failures: u64,
    /// Epoch milliseconds.
    pub failed_at: i64,
    /// How long logins are refused yet.
    pub locked_for: Duration,
}

pub struct FailedLogins {
    db: Db,
    redis: Option<Redis>,
    delays: Delays,
}

impl FailedLogins {
    pub fn new(db: Db, redis: Option<Redis>, delays: Delays) -> FailedLogins {
        FailedLogins { db, redis, delays }
    }

    /// What there is of the subjects; those without failures are left out.
    pub(super) async fn read(&self, subjects: &[Subject]) -> Result<Vec<FailedLogin>> {
        let counts = match &self.redis {
            Some(redis) => redis::read(redis, subjects).await.ok(),
            None => None,
        };
        let counts = match counts {
            Some(counts) => counts,
            None => store::read(self.db.read(), self.db.engine(), subjects, KEEP).await?,
        };
        Ok(counts.into_iter().map(|count| self.told(count)).collect())
    }

    /// Counts a failure of all subjects, which are of different kinds and in their order.
    pub(super) async fn add(&self, subjects: &[Subject]) -> Result<Vec<FailedLogin>> {
        let counts = match &self.redis {
            Some(redis) => redis::add(redis, subjects, KEEP, MOST).await.ok(),
            None => None,
        };
        let counts = match counts {
            Some(counts) => counts,
            None => store::add(self.db.write(), self.db.engine(), subjects, KEEP).await?,
        };
        Ok(counts.into_iter().map(|count| self.told(count)).collect())
    }

    /// Forgets the failures of a subject, wherever they are counted; whether there were any.
    pub async fn forget(&self, subject: &Subject) -> Result<bool> {
        let in_redis = match &self.redis {
            Some(redis) => redis::forget(redis, subject).await.unwrap_or(false),
            None => false,
        };
        let in_database = store::forget(self.db.write(), self.db.engine(), subject).await?;
        Ok(in_redis || in_database)
    }

    /// The latest failures, the last first, up to `limit`.
    pub(super) async fn list(&self, limit: i64) -> Result<Vec<FailedLogin>> {
        let mut counts = store::list(self.db.read(), self.db.engine(), KEEP, limit).await?;
        if let Some(redis) = &self.redis {
            let more = redis::list(redis, limit).await.unwrap_or_default();
            counts.retain(|count| !more.iter().any(|other| other.subject == count.subject));
            counts.extend(more);
            counts.sort_by_key(|count| (count.ago, count.subject.clone()));
            counts.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Ok(counts.into_iter().map(|count| self.told(count)).collect())
    }

    fn told(&self, Count { subject, failures, failed_at, ago }: Count) -> FailedLogin {
        let delay = self.delays.of(subject.kind).after(failures);
        let locked_for = delay.saturating_sub(Duration::from_millis(u64::try_from(ago).unwrap_or(0)));
        FailedLogin { subject, failures, failed_at, locked_for }
    }
}

/// Deletes what is forgotten, and the oldest of what is too much. A job's pass.
pub async fn prune(ctx: &JobContext, lease: &Lease) -> std::result::Result<(), LeaseError> {
    loop {
        let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
        lease.fence(&tx).await?;
        let forgotten = store::delete_forgotten(&*tx, tx.engine(), KEEP, PRUNED_AT_ONCE).await?;
        let too_many = store::delete_beyond(&*tx, tx.engine(), MOST, PRUNED_AT_ONCE).await?;
        tx.commit().await?;
        if forgotten + too_many == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_begin_after_free_failures_double_and_end() {
        let delays = Delays::default();
        let seconds = |delay: &Delay, failures| delay.after(failures).as_secs();
        let user: Vec<u64> = (0..14).map(|failures| seconds(&delays.user, failures)).collect();
        assert_eq!(user, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!([19, 20, 28, 29].map(|failures| seconds(&delays.address, failures)), [0, 1, 256, 300]);
        for failures in [5 + 31, 5 + 32, 5 + 33, 1 << 40, u64::MAX] {
            assert_eq!(seconds(&delays.user, failures), 60);
        }
        let off = Delay { longest: Duration::ZERO, ..delays.user };
        assert_eq!(off.after(1_000), Duration::ZERO);
    }
}
