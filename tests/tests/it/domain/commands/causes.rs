//! Which changes note something for gateways, and what; and that nothing is noted for targets without one.

use kettle_domain::{
    actions::Execution,
    distribution_sets::{self, Cancelation},
    rollouts::{self, Conditions},
};

use super::*;

#[tokio::test]
async fn assignments_are_noted_once_for_all_targets_that_a_gateway_speaks_for() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.behind_gateway(&["d1", "d2"]).await;
        let others = [named("none"), at("http", "http://10.0.0.1"), at("tls", "amqps:/gw"), at("odd", "amqp")];
        targets::create(&node.ctx, others.into()).await.unwrap();
        let set = node.set().await;
        let requests = ["none", "d2", "http", "d1", "tls", "odd"].map(|id| request(id, set));
        let outcome = actions::assign(&node.ctx, requests.clone().into(), false).await.unwrap();
        assert_eq!(outcome.assigned, 6);
        let action = |id: &str| (outcome.actions.iter().find(|a| a.controller_id == id).unwrap().action, id.to_owned());
        let [event] = &node.take().await[..] else { panic!("one event") };
        let ServiceEvent::Assigned { tenant, set: of, actions } = event else { panic!("{event:?}") };
        assert_eq!((tenant.as_str(), *of), ("DEFAULT", set));
        let mut expected = vec![action("d1"), action("d2")];
        expected.sort();
        assert_eq!(*actions, expected);

        actions::assign(&node.ctx, requests.into(), false).await.unwrap();
        assert_eq!(node.take().await, [], "they have it already");
        let set = node.set().await;
        node.behind_gateway(&["d3"]).await;
        let offline = actions::assign(&node.ctx, vec![request("d3", set)], true).await.unwrap();
        assert_eq!((offline.assigned, node.take().await), (1, vec![]), "what is installed already is not told");
        let http = [request("http", set), request("none", set)];
        assert_eq!(actions::assign(&node.ctx, http.into(), false).await.unwrap().assigned, 2);
        assert_eq!(node.take().await, [], "they ask for themselves");
    })
    .await;
}

#[tokio::test]
async fn assignments_by_filters_are_noted() {
    on_each_store(async |store| {
        let node = Node::assigning(&store.db).await;
        let set = node.set().await;
        node.assign_to("controllerid==*", set).await;
        node.behind_gateway(&["d1"]).await;
        node.create("other").await;
        node.drain().await;
        let action = store
            .number(
                "SELECT a.id AS n FROM sp_action a JOIN sp_target t ON t.id = a.target WHERE t.controller_id = 'd1'",
            )
            .await;
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_action").await, 2);
        assert_eq!(node.take().await, [assigned(set, &[(action, "d1")])]);
    })
    .await;
}

#[tokio::test]
async fn what_an_assignment_puts_aside_is_cancelled_first_unless_it_is_closed() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let sets = [node.set().await, node.set().await, node.set().await, node.set().await];
        node.behind_gateway(&["d1"]).await;
        node.create("http").await;
        let mut given = Vec::new();
        for set in &sets[..3] {
            let requests = ["d1", "http"].map(|id| request(id, *set));
            let outcome = actions::assign(&node.ctx, requests.into(), false).await.unwrap();
            given.push(outcome.actions.iter().find(|a| a.controller_id == "d1").unwrap().action);
        }
        let expected = [
            assigned(sets[0], &[(given[0], "d1")]),
            canceled(&[(given[0], "d1")]),
            assigned(sets[1], &[(given[1], "d1")]),
            canceled(&[(given[1], "d1")]),
            assigned(sets[2], &[(given[2], "d1")]),
        ];
        assert_eq!(node.take().await, expected, "what is being cancelled is not cancelled again");
        node.configure("repository.actions.autoclose.enabled", "true").await;
        let last = node.give("d1", sets[3]).await;
        assert_eq!(node.take().await, [assigned(sets[3], &[(last, "d1")])]);
    })
    .await;
}

#[tokio::test]
async fn cancellations_are_noted_and_what_is_quit_by_force_is_not() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let set = node.set().await;
        node.behind_gateway(&["d1", "d2"]).await;
        node.create("http").await;
        let (one, http) = (node.give("d1", set).await, node.give("http", set).await);
        let window = WindowText {
            schedule: "0 30 0 15 11 ? 2023".into(),
            duration: "01:00:00".into(),
            timezone: "+01:00".into(),
        };
        let lapses = node.give_as(Request { window: Some(window), ..request("d2", set) }).await;
        node.take().await;
        actions::cancel(&node.ctx, "http", http).await.unwrap();
        assert_eq!(node.take().await, []);
        actions::cancel(&node.ctx, "d1", one).await.unwrap();
        assert_eq!(node.take().await, [canceled(&[(one, "d1")])]);
        assert!(actions::cancel(&node.ctx, "d1", one).await.is_err());
        actions::force_quit(&node.ctx, "d1", one).await.unwrap();
        assert_eq!(node.take().await, []);
        node.clock.advance(7 * 24 * 60 * MINUTE);
        assert!(actions::deployment(&node.as_device(), "d2", lapses, 0).await.is_err());
        assert_eq!(node.take().await, [canceled(&[(lapses, "d2")])], "its window has lapsed");
    })
    .await;
}

#[tokio::test]
async fn an_invalidated_set_is_cancelled_everywhere_if_its_actions_are() {
    const TARGETS: usize = 1050;
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let ids: Vec<String> = (0..TARGETS).map(|n| format!("d{n}")).collect();
        node.behind_gateway(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        node.create("http").await;
        for (cancelation, told) in
            [(Cancelation::None, 0), (Cancelation::Soft, TARGETS - 1), (Cancelation::Force, TARGETS)]
        {
            let set = node.set().await;
            let requests = ids.iter().map(String::as_str).chain(["http"]).map(|id| request(id, set)).collect();
            node.configure("repository.actions.autoclose.enabled", "true").await;
            let outcome = actions::assign(&node.ctx, requests, false).await.unwrap();
            let mut expected: Vec<(i64, String)> = outcome
                .actions
                .iter()
                .filter(|a| a.controller_id != "http")
                .map(|a| (a.action, a.controller_id.clone()))
                .collect();
            if cancelation == Cancelation::Soft {
                // This one is being cancelled already.
                let (action, id) = expected.remove(7);
                actions::cancel(&node.ctx, &id, action).await.unwrap();
            }
            node.take().await;
            distribution_sets::invalidate(&node.ctx, set, cancelation).await.unwrap();
            let events = node.take().await;
            assert!(events.len() <= 2, "in pieces of a thousand");
            let mut found: Vec<(i64, String)> = events.iter().flat_map(cancellations).collect();
            found.sort();
            expected.sort();
            expected.truncate(told);
            assert_eq!(found, expected, "{cancelation:?}");
            let mut sent = Vec::new();
            for event in &events {
                sent.extend(node.expand(event).await);
            }
            assert_eq!(sent.len(), told, "also if the actions are closed by now");
        }
    })
    .await;
}

#[tokio::test]
async fn rollouts_note_what_they_start_and_stop_and_not_what_they_delete() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.behind_gateway(&["d1", "d2", "has"]).await;
        node.create("http").await;
        let (old, set) = (node.set().await, node.set().await);
        let before = node.give("d1", old).await;
        node.give("has", set).await;
        node.take().await;
        let rollout = node.roll_out(set).await;
        let started = node.take().await;
        let of = async |id: &str| {
            let sql = format!(
                "SELECT a.id AS n FROM sp_action a JOIN sp_target t ON t.id = a.target \
                 WHERE t.controller_id = '{id}' AND a.rollout = {rollout}"
            );
            (store.number(&sql).await, id.to_owned())
        };
        let both = [of("d1").await, of("d2").await];
        // A group is started in shares, so in several events.
        let expected =
            [canceled(&[(before, "d1")]), assigned(set, &[(both[0].0, "d1")]), assigned(set, &[(both[1].0, "d2")])];
        let mut found: Vec<_> = started.iter().flat_map(one_by_one).collect();
        let place = |event: &ServiceEvent| found.iter().position(|found| found == event);
        assert!(place(&expected[0]) < place(&expected[1]), "first what it is to cancel: {found:?}");
        found.sort_by_key(|event| expected.iter().position(|expected| expected == event));
        assert_eq!(found, expected, "not what has the set");
        rollouts::stop(&node.ctx, rollout).await.unwrap();
        rollouts::work_on_all(&node.services).await.unwrap();
        let mut stopped: Vec<_> = node.take().await.iter().flat_map(cancellations).collect();
        stopped.sort();
        assert_eq!(stopped, {
            let mut both = both;
            both.sort();
            both
        });

        let next = node.set().await;
        let rollout = node.roll_out(next).await;
        assert!(!node.take().await.is_empty());
        rollouts::delete(&node.ctx, rollout).await.unwrap();
        rollouts::work_on_all(&node.services).await.unwrap();
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_rollout WHERE deleted = false").await, 1);
        assert_eq!(node.take().await, [], "closed by force, without asking");
    })
    .await;
}

#[tokio::test]
async fn deletions_are_noted_with_the_address_that_is_gone() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.behind_gateway(&["d1", "d2"]).await;
        node.create("http").await;
        node.give("d1", node.set().await).await;
        node.take().await;
        node.delete("d1").await;
        targets::delete_by_device(&node.as_device(), "d2").await.unwrap();
        node.delete("http").await;
        let gone = |id: &str| ServiceEvent::TargetDeleted {
            tenant: "DEFAULT".into(),
            controller_id: id.into(),
            address: GATEWAY.into(),
        };
        let events = node.take().await;
        assert_eq!(events, [gone("d1"), gone("d2")]);
        assert_eq!(said(&node.expand(&events[1]).await), [format!("d2@{GATEWAY} Deleted")]);
        let unknown = targets::delete_by_device(&node.as_device(), "d2").await;
        assert_eq!(unknown.unwrap_err().kind, Kind::EntityNotFound);
        assert_eq!((node.total().await, node.take().await), (0, vec![]));
        assert!(targets::delete(&node.as_device(), "d1").await.is_err(), "an operator needs a permission");
    })
    .await;
}

#[tokio::test]
async fn attributes_are_asked_for_after_an_update_and_not_when_an_operator_wants_them() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        node.behind_gateway(&["done", "failed", "loaded", "half"]).await;
        node.create("http").await;
        let set = node.set().await;
        let download = Request { action_type: ActionType::DownloadOnly, ..request("loaded", set) };
        let loaded = node.give_as(download).await;
        let mut given = Vec::new();
        for id in ["done", "failed", "half", "http"] {
            given.push(node.give(id, set).await);
        }
        node.take().await;
        let asked = |id: &str| ServiceEvent::AttributesRequested {
            tenant: "DEFAULT".into(),
            targets: vec![(id.into(), GATEWAY.into())],
        };
        node.report("done", given[0], Execution::Proceeding).await;
        node.report("half", given[2], Execution::Downloaded).await;
        node.report("http", given[3], Execution::Closed).await;
        let failed = Feedback { failed: true, ..feedback(Execution::Closed) };
        actions::update_feedback(&node.as_device(), "failed", given[1], failed).await.unwrap();
        assert_eq!(node.take().await, []);
        node.report("done", given[0], Execution::Closed).await;
        node.report("loaded", loaded, Execution::Downloaded).await;
        let events = node.take().await;
        assert_eq!(events, [asked("done"), asked("loaded")]);
        assert_eq!(said(&node.expand(&events[0]).await), [format!("done@{GATEWAY} RequestAttributes")]);
        let wanted = targets::Update { request_attributes: Some(true), ..Default::default() };
        targets::update(&node.ctx, "failed", wanted).await.unwrap();
        assert_eq!(node.take().await, []);
    })
    .await;
}

fn named_all(actions: &[(i64, &str)]) -> Vec<(i64, String)> {
    actions.iter().map(|(action, id)| (*action, id.to_string())).collect()
}

fn assigned(set: i64, actions: &[(i64, &str)]) -> ServiceEvent {
    ServiceEvent::Assigned { tenant: "DEFAULT".into(), set, actions: named_all(actions) }
}

fn canceled(actions: &[(i64, &str)]) -> ServiceEvent {
    ServiceEvent::Canceled { tenant: "DEFAULT".into(), actions: named_all(actions) }
}

fn cancellations(event: &ServiceEvent) -> Vec<(i64, String)> {
    match event {
        ServiceEvent::Canceled { actions, .. } => actions.clone(),
        other => panic!("{other:?}"),
    }
}

/// The same as events of one action each.
fn one_by_one(event: &ServiceEvent) -> Vec<ServiceEvent> {
    match event {
        ServiceEvent::Assigned { set, actions, .. } => {
            actions.iter().map(|(action, id)| assigned(*set, &[(*action, id)])).collect()
        }
        other => cancellations(other).iter().map(|(action, id)| canceled(&[(*action, id)])).collect(),
    }
}

impl Node {
    /// A rollout of one group to all targets, running.
    async fn roll_out(&self, set: i64) -> i64 {
        let new = rollouts::Create {
            name: Some(format!("r-{set}")),
            description: None,
            filter: Some("controllerid==*".into()),
            set,
            action_type: ActionType::Forced,
            forced_time: None,
            weight: None,
            start_at: None,
            dynamic: false,
            confirmation_required: None,
            conditions: Conditions::by_default(),
            amount_groups: Some(1),
            template: None,
            groups: None,
        };
        let rollout = rollouts::create(&self.ctx, new).await.unwrap().rollout.id;
        rollouts::work_on_all(&self.services).await.unwrap();
        rollouts::start(&self.ctx, rollout).await.unwrap();
        rollouts::work_on_all(&self.services).await.unwrap();
        rollout
    }
}
