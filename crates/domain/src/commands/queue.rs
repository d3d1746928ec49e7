//! The commands that wait to be sent: one node at a time takes them, in the order of their causes (`kt_service_event`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use kettle_cluster::service::Tenants;
use kettle_cluster::{
    JobContext, Lease, LeaseError,
    service::{self, Written},
};
use uuid::Uuid;

use super::{Addressed, of_event};
use crate::{
    ctx::{Ctx, Services, Tenant},
    error::Result,
};

/// After this time nobody sends any more what was to be sent: no node serves DMF.
const KEEP: Duration = Duration::from_secs(21 * 24 * 3600);
/// No more causes are read once they make so many commands.
const COMMANDS: usize = 5_000;

/// The right to send what waits for some tenants.
pub struct Queue {
    services: Arc<Services>,
    tenants: Tenants,
    lease: Lease,
    /// When the database was last asked for the lease, and gave it.
    kept: Mutex<Instant>,
}

/// A cause, and the commands that it makes for now.
pub struct Waiting {
    pub id: i64,
    /// The same at every try.
    pub cause: Uuid,
    pub ctx: Ctx,
    pub commands: Result<Vec<Addressed>>,
}

impl Queue {
    /// `None`: another node has it. It goes on as long as [`Queue::lost`] is waited for.
    pub async fn acquire(services: &Arc<Services>, name: &str, tenants: Tenants) -> Result<Option<Queue>> {
        let asked = Instant::now();
        let lease = Lease::acquire(&services.db, name, services.events.node(), services.settings.lease_time).await?;
        Ok(lease.map(|lease| Queue { services: services.clone(), tenants, lease, kept: Mutex::new(asked) }))
    }

    /// Keeps the right to send; returns when it is lost.
    pub async fn lost(&self) -> Result<()> {
        loop {
            tokio::time::sleep(self.lease.ttl() / 3).await;
            if !self.keep().await? {
                return Ok(());
            }
        }
    }

    /// Whether this node may send now. To be asked before anything is: it may have slept.
    pub async fn may_send(&self) -> Result<bool> {
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.elapsed() < self.lease.ttl() / 3 * 2 { Ok(true) } else { self.keep().await }
    }

    async fn keep(&self) -> Result<bool> {
        let asked = Instant::now();
        let kept = self.lease.refresh(&self.services.db).await?;
        if kept {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        }
        Ok(kept)
    }

    /// The first `limit` causes, or fewer, but for those whose ids are in `but`.
    pub async fn waiting(&self, limit: usize, but: &[i64]) -> Result<Vec<Waiting>> {
        let found = service::read(&self.services.db, &self.tenants, limit.saturating_add(but.len())).await?;
        let mut waiting = Vec::with_capacity(found.len());
        let mut made = 0;
        for Written { id, event_id, event } in found {
            if but.contains(&id) {
                continue;
            }
            let ctx = Ctx::system(&self.services, Tenant::new(event.tenant()));
            let commands = of_event(&ctx, &event).await;
            made += commands.as_ref().map_or(0, Vec::len);
            waiting.push(Waiting { id, cause: event_id, ctx, commands });
            if made >= COMMANDS {
                break;
            }
        }
        Ok(waiting)
    }

    /// The commands of these causes have been sent. Fails if this node has lost the right to send; then another sends
    /// them again.
    pub async fn sent(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let Services { db, events, clock, .. } = &*self.services;
        let tx = kettle_cluster::Tx::begin(db, events, clock).await?;
        self.lease.fence(&tx).await?;
        service::done(&tx, ids).await?;
        // What is forgotten with the database is sent again.
        tx.commit_lazily().await?;
        Ok(tx.commit().await?)
    }

    /// Lets another node send.
    pub async fn release(self) -> Result<()> {
        Ok(self.lease.release(&self.services.db).await?)
    }
}

/// Drops what nobody sends. A job.
pub async fn drop_old(ctx: &JobContext, lease: &Lease) -> Result<(), LeaseError> {
    service::drop_older(ctx, lease, KEEP).await?;
    Ok(())
}
