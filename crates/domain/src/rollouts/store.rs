//! Queries over rollouts, their groups and who is in them. Every one binds the tenant.

use kettle_db::{Engine, column};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
    sea_query::{Expr, Query, SelectStatement},
};
use serde::Serialize;

use super::entity::{Column, Entity, GroupStatus, Model, RolloutStatus, group, membership};
use crate::{
    access::Scope,
    actions::{self, ActionStatus},
    targets,
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

/// Sets scheduled groups running, and gives their ids. Who changed them last stays.
pub async fn set_running(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
    now: i64,
) -> Result<Vec<i64>, DbErr> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "UPDATE sp_rollout_group SET status = {}, last_modified_at = $3, optlock_revision = optlock_revision + 1 \
         WHERE tenant = $1 AND status = {} AND id IN {} RETURNING id",
        GroupStatus::Running.code(),
        GroupStatus::Scheduled.code(),
        engine.json_values(2, "bigint")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), json(groups)?.into(), now.into()])).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

/// Ends all groups of a rollout that have not ended or failed, and gives their ids.
pub async fn finish_groups(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rollout: i64,
    by: &str,
    now: i64,
) -> Result<Vec<i64>, DbErr> {
    let sql = format!(
        "UPDATE sp_rollout_group SET status = {finished}, last_modified_at = $3, last_modified_by = $4, \
         optlock_revision = optlock_revision + 1 \
         WHERE tenant = $1 AND rollout = $2 AND status NOT IN ({finished}, {error}) RETURNING id",
        finished = GroupStatus::Finished.code(),
        error = GroupStatus::Error.code()
    );
    let values = [tenant.into(), rollout.into(), now.into(), by.into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

/// How many actions groups have in which status, as (group, status, count).
pub async fn counts(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
) -> Result<Vec<(i64, i32, i64)>, DbErr> {
    counts_by(db, engine, tenant, "g.id", groups).await
}

/// The same of rollouts, as (rollout, status, count).
pub async fn counts_of_rollouts(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rollouts: &[i64],
) -> Result<Vec<(i64, i32, i64)>, DbErr> {
    counts_by(db, engine, tenant, "g.rollout", rollouts).await
}

/// A sum over an index made for it, group after group.
async fn counts_by(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    key: &str,
    ids: &[i64],
) -> Result<Vec<(i64, i32, i64)>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // PostgreSQL takes a list for longer than it is, and would rather read every action there is, with several processes. The
    // groups are the tenant's, and so are their actions: naming it again would read every action's row.
    let (count, counted) = match engine {
        Engine::Sqlite => {
            ("count(*)", "sp_rollout_group g JOIN sp_action a ON a.rollout_group = g.id WHERE g.tenant = $1")
        }
        Engine::Postgres => (
            "CAST(sum(a.n) AS bigint)",
            "sp_rollout_group g CROSS JOIN LATERAL \
             (SELECT status, count(*) AS n FROM sp_action WHERE rollout_group = g.id GROUP BY status) a WHERE g.tenant = $1",
        ),
    };
    let sql = format!(
        "SELECT {key}, a.status, {count} FROM {counted} AND {key} IN {} GROUP BY {key}, a.status ORDER BY {key}, a.status",
        engine.json_values(2, "bigint")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), json(ids)?.into()])).await?;
    rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?, column(row, 2)?))).collect()
}

/// How many targets were put into groups of the tenant, as (group, count).
pub async fn members(db: &impl ConnectionTrait, groups: &[i64]) -> Result<Vec<(i64, i64)>, DbErr> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    use membership::Column;
    // The groups are named in the statement, so that the database knows how few they are and goes by its index.
    let select = membership::Entity::find().filter(Column::RolloutGroup.is_in(groups.iter().copied())).select_only();
    let select = select.column(Column::RolloutGroup).column_as(Column::Target.count(), "n");
    select.group_by(Column::RolloutGroup).into_tuple().all(db).await
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

pub async fn group(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<group::Model>, DbErr> {
    let of_tenant = group::Entity::find().filter(group::Column::Tenant.eq(tenant));
    of_tenant.filter(group::Column::Id.eq(id)).one(db).await
}

/// Targets that have an action of a group.
pub fn acted_on_in(tenant: &str, group: i64) -> Condition {
    use actions::entity::{Column, Entity};
    let mut acted_on = Query::select();
    acted_on
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::Tenant)).eq(tenant))
        .and_where(Expr::col((Entity, Column::RolloutGroup)).eq(group))
        .and_where(Expr::col((Entity, Column::Target)).equals((targets::entity::Entity, targets::entity::Column::Id)));
    Condition::all().add(Expr::exists(acted_on))
}

/// Targets that were put into a group. Of tenant-bound targets: the membership itself has no column for the tenant.
pub fn members_of(group: i64) -> Condition {
    use membership::{Column, Entity};
    let mut member = Query::select();
    member
        .expr(Expr::val(1))
        .from(Entity)
        .and_where(Expr::col((Entity, Column::RolloutGroup)).eq(group))
        .and_where(Expr::col((Entity, Column::Target)).equals((targets::entity::Entity, targets::entity::Column::Id)));
    Condition::all().add(Expr::exists(member))
}

/// A group to insert: [`insert_groups`] takes all of a rollout.
#[derive(Clone, Debug, Serialize)]
pub struct NewGroup {
    pub name: String,
    pub description: Option<String>,
    pub status: i32,
    pub error_condition_exp: Option<String>,
    pub error_action_exp: Option<String>,
    pub success_condition_exp: String,
    pub success_action: i32,
    pub success_action_exp: Option<String>,
    pub target_percentage: f64,
    pub target_filter: String,
    pub confirmation_required: bool,
    pub is_dynamic: bool,
}

/// Inserts the groups of a new rollout in their order, each the parent of the next.
pub async fn insert_groups(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rollout: i64,
    groups: &[NewGroup],
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let columns = [
        ("name", "text"),
        ("description", "text"),
        ("status", "integer"),
        ("error_condition_exp", "text"),
        ("error_action_exp", "text"),
        ("success_condition_exp", "text"),
        ("success_action", "integer"),
        ("success_action_exp", "text"),
        ("target_percentage", "double precision"),
        ("target_filter", "text"),
        ("confirmation_required", "boolean"),
        ("is_dynamic", "boolean"),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let sql = format!(
        "INSERT INTO sp_rollout_group (tenant, rollout, created_at, created_by, last_modified_at, last_modified_by, \
         optlock_revision, error_condition, error_action, success_condition, total_targets, {names}) \
         SELECT $2, $3, $4, $5, $4, $5, 1, 0, 0, 0, 0, {names} FROM {}",
        engine.json_rows(1, "r", &columns)
    );
    let json = serde_json::to_string(groups).map_err(|e| DbErr::Custom(e.to_string()))?;
    let values = [json.into(), tenant.into(), rollout.into(), now.into(), by.into()];
    db.execute_raw(engine.statement(&sql, values)).await?;
    let sql = "UPDATE sp_rollout_group SET parent = (SELECT max(p.id) FROM sp_rollout_group p \
               WHERE p.rollout = $2 AND p.id < sp_rollout_group.id) WHERE tenant = $1 AND rollout = $2";
    db.execute_raw(engine.statement(sql, [tenant.into(), rollout.into()])).await?;
    Ok(())
}

/// Why the last passes over a rollout failed, since when, and how many did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub since: i64,
    pub attempts: i32,
}

pub async fn failure(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rollout: i64,
) -> Result<Option<Failure>, DbErr> {
    let sql = "SELECT message, since, attempts FROM kt_rollout_failure WHERE tenant = $1 AND rollout = $2";
    let row = db.query_one_raw(engine.statement(sql, [tenant.into(), rollout.into()])).await?;
    let read = |row| Ok(Failure { message: column(&row, 0)?, since: column(&row, 1)?, attempts: column(&row, 2)? });
    row.map(read).transpose()
}

fn json(ids: &[i64]) -> Result<String, DbErr> {
    serde_json::to_string(ids).map_err(|e| DbErr::Custom(e.to_string()))
}
