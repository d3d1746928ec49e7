//! What a message from a device means (semantics.md D2, D3, D6): from AMQP headers and bytes to one of a few requests.
//!
//! Pure: no broker, no database. Any bytes give a request or the reason why there is none.

use kettle_rest::json_from_slice;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde::de::DeserializeOwned;

use crate::wire::{ActionUpdateStatus, AttributeUpdate, AutoConfirmation, CreateThing};

pub const TYPE: &str = "type";
pub const TENANT: &str = "tenant";
pub const THING_ID: &str = "thingId";
pub const TOPIC: &str = "topic";

/// A request of a device, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// As it was sent.
    pub tenant: String,
    pub request: Request,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    ThingCreated {
        thing: String,
        reply_to: String,
        body: Option<CreateThing>,
    },
    ThingRemoved {
        thing: String,
    },
    Status {
        thing: Option<String>,
        status: ActionUpdateStatus,
        correlation_id: Option<String>,
    },
    Attributes {
        thing: String,
        update: AttributeUpdate,
    },
    AutoConfirm {
        thing: String,
        wanted: AutoConfirmation,
    },
    /// Without a correlation id there is nothing to answer.
    Ping {
        answer: Option<PingAnswer>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingAnswer {
    pub reply_to: String,
    pub correlation_id: String,
}

/// Why a message can never be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the headers `type` and `tenant` are mandatory")]
    NoTypeOrTenant,
    #[error("`{0}` is no type of a message to the server")]
    UnknownType(String),
    #[error("an EVENT needs the header `topic`")]
    NoTopic,
    #[error("`{0}` is no topic of an event to the server")]
    UnknownTopic(String),
    #[error("the header `thingId` is missing")]
    NoThing,
    #[error("THING_CREATED needs the property `reply_to`: where messages to the thing go")]
    NoReplyTo,
    #[error("the content type must be JSON")]
    NotJson,
    #[error("the body can't be read: {0}")]
    Body(String),
}

impl Request {
    /// What must stay in order: all requests of one thing. Reports that do not name their thing go by their action.
    pub fn order(&self) -> Order<'_> {
        match self {
            Request::ThingCreated { thing, .. }
            | Request::ThingRemoved { thing }
            | Request::Status { thing: Some(thing), .. }
            | Request::Attributes { thing, .. }
            | Request::AutoConfirm { thing, .. } => Order::Thing(thing),
            Request::Status { thing: None, status, .. } => Order::Action(status.action_id),
            Request::Ping { .. } => Order::Any,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order<'a> {
    Thing(&'a str),
    Action(i64),
    Any,
}

pub fn decode(properties: &BasicProperties, body: &[u8]) -> Result<Incoming, Unreadable> {
    let header = |name| header(properties, name);
    let (Some(kind), Some(tenant)) = (header(TYPE), header(TENANT)) else { return Err(Unreadable::NoTypeOrTenant) };
    let thing = || header(THING_ID).ok_or(Unreadable::NoThing);
    let correlation_id = || text(properties.correlation_id()).filter(|id| !id.is_empty());
    let request = match kind.as_str() {
        "THING_CREATED" => {
            let thing = thing()?;
            let reply_to = text(properties.reply_to()).filter(|to| !to.is_empty()).ok_or(Unreadable::NoReplyTo)?;
            // An empty text is what some senders make of no body at all.
            let body = match body {
                b"" | b"\"\"" => None,
                body => Some(json(properties, body)?),
            };
            Request::ThingCreated { thing, reply_to, body }
        }
        "THING_REMOVED" => Request::ThingRemoved { thing: thing()? },
        "EVENT" => {
            is_json(properties)?;
            match header(TOPIC).ok_or(Unreadable::NoTopic)?.as_str() {
                "UPDATE_ACTION_STATUS" => Request::Status {
                    thing: header(THING_ID),
                    status: json(properties, body)?,
                    correlation_id: correlation_id(),
                },
                "UPDATE_ATTRIBUTES" => Request::Attributes { update: json(properties, body)?, thing: thing()? },
                "UPDATE_AUTO_CONFIRM" => Request::AutoConfirm { wanted: json(properties, body)?, thing: thing()? },
                other => return Err(Unreadable::UnknownTopic(other.to_owned())),
            }
        }
        "PING" => {
            let reply_to = text(properties.reply_to());
            let answer = reply_to.zip(correlation_id());
            Request::Ping { answer: answer.map(|(reply_to, correlation_id)| PingAnswer { reply_to, correlation_id }) }
        }
        other => return Err(Unreadable::UnknownType(other.to_owned())),
    };
    Ok(Incoming { tenant, request })
}

fn is_json(properties: &BasicProperties) -> Result<(), Unreadable> {
    let of_json = text(properties.content_type()).is_some_and(|kind| kind.contains("json"));
    if of_json { Ok(()) } else { Err(Unreadable::NotJson) }
}

fn json<T: DeserializeOwned>(properties: &BasicProperties, body: &[u8]) -> Result<T, Unreadable> {
    is_json(properties)?;
    json_from_slice(body).map_err(Unreadable::Body)
}

/// A header as text, whatever type its sender gave it; an empty one is as an absent one.
fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    let value = properties.headers().as_ref().map(FieldTable::inner)?.get(name)?;
    let text = match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok()?,
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::ByteArray(bytes) => String::from_utf8(bytes.as_slice().to_vec()).ok()?,
        AMQPValue::Boolean(flag) => flag.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Timestamp(number) => number.to_string(),
        AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn text(value: &Option<lapin::types::ShortString>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}
