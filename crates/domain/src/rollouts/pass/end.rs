//! Rollouts that are being stopped or deleted (semantics.md B6).

use sea_orm::{ActiveModelTrait, Set};

use super::{Next, Pass, store, system};
use crate::{
    actions,
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    error::Result,
    rollouts::{Model, RolloutStatus, entity, store as rollouts},
    target_filters,
};

/// How many rows one transaction deletes.
const BATCH: u64 = 5000;

/// Drops what is scheduled, and asks the devices to cancel what is under way.
pub(super) async fn stop(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    let by = &system(ctx);
    if !wind_up(pass, by, rollout, RolloutStatus::Stopping, false).await? {
        return Ok(Next::Again);
    }
    let Some((tx, found)) = pass.step(ctx, rollout, RolloutStatus::Stopping).await? else { return Ok(Next::Again) };
    let mut row = touched!(by, &found);
    row.status = Set(RolloutStatus::Stopped.code());
    row.update(&*tx).await?;
    if tx.announces() {
        let groups = rollouts::group_ids(&*tx, ctx.tenant_id(), rollout.id).await?;
        announcements::rollout_stopped(ctx, &tx, rollout.id, groups);
    }
    announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
    tx.commit().await?;
    Ok(Next::Wait)
}

/// Forgets a rollout that no device has had to do with; of another one, all actions end and it stays as deleted.
pub(super) async fn delete(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    let by = &system(ctx);
    if !drop_scheduled(pass, by, rollout, RolloutStatus::Deleting).await? {
        return Ok(Next::Again);
    }
    if rollouts::has_actions(ctx.db().read(), ctx.engine(), ctx.tenant_id(), rollout.id).await? {
        if !wind_up(pass, by, rollout, RolloutStatus::Deleting, true).await? {
            return Ok(Next::Again);
        }
        let Some((tx, found)) = pass.step(ctx, rollout, RolloutStatus::Deleting).await? else {
            return Ok(Next::Again);
        };
        let mut row = touched!(by, &found);
        row.status = Set(RolloutStatus::Deleted.code());
        row.deleted = Set(Some(true));
        row.update(&*tx).await?;
        announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
        announcements::deleted(ctx, &tx, Told::Rollout, [rollout.id]);
        tx.commit().await?;
        return Ok(Next::Wait);
    }
    let groups = rollouts::group_ids(ctx.db().read(), ctx.tenant_id(), rollout.id).await?;
    loop {
        let Some((tx, _)) = pass.step(ctx, rollout, RolloutStatus::Deleting).await? else { return Ok(Next::Again) };
        if store::leave(&*tx, ctx.engine(), ctx.tenant_id(), &groups, BATCH).await? == 0 {
            // Its groups go with it.
            rollouts::delete(&*tx, ctx.engine(), ctx.tenant_id(), rollout.id).await?;
            announcements::deleted(ctx, &tx, Told::RolloutGroup, groups);
            announcements::deleted(ctx, &tx, Told::Rollout, [rollout.id]);
            tx.commit().await?;
            return Ok(Next::Wait);
        }
        tx.commit().await?;
    }
}

/// Deletes scheduled actions, ends the groups, then cancels what is under way, with `force` without waiting for the
/// devices. `false`: the rollout is not in `status` any more.
async fn wind_up(pass: &Pass<'_>, by: &Ctx, rollout: &Model, status: RolloutStatus, force: bool) -> Result<bool> {
    if !drop_scheduled(pass, by, rollout, status).await? {
        return Ok(false);
    }
    let groups = rollouts::group_ids(by.db().read(), by.tenant_id(), rollout.id).await?;
    let Some((tx, _)) = pass.step(by, rollout, status).await? else { return Ok(false) };
    let (tenant, name, now) = (by.tenant_id(), by.actor_name(), by.now());
    let ended = rollouts::finish_groups(&*tx, by.engine(), tenant, rollout.id, &name, now).await?;
    announcements::groups_updated(by, &tx, rollout.id, ended);
    tx.commit().await?;
    loop {
        let Some((mut tx, _)) = pass.step(by, rollout, status).await? else { return Ok(false) };
        let limit = by.settings().rollouts.actions_per_transaction;
        if actions::of_rollout::cancel(by, &mut tx, &groups, force, limit).await? == 0 {
            return Ok(true);
        }
        tx.commit().await?;
    }
}

async fn drop_scheduled(pass: &Pass<'_>, by: &Ctx, rollout: &Model, status: RolloutStatus) -> Result<bool> {
    let groups = rollouts::group_ids(by.db().read(), by.tenant_id(), rollout.id).await?;
    loop {
        let Some((mut tx, _)) = pass.step(by, rollout, status).await? else { return Ok(false) };
        if actions::of_rollout::drop_scheduled(by, &tx, &groups, BATCH).await? == 0 {
            return Ok(true);
        }
        // hawkBit: says so of a rollout that stays, though its row is as before.
        if status == RolloutStatus::Stopping {
            announcements::updated(by, &tx, Told::Rollout, [rollout.id]);
        }
        // Targets without an action of the set may get it from a filter.
        target_filters::set_changed(by, &mut tx, rollout.distribution_set).await?;
        tx.commit().await?;
    }
}
