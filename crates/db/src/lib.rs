//! Connections, transactions, dialect differences and migrations.
//!
//! Owns how Kettle reaches its database: SQLite (one file, one writer) or PostgreSQL (a pool). Everything above takes
//! `&impl ConnectionTrait` and the same query text on both. Must know no table but `kt_migration`.

mod connect;
pub mod dialect;
pub mod migrate;
mod row;

pub use connect::{Db, Settings};
pub use row::column;
pub use sea_orm;
pub use sqlx;

use sea_orm::{DbErr, SqlErr};

/// The engines Kettle runs on. MySQL and MariaDB would be a third arm here and in [`dialect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Why a statement failed, as far as callers tell the cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A unique constraint says the row is there already.
    Duplicate,
    /// A foreign key points nowhere, or is still pointed at.
    Reference,
    /// A bound text holds what the engine's text can't: NUL, on PostgreSQL.
    Text,
    /// Another transaction was in the way; the same work can be tried again.
    Conflict,
    /// Anything else: connection lost, disk full, a fault of ours.
    Other,
}

/// Sorts an error of the driver into the cases that callers tell apart.
pub fn failure(error: &DbErr) -> Failure {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => return Failure::Duplicate,
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => return Failure::Reference,
        _ => {}
    }
    match sqlstate(error).as_deref() {
        // Character not in repertoire, untranslatable character (`\u0000` in JSON).
        Some("22021" | "22P05") => Failure::Text,
        // PostgreSQL: serialization failure, deadlock. SQLite: busy, busy snapshot, locked.
        Some("40001" | "40P01" | "5" | "517" | "6") => Failure::Conflict,
        _ => Failure::Other,
    }
}

fn sqlstate(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(e) | DbErr::Query(e) | DbErr::Conn(e)) = error else { return None };
    match e {
        sea_orm::RuntimeErr::SqlxError(e) => match e.as_ref() {
            sqlx::Error::Database(e) => e.code().map(|c| c.into_owned()),
            _ => None,
        },
        sea_orm::RuntimeErr::Internal(_) => None,
    }
}
