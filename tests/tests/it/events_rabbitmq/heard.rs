//! Hearing: what other Kettle nodes tell, what hawkBit nodes tell, and what nobody can read.

use std::time::{Duration, Instant};

use kettle_cluster::{
    Event, Gossip, Lease, ServiceEvent,
    announcements::Payload,
    rabbitmq::Settings,
    service::{self, Tenants},
};
use lapin::BasicProperties;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{FAN_OUT, KETTLE, Node, PATIENCE, Peer, SERVICE, TRAVEL, changed, settings};
use crate::harness::{Broker, Engine, Link, Store, eventually, linger, on_each_store, table};

/// Two nodes with databases of their own: what one hears of the other, it hears over the broker.
async fn strangers(
    store: &Store,
    host: &crate::harness::VirtualHost<'_>,
    payloads: [Payload; 2],
) -> (Node, Node, Store) {
    let engine = if store.db.engine() == kettle_db::Engine::Postgres { Engine::Postgres } else { Engine::Sqlite };
    let other = Store::migrated(engine).await;
    let with = |payload| Settings { payload, ..settings(host) };
    let a = Node::with(&store.db, "a", with(payloads[0])).await;
    let b = Node::with(&other.db, "b", with(payloads[1])).await;
    a.until_connected().await;
    b.until_connected().await;
    (a, b, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_heard_over_the_broker_whatever_payload_either_node_writes() {
    on_each_store(async |store| {
        for payloads in [[Payload::Json, Payload::Json], [Payload::Json, Payload::Binary]] {
            let host = Broker::shared().virtual_host();
            let (a, b, _other) = strangers(&store, &host, payloads).await;
            let every_kind = [
                changed(&["d1", "d2"]),
                Event::TenantConfigurationChanged { tenant: "T".to_owned() },
                Event::RolloutChanged { tenant: "T".to_owned(), rollout: 7 },
                Event::TargetFiltersChanged { tenant: "T".to_owned(), filter: Some(3) },
                Event::TargetFiltersChanged { tenant: "T".to_owned(), filter: None },
                Event::TargetSearchesChanged { tenant: "T".to_owned(), fields: vec!["tag".to_owned()] },
            ];
            for (from, to) in [(&a, &b), (&b, &a)] {
                let before = from.heard().len();
                for event in &every_kind {
                    from.tell(event).await;
                    to.hears(event).await;
                }
                assert_eq!(from.heard().len(), before + every_kind.len(), "its own only at the commit");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_and_wakes_for_service_events_go_over_the_broker() {
    on_each_store(async |store| {
        let host = Broker::shared().virtual_host();
        let (a, b, _other) = strangers(&store, &host, [Payload::Json, Payload::Binary]).await;
        let (mut own, mut heard) = (a.events.gossip(), b.events.gossip());
        a.events.say("limits", "1.2.3.4 7".to_owned());
        let said = timeout(TRAVEL, heard.recv()).await.expect("gossip").unwrap();
        assert_eq!(said, Gossip { node: "a".into(), topic: "limits".into(), text: "1.2.3.4 7".into() });
        assert!(own.try_recv().is_err(), "who says it does not hear it");

        let mut woken = b.events.service_events();
        woken.mark_unchanged();
        let mut tx = a.begin().await;
        tx.emit_service(ServiceEvent::Canceled { tenant: "T".into(), actions: vec![(1, "d".into())] });
        tx.commit().await.unwrap();
        timeout(TRAVEL, woken.changed()).await.expect("woken").unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_database_an_event_is_heard_once_and_also_while_the_broker_is_away() {
    let store = Store::migrated(Engine::Postgres).await;
    let broker = Broker::start();
    let host = broker.virtual_host();
    let a = Node::connected(&store.db, "a", &host).await;
    let b = Node::connected(&store.another_node().await, "b", &host).await;
    eventually(TRAVEL, "it is whole", async || b.events.whole().then_some(())).await;
    assert_eq!(
        store
            .number(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
            .await,
        0
    );
    for n in 0..50 {
        let event = changed(&[&n.to_string()]);
        a.tell(&event).await;
        b.hears(&event).await;
    }
    // Longer than from one look at the outbox to the next: what it tells has been heard.
    linger(Duration::from_millis(2_500)).await;
    assert_eq!(b.heard().len(), 50);

    broker.kill9();
    eventually(PATIENCE, "b notices", async || b.events.broker().unwrap().err()).await;
    let gaps = b.gaps();
    let alone = changed(&["without a broker"]);
    a.tell(&alone).await;
    b.hears(&alone).await;
    assert!(b.events.whole(), "the outbox tells everything");
    assert_eq!(b.gaps(), gaps);

    broker.restart();
    b.until_connected().await;
    a.until_connected().await;
    assert!(b.gaps() > gaps, "what hawkBit nodes did meanwhile, nobody knows");
    let again = changed(&["again"]);
    a.tell(&again).await;
    b.hears(&again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_outbox_told_is_not_heard_again_when_the_broker_brings_it_later() {
    let store = Store::migrated(Engine::Postgres).await;
    let host = Broker::shared().virtual_host();
    let way = Link::to(format!("127.0.0.1:{}", host.broker.port));
    let mut far = settings(&host);
    far.broker.addresses[0].port = way.port;
    let a = Node::connected(&store.db, "a", &host).await;
    let b = Node::with(&store.another_node().await, "b", far).await;
    b.until_connected().await;
    eventually(TRAVEL, "it is whole", async || b.events.whole().then_some(())).await;
    let mut gossip = b.events.gossip();
    // From one look at the outbox to the next it is a second.
    way.slow(Duration::from_secs(3));
    let told = Instant::now();
    for n in 0..10 {
        a.tell(&changed(&[&n.to_string()])).await;
    }
    b.hears(&changed(&["9"])).await;
    assert!(told.elapsed() < Duration::from_secs(3), "the outbox tells it first");
    a.events.say("limits", "the last message".to_owned());
    timeout(TRAVEL, gossip.recv()).await.expect("gossip").unwrap();
    assert_eq!(b.heard().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_event_of_hawkbits_is_taken_once_however_often_it_is_delivered() {
    on_each_store(async |store| {
        let host = Broker::shared().virtual_host();
        let peer = Peer::connect(&host).await;
        let node = Node::with(&store.db, "a", Settings { serves_dmf: true, ..settings(&host) }).await;
        node.until_connected().await;
        let one = deleted("0f40962b-83c7-4d1b-a236-007df68c4e30", "d1");
        let two = deleted("0f40962b-83c7-4d1b-a236-007df68c4e31", "d2");
        for message in [&one, &one, &two, &one] {
            peer.tell(SERVICE, message).await;
        }
        peer.tell_bytes(SERVICE, "application/remote-event-json", b"no JSON").await;
        peer.tell(SERVICE, &json!({"type": "1999", "id": "0f40962b-83c7-4d1b-a236-007df68c4e32"})).await;
        let taken = eventually(TRAVEL, "both are taken", async || {
            let written = service::read(&store.db, &Tenants::AllBut(Vec::new()), 10).await.unwrap();
            (written.len() >= 2).then_some(written)
        })
        .await;
        let event = |id: &str| ServiceEvent::TargetDeleted {
            tenant: "DEFAULT".to_owned(),
            controller_id: id.to_owned(),
            address: "amqp:/contract.reply".to_owned(),
        };
        let events: Vec<_> = taken.iter().map(|written| written.event.clone()).collect();
        assert_eq!(events, [event("d1"), event("d2")]);
        eventually(TRAVEL, "all is acknowledged", async || {
            (host.depth("serviceEventChannel.dmf-server") == Some(0)).then_some(())
        })
        .await;

        // What another node took, and died before it could say so.
        peer.tell(SERVICE, &one).await;
        eventually(TRAVEL, "it is acknowledged", async || {
            (host.depth("serviceEventChannel.dmf-server") == Some(0)).then_some(())
        })
        .await;
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_service_event").await, 2);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_taken_event").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_events_wait_for_a_node_that_serves_dmf() {
    let store = Store::migrated(Engine::Sqlite).await;
    let host = Broker::shared().virtual_host();
    let peer = Peer::connect(&host).await;
    let without = Node::connected(&store.db, "a", &host).await;
    assert_eq!(host.depth("serviceEventChannel.dmf-server"), None, "nobody would read it");
    let with = Node::with(&store.db, "b", Settings { serves_dmf: true, ..settings(&host) }).await;
    with.until_connected().await;
    with.transport.stop().await;
    peer.tell(SERVICE, &deleted("0f40962b-83c7-4d1b-a236-007df68c4e30", "d1")).await;
    // Its own kind of message is for nobody here.
    without.announce(&[1]).await;
    without.until_told().await;
    eventually(TRAVEL, "they wait", async || (host.depth("serviceEventChannel.dmf-server") == Some(2)).then_some(()))
        .await;
    let next = Node::with(&store.db, "c", Settings { serves_dmf: true, ..settings(&host) }).await;
    next.until_connected().await;
    eventually(TRAVEL, "they are taken", async || {
        (host.depth("serviceEventChannel.dmf-server") == Some(0)).then_some(())
    })
    .await;
    assert_eq!(store.number("SELECT count(*) AS n FROM kt_service_event").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_harms_nothing() {
    on_each_store(async |store| {
        let host = Broker::shared().virtual_host();
        let peer = Peer::connect(&host).await;
        let node = Node::with(&store.db, "a", Settings { serves_dmf: true, ..settings(&host) }).await;
        node.until_connected().await;
        for exchange in [FAN_OUT, SERVICE, KETTLE] {
            for content_type in
                ["application/remote-event-json", "application/x-protobuf", "application/json", "text/plain", ""]
            {
                for body in [&b""[..], b"{", b"{}", b"[]", b"null", b"\xff\xfe", b"{\"type\":\"5\"}", &[8; 4_096]] {
                    peer.tell_bytes(exchange, content_type, body).await;
                }
            }
        }
        // A node of a later version may tell what this one does not know: then nothing cached can be trusted.
        let before = node.gaps();
        let of_a_node = table(&json!({"kettle-node": "newer"}));
        let properties =
            BasicProperties::default().with_headers(of_a_node).with_content_type("application/json".into());
        peer.publish(KETTLE, properties, b"{\"kind\":\"moonChanged\",\"tenant\":\"T\"}").await;
        eventually(TRAVEL, "caches are dropped", async || (node.gaps() > before).then_some(())).await;
        eventually(TRAVEL, "the queue is empty", async || {
            (host.depth("serviceEventChannel.dmf-server") == Some(0)).then_some(())
        })
        .await;
        assert_eq!(node.events.broker(), Some(Ok(())));
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_service_event").await, 0);
        peer.tell(SERVICE, &deleted("0f40962b-83c7-4d1b-a236-007df68c4e30", "d1")).await;
        eventually(TRAVEL, "the next is taken", async || {
            (store.number("SELECT count(*) AS n FROM kt_service_event").await == 1).then_some(())
        })
        .await;
    })
    .await;
}

/// Such a message ends the connection of whoever it is delivered to.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_not_be_parsed_is_thrown_away_and_others_are_not() {
    let store = Store::migrated(Engine::Sqlite).await;
    let host = Broker::shared().virtual_host();
    let peer = Peer::connect(&host).await;
    let first = Node::with(&store.db, "a", Settings { serves_dmf: true, ..settings(&host) }).await;
    first.until_connected().await;
    first.transport.stop().await;
    peer.tell(SERVICE, &deleted("0f40962b-83c7-4d1b-a236-007df68c4e30", "d1")).await;
    let published = host.broker.eval(&format!(
        "rabbit_basic:publish(rabbit_misc:r(<<\"{}\">>, exchange, <<>>), <<\"serviceEventChannel.dmf-server\">>, \
         [{{content_type, <<255, 254>>}}], <<\"x\">>)",
        host.name
    ));
    assert!(published.starts_with("ok") || published.starts_with("{ok"), "{published}");
    peer.tell(SERVICE, &deleted("0f40962b-83c7-4d1b-a236-007df68c4e31", "d2")).await;
    let _next = Node::with(&store.db, "b", Settings { serves_dmf: true, ..settings(&host) }).await;
    eventually(PATIENCE, "both others are taken", async || {
        (store.number("SELECT count(*) AS n FROM kt_service_event").await == 2).then_some(())
    })
    .await;
    eventually(PATIENCE, "the queue is empty", async || {
        (host.depth("serviceEventChannel.dmf-server") == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ids_of_messages_are_forgotten_after_a_day() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    on_each_store(async |store| {
        let now = store.db.engine().now_ms();
        for (id, at) in [("old", format!("{now} - {DAY} - 1")), ("new", format!("{now} - {DAY} + 60000"))] {
            store.execute(&format!("INSERT INTO kt_taken_event (event_id, taken_at) VALUES ('{id}', {at})")).await;
        }
        let ctx = super::alone(&store.db);
        let lease = Lease::acquire(&store.db, "taken-events-prune", "a", PATIENCE).await.unwrap().unwrap();
        assert_eq!(kettle_cluster::rabbitmq::prune_taken(&ctx, &lease).await.unwrap(), 1);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_taken_event WHERE event_id = 'new'").await, 1);
        store.execute("UPDATE kt_taken_event SET taken_at = 0").await;
        store.execute("UPDATE kt_lease SET epoch = epoch + 1").await;
        assert!(kettle_cluster::rabbitmq::prune_taken(&ctx, &lease).await.is_err(), "the lease has passed on");
    })
    .await;
}

/// A target of a gateway is gone, as hawkBit tells it to services.
fn deleted(id: &str, controller_id: &str) -> Value {
    json!({
        "type": "1002", "id": id, "timestamp": 1_700_000_000_000_i64, "source": 1,
        "remoteEvent": {
            "type": "3", "id": "ce2ddd94-7e85-42dc-8c2a-7b23e67aa9b8", "timestamp": 1_700_000_000_000_i64, "tenant": "DEFAULT",
            "entityId": 1, "entityClass": "org.eclipse.hawkbit.repository.jpa.model.JpaTarget", "cacheKey": 1,
            "cacheName": "JpaTarget", "controllerId": controller_id, "targetAddress": "amqp:/contract.reply", "source": 1
        }
    })
}
