//! Queries over `kt_failed_login`. Not of a tenant: who fails to log in has none. Times are the database's.

use std::time::Duration;

use kettle_db::Engine;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};

use super::{Count, Kind, Subject};

pub(super) async fn read(
    db: &impl ConnectionTrait,
    engine: Engine,
    subjects: &[Subject],
    keep: Duration,
) -> Result<Vec<Count>, DbErr> {
    let mut values = vec![millis(keep)];
    let mut any_of = Vec::new();
    for Subject { kind, text } in subjects {
        values.push(text.as_str().into());
        any_of.push(format!("(kind = '{}' AND subject = ${})", kind.name(), values.len()));
    }
    let sql = format!(
        "SELECT kind, subject, failures, failed_at, {now} - failed_at AS ago FROM kt_failed_login \
         WHERE ({}) AND failed_at > {now} - $1",
        any_of.join(" OR "),
        now = engine.now_ms()
    );
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().filter_map(|row| count(row).transpose()).collect()
}

/// One statement for all subjects. A failure that should be forgotten by now is.
pub(super) async fn add(
    db: &impl ConnectionTrait,
    engine: Engine,
    subjects: &[Subject],
    keep: Duration,
) -> Result<Vec<Count>, DbErr> {
    let now = engine.now_ms();
    let mut values = vec![millis(keep)];
    let mut rows = Vec::new();
    for Subject { kind, text } in subjects {
        values.push(text.as_str().into());
        rows.push(format!("('{}', ${}, 1, {now})", kind.name(), values.len()));
    }
    let sql = format!(
        "INSERT INTO kt_failed_login (kind, subject, failures, failed_at) VALUES {} \
         ON CONFLICT (kind, subject) DO UPDATE SET failed_at = excluded.failed_at, failures = \
         CASE WHEN kt_failed_login.failed_at > {now} - $1 THEN kt_failed_login.failures + 1 ELSE 1 END \
         RETURNING kind, subject, failures, failed_at, 0 * failed_at AS ago",
        rows.join(", ")
    );
    let rows = db.query_all_raw(engine.statement(&sql, values)).await?;
    rows.iter().filter_map(|row| count(row).transpose()).collect()
}

pub(super) async fn forget(db: &impl ConnectionTrait, engine: Engine, subject: &Subject) -> Result<bool, DbErr> {
    let sql = "DELETE FROM kt_failed_login WHERE kind = $1 AND subject = $2";
    let values = [subject.kind.name().into(), subject.text.as_str().into()];
    Ok(db.execute_raw(engine.statement(sql, values)).await?.rows_affected() > 0)
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    engine: Engine,
    keep: Duration,
    limit: i64,
) -> Result<Vec<Count>, DbErr> {
    let sql = format!(
        "SELECT kind, subject, failures, failed_at, {now} - failed_at AS ago FROM kt_failed_login \
         WHERE failed_at > {now} - $1 ORDER BY failed_at DESC, kind, subject LIMIT $2",
        now = engine.now_ms()
    );
    let rows = db.query_all_raw(engine.statement(&sql, [millis(keep), limit.into()])).await?;
    rows.iter().filter_map(|row| count(row).transpose()).collect()
}

/// Deletes up to `limit` of those that are forgotten; how many there were.
pub(super) async fn delete_forgotten(
    db: &impl ConnectionTrait,
    engine: Engine,
    keep: Duration,
    limit: i64,
) -> Result<u64, DbErr> {
    let sql = format!(
        "DELETE FROM kt_failed_login WHERE (kind, subject) IN \
         (SELECT kind, subject FROM kt_failed_login WHERE failed_at <= {} - $1 LIMIT $2)",
        engine.now_ms()
    );
    Ok(db.execute_raw(engine.statement(&sql, [millis(keep), limit.into()])).await?.rows_affected())
}

/// Deletes up to `limit` of those that are older than the latest `most`; how many there were.
pub(super) async fn delete_beyond(
    db: &impl ConnectionTrait,
    engine: Engine,
    most: i64,
    limit: i64,
) -> Result<u64, DbErr> {
    let sql = "DELETE FROM kt_failed_login WHERE (kind, subject) IN \
               (SELECT kind, subject FROM kt_failed_login ORDER BY failed_at DESC LIMIT $1 OFFSET $2)";
    Ok(db.execute_raw(engine.statement(sql, [limit.into(), most.into()])).await?.rows_affected())
}

/// `None`: a kind of a newer version.
fn count(row: &QueryResult) -> Result<Option<Count>, DbErr> {
    let kind: String = row.try_get("", "kind")?;
    let Some(kind) = Kind::parse(&kind) else { return Ok(None) };
    let failures: i64 = row.try_get("", "failures")?;
    Ok(Some(Count {
        subject: Subject { kind, text: row.try_get("", "subject")? },
        failures: u64::try_from(failures).unwrap_or(0),
        failed_at: row.try_get("", "failed_at")?,
        ago: row.try_get("", "ago")?,
    }))
}

fn millis(duration: Duration) -> Value {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).into()
}
