//! What target filters assign by themselves: by which changes, to whom, and how often. Reactions and passes are made by
//! the tests, so that nothing waits and the clock stands still.

mod cluster;
mod reactions;
mod refusals;

use std::collections::BTreeSet;

use kettle_domain::{
    actions::{self, ActionType, Request},
    target_filters::{self, AutoAssign, Rounds, react, sweep},
};
use tokio::sync::watch;

use super::*;

/// From a mishap to the next try, and longer than any other wait but that for a round.
const SETTLED: i64 = 5000;

#[tokio::test]
async fn an_action_is_made_as_the_filter_says_in_the_name_of_who_set_it() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        let jo = node.ctx.named("jo");
        let filter = target_filters::create(&node.ctx, "all", "controllerid==*").await.unwrap().filter.id;
        let how =
            AutoAssign { set, action_type: Some(ActionType::Soft), weight: Some(300), confirmation_required: None };
        target_filters::auto_assign(&jo, filter, how).await.unwrap();
        node.create("d1").await;
        node.drain().await;
        let [action] = &node.actions_of("d1").await[..] else { panic!("one action") };
        assert_eq!((action.distribution_set, action.action_type(), action.weight), (set, ActionType::Soft, 300));
        assert_eq!((action.initiated_by.as_str(), action.created_by.as_deref()), ("jo", Some("jo")));
        assert_eq!((action.status, action.active), (3, Some(true)));
        assert_eq!(messages(&store, action.id).await, ["Auto assignment by target filter: all"]);
        let target = node.shown("d1").await.target;
        assert_eq!((target.assigned_distribution_set, target.last_modified_by.as_deref()), (Some(set), Some("jo")));
    })
    .await;
}

#[tokio::test]
async fn actions_wait_for_confirmation_if_the_filter_says_so_and_the_tenant_has_the_flow() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        configuration::put(
            &node.ctx,
            vec![("user.confirmation.flow.enabled".into(), configuration::Value::Boolean(true))],
        )
        .await
        .unwrap();
        for (id, required, status, said) in [
            (
                "waits",
                Some(true),
                11,
                "Waiting for the confirmation by the device before processing with the deployment",
            ),
            (
                "by-default",
                None,
                11,
                "Waiting for the confirmation by the device before processing with the deployment",
            ),
            ("goes-on", Some(false), 3, "Assignment confirmed by initiator [system]."),
        ] {
            let set = node.set().await;
            let filter = target_filters::create(&node.ctx, id, &format!("controllerid=={id}")).await.unwrap().filter.id;
            let how = AutoAssign { set, action_type: None, weight: None, confirmation_required: required };
            target_filters::auto_assign(&node.ctx, filter, how).await.unwrap();
            node.create(id).await;
            node.drain().await;
            let [action] = &node.actions_of(id).await[..] else { panic!("one action") };
            assert_eq!((action.status, action.action_type()), (status, ActionType::Forced), "{id}");
            let first = format!("Auto assignment by target filter: {id}");
            let expected = BTreeSet::from([first, said.to_owned()]);
            assert_eq!(BTreeSet::from_iter(messages(&store, action.id).await), expected, "{id}");
        }
    })
    .await;
}

/// A filter that is set gets a pass over what is there, in batches; one that is changed too.
#[tokio::test]
async fn a_filter_that_is_set_or_changed_is_passed_over_all_targets_once() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        let ids = |prefix: &str, count: usize| (0..count).map(|n| named(&format!("{prefix}{n}"))).collect::<Vec<_>>();
        targets::create(&node.ctx, ids("a", 1100)).await.unwrap();
        targets::create(&node.ctx, ids("b", 3)).await.unwrap();
        let filter = node.assign_to("controllerid==a*", set).await;
        node.drain().await;
        let per_target = "SELECT count(*) AS n, count(DISTINCT target) AS targets FROM sp_action";
        let row = &store.rows(per_target, []).await[0];
        let number = |name| row.try_get::<i64>("", name).unwrap();
        assert_eq!((number("n"), number("targets")), (1100, 1100));
        target_filters::update(&node.ctx, filter, Some("renamed".into()), None).await.unwrap();
        node.drain().await;
        target_filters::update(&node.ctx, filter, None, Some("controllerid==a* or controllerid==b*".into()))
            .await
            .unwrap();
        node.drain().await;
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_action").await, 1103);
        let renamed = "SELECT count(*) AS n FROM sp_action_status_messages \
                       WHERE detail_message = 'Auto assignment by target filter: renamed'";
        assert_eq!(store.number(renamed).await, 3);
        target_filters::stop_auto_assign(&node.ctx, filter).await.unwrap();
        node.create("a-late").await;
        node.drain().await;
        assert_eq!(node.actions_of("a-late").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_changed_before_the_node_started_is_found_when_it_has_started() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        node.create("d1").await;
        node.assign_to("controllerid==d*", set).await;
        node.create("d2").await;
        node.drain().await;
        assert_eq!(node.actions_of("d1").await.len() + node.actions_of("d2").await.len(), 0, "nobody assigns yet");
        node.services.auto_assign.turn_on();
        node.drain().await;
        assert_eq!((node.actions_of("d1").await.len(), node.actions_of("d2").await.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn searches_about_time_are_asked_again_without_a_change() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let (overdue, recent, any) = (node.set().await, node.set().await, node.set().await);
        node.poll("d1").await;
        let after = node.clock.now_ms() + MINUTE;
        node.assign_to("lastcontrollerrequestat=le=${overdue_ts}", overdue).await;
        node.assign_to(&format!("lastcontrollerrequestat=gt={after}"), recent).await;
        node.assign_to("name==d2", any).await;
        node.drain().await;
        node.clock.advance(MINUTE);
        let mut rounds = node.rounds();
        let sets = async || node.actions_of("d1").await.iter().map(|a| a.distribution_set).collect::<Vec<_>>();
        assert_eq!(sets().await, [0; 0]);
        node.clock.advance(1000);
        node.poll("d1").await;
        targets::flush_last_seen(&node.services).await.unwrap();
        node.clock.advance(28_000);
        node.sweep(&mut rounds).await;
        assert_eq!(sets().await, [0; 0], "not yet");
        node.clock.advance(1000);
        node.sweep(&mut rounds).await;
        assert_eq!(sets().await, [recent], "it was heard of after that time");
        node.clock.advance(10 * MINUTE);
        node.free_rounds(&store).await;
        // Behind the server's back, so that only a pass over everything can find it.
        store.execute("UPDATE sp_target SET name = 'd2'").await;
        node.sweep(&mut rounds).await;
        assert_eq!(sets().await, [recent, overdue], "it has not been heard of for too long");
        node.clock.advance(50 * MINUTE);
        node.free_rounds(&store).await;
        node.sweep(&mut rounds).await;
        assert_eq!(sets().await, [recent, overdue, any], "after an hour, any filter");
    })
    .await;
}

/// One of the nodes makes a round.
#[tokio::test]
async fn a_round_that_another_node_has_made_is_left_out() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        node.assign_to("lastcontrollerrequestat=le=${overdue_ts}", set).await;
        node.poll("d1").await;
        node.drain().await;
        let mut rounds = node.rounds();
        let db = &node.services.db;
        let theirs = Lease::acquire(db, "auto-assign:timed", "other", Duration::from_secs(60)).await.unwrap().unwrap();
        node.clock.advance(20 * MINUTE);
        node.sweep(&mut rounds).await;
        assert_eq!(node.actions_of("d1").await.len(), 0);
        theirs.release(db).await.unwrap();
        node.sweep(&mut rounds).await;
        assert_eq!(node.actions_of("d1").await.len(), 0, "its own turn is not now");
        node.clock.advance(30_000);
        node.sweep(&mut rounds).await;
        assert_eq!(node.actions_of("d1").await.len(), 1);
    })
    .await;
}

/// The table of targets is locked against readers meanwhile: whoever asks it anything waits.
#[tokio::test]
async fn while_nothing_changes_no_one_asks_about_the_targets() {
    let store = Store::migrated(Engine::Postgres).await;
    let node = Node::assigning(&store.db).await;
    let set = node.set().await;
    node.assign_to("controllerid==d*", set).await;
    node.create("d1").await;
    node.drain().await;
    let mut rounds = node.rounds();
    let other = Tx::begin(&store.db, &node.services.events, &node.clock).await.unwrap();
    other.execute_unprepared("LOCK TABLE sp_target IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let looks = async {
        for look in 0..1790 {
            node.clock.advance(2000);
            if look % 10 == 0 {
                node.free_rounds(&store).await;
            }
            node.sweep(&mut rounds).await;
            assert!(!react(&node.services).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.expect("an hour without a look at the targets");
    node.clock.advance(MINUTE);
    let hourly = tokio::time::timeout(Duration::from_millis(500), node.sweep(&mut rounds)).await;
    assert!(hourly.is_err(), "the seldom pass over everything does ask");
}

/// The scheduler's own tasks: by their clock, from the first poll's answer to the action.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_target_is_assigned_at_once_by_one_of_a_thousand_filters() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        let first = node.assign_to("controllerid==d* and metadata.site=is=null", set).await;
        store
            .execute(&format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
                 INSERT INTO sp_target_filter_query (tenant, name, query, created_by, optlock_revision, \
                 auto_assign_distribution_set, auto_assign_action_type, auto_assign_weight, \
                 auto_assign_initiated_by, confirmation_required, access_control_context) \
                 SELECT tenant, name || i, 'metadata.site==s' || i || ' or (tag==t' || i || ' and updatestatus==pending)', \
                 created_by, 1, auto_assign_distribution_set, 0, 1000, auto_assign_initiated_by, false, \
                 access_control_context FROM sp_target_filter_query, n WHERE id = {first}"
            ))
            .await;
        let scheduler = target_filters::Scheduler::start(&node.services);
        for id in ["d1", "d2", "d3"] {
            node.poll(id).await;
            let begun = std::time::Instant::now();
            eventually(TRAVEL, "the action", async || (node.actions_of(id).await.len() == 1).then_some(())).await;
            eprintln!("{id} was assigned {:?} after its first poll", begun.elapsed());
        }
        scheduler.stop().await;
        node.poll("d4").await;
        assert_eq!(node.actions_of("d4").await.len(), 0, "stopped");
        assert_eq!(store.number("SELECT count(*) AS n FROM kt_lease WHERE expires_at > 0").await, 0, "leases are handed over");
    })
    .await;
}

#[tokio::test]
async fn more_changes_than_can_wait_become_a_pass_over_all_targets() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        node.assign_to("name==now", set).await;
        for id in ["d1", "d2"] {
            node.create(id).await;
        }
        node.drain().await;
        store.execute("UPDATE sp_target SET name = 'now'").await;
        let many: Vec<String> = (0..20_000).map(|n| format!("no-such-{n}")).collect();
        node.tell(changed("DEFAULT", &["d1"])).await;
        node.tell(Event::TargetsChanged { tenant: "DEFAULT".into(), controller_ids: many }).await;
        assert!(!react(&node.services).await, "none of them waits any more");
        node.drain().await;
        assert_eq!((node.actions_of("d1").await.len(), node.actions_of("d2").await.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn tenants_are_assigned_their_own_sets_only() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let other = Node { ctx: Ctx::system(&node.services, Tenant::new("other")), ..node.clone() };
        tenants::ensure(&other.services, &other.ctx.tenant).await.unwrap();
        for node in [&node, &other] {
            node.create("d1").await;
        }
        let set = node.set().await;
        node.assign_to("controllerid==*", set).await;
        node.drain().await;
        for node in [&node, &other] {
            node.create("d2").await;
        }
        node.drain().await;
        for id in ["d1", "d2"] {
            assert_eq!((node.actions_of(id).await.len(), other.actions_of(id).await.len()), (1, 0), "{id}");
        }
        let theirs = other.set().await;
        other.assign_to("controllerid==d2", theirs).await;
        node.drain().await;
        assert_eq!((node.actions_of("d2").await.len(), other.actions_of("d2").await.len()), (1, 1));
        assert_eq!(other.actions_of("d2").await[0].distribution_set, theirs);
    })
    .await;
}

async fn messages(store: &Store, action: i64) -> Vec<String> {
    let sql = "SELECT m.detail_message FROM sp_action_status_messages m \
               JOIN sp_action_status s ON s.id = m.action_status WHERE s.action = $1";
    let rows = store.rows(sql, [action.into()]).await;
    rows.iter().map(|row| row.try_get("", "detail_message").unwrap()).collect()
}

impl Node {
    /// A node that takes up what its filters assign, when a test says so.
    pub(super) async fn assigning(db: &Db) -> Node {
        let node = Node::start(db).await;
        node.services.auto_assign.turn_on();
        node.drain().await;
        node
    }

    /// Makes everything assign that is to: reactions, and passes that were asked for.
    pub(super) async fn drain(&self) {
        let mut rounds = self.rounds();
        for _ in 0..3 {
            while react(&self.services).await {}
            self.sweep(&mut rounds).await;
            self.clock.advance(SETTLED);
        }
        while react(&self.services).await {}
    }

    /// Reactions alone, and none but those to changes so far.
    async fn react(&self) {
        while react(&self.services).await {}
    }

    fn rounds(&self) -> Rounds {
        Rounds::new(&self.services.settings.auto_assign, self.clock.now_ms())
    }

    async fn sweep(&self, rounds: &mut Rounds) {
        let (_running, stopped) = watch::channel(false);
        sweep(&self.services, rounds, &stopped).await.unwrap();
    }

    /// Leases run by the database's clock, which tests can't set.
    async fn free_rounds(&self, store: &Store) {
        store.execute("UPDATE kt_lease SET expires_at = 0 WHERE name LIKE 'auto-assign:%'").await;
    }

    /// A new filter that assigns the set; the id.
    pub(super) async fn assign_to(&self, query: &str, set: i64) -> i64 {
        let name = format!("filter-{}", rand::random::<u64>());
        let filter = target_filters::create(&self.ctx, &name, query).await.unwrap().filter.id;
        let how = AutoAssign { set, action_type: None, weight: None, confirmation_required: None };
        target_filters::auto_assign(&self.ctx, filter, how).await.unwrap();
        filter
    }

    /// The target's actions, oldest first.
    async fn actions_of(&self, controller_id: &str) -> Vec<actions::Model> {
        let sort = Listing::new(0, 500, Some("id:ASC".into()), None);
        let page = actions::list_of_target(&self.ctx, controller_id, &sort).await.unwrap();
        page.content.into_iter().map(|shown| shown.action).collect()
    }

    async fn assign_by_hand(&self, controller_id: &str, set: i64, offline: bool) -> Option<i64> {
        let request = Request {
            controller_id: controller_id.into(),
            set,
            action_type: ActionType::Forced,
            forced_time: 0,
            weight: None,
            confirmation_required: None,
            window: None,
        };
        let outcome = actions::assign(&self.ctx, vec![request], offline).await.unwrap();
        outcome.actions.first().map(|assigned| assigned.action)
    }
}
