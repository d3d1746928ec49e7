//! The statements on actions that rollouts need: for a batch of one group, whatever its size. All bind the tenant.

use kettle_db::Engine;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;

use super::{Share, Wave};
use crate::actions::ActionStatus;

/// The statuses of actions that are under way, but for those that are being cancelled.
const OPEN: [ActionStatus; 7] = [
    ActionStatus::Warning,
    ActionStatus::Running,
    ActionStatus::Retrieved,
    ActionStatus::Download,
    ActionStatus::CancelRejected,
    ActionStatus::Downloaded,
    ActionStatus::WaitForConfirmation,
];

/// An action that is to be started, and its target; both rows are held.
#[derive(Clone, Debug)]
pub struct Due {
    pub action: i64,
    pub created_at: i64,
    pub target: i64,
    pub controller_id: String,
    pub address: Option<String>,
    /// The set that the target has already.
    pub assigned: Option<i64>,
}

/// An action under way, and its target; both rows are held.
#[derive(Clone, Debug)]
pub struct Active {
    pub action: i64,
    pub target: i64,
    pub controller_id: String,
    pub address: Option<String>,
}

/// See [`Engine::plan_anew`].
pub async fn plan_anew(db: &impl ConnectionTrait, engine: Engine, anew: bool) -> Result<(), DbErr> {
    if let Some(sql) = engine.plan_anew(anew) {
        db.execute_unprepared(sql).await?;
    }
    Ok(())
}

/// Up to `limit` scheduled actions of a share of a group with their targets, held in the order of the targets' ids.
pub async fn hold_scheduled(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    group: i64,
    share: Share,
    limit: u64,
) -> Result<Vec<Due>, DbErr> {
    let sql = format!(
        "SELECT a.id AS action, coalesce(a.created_at, 0) AS created_at, t.id AS target, t.controller_id, \
         t.address, t.assigned_distribution_set AS assigned \
         FROM sp_action a JOIN sp_target t ON t.id = a.target AND t.tenant = a.tenant \
         WHERE a.tenant = $1 AND a.status = $3 AND a.id IN \
         (SELECT id FROM sp_action WHERE tenant = $1 AND rollout_group = $2 AND status = $3 AND id % {} = {} LIMIT $4) \
         ORDER BY t.id{}",
        share.of,
        share.share,
        engine.for_update()
    );
    let values = [tenant.into(), group.into(), ActionStatus::Scheduled.code().into(), count(limit).into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    let due = |row: &QueryResult| {
        Ok(Due {
            action: row.try_get("", "action")?,
            created_at: row.try_get("", "created_at")?,
            target: row.try_get("", "target")?,
            controller_id: row.try_get("", "controller_id")?,
            address: row.try_get("", "address")?,
            assigned: row.try_get("", "assigned")?,
        })
    };
    rows.iter().map(due).collect()
}

/// Adds a scheduled action of the wave for each of `targets`. With `told`, gives them as (action, target).
#[expect(clippy::too_many_arguments, reason = "one call; a struct of its own would say the same")]
pub async fn insert_scheduled(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    wave: &Wave,
    targets: &[i64],
    told: bool,
    by: &str,
    now: i64,
) -> Result<Vec<(i64, i64)>, DbErr> {
    let returning = if told { " RETURNING id, target" } else { "" };
    let sql = format!(
        "INSERT INTO sp_action (tenant, created_at, created_by, last_modified_at, last_modified_by, optlock_revision, \
         active, status, distribution_set, target, rollout, rollout_group, action_type, forced_time, weight, \
         initiated_by) \
         SELECT $2, $3, $4, $3, $4, 1, false, $5, $6, r.id, $7, $8, $9, $10, $11, $12 FROM {}{returning}",
        engine.json_rows(1, "r", &[("id", "bigint")])
    );
    let rows: Vec<_> = targets.iter().map(|&id| Id { id }).collect();
    let values = [
        json(&rows)?.into(),
        tenant.into(),
        now.into(),
        by.into(),
        ActionStatus::Scheduled.code().into(),
        wave.set.into(),
        wave.rollout.into(),
        wave.group.into(),
        wave.action_type.into(),
        wave.forced_time.into(),
        wave.weight.into(),
        wave.initiated_by.as_str().into(),
    ];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "target")?))).collect()
}

/// Gives actions a status; they are active from now on, or no longer.
pub async fn set_status(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    actions: &[i64],
    (status, active): (ActionStatus, bool),
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    if actions.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE sp_action SET status = $3, active = $4, last_modified_at = $5, last_modified_by = $6, \
         optlock_revision = coalesce(optlock_revision, 0) + 1 WHERE tenant = $1 AND id IN {}",
        engine.json_values(2, "bigint")
    );
    let values = [tenant.into(), json(&actions)?.into(), status.code().into(), active.into(), now.into(), by.into()];
    db.execute_raw(engine.statement(&sql, values)).await?;
    Ok(())
}

/// Up to `limit` active actions of groups, with their targets held in the order of the targets' ids;
/// those that are being cancelled already only with `canceling`.
pub async fn hold_active(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
    canceling: bool,
    limit: u64,
) -> Result<Vec<Active>, DbErr> {
    // Named one by one, so that the index on group and status leads past all that is over.
    let mut open: Vec<i32> = OPEN.iter().map(|status| status.code()).collect();
    if canceling {
        open.push(ActionStatus::Canceling.code());
    }
    let (groups_in, open_in) = (engine.json_values(2, "bigint"), engine.json_values(3, "integer"));
    let sql = format!(
        "SELECT a.id AS action, t.id AS target, t.controller_id, t.address \
         FROM sp_action a JOIN sp_target t ON t.id = a.target AND t.tenant = a.tenant \
         WHERE a.tenant = $1 AND a.active = true AND a.status IN {open_in} AND a.id IN \
         (SELECT id FROM sp_action WHERE tenant = $1 AND rollout_group IN {groups_in} AND status IN {open_in} \
          AND active = true LIMIT $4) \
         ORDER BY t.id{}",
        engine.for_update()
    );
    let values = [tenant.into(), json(&groups)?.into(), json(&open)?.into(), count(limit).into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    let found = |row: &QueryResult| {
        Ok(Active {
            action: row.try_get("", "action")?,
            target: row.try_get("", "target")?,
            controller_id: row.try_get("", "controller_id")?,
            address: row.try_get("", "address")?,
        })
    };
    rows.iter().map(found).collect()
}

/// Deletes up to `limit` scheduled actions of groups; returns how many there were.
pub async fn delete_scheduled(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    groups: &[i64],
    limit: u64,
) -> Result<u64, DbErr> {
    let sql = format!(
        "DELETE FROM sp_action WHERE tenant = $1 AND status = $3 AND id IN \
         (SELECT id FROM sp_action WHERE tenant = $1 AND rollout_group IN {} AND status = $3 LIMIT $4)",
        engine.json_values(2, "bigint")
    );
    let values = [tenant.into(), json(&groups)?.into(), ActionStatus::Scheduled.code().into(), count(limit).into()];
    Ok(db.execute_raw(engine.statement(&sql, values)).await?.rows_affected())
}

#[derive(Serialize)]
struct Id {
    id: i64,
}

fn count(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn json(value: &impl Serialize) -> Result<String, DbErr> {
    serde_json::to_string(value).map_err(|e| DbErr::Custom(e.to_string()))
}
