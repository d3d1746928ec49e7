//! A database without a server, for tests that call our crates directly.

use std::{sync::Arc, time::Duration};

use kettle_db::{
    Db, Settings, migrate,
    sea_orm::{ConnectionTrait as _, QueryResult, Value},
};
use tempfile::TempDir;

use super::{Database, Engine};

/// A fresh, migrated database; it goes when the store does.
pub struct Store {
    pub db: Db,
    pub url: String,
    _place: Place,
}

/// Held for its destructor.
enum Place {
    Folder(TempDir),
    Server(Arc<Database>),
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
        let (url, place) = match engine {
            Engine::Sqlite => {
                let folder = tempfile::Builder::new().prefix("kettle-store-").tempdir().unwrap();
                (format!("sqlite:{}", folder.path().join("kettle.db").display()), Place::Folder(folder))
            }
            Engine::Postgres => {
                let database = Arc::new(Database::create());
                (database.url.clone(), Place::Server(database))
            }
        };
        Store { db: connect(&url).await, url, _place: place }
    }

    pub async fn migrated(engine: Engine) -> Store {
        let store = Store::empty(engine).await;
        migrate::run(&store.db).await.unwrap();
        store
    }

    /// The connections of another node.
    pub async fn another_node(&self) -> Db {
        connect(&self.url).await
    }

    /// The database, to start a server on it.
    pub fn database(&self) -> Arc<Database> {
        match &self._place {
            Place::Server(database) => database.clone(),
            Place::Folder(_) => panic!("servers open a SQLite file in a folder of their own"),
        }
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
    let settings = Settings { url: url.to_owned(), max_connections: 8, acquire_timeout: Duration::from_secs(30) };
    Db::connect(&settings).await.unwrap()
}
