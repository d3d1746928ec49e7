//! What an assignment leaves of the actions that rollouts have scheduled for its targets.

use kettle_domain::actions::{self, ActionType, Request};

use super::*;

const SCHEDULED: i32 = 8;
const CANCELED: i32 = 4;

#[tokio::test]
async fn scheduled_actions_are_cancelled_by_assignments_online_and_offline() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        for offline in [false, true] {
            let (id, other) = (format!("d-{offline}"), format!("other-{offline}"));
            let (planned, step, new) = (node.set().await, node.set().await, node.set().await);
            store
                .execute(&format!("UPDATE sp_distribution_set SET required_migration_step = true WHERE id = {step}"))
                .await;
            node.create(&id).await;
            node.create(&other).await;
            for (target, set) in [(&id, planned), (&id, step), (&other, planned)] {
                node.schedule(&store, target, set).await;
            }
            let request = Request {
                controller_id: id.clone(),
                set: new,
                action_type: ActionType::Forced,
                forced_time: 0,
                weight: None,
                confirmation_required: None,
                window: None,
            };
            actions::assign(&node.ctx, vec![request], offline).await.unwrap();
            let status = async |target: &str, set| {
                let target = node.shown(target).await.target.id;
                store
                    .number(&format!(
                        "SELECT CAST(status AS bigint) AS n FROM sp_action WHERE target = {target} AND distribution_set = {set}"
                    ))
                    .await
            };
            assert_eq!(status(&id, planned).await, i64::from(CANCELED), "offline: {offline}");
            assert_eq!(status(&id, step).await, i64::from(SCHEDULED), "a migration step stays");
            assert_eq!(status(&other, planned).await, i64::from(SCHEDULED), "another target's stays");
        }
    })
    .await;
}

impl Node {
    /// Puts an action into the tables as a rollout schedules it.
    async fn schedule(&self, store: &Store, controller_id: &str, set: i64) {
        let target = self.shown(controller_id).await.target.id;
        let sql = format!(
            "INSERT INTO sp_action (tenant, active, status, distribution_set, target, action_type, weight, initiated_by) \
             VALUES ('DEFAULT', false, {SCHEDULED}, {set}, {target}, 0, 1000, 'x')"
        );
        store.execute(&sql).await;
    }
}
