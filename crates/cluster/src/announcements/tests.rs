use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Event, ServiceEvent};

const TENANT: &str = "DEFAULT";
const AT_MS: i64 = 1_700_000_000_000;

fn id(n: usize) -> Uuid {
    Uuid::from_u128(n as u128 + 1)
}

fn of(fact: Fact) -> Announcement {
    Announcement { tenant: TENANT.into(), fact }
}

fn messages(fact: Fact) -> Vec<Message> {
    of(fact).messages(id, AT_MS, Payload::Json, true)
}

fn target(id: i64) -> TargetName {
    TargetName { id, controller_id: format!("dmf-{id}"), address: Some("amqp:/contract.reply".into()) }
}

fn assignment(id: i64) -> Assignment {
    Assignment {
        id,
        controller_id: format!("dmf-{id}"),
        action_type: "SOFT".into(),
        status: "RUNNING".into(),
        window_open: true,
    }
}

/// One of each kind of fact.
fn facts() -> Vec<Fact> {
    let action = |id| ActionName { id, target: id + 10, rollout: Some(5), rollout_group: Some(6) };
    let entities = [
        (Entity::Target, Change::Updated),
        (Entity::TargetTag, Change::Deleted),
        (Entity::TargetType, Change::Updated),
        (Entity::TargetFilter, Change::Created),
        (Entity::DistributionSet, Change::Updated),
        (Entity::DistributionSetTag, Change::Deleted),
        (Entity::DistributionSetType, Change::Created),
        (Entity::SoftwareModule, Change::Updated),
        (Entity::SoftwareModuleType, Change::Deleted),
        (Entity::Rollout, Change::Updated),
        (Entity::RolloutGroup, Change::Deleted),
    ];
    let entities = entities.map(|(entity, change)| Fact::Entities { entity, change, ids: vec![1, 2] });
    let others = [
        Fact::TargetsDeleted { targets: vec![target(1), target(2)] },
        Fact::AttributesRequested { targets: vec![target(1)] },
        Fact::ActionsCreated { actions: vec![action(1), action(2)] },
        Fact::ActionsUpdated { actions: vec![action(1)] },
        Fact::Assigned { set: 3, window_open: false, actions: vec![assignment(1), assignment(2)] },
        Fact::Canceled { actions: vec![assignment(1)] },
        Fact::RolloutGroupsCreated { rollout: 5, ids: vec![1, 2] },
        Fact::RolloutGroupsUpdated { rollout: 5, ids: vec![1] },
        Fact::RolloutStopped { rollout: 5, groups: vec![6, 7] },
        Fact::SettingCreated { id: 1, key: "pollingTime".into() },
        Fact::SettingUpdated { id: 1, key: "pollingTime".into() },
        Fact::SettingDeleted { id: 1, key: "pollingTime".into(), value: Some("00:01:00".into()) },
        Fact::Polled { controller_ids: vec!["dmf-1".into()], address: None, at_ms: AT_MS },
    ];
    entities.into_iter().chain(others).collect()
}

fn bodies(fact: Fact) -> Vec<(Channel, Value)> {
    let body = |m: Message| (m.channel, serde_json::from_slice(&m.body).expect("JSON"));
    messages(fact).into_iter().map(body).collect()
}

#[test]
fn a_created_target_is_told_as_hawkbit_tells_it() {
    let created = json!({
        "type": "1", "id": id(0).to_string(), "timestamp": AT_MS, "tenant": TENANT, "source": 7, "entityId": 7, "cacheKey": 7,
        "cacheName": "JpaTarget", "entityClass": "org.eclipse.hawkbit.repository.jpa.model.JpaTarget",
    });
    let wrapped =
        json!({ "type": "1000", "id": id(1).to_string(), "timestamp": AT_MS, "source": 7, "remoteEvent": created });
    let fact = Fact::Entities { entity: Entity::Target, change: Change::Created, ids: vec![7] };
    assert_eq!(bodies(fact), [(Channel::FanOut, created), (Channel::Service, wrapped)]);
}

#[test]
fn an_assignment_is_one_event_of_all_its_actions() {
    let properties = |id| json!({ "id": id, "actionType": "SOFT", "tenant": TENANT, "maintenanceWindowAvailable": true, "status": "RUNNING" });
    let assigned = json!({
        "type": "5", "id": id(0).to_string(), "timestamp": AT_MS, "tenant": TENANT, "source": 3, "distributionSetId": 3,
        "maintenanceWindowAvailable": true, "actions": { "dmf-1": properties(1), "dmf-2": properties(2) },
    });
    let fact = Fact::Assigned { set: 3, window_open: true, actions: vec![assignment(1), assignment(2)] };
    let bodies = bodies(fact);
    assert_eq!(bodies[0], (Channel::FanOut, assigned.clone()));
    assert_eq!((&bodies[1].1["remoteEvent"], &bodies[1].1["type"]), (&assigned, &json!("1003")));
}

#[test]
fn members_that_a_type_has_are_there_as_null() {
    let action = ActionName { id: 7, target: 1, rollout: None, rollout_group: None };
    let (_, action) = bodies(Fact::ActionsUpdated { actions: vec![action] }).swap_remove(0);
    assert_eq!((&action["type"], &action["rolloutId"]), (&json!("10"), &Value::Null));
    assert!(action.as_object().is_some_and(|members| members.contains_key("rolloutGroupId")));
    let polled = Fact::Polled { controller_ids: vec!["a".into()], address: None, at_ms: 5 };
    let expected = json!({
        "type": "24", "id": id(0).to_string(), "timestamp": AT_MS, "tenant": TENANT, "source": TENANT, "targetAddress": null,
        "lastTargetPoll": 5, "controllerIds": ["a"],
    });
    assert_eq!(bodies(polled)[0].1, expected);
    let secret = Fact::SettingDeleted { id: 4, key: "authentication.gatewaytoken.key".into(), value: None };
    let expected = json!({
        "type": "42", "id": id(0).to_string(), "timestamp": AT_MS, "tenant": TENANT, "source": 4, "entityId": 4,
        "entityClass": "org.eclipse.hawkbit.repository.jpa.model.JpaTenantConfiguration", "configValue": null,
        "cacheName": "JpaTenantConfiguration", "cacheKey": "authentication.gatewaytoken.key",
        "configKey": "authentication.gatewaytoken.key",
    });
    assert_eq!(bodies(secret), [(Channel::FanOut, expected)]);
}

#[test]
fn the_source_of_a_cancellation_is_the_same_in_a_repeat() {
    let fact = Fact::Canceled { actions: vec![assignment(1)] };
    assert_eq!(messages(fact.clone()), messages(fact.clone()));
    let source = |n: usize| {
        let message = of(fact.clone()).messages(|_| id(n), AT_MS, Payload::Json, false).swap_remove(0);
        serde_json::from_slice::<Value>(&message.body).expect("JSON")["source"].clone()
    };
    assert!(source(1).as_str().is_some_and(|source| source.parse::<Uuid>().is_ok()));
    assert_ne!(source(1), source(2));
}

#[test]
fn ids_stay_the_same_without_the_service_channel() {
    for fact in facts() {
        let fan_out = |service| {
            let mut all = of(fact.clone()).messages(id, AT_MS, Payload::Json, service);
            all.retain(|message| message.channel == Channel::FanOut);
            all
        };
        assert_eq!(fan_out(true), fan_out(false));
        assert!(!fan_out(false).is_empty(), "{fact:?} has no event");
        let service = of(fact).messages(id, AT_MS, Payload::Json, false);
        assert!(service.iter().all(|message| message.channel == Channel::FanOut));
    }
}

#[test]
fn both_forms_mean_the_same() {
    for fact in facts() {
        let heard = |payload| {
            let messages = of(fact.clone()).messages(id, AT_MS, payload, true);
            let read = |m: &Message| (m.channel, m.id, read(m.content_type, &m.body).expect("it was just written"));
            messages.iter().map(read).collect::<Vec<_>>()
        };
        assert_eq!(heard(Payload::Json), heard(Payload::Binary), "{fact:?}");
        for (_, id, heard) in heard(Payload::Binary) {
            assert_eq!((heard.id, heard.tenant.as_str()), (id, TENANT));
        }
    }
}

#[test]
fn an_announcement_survives_the_outbox() {
    for fact in facts() {
        let stored = serde_json::to_string(&of(fact.clone())).expect("JSON");
        assert_eq!(serde_json::from_str::<Announcement>(&stored).expect("it was just written"), of(fact));
    }
}

/// What a fact of another node leads to here: events, targets to find by id, and service events.
fn effect(fact: Fact) -> (Vec<Event>, Vec<i64>, Vec<ServiceEvent>) {
    let (mut events, mut targets, mut service) = (Vec::new(), Vec::new(), Vec::new());
    for message in messages(fact) {
        let heard = read(message.content_type, &message.body).expect("it was just written");
        events.extend(heard.events);
        targets.extend(heard.targets);
        service.extend(heard.service);
    }
    (events, targets, service)
}

#[test]
fn what_hawkbit_tells_of_targets_changes_their_views() {
    let tenant = || TENANT.to_owned();
    let changed = |names: &[&str]| Event::TargetsChanged {
        tenant: tenant(),
        controller_ids: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let updated = Fact::Entities { entity: Entity::Target, change: Change::Updated, ids: vec![7, 8] };
    assert_eq!(effect(updated), (vec![], vec![7, 8], vec![]));
    let action = ActionName { id: 1, target: 9, rollout: Some(5), rollout_group: Some(6) };
    let moved = Event::RolloutChanged { tenant: tenant(), rollout: 5 };
    assert_eq!(effect(Fact::ActionsUpdated { actions: vec![action] }), (vec![moved], vec![9], vec![]));
    let actions = || vec![(1, "dmf-1".to_owned()), (2, "dmf-2".to_owned())];
    let assigned = Fact::Assigned { set: 3, window_open: true, actions: vec![assignment(1), assignment(2)] };
    let service = ServiceEvent::Assigned { tenant: tenant(), set: 3, actions: actions() };
    assert_eq!(effect(assigned), (vec![changed(&["dmf-1", "dmf-2"])], vec![], vec![service]));
    let canceled = Fact::Canceled { actions: vec![assignment(1), assignment(2)] };
    let service = ServiceEvent::Canceled { tenant: tenant(), actions: actions() };
    assert_eq!(effect(canceled), (vec![changed(&["dmf-1", "dmf-2"])], vec![], vec![service]));
    let (controller_id, address) = ("dmf-1".to_owned(), "amqp:/contract.reply".to_owned());
    let service = ServiceEvent::TargetDeleted { tenant: tenant(), controller_id, address };
    let deleted = Fact::TargetsDeleted { targets: vec![target(1)] };
    assert_eq!(effect(deleted), (vec![changed(&["dmf-1"])], vec![], vec![service]));
}

#[test]
fn a_target_without_a_gateway_is_nothing_to_tell_gateways() {
    let target = TargetName { address: Some("http://10.0.0.7".into()), ..target(1) };
    assert_eq!(effect(Fact::TargetsDeleted { targets: vec![target.clone()] }).2, []);
    assert_eq!(effect(Fact::AttributesRequested { targets: vec![target] }).2, []);
}

#[test]
fn what_this_node_does_not_know_means_nothing() {
    let heard = |body: &str| read(JSON, body.as_bytes());
    assert_eq!(
        heard(r#"{"type":"77","actions":[1],"id":5}"#).expect("an unknown type is none of ours"),
        Heard::default()
    );
    let more = r#"{"type":"2","id":"00000000-0000-0000-0000-000000000001","tenant":"A","entityId":7,"new":{"a":[1]}}"#;
    assert_eq!(heard(more).expect("unknown members are passed over").targets, [7]);
}

#[test]
fn what_is_no_event_is_an_error() {
    let of = |content_type, body: &str| read(content_type, body.as_bytes()).map_err(|e| e.to_string());
    assert!(of("application/binary+protostuff", "").is_err_and(|e| e.contains("remote-event-json")));
    for body in
        ["", "{}", "[]", r#"{"type":"2"}"#, r#"{"type":"2","id":"x","tenant":"A","entityId":1}"#, r#"{"type":"x"}"#]
    {
        assert!(of(JSON, body).is_err(), "{body}");
    }
    let no_entity = r#"{"type":"2","id":"00000000-0000-0000-0000-000000000001","tenant":"A"}"#;
    assert!(of(JSON, no_entity).is_err_and(|e| e.contains("entityId")));
    assert!(of(BINARY, "\u{1}").is_err());
}

proptest! {
    #[test]
    fn no_body_panics(json in "\\PC*", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(JSON, json.as_bytes());
        let _ = read(JSON, &bytes);
        let _ = read(BINARY, &bytes);
    }

    #[test]
    fn no_change_of_a_body_panics(n in 0usize..24, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for payload in [Payload::Json, Payload::Binary] {
            let fact = facts().swap_remove(n);
            for mut message in of(fact).messages(id, AT_MS, payload, true) {
                let at = at.index(message.body.len());
                message.body[at] = byte;
                let _ = read(message.content_type, &message.body);
            }
        }
    }
}
