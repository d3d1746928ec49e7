//! What keeps a filter from assigning its set, to one target or to all, and that it keeps no other filter from it.

use kettle_domain::{
    access::{Authorities, Login, Scoping},
    distribution_sets::{self, Cancelation},
    settings::Quotas,
    target_types,
};

use super::*;

#[tokio::test]
async fn a_set_that_is_deleted_or_invalidated_is_assigned_no_more() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let (deleted, invalid, stopped) = (node.set().await, node.set().await, node.set().await);
        let mut filters = Vec::new();
        for set in [deleted, invalid, stopped] {
            filters.push(node.assign_to("controllerid==d*", set).await);
        }
        node.create("d1").await;
        node.drain().await;
        assert_eq!(node.actions_of("d1").await.len(), 3);
        distribution_sets::delete(&node.ctx, deleted).await.unwrap();
        distribution_sets::invalidate(&node.ctx, invalid, Cancelation::None).await.unwrap();
        node.create("d2").await;
        node.drain().await;
        let sets = async |id: &str| node.actions_of(id).await.iter().map(|a| a.distribution_set).collect::<Vec<_>>();
        assert_eq!(sets("d2").await, [stopped]);
        target_filters::delete(&node.ctx, filters[2]).await.unwrap();
        node.create("d3").await;
        node.drain().await;
        assert_eq!(sets("d3").await, [0; 0]);
    })
    .await;
}

/// The rows are written behind the server's back: through the API a filter has no such set or query.
#[tokio::test]
async fn a_filter_that_fails_does_not_stop_the_others() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        node.create("before").await;
        let (invalid, unreadable, good) = (node.set().await, node.set().await, node.set().await);
        let broken = node.assign_to("controllerid==*", invalid).await;
        let odd = node.assign_to("controllerid==*", unreadable).await;
        let row = |set: &str, id: i64| format!("UPDATE {set} WHERE id = {id}");
        store.execute(&row("sp_distribution_set SET valid = false", invalid)).await;
        store.execute(&row("sp_target_filter_query SET query = 'oops==1'", odd)).await;
        store.execute(&row("sp_target_filter_query SET access_control_context = '{}'", broken)).await;
        node.assign_to("controllerid==*", good).await;
        node.drain().await;
        node.create("after").await;
        node.react().await;
        for id in ["before", "after"] {
            let sets: Vec<i64> = node.actions_of(id).await.iter().map(|a| a.distribution_set).collect();
            assert_eq!(sets, [good], "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn targets_of_types_that_do_not_take_the_set_are_left_out() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let create = target_types::Create { name: Some("valve".into()), ..Default::default() };
        let valve = target_types::create(&node.ctx, vec![create]).await.unwrap()[0].id;
        let set = node.set().await;
        node.create_with(Create { target_type: Some(valve), ..named("valve-1") }).await;
        node.create("plain-1").await;
        node.assign_to("controllerid==*", set).await;
        node.drain().await;
        node.create_with(Create { target_type: Some(valve), ..named("valve-2") }).await;
        node.create("plain-2").await;
        node.drain().await;
        for (id, expected) in [("valve-1", 0), ("plain-1", 1), ("valve-2", 0), ("plain-2", 1)] {
            assert_eq!(node.actions_of(id).await.len(), expected, "{id}");
        }
    })
    .await;
}

/// In the peer, one full target keeps a filter from assigning to any.
#[tokio::test]
async fn a_target_that_is_full_of_actions_is_left_out() {
    on_each_store(async |store| {
        let quotas = Quotas { actions_per_target: 1, ..Quotas::default() };
        let node = Node::start_with(&store.db, Settings { quotas, ..settings() }).await;
        node.services.auto_assign.turn_on();
        let (first, set) = (node.set().await, node.set().await);
        for id in ["full", "free"] {
            node.create(id).await;
        }
        node.assign_by_hand("full", first, false).await.unwrap();
        node.assign_to("controllerid==*", set).await;
        node.drain().await;
        let sets = async |id: &str| node.actions_of(id).await.iter().map(|a| a.distribution_set).collect::<Vec<_>>();
        assert_eq!((sets("full").await, sets("free").await), (vec![first], vec![set]));
        node.configure("action.cleanup.onQuotaHit.percent", "99").await;
        node.tell(changed("DEFAULT", &["full"])).await;
        node.drain().await;
        assert_eq!(sets("full").await, [first], "99 percent of one is no room");
    })
    .await;
}

/// A target that has the set assigned, without an action of it left, counts as done.
#[tokio::test]
async fn a_target_that_has_the_set_assigned_gets_no_action() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        for id in ["d1", "d2"] {
            node.create(id).await;
        }
        let action = node.assign_by_hand("d1", set, false).await.unwrap();
        actions::delete(&node.ctx, action).await.unwrap();
        node.assign_to("controllerid==*", set).await;
        node.drain().await;
        node.tell(changed("DEFAULT", &["d1"])).await;
        node.drain().await;
        assert_eq!((node.actions_of("d1").await.len(), node.actions_of("d2").await.len()), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn only_targets_are_assigned_that_who_set_it_may_change() {
    on_each_store(async |store| {
        let rules = Rules { scoping: Some(Scoping::ALL), ..Rules::default() };
        let node = Node::start_as(&store.db, settings(), rules.clone()).await;
        node.services.auto_assign.turn_on();
        let authorities =
            ["READ_TARGET", "UPDATE_TARGET/group==lab", "READ_DISTRIBUTION_SET", "UPDATE_DISTRIBUTION_SET"];
        let authorities = authorities.map(str::to_owned).to_vec();
        let login = Login {
            name: "jo".into(),
            authorities: Arc::new(Authorities::new(authorities, &rules).unwrap()),
            tenant: Some("DEFAULT".into()),
        };
        let jo = Ctx::user(&node.services, node.ctx.tenant.clone(), &login);
        let set = node.set().await;
        let filter = target_filters::create(&node.ctx, "all", "controllerid==*").await.unwrap().filter.id;
        let in_group = |id: &str, group: &str| Create { group: Some(group.into()), ..named(id) };
        for (id, group) in [("lab-1", "lab"), ("field-1", "field")] {
            node.create_with(in_group(id, group)).await;
        }
        let how = AutoAssign { set, action_type: None, weight: None, confirmation_required: None };
        target_filters::auto_assign(&jo, filter, how).await.unwrap();
        node.drain().await;
        for (id, group) in [("lab-2", "lab"), ("field-2", "field")] {
            node.create_with(in_group(id, group)).await;
        }
        node.react().await;
        for (id, expected) in [("lab-1", 1), ("field-1", 0), ("lab-2", 1), ("field-2", 0)] {
            assert_eq!(node.actions_of(id).await.len(), expected, "{id}");
        }
        let group = kettle_domain::targets::groups::assign(&node.ctx, Some("lab"), vec![Some("field-1".into())]);
        group.await.unwrap();
        node.react().await;
        assert_eq!(node.actions_of("field-1").await.len(), 1, "it came into reach");
        // Without the permission, nothing at all.
        let stored = r#"{"tenant":"DEFAULT","auditor":"jo","authorities":["READ_TARGET"]}"#;
        store.execute(&format!("UPDATE sp_target_filter_query SET access_control_context = '{stored}'")).await;
        node.create_with(in_group("lab-3", "lab")).await;
        node.drain().await;
        assert_eq!(node.actions_of("lab-3").await.len(), 0);
        // Without a stored context, with all permissions of the server.
        store.execute("UPDATE sp_target_filter_query SET access_control_context = NULL").await;
        node.create_with(in_group("field-3", "field")).await;
        node.drain().await;
        let [action] = &node.actions_of("field-3").await[..] else { panic!("one action") };
        assert_eq!(action.initiated_by, "jo");
    })
    .await;
}
