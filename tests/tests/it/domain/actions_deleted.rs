//! Old actions that make room: when a target's quota is hit, and when the clean-up's time comes.

use std::collections::BTreeSet;

use kettle_domain::{
    Kind,
    actions::{self, ActionType, Request},
};

use super::*;

const DAY: i64 = 24 * 60 * MINUTE;
const QUOTA: i64 = 2000;

#[tokio::test]
async fn a_full_target_takes_no_action_unless_the_tenant_lets_the_oldest_go() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let (old, new, newest) = (node.set().await, node.set().await, node.set().await);
        node.create("d1").await;
        node.insert_actions(&store, "d1", old, QUOTA, 0).await;
        assert_eq!(node.try_assign("d1", new).await.unwrap_err(), Kind::TooManyEntries);
        node.configure("action.cleanup.onQuotaHit.percent", "100").await;
        assert_eq!(node.try_assign("d1", new).await.unwrap_err(), Kind::TooManyEntries, "100 is as 0");
        assert_eq!(node.try_assign("d1", 4711).await.unwrap_err(), Kind::TooManyEntries, "the quota comes first");
        assert_eq!(node.actions(&store).await.len(), 2000, "nothing is gone");

        node.configure("action.cleanup.onQuotaHit.percent", "50").await;
        let before = node.actions(&store).await;
        assert_eq!(node.try_assign("d1", 4711).await.unwrap_err(), Kind::EntityNotFound);
        assert_eq!(node.actions(&store).await, before, "a refusal keeps them");
        let action = node.try_assign("d1", new).await.unwrap();
        let after = node.actions(&store).await;
        let expected: BTreeSet<i64> = before.into_iter().skip(1000).chain([action]).collect();
        assert_eq!(after, expected, "a thousand are gone, the oldest");
        assert_eq!(store.number(ORPHANS).await, 0);
        node.try_assign("d1", newest).await.unwrap();
        assert_eq!(node.actions(&store).await.len(), 1002, "no need yet");
    })
    .await;
}

#[tokio::test]
async fn the_active_action_goes_too_if_it_is_among_the_oldest_and_the_device_sees_that() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        node.poll("d1").await;
        let active = node.try_assign("d1", set).await.unwrap();
        node.insert_actions(&store, "d1", set, QUOTA - 1, 0).await;
        assert_eq!(node.poll("d1").await.view.next.as_ref().map(|next| next.id), Some(active));
        node.configure("action.cleanup.onQuotaHit.percent", "1").await;
        let outcome = actions::assign(&node.ctx, vec![request("d1", set)], false).await.unwrap();
        assert_eq!((outcome.assigned, outcome.already_assigned), (0, 1));
        assert_eq!(node.actions(&store).await.len(), 1980, "room is made for targets that have the set as well");
        assert_eq!(node.poll("d1").await.view.next.as_ref().map(|next| next.id), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_at_once_keep_the_quota() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let old = node.set().await;
        node.create("d1").await;
        node.insert_actions(&store, "d1", old, QUOTA - 1, 0).await;
        let mut sets = Vec::new();
        for _ in 0..6 {
            sets.push(node.set().await);
        }
        let all = sets.iter().map(|set| node.try_assign("d1", *set));
        let results = futures_util::future::join_all(all).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(node.actions(&store).await.len(), 2000);
        node.configure("action.cleanup.onQuotaHit.percent", "10").await;
        let next = sets.iter().zip(&results).filter(|(_, result)| result.is_err()).map(|(set, _)| *set);
        let results = futures_util::future::join_all(next.map(|set| node.try_assign("d1", set))).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(node.actions(&store).await.len(), 2000 - 200 + 5, "room is made once");
    })
    .await;
}

#[tokio::test]
async fn actions_that_ended_long_ago_are_cleaned_up_as_the_tenant_says() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let other = Node { ctx: Ctx::system(&node.services, Tenant::new("other")), ..node.clone() };
        tenants::ensure(&other.services, &other.ctx.tenant).await.unwrap();
        let set = node.set().await;
        node.create("d1").await;
        // Canceled and in error, 1100 each, all older than a day by now; one finished, one that is younger.
        node.insert_actions(&store, "d1", set, 1100, 4).await;
        node.insert_actions(&store, "d1", set, 1100, 1).await;
        node.insert_actions(&store, "d1", set, 1, 0).await;
        let theirs = other.set().await;
        other.create("d1").await;
        other.insert_actions(&store, "d1", theirs, 3, 4).await;
        node.clock.advance(DAY + 1);
        node.insert_actions(&store, "d1", set, 1, 4).await;
        let count = async || (node.actions(&store).await.len(), other.actions(&store).await.len());

        node.clean_up().await;
        assert_eq!(count().await, (2202, 3), "off by default");
        node.configure("action.cleanup.auto.expiry", &DAY.to_string()).await;
        for wrong in ["", "canceled", "CANCELED;GONE"] {
            node.configure("action.cleanup.auto.status", wrong).await;
            node.clean_up().await;
            assert_eq!(count().await, (2202, 3), "{wrong:?}");
        }
        node.configure("action.cleanup.auto.status", "ERROR").await;
        node.clean_up().await;
        assert_eq!(count().await, (1102, 3));
        node.configure("action.cleanup.auto.status", "CANCELED;ERROR").await;
        node.clean_up().await;
        assert_eq!(count().await, (2, 3), "the finished one and the young one");
        assert_eq!(store.number(ORPHANS).await, 0);
        node.clock.advance(DAY - 1);
        node.clean_up().await;
        assert_eq!(count().await, (2, 3), "not yet");
        node.clock.advance(2);
        node.clean_up().await;
        assert_eq!(count().await, (1, 3));
    })
    .await;
}

#[tokio::test]
async fn an_active_action_that_is_cleaned_up_is_offered_no_more() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        node.poll("d1").await;
        let action = node.try_assign("d1", set).await.unwrap();
        assert_eq!(node.poll("d1").await.view.next.as_ref().map(|next| next.id), Some(action));
        node.configure("action.cleanup.auto.status", "RUNNING").await;
        node.configure("action.cleanup.auto.expiry", "0").await;
        node.poll("d1").await;
        node.clean_up().await;
        assert_eq!(node.actions(&store).await.len(), 1, "as old as the limit is not older");
        node.clock.advance(1);
        node.clean_up().await;
        assert_eq!(node.poll("d1").await.view.next.as_ref().map(|next| next.id), None);
        assert_eq!(node.shown("d1").await.target.assigned_distribution_set, Some(set), "the target stays as it is");
    })
    .await;
}

#[tokio::test]
async fn a_node_whose_lease_has_passed_on_cleans_up_nothing() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        node.create("d1").await;
        node.insert_actions(&store, "d1", set, 2, 4).await;
        node.clock.advance(DAY);
        node.configure("action.cleanup.auto.expiry", "1").await;
        let lost = node.lease().await;
        let held = node.lease().await;
        assert!(actions::clean_up(&node.services, &lost).await.is_err());
        assert_eq!(node.actions(&store).await.len(), 2);
        actions::clean_up(&node.services, &held).await.unwrap();
        assert_eq!(node.actions(&store).await.len(), 0);
    })
    .await;
}

/// Statuses and messages without the row they belong to.
const ORPHANS: &str = "SELECT (SELECT count(*) FROM sp_action_status s WHERE NOT EXISTS \
                       (SELECT 1 FROM sp_action a WHERE a.id = s.action)) + \
                       (SELECT count(*) FROM sp_action_status_messages m WHERE NOT EXISTS \
                       (SELECT 1 FROM sp_action_status s WHERE s.id = m.action_status)) AS n";

fn request(controller_id: &str, set: i64) -> Request {
    Request {
        controller_id: controller_id.into(),
        set,
        action_type: ActionType::Forced,
        forced_time: 0,
        weight: None,
        confirmation_required: None,
        window: None,
    }
}

impl Node {
    async fn try_assign(&self, controller_id: &str, set: i64) -> Result<i64, Kind> {
        let outcome = actions::assign(&self.ctx, vec![request(controller_id, set)], false).await;
        Ok(outcome.map_err(|error| error.kind)?.actions[0].action)
    }

    /// Puts closed actions in a status into the tables, each with one report, changed last now.
    async fn insert_actions(&self, store: &Store, controller_id: &str, set: i64, count: i64, status: i32) {
        let (tenant, now) = (self.ctx.tenant_id(), self.ctx.now());
        let target = self.shown(controller_id).await.target.id;
        let last = store.number("SELECT coalesce(max(id), 0) AS n FROM sp_action").await;
        store
            .execute(&format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
                 INSERT INTO sp_action (tenant, created_at, created_by, last_modified_at, last_modified_by, \
                 optlock_revision, active, status, distribution_set, target, action_type, weight, initiated_by) \
                 SELECT '{tenant}', {now}, 'x', {now}, 'x', 1, false, {status}, {set}, {target}, 0, 1000, 'x' FROM n"
            ))
            .await;
        store
            .execute(&format!(
                "INSERT INTO sp_action_status (tenant, target_occurred_at, status, action) \
                 SELECT tenant, {now}, status, id FROM sp_action WHERE id > {last}"
            ))
            .await;
        store
            .execute(&format!(
                "INSERT INTO sp_action_status_messages (action_status, detail_message) \
                 SELECT id, 'm' FROM sp_action_status WHERE action > {last}"
            ))
            .await;
    }

    /// The ids of the tenant's actions.
    async fn actions(&self, store: &Store) -> BTreeSet<i64> {
        let sql = "SELECT id FROM sp_action WHERE tenant = $1";
        let rows = store.rows(sql, [self.ctx.tenant_id().into()]).await;
        rows.iter().map(|row| row.try_get("", "id").unwrap()).collect()
    }

    async fn lease(&self) -> Lease {
        let (db, events) = (&self.services.db, &self.services.events);
        Lease::acquire(db, "action-cleanup", events.node(), Duration::ZERO).await.unwrap().unwrap()
    }

    pub(super) async fn clean_up(&self) {
        let lease = self.lease().await;
        actions::clean_up(&self.services, &lease).await.unwrap();
        lease.release(&self.services.db).await.unwrap();
    }
}
