//! Several nodes with auto-assignment on: nothing is lost when one dies, nothing is done twice when all are at it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_react_at_once_make_one_action() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::assigning(&store.db).await, Node::assigning(&store.another_node().await).await);
    let mut sets = Vec::new();
    for _ in 0..3 {
        let set = a.set().await;
        a.assign_to("controllerid==d*", set).await;
        sets.push(set);
    }
    a.drain().await;
    for round in 0..8 {
        let ids: Vec<String> = (0..20).map(|n| format!("d-{round}-{n}")).collect();
        targets::create(&a.ctx, ids.iter().map(|id| named(id)).collect()).await.unwrap();
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        b.services.auto_assign.turn_on();
        b.tell(changed("DEFAULT", &names)).await;
        // The first passes over everything, the second takes its queue up.
        let (mut rounds, passing) = (b.rounds(), b.clone());
        passing.clock.advance(SETTLED);
        let passes = async { passing.sweep(&mut rounds).await };
        tokio::join!(a.react(), b.react(), passes);
        let made = store.number("SELECT count(*) AS n FROM sp_action").await;
        let distinct = "SELECT count(*) AS n FROM (SELECT DISTINCT target, distribution_set FROM sp_action) x";
        let expected = (round + 1) * 20 * 3;
        assert_eq!((made, store.number(distinct).await), (expected, expected), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_looks_after_the_changes_of_another_that_died() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::start(&store.db).await, Node::assigning(&store.another_node().await).await);
    drop(b.services.events.follow(&b.services.db).unwrap());
    eventually(TRAVEL, "the channel is up", async || b.services.events.whole().then_some(())).await;
    let (heard, hears) = (Arc::new(AtomicUsize::new(0)), async |heard: &AtomicUsize, count: usize| {
        eventually(TRAVEL, "the event arrives", async || (heard.load(Ordering::SeqCst) == count).then_some(())).await;
    });
    let counts = heard.clone();
    b.services.events.listen(move |_, _| _ = counts.fetch_add(1, Ordering::SeqCst), || {});
    let (set, later) = (a.set().await, a.set().await);
    // The first node is gone after each change, and has not reacted.
    a.assign_to("controllerid==d*", set).await;
    hears(&heard, 1).await;
    b.drain().await;
    a.create("d1").await;
    hears(&heard, 2).await;
    b.react().await;
    assert_eq!(b.actions_of("d1").await.len(), 0, "only when its time has come");
    b.clock.advance(1000);
    b.react().await;
    assert_eq!(b.actions_of("d1").await.len(), 1);
    hears(&heard, 3).await;
    a.assign_to("controllerid==d1", later).await;
    hears(&heard, 4).await;
    b.drain().await;
    assert_eq!(b.actions_of("d1").await.len(), 2, "the pass of the new filter");
}

/// A pass is made under a lease, on one node at a time; what another one does is not given up.
#[tokio::test]
async fn a_pass_waits_for_the_lease_and_stops_when_it_is_lost() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        targets::create(&node.ctx, (0..5).map(|n| named(&format!("d{n}"))).collect()).await.unwrap();
        node.drain().await;
        node.assign_to("controllerid==d*", set).await;
        let db = &node.services.db;
        let theirs =
            Lease::acquire(db, "auto-assign:DEFAULT", "other", Duration::from_secs(60)).await.unwrap().unwrap();
        node.drain().await;
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_action").await, 0);
        theirs.release(db).await.unwrap();
        node.drain().await;
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_action").await, 5);
    })
    .await;
}
