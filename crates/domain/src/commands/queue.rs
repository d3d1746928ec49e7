//! The commands that wait to be sent: one node at a time takes them, in the order of their causes (`kt_service_event`).

use std::{sync::Arc, time::Duration};

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

/// The right to send what waits for some tenants.
pub struct Queue {
    services: Arc<Services>,
    tenants: Tenants,
    lease: Lease,
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
    /// `None`: another node has it. It has to be [`Queue::keep`]t every [`Queue::keep_every`].
    pub async fn acquire(services: &Arc<Services>, name: &str, tenants: Tenants) -> Result<Option<Queue>> {
        let lease = Lease::acquire(&services.db, name, services.events.node(), services.settings.lease_time).await?;
        Ok(lease.map(|lease| Queue { services: services.clone(), tenants, lease }))
    }

    pub fn keep_every(&self) -> Duration {
        self.lease.ttl() / 3
    }

    /// Whether this node still may send.
    pub async fn keep(&self) -> Result<bool> {
        Ok(self.lease.refresh(&self.services.db).await?)
    }

    /// The first `limit` causes, but for those whose ids are in `but`.
    pub async fn waiting(&self, limit: usize, but: &[i64]) -> Result<Vec<Waiting>> {
        let found = service::read(&self.services.db, &self.tenants, limit.saturating_add(but.len())).await?;
        let mut waiting = Vec::with_capacity(found.len());
        for Written { id, event_id, event } in found {
            if but.contains(&id) {
                continue;
            }
            let ctx = Ctx::system(&self.services, Tenant::new(event.tenant()));
            let commands = of_event(&ctx, &event).await;
            waiting.push(Waiting { id, cause: event_id, ctx, commands });
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
