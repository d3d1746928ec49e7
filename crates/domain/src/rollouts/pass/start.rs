//! A rollout that is being started: an action for every target, then the first group's devices (semantics.md B3, B6).

use futures_util::{StreamExt, TryStreamExt, stream};
use sea_orm::{ActiveModelTrait, Set};

use super::{Next, Pass, fill::group_row, store, system};
use crate::{
    actions::{self, of_rollout::Share},
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    error::Result,
    rollouts::{Group, GroupStatus, Model, RolloutStatus, entity, store as rollouts, wave},
    targets,
};

/// How many actions one transaction adds: a node that stops ends the one under way, and others wait for it.
const BATCH: u64 = 2500;
/// How many the first one adds of a node that goes on where another was; the next ones add twice as many each.
const FIRST_BATCH: u64 = 500;
/// How many transactions add or start actions side by side.
const AT_ONCE: usize = 2;

/// Starts a rollout whose time has come.
pub(super) async fn when_due(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    if rollout.start_at.is_none_or(|at| at > ctx.now()) {
        return Ok(Next::Wait);
    }
    let Some((tx, found)) = pass.step(ctx, rollout, RolloutStatus::Ready).await? else { return Ok(Next::Again) };
    let mut row = touched!(&system(ctx), &found);
    row.status = Set(RolloutStatus::Starting.code());
    row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
    tx.commit().await?;
    Ok(Next::Again)
}

pub(super) async fn run(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    let groups = rollouts::groups(ctx.db().read(), ctx.tenant_id(), rollout.id).await?;
    let ready = groups.iter().filter(|group| group.status() == GroupStatus::Ready);
    let work: Vec<_> = ready.map(|group| schedule(pass, ctx, rollout, group)).collect();
    let scheduled: Vec<bool> = stream::iter(work).buffered(AT_ONCE).try_collect().await?;
    if scheduled.contains(&false) {
        return Ok(Next::Again);
    }
    let Some(first) = groups.first() else { return Ok(Next::Wait) };
    if !start_actions(pass, ctx, rollout, first, RolloutStatus::Starting).await? {
        return Ok(Next::Again);
    }
    let Some((tx, found)) = pass.step(ctx, rollout, RolloutStatus::Starting).await? else { return Ok(Next::Again) };
    let ctx = &system(ctx);
    if let Some(first) = rollouts::groups(&*tx, ctx.tenant_id(), rollout.id).await?.first() {
        let mut row = group_row(ctx, first);
        row.status = Set(GroupStatus::Running.code());
        row.update(&*tx).await?;
        announcements::groups_updated(ctx, &tx, rollout.id, vec![first.id]);
    }
    let mut row = touched!(ctx, &found);
    row.status = Set(RolloutStatus::Running.code());
    row.last_check = Set(Some(0));
    row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
    tx.commit().await?;
    Ok(Next::Again)
}

/// Adds what is missing of a group's actions. `false`: the rollout is not being started any more.
async fn schedule(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model, group: &Group) -> Result<bool> {
    let (engine, tenant) = (ctx.engine(), ctx.tenant_id());
    let settings = pass.settings(ctx).await?;
    let wave = wave(rollout, group);
    // A pass that was broken off has left some.
    let begun = !rollouts::counts(ctx.db().read(), engine, tenant, &[group.id]).await?.is_empty();
    let (mut after, mut batch) = (0, BATCH);
    if begun {
        let first = store::first_without_action(ctx.db().read(), engine, tenant, group.id).await?;
        (after, batch) = (first.map_or(i64::MAX, |first| first - 1), FIRST_BATCH);
    }
    let mut analyzed = false;
    loop {
        let Some(mut tx) = pass.shared_step(ctx, rollout, RolloutStatus::Starting).await? else { return Ok(false) };
        tx.commit_lazily().await?;
        let mut missing = store::members_after(&*tx, group.id, after, batch).await?;
        let Some(&last) = missing.last() else {
            let mut row = group_row(ctx, group);
            row.status = Set(GroupStatus::Scheduled.code());
            row.update(&*tx).await?;
            announcements::groups_updated(ctx, &tx, rollout.id, vec![group.id]);
            tx.commit().await?;
            return Ok(true);
        };
        if begun {
            let done = store::with_action(&*tx, engine, tenant, group.id, &missing).await?;
            missing.retain(|target| !done.contains(target));
        }
        let held = targets::store::hold_all(&*tx, engine, tenant, &missing).await?;
        actions::of_rollout::schedule(ctx, &mut tx, &settings, &wave, &held).await?;
        tx.commit().await?;
        if !analyzed {
            ctx.db().analyze_young("sp_action").await?;
            analyzed = true;
        }
        after = last;
        batch = (2 * batch).min(BATCH);
    }
}

/// Starts all scheduled actions of a group. `false`: the rollout is not in `status` any more.
pub(super) async fn start_actions(
    pass: &Pass<'_>,
    ctx: &Ctx,
    rollout: &Model,
    group: &Group,
    status: RolloutStatus,
) -> Result<bool> {
    let shares: Vec<_> = (0..AT_ONCE)
        .map(|share| start_share(pass, ctx, rollout, group, status, Share { share, of: AT_ONCE }))
        .collect();
    Ok(futures_util::future::try_join_all(shares).await?.into_iter().all(|started| started))
}

async fn start_share(
    pass: &Pass<'_>,
    ctx: &Ctx,
    rollout: &Model,
    group: &Group,
    status: RolloutStatus,
    share: Share,
) -> Result<bool> {
    let settings = pass.settings(ctx).await?;
    let limit = ctx.settings().rollouts.actions_per_transaction;
    let wave = wave(rollout, group);
    loop {
        let Some(mut tx) = pass.shared_step(ctx, rollout, status).await? else { return Ok(false) };
        if actions::of_rollout::start(ctx, &mut tx, &settings, &wave, share, limit).await? == 0 {
            return Ok(true);
        }
        tx.commit().await?;
    }
}
