//! hawkBit's own locks (semantics.md F2), for a while in which its nodes and ours work on one database: who holds the lock of a
//! tenant's job is alone at it among hawkBit's nodes and ours.
//!
//! They come on top of our leases, and only where a setting asks for them. Their times are UTC in a column without a time
//! zone, as the peer writes them; ours are of the database's clock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kettle_db::Db;
use md5::{Digest as _, Md5};
use sea_orm::{ConnectionTrait, DbErr};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

const REGION: &str = "DEFAULT";

/// The locks of this process. What works on one tenant here at the same time shares the lock.
pub struct PeerLocks {
    db: Db,
    /// The process, as the peer's registry names one.
    client: String,
    ttl: Duration,
    /// Locked while the database is written: taking, renewing and giving back must not overtake each other.
    held: Mutex<HashMap<String, Held>>,
}

/// A lock that this process holds, from one time that it was free to the next.
struct Held {
    time: Uuid,
    users: usize,
}

/// A share of a lock; given back by [`PeerLock::release`], and by being dropped.
pub struct PeerLock(Option<Share>);

struct Share {
    of: Arc<PeerLocks>,
    name: String,
    time: Uuid,
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
            let time = Uuid::new_v4();
            tokio::spawn(self.clone().renew(name.to_owned(), time));
            Held { time, users: 0 }
        });
        lock.users += 1;
        Ok(Some(PeerLock(Some(Share { of: self.clone(), name: name.to_owned(), time: lock.time }))))
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

    async fn renew(self: Arc<Self>, name: String, time: Uuid) {
        loop {
            tokio::time::sleep(self.ttl / 5).await;
            let mut held = self.held.lock().await;
            if held.get(&name).is_none_or(|lock| lock.time != time) {
                return;
            }
            match self.write(&name).await {
                Ok(true) => {}
                Ok(false) => {
                    held.remove(&name);
                    return tracing::warn!(lock = name, "a lock of hawkBit's has passed to another process");
                }
                Err(error) => tracing::warn!(lock = name, %error, "a lock of hawkBit's could not be renewed yet"),
            }
        }
    }

    async fn delete(&self, mut held: MutexGuard<'_, HashMap<String, Held>>, name: &str) -> Result<(), DbErr> {
        held.remove(name);
        let sql = "DELETE FROM sp_lock WHERE lock_key = $1 AND region = $2 AND client_id = $3";
        let values = [key(name).into(), REGION.into(), self.client.as_str().into()];
        self.db.write().execute_raw(self.db.engine().statement(sql, values)).await?;
        Ok(())
    }
}

impl PeerLock {
    pub async fn release(mut self) -> Result<(), DbErr> {
        match self.0.take() {
            Some(share) => share.release().await,
            None => Ok(()),
        }
    }
}

impl Drop for PeerLock {
    /// Whoever held it has failed in between.
    fn drop(&mut self) {
        if let Some(share) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = share.release().await {
                    tracing::warn!(%error, "a lock of hawkBit's could not be given back; it is free after its time");
                }
            });
        }
    }
}

impl Share {
    async fn release(self) -> Result<(), DbErr> {
        let mut held = self.of.held.lock().await;
        // It may have passed to another process, and come back.
        let Some(lock) = held.get_mut(&self.name).filter(|lock| lock.time == self.time) else { return Ok(()) };
        lock.users -= 1;
        if lock.users > 0 {
            return Ok(());
        }
        self.of.delete(held, &self.name).await
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
