//! Of one thing the messages are handled in the order in which they came, whoever handles them.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Broker, Engine, Gateway, Message, Server};

const UPDATES: usize = 200;
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_last_update_of_a_thing_wins() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let server = host.server(engine, &[]).await;
        let gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        the_last_wins(&gateway, &server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_two_nodes_too() {
    let host = Broker::shared().virtual_host();
    let a = host.server(Engine::Postgres, &[]).await;
    let b = a.another_node().await;
    let gateway = Gateway::connect(&host, "gw.ex").await;
    gateway.until_heard().await;
    the_last_wins(&gateway, &b).await;
}

/// Several kinds of messages of one thing: what each leaves depends on those before it.
async fn the_last_wins(gateway: &Gateway<'_>, server: &Server) {
    let others = super::things("other", 20);
    let mut messages = Vec::new();
    for n in 0..UPDATES {
        // Created, changed, removed: as a target it is there at the end only if the order is kept.
        messages.push(
            gateway.message(json!({"type": "THING_CREATED", "thingId": "d"}), Some(json!({"name": n.to_string()}))),
        );
        let mode = if n % 3 == 0 { "REPLACE" } else { "MERGE" };
        let body = json!({"attributes": {"n": n.to_string(), format!("k{n}"): "v"}, "mode": mode});
        messages.push(gateway.event("UPDATE_ATTRIBUTES", "d", body));
        for other in others.iter().skip(n % 3).step_by(3) {
            messages.push(gateway.message(
                json!({"type": "THING_CREATED", "thingId": other}),
                Some(json!({"name": n.to_string(), "attributeUpdate": {"attributes": {"n": n.to_string()}}})),
            ));
        }
        if n % 10 == 9 && n + 1 < UPDATES {
            messages.push(gateway.message(json!({"type": "THING_REMOVED", "thingId": "d"}), None));
        }
    }
    let dead = crate::harness::DEAD_LETTERS;
    gateway.publish_all(&messages).await;
    gateway.until_done_within(LONG).await;
    assert_eq!(gateway.take(dead).await.as_ref().map(Message::headers), None);
    let target = server.get("/rest/v1/targets/d").await.expect(200).json();
    assert_eq!(target["name"], (UPDATES - 1).to_string());
    let attributes = server.get("/rest/v1/targets/d/attributes").await.expect(200).json();
    // The last REPLACE was that of 198.
    assert_eq!(attributes, json!({"n": "199", "k198": "v", "k199": "v"}));
    for (n, other) in others.iter().enumerate() {
        let last = (0..UPDATES).rev().find(|update| update % 3 == n % 3).unwrap().to_string();
        let target = server.get(&format!("/rest/v1/targets/{other}")).await.expect(200).json();
        assert_eq!(target["name"], last, "{other}");
    }
}
