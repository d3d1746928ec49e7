//! The statements of passes. All bind the tenant, or ids that a statement that does gave.

use std::collections::HashSet;

use kettle_db::Engine;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use crate::{
    rollouts::{RolloutStatus, entity::membership},
    targets::entity::{Column, Entity},
};

/// Rollouts of all tenants that may have something to do by themselves, as (tenant, id): what each of them waits for is
/// another matter.
pub async fn active(db: &impl ConnectionTrait, engine: Engine, now: i64) -> Result<Vec<(String, i64)>, DbErr> {
    let at_work = [
        RolloutStatus::Creating,
        RolloutStatus::Starting,
        RolloutStatus::Running,
        RolloutStatus::Stopping,
        RolloutStatus::Deleting,
    ];
    let codes: Vec<String> = at_work.iter().map(|status| status.code().to_string()).collect();
    let sql = format!(
        "SELECT tenant, id FROM sp_rollout WHERE status IN ({}) OR (status = $1 AND start_at <= $2) ORDER BY id",
        codes.join(", ")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [RolloutStatus::Ready.code().into(), now.into()])).await?;
    rows.iter().map(|row| Ok((row.try_get("", "tenant")?, row.try_get("", "id")?))).collect()
}

/// The ids of the first `limit` of `targets`, in order.
pub async fn ids(db: &impl ConnectionTrait, targets: Select<Entity>, limit: u64) -> Result<Vec<i64>, DbErr> {
    targets.select_only().column(Column::Id).order_by_asc(Column::Id).limit(limit).into_tuple().all(db).await
}

/// Puts `targets` into a group that none of them is in.
pub async fn join(db: &impl ConnectionTrait, engine: Engine, group: i64, targets: &[i64]) -> Result<(), DbErr> {
    let sql = format!(
        "INSERT INTO sp_rollout_target_group (target, rollout_group) SELECT r.id, $2 FROM {}",
        engine.json_rows(1, "r", &[("id", "bigint")])
    );
    let rows: Vec<_> = targets.iter().map(|id| serde_json::json!({ "id": id })).collect();
    let rows = serde_json::to_string(&rows).map_err(|e| DbErr::Custom(e.to_string()))?;
    db.execute_raw(engine.statement(&sql, [rows.into(), group.into()])).await?;
    Ok(())
}

/// Up to `limit` targets of a group with ids above `after`, by id.
pub async fn members_after(db: &impl ConnectionTrait, group: i64, after: i64, limit: u64) -> Result<Vec<i64>, DbErr> {
    use membership::Column;
    let of_group = membership::Entity::find().filter(Column::RolloutGroup.eq(group)).filter(Column::Target.gt(after));
    let select = of_group.select_only().column(Column::Target).order_by_asc(Column::Target).limit(limit);
    select.into_tuple().all(db).await
}

/// The first target of a group that has no action of it.
pub async fn first_without_action(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    group: i64,
) -> Result<Option<i64>, DbErr> {
    // Both are read once, whatever a planner knows of them.
    let sql = "SELECT min(m.target) AS target FROM (SELECT target FROM sp_rollout_target_group WHERE rollout_group = $2 \
               EXCEPT SELECT target FROM sp_action WHERE tenant = $1 AND rollout_group = $2) m";
    let row = db.query_one_raw(engine.statement(sql, [tenant.into(), group.into()])).await?;
    Ok(row.map(|row| row.try_get("", "target")).transpose()?.flatten())
}

/// Those of `targets` that have an action of a group.
pub async fn with_action(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    group: i64,
    targets: &[i64],
) -> Result<HashSet<i64>, DbErr> {
    // The sum keeps a planner without statistics from reading the whole group for each of the targets.
    let sql = format!(
        "SELECT target FROM sp_action WHERE tenant = $1 AND target IN {} AND rollout_group + 0 = $3",
        engine.json_values(2, "bigint")
    );
    let ids = serde_json::to_string(targets).map_err(|e| DbErr::Custom(e.to_string()))?;
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), ids.into(), group.into()])).await?;
    rows.iter().map(|row| row.try_get("", "target")).collect()
}

/// Takes up to `limit` targets out of groups; returns how many there were.
pub async fn leave(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
    limit: u64,
) -> Result<u64, DbErr> {
    let sql = format!(
        "DELETE FROM sp_rollout_target_group WHERE rollout_group IN \
         (SELECT id FROM sp_rollout_group WHERE tenant = $1 AND id IN {}) AND target IN \
         (SELECT target FROM sp_rollout_target_group WHERE rollout_group IN {} LIMIT $3)",
        engine.json_values(2, "bigint"),
        engine.json_values(2, "bigint")
    );
    let ids = serde_json::to_string(groups).map_err(|e| DbErr::Custom(e.to_string()))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let done = db.execute_raw(engine.statement(&sql, [tenant.into(), ids.into(), limit.into()])).await?;
    Ok(done.rows_affected())
}
