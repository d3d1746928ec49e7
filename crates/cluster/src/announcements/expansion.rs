//! The events that hawkBit has for a fact, without ids and times.

use super::{
    ActionName, Announcement, Assignment, Fact, TargetName,
    remote_event::{
        ACTION_CREATED, ACTION_UPDATED, ASSIGNED, ATTRIBUTES_REQUESTED, ActionProperties, CANCELED, POLLED,
        ROLLOUT_GROUP_CREATED, ROLLOUT_GROUP_UPDATED, ROLLOUT_STOPPED, RemoteEvent, SETTING_CREATED, SETTING_DELETED,
        SETTING_UPDATED, TARGET_DELETED, plain,
    },
};

pub(super) fn events(announcement: &Announcement) -> Vec<RemoteEvent> {
    let event = |kind| RemoteEvent { kind, tenant: announcement.tenant.clone(), ..RemoteEvent::default() };
    let of = |kind, id: i64| RemoteEvent { entity_id: Some(id), ..event(kind) };
    let target = |kind, target: &TargetName| RemoteEvent {
        controller_id: Some(target.controller_id.clone()),
        target_address: target.address.clone(),
        ..of(kind, target.id)
    };
    let action = |kind, action: &ActionName| RemoteEvent {
        target_id: Some(action.target),
        rollout_id: action.rollout,
        rollout_group_id: action.rollout_group,
        ..of(kind, action.id)
    };
    let group = |kind, rollout: i64, id: i64| RemoteEvent { rollout_id: Some(rollout), ..of(kind, id) };
    let setting = |kind, id, key: &str| RemoteEvent { config_key: Some(key.to_owned()), ..of(kind, id) };
    match &announcement.fact {
        Fact::Entities { entity, change, ids } => {
            let kind = plain(*entity, *change);
            kind.map(|kind| ids.iter().map(|id| of(kind, *id)).collect()).unwrap_or_default()
        }
        Fact::TargetsDeleted { targets } => targets.iter().map(|t| target(TARGET_DELETED, t)).collect(),
        Fact::AttributesRequested { targets } => targets.iter().map(|t| target(ATTRIBUTES_REQUESTED, t)).collect(),
        Fact::ActionsCreated { actions } => actions.iter().map(|a| action(ACTION_CREATED, a)).collect(),
        Fact::ActionsUpdated { actions } => actions.iter().map(|a| action(ACTION_UPDATED, a)).collect(),
        Fact::Assigned { set, window_open, actions } => vec![RemoteEvent {
            distribution_set_id: Some(*set),
            maintenance_window_available: Some(*window_open),
            actions: actions.iter().map(properties).collect(),
            ..event(ASSIGNED)
        }],
        Fact::Canceled { actions } => {
            vec![RemoteEvent { actions: actions.iter().map(properties).collect(), ..event(CANCELED) }]
        }
        Fact::RolloutGroupsCreated { rollout, ids } => {
            ids.iter().map(|id| group(ROLLOUT_GROUP_CREATED, *rollout, *id)).collect()
        }
        Fact::RolloutGroupsUpdated { rollout, ids } => {
            ids.iter().map(|id| group(ROLLOUT_GROUP_UPDATED, *rollout, *id)).collect()
        }
        Fact::RolloutStopped { rollout, groups } => vec![RemoteEvent {
            rollout_id: Some(*rollout),
            rollout_group_ids: groups.clone(),
            ..event(ROLLOUT_STOPPED)
        }],
        Fact::SettingCreated { id, key } => vec![setting(SETTING_CREATED, *id, key)],
        Fact::SettingUpdated { id, key } => vec![setting(SETTING_UPDATED, *id, key)],
        Fact::SettingDeleted { id, key, value } => {
            vec![RemoteEvent { config_value: value.clone(), ..setting(SETTING_DELETED, *id, key) }]
        }
        Fact::Polled { controller_ids, address, at_ms } => vec![RemoteEvent {
            controller_ids: controller_ids.clone(),
            target_address: address.clone(),
            last_target_poll: Some(*at_ms),
            ..event(POLLED)
        }],
    }
}

fn properties(action: &Assignment) -> ActionProperties {
    ActionProperties {
        controller_id: action.controller_id.clone(),
        id: action.id,
        action_type: action.action_type.clone(),
        status: action.status.clone(),
        maintenance_window_available: action.window_open,
    }
}
