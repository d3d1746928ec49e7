//! The statements behind commands: for many targets at once, whatever their number. All bind the tenant.

use kettle_db::Engine;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;

use crate::actions::{ActionStatus, ActionType, Window};

/// An action and its target, as far as commands need them.
#[derive(Clone, Debug)]
pub struct Found {
    pub controller_id: String,
    /// Empty if the target has none.
    pub address: String,
    pub security_token: String,
    pub action: i64,
    pub active: bool,
    pub status: ActionStatus,
    pub action_type: ActionType,
    pub set: i64,
    pub window: Option<Window>,
    /// Whether an active action of the target is being cancelled.
    pub cancels_first: bool,
}

const COLUMNS: &str = "t.controller_id, coalesce(t.address, '') AS address, t.sec_token, a.id AS action, \
                       coalesce(a.active, false) AS active, a.status, a.action_type, a.distribution_set, \
                       a.maintenance_cron_schedule, a.maintenance_duration, a.maintenance_time_zone, \
                       EXISTS (SELECT 1 FROM sp_action c WHERE c.tenant = t.tenant AND c.target = t.id \
                         AND c.active = true AND c.status = $3) AS cancels_first";

/// These actions, of those that there are, in any order.
pub async fn of_actions(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    ids: &[i64],
) -> Result<Vec<Found>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM sp_action a JOIN sp_target t ON t.id = a.target AND t.tenant = a.tenant \
         WHERE a.tenant = $1 AND a.id IN {}",
        engine.json_values(2, "bigint")
    );
    read(db, engine, tenant, &sql, ids).await
}

/// The active action of each of these targets that has the highest weight, then the lowest id, by the targets' ids.
pub async fn next(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    controller_ids: &[String],
) -> Result<Vec<Found>, DbErr> {
    let sql = format!(
        "SELECT {COLUMNS} FROM sp_target t JOIN sp_action a ON a.id = (SELECT x.id FROM sp_action x \
         WHERE x.tenant = t.tenant AND x.target = t.id AND x.active = true ORDER BY x.weight DESC, x.id LIMIT 1) \
         WHERE t.tenant = $1 AND t.controller_id IN {} ORDER BY t.id",
        engine.json_values(2, "text")
    );
    read(db, engine, tenant, &sql, controller_ids).await
}

async fn read(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    sql: &str,
    names: &[impl Serialize],
) -> Result<Vec<Found>, DbErr> {
    let names = serde_json::to_string(names).map_err(|e| DbErr::Custom(e.to_string()))?;
    let values = [tenant.into(), names.into(), ActionStatus::Canceling.code().into()];
    db.query_all_raw(engine.statement(sql, values)).await?.iter().map(found).collect()
}

fn found(row: &QueryResult) -> Result<Found, DbErr> {
    let action = row.try_get("", "action")?;
    let window = Window::stored(
        action,
        row.try_get("", "maintenance_cron_schedule")?,
        row.try_get("", "maintenance_duration")?,
        row.try_get("", "maintenance_time_zone")?,
    );
    Ok(Found {
        controller_id: row.try_get("", "controller_id")?,
        address: row.try_get("", "address")?,
        security_token: row.try_get("", "sec_token")?,
        action,
        active: row.try_get("", "active")?,
        status: ActionStatus::from_code(row.try_get("", "status")?),
        action_type: ActionType::from_code(row.try_get("", "action_type")?),
        set: row.try_get("", "distribution_set")?,
        window,
        cancels_first: row.try_get("", "cancels_first")?,
    })
}
