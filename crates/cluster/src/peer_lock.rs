//! hawkBit's own locks (semantics.md F2), for a while in which its nodes and ours work on one database: who holds the lock of a
//! tenant's job is alone at it among hawkBit's nodes and ours.
//!
//! They come on top of our leases, and only where a setting asks for them. Their times are UTC in a column without a time
//! zone, as the peer writes them; ours are of the database's clock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kettle_db::Db;
use md5::{Digest as _, Md5};
use sea_orm::{ConnectionTrait, DbErr};
use tokio::{sync::Mutex, task::JoinHandle};
use uuid::Uuid;

const REGION: &str = "DEFAULT";

/// The locks of this process. What works on one tenant here at the same time shares the lock.
pub struct PeerLocks {
    db: Db,
    /// The process, as the peer's registry names one.
    client: String,
    ttl: Duration,
    /// Locked while the database is written: taking and giving back must not overtake each other.
    held: Mutex<HashMap<String, Held>>,
}

struct Held {
    users: usize,
    renewing: JoinHandle<()>,
}

/// A share of a lock; given back by [`PeerLock::release`], else by time.
pub struct PeerLock {
    of: Arc<PeerLocks>,
    name: String,
}

impl PeerLocks {
    /// A lock that is not renewed for `ttl` is anyone's.
    pub fn new(db: Db, ttl: Duration) -> Arc<PeerLocks> {
        Arc::new(PeerLocks { db, client: Uuid::new_v4().to_string(), ttl, held: Mutex::default() })
    }

    /// Takes the lock, and renews it until it is released; `None` if another process holds it.
    pub async fn acquire(self: &Arc<Self>, name: &str) -> Result<Option<PeerLock>, DbErr> {
        let mut held = self.held.lock().await;
        if !self.write(name).await? {
            return Ok(None);
        }
        let lock = held.entry(name.to_owned()).or_insert_with(|| {
            let (locks, name) = (self.clone(), name.to_owned());
            Held { users: 0, renewing: tokio::spawn(async move { locks.renew(&name).await }) }
        });
        lock.users += 1;
        Ok(Some(PeerLock { of: self.clone(), name: name.to_owned() }))
    }

    /// hawkBit: takes a lock that is free, this process's own, or older than its time.
    async fn write(&self, name: &str) -> Result<bool, DbErr> {
        let engine = self.db.engine();
        let (now, old) = (engine.utc_timestamp(Duration::ZERO), engine.utc_timestamp(self.ttl));
        let sql = format!(
            "INSERT INTO sp_lock (lock_key, region, client_id, created_date) VALUES ($1, $2, $3, {now}) \
             ON CONFLICT (lock_key, region) DO UPDATE SET client_id = excluded.client_id, created_date = {now} \
             WHERE sp_lock.client_id = excluded.client_id OR sp_lock.created_date < {old} RETURNING region"
        );
        let values = [key(name).into(), REGION.into(), self.client.as_str().into()];
        Ok(self.db.write().query_one_raw(engine.statement(&sql, values)).await?.is_some())
    }

    async fn renew(&self, name: &str) {
        loop {
            tokio::time::sleep(self.ttl / 5).await;
            match self.write(name).await {
                Ok(true) => {}
                Ok(false) => return tracing::warn!(lock = name, "a lock of hawkBit's has passed to another process"),
                Err(error) => tracing::warn!(lock = name, %error, "a lock of hawkBit's could not be renewed yet"),
            }
        }
    }
}

impl PeerLock {
    pub async fn release(self) -> Result<(), DbErr> {
        let mut held = self.of.held.lock().await;
        let Some(lock) = held.get_mut(&self.name) else { return Ok(()) };
        lock.users -= 1;
        if lock.users > 0 {
            return Ok(());
        }
        lock.renewing.abort();
        held.remove(&self.name);
        let sql = "DELETE FROM sp_lock WHERE lock_key = $1 AND region = $2 AND client_id = $3";
        let values = [key(&self.name).into(), REGION.into(), self.of.client.as_str().into()];
        let db = &self.of.db;
        db.write().execute_raw(db.engine().statement(sql, values)).await?;
        Ok(())
    }
}

/// The peer's name-based UUID (version 3, MD5, of the bytes alone) of a lock's name.
fn key(name: &str) -> String {
    let digest: [u8; 16] = Md5::digest(name.as_bytes()).into();
    uuid::Builder::from_md5_bytes(digest).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_the_peers() {
        // What Java's UUID.nameUUIDFromBytes gives for it.
        assert_eq!(super::key("DEFAULT-rollout"), "10a737da-d1d7-3236-bac3-eacbdbb7c025");
    }
}
