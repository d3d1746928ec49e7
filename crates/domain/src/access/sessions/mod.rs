//! Sessions of users, valid on every node: in the database, or in Redis where that is wanted; while Redis is away, new ones
//! are in the database.
//!
//! A session is a secret that the client keeps. What is stored is its digest, and one of it together with all that the
//! configuration says of the user: who is removed or changed there has no session any more. Times are the store's.

mod redis;
mod store;

use std::{sync::Arc, time::Duration};

use kettle_cluster::{JobContext, Lease, LeaseError, Redis, Tx};
use kettle_db::Db;
use rand::RngCore;
use sha2::{Digest, Sha256};

use super::{Login, Users};
use crate::error::{Error, Result};

const PRUNED_AT_ONCE: i64 = 10_000;
/// A session that is used is noted as such this seldom at most.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// Without being used.
    pub idle: Duration,
    /// However much it is used.
    pub longest: Duration,
}

/// Times are epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub username: String,
    pub created_at: i64,
    /// When it ends if it isn't used until then.
    pub expires_at: i64,
}

/// A session as it is stored.
pub(crate) struct Stored {
    pub session: Session,
    pub proof: String,
}

pub struct Sessions {
    db: Db,
    redis: Option<Redis>,
    users: Arc<Users>,
    lifetime: Lifetime,
}

impl Sessions {
    pub fn new(db: Db, redis: Option<Redis>, users: Arc<Users>, lifetime: Lifetime) -> Sessions {
        Sessions { db, redis, users, lifetime }
    }

    /// A new session of a user who has just logged in, and its secret.
    pub async fn open(&self, login: &Login) -> Result<(String, Session)> {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let secret = hex::encode(secret);
        let proof =
            self.users.proof(&login.name, &secret).ok_or_else(|| Error::internal("an unknown user logged in"))?;
        let id = id(&secret);
        let session = match &self.redis {
            Some(redis) => redis::insert(redis, &id, &login.name, &proof, self.lifetime).await.ok(),
            None => None,
        };
        let session = match session {
            Some(session) => session,
            None => {
                let (db, engine) = (self.db.write(), self.db.engine());
                store::insert(db, engine, &id, &login.name, &proof, self.lifetime).await?
            }
        };
        Ok((secret, session))
    }

    /// Whose session it is, which goes on by being asked for. `None`: there is none, or there is none any more.
    pub async fn find(&self, secret: &str) -> Result<Option<(Login, Session)>> {
        let id = id(secret);
        let Some(Stored { session, proof }) = self.find_stored(&id).await? else { return Ok(None) };
        // Digests of secrets: their comparison tells nothing of either.
        if self.users.proof(&session.username, secret).as_ref() != Some(&proof) {
            return Ok(None);
        }
        Ok(self.users.login(&session.username).map(|login| (login, session)))
    }

    async fn find_stored(&self, id: &str) -> Result<Option<Stored>> {
        let Some(redis) = &self.redis else { return self.find_in_database(id).await };
        let (in_redis, is_away) = match redis::find(redis, id, self.lifetime).await {
            Ok(found) => (found, false),
            Err(_) => (None, true),
        };
        let found = match in_redis {
            Some(stored) => Some(stored),
            None => self.find_in_database(id).await?,
        };
        if found.is_none() && is_away {
            // This node may be the last to learn that Redis is back.
            return Ok(redis::find_still(redis, id, self.lifetime).await.unwrap_or_default());
        }
        Ok(found)
    }

    async fn find_in_database(&self, id: &str) -> Result<Option<Stored>> {
        let engine = self.db.engine();
        let Some((stored, unnoted)) = store::find(self.db.read(), engine, id).await? else { return Ok(None) };
        if unnoted < NOTED_EVERY.min(self.lifetime.idle / 4) {
            return Ok(Some(stored));
        }
        let expires_at = store::note(self.db.write(), engine, id, self.lifetime).await?;
        Ok(expires_at.map(|expires_at| Stored { session: Session { expires_at, ..stored.session }, ..stored }))
    }

    /// Ends a session, if there is one.
    pub async fn close(&self, secret: &str) -> Result<()> {
        let id = id(secret);
        store::delete(self.db.write(), self.db.engine(), &id).await?;
        match &self.redis {
            // What could not be closed must not be said to be.
            Some(redis) => redis::delete(redis, &id).await.map_err(Error::internal),
            None => Ok(()),
        }
    }

    /// Ends all sessions of a user.
    pub async fn close_all(&self, username: &str) -> Result<()> {
        store::delete_of(self.db.write(), self.db.engine(), username).await?;
        match &self.redis {
            Some(redis) => redis::delete_of(redis, username).await.map_err(Error::internal),
            None => Ok(()),
        }
    }
}

/// What a secret is stored under.
fn id(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

/// Deletes the sessions whose time is over. A job's pass.
pub async fn prune(ctx: &JobContext, lease: &Lease) -> std::result::Result<(), LeaseError> {
    loop {
        let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
        lease.fence(&tx).await?;
        let gone = store::delete_expired(&*tx, tx.engine(), PRUNED_AT_ONCE).await?;
        tx.commit().await?;
        if gone == 0 {
            return Ok(());
        }
    }
}
