//! What an announcement of another node means here: see the table at the head of the parent module.

use uuid::Uuid;

use super::{
    Change, Entity, json,
    remote_event::{
        ACTION_CREATED, ACTION_UPDATED, ASSIGNED, ATTRIBUTES_REQUESTED, CANCELED, ROLLOUT_GROUP_CREATED,
        ROLLOUT_GROUP_UPDATED, ROLLOUT_STOPPED, RemoteEvent, SETTING_CREATED, SETTING_DELETED, SETTING_UPDATED,
        TARGET_DELETED, plain_of,
    },
};
use crate::{Event, ServiceEvent};

/// What was heard. All is empty for an event of a type that this node does not know, or that means nothing to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The message's, the same when it is delivered again.
    pub id: Uuid,
    pub tenant: String,
    /// For this node.
    pub events: Vec<Event>,
    /// Ids of targets of `tenant` that have changed, of which the event does not tell the controllerIds.
    pub targets: Vec<i64>,
    /// For one node that serves DMF.
    pub service: Option<ServiceEvent>,
}

/// A message that is no announcement.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("events of the content type {0:?} can't be read; have their sender use application/remote-event-json")]
    ContentType(String),
    #[error("the event is no JSON of an event: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the event is no protobuf of an event: {0}")]
    Binary(#[from] prost::DecodeError),
    #[error("the event of type {kind} lacks the member {member}")]
    Lacking { kind: u32, member: &'static str },
}

/// Reads a message of a hawkBit or Kettle node, from either channel.
pub fn read(content_type: &str, body: &[u8]) -> Result<Heard, Unreadable> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let event = if media_type.eq_ignore_ascii_case("application/remote-event-json") {
        json::read(body)?
    } else if media_type.eq_ignore_ascii_case("application/x-protobuf") {
        Some(<RemoteEvent as prost::Message>::decode(body)?).filter(RemoteEvent::is_known)
    } else {
        return Err(Unreadable::ContentType(content_type.to_owned()));
    };
    let Some(event) = event else { return Ok(Heard::default()) };
    let id = event.id.parse().map_err(|_| event.lacks("id"))?;
    if event.is_for_service() {
        let of = event.remote_event.as_deref().ok_or_else(|| event.lacks("remoteEvent"))?;
        return Ok(Heard {
            id,
            tenant: of.require_tenant()?.to_owned(),
            service: of.service_event()?,
            ..Heard::default()
        });
    }
    let tenant = event.require_tenant()?.to_owned();
    let (events, targets) = event.meaning(&tenant)?;
    Ok(Heard { id, tenant, events, targets, service: None })
}

impl RemoteEvent {
    fn lacks(&self, member: &'static str) -> Unreadable {
        Unreadable::Lacking { kind: self.kind, member }
    }

    fn require_tenant(&self) -> Result<&str, Unreadable> {
        if self.tenant.is_empty() { Err(self.lacks("tenant")) } else { Ok(&self.tenant) }
    }

    fn require_entity_id(&self) -> Result<i64, Unreadable> {
        self.entity_id.ok_or_else(|| self.lacks("entityId"))
    }

    fn require_controller_id(&self) -> Result<&str, Unreadable> {
        self.controller_id.as_deref().ok_or_else(|| self.lacks("controllerId"))
    }

    /// What this node has to hear of, and the ids of targets that have changed.
    fn meaning(&self, tenant: &str) -> Result<(Vec<Event>, Vec<i64>), Unreadable> {
        let tenant = || tenant.to_owned();
        let targets_changed = |controller_ids| Event::TargetsChanged { tenant: tenant(), controller_ids };
        let rollout_changed = |rollout: &i64| Event::RolloutChanged { tenant: tenant(), rollout: *rollout };
        let searches_changed = |fields: &[&str]| Event::TargetSearchesChanged {
            tenant: tenant(),
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
        };
        let none = Vec::new;
        Ok(match self.kind {
            TARGET_DELETED | ATTRIBUTES_REQUESTED => {
                (vec![targets_changed(vec![self.require_controller_id()?.into()])], none())
            }
            CANCELED | ASSIGNED => {
                let names = self.actions.iter().map(|action| action.controller_id.clone()).collect();
                (vec![targets_changed(names)], none())
            }
            ACTION_CREATED => (Vec::new(), self.target_id.into_iter().collect()),
            ACTION_UPDATED => {
                (self.rollout_id.iter().map(rollout_changed).collect(), self.target_id.into_iter().collect())
            }
            ROLLOUT_GROUP_CREATED | ROLLOUT_GROUP_UPDATED | ROLLOUT_STOPPED => {
                (self.rollout_id.iter().map(rollout_changed).collect(), none())
            }
            SETTING_CREATED | SETTING_UPDATED | SETTING_DELETED => {
                (vec![Event::TenantConfigurationChanged { tenant: tenant() }], none())
            }
            kind => match plain_of(kind) {
                Some((Entity::Target, _)) => (Vec::new(), vec![self.require_entity_id()?]),
                Some((Entity::TargetTag, Change::Updated | Change::Deleted)) => {
                    (vec![Event::TenantConfigurationChanged { tenant: tenant() }, searches_changed(&["tag"])], none())
                }
                Some((Entity::TargetType, Change::Updated)) => {
                    (vec![searches_changed(&["type", "targettype"])], none())
                }
                Some((Entity::TargetType, Change::Deleted)) => (vec![searches_changed(&[])], none()),
                Some((Entity::DistributionSet, Change::Updated)) => {
                    (vec![searches_changed(&["assignedds", "installedds"])], none())
                }
                Some((Entity::TargetFilter, change)) => {
                    let filter = Some(self.require_entity_id()?).filter(|_| change != Change::Deleted);
                    (vec![Event::TargetFiltersChanged { tenant: tenant(), filter }], none())
                }
                Some((Entity::Rollout, Change::Created | Change::Updated)) => {
                    (vec![rollout_changed(&self.require_entity_id()?)], none())
                }
                _ => (Vec::new(), none()),
            },
        })
    }

    /// What gateways are to be told because of it.
    fn service_event(&self) -> Result<Option<ServiceEvent>, Unreadable> {
        let tenant = self.require_tenant()?.to_owned();
        let actions = || self.actions.iter().map(|action| (action.id, action.controller_id.clone())).collect();
        Ok(match self.kind {
            ASSIGNED => {
                let set = self.distribution_set_id.ok_or_else(|| self.lacks("distributionSetId"))?;
                Some(ServiceEvent::Assigned { tenant, set, actions: actions() })
            }
            CANCELED => Some(ServiceEvent::Canceled { tenant, actions: actions() }),
            TARGET_DELETED => {
                let controller_id = self.require_controller_id()?.to_owned();
                self.gateway().map(|address| ServiceEvent::TargetDeleted { tenant, controller_id, address })
            }
            ATTRIBUTES_REQUESTED => {
                let controller_id = self.require_controller_id()?.to_owned();
                self.gateway().map(|address| ServiceEvent::AttributesRequested {
                    tenant,
                    targets: vec![(controller_id, address)],
                })
            }
            _ => None,
        })
    }

    /// The address of a target that a gateway speaks for.
    fn gateway(&self) -> Option<String> {
        self.target_address.clone().filter(|address| address.starts_with("amqp:"))
    }
}
