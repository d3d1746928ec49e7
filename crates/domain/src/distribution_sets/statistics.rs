//! How far a set has spread: its actions and rollouts by status, and the filters that assign it (semantics.md E5).

use std::collections::BTreeMap;

use super::store;
use crate::{access::Permission, actions::ActionStatus, ctx::Ctx, error::Result, rollouts::RolloutStatus};

/// Counts by the peer's status names, in upper case.
pub type Counts = BTreeMap<String, i64>;

pub async fn actions(ctx: &Ctx, set: i64) -> Result<Counts> {
    counts(ctx, set, "sp_action", |code| ActionStatus::from_code(code).name().to_uppercase()).await
}

pub async fn rollouts(ctx: &Ctx, set: i64) -> Result<Counts> {
    counts(ctx, set, "sp_rollout", |code| RolloutStatus::from_code(code).name().to_uppercase()).await
}

pub async fn auto_assignments(ctx: &Ctx, set: i64) -> Result<i64> {
    let set = super::find(ctx, set).await?;
    Ok(store::auto_assignments(ctx.db().read(), ctx.engine(), ctx.tenant_id(), set.id).await?)
}

async fn counts(ctx: &Ctx, set: i64, table: &'static str, name: fn(i32) -> String) -> Result<Counts> {
    ctx.require(Permission::ReadDistributionSet)?;
    let set = super::find(ctx, set).await?;
    let rows = store::by_status(ctx.db().read(), ctx.engine(), ctx.tenant_id(), set.id, table).await?;
    Ok(rows.into_iter().map(|(status, n)| (name(status), n)).collect())
}
