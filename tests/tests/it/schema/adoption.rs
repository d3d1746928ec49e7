//! A database that hawkBit wrote: its tables are recognised, ours are added, its own history is left as found.

use kettle_db::{Engine as Kind, migrate};

use super::{MigrateError, catalog, dump_postgres, kettle_migrate};
use crate::harness::{Engine, Store, psql};

#[tokio::test]
async fn our_tables_and_indexes_are_added_and_nothing_else_changes() {
    let store = hawkbits_database("1.20.0").await;
    let history = psql(&store.url, HISTORY);
    let (tables, before) = (catalog::of_postgres(&store.url, "%"), dump_postgres(&store.url));

    let plan = migrate::plan(&store.db).await.unwrap();
    assert_eq!(plan.found, migrate::Found::Hawkbit(Some("1.20.0".into())));
    let (success, said) = kettle_migrate(&store.url, &["--dry-run"]);
    assert!(success && said.contains("hawkBit's, schema 1.20.0") && !said.contains("CREATE TABLE sp_"), "{said}");
    assert_eq!(dump_postgres(&store.url), before, "a dry run");

    let done = migrate::run(&store.db).await.unwrap();
    assert!(done.applied.iter().all(|migration| migration.version > 1), "{done:?}");
    let mut now = catalog::of_postgres(&store.url, "%");
    let ours: Vec<String> = now.as_object().unwrap().keys().filter(|t| t.starts_with("kt_")).cloned().collect();
    assert!(!ours.is_empty());
    now.as_object_mut().unwrap().retain(|table, _| !table.starts_with("kt_"));
    for table in now.as_object_mut().unwrap().values_mut() {
        *table = catalog::without_our_indexes(table);
    }
    assert_eq!(now, tables);
    assert_eq!(psql(&store.url, HISTORY), history);
    assert_eq!(migrate::run(&store.db).await.unwrap().applied.len(), 0, "it is ours now");

    // The way back: without our tables and indexes it is hawkBit's again, to the byte.
    let ours = ours.join(", ");
    store.execute(&format!("DROP TABLE {ours}")).await;
    let ours = r"SELECT string_agg(relname, ', ') FROM pg_class WHERE relkind = 'i' AND relname LIKE 'kt\_%'";
    store.execute(&format!("DROP INDEX {}", psql(&store.url, ours))).await;
    assert_eq!(dump_postgres(&store.url), before);
}

#[tokio::test]
async fn a_database_of_an_older_hawkbit_is_refused_and_left_alone() {
    let store = hawkbits_database("1.12.33").await;
    let before = dump_postgres(&store.url);
    let told =
        "this database has hawkBit's schema 1.12.33; Kettle takes over 1.20.0 and later. Start hawkBit 1.0 on it once";
    for error in [migrate::run(&store.db).await.unwrap_err(), migrate::plan(&store.db).await.unwrap_err()] {
        assert!(matches!(&error, MigrateError::TooOld(version) if version == "1.12.33"), "{error:?}");
        assert!(error.to_string().starts_with(told), "{error}");
    }
    let (success, said) = kettle_migrate(&store.url, &[]);
    assert!(!success && said.contains(told), "{said}");
    assert_eq!(dump_postgres(&store.url), before);
}

#[tokio::test]
async fn tables_without_a_history_are_taken_over_too() {
    let store = hawkbits_database("1.20.0").await;
    store.execute("DROP TABLE schema_version").await;
    let done = migrate::run(&store.db).await.unwrap();
    assert_eq!(done.found, migrate::Found::Hawkbit(None));
}

/// hawkBit's own history of its migrations.
pub(crate) const HISTORY: &str = "SELECT s FROM schema_version s ORDER BY installed_rank";

/// hawkBit's tables as its Flyway leaves them, with the history that it keeps.
pub(crate) async fn hawkbits_database(version: &str) -> Store {
    let store = Store::empty(Engine::Postgres).await;
    store.execute(migrate::ALL[0].sql(Kind::Postgres)).await;
    store
        .execute(&format!(
            "CREATE TABLE schema_version (installed_rank integer NOT NULL CONSTRAINT schema_version_pk PRIMARY KEY, \
               version varchar(50), description varchar(200) NOT NULL, type varchar(20) NOT NULL, \
               script varchar(1000) NOT NULL, checksum integer, installed_by varchar(100) NOT NULL, \
               installed_on timestamp NOT NULL DEFAULT now(), execution_time integer NOT NULL, success boolean NOT NULL); \
             CREATE INDEX schema_version_s_idx ON schema_version (success); \
             INSERT INTO schema_version VALUES \
               (1, '1.2.0', 'init', 'SQL', 'V1_2_0__init___POSTGRESQL.sql', -1441471461, 'hawkbit', now(), 170, true), \
               (2, '{version}', 'last', 'SQL', 'V{version}__last.sql', 7, 'hawkbit', now(), 9, true)"
        ))
        .await;
    store
}
