//! Telling: announcements reach whoever listens on hawkBit's channels, whatever dies in between.

use std::time::Duration;

use kettle_cluster::{Lease, outbox};

use super::{FAN_OUT, Node, PATIENCE, Peer, SERVICE, changed, settings, updated};
use crate::harness::{Broker, Store, eventually, on_each_store, timed};

/// What a commit may take while the broker is away, in a debug build on a busy machine.
const COMMIT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_announced_on_hawkbits_channels_in_its_order_and_names_its_node() {
    on_each_store(async |store| {
        let host = Broker::shared().virtual_host();
        let mut peer = Peer::connect(&host).await;
        let node = Node::connected(&store.db, "a", &host).await;
        node.announce(&[1, 2]).await;
        let mut told = Vec::new();
        for _ in 0..4 {
            let message = peer.next().await;
            peer.note(&message);
            assert_eq!(message.header("kettle-node"), "a");
            assert_eq!(*message.properties.delivery_mode(), Some(2), "it survives a restart of the broker");
            let body = message.json();
            let entity = body.get("remoteEvent").unwrap_or(&body)["entityId"].as_i64().unwrap();
            told.push((message.exchange, body["type"].as_str().unwrap().to_owned(), entity));
        }
        let event = |exchange: &str, kind: &str, id| (exchange.to_owned(), kind.to_owned(), id);
        let expected =
            [event(FAN_OUT, "2", 1), event(SERVICE, "1001", 1), event(FAN_OUT, "2", 2), event(SERVICE, "1001", 2)];
        assert_eq!(told, expected);
        assert_eq!(peer.repeats(), 0);
        node.until_told().await;

        // What is rolled back is not told.
        let tx = node.begin().await;
        tx.announce("T", updated(&[3]));
        drop(tx);
        node.announce(&[4]).await;
        peer.hears_updates([4].into_iter()).await;
        assert!(!peer.came.keys().any(|(_, what)| what.ends_with(" 3")));
        node.transport.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_announcing_only_kettles_own_exchange_is_used() {
    on_each_store(async |store| {
        let host = Broker::shared().virtual_host();
        let node = Node::with(&store.db, "a", kettle_cluster::rabbitmq::Settings { channels: None, ..settings(&host) });
        let node = node.await;
        node.until_connected().await;
        assert!(!node.events.announces());
        node.announce(&[1]).await;
        node.tell(&changed(&["d"])).await;
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_outbox WHERE kind = 'announcement'").await, 0);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_told").await, 0);
        let exchanges = host.broker.eval(&format!(
            "lists:sort([N || {{resource, _, exchange, N}} <- [element(2, X) || X <- rabbit_exchange:list(<<\"{}\">>)], \
             binary:match(N, <<\"EventChannel\">>) =/= nomatch])",
            host.name
        ));
        assert_eq!(exchanges, "[<<\"kettleEventChannel\">>]");
        node.transport.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_while_the_broker_was_away_is_told_when_it_is_back() {
    on_each_store(async |store| {
        let broker = Broker::start();
        let host = broker.virtual_host();
        drop(Peer::connect(&host).await);
        let node = Node::connected(&store.db, "a", &host).await;
        node.announce(&[1]).await;
        node.until_told().await;
        // It dies with work under way.
        for id in 2..=200 {
            node.announce(&[id]).await;
        }
        broker.kill9();
        eventually(PATIENCE, "the node notices", async || node.events.broker().unwrap().err()).await;
        let mut slowest = Duration::ZERO;
        for id in 201..=400 {
            let ((), took) = timed(node.announce(&[id])).await;
            slowest = slowest.max(took);
        }
        assert!(slowest < COMMIT, "{slowest:?}");
        assert!(node.events.untold_since().is_some());

        broker.restart();
        let mut peer = Peer::connect(&host).await;
        node.until_connected().await;
        peer.hears_updates(2..=400).await;
        node.until_told().await;
        eprintln!("{} of 800 messages came twice", peer.repeats());
        // Told is told: the connection that is lost next has nothing to repeat.
        let before = peer.repeats();
        node.announce(&[401]).await;
        peer.hears_updates([401].into_iter()).await;
        assert_eq!(peer.repeats(), before);
        node.transport.stop().await;
    })
    .await;
}

/// What a node leaves that is killed between a commit and its telling, or while the broker is away: rows of the outbox, and
/// until when it had told.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_did_not_tell_that_is_gone_another_tells_once() {
    on_each_store(async |store| {
        let broker = Broker::start();
        let host = broker.virtual_host();
        let mut peer = Peer::connect(&host).await;
        let gone = Node::connected(&store.db, "gone", &host).await;
        gone.announce(&[1, 2]).await;
        peer.hears_updates(1..=2).await;
        drop(peer);
        broker.kill9();
        eventually(PATIENCE, "it notices", async || gone.events.broker().unwrap().err()).await;
        gone.announce(&[3]).await;
        gone.announce(&[4]).await;
        // As kill -9 does: nothing is told or noted any more.
        drop(gone.transport);

        broker.restart();
        let mut peer = Peer::connect(&host).await;
        let survivor = Node::connected(&store.db, "survivor", &host).await;
        let jobs = survivor.jobs();
        peer.hears_updates(3..=4).await;
        eventually(PATIENCE, "it is noted", async || {
            (store.number("SELECT count(*) AS n FROM kt_told WHERE node = 'gone'").await == 0).then_some(())
        })
        .await;
        assert!(peer.came.keys().all(|(_, what)| !what.ends_with(" 5")));
        jobs.stop().await;
        survivor.transport.stop().await;
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_told").await, 0, "a node that leaves nothing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_told_are_kept_for_an_hour() {
    const KEPT: i64 = 5 * 60 * 1000;
    on_each_store(async |store| {
        let broker = Broker::start();
        let host = broker.virtual_host();
        let node = Node::connected(&store.db, "a", &host).await;
        broker.kill9();
        eventually(PATIENCE, "the node notices", async || node.events.broker().unwrap().err()).await;
        node.announce(&[1]).await;
        node.tell(&changed(&["d"])).await;
        let ctx = node.context();
        // Else it would go on noting what it has told.
        drop(node.transport);
        store.execute(&format!("UPDATE kt_outbox SET created_at = created_at - {KEPT}")).await;
        store.execute(&format!("UPDATE kt_told SET told_until = told_until - {KEPT}")).await;
        let lease = Lease::acquire(&store.db, "outbox-prune", "a", PATIENCE).await.unwrap().unwrap();
        assert_eq!(outbox::prune(&ctx, &lease).await.unwrap(), 1, "the event");
        assert_eq!(outbox::prune(&ctx, &lease).await.unwrap(), 0);
        store.execute(&format!("UPDATE kt_outbox SET created_at = created_at - {}", 11 * KEPT)).await;
        store.execute(&format!("UPDATE kt_told SET told_until = told_until - {}", 11 * KEPT)).await;
        assert_eq!(outbox::prune(&ctx, &lease).await.unwrap(), 1, "the announcement");
        broker.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_tells_what_it_has_first() {
    on_each_store(async |store: Store| {
        let host = Broker::shared().virtual_host();
        let mut peer = Peer::connect(&host).await;
        let node = Node::connected(&store.db, "a", &host).await;
        let ids: Vec<i64> = (1..=3_000).collect();
        node.announce(&ids).await;
        node.transport.stop().await;
        peer.hears_updates(ids.into_iter()).await;
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_told").await, 0);
    })
    .await;
}
