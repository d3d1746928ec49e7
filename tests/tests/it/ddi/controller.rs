//! The poll.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Connection, Engine, Server, Store, linger, on_each_engine};

#[tokio::test]
async fn a_first_poll_registers_the_target() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let poll = server.device("edge-1").get("").await.expect(200);
        assert_eq!(poll.header("content-type"), Some("application/hal+json"));
        let expected = json!({
            "config": {"polling": {"sleep": "00:05:00"}},
            "_links": {"configData": {"href": "{base}/DEFAULT/controller/v1/edge-1/configData"}}
        });
        assert_eq!(poll.scrubbed(), expected);
        assert_eq!(server.update_status("edge-1").await, "registered");
    })
    .await;
}

#[tokio::test]
async fn links_are_absent_when_nothing_is_pending() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let device = server.device("edge-1");
        device.poll().await;
        device.put("/configData", json!({"data": {"a": "b"}})).await.expect_empty(200);
        assert_eq!(device.poll().await, json!({"config": {"polling": {"sleep": "00:05:00"}}}));
    })
    .await;
}

#[tokio::test]
async fn the_sleep_time_has_eight_characters_and_follows_the_tenant_setting() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let device = server.device("edge-1");
        for (setting, sleep) in [("00:00:30", "00:00:30"), ("23:59:59", "23:59:59"), ("PT90S", "00:01:30")] {
            server.configure("pollingTime", setting).await;
            assert_eq!(device.poll().await["config"]["polling"]["sleep"], sleep);
        }
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_answer_is_304_until_something_changes() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let device = server.device("edge-1");
        device.poll().await;
        let first = device.get("").await.expect(200);
        let etag = first.header("etag").expect("an ETag").to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag} is a strong tag");

        let again = device.get_with("", &[("if-none-match", &etag)]).await.expect_empty(304);
        assert_eq!(again.header("etag"), Some(etag.as_str()));

        let set = server.set("fw", &[]).await;
        server.assign("edge-1", set).await;
        let changed = device.get_with("", &[("if-none-match", &etag)]).await.expect(200);
        assert_ne!(changed.header("etag"), Some(etag.as_str()));
        assert!(changed.json()["_links"]["deploymentBase"].is_object());
        let etag = changed.header("etag").unwrap().to_owned();
        device.get_with("", &[("if-none-match", &etag)]).await.expect_empty(304);
    })
    .await;
}

#[tokio::test]
async fn json_answers_state_their_length_and_are_not_chunked() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("edge-1", &[("a.bin", &[7; 5000])]).await;
        let root = "/DEFAULT/controller/v1/edge-1";
        for path in ["", &format!("/deploymentBase/{action}"), "/deploymentBase/2147483647"] {
            let mut connection = Connection::open(server.port).await;
            let request = format!(
                "GET {root}{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
                server.port,
                server.device("edge-1").authorization
            );
            connection.send(&request).await;
            let answer = connection.answer().await.expect("an answer");
            assert_eq!(answer.header("transfer-encoding"), None, "{}", answer.head);
            let length = answer.header("content-length").expect("a length");
            assert_eq!(length.parse(), Ok(answer.body.len()), "{}", answer.head);
            answer.json();
        }
    })
    .await;
}

#[tokio::test]
async fn hrefs_fit_the_buffers_of_small_clients() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let id = "edge-device-0123456789abcdef";
        let (_, action) = server.pending(id, &[("firmware-v1.2.3-signed.bin", b"x")]).await;
        let device = server.device(id);
        let poll = device.get("").await.expect(200);
        assert!(poll.bytes.len() < 640, "one receive buffer: {}", poll.bytes.len());
        let poll = poll.json();
        let href = poll["_links"]["deploymentBase"]["href"].as_str().unwrap();
        let tail = &href[href.find("deploymentBase/").unwrap()..];
        assert!(tail.len() < 50, "{tail}");

        let base = device.get(&format!("/deploymentBase/{action}")).await.expect(200);
        assert!(base.bytes.len() < 1100, "the first JSON buffer: {}", base.bytes.len());
        let base = base.json();
        let artifact = &base["deployment"]["chunks"][0]["artifacts"][0];
        let href = artifact["_links"]["download-http"]["href"].as_str().unwrap();
        let path = href.strip_prefix(&server.base).unwrap();
        assert!(path.starts_with("/DEFAULT/controller/v1/"), "{path}");
        assert!(path.len() < 200 && href.len() < 300 && !path.contains('?'), "{href}");
    })
    .await;
}

#[tokio::test]
async fn a_cancelation_replaces_the_deployment_and_back() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        let links = async || -> Vec<String> {
            let poll = device.poll().await;
            let mut names: Vec<_> = poll["_links"].as_object().unwrap().keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(links().await, ["configData", "deploymentBase"]);
        server.delete(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect_empty(204);
        assert_eq!(links().await, ["cancelAction", "configData"]);
        device.cancel_feedback(action, "rejected", "none").await.expect_empty(200);
        assert_eq!(links().await, ["configData", "deploymentBase"]);
    })
    .await;
}

#[tokio::test]
async fn installed_base_shows_up_after_an_update() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let device = server.device("d1");
        device.feedback(action, "closed", "success").await.expect_empty(200);
        let poll = device.get("").await.expect(200).scrubbed();
        let root = "{base}/DEFAULT/controller/v1/d1";
        let expected = json!({
            "configData": {"href": format!("{root}/configData")},
            "installedBase": {"href": format!("{root}/installedBase/{action}")}
        });
        assert_eq!(poll["_links"], expected);
        let installed = device.get(&format!("/installedBase/{action}")).await.expect(200).json();
        assert_eq!(installed["id"], action.to_string());
    })
    .await;
}

#[tokio::test]
async fn a_wrong_or_foreign_token_is_refused_without_a_body() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let target = server.target("d1").await;
        server.target("d2").await;
        let mut device = server.device("d1");
        let token = target["securityToken"].as_str().unwrap();
        for (authorization, status) in [
            (format!("TargetToken {token}"), 200),
            ("TargetToken wrong".to_owned(), 401),
            (format!("targettoken {token}"), 401),
            (format!("TargetToken  {token}"), 401),
            ("GatewayToken wrong".to_owned(), 401),
            ("GatewayToken ".to_owned(), 401),
            (server.admin.clone(), 401),
        ] {
            device.authorization = authorization.clone();
            let answer = device.get("").await;
            assert_eq!(answer.status, status, "{authorization}");
            assert!(status == 200 || answer.bytes.is_empty(), "{authorization}: {answer:?}");
        }
        device.authorization = format!("TargetToken {token}");
        device.root = "/DEFAULT/controller/v1/d2".to_owned();
        device.get("").await.expect_empty(401);
        device.root = "/DEFAULT/controller/v1/never-seen".to_owned();
        device.get("").await.expect_empty(401);
        server.get("/rest/v1/targets/never-seen").await.expect(404);
    })
    .await;
}

/// As a hawkBit node beside this one does without a broker: no event tells of it.
#[tokio::test]
async fn what_no_event_told_is_seen_when_the_caches_time_is_up() {
    let see = async |engine: Engine, ttl: &str, seen: bool| {
        let server = Server::start_with(engine, &[&format!("hawkbit.cache.ttl={ttl}")]).await;
        server.allow_devices().await;
        let device = server.device("d1");
        let asked = async || device.poll().await["_links"].get("configData").is_some();
        // The first poll registers it; a node that starts uses its caches a moment later.
        asked().await;
        linger(Duration::from_millis(1_500)).await;
        assert!(asked().await, "with {ttl}");
        Store::of(&server).await.execute("UPDATE sp_target SET request_controller_attributes = false").await;
        linger(Duration::from_millis(1_500)).await;
        assert_eq!(!asked().await, seen, "on {engine:?} with {ttl}");
    };
    let engines = [Engine::Sqlite, Engine::Postgres];
    let cases =
        engines.into_iter().flat_map(|engine| [(engine, "1s", true), (engine, "0s", true), (engine, "60s", false)]);
    join_all(cases.map(|(engine, ttl, seen)| see(engine, ttl, seen))).await;
}
