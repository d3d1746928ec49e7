//! Ids and names that are unknown, too long, blank, or shaped to leave their folder.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Connection, RawAnswer, Server, on_each_engine, stored_files};

const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const CONSTRAINT: &str = "hawkbit.server.error.repo.constraintViolation";
const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";

#[tokio::test]
async fn unknown_ids_are_404_with_the_peers_body() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let set = server.set("fw", &[]).await;
        for (method, path, body) in [
            (Method::GET, "targets/nope".to_owned(), None),
            (Method::DELETE, "targets/nope".to_owned(), None),
            (Method::GET, "targets/nope/attributes".to_owned(), None),
            (Method::GET, "targets/nope/actions".to_owned(), None),
            (Method::GET, "targets/nope/metadata".to_owned(), None),
            (Method::PUT, "targets/nope".to_owned(), Some(json!({"name": "x"}))),
            (Method::POST, "targets/nope/assignedDS".to_owned(), Some(json!({"id": set.id}))),
            (Method::GET, "targets/d1/actions/4711".to_owned(), None),
            (Method::GET, "targets/d1/actions/4711/status".to_owned(), None),
            (Method::POST, "targets/d1/assignedDS".to_owned(), Some(json!({"id": 4711}))),
            (Method::GET, "softwaremodules/4711".to_owned(), None),
            (Method::PUT, "softwaremodules/4711".to_owned(), Some(json!({"description": "x"}))),
            (Method::DELETE, "softwaremodules/4711".to_owned(), None),
            (Method::GET, "softwaremodules/4711/artifacts".to_owned(), None),
            (Method::GET, format!("softwaremodules/{}/artifacts/4711", set.module), None),
            (Method::DELETE, format!("softwaremodules/{}/artifacts/4711", set.module), None),
            (Method::GET, format!("softwaremodules/{}/artifacts/4711/download", set.module), None),
            (Method::GET, "softwaremoduletypes/4711".to_owned(), None),
            (Method::GET, "distributionsets/4711".to_owned(), None),
            (Method::GET, "distributionsets/4711/assignedTargets".to_owned(), None),
            (Method::POST, "distributionsets/4711/assignedTargets".to_owned(), Some(json!([{"id": "d1"}]))),
            (Method::GET, "actions/4711".to_owned(), None),
        ] {
            let path = format!("/rest/v1/{path}");
            let answer = server.json_as(&server.admin, method, &path, body).await;
            answer.expect_error(404, NOT_FOUND);
        }
        server.upload(4711, "a.bin", b"abc").await.expect_error(404, NOT_FOUND);
        assert_eq!(stored_files(server.data.path()), Vec::<std::path::PathBuf>::new());
        for path in ["softwaremodules/x", "distributionsets/1e3", "actions/99999999999999999999"] {
            server.get(&format!("/rest/v1/{path}")).await.expect_error(400, UNREADABLE);
        }
    })
    .await;
}

#[tokio::test]
async fn controller_ids_have_256_characters_at_most_and_no_blanks() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let longest = "x".repeat(256);
        let created = server.target(&longest).await;
        assert_eq!(created["name"], "x".repeat(128), "the name is cut to its own limit");
        let bad = ["x".repeat(257), "a b".into(), "a\tb".into(), "a\nb".into(), String::new(), "a\u{0}b".into()];
        for id in &bad {
            let body = json!([{"controllerId": id}]);
            server.post("/rest/v1/targets", body).await.expect_error(400, CONSTRAINT);
        }
        for id in ["x".repeat(257), "a%20b".into(), "a%09b".into(), "a%0Ab".into(), "a%00b".into()] {
            let poll = server.device(&id).get("").await;
            assert_eq!(poll.status, 400, "{id}: {poll:?}");
        }
        let list = server.get("/rest/v1/targets").await.expect(200).json();
        assert_eq!(list["total"], 1, "{list}");
    })
    .await;
}

#[tokio::test]
async fn texts_have_their_limits_and_no_markup() {
    on_each_engine(async |server: Server| {
        for target in [
            json!({"controllerId": "a", "name": "x".repeat(129)}),
            json!({"controllerId": "a", "description": "x".repeat(513)}),
            json!({"controllerId": "a", "securityToken": "x".repeat(129)}),
            json!({"controllerId": "a", "address": format!("http://{}", "x".repeat(513))}),
            json!({"controllerId": "a", "name": "<b>bold</b>"}),
            json!({"controllerId": "a", "name": "nul \u{0}"}),
        ] {
            let answer = server.post("/rest/v1/targets", json!([target])).await;
            assert_eq!(answer.status, 400, "{target}: {answer:?}");
            assert!(answer.json()["errorCode"].is_string(), "{target}: {}", answer.json());
        }
        for module in [
            json!({"name": "x".repeat(129), "version": "1", "type": "os"}),
            json!({"name": "a", "version": "x".repeat(65), "type": "os"}),
            json!({"name": "a", "type": "os"}),
            json!({"version": "1", "type": "os"}),
            json!({"name": "a", "version": "1", "type": "os", "vendor": "<script>"}),
        ] {
            let answer = server.post("/rest/v1/softwaremodules", json!([module])).await;
            assert_eq!(answer.status, 400, "{module}: {answer:?}");
        }
    })
    .await;
}

/// Sent by hand, because client libraries resolve dots before they send.
#[tokio::test]
async fn paths_that_climb_reach_nothing() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, _) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let artifacts = format!("/DEFAULT/controller/v1/d1/softwaremodules/{}/artifacts", set.module);
        let device = server.device("d1").authorization;
        for name in [
            "../../../../../../etc/passwd",
            "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "..%5c..%5cetc%5cpasswd",
            "%2fetc%2fpasswd",
            "a.bin%00",
            "a.bin%2f..%2fa.bin",
            "....//....//etc/passwd",
            "..;/..;/etc/passwd",
        ] {
            let answer = get(&server, &format!("{artifacts}/{name}"), &device).await;
            assert!((400..500).contains(&answer.status), "{name}: {}", answer.head);
            assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{name}");
        }
        for id in ["..%2f..%2f..%2frest%2fv1%2ftargets", "../../../rest/v1/targets", "..%5c..", "%2e%2e", "."] {
            let answer = get(&server, &format!("/DEFAULT/controller/v1/{id}"), &device).await;
            assert!(answer.status < 500, "{id}: {}", answer.head);
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!body.contains("\"total\""), "{id}: {body}");
        }
        for tenant in ["..%2fDEFAULT", "%00", "DEFAULT%00", &"x".repeat(41), "default%20"] {
            let answer = get(&server, &format!("/{tenant}/controller/v1/d1"), &device).await;
            assert!((400..500).contains(&answer.status), "{tenant}: {}", answer.head);
        }
    })
    .await;
}

#[tokio::test]
async fn file_names_that_climb_stay_in_the_artifact_folder() {
    on_each_engine(async |server: Server| {
        let outside = server.data.path().parent().unwrap().join("kettle-escaped");
        let module = server.module("m").await;
        for (number, name) in [
            "../../kettle-escaped",
            "../../../../../../tmp/kettle-escaped",
            "/tmp/kettle-escaped",
            "..\\\\..\\\\kettle-escaped",
            "C:\\\\kettle-escaped",
            "..",
            ".",
            "a/b/c",
        ]
        .into_iter()
        .enumerate()
        {
            let content = format!("content {number}");
            let answer = server.upload(module, name, content.as_bytes()).await;
            assert!([201, 400].contains(&answer.status), "{name}: {answer:?}");
            assert!(!outside.exists(), "{name} was written outside");
        }
        let list = server.get(&format!("/rest/v1/softwaremodules/{module}/artifacts")).await;
        let list = list.expect(200).json();
        let mut listed: Vec<&str> =
            list.as_array().unwrap().iter().map(|a| a["hashes"]["sha1"].as_str().unwrap()).collect();
        listed.sort_unstable();
        let mut stored: Vec<String> = stored_files(server.data.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        stored.sort_unstable();
        assert_eq!(stored, listed, "files are named by their content only");
    })
    .await;
}

async fn get(server: &Server, path: &str, authorization: &str) -> RawAnswer {
    let mut connection = Connection::open(server.port).await;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
    );
    connection.send(request).await;
    connection.answer().await.expect("an answer")
}
