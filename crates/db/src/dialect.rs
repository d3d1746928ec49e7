//! The differences between the engines, each a named function. Nothing else branches on [`Engine`].

use std::time::Duration;

use sea_orm::{DbBackend, Statement, Value};

use crate::Engine;

impl Engine {
    pub fn backend(self) -> DbBackend {
        match self {
            Engine::Sqlite => DbBackend::Sqlite,
            Engine::Postgres => DbBackend::Postgres,
        }
    }

    /// A hand-written statement with `$1`, `$2`, … on every engine.
    pub fn statement(self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// The database's own clock in epoch milliseconds: leases run by it, not by any node's.
    pub fn now_ms(self) -> &'static str {
        match self {
            Engine::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Engine::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
        }
    }

    /// A time so long ago by the database's clock, in UTC, for columns of type timestamp.
    pub fn utc_timestamp(self, ago: Duration) -> String {
        let seconds = ago.as_secs();
        match self {
            Engine::Sqlite => format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-{seconds} seconds')"),
            Engine::Postgres => format!("((clock_timestamp() AT TIME ZONE 'UTC') - interval '{seconds} seconds')"),
        }
    }

    /// A derived table `alias(columns…)` from one JSON array of objects bound as parameter `$n`: a set of any size in
    /// one parameter and one query text. Column types are `bigint`, `text`, `boolean` or `integer`.
    pub fn json_rows(self, n: usize, alias: &str, columns: &[(&str, &str)]) -> String {
        match self {
            Engine::Sqlite => {
                let list: Vec<_> =
                    columns.iter().map(|(c, _)| format!("json_extract(value, '$.{c}') AS {c}")).collect();
                format!("(SELECT {} FROM json_each(${n})) AS {alias}", list.join(", "))
            }
            Engine::Postgres => {
                let list: Vec<_> = columns.iter().map(|(c, t)| format!("{c} {t}")).collect();
                format!("json_to_recordset(CAST(${n} AS json)) AS {alias}({})", list.join(", "))
            }
        }
    }

    /// A subselect of the values in one JSON array bound as parameter `$n`.
    pub fn json_values(self, n: usize, kind: &str) -> String {
        match self {
            Engine::Sqlite => format!("(SELECT value FROM json_each(${n}))"),
            Engine::Postgres => {
                format!("(SELECT CAST(value AS {kind}) FROM json_array_elements_text(CAST(${n} AS json)))")
            }
        }
    }

    /// Whether `upper()` leaves letters beyond ASCII as they are.
    pub fn folds_ascii_only(self) -> bool {
        match self {
            Engine::Sqlite => true,
            Engine::Postgres => false,
        }
    }

    /// Whether no two processes are to use one database at the same time.
    pub fn is_of_one_process(self) -> bool {
        match self {
            Engine::Sqlite => true,
            Engine::Postgres => false,
        }
    }

    /// Within a transaction, whether statements are planned for the tables as they are: for those that look up many rows of
    /// a table that has just grown by orders of magnitude. A plan kept from before may take minutes then. Not for
    /// statements that write: the checks of foreign keys would be planned anew for each row. SQLite's plans do not depend
    /// on sizes.
    pub fn plan_anew(self, anew: bool) -> Option<&'static str> {
        match (self, anew) {
            (Engine::Sqlite, _) => None,
            (Engine::Postgres, true) => Some("SET LOCAL plan_cache_mode = force_custom_plan"),
            (Engine::Postgres, false) => Some("SET LOCAL plan_cache_mode = auto"),
        }
    }

    /// For a step that is done again if it is lost, and that nobody outside sees before a later one is committed for good:
    /// its commit need not wait for the disk.
    pub fn commit_lazily(self) -> Option<&'static str> {
        match self {
            Engine::Sqlite => None,
            Engine::Postgres => Some("SET LOCAL synchronous_commit = off"),
        }
    }

    /// Locks the rows read until the transaction ends. SQLite has one writer anyway.
    pub fn for_update(self) -> &'static str {
        match self {
            Engine::Sqlite => "",
            Engine::Postgres => " FOR UPDATE",
        }
    }

    /// As [`Engine::for_update`], but lets others read-lock the same rows.
    pub fn for_share(self) -> &'static str {
        match self {
            Engine::Sqlite => "",
            Engine::Postgres => " FOR SHARE",
        }
    }

    /// Writes that belong together, each with a name, as the statements to run one after the other: a single one where an
    /// engine can, for the sake of the round trips. They see the tables as they were before all of them, so none may
    /// read what another writes, but for [`Engine::new_id`]. Each needs a RETURNING clause only if that is used.
    pub fn together(self, writes: &[(&str, String)]) -> Vec<String> {
        match (self, writes) {
            (Engine::Postgres, [first @ .., (_, last)]) if !first.is_empty() => {
                let named: Vec<_> = first.iter().map(|(name, sql)| format!("{name} AS ({sql})")).collect();
                vec![format!("WITH {} {last}", named.join(", "))]
            }
            _ => writes.iter().map(|(_, sql)| sql.clone()).collect(),
        }
    }

    /// Within [`Engine::together`], the id of the row that the write `name` before inserted; it ends in `RETURNING id`.
    pub fn new_id(self, name: &str) -> String {
        match self {
            Engine::Sqlite => "(SELECT last_insert_rowid())".to_owned(),
            Engine::Postgres => format!("(SELECT id FROM {name})"),
        }
    }

    /// Holds the lock of the name bound as `$1` until the transaction ends. SQLite needs none: a writing transaction is
    /// alone.
    pub fn lock_name(self) -> Option<&'static str> {
        match self {
            Engine::Sqlite => None,
            Engine::Postgres => Some("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"),
        }
    }
}
