//! Two tenants full of everything: for every id of the other, the answer is that for an id of nobody, and nothing of the
//! other's rows changes.

use std::time::Duration;

use kettle_db::{Db, Settings, sea_orm::ConnectionTrait as _};

use super::{
    table::{Needs, OPERATIONS},
    world::World,
};
use crate::harness::{Answer, Engine, Server, basic};

#[tokio::test]
async fn no_operation_reaches_into_another_tenant() {
    let settings: Vec<String> = [("admin", "DEFAULT"), ("other", "OTHER")]
        .iter()
        .flat_map(|(name, tenant)| {
            let user = format!("hawkbit.security.user.{name}");
            [
                format!("{user}.password={{noop}}x"),
                format!("{user}.tenant={tenant}"),
                format!("{user}.roles=TENANT_ADMIN"),
            ]
        })
        .collect();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let server = Server::start_with(engine, &settings).await;
        let ours = World::create(&server, "DEFAULT", basic("admin", "x"), "a").await;
        let theirs = World::create(&server, "OTHER", basic("other", "x"), "b").await;
        let nobodys = ours.of_nobody();
        let rows = Rows::of(&server).await;
        let before = rows.of_tenant("OTHER").await;
        let empty: Vec<&String> = rows
            .queries
            .iter()
            .map(|(table, _)| table)
            .filter(|table| !before.iter().any(|row| row.starts_with(&format!("{table}:"))))
            .collect();
        assert_eq!(empty, Vec::<&String>::new(), "every table has rows: {before:?}");
        let mut failed = Vec::new();
        for operation in OPERATIONS {
            let ids = World::ids(operation);
            let credentials = match operation.needs {
                Needs::Device => ours.device(),
                Needs::Permissions(_) => ours.login.clone(),
            };
            // A device that asks for itself is created: its name is its own in its tenant.
            let foreign =
                |name: &&&'static str| !(matches!(operation.needs, Needs::Device) && **name == "controllerId");
            for name in ids.iter().filter(foreign) {
                let (with_nobodys, with_theirs) = (ours.with(name, &nobodys), ours.with(name, &theirs));
                let nobodys_answer = with_nobodys.ask(&server, operation, Some(&credentials)).await;
                let their_answer = with_theirs.ask(&server, operation, Some(&credentials)).await;
                let expected = shape(&nobodys_answer, &with_nobodys.values[name]);
                let found = shape(&their_answer, &with_theirs.values[name]);
                if found != expected {
                    failed.push(format!("{} with another's {name}: {found:?}, not {expected:?}", operation.name()));
                }
                if rows.of_tenant("OTHER").await != before {
                    failed.push(format!("{} with another's {name} changed the other's rows", operation.name()));
                    break;
                }
            }
        }
        assert!(failed.is_empty(), "{engine:?}:\n  {}", failed.join("\n  "));
        assert_eq!(rows.of_tenant("OTHER").await, before);
    }
}

/// Status and body, with `ID` for the id where it stands by itself.
fn shape(answer: &Answer, id: &str) -> (u16, String) {
    let text = String::from_utf8_lossy(&answer.bytes);
    let word = |c: char| c.is_alphanumeric() || c == '-';
    let mut out = String::new();
    let mut rest: &str = &text;
    while let Some(start) = rest.find(word) {
        let (before, from) = rest.split_at(start);
        let (found, after) = from.split_at(from.find(|c| !word(c)).unwrap_or(from.len()));
        out += before;
        // A number that may be a time is none that matters here.
        let is_time = found.len() == 13 && found.bytes().all(|b| b.is_ascii_digit());
        out += if found == id {
            "ID"
        } else if is_time {
            "TIME"
        } else {
            found
        };
        rest = after;
    }
    (answer.status, out + rest)
}

/// Tables without a column for the tenant, and the row that says whose a row of theirs is.
const CHILDREN: [(&str, &str, &str); 10] = [
    ("sp_ds_type_element", "distribution_set_type", "sp_distribution_set_type"),
    ("sp_target_type_ds_type", "target_type", "sp_target_type"),
    ("sp_sm_metadata", "sm", "sp_software_module"),
    ("sp_ds_sm", "ds_id", "sp_distribution_set"),
    ("sp_ds_tag", "ds", "sp_distribution_set"),
    ("sp_ds_metadata", "ds", "sp_distribution_set"),
    ("sp_target_attributes", "target", "sp_target"),
    ("sp_target_metadata", "target", "sp_target"),
    ("sp_target_target_tag", "target", "sp_target"),
    ("sp_rollout_target_group", "target", "sp_target"),
];

/// Reads what a tenant has, past the server.
struct Rows {
    db: Db,
    /// A query for each table.
    queries: Vec<(String, String)>,
}

impl Rows {
    async fn of(server: &Server) -> Rows {
        let file = server.data.path().join("kettle.db");
        let url = server.database.as_ref().map_or_else(|| format!("sqlite:{}", file.display()), |d| d.url.clone());
        let (acquire_timeout, idle_in_transaction) = (Duration::from_secs(30), Duration::from_secs(60));
        let settings = Settings { url, max_connections: 2, acquire_timeout, idle_in_transaction };
        let db = Db::connect(&settings).await.unwrap();
        let columns = match server.database {
            Some(_) => {
                "SELECT table_name AS t, column_name AS c FROM information_schema.columns WHERE table_schema = 'public'"
            }
            None => {
                "SELECT m.name AS t, c.name AS c FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
            }
        };
        let columns = format!("SELECT t, c FROM ({columns}) AS x WHERE t LIKE 'sp_%' AND t <> 'sp_lock' ORDER BY t, c");
        let mut tables: std::collections::BTreeMap<String, Vec<String>> = Default::default();
        for row in db.read().query_all_raw(db.engine().statement(&columns, [])).await.unwrap() {
            tables.entry(row.try_get("", "t").unwrap()).or_default().push(row.try_get("", "c").unwrap());
        }
        let query = |(table, columns): (String, Vec<String>)| {
            let texts: Vec<String> = columns.iter().map(|c| format!("coalesce(CAST({c} AS text), '-')")).collect();
            let whose = match CHILDREN.iter().find(|(child, _, _)| *child == table) {
                _ if columns.iter().any(|c| c == "tenant") => "tenant = $1".to_owned(),
                Some((_, column, parent)) => format!("{column} IN (SELECT id FROM {parent} WHERE tenant = $1)"),
                None if table == "sp_action_status_messages" => {
                    "action_status IN (SELECT id FROM sp_action_status WHERE tenant = $1)".to_owned()
                }
                None => panic!("whose are the rows of {table}?"),
            };
            let sql = format!("SELECT {} AS line FROM {table} WHERE {whose} ORDER BY 1", texts.join(" || '|' || "));
            (table, sql)
        };
        Rows { db, queries: tables.into_iter().map(query).collect() }
    }

    async fn of_tenant(&self, tenant: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, sql) in &self.queries {
            let statement = self.db.engine().statement(sql, [tenant.into()]);
            for row in self.db.read().query_all_raw(statement).await.unwrap() {
                lines.push(format!("{table}: {}", row.try_get::<String>("", "line").unwrap()));
            }
        }
        lines
    }
}
