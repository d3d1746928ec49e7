//! The work on a rollout between its states: one pass goes on from whatever state the database shows, in bounded
//! batches, until there is nothing to do but to wait.
//!
//! Each batch is a transaction under the rollout's lease, holds the rollout's row, and does nothing if the status is not
//! the one that the pass came for: operators change it at any time. What a pass has done is seen in the tables
//! alone, so that any node goes on where another one died.

mod dynamic;
mod end;
mod fill;
mod run;
mod start;
mod store;

use std::sync::Arc;

use kettle_cluster::{Lease, LeaseError, Tx};
use kettle_db::Db;
use sea_orm::DbErr;
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use super::{Model, RolloutStatus, store as rollouts};
use crate::{
    access::Scope,
    ctx::{Ctx, Services, Tenant},
    distribution_sets,
    error::{Error, Result},
    tenants::{self, TenantSettings},
};

/// What a pass leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The rollout's state has changed: there may be more to do.
    Again,
    /// Nothing to do until something happens.
    Wait,
}

/// The rollouts of all tenants that a look may find something to do for.
pub(super) async fn active(db: &Db, now: i64) -> Result<Vec<(i64, Tenant)>, DbErr> {
    let active = store::active(db.read(), db.engine(), now).await?;
    Ok(active.into_iter().map(|(tenant, id)| (id, Tenant::new(&tenant))).collect())
}

/// Whether there is something to do for a rollout, without writing and without its lease.
pub(super) async fn is_due(services: &Arc<Services>, tenant: &Tenant, id: i64) -> Result<bool> {
    let Some(rollout) = rollouts::find(services.db.read(), tenant.id(), id).await? else { return Ok(false) };
    Ok(match rollout.status() {
        RolloutStatus::Creating | RolloutStatus::Starting | RolloutStatus::Stopping | RolloutStatus::Deleting => true,
        RolloutStatus::Ready => rollout.start_at.is_some_and(|at| at <= services.clock.now_ms()),
        RolloutStatus::Running => run::is_due(&Ctx::system(services, tenant.clone()), &rollout).await?,
        _ => false,
    })
}

/// Does all there is to do for a rollout, or what can be done until the server is `stopped`.
pub(super) async fn run(
    services: &Arc<Services>,
    stopped: &watch::Receiver<bool>,
    tenant: &Tenant,
    id: i64,
    lease: &Lease,
) -> Result<()> {
    let pass = Pass { services, stopped, lease, refreshed: Mutex::new(Instant::now()) };
    while !pass.is_stopped() {
        let Some(rollout) = rollouts::find(services.db.read(), tenant.id(), id).await? else { return Ok(()) };
        let creator = rollout.created_by.as_deref().unwrap_or_default();
        let access = rollout.access_control_context.as_deref();
        let ctx = Ctx::stored(services, tenant.clone(), access, creator)?;
        // What an operator has asked for goes on in their name, with the authorities of who created the rollout.
        let mover = ctx.named(rollout.last_modified_by.as_deref().unwrap_or(creator));
        let next = match rollout.status() {
            RolloutStatus::Creating => fill::run(&pass, &ctx, &rollout).await?,
            RolloutStatus::Ready => start::when_due(&pass, &ctx, &rollout).await?,
            RolloutStatus::Starting => start::run(&pass, &mover, &rollout).await?,
            RolloutStatus::Running => run::run(&pass, &ctx, &rollout).await?,
            RolloutStatus::Stopping => end::stop(&pass, &ctx, &rollout).await?,
            RolloutStatus::Deleting => end::delete(&pass, &ctx, &rollout).await?,
            _ => Next::Wait,
        };
        if next == Next::Wait {
            break;
        }
    }
    Ok(())
}

/// One pass: whose lease it runs under.
struct Pass<'a> {
    services: &'a Arc<Services>,
    stopped: &'a watch::Receiver<bool>,
    lease: &'a Lease,
    refreshed: Mutex<Instant>,
}

impl Pass<'_> {
    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// A transaction for a batch, and the rollout's row, held; `None` if the rollout is not in `status` any more, or the
    /// server is being stopped.
    async fn step(&self, ctx: &Ctx, rollout: &Model, status: RolloutStatus) -> Result<Option<(Tx, Model)>> {
        let tx = self.begin(ctx, rollout).await?;
        let found = rollouts::lock(&*tx, ctx.tenant_id(), rollout.id).await?;
        let goes_on = |found: &Model| found.status() == status && !self.is_stopped();
        Ok(found.filter(goes_on).map(|found| (tx, found)))
    }

    /// As [`Pass::step`] for work that does not touch the rollout's row: such batches may run side by side.
    async fn shared_step(&self, ctx: &Ctx, rollout: &Model, status: RolloutStatus) -> Result<Option<Tx>> {
        let tx = self.begin(ctx, rollout).await?;
        let found = rollouts::hold(&*tx, ctx.tenant_id(), rollout.id).await?;
        let goes_on = |found: &Model| found.status() == status && !self.is_stopped();
        Ok(found.filter(goes_on).map(|_| tx))
    }

    async fn begin(&self, ctx: &Ctx, rollout: &Model) -> Result<Tx> {
        self.refresh().await?;
        let tx = ctx.begin().await?;
        self.lease.fence(&tx).await?;
        // The set before the rollout: who invalidates or deletes a set takes them in this order.
        distribution_sets::store::hold(&*tx, ctx.tenant_id(), &Scope::ALL, rollout.distribution_set).await?;
        Ok(tx)
    }

    /// Many batches may take longer than a lease lasts. One that has passed on is noticed by the next fence.
    async fn refresh(&self) -> Result<(), LeaseError> {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.elapsed() >= self.lease.ttl() / 3 {
            self.lease.refresh(&self.services.db).await?;
            *refreshed = Instant::now();
        }
        Ok(())
    }

    async fn settings(&self, ctx: &Ctx) -> Result<Arc<TenantSettings>> {
        let settings = tenants::settings(self.services, &ctx.tenant).await?;
        settings.ok_or_else(|| Error::not_found("Tenant", ctx.tenant_id()))
    }
}

/// For what the peer writes in its own name.
fn system(ctx: &Ctx) -> Ctx {
    Ctx::system(ctx.services(), ctx.tenant.clone())
}
