//! Queries over `kt_session`. Not of a tenant: a user is, and its session is found before its tenant is known. Times are the
//! database's.

use std::time::Duration;

use kettle_db::Engine;
use sea_orm::{ConnectionTrait, DbErr, Value};

use super::{Lifetime, Session, Stored};

pub(super) async fn insert(
    db: &impl ConnectionTrait,
    engine: Engine,
    id: &str,
    username: &str,
    proof: &str,
    lifetime: Lifetime,
) -> Result<Session, DbErr> {
    let sql = format!(
        "INSERT INTO kt_session (id, username, proof, created_at, seen_at, expires_at) \
         VALUES ($1, $2, $3, {now}, {now}, {now} + $4) RETURNING created_at, expires_at",
        now = engine.now_ms()
    );
    let values = [id.into(), username.into(), proof.into(), millis(lifetime.idle.min(lifetime.longest))];
    let row = db.query_one_raw(engine.statement(&sql, values)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotInserted)?;
    let (created_at, expires_at) = (row.try_get("", "created_at")?, row.try_get("", "expires_at")?);
    Ok(Session { username: username.to_owned(), created_at, expires_at })
}

/// A session that isn't over, and how long ago it was last noted to be used.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    engine: Engine,
    id: &str,
) -> Result<Option<(Stored, Duration)>, DbErr> {
    let sql = format!(
        "SELECT username, proof, created_at, expires_at, {now} - seen_at AS unnoted FROM kt_session \
         WHERE id = $1 AND expires_at > {now}",
        now = engine.now_ms()
    );
    let Some(row) = db.query_one_raw(engine.statement(&sql, [id.into()])).await? else { return Ok(None) };
    let session = Session {
        username: row.try_get("", "username")?,
        created_at: row.try_get("", "created_at")?,
        expires_at: row.try_get("", "expires_at")?,
    };
    let unnoted: i64 = row.try_get("", "unnoted")?;
    let unnoted = Duration::from_millis(u64::try_from(unnoted).unwrap_or(0));
    Ok(Some((Stored { session, proof: row.try_get("", "proof")? }, unnoted)))
}

/// Notes that a session is used; when it ends now. `None`: it was closed, or is over.
pub(super) async fn note(
    db: &impl ConnectionTrait,
    engine: Engine,
    id: &str,
    lifetime: Lifetime,
) -> Result<Option<i64>, DbErr> {
    let sql = format!(
        "UPDATE kt_session SET seen_at = {now}, expires_at = \
         CASE WHEN {now} + $2 < created_at + $3 THEN {now} + $2 ELSE created_at + $3 END \
         WHERE id = $1 AND expires_at > {now} RETURNING expires_at",
        now = engine.now_ms()
    );
    let values = [id.into(), millis(lifetime.idle), millis(lifetime.longest)];
    let row = db.query_one_raw(engine.statement(&sql, values)).await?;
    row.map(|row| row.try_get("", "expires_at")).transpose()
}

pub(super) async fn delete(db: &impl ConnectionTrait, engine: Engine, id: &str) -> Result<(), DbErr> {
    db.execute_raw(engine.statement("DELETE FROM kt_session WHERE id = $1", [id.into()])).await?;
    Ok(())
}

pub(super) async fn delete_of(db: &impl ConnectionTrait, engine: Engine, username: &str) -> Result<(), DbErr> {
    db.execute_raw(engine.statement("DELETE FROM kt_session WHERE username = $1", [username.into()])).await?;
    Ok(())
}

/// Deletes up to `limit` sessions whose time is over; how many there were.
pub(super) async fn delete_expired(db: &impl ConnectionTrait, engine: Engine, limit: i64) -> Result<u64, DbErr> {
    let sql = format!(
        "DELETE FROM kt_session WHERE id IN (SELECT id FROM kt_session WHERE expires_at <= {} LIMIT $1)",
        engine.now_ms()
    );
    Ok(db.execute_raw(engine.statement(&sql, [limit.into()])).await?.rows_affected())
}

fn millis(duration: Duration) -> Value {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).into()
}
