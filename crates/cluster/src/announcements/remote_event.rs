//! An event as it goes over the wire: members of all types in one, of which each type has its own.
//!
//! The protobuf form is ours; its numbers, once released, keep their meaning.

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::{Change, Entity};

/// The content type of the protobuf form.
pub const CONTENT_TYPE: &str = "application/x-protobuf; proto=kettle.RemoteEvent";

pub(super) const TARGET_DELETED: u32 = 3;
pub(super) const CANCELED: u32 = 4;
pub(super) const ASSIGNED: u32 = 5;
pub(super) const ACTION_CREATED: u32 = 9;
pub(super) const ACTION_UPDATED: u32 = 10;
pub(super) const ROLLOUT_GROUP_CREATED: u32 = 18;
pub(super) const ROLLOUT_GROUP_UPDATED: u32 = 19;
pub(super) const POLLED: u32 = 24;
pub(super) const ATTRIBUTES_REQUESTED: u32 = 37;
pub(super) const SETTING_CREATED: u32 = 40;
pub(super) const SETTING_UPDATED: u32 = 41;
pub(super) const SETTING_DELETED: u32 = 42;
pub(super) const ROLLOUT_STOPPED: u32 = 43;

/// The types of which nothing is told but an id.
const PLAIN: [(u32, Entity, Change); 30] = [
    (1, Entity::Target, Change::Created),
    (2, Entity::Target, Change::Updated),
    (6, Entity::TargetTag, Change::Created),
    (7, Entity::TargetTag, Change::Updated),
    (8, Entity::TargetTag, Change::Deleted),
    (11, Entity::DistributionSet, Change::Created),
    (12, Entity::DistributionSet, Change::Updated),
    (13, Entity::DistributionSet, Change::Deleted),
    (14, Entity::DistributionSetTag, Change::Created),
    (15, Entity::DistributionSetTag, Change::Updated),
    (16, Entity::DistributionSetTag, Change::Deleted),
    (17, Entity::Rollout, Change::Updated),
    (21, Entity::SoftwareModule, Change::Created),
    (22, Entity::SoftwareModule, Change::Deleted),
    (23, Entity::SoftwareModule, Change::Updated),
    (25, Entity::Rollout, Change::Deleted),
    (26, Entity::RolloutGroup, Change::Deleted),
    (27, Entity::Rollout, Change::Created),
    (28, Entity::DistributionSetType, Change::Created),
    (29, Entity::DistributionSetType, Change::Updated),
    (30, Entity::DistributionSetType, Change::Deleted),
    (31, Entity::SoftwareModuleType, Change::Created),
    (32, Entity::SoftwareModuleType, Change::Updated),
    (33, Entity::SoftwareModuleType, Change::Deleted),
    (34, Entity::TargetFilter, Change::Created),
    (35, Entity::TargetFilter, Change::Updated),
    (36, Entity::TargetFilter, Change::Deleted),
    (44, Entity::TargetType, Change::Created),
    (45, Entity::TargetType, Change::Updated),
    (46, Entity::TargetType, Change::Deleted),
];

/// Which types are sent for one node of a role as well, and as what.
const FOR_SERVICE: [(u32, u32); 9] = [
    (1, 1000),
    (2, 1001),
    (TARGET_DELETED, 1002),
    (ASSIGNED, 1003),
    (ATTRIBUTES_REQUESTED, 1004),
    (CANCELED, 1005),
    (ACTION_CREATED, 1008),
    (ACTION_UPDATED, 1009),
    (POLLED, 1010),
];

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RemoteEvent {
    #[prost(uint32, tag = "1")]
    #[serde(rename = "type", deserialize_with = "number")]
    pub kind: u32,
    #[prost(string, tag = "2")]
    pub id: String,
    /// Epoch milliseconds.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
    #[prost(string, tag = "4")]
    pub tenant: String,
    #[prost(int64, optional, tag = "5")]
    pub entity_id: Option<i64>,
    #[prost(string, optional, tag = "6")]
    pub controller_id: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub target_address: Option<String>,
    #[prost(int64, optional, tag = "8")]
    pub target_id: Option<i64>,
    #[prost(int64, optional, tag = "9")]
    pub rollout_id: Option<i64>,
    #[prost(int64, optional, tag = "10")]
    pub rollout_group_id: Option<i64>,
    #[prost(int64, optional, tag = "11")]
    pub distribution_set_id: Option<i64>,
    #[prost(bool, optional, tag = "12")]
    pub maintenance_window_available: Option<bool>,
    #[prost(message, repeated, tag = "13")]
    #[serde(deserialize_with = "super::json::actions")]
    pub actions: Vec<ActionProperties>,
    #[prost(int64, optional, tag = "14")]
    pub last_target_poll: Option<i64>,
    #[prost(string, repeated, tag = "15")]
    #[serde(deserialize_with = "super::json::list")]
    pub controller_ids: Vec<String>,
    #[prost(string, optional, tag = "16")]
    pub config_key: Option<String>,
    #[prost(string, optional, tag = "17")]
    pub config_value: Option<String>,
    #[prost(int64, repeated, tag = "18")]
    #[serde(deserialize_with = "super::json::list")]
    pub rollout_group_ids: Vec<i64>,
    /// What a service event is about.
    #[prost(message, optional, boxed, tag = "19")]
    pub remote_event: Option<Box<RemoteEvent>>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ActionProperties {
    #[prost(string, tag = "1")]
    #[serde(skip)]
    pub controller_id: String,
    #[prost(int64, tag = "2")]
    pub id: i64,
    #[prost(string, tag = "3")]
    pub action_type: String,
    #[prost(string, tag = "4")]
    pub status: String,
    #[prost(bool, tag = "5")]
    pub maintenance_window_available: bool,
}

impl RemoteEvent {
    /// The event in its wrapper, if it is one that one node of a role acts on.
    pub fn for_service(&self, id: Uuid) -> Option<RemoteEvent> {
        let (_, kind) = FOR_SERVICE.into_iter().find(|(of, _)| *of == self.kind)?;
        let (id, timestamp) = (id.to_string(), self.timestamp);
        Some(RemoteEvent { kind, id, timestamp, remote_event: Some(Box::new(self.clone())), ..RemoteEvent::default() })
    }

    /// Whether this is a wrapper of another one.
    pub fn is_for_service(&self) -> bool {
        FOR_SERVICE.into_iter().any(|(_, kind)| kind == self.kind)
    }

    /// Whether hawkBit 1.0 has such a type, and it goes between nodes.
    pub fn is_known(&self) -> bool {
        self.is_for_service()
            || self.entity().is_some()
            || matches!(self.kind, CANCELED | ASSIGNED | POLLED | ROLLOUT_STOPPED)
    }

    /// hawkBit's simple name of the class of what an event with an entity's id is about.
    pub fn entity(&self) -> Option<&'static str> {
        Some(match self.kind {
            TARGET_DELETED | ATTRIBUTES_REQUESTED => "JpaTarget",
            ACTION_CREATED | ACTION_UPDATED => "JpaAction",
            ROLLOUT_GROUP_CREATED | ROLLOUT_GROUP_UPDATED => "JpaRolloutGroup",
            SETTING_CREATED | SETTING_UPDATED | SETTING_DELETED => "JpaTenantConfiguration",
            kind => match plain_of(kind)?.0 {
                Entity::Target => "JpaTarget",
                Entity::TargetTag => "JpaTargetTag",
                Entity::TargetType => "JpaTargetType",
                Entity::TargetFilter => "JpaTargetFilterQuery",
                Entity::DistributionSet => "JpaDistributionSet",
                Entity::DistributionSetTag => "JpaDistributionSetTag",
                Entity::DistributionSetType => "JpaDistributionSetType",
                Entity::SoftwareModule => "JpaSoftwareModule",
                Entity::SoftwareModuleType => "JpaSoftwareModuleType",
                Entity::Rollout => "JpaRollout",
                Entity::RolloutGroup => "JpaRolloutGroup",
            },
        })
    }
}

/// What is told by a type that has nothing but an id.
pub(super) fn plain_of(kind: u32) -> Option<(Entity, Change)> {
    PLAIN.into_iter().find(|(plain, ..)| *plain == kind).map(|(_, entity, change)| (entity, change))
}

/// The type that tells this by an id alone.
pub(super) fn plain(entity: Entity, change: Change) -> Option<u32> {
    PLAIN.into_iter().find(|(_, of, what)| (*of, *what) == (entity, change)).map(|(kind, ..)| kind)
}

/// Jackson writes the number of a type as a text.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Type {
        Text(String),
        Number(u32),
    }
    match Type::deserialize(deserializer)? {
        Type::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Type::Number(number) => Ok(number),
    }
}
