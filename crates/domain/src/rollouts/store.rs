//! Queries over rollouts, their groups and who is in them. Every one binds the tenant.

use kettle_db::Engine;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
    Select, sea_query::SelectStatement,
};

use super::entity::{Column, Entity, GroupStatus, Model, RolloutStatus, group};
use crate::{
    access::Scope,
    actions::{self, ActionStatus},
};

pub fn of_tenant(tenant: &str) -> Select<Entity> {
    Entity::find().filter(Column::Tenant.eq(tenant))
}

pub async fn find(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).one(db).await
}

/// As [`find`], and holds the row until the transaction ends: who changes a rollout's status or its groups queues here.
pub async fn lock(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(db).await
}

/// As [`lock`], but with others that do the same.
pub async fn hold(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).lock_shared().one(db).await
}

/// Deletes a rollout, and its groups with it.
pub async fn delete(db: &impl ConnectionTrait, engine: Engine, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    clear_failure(db, engine, tenant, id).await
}

/// Gives `status` to the rollouts of a set that can be stopped, and their ids.
pub async fn end_all_of_set(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
    status: RolloutStatus,
    by: &str,
    now: i64,
) -> Result<Vec<i64>, DbErr> {
    let stoppable: Vec<i64> =
        RolloutStatus::ALL.iter().filter(|status| status.is_stoppable()).map(|status| status.code().into()).collect();
    let sql = format!(
        "UPDATE sp_rollout SET status = $3, last_modified_at = $4, last_modified_by = $5, \
         optlock_revision = optlock_revision + 1 WHERE tenant = $1 AND distribution_set = $2 AND status IN {} \
         RETURNING id",
        engine.json_values(6, "bigint")
    );
    let values = [tenant.into(), set.into(), status.code().into(), now.into(), by.into(), json(&stoppable)?.into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

/// When a dynamic rollout last looked for targets. No change of the rollout: its audit columns stay.
pub async fn set_last_check(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    id: i64,
    now: i64,
) -> Result<(), DbErr> {
    let sql = "UPDATE sp_rollout SET last_check = $3 WHERE tenant = $1 AND id = $2";
    db.execute_raw(engine.statement(sql, [tenant.into(), id.into(), now.into()])).await?;
    Ok(())
}

pub fn groups_of(tenant: &str, rollout: i64) -> Select<group::Entity> {
    group::Entity::find().filter(group::Column::Tenant.eq(tenant)).filter(group::Column::Rollout.eq(rollout))
}

/// The groups of a rollout in the order in which they are filled and started: that of their ids.
pub async fn groups(db: &impl ConnectionTrait, tenant: &str, rollout: i64) -> Result<Vec<group::Model>, DbErr> {
    groups_of(tenant, rollout).order_by_asc(group::Column::Id).all(db).await
}

pub async fn group_ids(db: &impl ConnectionTrait, tenant: &str, rollout: i64) -> Result<Vec<i64>, DbErr> {
    groups_of(tenant, rollout).select_only().column(group::Column::Id).into_tuple().all(db).await
}

/// Sets scheduled groups running. Who changed them last stays.
pub async fn set_running(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
    now: i64,
) -> Result<(), DbErr> {
    if groups.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE sp_rollout_group SET status = {}, last_modified_at = $3, optlock_revision = optlock_revision + 1 \
         WHERE tenant = $1 AND status = {} AND id IN {}",
        GroupStatus::Running.code(),
        GroupStatus::Scheduled.code(),
        engine.json_values(2, "bigint")
    );
    db.execute_raw(engine.statement(&sql, [tenant.into(), json(groups)?.into(), now.into()])).await?;
    Ok(())
}

/// Ends all groups of a rollout that have not ended or failed.
pub async fn finish_groups(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rollout: i64,
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let sql = format!(
        "UPDATE sp_rollout_group SET status = {finished}, last_modified_at = $3, last_modified_by = $4, \
         optlock_revision = optlock_revision + 1 \
         WHERE tenant = $1 AND rollout = $2 AND status NOT IN ({finished}, {error})",
        finished = GroupStatus::Finished.code(),
        error = GroupStatus::Error.code()
    );
    db.execute_raw(engine.statement(&sql, [tenant.into(), rollout.into(), now.into(), by.into()])).await?;
    Ok(())
}

/// How many actions groups have in which status, as (group, status, count): a sum over an index made for it.
pub async fn counts(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
) -> Result<Vec<(i64, i32, i64)>, DbErr> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    // The groups are the tenant's, and so are their actions: naming it again would read every action's row.
    let sql = format!(
        "SELECT a.rollout_group AS id, a.status, count(*) AS n FROM sp_action a WHERE a.rollout_group IN \
         (SELECT id FROM sp_rollout_group WHERE tenant = $1 AND id IN {}) GROUP BY a.rollout_group, a.status",
        engine.json_values(2, "bigint")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), json(groups)?.into()])).await?;
    let count = |row: &QueryResult| Ok((row.try_get("", "id")?, row.try_get("", "status")?, row.try_get("", "n")?));
    rows.iter().map(count).collect()
}

/// How many targets were put into groups, as (group, count).
pub async fn members(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
) -> Result<Vec<(i64, i64)>, DbErr> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT m.rollout_group AS id, count(*) AS n FROM sp_rollout_target_group m WHERE m.rollout_group IN \
         (SELECT id FROM sp_rollout_group WHERE tenant = $1 AND id IN {}) GROUP BY m.rollout_group",
        engine.json_values(2, "bigint")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), json(groups)?.into()])).await?;
    rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "n")?))).collect()
}

/// Whether there is an action of a rollout.
pub async fn has_actions(db: &impl ConnectionTrait, engine: Engine, tenant: &str, rollout: i64) -> Result<bool, DbErr> {
    let sql = "SELECT 1 AS found WHERE EXISTS (SELECT 1 FROM sp_action WHERE tenant = $1 AND rollout_group IN \
               (SELECT id FROM sp_rollout_group WHERE tenant = $1 AND rollout = $2))";
    Ok(db.query_one_raw(engine.statement(sql, [tenant.into(), rollout.into()])).await?.is_some())
}

/// The targets that failed in a rollout.
pub fn failed_targets(tenant: &str, rollout: i64) -> SelectStatement {
    use actions::entity::Column;
    let groups = groups_of(tenant, rollout).select_only().column(group::Column::Id).into_query();
    let select = actions::store::of_tenant(tenant, &Scope::ALL).select_only().column(Column::Target);
    let select = select.filter(Column::RolloutGroup.in_subquery(groups));
    select.filter(Column::Status.eq(ActionStatus::Error.code())).into_query()
}

/// Notes why a pass failed, and that it did once more.
pub async fn note_failure(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rollout: i64,
    message: &str,
    now: i64,
) -> Result<(), DbErr> {
    let sql = "INSERT INTO kt_rollout_failure (rollout, tenant, message, since, attempts) VALUES ($1, $2, $3, $4, 1) \
               ON CONFLICT (rollout) DO UPDATE SET message = excluded.message, \
               attempts = kt_rollout_failure.attempts + 1";
    let values = [rollout.into(), tenant.into(), message.into(), now.into()];
    db.execute_raw(engine.statement(sql, values)).await?;
    Ok(())
}

pub async fn clear_failure(db: &impl ConnectionTrait, engine: Engine, tenant: &str, rollout: i64) -> Result<(), DbErr> {
    let sql = "DELETE FROM kt_rollout_failure WHERE tenant = $1 AND rollout = $2";
    db.execute_raw(engine.statement(sql, [tenant.into(), rollout.into()])).await?;
    Ok(())
}

fn json(ids: &[i64]) -> Result<String, DbErr> {
    serde_json::to_string(ids).map_err(|e| DbErr::Custom(e.to_string()))
}
