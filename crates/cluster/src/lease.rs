//! Leases: the right of one node to run one job, by the database's clock.
//!
//! A lease has an epoch that grows with every change of hands. Work done under a lease reads the lease's row in its own
//! writing transaction ([`Lease::fence`]): a node that was paused past its time cannot commit. Model: `tests/it/model/lease.rs`.

use std::time::Duration;

use kettle_db::Db;
use sea_orm::{ConnectionTrait, DbErr};

use crate::Tx;

#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("the lease {0} has passed to another node")]
    Lost(String),
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A lease held. Dropping it does nothing: it runs out. [`Lease::release`] hands it over at once.
#[derive(Clone, Debug)]
pub struct Lease {
    name: String,
    holder: String,
    epoch: i64,
    ttl: Duration,
}

impl Lease {
    /// Takes the lease if it is free or has run out; `None` if another node holds it.
    pub async fn acquire(db: &Db, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, DbErr> {
        let engine = db.engine();
        let now = engine.now_ms();
        // One statement, so two nodes cannot both get it: the second waits for the row and then finds it taken. Its time
        // counts from the end of that wait, not from `excluded`, which was made before.
        let sql = format!(
            "INSERT INTO kt_lease (name, holder, epoch, expires_at) VALUES ($1, $2, 1, {now} + $3) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = kt_lease.epoch + 1, \
             expires_at = {now} + $3 WHERE kt_lease.expires_at <= {now} RETURNING epoch"
        );
        let row =
            db.write().query_one_raw(engine.statement(&sql, [name.into(), holder.into(), millis(ttl).into()])).await?;
        row.map(|r| Ok(Lease { name: name.into(), holder: holder.into(), epoch: r.try_get("", "epoch")?, ttl }))
            .transpose()
    }

    /// How long a lease that another node holds lasts from now, unless it is refreshed.
    pub async fn left(db: &Db, name: &str) -> Result<Duration, DbErr> {
        let engine = db.engine();
        let sql = format!("SELECT expires_at - {} AS remaining FROM kt_lease WHERE name = $1", engine.now_ms());
        let row = db.read().query_one_raw(engine.statement(&sql, [name.into()])).await?;
        let remaining: i64 = row.map(|row| row.try_get("", "remaining")).transpose()?.unwrap_or(0);
        Ok(Duration::from_millis(u64::try_from(remaining).unwrap_or(0)))
    }

    /// Frees all leases in a database that this process has for itself: who held one has died. Elsewhere they run out.
    pub async fn free_all_alone(db: &Db) -> Result<(), DbErr> {
        if db.engine().is_of_one_process() {
            db.write().execute_unprepared("UPDATE kt_lease SET expires_at = 0").await?;
        }
        Ok(())
    }

    /// From taking or refreshing it to its end.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Extends a lease that is still held, from now on; `false` if it has passed on.
    pub async fn refresh(&self, db: &Db) -> Result<bool, DbErr> {
        let engine = db.engine();
        let sql = format!(
            "UPDATE kt_lease SET expires_at = {} + $1 WHERE name = $2 AND holder = $3 AND epoch = $4",
            engine.now_ms()
        );
        let values =
            [millis(self.ttl).into(), self.name.as_str().into(), self.holder.as_str().into(), self.epoch.into()];
        Ok(db.write().execute_raw(engine.statement(&sql, values)).await?.rows_affected() == 1)
    }

    /// Fails unless this node still holds the lease, and keeps it from passing on until `tx` ends.
    pub async fn fence(&self, tx: &Tx) -> Result<(), LeaseError> {
        let engine = tx.engine();
        let sql =
            format!("SELECT epoch FROM kt_lease WHERE name = $1 AND holder = $2 AND epoch = $3{}", engine.for_share());
        let values = [self.name.as_str().into(), self.holder.as_str().into(), self.epoch.into()];
        match tx.query_one_raw(engine.statement(&sql, values)).await? {
            Some(_) => Ok(()),
            None => Err(LeaseError::Lost(self.name.clone())),
        }
    }

    /// Hands the lease over at once.
    pub async fn release(self, db: &Db) -> Result<(), DbErr> {
        let sql = "UPDATE kt_lease SET expires_at = 0 WHERE name = $1 AND holder = $2 AND epoch = $3";
        let values = [self.name.into(), self.holder.into(), self.epoch.into()];
        db.write().execute_raw(db.engine().statement(sql, values)).await?;
        Ok(())
    }
}

/// As times are in the database.
pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
