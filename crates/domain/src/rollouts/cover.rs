//! Whether the groups of a new rollout take all of its targets, and none of them too many (semantics.md B2).

use std::collections::HashMap;

use sea_orm::{ColumnTrait, Condition, ConnectionTrait, PaginatorTrait, QueryFilter};

use super::{
    filter,
    store::{self, NewGroup},
};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::{Error, Result, check_quota},
    search, targets,
};

/// How many targets the rollout has at least one of.
pub(super) async fn count_all(ctx: &Ctx, db: &impl ConnectionTrait, filter: &str, ds_type: i64) -> Result<i64> {
    let (total, none) = match filter::retried(filter) {
        // hawkBit: whether their types still take the set is not asked.
        Some(retried) => {
            let failed = store::failed_targets(ctx.tenant_id(), retried);
            let failed = Condition::all().add(targets::entity::Column::Id.in_subquery(failed));
            (count(ctx, db, failed).await?, "No failed targets in Rollout")
        }
        None => (count_compatible(ctx, db, filter, ds_type).await?, "Rollout does not match any existing targets"),
    };
    if total == 0 { Err(Error::constraint(none)) } else { Ok(total) }
}

async fn count_compatible(ctx: &Ctx, db: &impl ConnectionTrait, filter: &str, ds_type: i64) -> Result<i64> {
    let found = search::condition(ctx, &targets::fields::ENTITY, filter).await?;
    count(ctx, db, Condition::all().add(found).add(targets::store::compatible(ds_type))).await
}

async fn count(ctx: &Ctx, db: &impl ConnectionTrait, which: Condition) -> Result<i64> {
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let count = targets::store::of_tenant(ctx.tenant_id(), &scope).filter(which).count(db).await?;
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

pub(super) fn check_group_quota(ctx: &Ctx, targets: i64) -> Result<()> {
    check_quota(ctx.settings().quotas.targets_per_rollout_group, 0, targets, "a group of a rollout")
}

/// Fails unless the groups take all targets that `base` finds, and none of them too many.
pub(super) async fn check_cover(
    ctx: &Ctx,
    db: &impl ConnectionTrait,
    groups: &[NewGroup],
    base: &str,
    ds_type: i64,
) -> Result<()> {
    let mut counted = HashMap::new();
    let total = count_once(ctx, db, &mut counted, base.to_owned(), ds_type).await?;
    let (mut taken, mut unused) = (Vec::with_capacity(groups.len()), 0);
    for (number, group) in groups.iter().enumerate() {
        let earlier = groups.get(..number).unwrap_or_default();
        let filters: Vec<&str> = earlier.iter().map(|earlier| earlier.target_filter.as_str()).collect();
        let filter = filter::group_filter(base, &group.target_filter);
        let found = count_once(ctx, db, &mut counted, filter, ds_type).await?;
        let overlap = match number {
            0 => 0,
            _ => {
                let filter = filter::overlap_filter(base, &group.target_filter, &filters);
                count_once(ctx, db, &mut counted, filter, ds_type).await?
            }
        };
        let mut left = found - overlap;
        if overlap > 0 && unused > 0 {
            left += std::mem::take(&mut unused);
        }
        let same = earlier.iter().filter(|earlier| earlier.target_filter == group.target_filter);
        let same = same.map(|earlier| filter::single(earlier.target_percentage));
        let percent = filter::share_of_rest(filter::single(group.target_percentage), same);
        let planned = filter::planned(percent, left);
        unused += left - planned;
        taken.push(planned);
    }
    if taken.iter().sum::<i64>() != total {
        return Err(Error::constraint("Rollout groups don't match all targets that are targeted by the rollout"));
    }
    taken.into_iter().try_for_each(|targets| check_group_quota(ctx, targets))
}

async fn count_once(
    ctx: &Ctx,
    db: &impl ConnectionTrait,
    counted: &mut HashMap<String, i64>,
    filter: String,
    ds_type: i64,
) -> Result<i64> {
    if let Some(count) = counted.get(&filter) {
        return Ok(*count);
    }
    let count = count_compatible(ctx, db, &filter, ds_type).await?;
    counted.insert(filter, count);
    Ok(count)
}
