//! What an invalidation leaves in rows that no API of this version shows, and what a filter keeps for the assignments
//! that are made in its name.

use kettle_domain::{
    access::{Authorities, Login, Rules},
    distribution_sets::{self, Cancelation},
    target_filters::{self, AutoAssign},
};

use super::*;

#[tokio::test]
async fn rollouts_of_the_set_that_can_be_stopped_are_stopped_or_deleted() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        // Creating to approval denied; finished, stopped, deleting, deleted and stopping are past it.
        let stoppable = [0, 1, 2, 3, 5, 11, 12];
        for (cancelation, expected) in
            [(Cancelation::None, None), (Cancelation::Soft, Some(13)), (Cancelation::Force, Some(9))]
        {
            let (set, other) = (node.set().await, node.set().await);
            for status in [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13] {
                for set in [set, other] {
                    let name = format!("r-{set}-{status}");
                    let sql = format!(
                        "INSERT INTO sp_rollout (tenant, name, status, distribution_set, action_type, weight, \
                         optlock_revision, deleted) VALUES ('DEFAULT', '{name}', {status}, {set}, 0, 1000, 1, false)"
                    );
                    store.execute(&sql).await;
                }
            }
            distribution_sets::invalidate(&node.ctx, set, cancelation).await.unwrap();
            let rows = store.rows("SELECT name, status FROM sp_rollout WHERE tenant = 'DEFAULT'", []).await;
            for row in rows {
                let (name, status): (String, i32) =
                    (row.try_get("", "name").unwrap(), row.try_get("", "status").unwrap());
                let before: i32 = name.rsplit('-').next().unwrap().parse().unwrap();
                let ours = name.starts_with(&format!("r-{set}-"));
                if ours || name.starts_with(&format!("r-{other}-")) {
                    let changed = expected.filter(|_| ours && stoppable.contains(&before));
                    assert_eq!(status, changed.unwrap_or(before), "{name}, {cancelation:?}");
                }
            }
            let statistics = distribution_sets::statistics::rollouts(&node.ctx, set).await.unwrap();
            assert_eq!(statistics.values().sum::<i64>(), 12, "deleted ones are counted too");
        }
    })
    .await;
}

#[tokio::test]
async fn a_filter_keeps_in_whose_name_and_with_which_authorities_it_assigns() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let authorities = vec!["ROLE_TENANT_ADMIN".to_owned(), "READ_TARGET".to_owned()];
        let login = Login {
            name: "jo".into(),
            authorities: Arc::new(Authorities::new(authorities, &Rules::default()).unwrap()),
            tenant: Some("DEFAULT".into()),
        };
        let jo = Ctx::user(&node.services, node.ctx.tenant.clone(), &login);
        let filter = target_filters::create(&node.ctx, "all", "name==*").await.unwrap().filter;
        assert_eq!((filter.auto_assign_weight, filter.confirmation_required), (0, Some(false)));
        let set = node.set().await;
        let auto = |confirmation_required| AutoAssign { set, action_type: None, weight: None, confirmation_required };
        let stored = target_filters::auto_assign(&jo, filter.id, auto(Some(true))).await.unwrap().filter;
        let context = r#"{"tenant":"DEFAULT","auditor":"jo","authorities":["ROLE_TENANT_ADMIN","READ_TARGET"]}"#;
        assert_eq!(stored.access_control_context.as_deref(), Some(context));
        assert_eq!(stored.auto_assign_initiated_by.as_deref(), Some("jo"));
        assert_eq!((stored.auto_assign_action_type, stored.auto_assign_weight), (Some(0), 1000));
        assert_eq!(stored.confirmation_required, Some(true));
        let by_default = target_filters::auto_assign(&jo, filter.id, auto(None)).await.unwrap().filter;
        assert_eq!(by_default.confirmation_required, Some(false), "the tenant's flow is off");

        let left = target_filters::stop_auto_assign(&node.ctx, filter.id).await.unwrap().filter;
        let kept = (left.auto_assign_distribution_set, left.auto_assign_action_type, left.auto_assign_weight);
        assert_eq!(kept, (None, None, 0));
        assert_eq!((left.access_control_context, left.auto_assign_initiated_by), (None, None));
        assert_eq!(left.last_modified_by.as_deref(), Some("system"));
    })
    .await;
}
