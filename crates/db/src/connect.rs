//! Opening the database and beginning transactions.

use std::{
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, SqlxPostgresConnector,
    SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::Engine;

/// How long SQLite waits for another process's lock before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Tells the server soon that a client's machine is gone. Not every system can do it, and not every pooler lets it.
const KEEPALIVES: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
                          SET tcp_user_timeout = 11000";
/// A pooled connection is tested before use when it was idle for this long, or is in doubt; a test is a round trip.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);
/// A connection that does not answer a test in this time is taken for dead: a machine that lost its power says no goodbye.
const TEST_TIMEOUT: Duration = Duration::from_secs(1);
/// So that statements of the event channel cost what they find: PostgreSQL keeps a session's plan that was good when a table was
/// small, and reads the whole of it from then on.
const BY_INDEX: &str = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
/// PostgreSQL compiles statements that it takes for dear: half a second of compiling for one of eight milliseconds.
const NOT_COMPILED: &str = "SET jit = off";
/// For so long after a loss a connection is also tested when it is given back: who used it may have given up waiting.
const TEST_BACK_FOR: Duration = Duration::from_secs(30);

/// Where the database is and how many connections one node may hold.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `postgres://…` or `sqlite:PATH`.
    pub url: String,
    pub max_connections: u32,
    pub acquire_timeout: Duration,
    /// PostgreSQL ends a transaction in which its node does nothing for so long, and with it the locks: what a node holds that
    /// hangs or is cut off, others would wait for.
    pub idle_in_transaction: Duration,
}

impl Settings {
    pub fn engine(&self) -> Engine {
        if self.file().is_some() { Engine::Sqlite } else { Engine::Postgres }
    }

    /// Whether [`Db::connect`] would create the database.
    pub fn is_new_file(&self) -> bool {
        self.file().is_some_and(|file| !file.exists())
    }

    fn file(&self) -> Option<&Path> {
        self.url.strip_prefix("sqlite:").map(|path| Path::new(path.trim_start_matches("//")))
    }
}

/// The database of one node.
///
/// On SQLite reads and writes have pools of their own: many readers, one writer, so a writer never meets a busy
/// database inside this process. On PostgreSQL both are one pool.
#[derive(Clone, Debug)]
pub struct Db {
    engine: Engine,
    read: DatabaseConnection,
    write: DatabaseConnection,
    channel: Option<Channel>,
    doubt: Doubt,
}

/// How connections of the event channel are made.
#[derive(Clone, Debug)]
struct Channel {
    pool: PgPoolOptions,
    options: PgConnectOptions,
}

/// Since when connections that lie idle may be dead: a server that restarts takes all of them with it, and each that is used
/// untested fails a request.
#[derive(Clone, Debug)]
struct Doubt {
    started: Instant,
    /// Microseconds after `started`; 0 is never.
    at: Arc<AtomicU64>,
}

impl Doubt {
    fn new() -> Doubt {
        Doubt { started: Instant::now(), at: Arc::default() }
    }

    fn rise(&self) {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.at.fetch_max(now, Ordering::Relaxed);
    }

    /// Tests a connection; one that fails raises doubt about the others.
    async fn test(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let tested = tokio::time::timeout(TEST_TIMEOUT, sqlx::Connection::ping(connection)).await;
        let silent = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        tested.unwrap_or_else(|_| silent()).inspect_err(|_| self.rise())
    }

    /// Whether what is idle for so long already was when doubt rose: it rose since then.
    fn covers(&self, idle: Duration) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at > 0 && self.started.elapsed().saturating_sub(idle) <= Duration::from_micros(at)
    }
}

impl Db {
    /// Opens the database; a SQLite file and its folder are created when missing.
    pub async fn connect(settings: &Settings) -> Result<Db, DbErr> {
        match settings.file() {
            Some(file) => Db::sqlite(file, settings).await,
            None => Db::postgres(settings).await,
        }
    }

    async fn sqlite(path: &Path, settings: &Settings) -> Result<Db, DbErr> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|e| conn_err(format!("cannot create {}: {e}", folder.display())))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("temp_store", "memory")
            .disable_statement_logging();
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(settings.acquire_timeout)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let write = pool(1).connect_with(options.clone()).await.map_err(sqlx_err)?;
        let read = pool(settings.max_connections.clamp(1, 4)).connect_with(options).await.map_err(sqlx_err)?;
        Ok(Db {
            engine: Engine::Sqlite,
            read: SqlxSqliteConnector::from_sqlx_sqlite_pool(read),
            write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
            channel: None,
            doubt: Doubt::new(),
        })
    }

    async fn postgres(settings: &Settings) -> Result<Db, DbErr> {
        let options = PgConnectOptions::from_str(&settings.url)
            .map_err(sqlx_err)?
            .application_name("kettle")
            .disable_statement_logging();
        let doubt = Doubt::new();
        let (doubted, returned) = (doubt.clone(), doubt.clone());
        let pool = with_session(settings, "")
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .before_acquire(move |connection, meta| {
                let doubt = doubted.clone();
                Box::pin(async move {
                    if meta.idle_for > TEST_AFTER_IDLE || doubt.covers(meta.idle_for) {
                        doubt.test(connection).await?;
                    }
                    Ok(true)
                })
            })
            .after_release(move |connection, _| {
                let doubt = returned.clone();
                Box::pin(async move {
                    if doubt.covers(TEST_BACK_FOR) {
                        doubt.test(connection).await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.clone())
            .await
            .map_err(sqlx_err)?;
        let channel = Channel { pool: with_session(settings, BY_INDEX).max_connections(2), options };
        let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        Ok(Db { engine: Engine::Postgres, read: pool.clone(), write: pool, channel: Some(channel), doubt })
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// For statements that only read, outside a transaction.
    pub fn read(&self) -> &impl ConnectionTrait {
        &self.read
    }

    /// For a single statement that writes and needs no transaction of its own.
    pub fn write(&self) -> &impl ConnectionTrait {
        &self.write
    }

    /// Begins a writing transaction. On SQLite it is the only one at a time from its first moment.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let mode = (self.engine == Engine::Sqlite).then_some(SqliteTransactionMode::Immediate);
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..Default::default() };
        match self.write.begin_with_options(options).await {
            // Nothing is done yet: a connection that was dead in the pool is no reason to fail.
            Err(error) if is_lost(&error) => {
                tracing::debug!(%error, "beginning once more, on another connection");
                self.doubt();
                self.write.begin_with_options(options).await
            }
            begun => begun,
        }
    }

    /// Says that a connection was lost: those that lie idle are tested before they are used.
    pub fn doubt(&self) {
        self.doubt.rise();
    }

    /// Fails unless the database answers.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.read.execute_unprepared("SELECT 1").await.map(drop)
    }

    /// Has PostgreSQL look at a table that has grown out of nothing: until autovacuum does, within a minute, it plans as if next to
    /// no row held for any condition, and joins by loops.
    pub async fn analyze_young(&self, table: &'static str) -> Result<(), DbErr> {
        const YOUNG: f32 = 10_000.0;
        if self.engine != Engine::Postgres {
            return Ok(());
        }
        let sql = "SELECT reltuples FROM pg_class WHERE oid = to_regclass($1)";
        let row = self.read.query_one_raw(self.engine.statement(sql, [table.into()])).await?;
        let rows: Option<f32> = row.map(|row| row.try_get("", "reltuples")).transpose()?;
        if rows.is_some_and(|rows| rows < YOUNG) {
            self.write.execute_unprepared(&format!("ANALYZE {table}")).await?;
        }
        Ok(())
    }

    /// Two connections to PostgreSQL beside those for requests, for the event channel: one to listen, one for its statements, which
    /// wait behind nobody's. Made when they are first used, closed when this is dropped: so nothing that hangs is kept.
    pub fn event_channel(&self) -> Option<DatabaseConnection> {
        let Channel { pool, options } = self.channel.clone()?;
        Some(SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(options)))
    }

    /// Closes all connections; on SQLite this folds the write-ahead log into the file.
    pub async fn close(self) {
        for (what, connection) in [("readers", self.read), ("writer", self.write)] {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "closing the database's {what}");
            }
        }
    }
}

/// Connections that are set up for Kettle, and by `more`.
fn with_session(settings: &Settings, more: &'static str) -> PgPoolOptions {
    let idle = settings.idle_in_transaction.as_millis();
    let session: Arc<str> = format!("SET idle_in_transaction_session_timeout = {idle}; {NOT_COMPILED}; {more}").into();
    PgPoolOptions::new().test_before_acquire(false).after_connect(move |connection, _| {
        let session = session.clone();
        Box::pin(async move {
            connection.execute(AssertSqlSafe(&*session)).await?;
            if let Err(error) = connection.execute(KEEPALIVES).await {
                tracing::debug!(%error, "the server's keepalives stay as they are");
            }
            Ok(())
        })
    })
}

/// Whether the connection is gone, and not the server too busy to give one, or the statement wrong.
fn is_lost(error: &DbErr) -> bool {
    let (DbErr::Exec(e) | DbErr::Query(e) | DbErr::Conn(e)) = error else { return false };
    let sea_orm::RuntimeErr::SqlxError(error) = e else { return false };
    match error.as_ref() {
        sqlx::Error::Io(_) => true,
        // The server's last words: it stops, has crashed, or an operator has ended this connection.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

fn sqlx_err(error: sqlx::Error) -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into()))
}

fn conn_err(message: String) -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::Internal(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_idle_when_a_connection_was_lost_is_in_doubt_and_what_came_after_is_not() {
        let minute = Duration::from_secs(60);
        let doubt = Doubt { started: Instant::now().checked_sub(minute).unwrap(), at: Arc::default() };
        assert!(!doubt.covers(minute / 2), "nothing was lost yet");
        doubt.at.store(30_000_000, Ordering::Relaxed);
        assert!(doubt.covers(Duration::from_secs(31)));
        assert!(!doubt.covers(Duration::from_secs(29)), "it was in use since");
        doubt.rise();
        assert!(doubt.covers(Duration::from_secs(29)));
    }
}
