//! Events over the broker (`kettle_cluster::rabbitmq`): what nodes tell each other and hawkBit nodes, what they hear, and what
//! of it survives the broker and the nodes.

mod heard;
mod servers;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use kettle_cluster::{
    Clock, Event, Events, Fact, JobContext, Jobs, Origin, Tx,
    announcements::{Change, Entity, Payload},
    rabbitmq::{Address, Broker as Connecting, Channels, Password, Settings, Transport},
};
use kettle_db::Db;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind, options::*,
    types::FieldTable,
};
use serde_json::{Value, json};

use crate::harness::{Message, VirtualHost, eventually};

/// An event's way over the broker, or a message's.
const TRAVEL: Duration = Duration::from_secs(10);
/// A node finds a broker that is back.
const PATIENCE: Duration = Duration::from_secs(60);
const FAN_OUT: &str = "fanoutEventChannel";
const SERVICE: &str = "serviceEventChannel";
const KETTLE: &str = "kettleEventChannel";

/// A node without its APIs: its end of the event channel, and what it was told.
struct Node {
    db: Db,
    events: Events,
    clock: Clock,
    transport: Transport,
    heard: Arc<Mutex<Vec<(Event, Origin)>>>,
    gaps: Arc<Mutex<usize>>,
}

impl Node {
    async fn start(db: &Db, name: &str, host: &VirtualHost<'_>) -> Node {
        Node::with(db, name, settings(host)).await
    }

    async fn with(db: &Db, name: &str, settings: Settings) -> Node {
        let (events, clock) = (Events::new(name.into()), Clock::system());
        let (heard, gaps) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (hears, loses) = (heard.clone(), gaps.clone());
        events.listen(
            move |event, origin| hears.lock().unwrap().push((event.clone(), origin)),
            move || *loses.lock().unwrap() += 1,
        );
        let transport = Transport::start(db, &events, &clock, settings).await.unwrap();
        Node { db: db.clone(), events, clock, transport, heard, gaps }
    }

    /// The same, once it is connected.
    async fn connected(db: &Db, name: &str, host: &VirtualHost<'_>) -> Node {
        let node = Node::start(db, name, host).await;
        node.until_connected().await;
        node
    }

    async fn until_connected(&self) {
        eventually(PATIENCE, "the node is connected", async || self.events.broker().unwrap().ok()).await;
    }

    async fn until_told(&self) {
        eventually(PATIENCE, "all is told", async || self.events.untold_since().is_none().then_some(())).await;
    }

    async fn begin(&self) -> Tx {
        Tx::begin(&self.db, &self.events, &self.clock).await.unwrap()
    }

    async fn tell(&self, event: &Event) {
        let mut tx = self.begin().await;
        tx.emit(event.clone());
        tx.commit().await.unwrap();
    }

    /// Announces that targets with these ids were updated, in one transaction.
    async fn announce(&self, ids: &[i64]) {
        let tx = self.begin().await;
        tx.announce("T", updated(ids));
        tx.commit().await.unwrap();
    }

    fn heard(&self) -> Vec<(Event, Origin)> {
        self.heard.lock().unwrap().clone()
    }

    fn gaps(&self) -> usize {
        *self.gaps.lock().unwrap()
    }

    async fn hears(&self, event: &Event) {
        let wanted = (event.clone(), Origin::Elsewhere);
        eventually(TRAVEL, "the event arrives", async || self.heard().contains(&wanted).then_some(())).await;
    }

    fn context(&self) -> JobContext {
        JobContext { events: self.events.clone(), ..alone(&self.db) }
    }

    /// With what it does for nodes that are gone.
    fn jobs(&self) -> Jobs {
        Jobs::start(self.context(), vec![self.transport.job()])
    }
}

fn alone(db: &Db) -> JobContext {
    let lease_time = Duration::from_secs(1);
    JobContext { db: db.clone(), events: Events::new("alone".to_owned()), clock: Clock::system(), lease_time }
}

fn settings(host: &VirtualHost<'_>) -> Settings {
    Settings {
        broker: Connecting {
            addresses: vec![Address { host: "127.0.0.1".to_owned(), port: host.broker.port }],
            username: "guest".to_owned(),
            password: Password("guest".to_owned()),
            virtual_host: host.name.clone(),
            heartbeat: 10,
            connection_timeout: Duration::from_secs(10),
            tls: None,
        },
        channels: Some(Channels { fan_out: FAN_OUT.to_owned(), service: Some(SERVICE.to_owned()) }),
        payload: Payload::Json,
        serves_dmf: false,
    }
}

fn changed(controller_ids: &[&str]) -> Event {
    let controller_ids = controller_ids.iter().map(|id| (*id).to_owned()).collect();
    Event::TargetsChanged { tenant: "T".to_owned(), controller_ids }
}

fn updated(ids: &[i64]) -> Fact {
    Fact::Entities { entity: Entity::Target, change: Change::Updated, ids: ids.to_vec() }
}

/// Another server on hawkBit's channels: it hears what is told there, and tells what a test has it tell.
struct Peer {
    channel: Channel,
    inbox: Consumer,
    /// Of the messages that came: how often, by exchange and what they say.
    came: BTreeMap<(String, String), Vec<String>>,
    _connection: Connection,
}

impl Peer {
    /// What is published while it, or the broker, is away waits in its queue.
    async fn connect(host: &VirtualHost<'_>) -> Peer {
        let connection = Connection::connect(&host.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let none = FieldTable::default;
        channel.queue_declare("peer".into(), QueueDeclareOptions::durable(), none()).await.unwrap();
        for exchange in [FAN_OUT, SERVICE, KETTLE] {
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none()).await.unwrap();
            if exchange != KETTLE {
                let bind = QueueBindOptions::default();
                channel.queue_bind("peer".into(), exchange.into(), "#".into(), bind, none()).await.unwrap();
            }
        }
        let own = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let inbox = channel.basic_consume("peer".into(), "".into(), own, none()).await.unwrap();
        Peer { channel, inbox, came: BTreeMap::new(), _connection: connection }
    }

    async fn tell(&self, exchange: &str, body: &Value) {
        self.tell_bytes(exchange, "application/remote-event-json", body.to_string().as_bytes()).await;
    }

    async fn tell_bytes(&self, exchange: &str, content_type: &str, body: &[u8]) {
        let properties = BasicProperties::default()
            .with_content_type(content_type.into())
            .with_headers(crate::harness::table(&json!({"target-protocol": "amqp"})));
        self.publish(exchange, properties, body).await;
    }

    async fn publish(&self, exchange: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(exchange.into(), exchange.into(), options, body, properties).await;
        assert!(matches!(sent.unwrap().await.unwrap(), Confirmation::Ack(_)));
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.inbox.next()).await.expect("a message");
        Message::of(next.expect("a connection").unwrap())
    }

    async fn hears_updates(&mut self, ids: impl Iterator<Item = i64>) {
        self.hears("2", ids).await;
    }

    /// Takes what is there, until the event of this type about each of these entities has come; each has one message id,
    /// however often.
    async fn hears(&mut self, kind: &str, ids: impl Iterator<Item = i64>) {
        let wanted: BTreeSet<_> = ids.map(|id| (FAN_OUT.to_owned(), format!("{kind} {id}"))).collect();
        let mut missing = wanted.clone();
        missing.retain(|what| !self.came.contains_key(what));
        while !missing.is_empty() {
            let message = self.next().await;
            missing.remove(&self.note(&message));
        }
        while let Some(Some(Ok(delivery))) = self.inbox.next().now_or_never() {
            self.note(&Message::of(delivery));
        }
        for what in wanted {
            let message_ids = &self.came[&what];
            assert!(message_ids.iter().all(|id| *id == message_ids[0]), "{what:?}: {message_ids:?}");
        }
    }

    fn note(&mut self, message: &Message) -> (String, String) {
        let body = message.json();
        let of = body.get("remoteEvent").unwrap_or(&body);
        let what = format!("{} {}", body["type"].as_str().unwrap(), of["entityId"]);
        assert_eq!(message.content_type(), "application/remote-event-json");
        assert_eq!(message.header("target-protocol"), "amqp");
        assert_eq!(message.routing_key, message.exchange);
        let id = body["id"].as_str().unwrap().to_owned();
        assert_eq!(message.properties.message_id().as_ref().unwrap().as_str(), id);
        let what = (message.exchange.clone(), what);
        self.came.entry(what.clone()).or_default().push(id);
        what
    }

    /// How many messages came twice.
    fn repeats(&self) -> usize {
        self.came.values().map(|ids| ids.len() - 1).sum()
    }
}
