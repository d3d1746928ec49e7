//! Queries over `kt_download_id` and what an id is issued for. Every one binds the tenant, but for the clean-up.

use std::time::Duration;

use kettle_db::Engine;
use sea_orm::{ConnectionTrait, DbErr, Value};

/// Which artifact is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    Sha1(&'a str),
    Filename(&'a str),
    Artifact(i64),
    InModule { module: i64, filename: &'a str },
}

/// The artifact that is asked for, if an action of the target has a set that holds it; of several the newest.
pub async fn assigned(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    controller_id: &str,
    wanted: Wanted<'_>,
) -> Result<Option<i64>, DbErr> {
    let mut values: Vec<Value> = vec![tenant.into(), controller_id.into()];
    let wanted = match wanted {
        Wanted::Sha1(sha1) => {
            values.push(sha1.into());
            "f.sha1_hash = $3"
        }
        Wanted::Filename(filename) => {
            values.push(filename.into());
            "f.provided_file_name = $3"
        }
        Wanted::Artifact(id) => {
            values.push(id.into());
            "f.id = $3"
        }
        Wanted::InModule { module, filename } => {
            values.extend([filename.into(), module.into()]);
            "f.provided_file_name = $3 AND f.software_module = $4"
        }
    };
    let sql = format!(
        "SELECT f.id FROM sp_target t \
         JOIN sp_action a ON a.tenant = t.tenant AND a.target = t.id \
         JOIN sp_ds_sm s ON s.ds_id = a.distribution_set \
         JOIN sp_software_module m ON m.id = s.sm_id AND m.deleted = false \
         JOIN sp_artifact f ON f.tenant = t.tenant AND f.software_module = s.sm_id \
         WHERE t.tenant = $1 AND t.controller_id = $2 AND {wanted} ORDER BY a.id DESC, f.id DESC LIMIT 1"
    );
    let row = db.query_one_raw(engine.statement(&sql, values)).await?;
    row.map(|row| row.try_get("", "id")).transpose()
}

/// The controllerId of the target with this id.
pub async fn controller_id(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    target: i64,
) -> Result<Option<String>, DbErr> {
    let sql = "SELECT controller_id FROM sp_target WHERE tenant = $1 AND id = $2";
    let row = db.query_one_raw(engine.statement(sql, [tenant.into(), target.into()])).await?;
    row.map(|row| row.try_get("", "controller_id")).transpose()
}

/// By the database's clock, as everything about the time of an id.
pub async fn insert(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    id: &str,
    controller_id: &str,
    artifact: i64,
    ttl: Duration,
) -> Result<(), DbErr> {
    let sql = format!(
        "INSERT INTO kt_download_id (id, tenant, controller_id, artifact, expires_at) VALUES ($1, $2, $3, $4, {} + $5)",
        engine.now_ms()
    );
    let ttl = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    let values = [id.into(), tenant.into(), controller_id.into(), artifact.into(), ttl.into()];
    db.execute_raw(engine.statement(&sql, values)).await?;
    Ok(())
}

/// The id of the artifact that a download id is for, while it can be used.
pub async fn find(db: &impl ConnectionTrait, engine: Engine, tenant: &str, id: &str) -> Result<Option<i64>, DbErr> {
    let sql = format!(
        "SELECT artifact AS id FROM kt_download_id WHERE tenant = $1 AND id = $2 AND expires_at > {}",
        engine.now_ms()
    );
    let row = db.query_one_raw(engine.statement(&sql, [tenant.into(), id.into()])).await?;
    row.map(|row| row.try_get("", "id")).transpose()
}

pub async fn delete(db: &impl ConnectionTrait, engine: Engine, tenant: &str, id: &str) -> Result<(), DbErr> {
    let sql = "DELETE FROM kt_download_id WHERE tenant = $1 AND id = $2";
    db.execute_raw(engine.statement(sql, [tenant.into(), id.into()])).await?;
    Ok(())
}

/// Deletes up to `limit` ids whose time is over, of all tenants; how many there were.
pub async fn delete_expired(db: &impl ConnectionTrait, engine: Engine, limit: i64) -> Result<u64, DbErr> {
    let sql = format!(
        "DELETE FROM kt_download_id WHERE id IN (SELECT id FROM kt_download_id WHERE expires_at <= {} LIMIT $1)",
        engine.now_ms()
    );
    Ok(db.execute_raw(engine.statement(&sql, [limit.into()])).await?.rows_affected())
}
