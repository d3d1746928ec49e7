//! Rules of the domain that need a set clock, two nodes in one process, or a look below the API (`kettle_domain`).

mod action_model;
mod actions_deleted;
mod announcements;
mod auto_assign;
mod commands;
mod invalidation;
mod maintenance_window;
mod model;
mod offline_assignments;
mod rollout_counts;
mod rollout_model;
mod search;

use std::{sync::Arc, time::Duration};

use kettle_cluster::{Clock, Event, Events, JobContext, Lease, Tx};
use kettle_db::{Db, sea_orm::ConnectionTrait as _};
use kettle_domain::{
    Ctx, Listing, Services, Tenant,
    access::Rules,
    artifacts,
    settings::Settings,
    targets::{self, Create, Poll, PollStatus},
    tenants::{self, configuration},
    totals,
};
use tempfile::TempDir;

use crate::harness::{Engine, Store, eventually, on_each_store};

const NOW: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
const TRAVEL: Duration = Duration::from_secs(5);
const ADDRESS: &str = "http://10.0.0.7";

#[tokio::test]
async fn a_target_is_overdue_one_polling_and_one_overdue_time_after_its_last_poll() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.create("d1").await;
        assert_eq!(node.poll_status("d1").await, None, "it was never heard of");
        node.poll("d1").await;
        let status = |overdue| PollStatus { last_request_at: NOW, next_expected_request_at: NOW + 5 * MINUTE, overdue };
        node.clock.advance(10 * MINUTE);
        assert_eq!(node.poll_status("d1").await, Some(status(false)));
        node.clock.advance(1);
        assert_eq!(node.poll_status("d1").await, Some(status(true)));

        node.configure("pollingOverdueTime", "00:06:00").await;
        assert_eq!(node.poll_status("d1").await, Some(status(false)));
    })
    .await;
}

#[tokio::test]
async fn the_first_override_whose_search_matches_a_target_sets_its_polling_time() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let polling = "00:05:00, name==quick* -> 00:01:00, group==eu -> 00:02:00, name==quicker -> 00:00:30";
        node.configure("pollingTime", polling).await;
        for id in ["slow", "quick", "quicker"] {
            node.create(id).await;
        }
        node.create_with(Create { group: Some("eu".into()), ..named("grouped") }).await;
        let expected =
            [("slow", "00:05:00", 5), ("quick", "00:01:00", 1), ("quicker", "00:01:00", 1), ("grouped", "00:02:00", 2)];
        for (id, sleep, minutes) in expected {
            assert_eq!(node.poll(id).await.sleep, sleep, "{id}");
            let status = node.poll_status(id).await.unwrap();
            assert_eq!(status.next_expected_request_at, NOW + minutes * MINUTE, "{id}");
        }
        let renamed = targets::Update { name: Some("quick at last".into()), ..Default::default() };
        targets::update(&node.ctx, "slow", renamed).await.unwrap();
        assert_eq!(node.poll("slow").await.sleep, "00:01:00", "its name matches now");
    })
    .await;
}

#[tokio::test]
async fn a_new_polling_time_is_what_the_next_poll_answers() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        assert_eq!(node.poll("d1").await.sleep, "00:05:00");
        assert_eq!(node.poll("d1").await.sleep, "00:05:00", "from the cache");
        node.configure("pollingTime", "00:01:00").await;
        assert_eq!(node.poll("d1").await.sleep, "00:01:00");
        node.configure("pollingTime", "00:01:00, name==d1 -> 00:02:00").await;
        assert_eq!(node.poll("d1").await.sleep, "00:02:00");
    })
    .await;
}

#[tokio::test]
async fn polls_write_nothing_and_their_times_go_out_in_one_batch() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        for id in ["d1", "d2"] {
            node.poll(id).await;
        }
        let revision = node.shown("d1").await.target.optlock_revision;
        let last_seen = async |id: &str| node.shown(id).await.target.last_target_query;
        for _ in 0..3 {
            node.clock.advance(1000);
            node.poll("d1").await;
        }
        assert_eq!(last_seen("d1").await, Some(NOW), "not yet written");
        targets::flush_last_seen(&node.services).await.unwrap();
        assert_eq!(last_seen("d1").await, Some(NOW + 3000));
        assert_eq!(last_seen("d2").await, Some(NOW), "it has not polled again");
        assert_eq!(node.shown("d1").await.target.optlock_revision, revision, "to be heard of is no change");

        store.execute("UPDATE sp_target SET last_target_query = 1").await;
        targets::flush_last_seen(&node.services).await.unwrap();
        assert_eq!(last_seen("d1").await, Some(1), "nothing was waiting");
    })
    .await;
}

#[tokio::test]
async fn the_latest_poll_counts_whichever_node_writes_last() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::start(&store.db).await, Node::start(&store.another_node().await).await);
    a.poll("d1").await;
    a.clock.advance(1000);
    b.clock.advance(2000);
    a.poll("d1").await;
    b.poll("d1").await;
    for node in [&b, &a] {
        targets::flush_last_seen(&node.services).await.unwrap();
    }
    assert_eq!(a.shown("d1").await.target.last_target_query, Some(NOW + 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_polls_are_written_in_the_order_in_which_all_others_lock_targets() {
    let store = Store::migrated(Engine::Postgres).await;
    let node = Node::start(&store.db).await;
    node.poll("d1").await;
    node.poll("d2").await;
    // From now on the first row lies behind the second.
    store.execute("UPDATE sp_target SET description = 'moved' WHERE controller_id = 'd1'").await;
    node.clock.advance(1000);
    node.poll("d1").await;
    node.poll("d2").await;
    let other = Tx::begin(&store.db, &node.services.events, &node.clock).await.unwrap();
    other.execute_unprepared("SELECT 1 FROM sp_target WHERE controller_id = 'd1' FOR UPDATE").await.unwrap();
    let services = node.services.clone();
    let flush = tokio::spawn(async move { targets::flush_last_seen(&services).await });
    let waiting =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(TRAVEL, "the writer waits", async || (store.number(waiting).await == 1).then_some(())).await;
    let second = "SELECT 1 FROM sp_target WHERE controller_id = 'd2' FOR UPDATE NOWAIT";
    other.execute_unprepared(second).await.expect("a writer that waits for the first row holds no later one");
    other.commit().await.unwrap();
    flush.await.unwrap().unwrap();
    assert_eq!(
        store.number(&format!("SELECT count(*) AS n FROM sp_target WHERE last_target_query = {}", NOW + 1000)).await,
        2
    );
}

#[tokio::test]
async fn a_thousand_polls_pass_on_a_database_that_refuses_writes() {
    let store = Store::migrated(Engine::Postgres).await;
    Node::start(&store.db).await.poll("d1").await;
    store.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$").await;
    let node = Node::start(&store.another_node().await).await;
    for _ in 0..1000 {
        node.clock.advance(1);
        node.poll("d1").await;
    }
    assert!(targets::flush_last_seen(&node.services).await.is_err(), "this one writes");
}

#[tokio::test]
async fn a_thousand_polls_change_no_row_of_the_sqlite_file() {
    let store = Store::migrated(Engine::Sqlite).await;
    let node = Node::start(&store.db).await;
    node.poll("d1").await;
    let changes = async || {
        let statement = store.db.engine().statement("SELECT total_changes() AS n", []);
        let row = store.db.write().query_one_raw(statement).await.unwrap().unwrap();
        row.try_get::<i64>("", "n").unwrap()
    };
    let before = changes().await;
    for _ in 0..1000 {
        node.clock.advance(1);
        node.poll("d1").await;
    }
    assert_eq!(changes().await, before);
    targets::flush_last_seen(&node.services).await.unwrap();
    assert_eq!(changes().await, before + 1, "a thousand polls of one device are one row");
}

#[tokio::test]
async fn polls_are_answered_from_the_view_until_an_event_or_a_gap_drops_it() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let behind = async |token: &str| store.execute(&format!("UPDATE sp_target SET sec_token = '{token}'")).await;
        node.poll("d1").await;
        node.poll("d2").await;
        behind("new").await;
        assert_ne!(node.poll("d1").await.view.token, "new", "answered without a read");
        node.tell(changed("DEFAULT", &["d1"])).await;
        assert_eq!(node.poll("d1").await.view.token, "new");
        assert_ne!(node.poll("d2").await.view.token, "new", "the event named another target");
        node.tell(changed("OTHER", &["d2"])).await;
        assert_ne!(node.poll("d2").await.view.token, "new", "the event named another tenant");
        let update = targets::Update { security_token: Some("own".into()), ..Default::default() };
        targets::update(&node.ctx, "d2", update).await.unwrap();
        assert_eq!(node.poll("d2").await.view.token, "own");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_other_nodes_are_dropped_by_events_and_not_used_while_events_may_be_missed() {
    let store = Store::migrated(Engine::Postgres).await;
    let (a, b) = (Node::start(&store.db).await, Node::start(&store.another_node().await).await);
    let behind = async |token: &str| store.execute(&format!("UPDATE sp_target SET sec_token = '{token}'")).await;
    drop(b.services.events.follow(&b.services.db).unwrap());
    eventually(TRAVEL, "the channel is up", async || b.services.events.whole().then_some(())).await;
    b.poll("d1").await;
    behind("one").await;
    assert_ne!(b.poll("d1").await.view.token, "one", "cached");
    a.tell(changed("DEFAULT", &["d1"])).await;
    eventually(TRAVEL, "the view is dropped", async || (b.poll("d1").await.view.token == "one").then_some(())).await;

    let terminate = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity \
                     WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert_eq!(store.number(terminate).await, 1);
    eventually(TRAVEL, "the channel is down", async || (!b.services.events.whole()).then_some(())).await;
    behind("two").await;
    let seen = b.poll("d1").await.view.token.clone();
    assert_eq!(seen, "two", "read from the database");
    behind("three").await;
    eventually(TRAVEL, "the channel is up", async || b.services.events.whole().then_some(())).await;
    assert_eq!(b.poll("d1").await.view.token, "three", "nothing cached before is used");
}

#[tokio::test]
async fn tenants_with_equal_controller_ids_do_not_meet() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let other = Node { ctx: Ctx::system(&node.services, Tenant::new("other")), ..node.clone() };
        tenants::ensure(&other.services, &other.ctx.tenant).await.unwrap();
        let (here, there) = (node.poll("d1").await, other.poll("d1").await);
        assert_ne!(here.view.target, there.view.target);
        assert_eq!((node.total().await, other.total().await), (1, 1));
        node.delete("d1").await;
        assert_eq!((node.total().await, other.total().await), (0, 1));
        assert_eq!(other.poll("d1").await.view.target, there.view.target);
        assert_ne!(node.poll("d1").await.view.target, here.view.target, "created anew");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kept_total_is_the_count_after_creates_deletes_and_folds_at_once() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let work = (0..8).map(|n| {
            let node = node.clone();
            async move {
                let batch = (0..20).map(|i| named(&format!("d-{n}-{i}"))).collect();
                targets::create(&node.ctx, batch).await.unwrap();
                let twice = format!("d-{n}-0");
                let (one, two) = tokio::join!(targets::delete(&node.ctx, &twice), targets::delete(&node.ctx, &twice));
                assert!(one.is_ok() || two.is_ok());
                // A batch with a target that is there already creates none.
                let clash = vec![named(&format!("new-{n}")), named(&format!("d-{n}-1"))];
                assert!(targets::create(&node.ctx, clash).await.is_err());
                node.poll(&format!("plug-{n}")).await;
            }
        });
        let folds = async {
            for _ in 0..10 {
                node.fold().await;
            }
        };
        tokio::join!(futures_util::future::join_all(work), folds);
        assert_eq!(node.total().await, 8 * 20);
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_target").await, 8 * 20);
        node.fold().await;
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_total").await, 1);
        assert_eq!(node.total().await, 8 * 20);
        let searched = Listing::new(0, 1, None, Some("controllerid==d-1-*".into()));
        assert_eq!(targets::list(&node.ctx, &searched).await.unwrap().total, 19, "a searched list is counted");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_corrected_once_when_others_wrote_the_tables() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        for id in ["d1", "d2", "d3"] {
            node.create(id).await;
        }
        store.execute("DELETE FROM sp_target WHERE controller_id = 'd1'").await;
        let another = store.another_node().await;
        let (one, two) = tokio::join!(totals::rebuild(&store.db), totals::rebuild(&another));
        one.and(two).unwrap();
        assert_eq!(node.total().await, 2);
        store.execute("DELETE FROM kt_total").await;
        totals::rebuild(&store.db).await.unwrap();
        assert_eq!(node.total().await, 2);
        store.execute("DELETE FROM sp_target").await;
        totals::rebuild(&store.db).await.unwrap();
        assert_eq!(node.total().await, 0);
    })
    .await;
}

/// One node's services with a clock that stands still, seen by the server itself in tenant DEFAULT.
#[derive(Clone)]
struct Node {
    services: Arc<Services>,
    clock: Clock,
    ctx: Ctx,
    _artifacts: Arc<TempDir>,
}

impl Node {
    async fn start(db: &Db) -> Node {
        Node::start_with(db, settings()).await
    }

    async fn start_with(db: &Db, settings: Settings) -> Node {
        Node::start_as(db, settings, Rules::default()).await
    }

    async fn start_as(db: &Db, settings: Settings, rules: Rules) -> Node {
        let folder = tempfile::Builder::new().prefix("kettle-domain-").tempdir().unwrap();
        let storage = artifacts::Storage::open(folder.path().to_owned()).unwrap();
        let clock = Clock::fixed(NOW);
        let events = Events::new(folder.path().file_name().unwrap().to_str().unwrap().to_owned());
        let services = Services::new(db.clone(), events, clock.clone(), settings, storage, rules);
        let ctx = Ctx::system(&services, Tenant::new("DEFAULT"));
        tenants::ensure(&services, &ctx.tenant).await.unwrap();
        Node { services, clock, ctx, _artifacts: Arc::new(folder) }
    }

    async fn create(&self, controller_id: &str) {
        self.create_with(named(controller_id)).await;
    }

    async fn create_with(&self, target: Create) {
        targets::create(&self.ctx, vec![target]).await.unwrap();
    }

    async fn delete(&self, controller_id: &str) {
        targets::delete(&self.ctx, controller_id).await.unwrap();
    }

    async fn poll(&self, controller_id: &str) -> Poll {
        let settings = tenants::settings(&self.services, &self.ctx.tenant).await.unwrap().unwrap();
        let device = Ctx::device(&self.services, self.ctx.tenant.clone());
        targets::poll(&device, &settings, controller_id, ADDRESS).await.unwrap()
    }

    async fn shown(&self, controller_id: &str) -> targets::Shown {
        targets::get(&self.ctx, controller_id).await.unwrap()
    }

    async fn poll_status(&self, controller_id: &str) -> Option<PollStatus> {
        self.shown(controller_id).await.poll_status
    }

    async fn configure(&self, key: &str, value: &str) {
        let value = configuration::Value::Text(value.into());
        configuration::put(&self.ctx, vec![(key.into(), value)]).await.unwrap();
    }

    async fn total(&self) -> u64 {
        targets::list(&self.ctx, &Listing::new(0, 1, None, None)).await.unwrap().total
    }

    async fn tell(&self, event: Event) {
        let mut tx = Tx::begin(&self.services.db, &self.services.events, &self.clock).await.unwrap();
        tx.emit(event);
        tx.commit().await.unwrap();
    }

    async fn fold(&self) {
        let (db, events) = (self.services.db.clone(), self.services.events.clone());
        let lease = Lease::acquire(&db, "totals-fold", events.node(), Duration::ZERO).await.unwrap().unwrap();
        totals::fold(
            &JobContext { db, events, clock: self.clock.clone(), lease_time: Duration::from_secs(10) },
            &lease,
        )
        .await
        .unwrap();
    }
}

fn settings() -> Settings {
    // Nothing runs out while a test looks.
    Settings { cache_ttl: Duration::from_secs(3600), ..Settings::default() }
}

fn named(controller_id: &str) -> Create {
    Create { controller_id: Some(controller_id.into()), ..Create::default() }
}

fn changed(tenant: &str, controller_ids: &[&str]) -> Event {
    let controller_ids = controller_ids.iter().map(|id| id.to_string()).collect();
    Event::TargetsChanged { tenant: tenant.into(), controller_ids }
}
