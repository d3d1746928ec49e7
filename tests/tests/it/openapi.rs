//! The OpenAPI document: it is what is served, it is hawkBit's surface but for a list that may only shrink, what was
//! recorded from hawkBit fits it, and a client that tries everything it says meets nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    contract::shared_folder,
    harness::{Answer, Engine, Server, skip_visibly, workspace},
};

/// Operations that the peer's document has not.
const BEYOND: [&str; 8] = [
    "DELETE /rest/v1/system/failedlogins/{kind}/{subject}",
    "DELETE /session",
    "DELETE /session/all",
    "GET /rest/v1/rollouts/{rolloutId}/explanation",
    "GET /rest/v1/system/failedlogins",
    "GET /rest/v1/system/nodes",
    "GET /session",
    "POST /session",
];
/// Parameters that the peer's document says otherwise: `METHOD path name`.
const PARAMETERS_DIFFER: [&str; 1] = ["DELETE /rest/v1/targetgroups q"];

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

const GROUPS: [&str; 2] = ["/v3/api-docs/Management%20API", "/v3/api-docs/Direct%20Device%20Integration%20API"];

#[tokio::test]
async fn the_served_surface_is_the_peers_and_what_is_listed() {
    let file = shared_folder().join("reference/openapi_surface.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        return skip_visibly("the peer's surface", &format!("{} is absent (KETTLE_SHARED)", file.display()));
    };
    let peer: Value = serde_json::from_str(&text).unwrap();
    let ours = document(&Server::start(Engine::Sqlite).await).await;
    let (peer, ours) = (operations(&peer), operations(&ours));
    let missing: Vec<&String> = peer.keys().filter(|o| !ours.contains_key(*o)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "operations that are not served");
    let beyond: Vec<&String> = ours.keys().filter(|o| !peer.contains_key(*o)).collect();
    assert_eq!(beyond, BEYOND, "operations beyond the peer's");
    let mut differences = BTreeSet::new();
    for (name, operation) in &ours {
        let Some(peers) = peer.get(name) else { continue };
        let (mine, theirs) = (parameters(operation), parameters(peers));
        let both: BTreeSet<_> = mine.symmetric_difference(&theirs).map(|(parameter, ..)| parameter).collect();
        differences.extend(both.into_iter().map(|parameter| format!("{name} {parameter}")));
    }
    assert_eq!(differences.iter().map(String::as_str).collect::<Vec<_>>(), PARAMETERS_DIFFER);
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = Server::start(Engine::Sqlite).await;
    let document = document(&server).await;
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    let mut used = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(operation["summary"].as_str().is_some_and(|s| s.ends_with('.')), "{name} has no summary");
        assert!(ids.insert(operation["operationId"].to_string()), "{name} shares its operationId");
        used.extend(operation["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()));
        assert!(
            operation["responses"].as_object().unwrap().keys().any(|s| s < &"300".to_owned()),
            "{name} never succeeds"
        );
    }
    assert_eq!(tags, used.iter().map(String::as_str).collect());
    let mut broken = Vec::new();
    references(&document, &mut |reference| {
        if document.pointer(reference.trim_start_matches('#')).is_none() {
            broken.push(reference.to_owned());
        }
    });
    assert_eq!(broken, Vec::<String>::new());
}

/// Two types of one name would be one schema in the document, silently.
#[test]
fn schemas_have_different_names() {
    let mut names = BTreeMap::new();
    for file in rust_files(&["crates/mgmt/src", "crates/ddi/src", "crates/rest/src"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        for item in text.split("#[derive(").skip(1).filter(|item| item.split(")]").next().unwrap().contains("ToSchema"))
        {
            let (attributes, declared) = item
                .split_once("struct ")
                .into_iter()
                .chain(item.split_once("enum "))
                .min_by_key(|(attributes, _)| attributes.len())
                .unwrap();
            let name = attributes.split_once("#[schema(as = ").map_or(declared, |(_, name)| name);
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(other) = names.insert(name.clone(), file.clone()) {
                panic!("{name} is a schema in {} and in {}; say #[schema(as = …)]", other.display(), file.display());
            }
        }
    }
    assert!(names.len() > 50, "{names:?}");
}

/// The router is made of what the document says.
#[test]
fn apis_register_no_route_that_the_document_does_not_see() {
    for file in rust_files(&["crates/mgmt/src", "crates/ddi/src"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(".route("), "{}: use `.routes(routes!(…))`", file.display());
    }
}

#[tokio::test]
async fn what_was_recorded_from_the_peer_fits_the_document() {
    let golden = shared_folder().join("contract/golden");
    let Some(python) = tool("python3") else { return };
    if !golden.exists() {
        return skip_visibly("recorded bodies", &format!("{} is absent (KETTLE_SHARED)", golden.display()));
    }
    let server = Server::start(Engine::Sqlite).await;
    let file = server.data.path().join("openapi.json");
    std::fs::write(&file, server.get_as("", "/v3/api-docs").await.expect(200).bytes).unwrap();
    let script = workspace().join("tests/tests/it/openapi/recorded.py");
    let out =
        Command::new(python).arg(script).arg(file).arg(golden).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let counts = said.strip_prefix("held ").unwrap_or_else(|| panic!("differences:\n{said}"));
    let counts: Vec<u32> = counts.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(counts.iter().all(|count| *count > 100), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_management_api_answers_nothing_outside_its_document() {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let server = with_content().await;
    let authorization = server.admin.clone();
    explore(&schemathesis, &server, GROUPS[0], &authorization, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_api_answers_nothing_outside_its_document() {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let server = with_content().await;
    let gateway = server.device("d1").authorization;
    explore(&schemathesis, &server, GROUPS[1], &gateway, 20);
    let target = server.get("/rest/v1/targets/d1").await.expect(200).json()["securityToken"].clone();
    explore(&schemathesis, &server, GROUPS[1], &format!("TargetToken {}", target.as_str().unwrap()), 5);
}

#[tokio::test]
async fn documents_and_swagger_ui_need_no_login_and_no_internet() {
    let server = Server::start(Engine::Sqlite).await;
    let anyone = async |path: &str| server.request(reqwest::Method::GET, path, &[], None).await;
    let list = anyone("/v3/api-docs/swagger-config").await.expect(200).json();
    let urls: Vec<_> = list["urls"].as_array().unwrap().iter().map(|u| u["url"].as_str().unwrap()).collect();
    assert_eq!(urls, GROUPS);
    assert_eq!(list["validatorUrl"], "none", "Swagger UI would send the document to its makers");
    for (group, title) in GROUPS.iter().zip(["Management API", "Direct Device Integration API"]) {
        let document = anyone(group).await.expect(200).json();
        assert_eq!(document["info"]["title"], title);
        assert_eq!(document["openapi"], "3.1.0");
    }
    anyone("/v3/api-docs/Other").await.expect(404);
    assert!(text(&anyone("/").await.expect(200)).contains("href=\"swagger-ui/index.html\""));
    for (file, kind) in
        [("index.html", "text/html"), ("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")]
    {
        let answer = anyone(&format!("/swagger-ui/{file}")).await.expect(200);
        assert_eq!(answer.header("content-type"), Some(kind), "{file}");
        if file == "index.html" {
            let text = text(&answer);
            assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
        }
    }
}

#[tokio::test]
async fn documents_can_be_turned_off() {
    let statuses = async |settings: &[&str]| {
        let server = Server::start_with(Engine::Sqlite, settings).await;
        let mut statuses = Vec::new();
        for path in GROUPS.iter().chain(&["/v3/api-docs", "/swagger-ui/index.html"]) {
            statuses.push(server.get_as("", path).await.status);
        }
        statuses
    };
    assert_eq!(statuses(&["hawkbit.server.openapi.enabled=false"]).await, [404, 404, 404, 404]);
    assert_eq!(statuses(&["hawkbit.server.openapi.mgmt.enabled=false"]).await, [404, 200, 200, 200]);
    assert_eq!(statuses(&["hawkbit.server.openapi.ddi.enabled=false"]).await, [200, 404, 200, 200]);
}

/// Tries all that a document says: the edges of every parameter and body, then as many random cases of each operation.
fn explore(schemathesis: &Path, server: &Server, group: &str, authorization: &str, examples: u32) {
    let out = Command::new(schemathesis)
        .args(["run", &format!("{}{group}", server.base)])
        .args(["--header", &format!("Authorization: {authorization}")])
        .args(["--phases", "coverage,fuzzing", "--max-examples", &examples.to_string()])
        .args(["--seed", "1", "--generation-deterministic", "--no-shrink", "--continue-on-failure"])
        .args(["--checks", CHECKS])
        .args(["--warnings", "off", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "known")
        .env("PYTHONPATH", workspace().join("tests/tests/it/openapi"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(server.data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("No issues found"), "{said}");
}

/// What `known.py` leads to: a target with an action, a set of a module with a file, types, tags and a filter.
async fn with_content() -> Server {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    server.pending("d1", &[("a.bin", b"content")]).await;
    for of in ["targets/d1", "distributionsets/1", "softwaremodules/1"] {
        server.post(&format!("/rest/v1/{of}/metadata"), json!([{"key": "k", "value": "v"}])).await.expect(201);
    }
    for labels in ["targettypes", "targettags", "distributionsettags"] {
        server.post(&format!("/rest/v1/{labels}"), json!([{"name": "n"}])).await.expect(201);
    }
    server.post("/rest/v1/targetfilters", json!({"name": "n", "query": "id==*"})).await.expect(201);
    let rollout = json!({"name": "n", "targetFilterQuery": "id==*", "distributionSetId": 1});
    server.post("/rest/v1/rollouts", rollout).await.expect(201);
    server
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes.clone()).unwrap()
}

async fn document(server: &Server) -> Value {
    server.get_as("", "/v3/api-docs").await.expect(200).json()
}

/// By `METHOD path`.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations.insert(format!("{} {path}", method.to_uppercase()), operation);
        }
    }
    operations
}

/// Name, place, whether it is required, type and format of each.
fn parameters(operation: &Value) -> BTreeSet<(String, String, bool, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = operation["parameters"].as_array().into_iter().flatten();
    list.map(|p| {
        let kind = &p["schema"]["type"];
        // Ours may be null as well, the peer's older dialect can't say so.
        let kind = kind.get(0).unwrap_or(kind);
        let required = p["required"].as_bool().unwrap_or(false);
        (text(&p["name"]), text(&p["in"]), required, text(kind), text(&p["schema"]["format"]))
    })
    .collect()
}

fn references(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                see(reference);
            }
            object.values().for_each(|v| references(v, see));
        }
        Value::Array(array) => array.iter().for_each(|v| references(v, see)),
        _ => {}
    }
}

fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|f| workspace().join(f)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                files.push(entry);
            }
        }
    }
    files
}

fn tool(program: &str) -> Option<PathBuf> {
    let path = workspace().join("target/tools/schemathesis/bin").join(program);
    if !path.exists() {
        skip_visibly("the OpenAPI document", &format!("{} is absent (scripts/install-test-tools)", path.display()));
        return None;
    }
    Some(path)
}
