//! Announcements: what hawkBit nodes, and whoever listens on their event channels, are told of what was committed here.
//!
//! A [`Fact`] stands for any number of entities and is one row of the outbox; [`Announcement::messages`] makes hawkBit's
//! messages of it, one per event, when it is sent. [`read()`] is the way back. Must not know a broker.
//!
//! | type | event | what it means here |
//! | --- | --- | --- |
//! | 1, 2 | target created, updated | `TargetsChanged` of who has that id |
//! | 3, 37 | target deleted; asked for its attributes | `TargetsChanged` |
//! | 4, 5 | actions cancelled; a set assigned | `TargetsChanged` of all that are named |
//! | 6, 7, 8 | target tag created, updated, deleted | 7, 8: `TargetSearchesChanged`, `TenantConfigurationChanged` |
//! | 9, 10 | action created, updated | `TargetsChanged` of who has that id, `RolloutChanged` of an update's rollout |
//! | 11, 12, 13 | distribution set created, updated, deleted | 12: `TargetSearchesChanged` |
//! | 14, 15, 16 | distribution set tag created, updated, deleted | nothing |
//! | 27, 17, 25 | rollout created, updated, deleted | 27, 17: `RolloutChanged` |
//! | 18, 19, 26 | rollout group created, updated, deleted | 18, 19: `RolloutChanged` |
//! | 20 | download progress: never between nodes | nothing |
//! | 21, 23, 22 | software module created, updated, deleted | nothing |
//! | 24 | targets have polled | nothing: `LastSeen` is a node's own |
//! | 28 to 33 | types of sets and of modules created, updated, deleted | nothing |
//! | 34, 35, 36 | target filter created, updated, deleted | `TargetFiltersChanged` |
//! | 40, 41, 42 | setting of a tenant created, updated, deleted | `TenantConfigurationChanged` |
//! | 43 | rollout stopped | `RolloutChanged` |
//! | 44, 45, 46 | target type created, updated, deleted | 45, 46: `TargetSearchesChanged` |
//! | 1000 to 1010 | one of 1, 2, 3, 5, 37, 4, 9, 10, 24 again, for one node of a role | 1002 to 1005: a [`ServiceEvent`](crate::ServiceEvent) |

mod expansion;
mod hearing;
mod json;
mod remote_event;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use hearing::{Heard, Unreadable, read};
pub use json::CONTENT_TYPE as JSON;
pub use remote_event::CONTENT_TYPE as BINARY;

/// Something to tell, and whose it is. The serialized form is what `kt_outbox` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    pub tenant: String,
    pub fact: Fact,
}

/// What has become of entities. What is not here, hawkBit has no event for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fact {
    /// Entities of which nothing is told but their ids.
    Entities {
        entity: Entity,
        change: Change,
        ids: Vec<i64>,
    },
    TargetsDeleted {
        targets: Vec<TargetName>,
    },
    /// Targets that have ended an update are to report their attributes.
    AttributesRequested {
        targets: Vec<TargetName>,
    },
    ActionsCreated {
        actions: Vec<ActionName>,
    },
    ActionsUpdated {
        actions: Vec<ActionName>,
    },
    /// Targets were given actions of one set.
    Assigned {
        set: i64,
        window_open: bool,
        actions: Vec<Assignment>,
    },
    /// Devices are asked to cancel these actions.
    Canceled {
        actions: Vec<Assignment>,
    },
    RolloutGroupsCreated {
        rollout: i64,
        ids: Vec<i64>,
    },
    RolloutGroupsUpdated {
        rollout: i64,
        ids: Vec<i64>,
    },
    RolloutStopped {
        rollout: i64,
        groups: Vec<i64>,
    },
    SettingCreated {
        id: i64,
        key: String,
    },
    SettingUpdated {
        id: i64,
        key: String,
    },
    /// `value` is that which it had, unless it is a secret.
    SettingDeleted {
        id: i64,
        key: String,
        value: Option<String>,
    },
    /// Targets have polled at one time, in epoch milliseconds. `address` is given of one that has registered.
    Polled {
        controller_ids: Vec<String>,
        address: Option<String>,
        at_ms: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entity {
    /// Created and updated: see [`Fact::TargetsDeleted`].
    Target,
    TargetTag,
    TargetType,
    TargetFilter,
    DistributionSet,
    DistributionSetTag,
    DistributionSetType,
    SoftwareModule,
    SoftwareModuleType,
    Rollout,
    /// Deleted: see [`Fact::RolloutGroupsCreated`].
    RolloutGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    Created,
    Updated,
    Deleted,
}

/// A target, by what is left of it when it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetName {
    pub id: i64,
    #[serde(rename = "name")]
    pub controller_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// An action, and what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionName {
    pub id: i64,
    pub target: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<i64>,
    #[serde(default, rename = "group", skip_serializing_if = "Option::is_none")]
    pub rollout_group: Option<i64>,
}

/// An action as it is told to who carries it out. Type and status are hawkBit's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub id: i64,
    #[serde(rename = "name")]
    pub controller_id: String,
    #[serde(rename = "type")]
    pub action_type: String,
    pub status: String,
    #[serde(rename = "open")]
    pub window_open: bool,
}

/// How a message's body is written. Receivers go by its content type, so nodes may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// As hawkBit writes and reads it.
    #[default]
    Json,
    /// Protobuf, which only Kettle nodes read.
    Binary,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Every node.
    FanOut,
    /// One node of each role.
    Service,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub channel: Channel,
    pub id: Uuid,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Announcement {
    /// Its messages, in the order in which they are sent. `id` gives one for each number from 0, and the same when it is
    /// asked again: what is sent twice must be known by it. With `service`, those that one node of a role is to act on are
    /// there a second time, for the service channel; numbers of the others stay the same.
    pub fn messages(
        &self,
        id: impl Fn(usize) -> Uuid,
        told_at_ms: i64,
        payload: Payload,
        service: bool,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        for (n, mut event) in expansion::events(self).into_iter().enumerate() {
            event.id = id(2 * n).to_string();
            event.timestamp = told_at_ms;
            let wrapped = if service { event.for_service(id(2 * n + 1)) } else { None };
            messages.push((Channel::FanOut, event));
            messages.extend(wrapped.map(|event| (Channel::Service, event)));
        }
        // An id is parsed from what it was written to: it is one.
        let message = |(channel, event): (Channel, remote_event::RemoteEvent)| {
            let (content_type, body) = match payload {
                Payload::Json => (JSON, json::write(&event)),
                Payload::Binary => (BINARY, prost::Message::encode_to_vec(&event)),
            };
            Some(Message { channel, id: event.id.parse().ok()?, content_type, body })
        };
        messages.into_iter().filter_map(message).collect()
    }
}

#[cfg(test)]
mod tests;
