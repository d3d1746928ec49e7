//! Brings a database to this version's schema, or says what it would do.
//!
//! The files under `migrations/` are embedded; each is applied once, in a transaction, and noted in `kt_migration`.
//! A database that hawkBit made is recognised by its tables: its history table `schema_version` is only read, the
//! first file counts as applied, and what follows adds `kt_*` tables alone.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use crate::{Db, Engine, Settings};

/// From this migration on, the table of migrations says what works beside each.
const SAYS_WORKS_FROM: i64 = 6;
/// The oldest hawkBit schema whose tables are those of `0001`.
const OLDEST_HAWKBIT: [u64; 3] = [1, 20, 0];
/// Serializes nodes that start at once on one PostgreSQL database. Any constant will do.
const ADVISORY_LOCK: i64 = 0x6b65_7474_6c65;

/// One file of `migrations/`, the same number and name for every engine.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: i64,
    pub name: &'static str,
    /// The oldest schema whose program still works beside this one: nodes of two versions run side by side while a cluster
    /// is upgraded. A migration only adds then; what it makes needless, a later one removes.
    works_from: i64,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal) => {
        migration!($version, $name, works_from: $version)
    };
    ($version:literal, $name:literal, works_from: $from:literal) => {
        Migration {
            version: $version,
            name: $name,
            works_from: $from,
            sqlite: include_str!(concat!("../../../migrations/sqlite/000", $version, "_", $name, ".sql")),
            postgres: include_str!(concat!("../../../migrations/postgres/000", $version, "_", $name, ".sql")),
        }
    };
}

/// Every migration, in order.
pub const ALL: &[Migration] = &[
    migration!(1, "hawkbit_tables"),
    migration!(2, "kettle_tables"),
    migration!(3, "indexes"),
    migration!(4, "rollouts"),
    migration!(5, "dmf"),
    migration!(6, "cluster"),
];

impl Migration {
    pub fn sql(&self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }
}

/// What a database holds before anything is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Empty,
    /// hawkBit's tables, with the version its history table names (none if that table is absent).
    Hawkbit(Option<String>),
    /// Ours, with the newest migration applied, and the oldest schema whose program works with that.
    Kettle {
        version: i64,
        works_from: i64,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "this database has hawkBit's schema {0}; Kettle takes over 1.20.0 and later. Start hawkBit 1.0 on it once, which \
         brings it to 1.20.0, stop it, and start Kettle again"
    )]
    TooOld(String),
    #[error(
        "this database was written by a newer Kettle (schema {found}, this one knows {known}, and {needed} is needed at \
         least). Start that version, or restore a backup made before it"
    )]
    Newer { found: i64, known: i64, needed: i64 },
    #[error(
        "this database lacks migrations (schema {found}, this version needs {needed}): was an older backup restored?"
    )]
    Older { found: i64, needed: i64 },
    #[error("migration {version} ({name}) failed and was rolled back: {source}")]
    Failed { version: i64, name: &'static str, source: DbErr },
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// What was, or would be, done.
#[derive(Debug)]
pub struct Outcome {
    pub found: Found,
    pub applied: Vec<Migration>,
}

/// Says what [`run`] would do, and changes nothing.
pub async fn plan(db: &Db) -> Result<Outcome, MigrateError> {
    let found = inspect(db.engine(), db.read()).await?;
    Ok(Outcome { applied: pending(&found)?, found })
}

/// As [`plan`], for a database that need not be there yet: a SQLite file is not created.
pub async fn plan_at(settings: &Settings) -> Result<Outcome, MigrateError> {
    if settings.is_new_file() {
        return Ok(Outcome { applied: pending(&Found::Empty)?, found: Found::Empty });
    }
    let db = Db::connect(settings).await?;
    let outcome = plan(&db).await;
    db.close().await;
    outcome
}

/// Applies what is missing. Safe to call from several nodes at once.
pub async fn run(db: &Db) -> Result<Outcome, MigrateError> {
    let tx = db.begin().await?;
    if db.engine() == Engine::Postgres {
        tx.execute_raw(db.engine().statement("SELECT pg_advisory_xact_lock($1)", [ADVISORY_LOCK.into()])).await?;
    }
    let found = inspect(db.engine(), &tx).await?;
    let applied = pending(&found)?;
    if !matches!(found, Found::Kettle { .. }) {
        tx.execute_unprepared(
            "CREATE TABLE kt_migration (version bigint NOT NULL PRIMARY KEY, name varchar(128) NOT NULL, \
             applied_at bigint NOT NULL)",
        )
        .await?;
    }
    if let (Found::Hawkbit(_), Some(first)) = (&found, ALL.first()) {
        note(db.engine(), &tx, first).await?;
    }
    for migration in &applied {
        let failed = |source| MigrateError::Failed { version: migration.version, name: migration.name, source };
        tx.execute_unprepared(migration.sql(db.engine())).await.map_err(failed)?;
        note(db.engine(), &tx, migration).await.map_err(failed)?;
    }
    tx.commit().await?;
    Ok(Outcome { found, applied })
}

async fn note(engine: Engine, tx: &DatabaseTransaction, migration: &Migration) -> Result<(), DbErr> {
    let now = engine.now_ms();
    let sql = format!("INSERT INTO kt_migration (version, name, applied_at) VALUES ($1, $2, {now})");
    tx.execute_raw(engine.statement(&sql, [migration.version.into(), migration.name.into()])).await?;
    if migration.version >= SAYS_WORKS_FROM {
        let sql = "UPDATE kt_migration SET works_from = $1 WHERE version = $2";
        tx.execute_raw(engine.statement(sql, [migration.works_from.into(), migration.version.into()])).await?;
    }
    Ok(())
}

/// Whether the database's schema is one that this version works with, now.
pub async fn check(db: &Db) -> Result<(), MigrateError> {
    let found = inspect(db.engine(), db.read()).await?;
    if pending(&found)?.is_empty() {
        return Ok(());
    }
    let found = if let Found::Kettle { version, .. } = found { version } else { 0 };
    Err(MigrateError::Older { found, needed: known() })
}

/// The newest schema that this version knows.
pub fn known() -> i64 {
    ALL.last().map_or(0, |m| m.version)
}

fn pending(found: &Found) -> Result<Vec<Migration>, MigrateError> {
    let known = known();
    let done = match found {
        Found::Empty => 0,
        Found::Hawkbit(Some(version)) if parse_version(version) < OLDEST_HAWKBIT => {
            return Err(MigrateError::TooOld(version.clone()));
        }
        Found::Hawkbit(_) => 1,
        Found::Kettle { version, works_from } if *works_from > known => {
            return Err(MigrateError::Newer { found: *version, known, needed: *works_from });
        }
        Found::Kettle { version, .. } => *version,
    };
    Ok(ALL.iter().filter(|m| m.version > done).copied().collect())
}

async fn inspect(engine: Engine, db: &impl ConnectionTrait) -> Result<Found, DbErr> {
    if table_exists(engine, db, "kt_migration").await? {
        let number = async |sql: &str| {
            let row = db.query_one_raw(engine.statement(sql, [])).await?;
            row.map_or(Ok(0), |row| row.try_get::<i64>("", "n"))
        };
        let version = number("SELECT coalesce(max(version), 0) AS n FROM kt_migration").await?;
        let works_from = if version < SAYS_WORKS_FROM {
            version
        } else {
            number("SELECT max(CASE works_from WHEN 0 THEN version ELSE works_from END) AS n FROM kt_migration").await?
        };
        return Ok(Found::Kettle { version, works_from });
    }
    if !table_exists(engine, db, "sp_target").await? {
        return Ok(Found::Empty);
    }
    if !table_exists(engine, db, "schema_version").await? {
        return Ok(Found::Hawkbit(None));
    }
    let sql = "SELECT version FROM schema_version WHERE success = true AND version IS NOT NULL";
    let mut newest: Option<String> = None;
    for row in db.query_all_raw(engine.statement(sql, [])).await? {
        let version: String = row.try_get("", "version")?;
        if newest.as_deref().is_none_or(|n| parse_version(n) < parse_version(&version)) {
            newest = Some(version);
        }
    }
    Ok(Found::Hawkbit(newest))
}

async fn table_exists(engine: Engine, db: &impl ConnectionTrait, table: &str) -> Result<bool, DbErr> {
    let sql = match engine {
        Engine::Sqlite => "SELECT 1 AS one FROM sqlite_master WHERE type = 'table' AND name = $1",
        Engine::Postgres => {
            "SELECT 1 AS one FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) AND tablename = $1"
        }
    };
    Ok(db.query_one_raw(engine.statement(sql, [table.into()])).await?.is_some())
}

fn parse_version(text: &str) -> [u64; 3] {
    let mut parts = text.split(['.', '_']).map(|p| p.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_hawkbit_is_refused_and_a_newer_one_is_taken_over() {
        for (version, taken) in
            [("1.12.33", false), ("1.19.99", false), ("1.20.0", true), ("1.20", true), ("1.21.3", true)]
        {
            assert_eq!(pending(&Found::Hawkbit(Some(version.into()))).is_ok(), taken, "{version}");
        }
    }

    #[test]
    fn a_newer_schema_is_taken_if_it_says_so() {
        let newer = |works_from| pending(&Found::Kettle { version: 99, works_from });
        assert!(newer(99).is_err());
        assert!(newer(known() + 1).is_err());
        assert!(newer(known()).unwrap().is_empty());
        let older = Found::Kettle { version: known() - 1, works_from: known() - 1 };
        assert_eq!(pending(&older).unwrap().len(), 1);
    }
}
