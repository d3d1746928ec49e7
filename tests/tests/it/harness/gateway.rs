//! A gateway: what speaks AMQP to the server for its things, with an exchange and a queue of its own for the answers.

use std::time::Duration;

use futures_util::{StreamExt as _, future::join_all};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind, options::*, types::*};
use serde_json::{Map, Value, json};

use super::{VirtualHost, eventually};

pub const RECEIVER: &str = "dmf_receiver";
pub const DEAD_LETTERS: &str = "dmf_connector_deadletter_ttl";
/// Longer than the longest pause between a server's attempts to reach its broker.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing more is expected after this much silence.
const QUIET: Duration = Duration::from_millis(700);

/// One that came, or is to be sent.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub exchange: String,
    pub routing_key: String,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

impl Message {
    /// With headers that are all strings, as connectors write them; a body makes it JSON.
    pub fn new(headers: Value, body: Option<Value>) -> Self {
        let table = table(&headers);
        let mut properties = BasicProperties::default().with_headers(table).with_delivery_mode(2);
        if body.is_some() {
            properties = properties.with_content_type("application/json".into());
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        Self { exchange: "dmf.exchange".to_owned(), routing_key: String::new(), properties, body }
    }

    pub fn correlated(mut self, id: &str) -> Self {
        self.properties = self.properties.with_correlation_id(id.into());
        self
    }

    /// The headers that are strings or numbers.
    pub fn headers(&self) -> Value {
        let headers = self.properties.headers().iter().flatten();
        let plain = headers.filter_map(|(name, value)| {
            let value = match value {
                AMQPValue::LongString(text) => json!(text.to_string()),
                AMQPValue::ShortString(text) => json!(text.as_str()),
                AMQPValue::LongInt(number) => json!(number),
                AMQPValue::LongLongInt(number) => json!(number),
                AMQPValue::Boolean(flag) => json!(flag),
                _ => return None,
            };
            Some((name.to_string(), value))
        });
        Value::Object(plain.collect::<Map<_, _>>())
    }

    pub fn header(&self, name: &str) -> String {
        self.headers()[name].as_str().unwrap_or_default().to_owned()
    }

    /// `null` without a body.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn correlation_id(&self) -> String {
        self.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub fn content_type(&self) -> String {
        self.properties.content_type().as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub fn of(delivery: lapin::message::Delivery) -> Self {
        Self {
            exchange: delivery.exchange.to_string(),
            routing_key: delivery.routing_key.to_string(),
            properties: delivery.properties,
            body: delivery.data,
        }
    }
}

pub fn table(headers: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers.as_object().unwrap() {
        let text = value.as_str().expect("headers are strings here");
        table.insert(name.as_str().into(), AMQPValue::LongString(text.into()));
    }
    table
}

pub struct Gateway<'h> {
    pub host: &'h VirtualHost<'h>,
    pub tenant: String,
    exchange: String,
    channel: Channel,
    inbox: Consumer,
    connection: Connection,
}

impl<'h> Gateway<'h> {
    /// Its exchange and queue are durable: what was sent to them waits while it, or the broker, is away.
    pub async fn connect(host: &'h VirtualHost<'h>, exchange: &str) -> Self {
        let connection = Connection::connect(&host.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default;
        channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, durable, none()).await.unwrap();
        let queue: ShortString = format!("{exchange}.q").as_str().into();
        channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), none()).await.unwrap();
        let bind = QueueBindOptions::default();
        channel.queue_bind(queue.clone(), exchange.into(), "".into(), bind, none()).await.unwrap();
        let inbox = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), none()).await.unwrap();
        Self { host, tenant: "DEFAULT".to_owned(), exchange: exchange.to_owned(), channel, inbox, connection }
    }

    pub fn of_tenant(mut self, tenant: &str) -> Self {
        self.tenant = tenant.to_owned();
        self
    }

    /// Goes away without a word; what it did not read waits.
    pub async fn leave(self) {
        self.connection.close(200, "bye".into()).await.unwrap();
    }

    /// Waits until a server listens, so that nothing is lost for want of a queue.
    pub async fn until_heard(&self) {
        eventually(PATIENCE, "a server listens", async || (self.host.consumers(RECEIVER) > 0).then_some(())).await;
    }

    /// Waits until the servers are done with all that was sent: nothing waits and nothing is under way.
    pub async fn until_done(&self) {
        self.until_done_within(PATIENCE).await;
    }

    pub async fn until_done_within(&self, within: Duration) {
        eventually(within, "the servers are done", async || (self.host.depth(RECEIVER) == Some(0)).then_some(())).await;
    }

    /// Sends as it is, apart from the exchange for the answers; done when the broker has it.
    pub async fn publish(&self, message: &Message) {
        self.publish_all(std::slice::from_ref(message)).await;
    }

    /// One after the other, without waiting in between; done when the broker has them all.
    pub async fn publish_all(&self, messages: &[Message]) {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            let mut properties = message.properties.clone();
            if properties.reply_to().is_none() {
                properties = properties.with_reply_to(self.exchange.as_str().into());
            }
            let (exchange, key) = (message.exchange.as_str().into(), message.routing_key.as_str().into());
            let options = BasicPublishOptions::default();
            sent.push(self.channel.basic_publish(exchange, key, options, &message.body, properties).await.unwrap());
        }
        for confirmed in join_all(sent).await {
            assert!(confirmed.unwrap().is_ack(), "the broker refused a message");
        }
    }

    /// The headers are filled up with the tenant.
    pub fn message(&self, mut headers: Value, body: Option<Value>) -> Message {
        headers["tenant"] = json!(self.tenant);
        Message::new(headers, body)
    }

    pub fn thing_created(&self, thing: &str) -> Message {
        self.message(json!({"type": "THING_CREATED", "thingId": thing, "sender": "tests"}), None)
    }

    pub fn event(&self, topic: &str, thing: &str, body: Value) -> Message {
        self.message(json!({"type": "EVENT", "topic": topic, "thingId": thing}), Some(body))
    }

    pub fn attributes(&self, thing: &str, attributes: Value) -> Message {
        self.event("UPDATE_ATTRIBUTES", thing, json!({"attributes": attributes}))
    }

    pub fn status(&self, thing: &str, action: i64, status: &str) -> Message {
        let body = json!({"actionId": action, "actionStatus": status, "message": [status.to_lowercase()]});
        self.event("UPDATE_ACTION_STATUS", thing, body)
    }

    /// Sends it and waits until a server is done with it.
    pub async fn tell(&self, message: Message) {
        self.publish(&message).await;
        self.until_done().await;
    }

    /// Registers things and waits for it.
    pub async fn register(&self, things: &[&str]) {
        let messages: Vec<Message> = things.iter().map(|thing| self.thing_created(thing)).collect();
        self.publish_all(&messages).await;
        self.until_done().await;
    }

    /// The next that comes.
    pub async fn next(&mut self) -> Message {
        self.next_or("no message came").await
    }

    /// The next that comes; without one it panics, saying this.
    pub async fn next_or(&mut self, complaint: &str) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.inbox.next()).await;
        let next = next.unwrap_or_else(|_| panic!("within {PATIENCE:?} {complaint}"));
        let delivery = next.expect("the queue is there").unwrap();
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        Message::of(delivery)
    }

    /// The next, which is of a topic and for a thing.
    #[track_caller]
    pub fn expect(&mut self, topic: &str, thing: &str) -> impl Future<Output = Message> {
        let expected = (topic.to_owned(), thing.to_owned());
        async move {
            let message = self.next().await;
            let headers = message.headers();
            let found = (message.header("topic"), message.header("thingId"));
            assert_eq!(found, expected, "{headers} {}", String::from_utf8_lossy(&message.body));
            message
        }
    }

    /// All that come until it is quiet.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Ok(next) = tokio::time::timeout(QUIET, self.inbox.next()).await {
            let delivery = next.expect("the queue is there").unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            all.push(Message::of(delivery));
        }
        all
    }

    pub async fn expect_silence(&mut self) {
        let rest: Vec<Value> = self.rest().await.iter().map(Message::headers).collect();
        assert_eq!(rest, Vec::<Value>::new());
    }

    /// Takes the next dead letter, waiting for it.
    pub async fn dead_letter(&self) -> Message {
        eventually(PATIENCE, "a dead letter", async || self.take(DEAD_LETTERS).await).await
    }

    /// Takes a message out of any queue, if there is one.
    pub async fn take(&self, queue: &str) -> Option<Message> {
        let found = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
        found.map(|message| Message::of(message.delivery))
    }

    /// Another channel on its connection, for what may break it.
    pub async fn channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }
}
