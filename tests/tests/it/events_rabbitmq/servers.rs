//! Servers on one broker: what is done on one is in force on the other, and what a hawkBit node did is in force on both,
//! whichever of them dies.

use std::time::Duration;

use serde_json::{Value, json};

use super::{FAN_OUT, PATIENCE, Peer, SERVICE};
use crate::harness::{Answer, Broker, Cluster, Engine, Gateway, Server, Store, VirtualHost, eventually, linger};

const OVER_THE_BROKER: &str = "hawkbit.events.remote.enabled=true";
/// So long that nothing is seen because a cache's time is up.
const CACHED: &str = "hawkbit.cache.ttl=1h";
/// An event's way from one node to the other's caches.
const TRAVEL: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_one_node_is_in_force_on_the_other() {
    let host = Broker::shared().virtual_host();
    // As a node with another setting would stand beside it.
    let a = host.server(Engine::Postgres, &[OVER_THE_BROKER, CACHED, "kettle.roles=mgmt,ddi"]).await;
    let own = host.settings();
    let settings: Vec<&str> = own.iter().map(String::as_str).collect();
    let b = a
        .another_node_with(&[&settings[..], &[OVER_THE_BROKER, CACHED, "kettle.events.payload=protobuf"]].concat())
        .await;
    until_ready(&a).await;
    until_ready(&b).await;
    a.allow_devices().await;
    let store = Store::of(&a).await;
    let listening =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    assert_eq!(store.number(listening).await, 0);
    for (here, there, id) in [(&a, &b, "d1"), (&b, &a, "d2")] {
        here.target(id).await;
        let set = here.set(&format!("fw-{id}"), &[]).await;
        let device = there.device(id);
        assert_eq!(device.offered().await, None);
        assert_eq!(device.offered().await, None, "the answer is cached by now");
        let action = here.assign(id, set).await;
        eventually(TRAVEL, "the other node offers the action", async || {
            device.offered().await.filter(|offered| *offered == action)
        })
        .await;
    }
    let told = text(&b.get("/metrics").await);
    for name in
        ["kettle_events_told_total", "kettle_events_heard_total{channel=\"kettle\"}", "kettle_event_lag_seconds"]
    {
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hawkbit_node_did_is_in_force_at_once() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let peer = Peer::connect(&host).await;
        let server = host.server(engine, &[OVER_THE_BROKER, CACHED]).await;
        until_ready(&server).await;
        server.configure("authentication.targettoken.enabled", true).await;
        server.allow_devices().await;
        let store = Store::of(&server).await;
        let (old, new) = ("0".repeat(32), "1".repeat(32));
        server.post("/rest/v1/targets", json!([{"controllerId": "d1", "securityToken": old}])).await.expect(201);
        let with = |token: &str| crate::harness::Device {
            authorization: format!("TargetToken {token}"),
            ..server.device("d1")
        };
        with(&old).poll().await;
        // What hawkBit does on the same database, and how it tells.
        store.execute(&format!("UPDATE sp_target SET sec_token = '{new}' WHERE controller_id = 'd1'")).await;
        linger(Duration::from_millis(1_500)).await;
        with(&old).poll().await;
        let id = store.number("SELECT id AS n FROM sp_target WHERE controller_id = 'd1'").await;
        peer.tell(FAN_OUT, &entity("2", "JpaTarget", id, json!(id))).await;
        eventually(TRAVEL, "the old token is refused", async || (with(&old).get("").await.status == 401).then_some(()))
            .await;
        with(&new).poll().await;

        server.configure("pollingTime", "00:01:00").await;
        assert_eq!(with(&new).poll().await["config"]["polling"]["sleep"], "00:01:00");
        store
            .execute("UPDATE sp_tenant_configuration SET conf_value = '00:02:00' WHERE conf_key = 'pollingTime'")
            .await;
        let id = store.number("SELECT id AS n FROM sp_tenant_configuration WHERE conf_key = 'pollingTime'").await;
        assert_eq!(with(&new).poll().await["config"]["polling"]["sleep"], "00:01:00", "cached");
        peer.tell(FAN_OUT, &entity("41", "JpaTenantConfiguration", id, json!("pollingTime"))).await;
        eventually(TRAVEL, "the new polling time", async || {
            (with(&new).poll().await["config"]["polling"]["sleep"] == "00:02:00").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_event_of_hawkbits_that_comes_twice_is_one_command() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let peer = Peer::connect(&host).await;
        let server = host.server(engine, &[OVER_THE_BROKER]).await;
        until_ready(&server).await;
        let mut gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        gateway.register(&["d1"]).await;
        for (id, thing) in [(ONE, "gone-1"), (ONE, "gone-1"), (TWO, "gone-2")] {
            peer.tell(SERVICE, &deleted(&host, id, thing)).await;
        }
        assert_eq!(until_told(&mut gateway, "gone-2").await, ["gone-1", "gone-2"]);
    }
}

/// A node is killed while it has a message that it could not store yet, or that it has stored and not acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_event_that_a_killed_node_held_is_one_command_by_another() {
    tokio::join!(is_taken_from_the_killed(false), is_taken_from_the_killed(true));
}

async fn is_taken_from_the_killed(stored: bool) {
    let host = Broker::shared().virtual_host();
    let peer = Peer::connect(&host).await;
    let plan = Cluster::of(2).on_broker(&host).with(&[OVER_THE_BROKER, "kettle.cluster.lease-time=2s"]);
    let mut cluster = plan.start();
    for node in &cluster.nodes {
        until_ready(node).await;
    }
    let store = cluster.store().await;
    let taken = async || store.number("SELECT count(*) AS n FROM kt_taken_event").await;
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    gateway.until_heard().await;
    let link = |node: usize| cluster.nodes[node].broker.as_ref().unwrap();
    let consumers = async |count: u64| {
        eventually(PATIENCE, "so many hear the channel", async || (host.consumers(SHARED) == count).then_some(()))
            .await;
    };
    consumers(2).await;
    link(1).cut();
    consumers(1).await;
    cluster.nodes[0].database.cut();
    peer.tell(SERVICE, &deleted(&host, ONE, "gone-1")).await;
    eventually(PATIENCE, "it can't be stored", async || {
        cluster.nodes[0].log_text().contains("events for services wait").then_some(())
    })
    .await;
    link(1).mend();
    consumers(2).await;
    assert_eq!((host.unacknowledged(SHARED), taken().await), (1, 0), "who has it keeps it");
    if stored {
        // What it says of it does not arrive.
        link(0).silence();
        cluster.nodes[0].database.mend();
        eventually(PATIENCE, "it is stored", async || (taken().await == 1).then_some(())).await;
        assert_eq!(host.unacknowledged(SHARED), 1);
    }
    cluster.nodes[0].kill9();
    cluster.nodes[0].broker.as_ref().unwrap().cut();
    eventually(PATIENCE, "the other has it", async || {
        let acknowledged = host.depth(SHARED) == Some(0);
        (acknowledged && taken().await == 1).then_some(())
    })
    .await;
    peer.tell(SERVICE, &deleted(&host, TWO, "gone-2")).await;
    assert_eq!(until_told(&mut gateway, "gone-2").await, ["gone-1", "gone-2"], "stored: {stored}");
    assert_eq!(taken().await, 2);
    gateway.expect_silence().await;
}

/// Ids of messages.
const ONE: &str = "0f40962b-83c7-4d1b-a236-007df68c4e30";
const TWO: &str = "0f40962b-83c7-4d1b-a236-007df68c4e31";
/// Where the service channel's messages wait for one of the nodes.
const SHARED: &str = "serviceEventChannel.dmf-server";

/// A thing of the gateway is gone, as hawkBit tells it to services.
fn deleted(host: &VirtualHost<'_>, id: &str, controller_id: &str) -> Value {
    let of = json!({
        "type": "3", "id": "ce2ddd94-7e85-42dc-8c2a-7b23e67aa9b8", "timestamp": 1, "tenant": "DEFAULT", "entityId": 9,
        "controllerId": controller_id, "targetAddress": format!("amqp://{}/gw.ex", host.name), "source": 9
    });
    json!({"type": "1002", "id": id, "timestamp": 1, "source": 9, "remoteEvent": of})
}

/// The things that the gateway is told to be gone, up to this one.
async fn until_told(gateway: &mut Gateway<'_>, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    while !told.iter().any(|thing| thing == last) {
        let message = gateway.next().await;
        if message.header("type") == "THING_DELETED" {
            told.push(message.header("thingId"));
        }
    }
    told
}

/// On PostgreSQL by another server, on SQLite by the next process.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_had_done_that_was_killed_is_announced() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let broker = Broker::start();
        let host = broker.virtual_host();
        drop(Peer::connect(&host).await);
        let short = "kettle.cluster.lease-time=2s";
        let mut server = host.server(engine, &[OVER_THE_BROKER, short, "hawkbit.dmf.enabled=false"]).await;
        until_ready(&server).await;
        let other = if engine == Engine::Postgres { Some(server.another_node().await) } else { None };
        broker.kill9();
        eventually(PATIENCE, "it is noticed", async || (server.get("/health/ready").await.status == 503).then_some(()))
            .await;
        for n in 0..20 {
            server.target(&format!("d{n}")).await;
        }
        server.kill9();
        broker.restart();
        if other.is_none() {
            server.restart();
        }
        let store = Store::of(&server).await;
        let rows = store.rows("SELECT id FROM sp_target", []).await;
        let ids: Vec<i64> = rows.iter().map(|row| row.try_get("", "id").unwrap()).collect();
        assert_eq!(ids.len(), 20);
        let mut peer = Peer::connect(&host).await;
        peer.hears("1", ids.into_iter()).await;
        drop(other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_what_is_wrong_with_the_broker_and_the_node_goes_on() {
    let broker = Broker::start();
    let host: VirtualHost<'_> = broker.virtual_host();
    let server = host.server(Engine::Sqlite, &[OVER_THE_BROKER, "hawkbit.dmf.enabled=false"]).await;
    until_ready(&server).await;
    broker.kill9();
    let said = eventually(PATIENCE, "it is said", async || {
        let answer = server.get("/health/ready").await;
        (answer.status == 503).then(|| text(&answer))
    })
    .await;
    assert!(said.starts_with("broker: "), "{said}");
    server.target("d1").await;
    broker.restart();
    until_ready(&server).await;
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes.clone()).unwrap()
}

async fn until_ready(server: &Server) {
    eventually(PATIENCE, "all of the node works", async || {
        (server.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
}

/// An event about an entity, as hawkBit writes it.
fn entity(kind: &str, cache: &str, id: i64, key: Value) -> Value {
    json!({
        "type": kind, "id": "ff8773bd-f8e8-4d6c-b3e1-d8df4067be6c", "timestamp": 1_700_000_000_000_i64, "tenant": "DEFAULT",
        "entityId": id, "entityClass": format!("org.eclipse.hawkbit.repository.jpa.model.{cache}"), "cacheName": cache,
        "cacheKey": key, "source": id
    })
}
