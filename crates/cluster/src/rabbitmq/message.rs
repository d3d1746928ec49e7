//! What goes over the broker: rows of the outbox as messages, and Kettle's own events back from theirs.
//!
//! Every message names its node, in the header `kettle-node`, and has an id that is the same when it is sent again. The
//! bodies of announcements are hawkBit's; see [`crate::announcements`].

use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use uuid::Uuid;

use super::{Channels, topology::KETTLE};
use crate::{
    Event, Gossip,
    announcements::{self, Announcement, Payload},
    outbox::Row,
};

/// Who published it.
const NODE: &str = "kettle-node";
/// The outbox row that it is of.
const ROW: &str = "kettle-row";
/// When that was written, in epoch milliseconds by the database's clock.
const AT: &str = "kettle-at";
const TOPIC: &str = "kettle-topic";
/// What hawkBit's binder writes to all messages.
const TARGET_PROTOCOL: (&str, &str) = ("target-protocol", "amqp");
const GOSSIP_KEY: &str = "kettleEventChannel.gossip";
const SERVICE_KEY: &str = "kettleEventChannel.service";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf; proto=kettle.Event";
/// Survives a restart of the broker, where its queue does.
const PERSISTENT: u8 = 2;
/// Message ids are made of this, the node, the row and the number of the message of that row.
const IDS: Uuid = Uuid::from_u128(0x6f1c_6a1e_54d7_4b0d_9a53_1d0d_0b0c_7e21);
/// Bodies above this are not sent: brokers refuse them, and end the channel.
const MOST: usize = 16 << 20;

/// A message as it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub exchange: ShortString,
    pub routing_key: ShortString,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

/// How messages are written here.
#[derive(Clone, Debug)]
pub struct Writer {
    pub channels: Option<Channels>,
    pub payload: Payload,
}

impl Writer {
    /// The messages of a row of `node`: none, if it can't be told.
    pub fn row(&self, node: &str, row: &Row) -> Vec<Outgoing> {
        let made = if row.is_announcement() { self.announcement(node, row) } else { self.event(node, row) };
        let mut messages = made.unwrap_or_else(|error| {
            tracing::error!(outbox.id = row.id, %error, "an event can't be written to a message; it is passed over");
            Vec::new()
        });
        messages.retain(|message| {
            let fits = message.body.len() <= MOST;
            if !fits {
                tracing::warn!(outbox.id = row.id, bytes = message.body.len(), "an event is too big for the broker");
            }
            fits
        });
        messages
    }

    fn announcement(&self, node: &str, row: &Row) -> serde_json::Result<Vec<Outgoing>> {
        let Some(channels) = &self.channels else { return Ok(Vec::new()) };
        let announcement: Announcement = serde_json::from_str(&row.payload)?;
        let id = |n| message_id(node, row.id, n);
        let messages = announcement.messages(id, row.at, self.payload, channels.service.is_some());
        let outgoing = messages.into_iter().filter_map(|message| {
            let exchange = match message.channel {
                announcements::Channel::FanOut => Some(channels.fan_out.as_str()),
                announcements::Channel::Service => channels.service.as_deref(),
            };
            let mut headers = headers(node);
            headers.insert(TARGET_PROTOCOL.0.into(), AMQPValue::LongString(TARGET_PROTOCOL.1.into()));
            let properties = properties(headers, message.content_type, message.id).with_delivery_mode(PERSISTENT);
            exchange.map(|exchange| Outgoing {
                exchange: exchange.into(),
                routing_key: exchange.into(),
                properties,
                body: message.body,
            })
        });
        Ok(outgoing.collect())
    }

    fn event(&self, node: &str, row: &Row) -> serde_json::Result<Vec<Outgoing>> {
        let (content_type, body) = match self.payload {
            Payload::Json => (JSON, row.payload.clone().into_bytes()),
            Payload::Binary => (PROTOBUF, protobuf(&serde_json::from_str(&row.payload)?)),
        };
        let mut headers = headers(node);
        headers.insert(ROW.into(), AMQPValue::LongLongInt(row.id));
        headers.insert(AT.into(), AMQPValue::LongLongInt(row.at));
        let properties = properties(headers, content_type, message_id(node, row.id, 0));
        Ok(vec![Outgoing { exchange: KETTLE.into(), routing_key: KETTLE.into(), properties, body }])
    }
}

/// What a node says in passing.
pub fn of_gossip(gossip: &Gossip) -> Outgoing {
    let mut headers = headers(&gossip.node);
    headers.insert(TOPIC.into(), AMQPValue::LongString(gossip.topic.as_str().into()));
    let properties = BasicProperties::default().with_headers(headers).with_content_type("text/plain".into());
    let body = gossip.text.clone().into_bytes();
    Outgoing { exchange: KETTLE.into(), routing_key: GOSSIP_KEY.into(), properties, body }
}

/// Says that `node` has written service events.
pub fn of_service_events(node: &str) -> Outgoing {
    let properties = BasicProperties::default().with_headers(headers(node));
    Outgoing { exchange: KETTLE.into(), routing_key: SERVICE_KEY.into(), properties, body: Vec::new() }
}

/// The Kettle node that published it, if one did.
pub fn node(delivery: &Delivery) -> Option<String> {
    text(delivery, NODE)
}

/// A message of [`KETTLE`], by another node.
#[derive(Debug)]
pub enum Heard {
    Event { row: Option<i64>, at: Option<i64>, event: Event },
    Gossip { topic: String, text: String },
    ServiceEvents,
}

/// Why a message says nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("its JSON is no event of this version: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its protobuf is no event of this version: {0}")]
    Protobuf(#[from] prost::DecodeError),
    #[error("events of the kind {0:?} are not known here")]
    Kind(String),
    #[error("events of the content type {0:?} can't be read here")]
    ContentType(String),
    #[error("it is gossip without topic or text")]
    Gossip,
}

/// Reads what another Kettle node tells, by its own content type.
pub fn read(delivery: &Delivery) -> Result<Heard, Unreadable> {
    match delivery.routing_key.as_str() {
        GOSSIP_KEY => {
            let topic = text(delivery, TOPIC).ok_or(Unreadable::Gossip)?;
            let text = String::from_utf8(delivery.data.clone()).map_err(|_| Unreadable::Gossip)?;
            Ok(Heard::Gossip { topic, text })
        }
        SERVICE_KEY => Ok(Heard::ServiceEvents),
        _ => {
            let event = read_event(&content_type(delivery), &delivery.data)?;
            Ok(Heard::Event { row: number(delivery, ROW), at: number(delivery, AT), event })
        }
    }
}

pub fn content_type(delivery: &Delivery) -> String {
    delivery.properties.content_type().as_ref().map(ToString::to_string).unwrap_or_default()
}

fn read_event(content_type: &str, body: &[u8]) -> Result<Event, Unreadable> {
    match content_type {
        JSON => Ok(serde_json::from_slice(body)?),
        PROTOBUF => from_protobuf(body),
        other => Err(Unreadable::ContentType(other.to_owned())),
    }
}

fn message_id(node: &str, row: i64, n: usize) -> Uuid {
    Uuid::new_v5(&IDS, format!("{node} {row} {n}").as_bytes())
}

fn headers(node: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(NODE.into(), AMQPValue::LongString(node.into()));
    headers
}

fn properties(headers: FieldTable, content_type: &str, id: Uuid) -> BasicProperties {
    BasicProperties::default()
        .with_headers(headers)
        .with_content_type(content_type.into())
        .with_message_id(id.to_string().into())
}

fn header<'d>(delivery: &'d Delivery, name: &str) -> Option<&'d AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}

fn text(delivery: &Delivery, name: &str) -> Option<String> {
    match header(delivery, name)? {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number(delivery: &Delivery, name: &str) -> Option<i64> {
    match header(delivery, name)? {
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// [`Event`] in protobuf: all kinds in one shape. A kind, once released, keeps its members.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    tenant: String,
    /// ControllerIds, or fields of a search.
    #[prost(string, repeated, tag = "3")]
    names: Vec<String>,
    /// A rollout, or a filter.
    #[prost(int64, optional, tag = "4")]
    id: Option<i64>,
}

fn protobuf(event: &Event) -> Vec<u8> {
    let (names, id) = match event {
        Event::TargetsChanged { controller_ids, .. } => (controller_ids.clone(), None),
        Event::TenantConfigurationChanged { .. } => (Vec::new(), None),
        Event::RolloutChanged { rollout, .. } => (Vec::new(), Some(*rollout)),
        Event::TargetFiltersChanged { filter, .. } => (Vec::new(), *filter),
        Event::TargetSearchesChanged { fields, .. } => (fields.clone(), None),
    };
    let wire = Wire { kind: event.kind().to_owned(), tenant: event.tenant().to_owned(), names, id };
    prost::Message::encode_to_vec(&wire)
}

fn from_protobuf(body: &[u8]) -> Result<Event, Unreadable> {
    let Wire { kind, tenant, names, id } = prost::Message::decode(body)?;
    match (kind.as_str(), id) {
        ("targetsChanged", _) => Ok(Event::TargetsChanged { tenant, controller_ids: names }),
        ("tenantConfigurationChanged", _) => Ok(Event::TenantConfigurationChanged { tenant }),
        ("rolloutChanged", Some(rollout)) => Ok(Event::RolloutChanged { tenant, rollout }),
        ("targetFiltersChanged", filter) => Ok(Event::TargetFiltersChanged { tenant, filter }),
        ("targetSearchesChanged", _) => Ok(Event::TargetSearchesChanged { tenant, fields: names }),
        _ => Err(Unreadable::Kind(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Event> {
        let tenant = || "T".to_owned();
        vec![
            Event::TargetsChanged { tenant: tenant(), controller_ids: vec!["a".into(), "b".into()] },
            Event::TenantConfigurationChanged { tenant: tenant() },
            Event::RolloutChanged { tenant: tenant(), rollout: 7 },
            Event::TargetFiltersChanged { tenant: tenant(), filter: None },
            Event::TargetFiltersChanged { tenant: tenant(), filter: Some(3) },
            Event::TargetSearchesChanged { tenant: tenant(), fields: vec!["tag".into()] },
        ]
    }

    #[test]
    fn every_event_comes_back_in_either_payload() {
        for event in every_kind() {
            let json = serde_json::to_string(&event).unwrap();
            for payload in [Payload::Json, Payload::Binary] {
                let row = Row { id: 1, at: 2, kind: event.kind().into(), payload: json.clone() };
                let [message] = &Writer { channels: None, payload }.row("n", &row)[..] else { panic!("one message") };
                let content_type = message.properties.content_type().clone().unwrap().to_string();
                assert_eq!(read_event(&content_type, &message.body).unwrap(), event);
            }
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let wire = Wire { kind: "rolloutChanged".into(), tenant: "T".into(), names: vec![], id: None };
        let from_the_future = Wire { kind: "moonChanged".into(), ..wire.clone() };
        for (content_type, body) in [
            (JSON, b"{}".to_vec()),
            (JSON, b"{\"kind\":\"moonChanged\",\"tenant\":\"T\"}".to_vec()),
            (JSON, vec![0xff]),
            (PROTOBUF, vec![0xff]),
            (PROTOBUF, prost::Message::encode_to_vec(&wire)),
            (PROTOBUF, prost::Message::encode_to_vec(&from_the_future)),
            ("text/plain", b"{}".to_vec()),
            ("", Vec::new()),
        ] {
            assert!(read_event(content_type, &body).is_err(), "{content_type} {body:?}");
        }
    }

    #[test]
    fn a_message_keeps_its_id_and_no_other_has_it() {
        let id = message_id("n", 1, 0);
        assert_eq!(id, message_id("n", 1, 0));
        for other in [message_id("m", 1, 0), message_id("n", 2, 0), message_id("n", 1, 1), message_id("n", 10, 0)] {
            assert_ne!(id, other);
        }
    }
}
