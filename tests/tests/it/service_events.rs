//! Service events (`kettle_cluster::service`): written if and only if the change is committed, read in their order, gone when
//! they are done.

use std::time::Duration;

use kettle_cluster::{
    Clock, Event, Events, JobContext, Lease, LeaseError, ServiceEvent, Tx,
    service::{self, Tenants, Written},
};
use kettle_db::Db;
use tokio::time::timeout;

use crate::harness::{Engine, Store, on_each_store};

const NOW: i64 = 1_700_000_000_000;
const TRAVEL: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LIMIT: usize = 100;

#[tokio::test]
async fn events_of_every_kind_are_read_as_they_were_written_in_their_order() {
    on_each_store(async |store| {
        let node = Node::of(&store.db);
        let all = [
            ServiceEvent::Assigned { tenant: "T".into(), set: 7, actions: vec![(1, "d1".into()), (2, "d\"2".into())] },
            canceled("T", 3),
            ServiceEvent::TargetDeleted { tenant: "T".into(), controller_id: "d1".into(), address: "amqp:/x".into() },
            ServiceEvent::AttributesRequested { tenant: "T".into(), targets: vec![("d1".into(), "amqp:/x".into())] },
        ];
        let mut tx = node.begin().await;
        all.iter().for_each(|event| tx.emit_service(event.clone()));
        assert_eq!(node.read().await, [], "nothing before the commit");
        tx.commit().await.unwrap();
        node.write(&[canceled("T", 3)]).await;

        let written = node.read().await;
        let events: Vec<_> = written.iter().map(|w| w.event.clone()).collect();
        assert_eq!(events, [&all[..], &[canceled("T", 3)]].concat(), "an equal one later is another event");
        assert!(written.is_sorted_by_key(|w| w.id));
        let distinct: std::collections::BTreeSet<_> = written.iter().map(|w| w.event_id).collect();
        assert_eq!(distinct.len(), 5);
        assert_eq!(node.read().await, written, "reading takes nothing away, and ids stay");

        let rows = store.rows("SELECT tenant, kind, payload, created_at FROM kt_service_event ORDER BY id", []).await;
        let text = |n: usize, column| rows[n].try_get::<String>("", column).unwrap();
        assert_eq!((text(0, "tenant"), text(0, "kind")), ("T".into(), "assigned".into()));
        let payload = r#"{"kind":"assigned","tenant":"T","set":7,"actions":[[1,"d1"],[2,"d\"2"]]}"#;
        assert_eq!(text(0, "payload"), payload);
        let payload = r#"{"kind":"targetDeleted","tenant":"T","controllerId":"d1","address":"amqp:/x"}"#;
        assert_eq!(text(2, "payload"), payload);
        assert_eq!(rows[0].try_get::<i64>("", "created_at").unwrap(), NOW);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_outbox").await, 0, "other nodes need not know");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_given_up_leaves_no_event_and_wakes_nobody() {
    on_each_store(async |store| {
        let node = Node::of(&store.db);
        let mut woken = node.events.service_events();
        let mut tx = node.begin().await;
        tx.emit_service(canceled("T", 1));
        drop(tx);
        let mut tx = node.begin().await;
        tx.emit(Event::TenantConfigurationChanged { tenant: "T".into() });
        tx.commit().await.unwrap();
        assert_eq!(node.read().await, []);
        assert!(!woken.has_changed().unwrap());
        node.write(&[canceled("T", 2)]).await;
        timeout(TRAVEL, woken.changed()).await.expect("woken by the commit").unwrap();
        assert_eq!(node.read().await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiter_of_every_node_is_woken() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::of(&store.db), Node::of(&store.another_node().await));
    drop(b.events.follow(&b.db).unwrap());
    let (mut one, mut two) = (b.events.service_events(), b.events.service_events());
    a.write(&[canceled("T", 1)]).await;
    for waiter in [&mut one, &mut two] {
        let heard = async {
            while b.read().await.is_empty() {
                waiter.changed().await.unwrap();
            }
        };
        timeout(TRAVEL, heard).await.expect("woken by another node's commit");
    }
    timeout(TRAVEL, one.changed()).await.expect("woken by the node's own look").unwrap();
}

#[tokio::test]
async fn reading_goes_by_tenants_and_by_a_limit() {
    on_each_store(async |store| {
        let node = Node::of(&store.db);
        node.write(&[canceled("A", 1), canceled("B", 2), canceled("A", 3)]).await;
        node.write(&[canceled("C", 4), canceled("A", 5)]).await;
        let only = |tenant: &str| Tenants::Only(tenant.into());
        let but = |tenants: &[&str]| Tenants::AllBut(tenants.iter().map(|t| t.to_string()).collect());
        for (tenants, limit, expected) in [
            (only("A"), LIMIT, &[1, 3, 5][..]),
            (only("B"), LIMIT, &[2]),
            (only("a"), LIMIT, &[]),
            (but(&[]), LIMIT, &[1, 2, 3, 4, 5]),
            (but(&["A", "X"]), LIMIT, &[2, 4]),
            (but(&["A", "B", "C"]), LIMIT, &[]),
            (but(&[]), 2, &[1, 2]),
            (only("A"), 2, &[1, 3]),
            (but(&[]), 0, &[]),
        ] {
            let read = service::read(&node.db, &tenants, limit).await.unwrap();
            assert_eq!(actions(&read), expected, "{tenants:?}, {limit}");
        }
        let ids: Vec<i64> = node.read().await.iter().map(|w| w.id).collect();
        let tx = node.begin().await;
        service::done(&tx, &[ids[0], ids[3], 4711]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(actions(&node.read().await), [2, 3, 5]);
    })
    .await;
}

#[tokio::test]
async fn what_a_node_does_not_know_stays_and_keeps_nothing_up() {
    on_each_store(async |store| {
        let node = Node::of(&store.db);
        let payload = |kind: &str| format!("{{\"kind\":\"{kind}\",\"tenant\":\"T\",\"what\":1}}");
        for (id, kind) in (0..10).flat_map(|n| [(2 * n, "fromTheFuture"), (2 * n + 1, "canceled")]) {
            let payload = payload(kind);
            let sql = format!(
                "INSERT INTO kt_service_event (event_id, tenant, kind, payload, created_at) \
                 VALUES ('00000000-0000-4000-8000-{id:012}', 'T', '{kind}', '{payload}', {NOW})"
            );
            store.execute(&sql).await;
        }
        node.write(&[canceled("T", 1), canceled("T", 2), canceled("T", 3)]).await;
        let read = service::read(&node.db, &Tenants::Only("T".into()), 2).await.unwrap();
        assert_eq!(actions(&read), [1, 2], "the first two of those that this node knows");
        assert_eq!(actions(&node.read().await), [1, 2, 3]);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_service_event").await, 23, "left to a newer node");
    })
    .await;
}

#[tokio::test]
async fn what_nobody_acts_on_is_dropped_in_time() {
    const OLD: i64 = 2500;
    on_each_store(async |store| {
        let node = Node::of(&store.db);
        node.write(&(0..OLD).map(|n| canceled("T", n)).collect::<Vec<_>>()).await;
        node.clock.advance(1);
        node.write(&[canceled("T", 9001)]).await;
        node.clock.advance(i64::try_from(DAY.as_millis()).unwrap());
        node.write(&[canceled("T", 9002)]).await;

        let ctx = JobContext {
            db: node.db.clone(),
            events: node.events.clone(),
            clock: node.clock.clone(),
            lease_time: Duration::from_secs(10),
        };
        let lease = Lease::acquire(&store.db, "drop", "a", TRAVEL).await.unwrap().unwrap();
        assert_eq!(service::drop_older(&ctx, &lease, 2 * DAY).await.unwrap(), 0);
        assert_eq!(service::drop_older(&ctx, &lease, DAY).await.unwrap(), 2500);
        assert_eq!(service::drop_older(&ctx, &lease, DAY).await.unwrap(), 0);
        assert_eq!(actions(&node.read().await), [9001, 9002], "one is a day old to the millisecond");

        node.clock.advance(1);
        store.execute("UPDATE kt_lease SET epoch = epoch + 1").await;
        let lost = service::drop_older(&ctx, &lease, DAY).await;
        assert!(matches!(lost, Err(LeaseError::Lost(_))), "{lost:?}");
        assert_eq!(node.read().await.len(), 2);
    })
    .await;
}

fn canceled(tenant: &str, action: i64) -> ServiceEvent {
    ServiceEvent::Canceled { tenant: tenant.into(), actions: vec![(action, "d".into())] }
}

/// The actions of cancellations.
fn actions(written: &[Written]) -> Vec<i64> {
    let action = |written: &Written| match &written.event {
        ServiceEvent::Canceled { actions, .. } => actions[0].0,
        other => panic!("{other:?}"),
    };
    written.iter().map(action).collect()
}

struct Node {
    db: Db,
    events: Events,
    clock: Clock,
}

impl Node {
    fn of(db: &Db) -> Node {
        Node { db: db.clone(), events: Events::new("a".into()), clock: Clock::fixed(NOW) }
    }

    async fn begin(&self) -> Tx {
        Tx::begin(&self.db, &self.events, &self.clock).await.unwrap()
    }

    async fn write(&self, events: &[ServiceEvent]) {
        let mut tx = self.begin().await;
        events.iter().for_each(|event| tx.emit_service(event.clone()));
        tx.commit().await.unwrap();
    }

    async fn read(&self) -> Vec<Written> {
        service::read(&self.db, &Tenants::AllBut(Vec::new()), usize::from(u16::MAX)).await.unwrap()
    }
}
