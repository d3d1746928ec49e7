//! Much at once: all of it is done, in bounded memory, and what is bad holds nothing up.

use std::time::Duration;

use serde_json::json;

use super::things;
use crate::harness::{Broker, DEAD_LETTERS, Engine, Gateway, Message, RECEIVER};

/// In a debug build beside other tests.
const LONG: Duration = Duration::from_secs(180);
/// By how much a server may grow at most, in KiB.
const GROWTH: u64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_things_at_once_are_registered_in_bounded_memory() {
    const THINGS: usize = 10_000;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let server = host.server(engine, &[]).await;
        let gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        gateway.register(&["first"]).await;
        let (before, _) = server.process().resident_kib();
        let messages: Vec<Message> = things("d", THINGS).iter().map(|id| gateway.thing_created(id)).collect();
        gateway.publish_all(&messages).await;
        gateway.until_done_within(LONG).await;
        let total = server.get("/rest/v1/targets?limit=1").await.expect(200).json()["total"].clone();
        assert_eq!(total, THINGS + 1);
        assert_eq!(host.depth(DEAD_LETTERS), Some(0));
        let (_, peak) = server.process().resident_kib();
        eprintln!("{before} KiB before, {peak} KiB at most");
        assert!(peak < before + GROWTH, "{before} KiB before, {peak} KiB at most");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_holds_nothing_up() {
    const EACH: usize = 1_000;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let server = host.server(engine, &[]).await;
        let gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        let ids = things("d", EACH);
        gateway.register(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let mut messages = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            // Of all kinds: unreadable, of nobody, and for the very thing that the good one is for.
            let poison = match n % 4 {
                0 => gateway.event("UPDATE_ATTRIBUTES", id, json!([])),
                1 => gateway.attributes("nobody", json!({"n": "0"})),
                2 => gateway.status(id, 1_000_000, "FINISHED"),
                _ => gateway.attributes(id, json!({"~": "0"})),
            };
            messages.push(poison.correlated(&n.to_string()));
            messages.push(gateway.attributes(id, json!({"n": id})));
        }
        gateway.publish_all(&messages).await;
        gateway.until_done_within(LONG).await;
        for id in &ids {
            let found = server.get(&format!("/rest/v1/targets/{id}/attributes")).await.expect(200).json();
            assert_eq!(found, json!({"n": id}));
        }
        let mut dead = Vec::new();
        while let Some(letter) = gateway.take(DEAD_LETTERS).await {
            dead.push(letter.correlation_id().parse::<usize>().unwrap());
        }
        dead.sort_unstable();
        assert_eq!(dead, (0..EACH).collect::<Vec<_>>());
        assert_eq!(host.depth(RECEIVER), Some(0));
    }
}
