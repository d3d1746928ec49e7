//! What operators do with a rollout that exists: move it on, hold it, end it (semantics.md B3).
//!
//! Each call writes the new status and wakes the scheduler, which does the work that grows with the fleet.

use kettle_cluster::{Event, Tx};
use sea_orm::{ActiveModelTrait, Set};

use super::{
    Group, GroupStatus, Model, RolloutStatus, SuccessAction,
    advance::{self, Counts},
    entity, store, wave,
};
use crate::{
    access::{Permission, Scope},
    actions::{self, of_rollout::Share},
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Kind, Result},
    tenants, text,
};

const MAX_REMARK: usize = 255;
/// How many actions a request starts itself; the scheduler starts the rest.
const AT_ONCE: u64 = 1000;

/// Starts a rollout that is ready.
pub async fn start(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::HandleRollout)?;
    let (tx, found) = lock(ctx, id).await?;
    expect(&found, RolloutStatus::Ready, "started")?;
    move_to(ctx, tx, &found, RolloutStatus::Starting).await
}

/// Holds a running rollout: actions under way go on, no further group starts.
pub async fn pause(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::HandleRollout)?;
    let (tx, found) = lock(ctx, id).await?;
    expect(&found, RolloutStatus::Running, "paused")?;
    move_to(ctx, tx, &found, RolloutStatus::Paused).await
}

/// Lets a paused rollout go on. The next group starts at once if the last one started failed, or was to pause the rollout.
pub async fn resume(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::HandleRollout)?;
    let (mut tx, found) = lock(ctx, id).await?;
    expect(&found, RolloutStatus::Paused, "resumed")?;
    let groups = store::groups(&*tx, ctx.tenant_id(), id).await?;
    if let Some(last) = groups.iter().rfind(|group| group.status() != GroupStatus::Scheduled)
        && starts_next(ctx, &tx, &found, last).await?
    {
        start_next(ctx, &mut tx, &found, &groups, last.id).await?;
    }
    move_to(ctx, tx, &found, RolloutStatus::Running).await
}

async fn starts_next(ctx: &Ctx, tx: &Tx, rollout: &Model, last: &Group) -> Result<bool> {
    if last.status() == GroupStatus::Error {
        return Ok(true);
    }
    if last.success_action() != SuccessAction::Pause {
        return Ok(false);
    }
    let counts = store::counts(&**tx, ctx.engine(), ctx.tenant_id(), &[last.id]).await?;
    Ok(advance::succeeded(rollout, last, last.total(), &Counts::of(&counts, last.id)))
}

/// Starts the group after the last one that was started, whatever the conditions say.
pub async fn trigger_next_group(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::UpdateRollout)?;
    let (mut tx, found) = lock(ctx, id).await?;
    if found.status() != RolloutStatus::Running {
        return Err(illegal("Rollout is not in running state"));
    }
    let groups = store::groups(&*tx, ctx.tenant_id(), id).await?;
    if groups.iter().all(|group| group.status() != GroupStatus::Scheduled) {
        return Err(illegal("Rollout does not have any groups left to be triggered"));
    }
    let Some(last) = groups.iter().rfind(|group| group.status() != GroupStatus::Scheduled) else {
        return Err(illegal("Cannot find any started rollout group to trigger next from"));
    };
    start_next(ctx, &mut tx, &found, &groups, last.id).await?;
    wake(ctx, &mut tx, id);
    Ok(tx.commit().await?)
}

/// Sets the groups after `parent` running, and starts the first of their actions.
async fn start_next(ctx: &Ctx, tx: &mut Tx, rollout: &Model, groups: &[Group], parent: i64) -> Result<()> {
    // hawkBit: the server starts groups, whoever asks for it.
    let system = &Ctx::system(ctx.services(), ctx.tenant.clone());
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    let settings = settings.ok_or_else(|| Error::not_found("Tenant", ctx.tenant_id()))?;
    let next = |group: &&Group| group.parent == Some(parent) && group.status() == GroupStatus::Scheduled;
    let mut room = AT_ONCE;
    for group in groups.iter().filter(next) {
        let running = store::set_running(&**tx, ctx.engine(), ctx.tenant_id(), &[group.id], ctx.now()).await?;
        announcements::groups_updated(ctx, tx, rollout.id, running);
        let started =
            actions::of_rollout::start(system, tx, &settings, &wave(rollout, group), Share::ALL, room).await?;
        room = room.saturating_sub(started as u64);
    }
    Ok(())
}

/// Decides about a rollout that waits for it.
pub async fn decide(ctx: &Ctx, id: i64, approved: bool, remark: Option<String>) -> Result<()> {
    ctx.require(Permission::ApproveRollout)?;
    let (mut tx, found) = lock(ctx, id).await?;
    if found.status() != RolloutStatus::WaitingForApproval {
        return Err(illegal("Rollout is not in status WAITING_FOR_APPROVAL"));
    }
    text::optional("approvalRemark", remark.as_deref(), MAX_REMARK)?;
    let status = if approved { RolloutStatus::Ready } else { RolloutStatus::ApprovalDenied };
    let mut row = touched!(ctx, &found);
    row.status = Set(status.code());
    row.approval_decided_by = Set(Some(ctx.actor_name()));
    if remark.is_some() {
        row.approval_remark = Set(remark);
    }
    row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Rollout, [id]);
    wake(ctx, &mut tx, id);
    Ok(tx.commit().await?)
}

/// Ends a rollout for good: what is scheduled is dropped, and devices are asked to cancel what is under way.
pub async fn stop(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::UpdateRollout)?;
    let (tx, found) = lock(ctx, id).await?;
    if !found.status().is_stoppable() {
        let message = format!("Rollout can not be stopped in state {}.", found.status().name());
        return Err(illegal(message));
    }
    move_to(ctx, tx, &found, RolloutStatus::Stopping).await
}

/// Ends a rollout and forgets it; one that devices have had to do with stays readable as deleted.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::DeleteRollout)?;
    let (tx, found) = lock(ctx, id).await?;
    if found.status() == RolloutStatus::Deleting {
        return Ok(());
    }
    move_to(ctx, tx, &found, RolloutStatus::Deleting).await
}

/// Stops or deletes, as `status` says, the rollouts of a set that can be stopped. The caller holds the set's row.
pub(crate) async fn end_all_of_set(ctx: &Ctx, tx: &mut Tx, set: i64, status: RolloutStatus) -> Result<()> {
    let (engine, tenant, by) = (ctx.engine(), ctx.tenant_id(), ctx.actor_name());
    for rollout in store::end_all_of_set(&**tx, engine, tenant, set, status, &by, ctx.now()).await? {
        announcements::updated(ctx, tx, Told::Rollout, [rollout]);
        wake(ctx, tx, rollout);
    }
    Ok(())
}

/// The rollout's row and its set's, held. The set comes first: who invalidates or deletes it takes them in this order.
async fn lock(ctx: &Ctx, id: i64) -> Result<(Tx, Model)> {
    let not_found = || Error::not_found("Rollout", id);
    let found = store::find(ctx.db().read(), ctx.tenant_id(), id).await?.ok_or_else(not_found)?;
    let tx = ctx.begin().await?;
    distribution_sets::store::hold(&*tx, ctx.tenant_id(), &Scope::ALL, found.distribution_set).await?;
    let found = store::lock(&*tx, ctx.tenant_id(), id).await?.ok_or_else(not_found)?;
    Ok((tx, found))
}

fn expect(found: &Model, status: RolloutStatus, what: &str) -> Result<()> {
    if found.status() == status {
        return Ok(());
    }
    let (wanted, current) = (status.name(), found.status().name());
    Err(illegal(format!("Rollout can only be {what} in state {wanted} but current state is {current}")))
}

async fn move_to(ctx: &Ctx, mut tx: Tx, found: &Model, status: RolloutStatus) -> Result<()> {
    let mut row = touched!(ctx, found);
    row.status = Set(status.code());
    row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Rollout, [found.id]);
    wake(ctx, &mut tx, found.id);
    Ok(tx.commit().await?)
}

fn wake(ctx: &Ctx, tx: &mut Tx, rollout: i64) {
    tx.emit(Event::RolloutChanged { tenant: ctx.tenant_id().into(), rollout });
}

fn illegal(message: impl Into<String>) -> Error {
    Error::new(Kind::RolloutIllegalState, message)
}
