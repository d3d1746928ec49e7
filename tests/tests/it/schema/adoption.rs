//! A database that hawkBit wrote: its tables are recognised, ours are added, its own history is left as found.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use kettle_db::{Engine as Kind, migrate};
use serde_json::json;

use super::{MigrateError, catalog, dump_postgres, kettle_migrate};
use crate::{
    contract::shared_folder,
    harness::{Device, Engine, Server, Store, psql, psql_binary, skip_visibly, workspace},
};

/// What this version serves of the recorded reads. Tags, target types, filters, rollouts and confirmation come later.
const SERVED: [&str; 11] = [
    r"/rest/v1/targets\?.*",
    r"/rest/v1/targets/[^/]+",
    r"/rest/v1/targets/[^/]+/(attributes|metadata|assignedDS|installedDS)",
    r"/rest/v1/targets/[^/]+/actions.*",
    r"/rest/v1/softwaremoduletypes.*",
    r"/rest/v1/distributionsettypes.*",
    r"/rest/v1/softwaremodules.*",
    r"/rest/v1/distributionsets(?!.*/autoAssignTargetFilters).*",
    r"/rest/v1/actions.*",
    r"/rest/v1/targetgroups",
    r"/rest/v1/userinfo",
];

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

#[tokio::test(flavor = "multi_thread")]
async fn what_the_peer_wrote_is_read_as_the_peer_reads_it() {
    let Some((server, store)) = adopted().await else { return };
    let script = workspace().join("tests/tests/it/schema/adopted_reads.py");
    let out = Command::new("python3")
        .arg(script)
        .arg(shared_folder().join("contract"))
        .arg(&server.base)
        .args(SERVED)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 is needed");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));

    let module = server.get("/rest/v1/softwaremodules/3/artifacts?representation=full").await.expect(200).json();
    for artifact in module.as_array().unwrap() {
        let path = format!("/rest/v1/softwaremodules/3/artifacts/{}/download", artifact["id"]);
        let bytes = server.get(&path).await.expect(200).bytes;
        let file = folder_of(artifact["hashes"]["sha1"].as_str().unwrap());
        assert!(bytes == std::fs::read(&file).unwrap(), "{path}");
    }
    assert_eq!(psql(&store.url, HISTORY).lines().count(), 2, "hawkBit's own history is left as found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_database_is_worked_on_where_the_peer_left_off() {
    let Some((server, store)) = adopted().await else { return };
    let total = async || server.get("/rest/v1/targets?limit=1").await.expect(200).json()["total"].clone();
    let known = total().await.as_i64().unwrap();
    server.target("new-1").await;
    assert_eq!(total().await, known + 1, "the kept total counts what was there");

    let device = |id: &str| Device { authorization: token(&store, id), ..server.device(id) };
    let cancelled = device("d1").poll().await["_links"]["cancelAction"]["href"].clone();
    assert!(cancelled.as_str().unwrap().ends_with("/DEFAULT/controller/v1/d1/cancelAction/4"), "{cancelled}");
    device("d1").cancel_feedback(4, "closed", "success").await.expect_empty(200);
    let action = server.get("/rest/v1/targets/d1/actions/4").await.expect(200).json();
    assert_eq!(action["status"], "canceled");

    assert_eq!(device("x1").offered().await, Some(11));
    device("x1").feedback(11, "closed", "success").await.expect_empty(200);
    assert_eq!(server.update_status("x1").await, "in_sync");

    let set = server.set("after", &[("a.bin", b"abc")]).await;
    let next = server.assign("dev-1", set).await;
    assert!(next > 18, "ids go on after the peer's");
    assert_eq!(device("dev-1").offered().await, Some(next));
    server.delete("/rest/v1/targets/e-0").await.expect_empty(204);
    assert_eq!(total().await, json!(known));
}

fn token(store: &Store, controller_id: &str) -> String {
    let sql = format!("SELECT sec_token FROM sp_target WHERE controller_id = '{controller_id}'");
    format!("TargetToken {}", psql(&store.url, &sql))
}

/// The peer's file of that content.
fn folder_of(sha1: &str) -> std::path::PathBuf {
    let (last, before) = (&sha1[38..], &sha1[36..38]);
    shared_folder().join("contract/adopt/artifacts/DEFAULT").join(before).join(last).join(sha1)
}

const HISTORY: &str = "SELECT s FROM schema_version s ORDER BY installed_rank";

/// hawkBit's tables as its Flyway leaves them, with the history that it keeps.
async fn hawkbits_database(version: &str) -> Store {
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

/// A server on the recorded rows and artifacts of the peer, or `None` where the recording is absent.
async fn adopted() -> Option<(Server, Store)> {
    let recording = shared_folder().join("contract/adopt");
    if !recording.exists() {
        let why = format!("{} is absent (KETTLE_SHARED)", recording.display());
        skip_visibly("the adopted database", &why);
        return None;
    }
    let store = hawkbits_database("1.20.0").await;
    load(&store.url, &recording.join("tables"));
    let data = tempfile::Builder::new().prefix("kettle-adopted-").tempdir().unwrap();
    copy(&recording.join("artifacts"), &data.path().join("artifactrepo"));
    Some((Server::start_on(Arc::new(data), store.database()), store))
}

/// Loads `TABLE.csv` files; references need not be in order. Then identities go on after the highest id.
fn load(url: &str, tables: &Path) {
    let mut script = String::from("SET session_replication_role = replica;\n");
    for entry in std::fs::read_dir(tables).unwrap() {
        let path = entry.unwrap().path();
        let table = path.file_stem().unwrap().to_str().unwrap();
        let rows = std::fs::read_to_string(&path).unwrap();
        let columns = rows.lines().next().unwrap();
        script +=
            &format!("COPY {table} ({columns}) FROM STDIN WITH (FORMAT csv, HEADER);\n{}\n\\.\n", rows.trim_end());
        if columns.starts_with("id,") {
            script += &format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table};\n");
        }
    }
    let mut psql = Command::new(psql_binary());
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"]);
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    psql.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let out = psql.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::write(to.join(name), std::fs::read(&path).unwrap()).unwrap();
        }
    }
}
