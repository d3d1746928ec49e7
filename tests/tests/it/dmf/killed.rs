//! Servers that die in the middle of work, and nodes that take over from them.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use super::{PATIENCE, things};
use crate::harness::{Broker, DEAD_LETTERS, Engine, Gateway, Message, RECEIVER, eventually};

const MESSAGES: usize = 1_000;
const LONG: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn what_it_had_not_finished_is_taken_after_the_restart() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let mut server = host.server(engine, &[]).await;
        let gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        let ids = things("d", MESSAGES);
        let messages: Vec<Message> = ids
            .iter()
            .map(|id| {
                let body = json!({"name": format!("name of {id}"), "attributeUpdate": {"attributes": {"n": id}}});
                gateway.message(json!({"type": "THING_CREATED", "thingId": id}), Some(body))
            })
            .collect();
        // Down, so that all wait; then up, and down again once it has begun.
        server.kill9();
        gateway.publish_all(&messages).await;
        server.restart();
        eventually(PATIENCE, "it has begun", async || host.depth(RECEIVER).filter(|depth| *depth < MESSAGES as u64))
            .await;
        server.kill9();
        let left = host.depth(RECEIVER).unwrap();
        eprintln!("{left} of {MESSAGES} were left");
        server.restart();
        gateway.until_heard().await;
        gateway.until_done_within(LONG).await;
        let total = server.get("/rest/v1/targets?limit=1").await.expect(200).json()["total"].clone();
        assert_eq!(total, MESSAGES);
        for id in &ids {
            let found = server.get(&format!("/rest/v1/targets/{id}/attributes")).await.expect(200).json();
            assert_eq!(found, json!({"n": id}));
        }
        assert_eq!(host.depth(DEAD_LETTERS), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_had_not_sent_is_sent_after_the_restart() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let mut server = host.server(engine, &[]).await;
        let mut gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        let ids = things("d", MESSAGES);
        gateway.register(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let set = server.set("fw", &[]).await;
        let body: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
        server.post(&path, json!(body)).await.expect(200);
        server.kill9();
        server.restart();
        let mut heard: HashMap<String, String> = HashMap::new();
        while heard.len() < MESSAGES {
            let message = gateway.next().await;
            let (thing, id) = (message.header("thingId"), message.correlation_id());
            assert_eq!(heard.entry(thing.clone()).or_insert(id.clone()), &id, "{thing}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_the_other_goes_on() {
    let host = Broker::shared().virtual_host();
    let a = host.server(Engine::Postgres, &[]).await;
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    gateway.until_heard().await;
    let b = a.another_node().await;
    let set = b.set("fw", &[]).await;
    let mut nodes = [Some(a), Some(b)];
    // The one that dies may be the one that receives, or the one that sends, or both or none: each dies once.
    for round in 0..2 {
        let (dies, lives) = (round, 1 - round);
        let before = format!("before-{round}");
        gateway.register(&[&before]).await;
        nodes[dies].as_mut().unwrap().kill9();
        let alive = nodes[lives].as_ref().unwrap();
        let after = format!("after-{round}");
        gateway.publish(&gateway.thing_created(&after)).await;
        eventually(LONG, "the other receives", async || {
            (alive.get(&format!("/rest/v1/targets/{after}")).await.status == 200).then_some(())
        })
        .await;
        for thing in [&before, &after] {
            alive.assign(thing, set).await;
        }
        let mut heard = Vec::new();
        eventually(LONG, "the other sends", async || {
            heard.extend(gateway.rest().await.iter().map(|message| message.header("thingId")));
            heard.sort();
            heard.dedup();
            (heard == [after.clone(), before.clone()]).then_some(())
        })
        .await;
        nodes[dies].as_mut().unwrap().restart();
    }
}
