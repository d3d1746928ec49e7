//! Migrations (`kettle_db::migrate`): the tables are hawkBit's to the last index, on SQLite as on PostgreSQL; a database
//! that hawkBit wrote is taken over without a change to what it holds.

pub(crate) mod adoption;
mod catalog;

use std::time::Duration;

use kettle_db::migrate::{self, Found, MigrateError};
use serde_json::{Value, json};

use crate::{
    contract::shared_folder,
    harness::{Engine, Server, Store, eventually, kettle_command, on_each_store, psql, psql_binary, skip_visibly},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_tables_of_a_fresh_database_are_those_of_the_peer() {
    let reference = shared_folder().join("reference/schema_postgresql.json");
    let Ok(text) = std::fs::read_to_string(&reference) else {
        let why = format!("{} is absent (KETTLE_SHARED)", reference.display());
        return skip_visibly("the comparison of the tables", &why);
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let store = Store::migrated(Engine::Postgres).await;
    let tables = catalog::of_postgres(&store.url, r"sp\_%");
    assert_eq!(names(&tables), names(&expected));
    for (table, expected) in expected.as_object().unwrap() {
        let found = catalog::without_our_indexes(&tables[table]);
        assert_eq!(catalog::sorted(&found), catalog::sorted(expected), "{table}");
    }
}

#[tokio::test]
async fn the_indexes_added_to_the_peers_tables_are_the_same_on_both_engines() {
    let (sqlite, postgres) = (Store::migrated(Engine::Sqlite).await, Store::migrated(Engine::Postgres).await);
    let sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name LIKE 'sp@_%' ESCAPE '@' \
               AND name LIKE 'kt@_%' ESCAPE '@' ORDER BY name";
    let rows = sqlite.rows(sql, []).await;
    let ours: Vec<String> = rows.iter().map(|row| row.try_get("", "sql").unwrap()).collect();
    let sql = r"SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                JOIN pg_class t ON t.oid = i.indrelid
                WHERE c.relname LIKE 'kt\_%' AND t.relname LIKE 'sp\_%' ORDER BY c.relname";
    let theirs = psql(&postgres.url, sql);
    let plain = |text: &str| {
        let text = ["public.", "USING btree ", "::text", " text_pattern_ops"]
            .iter()
            .fold(text.to_owned(), |t, w| t.replace(w, ""));
        text.replace("((controller_id))", "(controller_id)").replace("((name))", "(name)")
    };
    assert!(!ours.is_empty());
    assert_eq!(theirs.lines().map(plain).collect::<Vec<_>>(), ours);
}

#[tokio::test]
async fn ids_are_identities_that_also_take_given_values() {
    let store = Store::migrated(Engine::Postgres).await;
    let identities = psql(
        &store.url,
        r"SELECT c.relname || ' ' || a.attidentity::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relkind = 'r' AND c.relname LIKE 'sp\_%' AND a.attname = 'id' ORDER BY c.relname",
    );
    let wrong: Vec<&str> = identities.lines().filter(|line| !line.ends_with(" d")).collect();
    assert_eq!((identities.lines().count(), wrong), (17, vec![]));
}

#[tokio::test]
async fn sqlite_has_the_same_tables_columns_indexes_and_references_as_postgres() {
    let (sqlite, postgres) = (Store::migrated(Engine::Sqlite).await, Store::migrated(Engine::Postgres).await);
    let (sqlite, postgres) = (catalog::shape_of_sqlite(&sqlite).await, catalog::shape_of_postgres(&postgres.url));
    assert_eq!(names(&sqlite), names(&postgres));
    for (table, postgres) in postgres.as_object().unwrap() {
        assert_eq!(&sqlite[table], postgres, "{table}");
    }
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    on_each_store(async |store| {
        let before = dump(&store).await;
        let again = migrate::run(&store.db).await.unwrap();
        assert_eq!((again.found, again.applied.len()), (Found::Kettle { version: newest(), works_from: newest() }, 0));
        assert_eq!(dump(&store).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_migrate_at_once_all_succeed_and_one_does_the_work() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let store = Store::empty(engine).await;
        let nodes = [store.another_node().await, store.another_node().await, store.another_node().await];
        let done = futures_util::future::join_all(nodes.iter().map(migrate::run)).await;
        let mut applied: Vec<usize> = done.into_iter().map(|outcome| outcome.unwrap().applied.len()).collect();
        applied.sort_unstable();
        assert_eq!(applied, [0, 0, migrate::ALL.len()], "on {engine:?}");
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_migration").await, newest());
    }
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_changes_nothing() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let store = Store::empty(engine).await;
        let before = dump(&store).await;
        let plan = migrate::plan(&store.db).await.unwrap();
        assert_eq!((plan.found, plan.applied.len()), (Found::Empty, migrate::ALL.len()), "on {engine:?}");
        let (success, said) = kettle_migrate(&store.url, &["--dry-run"]);
        assert!(success, "{said}");
        assert!(said.contains("The database is empty.") && said.contains("CREATE TABLE sp_target "), "{said}");
        assert_eq!(dump(&store).await, before, "on {engine:?}");
    }
}

#[test]
fn a_dry_run_does_not_create_a_sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new").join("kettle.db");
    let (success, said) = kettle_migrate(&format!("sqlite:{}", file.display()), &["--dry-run"]);
    assert!(success && said.contains("The database is empty."), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{said}");
}

#[tokio::test]
async fn the_command_migrates_and_says_so() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (store, other) = (Store::empty(engine).await, Store::migrated(engine).await);
        let (success, said) = kettle_migrate(&store.url, &[]);
        assert!(success, "{said}");
        for migration in migrate::ALL {
            assert!(said.contains(&format!("{:04} {}", migration.version, migration.name)), "{said}");
        }
        for store in [&store, &other] {
            store.execute("UPDATE kt_migration SET applied_at = 0").await;
        }
        assert_eq!(dump(&store).await, dump(&other).await, "on {engine:?}");
    }
}

/// While a cluster is upgraded, the newer version's first node has migrated already.
#[tokio::test]
async fn a_newer_schema_that_says_so_is_worked_with_also_by_a_node_that_starts() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let mut server = Server::start(engine).await;
        let store = Store::of(&server).await;
        let newer = format!(
            "INSERT INTO kt_migration (version, name, applied_at, works_from) VALUES (99, 'from_the_future', 0, {})",
            newest()
        );
        store.execute(&newer).await;
        server.get("/health/ready").await.expect(200);
        server.stop();
        server.restart();
        server.get("/health/ready").await.expect(200);
        assert!(server.log_text().contains("a newer Kettle's; this one works beside it"), "{}", server.log_text());

        store.execute("UPDATE kt_migration SET works_from = 99 WHERE version = 99").await;
        let refused = server.get("/health/ready").await;
        assert_eq!(refused.status, 503, "on {engine:?}");
        let said = String::from_utf8(refused.bytes).unwrap();
        assert!(said.starts_with("migrations: this database was written by a newer Kettle (schema 99"), "{said}");
        server.get("/health/live").await.expect(200);
        eventually(PATIENCE, "it leaves its jobs to others", async || {
            server.log_text().contains("this node leaves all jobs to others").then_some(())
        })
        .await;
        let held = format!("SELECT count(*) AS n FROM kt_lease WHERE expires_at > {}", store.db.engine().now_ms());
        eventually(PATIENCE, "no lease is held", async || (store.number(&held).await == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    on_each_store(async |store| {
        store.execute("INSERT INTO kt_migration (version, name, applied_at) VALUES (99, 'from_the_future', 0)").await;
        let before = dump(&store).await;
        let refused = "this database was written by a newer Kettle (schema 99, this one knows";
        for error in [migrate::run(&store.db).await.unwrap_err(), migrate::plan(&store.db).await.unwrap_err()] {
            assert!(matches!(error, MigrateError::Newer { found: 99, .. }), "{error:?}");
            assert!(error.to_string().starts_with(refused), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let out = kettle_command()
            .args(["serve", "--port", "0", "--database", &store.url, "--data"])
            .arg(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(refused), "{said}");
        assert_eq!(dump(&store).await, before);
    })
    .await;
}

fn newest() -> i64 {
    migrate::ALL.last().unwrap().version
}

/// `kettle migrate` on a database: whether it succeeded, and all that it printed.
fn kettle_migrate(url: &str, arguments: &[&str]) -> (bool, String) {
    let out = kettle_command().args(["migrate", "--database", url]).args(arguments).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// All that a database holds, tables and rows.
async fn dump(store: &Store) -> String {
    if store.url.starts_with("postgres") {
        return dump_postgres(&store.url);
    }
    let objects = store.rows("SELECT name, sql FROM sqlite_master ORDER BY name", []).await;
    let mut all = String::new();
    for object in &objects {
        let (name, sql): (String, Option<String>) =
            (object.try_get("", "name").unwrap(), object.try_get("", "sql").unwrap());
        all += &format!("{name}: {sql:?}\n");
        if !sql.is_some_and(|sql| sql.starts_with("CREATE TABLE")) {
            continue;
        }
        let columns = store.rows("SELECT name FROM pragma_table_info($1) ORDER BY cid", [name.as_str().into()]).await;
        let columns: Vec<String> = columns.iter().map(|c| c.try_get("", "name").unwrap()).collect();
        let sql = format!("SELECT json_array({}) AS row FROM \"{name}\" ORDER BY 1", columns.join(", "));
        for row in store.rows(&sql, []).await {
            all += &format!("{}\n", row.try_get::<String>("", "row").unwrap());
        }
    }
    all
}

fn dump_postgres(url: &str) -> String {
    let out = std::process::Command::new(psql_binary().with_file_name("pg_dump")).arg(url).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    // A key that is drawn anew for every dump.
    text.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
}

fn names(tables: &Value) -> Vec<&String> {
    let mut names: Vec<&String> = tables.as_object().unwrap().keys().collect();
    names.sort();
    names
}

/// The shape of a column as both engines can have it.
fn column(name: &str, nullable: bool) -> Value {
    json!({"name": name, "null": nullable})
}
