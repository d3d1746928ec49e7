//! Dynamic rollouts: targets that come to match later join the last group, and groups are added as they fill
//! (semantics.md B5).

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, QuerySelect, Set};

use super::{
    Next, Pass,
    fill::{Targets, group_row},
    system,
};
use crate::{
    actions::{self, of_rollout::Share},
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    error::Result,
    rollouts::{
        Group, GroupStatus, Model, RolloutStatus,
        entity::{self, group},
        filter, store as rollouts, wave,
    },
    targets,
};

/// How many targets one transaction adds.
const BATCH: i64 = 5000;

/// Whether it is time to look for new targets. `last_check` is in the row, so that it holds for all nodes.
pub(super) fn is_due(ctx: &Ctx, rollout: &Model) -> bool {
    let period = i64::try_from(ctx.settings().rollouts.dynamic_min_involve.as_millis()).unwrap_or(i64::MAX);
    rollout.is_dynamic() && ctx.now().saturating_sub(rollout.last_check.unwrap_or(0)) >= period
}

/// Adds targets to the last group, or a group after it if it is full. As long as that finds some, there is more to do.
pub(super) async fn fill(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    if !is_due(ctx, rollout) {
        return Ok(Next::Wait);
    }
    let settings = pass.settings(ctx).await?;
    let Some((mut tx, found)) = pass.step(ctx, rollout, RolloutStatus::Running).await? else {
        return Ok(Next::Again);
    };
    let groups = rollouts::groups(&*tx, ctx.tenant_id(), rollout.id).await?;
    let Some(last) = groups.last() else { return Ok(Next::Wait) };
    let free = last.capacity() - last.total();
    let full = free <= 0 || last.status() == GroupStatus::Finished;
    if full && may_add_group(ctx, groups.len()) {
        add_group(ctx, &tx, last, groups.len(), GroupStatus::Scheduled).await?;
        let mut row = touched!(ctx, &found);
        row.rollout_groups_created = Set(Some(found.rollout_groups_created.unwrap_or(0) + 1));
        row.update(&*tx).await?;
        announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
        tx.commit().await?;
        return Ok(Next::Again);
    }
    let mut involved = Vec::new();
    if !full {
        let limit = u64::try_from(BATCH.min(free)).unwrap_or(0);
        let search = filter::group_filter(found.target_filter.as_deref().unwrap_or_default(), last.filter());
        let select = Targets::of(ctx, &found, &search).await?.uninvolved(ctx.tenant_id(), rollout.id, limit);
        let ids: Vec<i64> = select.select_only().column(targets::entity::Column::Id).into_tuple().all(&*tx).await?;
        involved = targets::store::hold_all(&*tx, ctx.engine(), ctx.tenant_id(), &ids).await?;
    }
    if involved.is_empty() {
        rollouts::set_last_check(&*tx, ctx.engine(), ctx.tenant_id(), rollout.id, ctx.now()).await?;
        tx.commit().await?;
        return Ok(Next::Wait);
    }
    let wave = wave(&found, last);
    actions::of_rollout::schedule(ctx, &mut tx, &settings, &wave, &involved).await?;
    if last.status() == GroupStatus::Running {
        actions::of_rollout::start(ctx, &mut tx, &settings, &wave, Share::ALL, involved.len() as u64).await?;
    }
    let added = i64::try_from(involved.len()).unwrap_or(i64::MAX);
    let mut row = group_row(&system(ctx), last);
    row.total_targets = Set(Some(last.total() + added));
    row.update(&*tx).await?;
    let mut row = touched!(&system(ctx), &found);
    row.total_targets = Set(Some(found.total() + added));
    row.update(&*tx).await?;
    announcements::groups_updated(ctx, &tx, rollout.id, vec![last.id]);
    announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
    tx.commit().await?;
    Ok(Next::Again)
}

fn may_add_group(ctx: &Ctx, groups: usize) -> bool {
    let limit = ctx.settings().quotas.groups_per_rollout;
    limit <= 0 || i64::try_from(groups).unwrap_or(i64::MAX) < limit
}

/// Adds a dynamic group after the last of `count` groups, and like it.
pub(super) async fn add_group(ctx: &Ctx, tx: &Tx, last: &Group, count: usize, status: GroupStatus) -> Result<()> {
    let suffix = last.name.strip_prefix(&format!("group-{count}")).unwrap_or_default();
    let name = format!("group-{}{suffix}", count + 1);
    #[expect(clippy::cast_precision_loss, reason = "the column holds a count here")]
    let capacity = if last.is_dynamic { last.percentage() } else { last.total() as f64 };
    let row = group::ActiveModel {
        id: NotSet,
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        description: Set(Some(name.clone())),
        name: Set(name),
        parent: Set(Some(last.id)),
        is_dynamic: Set(true),
        status: Set(status.code()),
        total_targets: Set(Some(0)),
        target_percentage: Set(Some(capacity)),
        ..last.clone().into()
    };
    let group = row.insert(&**tx).await?;
    announcements::groups_created(ctx, tx, group.rollout, vec![group.id]);
    Ok(())
}
