//! Events and the outbox (`kettle_cluster::{Events, Tx, outbox}`): told if and only if the change is committed, in this
//! process at once, on other nodes by the rows of `kt_outbox`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kettle_cluster::{Announcement, Clock, Event, Events, Fact, JobContext, Lease, Tx, outbox};
use kettle_db::{Db, sea_orm::ConnectionTrait as _, sqlx::postgres::PgListener};
use tokio::time::timeout;

use crate::harness::{Engine, Store, eventually, linger, on_each_store, psql};

/// An event's way to another node, by NOTIFY or by that node's own look.
const TRAVEL: Duration = Duration::from_secs(5);
/// A node notices a broken connection, and has a new one.
const MENDED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_event_is_written_with_the_state_and_delivered_once_after_the_commit() {
    on_each_store(async |store| {
        let node = Node::alone(&store.db, "a");
        let mut tx = node.begin().await;
        write(&tx, "state").await;
        tx.emit(changed("T1", &["d1", "d2"]));
        tx.emit(Event::TenantConfigurationChanged { tenant: "T2".into() });
        tx.emit(changed("T1", &["d1", "d2"]));
        assert_eq!(node.heard(), [], "nothing before the commit");
        tx.commit().await.unwrap();

        let told = [changed("T1", &["d1", "d2"]), Event::TenantConfigurationChanged { tenant: "T2".into() }];
        assert_eq!(node.heard(), told);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_total").await, 1);
        let rows = store.rows("SELECT node, tenant, kind, payload FROM kt_outbox ORDER BY id", []).await;
        let rows: Vec<(String, String, String, String)> = rows
            .iter()
            .map(|r| {
                let text = |column| r.try_get("", column).unwrap();
                (text("node"), text("tenant"), text("kind"), text("payload"))
            })
            .collect();
        let row = |tenant: &str, kind: &str, payload: &str| {
            ("a".to_owned(), tenant.to_owned(), kind.to_owned(), payload.to_owned())
        };
        let expected = [
            row("T1", "targetsChanged", r#"{"kind":"targetsChanged","tenant":"T1","controllerIds":["d1","d2"]}"#),
            row("T2", "tenantConfigurationChanged", r#"{"kind":"tenantConfigurationChanged","tenant":"T2"}"#),
        ];
        assert_eq!(rows, expected);
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_given_up_tells_nothing_and_leaves_nothing() {
    on_each_store(async |store| {
        let node = Node::alone(&store.db, "a");
        let mut tx = node.begin().await;
        write(&tx, "state").await;
        tx.emit(changed("T", &["d"]));
        drop(tx);
        node.tell(&changed("T", &["next"])).await;
        assert_eq!(node.heard(), [changed("T", &["next"])]);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_total").await, 0);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_outbox").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_tells_nothing_and_leaves_nothing() {
    on_each_store(async |store| {
        store.execute("CREATE TABLE parent (id integer PRIMARY KEY)").await;
        store.execute("CREATE TABLE child (of integer REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)").await;
        let node = Node::alone(&store.db, "a");
        let mut tx = node.begin().await;
        tx.execute_unprepared("INSERT INTO child (of) VALUES (7)").await.unwrap();
        tx.emit(changed("T", &["d"]));
        assert!(tx.commit().await.is_err());
        assert_eq!(node.heard(), []);

        node.tell(&changed("T", &["next"])).await;
        assert_eq!(node.heard(), [changed("T", &["next"])], "the connection works on");
        assert_eq!(store.number("SELECT count(*) AS n FROM child").await, 0);
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_outbox").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_node_on_sqlite_follows_nobody_and_is_always_whole() {
    let store = Store::migrated(Engine::Sqlite).await;
    let events = Events::new("a".into());
    assert!(events.follow(&store.db).is_none());
    assert!(events.whole());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_commits_the_other_hears_once_and_its_own_node_not_again() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::joined(&store, "a").await, Node::joined(&store, "b").await);
    let (first, second) = (changed("T", &["1"]), changed("T", &["2"]));
    a.tell(&first).await;
    b.hears(std::slice::from_ref(&first)).await;
    b.tell(&second).await;
    eventually(TRAVEL, "the first node hears the second's", async || a.heard().contains(&second).then_some(())).await;
    let mut heard = a.heard();
    heard.dedup();
    assert_eq!(heard, [first.clone(), second.clone()], "its own by the commit, or by its reader if that was quicker");
    assert_eq!(b.heard(), [first, second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_other_nodes_by_notify() {
    let store = Store::migrated(Engine::Postgres).await;
    let a = Node::joined(&store, "a").await;
    let mut listener = PgListener::connect(&store.url).await.unwrap();
    listener.listen("kettle_events").await.unwrap();
    a.tell(&changed("T", &["d"])).await;
    let notice = timeout(TRAVEL, listener.recv()).await.expect("a NOTIFY").unwrap();
    assert_eq!(notice.payload(), "a", "a wake-up, and by whom");
}

/// While a table is small PostgreSQL would read all of it, and keep to that when it has grown.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_look_costs_is_what_it_finds() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::joined(&store, "a").await, Node::joined(&store, "b").await);
    let events: Vec<Event> = (0..20).map(|n| changed("T", &[&n.to_string()])).collect();
    for (n, event) in events.iter().enumerate() {
        a.tell(event).await;
        b.hears(&events[..=n]).await;
    }
    // Sessions say what they did within a second of their next statement.
    linger(Duration::from_secs(4)).await;
    let scans = "SELECT seq_scan || ' ' || (idx_scan > 20) FROM pg_stat_user_tables WHERE relname = 'kt_outbox'";
    assert_eq!(psql(&store.url, scans), "0 true");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_do_not_wait_for_the_connections_that_requests_hold() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::joined(&store, "a").await, Node::joined(&store, "b").await);
    let mut held = Vec::new();
    while let Ok(tx) = timeout(Duration::from_secs(1), b.begin()).await {
        held.push(tx);
    }
    assert_eq!(held.len(), 8, "all that there are");
    let (first, second) = (changed("T", &["1"]), changed("T", &["2"]));
    a.tell(&first).await;
    b.hears(std::slice::from_ref(&first)).await;
    // Longer than what was looked at is fresh.
    linger(Duration::from_secs(4)).await;
    assert!(b.events.whole() && b.gaps().len() == 1, "the node looks all the time");
    a.tell(&second).await;
    b.hears(&[first, second]).await;
}

/// Ids are drawn before the commit: here the lower id is committed after the higher one was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_id_that_is_committed_later_is_heard() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::joined(&store, "a").await, Node::joined(&store, "b").await);
    let (slow, quick) = (changed("T", &["slow"]), changed("T", &["quick"]));

    let first = a.begin().await;
    let sql =
        "INSERT INTO kt_outbox (node, tenant, kind, payload, created_at) VALUES ('a', 'T', 'targetsChanged', $1, $2)";
    let payload = r#"{"kind":"targetsChanged","tenant":"T","controllerIds":["slow"]}"#;
    first.execute_raw(first.engine().statement(sql, [payload.into(), NOW.into()])).await.unwrap();
    a.tell(&quick).await;
    b.hears(std::slice::from_ref(&quick)).await;
    first.commit().await.unwrap();
    b.hears(&[quick, slow.clone()]).await;
    let ids = store.rows("SELECT payload FROM kt_outbox ORDER BY id", []).await;
    assert_eq!(ids[0].try_get::<String>("", "payload").unwrap(), payload, "the order that this test is about");

    // The same with the transaction ids in the other order than the rows' ids.
    let mut earlier = a.begin().await;
    write(&earlier, "draws a transaction id").await;
    let (x, y) = (changed("T", &["x"]), changed("T", &["y"]));
    a.tell(&x).await;
    b.hears(&[changed("T", &["quick"]), slow.clone(), x.clone()]).await;
    earlier.emit(y.clone());
    earlier.commit().await.unwrap();
    b.hears(&[changed("T", &["quick"]), slow, x, y]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_at_once_are_all_heard_once() {
    const EACH: usize = 40;
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::joined(&store, "a").await, Node::joined(&store, "b").await);
    let commits = (0..4).map(|task| {
        let a = &a;
        async move {
            for n in 0..EACH {
                a.tell(&changed("T", &[&format!("{task}-{n}")])).await;
            }
        }
    });
    futures_util::future::join_all(commits).await;
    let sorted = |node: &Node| {
        let mut names: Vec<String> = node.heard().iter().map(|event| format!("{event:?}")).collect();
        names.sort();
        names
    };
    eventually(TRAVEL, "the other node hears them all", async || (b.heard().len() >= 4 * EACH).then_some(())).await;
    // The node's own reader may come by a row before the commit's answer does: then it is told twice here, and does no harm.
    let mut own = sorted(&a);
    own.dedup();
    assert_eq!(sorted(&b), own);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_whole_until_it_follows_and_while_it_cannot_hear() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::alone(&store.db, "a"), Node::alone(&store.another_node().await, "b"));
    assert!(b.events.whole(), "a process alone");
    let _task = b.events.follow(&b.db).unwrap();
    assert!(!b.events.whole(), "until the channel is up");
    b.is_whole().await;
    assert_eq!(b.gaps().len(), 1, "what was cached before is dropped before the channel counts as whole");

    let terminated = psql(
        &store.url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    );
    assert_eq!(terminated, "1", "one connection listens");
    eventually(MENDED, "the node notices", async || (!b.events.whole()).then_some(())).await;
    assert!(b.gaps().len() >= 2, "what was cached is dropped at once");
    let missed = changed("T", &["missed"]);
    a.tell(&missed).await;
    b.is_whole().await;
    assert!(b.gaps().len() >= 3, "what was cached meanwhile is dropped too");
    assert!(b.gaps().iter().all(|whole| !whole), "caches are dropped while nobody may answer from them");

    let next = changed("T", &["next"]);
    a.tell(&next).await;
    eventually(TRAVEL, "events arrive again", async || b.heard().contains(&next).then_some(())).await;
    assert!(a.gaps().is_empty(), "a node alone misses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_kind_from_the_future_drops_all_that_is_cached() {
    let store = Store::migrated(Engine::Postgres).await;
    let b = Node::joined(&store, "b").await;
    let before = b.gaps().len();
    store
        .execute(
            "INSERT INTO kt_outbox (node, tenant, kind, payload, created_at) \
             VALUES ('newer', 'T', 'rolloutChanged', '{\"kind\":\"rolloutChanged\",\"rollout\":1}', 1)",
        )
        .await;
    eventually(TRAVEL, "a gap", async || (b.gaps().len() > before).then_some(())).await;
    b.is_whole().await;
    assert_eq!(b.heard(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_are_rows_of_the_same_order_that_other_nodes_do_not_read() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::alone(&store.db, "a"), Node::joined(&store, "b").await);
    let fact = |rollout| Fact::RolloutStopped { rollout, groups: vec![rollout + 1] };
    let before = b.gaps().len();
    let tx = a.begin().await;
    tx.announce("T", fact(1));
    tx.commit().await.unwrap();
    a.events.announce_from_now_on();
    let mut tx = a.begin().await;
    tx.announce("T", fact(2));
    tx.announce("U", fact(3));
    tx.emit(changed("T", &["d"]));
    tx.commit().await.unwrap();
    b.hears(&[changed("T", &["d"])]).await;
    assert_eq!(b.gaps().len(), before, "an announcement is no event of a kind from the future");
    let sql = "SELECT tenant, payload FROM kt_outbox WHERE kind = $1 ORDER BY id";
    let rows = store.rows(sql, [outbox::ANNOUNCEMENT.into()]).await;
    let written: Vec<(String, String)> =
        rows.iter().map(|r| (r.try_get("", "tenant").unwrap(), r.try_get("", "payload").unwrap())).collect();
    let row = |tenant: &str, rollout| {
        let announcement = Announcement { tenant: tenant.into(), fact: fact(rollout) };
        (tenant.to_owned(), serde_json::to_string(&announcement).unwrap())
    };
    assert_eq!(written, [row("T", 2), row("U", 3)], "the first had nobody to tell");
}

#[tokio::test]
async fn pruning_removes_old_rows_only() {
    const KEPT: i64 = 5 * 60 * 1000;
    on_each_store(async |store| {
        let node = Node::alone(&store.db, "a");
        node.tell(&changed("T", &["old"])).await;
        store.execute(&format!("UPDATE kt_outbox SET created_at = created_at - {KEPT}")).await;
        node.tell(&changed("T", &["new"])).await;

        let ctx = JobContext {
            db: store.db.clone(),
            events: node.events.clone(),
            clock: node.clock.clone(),
            lease_time: Duration::from_secs(10),
        };
        let lease = Lease::acquire(&store.db, "outbox-prune", "a", TRAVEL).await.unwrap().unwrap();
        assert_eq!(outbox::prune(&ctx, &lease).await.unwrap(), 1);
        assert_eq!(outbox::prune(&ctx, &lease).await.unwrap(), 0);
        let rows = store.rows("SELECT payload FROM kt_outbox ORDER BY id", []).await;
        let left: Vec<String> = rows.iter().map(|r| r.try_get("", "payload").unwrap()).collect();
        assert_eq!(left, [serde_json::to_string(&changed("T", &["new"])).unwrap()]);

        store.execute("UPDATE kt_outbox SET created_at = 0").await;
        store.execute("UPDATE kt_lease SET epoch = epoch + 1").await;
        assert!(outbox::prune(&ctx, &lease).await.is_err(), "the lease has passed on");
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_outbox").await, 1);
    })
    .await;
}

const NOW: i64 = 1_700_000_000_000;

/// One node's end of the event channel, and what it was told.
struct Node {
    db: Db,
    events: Events,
    clock: Clock,
    heard: Arc<Mutex<Vec<Event>>>,
    /// Per gap, whether the channel counted as whole when it was told.
    gaps: Arc<Mutex<Vec<bool>>>,
}

impl Node {
    fn alone(db: &Db, name: &str) -> Node {
        let events = Events::new(name.into());
        let (heard, gaps) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (hears, loses, channel) = (heard.clone(), gaps.clone(), events.clone());
        events.listen(
            move |event, _| hears.lock().unwrap().push(event.clone()),
            move || loses.lock().unwrap().push(channel.whole()),
        );
        Node { db: db.clone(), events, clock: Clock::fixed(NOW), heard, gaps }
    }

    async fn joined(store: &Store, name: &str) -> Node {
        let node = Node::alone(&store.another_node().await, name);
        drop(node.events.follow(&node.db).expect("PostgreSQL has other nodes"));
        node.is_whole().await;
        node
    }

    async fn begin(&self) -> Tx {
        Tx::begin(&self.db, &self.events, &self.clock).await.unwrap()
    }

    async fn tell(&self, event: &Event) {
        let mut tx = self.begin().await;
        tx.emit(event.clone());
        tx.commit().await.unwrap();
    }

    fn heard(&self) -> Vec<Event> {
        self.heard.lock().unwrap().clone()
    }

    fn gaps(&self) -> Vec<bool> {
        self.gaps.lock().unwrap().clone()
    }

    /// Waits for the last of `expected`, then insists on exactly these.
    async fn hears(&self, expected: &[Event]) {
        let heard = eventually(TRAVEL, "the event arrives", async || {
            Some(self.heard()).filter(|heard| heard.len() >= expected.len())
        })
        .await;
        assert_eq!(heard, expected);
    }

    async fn is_whole(&self) {
        eventually(MENDED, "the channel is whole", async || self.events.whole().then_some(())).await;
    }
}

fn changed(tenant: &str, controller_ids: &[&str]) -> Event {
    let controller_ids = controller_ids.iter().map(|id| id.to_string()).collect();
    Event::TargetsChanged { tenant: tenant.into(), controller_ids }
}

async fn write(tx: &Tx, note: &str) {
    let sql = "INSERT INTO kt_total (tenant, name, delta) VALUES ('T', $1, 1)";
    tx.execute_raw(tx.engine().statement(sql, [note.into()])).await.unwrap();
}
