//! A rollout that runs: groups that were started get their actions started, and what was reported moves it on
//! (semantics.md B4).

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ConnectionTrait, Set};

use super::{Next, Pass, dynamic, fill::group_row, start, system};
use crate::{
    actions::ActionStatus,
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    error::Result,
    rollouts::{
        Group, GroupStatus, Model, RolloutStatus,
        advance::{self, Counted, Counts, Moves},
        entity, store as rollouts,
    },
};

/// Whether a look at the rollout would change something.
pub(super) async fn is_due(ctx: &Ctx, rollout: &Model) -> Result<bool> {
    let groups = counted(ctx, ctx.db().read(), rollout).await?;
    let unstarted = |g: &Counted| g.counts.get(ActionStatus::Scheduled) > 0;
    Ok(groups.iter().any(unstarted) || !advance::moves(rollout, &groups).none() || dynamic::is_due(ctx, rollout))
}

pub(super) async fn run(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    if rollout.is_dynamic() && dynamic::fill(pass, ctx, rollout).await? == Next::Again {
        return Ok(Next::Again);
    }
    for group in &counted(ctx, ctx.db().read(), rollout).await? {
        // hawkBit: the server starts groups, whoever created the rollout.
        if group.counts.get(ActionStatus::Scheduled) > 0
            && !start::start_actions(pass, &system(ctx), rollout, &group.group, RolloutStatus::Running).await?
        {
            return Ok(Next::Again);
        }
    }
    let Some((tx, found)) = pass.step(ctx, rollout, RolloutStatus::Running).await? else { return Ok(Next::Again) };
    let groups = counted(ctx, &*tx, &found).await?;
    let moves = advance::moves(&found, &groups);
    if moves.none() {
        return Ok(Next::Wait);
    }
    write(ctx, &tx, &found, &groups, &moves).await?;
    tx.commit().await?;
    Ok(Next::Again)
}

/// The groups of a rollout; those that run are counted.
async fn counted(ctx: &Ctx, db: &impl ConnectionTrait, rollout: &Model) -> Result<Vec<Counted>> {
    let (engine, tenant) = (ctx.engine(), ctx.tenant_id());
    let groups = rollouts::groups(db, tenant, rollout.id).await?;
    let running: Vec<&Group> = groups.iter().filter(|g| g.status() == GroupStatus::Running).collect();
    let ids: Vec<i64> = running.iter().map(|g| g.id).collect();
    let fixed: Vec<i64> = running.iter().filter(|g| !g.is_dynamic).map(|g| g.id).collect();
    let counts = rollouts::counts(db, engine, tenant, &ids).await?;
    let members = rollouts::members(db, &fixed).await?;
    let count = |group: Group| {
        let counts = Counts::of(&counts, group.id);
        let members = members.iter().find(|(of, _)| *of == group.id).map_or(0, |(_, count)| *count);
        let total = match (group.status(), group.is_dynamic) {
            (GroupStatus::Running, true) => counts.all(),
            (GroupStatus::Running, false) => members,
            _ => group.total(),
        };
        Counted { group, total, counts }
    };
    Ok(groups.into_iter().map(count).collect())
}

async fn write(ctx: &Ctx, tx: &Tx, rollout: &Model, groups: &[Counted], moves: &Moves) -> Result<()> {
    let (mut total, mut changed) = (rollout.total(), Vec::new());
    for Counted { group, .. } in groups {
        let counted = moves.totals.iter().find(|(id, _)| *id == group.id).map(|(_, total)| *total);
        let ended = match () {
            () if moves.failed.contains(&group.id) => Some(GroupStatus::Error),
            () if moves.finished.contains(&group.id) => Some(GroupStatus::Finished),
            () => None,
        };
        if counted.is_none() && ended.is_none() {
            continue;
        }
        let mut row = group_row(ctx, group);
        if let Some(counted) = counted {
            total -= group.total() - counted;
            row.total_targets = Set(Some(counted));
        }
        if let Some(status) = ended {
            row.status = Set(status.code());
        }
        row.update(&**tx).await?;
        changed.push(group.id);
    }
    changed.extend(rollouts::set_running(&**tx, ctx.engine(), ctx.tenant_id(), &moves.started, ctx.now()).await?);
    announcements::groups_updated(ctx, tx, rollout.id, changed);
    let status = match () {
        () if moves.over => RolloutStatus::Finished,
        () if moves.pause => RolloutStatus::Paused,
        () => RolloutStatus::Running,
    };
    if status == rollout.status() && total == rollout.total() {
        return Ok(());
    }
    let by = if moves.over { system(ctx) } else { ctx.clone() };
    let mut row = touched!(&by, rollout);
    row.status = Set(status.code());
    row.total_targets = Set(Some(total));
    row.update(&**tx).await?;
    announcements::updated(ctx, tx, Told::Rollout, [rollout.id]);
    Ok(())
}
