//! Views that nodes share in Redis, by `kettle.redis.use=cache`. Who was answered from there is seen by a change of the row
//! behind Kettle's back.

use std::time::Duration;

use reqwest::Method;
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use crate::harness::{Device, Engine, Redis, Server, Store, basic, eventually, linger};

const PATIENCE: Duration = Duration::from_secs(20);
/// Until a node that starts uses what is cached, whoever of the others has died.
const JOINED: Duration = Duration::from_millis(4_500);
const VIEW: &str = "kettle:view:1:DEFAULT d1";
const TOKEN: &str = "kettle:fill:1:DEFAULT d1";

#[tokio::test]
async fn a_node_answers_from_what_another_has_read_and_from_nothing_that_changed_since() {
    let (redis, a) = with_cache(&["limits", "cache"]).await;
    let b = a.another_node().await;
    let store = Store::of(&a).await;
    a.device("d1").poll().await;
    eventually(PATIENCE, "the other node answers what this one has read", async || {
        read_by_one(&redis, &store, &a).await?;
        asks_for_attributes(&b.device("d1")).await.then_some(())
    })
    .await;
    let boss = basic("boss", "x");
    let send = async |method, path: &str, body| a.json_as(&boss, method, path, Some(body)).await;
    for (key, value) in [("enabled", json!(true)), ("key", json!("theirs"))] {
        let path = format!("/rest/v1/system/configs/authentication.gatewaytoken.{key}");
        send(Method::PUT, &path, json!({"value": value})).await.expect(204);
    }
    send(Method::POST, "/rest/v1/targets", json!([{"controllerId": "d1"}])).await.expect(201);
    read_by_one(&redis, &store, &a).await;
    let (root, authorization) = ("/OTHER/controller/v1/d1".into(), "GatewayToken theirs".into());
    let theirs = Device { client: &b, root, authorization };
    assert!(asks_for_attributes(&theirs).await, "another tenant's device has a view of its own");

    for n in 0..5 {
        offered_and_done(&a, &b, &format!("alive-{n}")).await;
    }
    redis.kill9();
    offered_and_done(&a, &b, "killed").await;
    redis.restart();
    for n in 0..3 {
        offered_and_done(&b, &a, &format!("back-{n}")).await;
    }
    eventually(PATIENCE, "it is used again", async || {
        read_by_one(&redis, &store, &a).await?;
        asks_for_attributes(&b.device("d1")).await.then_some(())
    })
    .await;
    redis.pause();
    offered_and_done(&a, &b, "hanging").await;
    redis.resume();
    eventually(PATIENCE, "what changed meanwhile is dropped", async || (!redis.has(VIEW).await).then_some(())).await;
    offered_and_done(&a, &b, "answering").await;
}

#[tokio::test]
async fn without_the_setting_nothing_is_shared() {
    let (redis, a) = with_cache(&["limits", "logins", "sessions"]).await;
    let b = a.another_node().await;
    let store = Store::of(&a).await;
    a.device("d1").poll().await;
    store.execute(ASKED).await;
    change(&a).await;
    assert!(asks_for_attributes(&a.device("d1")).await);
    store.execute(NOT_ASKED).await;
    assert!(!asks_for_attributes(&b.device("d1")).await);
    assert!(!redis.has(VIEW).await);
}

#[tokio::test]
async fn a_node_that_starts_uses_it_but_for_what_nobody_may_have_dropped() {
    let (redis, mut a) = with_cache(&["cache"]).await;
    let store = Store::of(&a).await;
    a.device("d1").poll().await;
    eventually(PATIENCE, "a view is shared", async || read_by_one(&redis, &store, &a).await).await;
    // It may be asked before it has looked what it missed. To it, the one that was killed is another node, which lives.
    eventually(PATIENCE, "the node that starts answers from Redis", async || {
        a.kill9();
        store.execute("UPDATE kt_outbox SET created_at = created_at - 300000").await;
        a.restart();
        linger(JOINED).await;
        assert!(redis.has(VIEW).await);
        asks_for_attributes(&a.device("d1")).await.then_some(())
    })
    .await;

    a.kill9();
    let died_between_commit_and_drop = "INSERT INTO kt_outbox (node, tenant, kind, payload, created_at) SELECT 'gone', \
        'DEFAULT', 'targetsChanged', '{\"kind\":\"targetsChanged\",\"tenant\":\"DEFAULT\",\"controllerIds\":[\"d1\"]}', \
        CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)";
    store.execute(died_between_commit_and_drop).await;
    assert!(redis.has(VIEW).await);
    a.restart();
    linger(JOINED).await;
    assert!(!asks_for_attributes(&a.device("d1")).await);
}

#[tokio::test]
async fn a_read_that_overlaps_a_drop_is_not_kept() {
    let (redis, a) = with_cache(&["cache"]).await;
    let store = Store::of(&a).await;
    a.device("d1").poll().await;
    for dropped in [false, true] {
        eventually(PATIENCE, "a read has begun and ended", async || {
            change(&a).await;
            let reading = store.db.begin().await.unwrap();
            reading.execute_unprepared("LOCK TABLE sp_target IN ACCESS EXCLUSIVE MODE").await.unwrap();
            let poll = async {
                a.device("d1").poll().await;
            };
            let overlap = async {
                let begun =
                    eventually(Duration::from_secs(2), "a token", async || redis.has(TOKEN).await.then_some(()));
                let begun = tokio::time::timeout(Duration::from_secs(1), begun).await.is_ok();
                if dropped {
                    redis.forget(TOKEN).await;
                }
                reading.commit().await.unwrap();
                begun
            };
            let ((), begun) = tokio::join!(poll, overlap);
            begun.then_some(())
        })
        .await;
        assert_eq!(redis.has(VIEW).await, !dropped);
    }
}

const ASKED: &str =
    "UPDATE sp_target SET request_controller_attributes = true WHERE controller_id = 'd1' AND tenant = 'DEFAULT'";
const NOT_ASKED: &str =
    "UPDATE sp_target SET request_controller_attributes = false WHERE controller_id = 'd1' AND tenant = 'DEFAULT'";

async fn with_cache(uses: &[&str]) -> (Redis, Server) {
    let redis = Redis::start();
    let mut own = redis.settings().to_vec();
    own.push(format!("kettle.redis.use={}", uses.join(",")));
    // However slow the machine is.
    own.push("kettle.cluster.write-wait=10s".to_owned());
    own.push("hawkbit.security.user.admin.password={noop}admin".to_owned());
    own.extend(
        ["password={noop}x", "tenant=OTHER", "roles=TENANT_ADMIN"].map(|of| format!("hawkbit.security.user.boss.{of}")),
    );
    let settings: Vec<&str> = own.iter().map(String::as_str).collect();
    let server = Server::start_with(Engine::Postgres, &settings).await;
    server.allow_devices().await;
    (redis, server)
}

/// The view that asks for attributes is in Redis, while the database says no more that it does; unless a drop was under way.
async fn read_by_one(redis: &Redis, store: &Store, node: &Server) -> Option<()> {
    store.execute(ASKED).await;
    change(node).await;
    node.device("d1").poll().await;
    store.execute(NOT_ASKED).await;
    redis.has(VIEW).await.then_some(())
}

/// To something that it was not before: what is the same drops nothing.
async fn change(by: &Server) {
    let description = uuid::Uuid::new_v4().to_string();
    by.put("/rest/v1/targets/d1", json!({"description": description})).await.expect(200);
}

async fn asks_for_attributes(device: &Device<'_>) -> bool {
    device.poll().await["_links"].get("configData").is_some()
}

/// What is acknowledged by one node is in force on the other at once.
async fn offered_and_done(by: &Server, on: &Server, name: &str) {
    assert_eq!(on.device("d1").offered().await, None, "{name}");
    let set = by.set(name, &[]).await;
    let action = by.assign("d1", set).await;
    assert_eq!(on.device("d1").offered().await, Some(action), "{name}");
    on.device("d1").feedback(action, "closed", "success").await.expect_empty(200);
    assert_eq!(by.device("d1").offered().await, None, "{name}");
}

impl Redis {
    async fn has(&self, key: &str) -> bool {
        self.ask(&["EXISTS", key]).await
    }

    async fn forget(&self, key: &str) {
        self.ask(&["DEL", key]).await
    }
}
