//! Permissions with scopes: `READ_TARGET/group==lab` is READ_TARGET for the targets that the search finds.

mod fleet;
mod rollouts;
mod software;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Engine, Server, basic, kettle_command};

const FORBIDDEN: &str = "hawkbit.server.error.insufficientPermission";
const MISSING: &str = "hawkbit.server.error.repo.entityNotFound";
const SCOPES: &str = "hawkbit.acm.access-controller.enabled=true";

/// Starts a server per engine with the stock administrator, users of these permissions, and more settings.
async fn with_users(users: &[(&str, &str)], more: &[&str], test: impl AsyncFn(Server)) {
    let settings = settings(users, more);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Server::start_with(engine, &settings).await).await;
    }
}

fn settings(users: &[(&str, &str)], more: &[&str]) -> Vec<String> {
    let admin = "hawkbit.security.user.admin";
    let mut settings: Vec<String> = more.iter().map(|s| (*s).to_owned()).collect();
    settings.extend([format!("{admin}.password={{noop}}admin"), format!("{admin}.roles=TENANT_ADMIN")]);
    settings.push(format!("{admin}.tenant=DEFAULT"));
    for (name, permissions) in users {
        let user = format!("hawkbit.security.user.{name}");
        settings.extend([format!("{user}.password={{noop}}x"), format!("{user}.tenant=DEFAULT")]);
        settings.push(format!("{user}.permissions={permissions}"));
    }
    settings
}

async fn ask(server: &Server, user: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    server.json_as(&basic(user, "x"), method, &format!("/rest/v1/{path}"), body).await
}

async fn get(server: &Server, user: &str, path: &str) -> Answer {
    ask(server, user, Method::GET, path, None).await
}

/// The total of a list, and what its entries have under `member`.
fn listed(answer: Answer, member: &str) -> (u64, Vec<String>) {
    let list = answer.expect(200).json();
    let text = |entry: &Value| entry[member].as_str().unwrap().to_owned();
    (list["total"].as_u64().unwrap(), list["content"].as_array().unwrap().iter().map(text).collect())
}

async fn four_targets(server: &Server) {
    let body = json!([
        {"controllerId": "home-1", "name": "home"},
        {"controllerId": "lab-1", "name": "mine-1", "group": "lab"},
        {"controllerId": "lab-2", "name": "fixed", "group": "lab"},
        {"controllerId": "shop-1", "name": "mine-2", "group": "shop"},
    ]);
    server.post("/rest/v1/targets", body).await.expect(201);
}

#[tokio::test]
async fn scopes_add_up_and_the_bare_permission_lifts_them() {
    let users = [
        ("one", "READ_TARGET/group==lab"),
        ("two", "READ_TARGET/group==lab,READ_TARGET/group==shop"),
        ("lifted", "READ_TARGET/group==lab,READ_TARGET"),
        ("admins", "READ_TARGET/group==lab,ROLE_TENANT_ADMIN"),
        ("nobody", "READ_TARGET/group==moon"),
        ("devicely", "READ_TARGET/lastcontrollerrequestat=le=${OVERDUE_TS}"),
    ];
    with_users(&users, &[SCOPES], async |server| {
        four_targets(&server).await;
        for (user, expected) in [
            ("one", vec!["lab-1", "lab-2"]),
            ("two", vec!["lab-1", "lab-2", "shop-1"]),
            ("lifted", vec!["home-1", "lab-1", "lab-2", "shop-1"]),
            // hawkBit: a role does not lift the scope of a permission.
            ("admins", vec!["lab-1", "lab-2"]),
            ("nobody", vec![]),
            ("devicely", vec![]),
        ] {
            let (total, ids) = listed(get(&server, user, "targets").await, "controllerId");
            assert_eq!((total, ids.iter().map(String::as_str).collect()), (expected.len() as u64, expected), "{user}");
        }
        let (total, ids) = listed(get(&server, "two", "targets?limit=1&offset=2").await, "controllerId");
        assert_eq!((total, ids), (3, vec!["shop-1".to_owned()]));
        let info = get(&server, "two", "userinfo").await.expect(200).json();
        assert_eq!(info["permissions"], json!(["READ_TARGET/group==lab", "READ_TARGET/group==shop"]));
        assert_eq!(get(&server, "one", "distributionsets").await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn scopes_that_are_off_grant_nothing() {
    let users = [("one", "READ_TARGET/group==lab,READ_TARGET/((")];
    with_users(&users, &[], async |server| {
        four_targets(&server).await;
        get(&server, "one", "targets").await.expect_error(403, FORBIDDEN);
        let info = get(&server, "one", "userinfo").await.expect(200).json();
        assert_eq!(info["permissions"], json!(["READ_TARGET/group==lab", "READ_TARGET/(("]));
    })
    .await;
}

#[tokio::test]
async fn scopes_of_one_type_that_are_off_are_cut_off() {
    let users = [("one", "READ_TARGET/group==lab")];
    let off = "hawkbit.acm.access-controller.target.enabled=false";
    with_users(&users, &[SCOPES, off], async |server| {
        four_targets(&server).await;
        assert_eq!(listed(get(&server, "one", "targets").await, "controllerId").0, 4);
    })
    .await;
    let off = "hawkbit.acm.access-controller.action.enabled=false";
    with_users(&users, &[SCOPES, off], async |server| {
        server.pending("d1", &[]).await;
        assert_eq!(listed(get(&server, "one", "targets").await, "controllerId").0, 0);
        assert_eq!(listed(get(&server, "one", "actions").await, "status").0, 1);
    })
    .await;
}

#[tokio::test]
async fn a_configured_hierarchy_grants() {
    let users = [("fleet", "ROLE_FLEET"), ("reader", "READ_TARGET")];
    let extended = "hawkbit.hierarchy.ext=ROLE_FLEET > READ_TARGET\nROLE_FLEET > READ_DISTRIBUTION_SET";
    with_users(&users, &[extended], async |server| {
        get(&server, "fleet", "targets").await.expect(200);
        get(&server, "fleet", "distributionsettypes").await.expect(200);
        get(&server, "fleet", "softwaremodules").await.expect_error(403, FORBIDDEN);
    })
    .await;
    with_users(&users, &["hawkbit.hierarchy=READ_TARGET > READ_SOFTWARE_MODULE"], async |server| {
        get(&server, "reader", "targets").await.expect(200);
        get(&server, "reader", "softwaremodules").await.expect(200);
        get(&server, "fleet", "targets").await.expect_error(403, FORBIDDEN);
        assert_eq!(server.get("/rest/v1/targets").await.status, 403, "no role means anything any more");
    })
    .await;
}

#[test]
fn a_scope_or_a_hierarchy_that_cannot_be_read_stops_the_start() {
    let data = tempfile::tempdir().unwrap();
    for (setting, words) in [
        (
            "hawkbit.security.user.lab.permissions=READ_TARGET/name=x",
            ["user lab", "READ_TARGET/name=x", "at character 4"],
        ),
        ("hawkbit.security.user.lab.permissions=UPDATE_TARGET/", ["user lab", "UPDATE_TARGET/", "at character 0"]),
        ("hawkbit.security.user.lab.permissions=READ_DISTRIBUTION_SET/group==x", ["user lab", "group==x", "group"]),
        ("hawkbit.hierarchy.ext=ROLE_FLEET", ["hawkbit.hierarchy", "ROLE_FLEET", ">"]),
    ] {
        let mut command = kettle_command();
        command.args(["serve", "--port", "0", "--data"]).arg(data.path()).args(["--set", SCOPES, "--set", setting]);
        for more in settings(&[], &[]).iter().map(String::as_str).chain(["hawkbit.security.user.lab.password={noop}x"])
        {
            command.args(["--set", more]);
        }
        let out = command.output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert!(!out.status.success(), "{setting}: {said}");
        for word in words {
            assert!(said.contains(word), "{setting}: {said}");
        }
    }
}
