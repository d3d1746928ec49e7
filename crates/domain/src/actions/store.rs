//! Queries over actions and their statuses. Every one binds the tenant.

use std::{collections::HashSet, sync::LazyLock};

use kettle_db::Engine;
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait,
    FromQueryResult, Iden, Iterable, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait, Select, Set, Value,
    sea_query::SelectStatement,
};
use serde::Serialize;
use serde_json::json;

use crate::targets;

use super::{
    ActionStatus,
    entity::{Column, Entity, Model, status},
};
use crate::{access::Scope, targets::UpdateStatus};

/// A status message is at most this long; longer ones are stored as several.
const MAX_MESSAGE: usize = 512;

pub(crate) fn of_tenant(tenant: &str, scope: &Scope) -> Select<Entity> {
    scope.of(Entity::find().filter(Column::Tenant.eq(tenant)))
}

/// The actions of the targets in `targets`.
pub(super) fn scope_of_targets(tenant: &str, targets: &Scope) -> Scope {
    if targets.is_all() {
        return Scope::ALL;
    }
    use crate::targets::{entity, store};
    let ids = store::of_tenant(tenant, targets).select_only().column(entity::Column::Id).into_query();
    Scope::within(Condition::all().add(Column::Target.in_subquery(ids)))
}

pub async fn find(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).one(db).await
}

/// A target and one of its actions, both rows held until the transaction ends. `None` if one of them isn't there, or the
/// action is another target's.
pub async fn lock_with_target(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    controller_id: &str,
    id: i64,
) -> Result<Option<(targets::Model, Model)>, DbErr> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("{} WHERE t.tenant = $1 AND t.controller_id = $2 AND a.id = $3", *WITH_TARGET));
    let sql = format!("{}{}", *SQL, engine.for_update());
    let statement = engine.statement(&sql, [tenant.into(), controller_id.into(), id.into()]);
    let row = db.query_one_raw(statement).await?;
    row.as_ref().map(with_target).transpose()
}

/// Those of the actions `ids` that there are, with their targets, all rows held until the transaction ends.
pub async fn lock_with_targets(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    ids: &[i64],
) -> Result<Vec<(targets::Model, Model)>, DbErr> {
    let (ids_in, locked) = (engine.json_values(2, "bigint"), engine.for_update());
    let sql = format!("{} WHERE t.tenant = $1 AND a.id IN {ids_in} ORDER BY t.id, a.id{locked}", *WITH_TARGET);
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), json(&ids)?.into()])).await?;
    rows.iter().map(with_target).collect()
}

/// Targets and their actions, with all columns.
static WITH_TARGET: LazyLock<String> = LazyLock::new(|| {
    let of_target = targets::entity::Column::iter().map(|c| format!("t.{0} AS t_{0}", c.to_string()));
    let of_action = Column::iter().map(|c| format!("a.{0} AS a_{0}", c.to_string()));
    format!(
        "SELECT {} FROM sp_target t JOIN sp_action a ON a.target = t.id AND a.tenant = t.tenant",
        of_target.chain(of_action).collect::<Vec<_>>().join(", ")
    )
});

fn with_target(row: &QueryResult) -> Result<(targets::Model, Model), DbErr> {
    Ok((targets::Model::from_query_result(row, "t_")?, Model::from_query_result(row, "a_")?))
}

/// The active actions of targets, lowest id first.
pub async fn active(db: &impl ConnectionTrait, tenant: &str, targets: &[i64]) -> Result<Vec<Model>, DbErr> {
    let mut found = Vec::new();
    for chunk in targets.chunks(999) {
        let select = of_tenant(tenant, &Scope::ALL)
            .filter(Column::Target.is_in(chunk.iter().copied()))
            .filter(Column::Active.eq(true));
        found.extend(select.order_by_asc(Column::Id).all(db).await?);
    }
    Ok(found)
}

/// How many actions each of `targets` has, in any state, of those that have `least` or more.
pub async fn count_by_target(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    targets: &[i64],
    least: i64,
) -> Result<Vec<(i64, i64)>, DbErr> {
    let sql = format!(
        "SELECT target, count(*) AS n FROM sp_action WHERE tenant = $1 AND target IN {} \
         GROUP BY target HAVING count(*) >= $3",
        engine.json_values(2, "bigint")
    );
    let values = [tenant.into(), json(&targets)?.into(), least.into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().map(|r| Ok((r.try_get("", "target")?, r.try_get("", "n")?))).collect()
}

/// Which of `targets` have an action of a set, in any state.
pub async fn having(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
    targets: &[i64],
) -> Result<HashSet<i64>, DbErr> {
    let sql = format!(
        "SELECT DISTINCT target FROM sp_action WHERE tenant = $1 AND distribution_set = $3 AND target IN {}",
        engine.json_values(2, "bigint")
    );
    let values = [tenant.into(), json(&targets)?.into(), set.into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().map(|r| r.try_get("", "target")).collect()
}

/// Deletes the `count` oldest actions of a target.
pub async fn delete_oldest(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    target: i64,
    count: i64,
) -> Result<(), DbErr> {
    let sql = "DELETE FROM sp_action WHERE id IN \
               (SELECT id FROM sp_action WHERE tenant = $1 AND target = $2 ORDER BY id LIMIT $3)";
    db.execute_raw(engine.statement(sql, [tenant.into(), target.into(), count.into()])).await?;
    Ok(())
}

/// The id of the newest action of a target once `keep` newer ones are left out; `None` if it has no more than those.
pub async fn newest_but(db: &impl ConnectionTrait, tenant: &str, target: i64, keep: u64) -> Result<Option<i64>, DbErr> {
    let select = of_tenant(tenant, &Scope::ALL).filter(Column::Target.eq(target)).select_only().column(Column::Id);
    select.order_by_desc(Column::Id).offset(keep).limit(1).into_tuple().one(db).await
}

/// The first `limit` actions with ids above `after` that `which` selects, as (action, target), by id. The caller's scope,
/// where it has one, is part of `which`.
pub async fn matching(
    db: &impl ConnectionTrait,
    tenant: &str,
    which: &Condition,
    after: i64,
    limit: u64,
) -> Result<Vec<(i64, i64)>, DbErr> {
    let select = of_tenant(tenant, &Scope::ALL).filter(Column::Id.gt(after)).filter(which.clone());
    let select = select.select_only().column(Column::Id).column(Column::Target);
    select.order_by_asc(Column::Id).limit(limit).into_tuple().all(db).await
}

/// Deletes those of the actions `ids` that `which` still selects.
pub async fn delete_matching(
    db: &impl ConnectionTrait,
    tenant: &str,
    which: &Condition,
    ids: &[i64],
) -> Result<(), DbErr> {
    let of_tenant = Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(which.clone());
    of_tenant.filter(Column::Id.is_in(ids.iter().copied())).exec(db).await?;
    Ok(())
}

/// A target whose row is held.
#[derive(Clone, Debug)]
pub struct Held {
    pub id: i64,
    pub controller_id: String,
    pub address: Option<String>,
}

/// The targets with active actions of a set, locked in the order of their ids.
pub async fn lock_targets_with_active(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
) -> Result<Vec<Held>, DbErr> {
    let sql = format!(
        "SELECT id, controller_id, address FROM sp_target WHERE tenant = $1 AND id IN \
         (SELECT target FROM sp_action WHERE tenant = $1 AND distribution_set = $2 AND active = true) ORDER BY id{}",
        engine.for_update()
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), set.into()])).await?;
    let held = |r: &QueryResult| {
        Ok(Held {
            id: r.try_get("", "id")?,
            controller_id: r.try_get("", "controller_id")?,
            address: r.try_get("", "address")?,
        })
    };
    rows.iter().map(held).collect()
}

/// Marks a set's active actions as being cancelled, and gives those that were not yet, as (action, target).
pub async fn cancel_active_of_set(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
    by: &str,
    now: i64,
) -> Result<Vec<(i64, i64)>, DbErr> {
    let (canceling, canceled) = (ActionStatus::Canceling.code(), ActionStatus::Canceled.code());
    let sql = "UPDATE sp_action SET status = $3, last_modified_at = $5, last_modified_by = $6, \
               optlock_revision = optlock_revision + 1 WHERE tenant = $1 AND distribution_set = $2 \
               AND active = true AND status <> $3 AND status <> $4 RETURNING id, target";
    let values = [tenant.into(), set.into(), canceling.into(), canceled.into(), now.into(), by.into()];
    let rows = db.query_all_raw(engine.statement(sql, values)).await?;
    rows.iter().map(|r| Ok((r.try_get("", "id")?, r.try_get("", "target")?))).collect()
}

/// Closes a set's active actions as cancelled, and gives their ids.
pub async fn quit_active_of_set(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
    by: &str,
    now: i64,
) -> Result<Vec<i64>, DbErr> {
    let sql = "UPDATE sp_action SET status = $3, active = false, last_modified_at = $4, last_modified_by = $5, \
               optlock_revision = optlock_revision + 1 WHERE tenant = $1 AND distribution_set = $2 \
               AND active = true RETURNING id";
    let values = [tenant.into(), set.into(), ActionStatus::Canceled.code().into(), now.into(), by.into()];
    let rows = db.query_all_raw(engine.statement(sql, values)).await?;
    rows.iter().map(|r| r.try_get("", "id")).collect()
}

/// Cancels the inactive actions of targets that rollouts have scheduled, but for sets with a required migration step. The
/// caller holds the targets.
pub async fn cancel_scheduled(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    targets: &[i64],
) -> Result<(), DbErr> {
    let sql = format!(
        "UPDATE sp_action SET status = $3 WHERE tenant = $1 AND target IN {} AND active = false AND status = $4 \
         AND distribution_set NOT IN \
         (SELECT id FROM sp_distribution_set WHERE tenant = $1 AND required_migration_step = true)",
        engine.json_values(2, "bigint")
    );
    let (canceled, scheduled) = (ActionStatus::Canceled.code(), ActionStatus::Scheduled.code());
    let values = [tenant.into(), json(&targets)?.into(), canceled.into(), scheduled.into()];
    db.execute_raw(engine.statement(&sql, values)).await?;
    Ok(())
}

/// After actions of theirs were cancelled, targets have assigned what the oldest action still active says, or what is
/// installed, and are in sync then.
pub async fn fall_back(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    targets: &[i64],
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let active = "FROM sp_action a WHERE a.tenant = $1 AND a.target = sp_target.id AND a.active = true";
    let sql = format!(
        "UPDATE sp_target SET \
         assigned_distribution_set = coalesce( \
           (SELECT a.distribution_set {active} ORDER BY a.id LIMIT 1), installed_distribution_set), \
         update_status = CASE WHEN EXISTS (SELECT 1 {active}) THEN update_status ELSE $3 END, \
         last_modified_at = $4, last_modified_by = $5, optlock_revision = optlock_revision + 1 \
         WHERE tenant = $1 AND id IN {}",
        engine.json_values(2, "bigint")
    );
    let in_sync = UpdateStatus::InSync as i32;
    let values = [tenant.into(), json(&targets)?.into(), in_sync.into(), now.into(), by.into()];
    db.execute_raw(engine.statement(&sql, values)).await?;
    Ok(())
}

/// An action to insert; what is the same for a whole assignment is in [`insert_all`]'s arguments.
#[derive(Clone, Debug, Serialize)]
pub struct NewAction {
    pub target: i64,
    pub active: bool,
    pub status: i32,
    pub action_type: i32,
    pub forced_time: i64,
    pub weight: i32,
    pub maintenance_cron_schedule: Option<String>,
    pub maintenance_duration: Option<String>,
    pub maintenance_time_zone: Option<String>,
}

/// Inserts actions for one distribution set in one statement; they come back in the order of `rows`.
pub async fn insert_all(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
    rows: &[NewAction],
    by: &str,
    now: i64,
) -> Result<Vec<Model>, DbErr> {
    let columns = [
        ("target", "bigint"),
        ("active", "boolean"),
        ("status", "integer"),
        ("action_type", "integer"),
        ("forced_time", "bigint"),
        ("weight", "integer"),
        ("maintenance_cron_schedule", "text"),
        ("maintenance_duration", "text"),
        ("maintenance_time_zone", "text"),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let sql = format!(
        "INSERT INTO sp_action (tenant, created_at, created_by, last_modified_at, last_modified_by, optlock_revision, \
         distribution_set, initiated_by, {names}) \
         SELECT $2, $3, $4, $3, $4, 1, $5, $4, {names} FROM {} RETURNING *",
        engine.json_rows(1, "r", &columns)
    );
    let values = [json(&rows)?.into(), tenant.into(), now.into(), by.into(), set.into()];
    let mut actions = Entity::find().from_raw_sql(engine.statement(&sql, values)).all(db).await?;
    actions.sort_by_key(|a| a.id);
    Ok(actions)
}

/// The sets that no new assignment puts aside.
pub fn migration_steps(tenant: &str) -> SelectStatement {
    use crate::distribution_sets::entity::{Column, Entity};
    let select = Entity::find().filter(Column::Tenant.eq(tenant)).filter(Column::RequiredMigrationStep.eq(true));
    select.select_only().column(Column::Id).into_query()
}

/// One status row with its messages.
#[derive(Clone, Debug)]
pub struct NewStatus {
    pub action: i64,
    pub status: ActionStatus,
    /// Epoch milliseconds, as the device says, or now.
    pub occurred_at: i64,
    pub code: Option<i32>,
    pub messages: Vec<String>,
}

pub async fn add_status(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    new: NewStatus,
    by: &str,
    now: i64,
) -> Result<status::Model, DbErr> {
    let row = status::ActiveModel {
        id: NotSet,
        created_at: Set(Some(now)),
        created_by: Set(Some(by.into())),
        last_modified_at: Set(Some(now)),
        last_modified_by: Set(Some(by.into())),
        optlock_revision: Set(Some(1)),
        tenant: Set(tenant.into()),
        target_occurred_at: Set(new.occurred_at),
        status: Set(new.status.code()),
        action: Set(new.action),
        code: Set(new.code),
    };
    let row = row.insert(db).await?;
    add_messages(db, engine, &[row.id], &new.messages).await?;
    Ok(row)
}

/// Adds a status of one action, and writes what it makes of the action and its target. The caller holds both rows.
pub async fn report(
    db: &impl ConnectionTrait,
    engine: Engine,
    new: NewStatus,
    action: &Model,
    target: Option<&targets::Model>,
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let messages: Vec<_> = new.messages.iter().flat_map(|m| pieces(m)).map(|m| json!({ "message": m })).collect();
    let mut values: Vec<Value> = vec![
        action.tenant.as_str().into(),
        now.into(),
        by.into(),
        new.occurred_at.into(),
        new.status.code().into(),
        new.action.into(),
        new.code.into(),
        json(&messages)?.into(),
        action.status.into(),
        action.active.into(),
        action.last_action_status_code.into(),
    ];
    let status = "INSERT INTO sp_action_status (tenant, created_at, created_by, last_modified_at, last_modified_by, \
                  optlock_revision, target_occurred_at, status, action, code) \
                  VALUES ($1, $2, $3, $2, $3, 1, $4, $5, $6, $7) RETURNING id";
    // The status row above is its tenant's.
    let messages = format!(
        "INSERT INTO sp_action_status_messages (action_status, detail_message) SELECT {}, r.message FROM {}",
        engine.new_id("status"),
        engine.json_rows(8, "r", &[("message", "text")])
    );
    let changed = "UPDATE sp_action SET status = $9, active = $10, last_action_status_code = $11, \
                   optlock_revision = coalesce(optlock_revision, 0) + 1 WHERE tenant = $1 AND id = $6";
    let mut writes = vec![("status", status.to_owned()), ("messages", messages), ("action", changed.to_owned())];
    if let Some(target) = target {
        let changed = "UPDATE sp_target SET update_status = $12, assigned_distribution_set = $13, \
                       installed_distribution_set = $14, install_date = $15, request_controller_attributes = $16, \
                       optlock_revision = coalesce(optlock_revision, 0) + 1 WHERE tenant = $1 AND id = $17";
        writes.push(("target", changed.to_owned()));
        values.extend([
            target.update_status.into(),
            target.assigned_distribution_set.into(),
            target.installed_distribution_set.into(),
            target.install_date.into(),
            target.request_controller_attributes.into(),
            target.id.into(),
        ]);
    }
    for sql in engine.together(&writes) {
        db.execute_raw(engine.statement(&sql, values.clone())).await?;
    }
    Ok(())
}

/// The same status, with the same messages, for many actions.
#[derive(Clone, Copy, Debug)]
pub struct NewStatuses<'a> {
    pub actions: &'a [i64],
    pub status: ActionStatus,
    pub messages: &'a [String],
}

pub async fn add_status_to_all(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    new: NewStatuses<'_>,
    occurred_at: i64,
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let NewStatuses { actions, status, messages } = new;
    if actions.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO sp_action_status (tenant, created_at, created_by, last_modified_at, last_modified_by, \
         optlock_revision, target_occurred_at, status, action) \
         SELECT $2, $3, $4, $3, $4, 1, $6, $5, r.id FROM {} RETURNING id",
        engine.json_rows(1, "r", &[("id", "bigint")])
    );
    let ids: Vec<_> = actions.iter().map(|id| serde_json::json!({ "id": id })).collect();
    let values = [json(&ids)?.into(), tenant.into(), now.into(), by.into(), status.code().into(), occurred_at.into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    let ids = rows.iter().map(|r| r.try_get("", "id")).collect::<Result<Vec<i64>, _>>()?;
    let pieces: Vec<_> = messages.iter().flat_map(|m| pieces(m)).map(|m| json!({ "message": m })).collect();
    let sql = format!(
        "INSERT INTO sp_action_status_messages (action_status, detail_message) SELECT s.id, m.message \
         FROM {} CROSS JOIN {}",
        engine.json_rows(1, "s", &[("id", "bigint")]),
        engine.json_rows(2, "m", &[("message", "text")])
    );
    let ids: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
    db.execute_raw(engine.statement(&sql, [json(&ids)?.into(), json(&pieces)?.into()])).await?;
    Ok(())
}

/// A message of a status.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Message<'a> {
    pub status: i64,
    pub message: &'a str,
}

async fn add_messages(
    db: &impl ConnectionTrait,
    engine: Engine,
    statuses: &[i64],
    messages: &[String],
) -> Result<(), DbErr> {
    let pieces: Vec<&str> = messages.iter().flat_map(|m| pieces(m)).collect();
    let rows: Vec<_> =
        statuses.iter().flat_map(|&status| pieces.iter().map(move |&message| Message { status, message })).collect();
    add_message_rows(db, engine, &rows).await
}

pub(super) async fn add_message_rows(
    db: &impl ConnectionTrait,
    engine: Engine,
    rows: &[Message<'_>],
) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO sp_action_status_messages (action_status, detail_message) SELECT r.status, r.message FROM {}",
        engine.json_rows(1, "r", &[("status", "bigint"), ("message", "text")])
    );
    db.execute_raw(engine.statement(&sql, [json(&rows)?.into()])).await?;
    Ok(())
}

/// A message in pieces that fit the column.
pub(super) fn pieces(message: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = message;
    while let Some((at, _)) = rest.char_indices().nth(MAX_MESSAGE) {
        let (piece, tail) = rest.split_at(at);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// The newest status of an action.
pub async fn newest_status(db: &impl ConnectionTrait, tenant: &str, action: i64) -> Result<Option<i32>, DbErr> {
    let select = statuses_of(tenant, action).select_only().column(status::Column::Status);
    select.order_by_desc(status::Column::Id).limit(1).into_tuple().one(db).await
}

pub fn statuses_of(tenant: &str, action: i64) -> Select<status::Entity> {
    status::Entity::find().filter(status::Column::Tenant.eq(tenant)).filter(status::Column::Action.eq(action))
}

/// The messages of statuses, as (status, message), in the order they were stored.
pub async fn messages(
    db: &impl ConnectionTrait,
    engine: Engine,
    statuses: &[i64],
) -> Result<Vec<(i64, String)>, DbErr> {
    let sql = format!(
        "SELECT action_status, detail_message FROM sp_action_status_messages WHERE action_status IN {}",
        engine.json_values(1, "bigint")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [json(&statuses)?.into()])).await?;
    rows.iter().map(|r| Ok((r.try_get("", "action_status")?, r.try_get("", "detail_message")?))).collect()
}

pub(super) fn json(value: &impl Serialize) -> Result<String, DbErr> {
    serde_json::to_string(value).map_err(|e| DbErr::Custom(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(pieces("short"), ["short"]);
        let long = "ü".repeat(1030);
        let lengths: Vec<_> = pieces(&long).iter().map(|p| p.chars().count()).collect();
        assert_eq!(lengths, [512, 512, 6]);
    }
}
