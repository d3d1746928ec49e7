//! Events as hawkBit's Jackson writes and reads them: members that a type has are there even if they are null.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::remote_event::{
    ACTION_CREATED, ACTION_UPDATED, ASSIGNED, ATTRIBUTES_REQUESTED, ActionProperties, CANCELED, POLLED,
    ROLLOUT_GROUP_CREATED, ROLLOUT_GROUP_UPDATED, ROLLOUT_STOPPED, RemoteEvent, SETTING_CREATED, SETTING_DELETED,
    SETTING_UPDATED, TARGET_DELETED,
};

/// hawkBit's content type.
pub const CONTENT_TYPE: &str = "application/remote-event-json";
/// Where hawkBit keeps the classes that events name.
const PACKAGE: &str = "org.eclipse.hawkbit.repository.jpa.model";

pub(super) fn write(event: &RemoteEvent) -> Vec<u8> {
    value(event).to_string().into_bytes()
}

fn value(event: &RemoteEvent) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("type", event.kind.to_string().into());
    put("timestamp", event.timestamp.into());
    put("id", event.id.as_str().into());
    put("source", source(event));
    if let Some(of) = &event.remote_event {
        put("remoteEvent", value(of));
        return Value::Object(members);
    }
    put("tenant", event.tenant.as_str().into());
    if let Some(class) = event.entity() {
        put("entityId", event.entity_id.into());
        put("entityClass", format!("{PACKAGE}.{class}").into());
        put("cacheName", class.into());
        put("cacheKey", event.config_key.as_deref().map_or_else(|| event.entity_id.into(), Value::from));
    }
    match event.kind {
        TARGET_DELETED | ATTRIBUTES_REQUESTED => {
            put("controllerId", event.controller_id.as_deref().into());
            put("targetAddress", event.target_address.as_deref().into());
        }
        ACTION_CREATED | ACTION_UPDATED => {
            put("targetId", event.target_id.into());
            put("rolloutId", event.rollout_id.into());
            put("rolloutGroupId", event.rollout_group_id.into());
        }
        ROLLOUT_GROUP_CREATED | ROLLOUT_GROUP_UPDATED => {
            put("rolloutId", event.rollout_id.into());
        }
        SETTING_DELETED => {
            put("configKey", event.config_key.as_deref().into());
            put("configValue", event.config_value.as_deref().into());
        }
        CANCELED => {
            put("actions", properties(event));
        }
        ASSIGNED => {
            put("actions", properties(event));
            put("distributionSetId", event.distribution_set_id.into());
            put("maintenanceWindowAvailable", event.maintenance_window_available.into());
        }
        POLLED => {
            put("targetAddress", event.target_address.as_deref().into());
            put("lastTargetPoll", event.last_target_poll.into());
            put("controllerIds", json!(event.controller_ids));
        }
        ROLLOUT_STOPPED => {
            put("rolloutId", event.rollout_id.into());
            put("rolloutGroupIds", json!(event.rollout_group_ids));
        }
        _ => {}
    }
    Value::Object(members)
}

/// What an event is about, as Spring asks of every event. Nobody reads it.
fn source(event: &RemoteEvent) -> Value {
    match (event.kind, &event.remote_event) {
        (_, Some(of)) => source(of),
        (ASSIGNED, _) => event.distribution_set_id.into(),
        (ROLLOUT_STOPPED, _) => event.rollout_id.into(),
        (POLLED, _) => event.tenant.as_str().into(),
        // hawkBit: a random one. It is made of the event's, so that a repeat has the same.
        (CANCELED, _) => {
            event.id.parse().map_or(Value::Null, |id: Uuid| Value::from(Uuid::new_v5(&id, b"source").to_string()))
        }
        _ => event.entity_id.into(),
    }
}

fn properties(event: &RemoteEvent) -> Value {
    let of = |action: &ActionProperties| {
        let members = json!({
            "id": action.id,
            "actionType": action.action_type,
            "tenant": event.tenant,
            "maintenanceWindowAvailable": action.maintenance_window_available,
            "status": action.status,
        });
        (action.controller_id.clone(), members)
    };
    Value::Object(event.actions.iter().map(of).collect())
}

/// `None` if it is of a type that this node does not know; its members may be of any shape.
pub(super) fn read(body: &[u8]) -> Result<Option<RemoteEvent>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Type {
        #[serde(rename = "type", deserialize_with = "super::remote_event::number")]
        kind: u32,
    }
    let Type { kind } = serde_json::from_slice(body)?;
    if !(RemoteEvent { kind, ..RemoteEvent::default() }).is_known() {
        return Ok(None);
    }
    let mut event: RemoteEvent = serde_json::from_slice(body)?;
    if matches!(kind, SETTING_CREATED | SETTING_UPDATED) {
        // Nothing but the key by which caches hold it names the setting.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Key {
            #[serde(default)]
            cache_key: Option<String>,
        }
        event.config_key = serde_json::from_slice::<Key>(body)?.cache_key;
    }
    Ok(Some(event))
}

/// hawkBit's actions are keyed by controllerId.
pub(super) fn actions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ActionProperties>, D::Error> {
    let keyed = Option::<BTreeMap<String, ActionProperties>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(keyed.into_iter().map(|(controller_id, of)| ActionProperties { controller_id, ..of }).collect())
}

pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
