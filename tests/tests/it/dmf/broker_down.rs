//! A broker that dies, without warning and in the middle of work: nothing else stops for it, and each thing is sent what is
//! for it, at least once.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{PATIENCE, things};
use crate::harness::{Broker, Engine, Gateway, Message, RECEIVER, Server, eventually, timed};

const THINGS: usize = 1_000;
const AT_ONCE: usize = 4;
/// What a request may take while the broker is away, in a debug build on a busy machine.
const ANSWER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn assignments_one_by_one_reach_each_thing() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let broker = Broker::start();
        let host = broker.virtual_host();
        let server = host.server(engine, &[]).await;
        let ids = registered(&host).await;
        let set = server.set("fw", &[]).await;

        let done = AtomicUsize::new(0);
        let actions = stream::iter(&ids).map(async |id| {
            let (action, took) = timed(server.assign(id, set)).await;
            assert!(took < ANSWER, "{id}: {took:?}");
            done.fetch_add(1, Ordering::Relaxed);
            (id.clone(), action)
        });
        let all = actions.buffer_unordered(AT_ONCE).collect::<HashMap<String, i64>>();
        let accident = async {
            eventually(PATIENCE, "a third is assigned", async || {
                (done.load(Ordering::Relaxed) > THINGS / 3).then_some(())
            })
            .await;
            tokio::task::block_in_place(|| broker.kill9());
            done.load(Ordering::Relaxed)
        };
        let (all, at_death) = tokio::join!(all, accident);
        assert!(at_death < THINGS, "it died in the middle");
        server.get("/rest/v1/targets?limit=1").await.expect(200);
        broker.restart();
        everybody_heard(&host, &all).await;
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_assignment_of_many_reaches_each_thing() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let broker = Broker::start();
        let host = broker.virtual_host();
        let server = host.server(engine, &[]).await;
        let ids = registered(&host).await;
        let set = server.set("fw", &[]).await;
        let (early, late) = ids.split_at(THINGS / 2);
        let mut all = assign_all(&server, set.id, early).await;
        // While it is being sent: some are there, most are not.
        eventually(PATIENCE, "the first are sent", async || host.depth("gw.ex.q").filter(|n| *n > 0)).await;
        broker.kill9();
        let (more, took) = timed(assign_all(&server, set.id, late)).await;
        assert!(took < ANSWER, "{took:?}");
        all.extend(more);
        broker.restart();
        everybody_heard(&host, &all).await;
        drop(server);
    }
}

#[tokio::test]
async fn a_server_starts_without_its_broker_and_finds_it_later() {
    let broker = Broker::start();
    let host = broker.virtual_host();
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    gateway.leave().await;
    broker.kill9();
    let server = host.server(Engine::Sqlite, &[]).await;
    let body = json!([{"controllerId": "d1", "address": format!("amqp://{}/gw.ex", host.name)}]);
    server.post("/rest/v1/targets", body).await.expect(201);
    let set = server.set("fw", &[]).await;
    let action = server.assign("d1", set).await;
    server.get("/health/ready/http").await.expect(200);
    let not_ready = server.get("/health/ready").await;
    assert_eq!(not_ready.status, 503);
    let said = String::from_utf8(not_ready.bytes).unwrap();
    assert!(said.starts_with(&format!("broker: DMF: virtual host {}: ", host.name)), "{said}");
    broker.restart();
    gateway = Gateway::connect(&host, "gw.ex").await;
    let sent = gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
    assert_eq!(sent.json()["actionId"], action);
    gateway.until_heard().await;
    gateway.tell(gateway.status("d1", action, "FINISHED")).await;
    assert_eq!(server.update_status("d1").await, "in_sync");
}

/// What was taken and not yet acknowledged comes again: it counts once or does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn reports_under_way_when_it_dies_are_taken() {
    let broker = Broker::start();
    let host = broker.virtual_host();
    let server = host.server(Engine::Postgres, &[]).await;
    let ids = registered(&host).await;
    let gateway = Gateway::connect(&host, "gw.ex").await;
    let messages: Vec<Message> = ids.iter().map(|id| gateway.attributes(id, json!({"n": id}))).collect();
    gateway.publish_all(&messages).await;
    broker.kill9();
    broker.restart();
    let gateway = Gateway::connect(&host, "again.ex").await;
    gateway.until_heard().await;
    gateway.until_done_within(Duration::from_secs(60)).await;
    for id in ids.iter().step_by(7).chain([&ids[THINGS - 1]]) {
        let found = server.get(&format!("/rest/v1/targets/{id}/attributes")).await.expect(200).json();
        assert_eq!(found, json!({"n": id}));
    }
    assert_eq!(host.depth(crate::harness::DEAD_LETTERS), Some(0));
    assert_eq!(host.depth(RECEIVER), Some(0));
}

/// Things of a gateway that is away: what is for them waits in its queue.
async fn registered(host: &crate::harness::VirtualHost<'_>) -> Vec<String> {
    let gateway = Gateway::connect(host, "gw.ex").await;
    gateway.until_heard().await;
    let ids = things("d", THINGS);
    let ids_as: Vec<&str> = ids.iter().map(String::as_str).collect();
    gateway.register(&ids_as).await;
    gateway.leave().await;
    ids
}

async fn assign_all(server: &Server, set: i64, ids: &[String]) -> HashMap<String, i64> {
    let body: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    let path = format!("/rest/v1/distributionsets/{set}/assignedTargets");
    let answer = server.post(&path, json!(body)).await.expect(200).json();
    let actions = answer["assignedActions"].as_array().unwrap().iter().map(|action| {
        let href = action["_links"]["self"]["href"].as_str().unwrap();
        let id = href.rsplit("/targets/").next().unwrap().split('/').next().unwrap();
        (id.to_owned(), action["id"].as_i64().unwrap())
    });
    let actions: HashMap<String, i64> = actions.collect();
    assert_eq!(actions.len(), ids.len(), "{answer}");
    actions
}

/// Nobody is missing, nobody hears of another action, and what comes twice says so.
async fn everybody_heard(host: &crate::harness::VirtualHost<'_>, actions: &HashMap<String, i64>) {
    assert_eq!(actions.len(), THINGS);
    for message in until_heard_of(host, actions).await {
        let id = message.header("thingId");
        assert_eq!(message.header("topic"), "DOWNLOAD_AND_INSTALL");
        assert_eq!(message.json()["actionId"].as_i64(), actions.get(&id).copied(), "{id}");
    }
}

/// All that comes, until each thing heard of its action; of a repeat the correlation id is the same.
async fn until_heard_of(host: &crate::harness::VirtualHost<'_>, actions: &HashMap<String, i64>) -> Vec<Message> {
    let mut gateway = Gateway::connect(host, "gw.ex").await;
    let mut missing: std::collections::HashSet<&String> = actions.keys().collect();
    let mut correlation: HashMap<String, String> = HashMap::new();
    let mut all = Vec::new();
    let mut take = |message: Message, missing: &mut std::collections::HashSet<&String>| {
        let what = format!("{} {}", message.headers(), message.json());
        let id = message.correlation_id();
        assert_eq!(id.len(), 36, "{what}");
        assert_eq!(correlation.entry(what.clone()).or_insert(id.clone()), &id, "{what}");
        let thing = message.header("thingId");
        let action = message.json()["actionId"].as_i64();
        if message.header("topic").starts_with("DOWNLOAD") && action == actions.get(&thing).copied() {
            missing.remove(&thing);
        }
        all.push(message);
    };
    while !missing.is_empty() {
        let complaint = format!("{} of {} things heard of nothing", missing.len(), actions.len());
        take(gateway.next_or(&complaint).await, &mut missing);
    }
    for message in gateway.rest().await {
        take(message, &mut missing);
    }
    all
}
