//! Writing reports of any number of actions.

use std::collections::HashMap;

use kettle_db::Engine;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::json;

use crate::{
    actions::{
        Model,
        store::{Message, NewStatus, add_message_rows, json, pieces},
    },
    targets,
};

/// Statuses of any actions in the order they came, and what they make of the actions and their targets.
#[derive(Clone, Copy, Debug)]
pub struct Reports<'a> {
    pub statuses: &'a [NewStatus],
    pub actions: &'a [&'a Model],
    pub targets: &'a [&'a targets::Model],
}

/// Adds statuses, and writes what they make of their actions and targets. The caller holds all rows.
pub async fn report_all(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    reports: Reports<'_>,
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let columns = [("action", "bigint"), ("status", "integer"), ("occurred", "bigint"), ("code", "integer")];
    let sql = format!(
        "INSERT INTO sp_action_status (tenant, created_at, created_by, last_modified_at, last_modified_by, \
         optlock_revision, target_occurred_at, status, action, code) \
         SELECT $2, $3, $4, $3, $4, 1, r.occurred, r.status, r.action, r.code FROM {} RETURNING id",
        engine.json_rows(1, "r", &columns)
    );
    let row = |new: &NewStatus| json!({ "action": new.action, "status": new.status.code(), "occurred": new.occurred_at, "code": new.code });
    let rows: Vec<_> = reports.statuses.iter().map(row).collect();
    let values = [json(&rows)?.into(), tenant.into(), now.into(), by.into()];
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    let mut statuses = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<i64>, _>>()?;
    // They are numbered in the order of the rows.
    statuses.sort_unstable();
    let messages = statuses.iter().zip(reports.statuses).flat_map(|(&status, new)| {
        new.messages.iter().flat_map(|m| pieces(m)).map(move |message| Message { status, message })
    });
    add_message_rows(db, engine, &messages.collect::<Vec<_>>()).await?;

    let columns = [("id", "bigint"), ("status", "integer"), ("active", "boolean"), ("code", "integer")];
    let sql = format!(
        "UPDATE sp_action SET status = r.status, active = r.active, last_action_status_code = r.code, \
         optlock_revision = coalesce(sp_action.optlock_revision, 0) + 1 FROM {} \
         WHERE sp_action.tenant = $2 AND sp_action.id = r.id",
        engine.json_rows(1, "r", &columns)
    );
    let row = |action: &&Model| {
        let code = action.last_action_status_code;
        json!({ "id": action.id, "status": action.status, "active": action.active, "code": code })
    };
    let rows: Vec<_> = reports.actions.iter().map(row).collect();
    db.execute_raw(engine.statement(&sql, [json(&rows)?.into(), tenant.into()])).await?;
    if reports.targets.is_empty() {
        return Ok(());
    }
    let columns = [
        ("id", "bigint"),
        ("update_status", "integer"),
        ("assigned", "bigint"),
        ("installed", "bigint"),
        ("install_date", "bigint"),
        ("request_attributes", "boolean"),
    ];
    let sql = format!(
        "UPDATE sp_target SET update_status = r.update_status, assigned_distribution_set = r.assigned, \
         installed_distribution_set = r.installed, install_date = r.install_date, \
         request_controller_attributes = r.request_attributes, \
         optlock_revision = coalesce(sp_target.optlock_revision, 0) + 1 FROM {} \
         WHERE sp_target.tenant = $2 AND sp_target.id = r.id",
        engine.json_rows(1, "r", &columns)
    );
    let row = |target: &&targets::Model| {
        json!({
            "id": target.id,
            "update_status": target.update_status,
            "assigned": target.assigned_distribution_set,
            "installed": target.installed_distribution_set,
            "install_date": target.install_date,
            "request_attributes": target.request_controller_attributes,
        })
    };
    let rows: Vec<_> = reports.targets.iter().map(row).collect();
    db.execute_raw(engine.statement(&sql, [json(&rows)?.into(), tenant.into()])).await?;
    Ok(())
}

/// How many statuses actions have; those without any are left out.
pub async fn count_statuses(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    actions: &[i64],
) -> Result<HashMap<i64, i64>, DbErr> {
    let sql = format!(
        "SELECT action, count(*) AS n FROM sp_action_status WHERE tenant = $1 AND action IN {} GROUP BY action",
        engine.json_values(2, "bigint")
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), json(&actions)?.into()])).await?;
    rows.iter().map(|row| Ok((row.try_get("", "action")?, row.try_get("", "n")?))).collect()
}
