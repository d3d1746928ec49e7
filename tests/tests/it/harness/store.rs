//! A database without a server, for tests that call our crates directly.

use std::{sync::Arc, time::Duration};

use kettle_db::{
    Db, Settings, migrate,
    sea_orm::{ConnectionTrait as _, QueryResult, Value},
};
use tempfile::TempDir;

use super::{Database, Engine, Server};

/// A fresh, migrated database; it goes when the store does.
pub struct Store {
    pub db: Db,
    pub url: String,
    /// The SQLite file's folder, or the PostgreSQL database.
    _folder: Option<TempDir>,
    database: Option<Arc<Database>>,
}

/// Runs a test on a fresh store of each engine.
pub async fn on_each_store(test: impl AsyncFn(Store)) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Store::migrated(engine).await).await;
    }
}

impl Store {
    pub async fn empty(engine: Engine) -> Store {
        let folder = || tempfile::Builder::new().prefix("kettle-store-").tempdir().unwrap();
        let folder = (engine == Engine::Sqlite).then(folder);
        let database = (engine == Engine::Postgres).then(|| Arc::new(Database::create()));
        let url = match (&folder, &database) {
            (Some(folder), _) => format!("sqlite:{}", folder.path().join("kettle.db").display()),
            (_, Some(database)) => database.url.clone(),
            _ => unreachable!("an engine has one or the other"),
        };
        Store { db: connect(&url).await, url, _folder: folder, database }
    }

    pub async fn migrated(engine: Engine) -> Store {
        let store = Store::empty(engine).await;
        migrate::run(&store.db).await.unwrap();
        store
    }

    /// The database of a server, beside its own connections.
    pub async fn of(server: &Server) -> Store {
        let url = match &server.database {
            Some(database) => database.url.clone(),
            None => format!("sqlite:{}", server.data.path().join("kettle.db").display()),
        };
        Store { db: connect(&url).await, url, _folder: None, database: server.database.clone() }
    }

    /// A database that servers use, beside their own connections.
    pub async fn on(database: Arc<Database>) -> Store {
        Store { db: connect(&database.url).await, url: database.url.clone(), _folder: None, database: Some(database) }
    }

    /// The connections of another node.
    pub async fn another_node(&self) -> Db {
        connect(&self.url).await
    }

    /// The database, to start a server on it.
    pub fn database(&self) -> Arc<Database> {
        self.database.clone().expect("servers open a SQLite file in a folder of their own")
    }

    pub async fn rows<const N: usize>(&self, sql: &str, values: [Value; N]) -> Vec<QueryResult> {
        let statement = self.db.engine().statement(sql, values);
        self.db.read().query_all_raw(statement).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The number that a query gives as `n`.
    pub async fn number(&self, sql: &str) -> i64 {
        self.rows(sql, []).await[0].try_get("", "n").unwrap()
    }

    pub async fn execute(&self, sql: &str) {
        self.db.write().execute_unprepared(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

async fn connect(url: &str) -> Db {
    let settings = Settings {
        url: url.to_owned(),
        max_connections: 8,
        acquire_timeout: Duration::from_secs(30),
        idle_in_transaction: Duration::from_secs(60),
    };
    Db::connect(&settings).await.unwrap()
}
