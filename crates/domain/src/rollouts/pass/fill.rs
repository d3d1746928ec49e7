//! A rollout that is being created: each group gets its targets, in the order of the groups (semantics.md B2).

use sea_orm::{
    ColumnTrait, Condition, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select, Set,
    sea_query::{Expr, Query},
};

use super::{Next, Pass, dynamic, store, system};
use crate::{
    access::Scope,
    actions,
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Result},
    rollouts::{
        Group, GroupStatus, Model, RolloutStatus,
        entity::{self, group, membership},
        filter, store as rollouts,
    },
    search, targets,
};
use sea_orm::ActiveModelTrait;

/// How many targets one transaction puts into a group, and how many do so side by side: most of the work is the
/// database's checking of foreign keys, which keeps one core busy each.
const BATCH: usize = 5000;
const AT_ONCE: usize = 2;
/// Who creates a rollout with this authority needs no one else's approval.
const APPROVE: &str = "APPROVE_ROLLOUT";

/// What is known of the targets that a search finds and that are in no group yet.
struct Rest {
    filter: String,
    count: u64,
    /// All those with ids up to this are in groups.
    after: i64,
}

pub(super) async fn run(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    let groups = rollouts::groups(ctx.db().read(), ctx.tenant_id(), rollout.id).await?;
    let mut ready: Vec<i64> = groups.iter().filter(|g| g.status() == GroupStatus::Ready).map(|g| g.id).collect();
    let own = rollout.target_filter.as_deref().unwrap_or_default();
    let base = if filter::retried(own).is_some() { own.to_owned() } else { filter::base_filter(rollout) };
    let mut rest: Option<Rest> = None;
    for group in groups.iter().filter(|g| g.status() != GroupStatus::Ready) {
        let search = filter::group_filter(&base, group.filter());
        let known = rest.take().filter(|rest| rest.filter == search);
        let targets = Targets::of(ctx, rollout, &search).await?;
        let mut left = match known {
            Some(rest) => rest,
            None => {
                let count = targets.outside(&ready, 0).count(ctx.db().read()).await?;
                Rest { filter: search, count, after: 0 }
            }
        };
        let percent = filter::percent_from_rest(rollout, group, &groups);
        let wanted = filter::expected(percent, i64::try_from(left.count).unwrap_or(i64::MAX));
        let wanted = u64::try_from(wanted).unwrap_or(0);
        let Some(have) = fill(pass, ctx, rollout, group, &targets, &ready, wanted, &mut left.after).await? else {
            return Ok(Next::Again);
        };
        left.count = left.count.saturating_sub(have);
        rest = Some(left);
        ready.push(group.id);
    }
    finish(pass, ctx, rollout).await
}

/// Puts targets into a group until it has `wanted`, and makes it ready. Returns how many it has; `None`: the rollout is
/// not being created any more.
#[expect(clippy::too_many_arguments, reason = "one call; a struct of its own would say the same")]
async fn fill(
    pass: &Pass<'_>,
    ctx: &Ctx,
    rollout: &Model,
    group: &Group,
    targets: &Targets,
    ready: &[i64],
    wanted: u64,
    after: &mut i64,
) -> Result<Option<u64>> {
    // A pass that was broken off has left some.
    let members = rollouts::members(ctx.db().read(), &[group.id]).await?;
    let mut have = members.first().map_or(0, |(_, count)| u64::try_from(*count).unwrap_or(0));
    let taken: Vec<i64> = ready.iter().copied().chain([group.id]).collect();
    let mut from_start = *after == 0;
    while have < wanted {
        let limit = std::cmp::min((BATCH * AT_ONCE) as u64, wanted - have);
        let found = store::ids(ctx.db().read(), targets.outside(&taken, *after), limit).await?;
        let joining: Vec<_> = found.chunks(BATCH).map(|ids| join(pass, ctx, rollout, group, ids)).collect();
        if !futures_util::future::try_join_all(joining).await?.into_iter().all(|joined| joined) {
            return Ok(None);
        }
        match found.last() {
            Some(last) => {
                have += found.len() as u64;
                *after = *last;
            }
            // Targets that came to match meanwhile have ids before the last one taken.
            None if !from_start => (*after, from_start) = (0, true),
            // Some were deleted, or match no longer.
            None => break,
        }
    }
    let Some((tx, _)) = pass.step(ctx, rollout, RolloutStatus::Creating).await? else { return Ok(None) };
    tx.commit_lazily().await?;
    let mut row = group_row(&system(ctx), group);
    row.status = Set(GroupStatus::Ready.code());
    row.total_targets = Set(Some(i64::try_from(have).unwrap_or(i64::MAX)));
    row.update(&*tx).await?;
    announcements::groups_updated(ctx, &tx, rollout.id, vec![group.id]);
    tx.commit().await?;
    Ok(Some(have))
}

/// Puts targets into a group. `false`: the rollout is not being created any more.
async fn join(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model, group: &Group, targets: &[i64]) -> Result<bool> {
    let Some(tx) = pass.shared_step(ctx, rollout, RolloutStatus::Creating).await? else { return Ok(false) };
    tx.commit_lazily().await?;
    store::join(&*tx, ctx.engine(), group.id, targets).await?;
    tx.commit().await?;
    Ok(true)
}

/// All groups have their targets: the rollout is ready, or waits for an approval.
async fn finish(pass: &Pass<'_>, ctx: &Ctx, rollout: &Model) -> Result<Next> {
    let settings = pass.settings(ctx).await?;
    let Some((tx, found)) = pass.step(ctx, rollout, RolloutStatus::Creating).await? else { return Ok(Next::Again) };
    let groups = rollouts::groups(&*tx, ctx.tenant_id(), rollout.id).await?;
    let mut row = touched!(&system(ctx), &found);
    if found.is_dynamic()
        && let Some(last) = groups.last().filter(|last| !last.is_dynamic)
    {
        dynamic::add_group(&system(ctx), &tx, last, groups.len(), GroupStatus::Ready).await?;
        row.rollout_groups_created = Set(Some(found.rollout_groups_created.unwrap_or(0) + 1));
    }
    let needs_approval = settings.rollout_approval && !ctx.has_authority(APPROVE);
    let status = if needs_approval { RolloutStatus::WaitingForApproval } else { RolloutStatus::Ready };
    row.status = Set(status.code());
    row.total_targets = Set(Some(groups.iter().map(Group::total).sum()));
    row.last_check = Set(Some(0));
    row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Rollout, [rollout.id]);
    tx.commit().await?;
    Ok(Next::Again)
}

/// The targets that one search of a rollout finds.
pub(super) struct Targets(Select<targets::entity::Entity>);

impl Targets {
    /// Those that the creator may change and whose type takes the set; of a retry, those that failed in the rollout that
    /// is retried.
    pub(super) async fn of(ctx: &Ctx, rollout: &Model, search: &str) -> Result<Targets> {
        let tenant = ctx.tenant_id();
        if let Some(retried) = filter::retried(search) {
            let failed = rollouts::failed_targets(tenant, retried);
            let select = targets::store::of_tenant(tenant, &Scope::ALL);
            return Ok(Targets(select.filter(targets::entity::Column::Id.in_subquery(failed))));
        }
        let scope = targets::updatable(ctx).await?;
        let which = search::condition(ctx, &targets::fields::ENTITY, search).await?;
        let set = distribution_sets::store::get(ctx.db().read(), tenant, &Scope::ALL, rollout.distribution_set).await?;
        let set = set.ok_or_else(|| Error::not_found("DistributionSet", rollout.distribution_set))?;
        let select = targets::store::of_tenant(tenant, &scope).filter(which);
        Ok(Targets(select.filter(targets::store::compatible(set.ds_type))))
    }

    /// Those with ids above `after` in none of `groups`.
    fn outside(&self, groups: &[i64], after: i64) -> Select<targets::entity::Entity> {
        let mut inside = Query::select();
        inside.expr(Expr::val(1)).from(membership::Entity).cond_where(
            Condition::all()
                .add(
                    Expr::col((membership::Entity, membership::Column::Target))
                        .equals((targets::entity::Entity, targets::entity::Column::Id)),
                )
                .add(Expr::col((membership::Entity, membership::Column::RolloutGroup)).is_in(groups.iter().copied())),
        );
        // Said of both tables, so that neither is read from its start.
        inside.and_where(Expr::col((membership::Entity, membership::Column::Target)).gt(after));
        self.0.clone().filter(targets::entity::Column::Id.gt(after)).filter(Expr::exists(inside).not())
    }

    /// The first `limit` that have no action of this rollout or a later one.
    pub(super) fn uninvolved(&self, tenant: &str, rollout: i64, limit: u64) -> Select<targets::entity::Entity> {
        use actions::entity::{Column, Entity};
        let mut involved = Query::select();
        involved.expr(Expr::val(1)).from(Entity).cond_where(
            Condition::all()
                .add(Expr::col((Entity, Column::Tenant)).eq(tenant))
                .add(Expr::col((Entity, Column::Target)).equals((targets::entity::Entity, targets::entity::Column::Id)))
                .add(Expr::col((Entity, Column::Rollout)).gte(rollout)),
        );
        let select = self.0.clone().filter(Expr::exists(involved).not());
        select.order_by_asc(targets::entity::Column::Id).limit(limit)
    }
}

pub(super) fn group_row(ctx: &Ctx, found: &Group) -> group::ActiveModel {
    use group as entity;
    touched!(ctx, found)
}
