//! A gateway: sends what its things report as fast as the broker takes it, and notes when what comes for them came.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::load::now;
use crate::rabbitmq::RabbitMq;

const EXCHANGE: &str = "bench.ex";
const QUEUE: &str = "bench.q";
const RECEIVER: &str = "dmf_receiver";
const PERSISTENT: u8 = 2;
const WITHIN: Duration = Duration::from_secs(180);

pub struct Gateway {
    connection: Connection,
    channel: Channel,
    inbox: mpsc::UnboundedReceiver<Arrival>,
}

/// A message, and when it came.
pub struct Arrival {
    pub at: Instant,
    delivery: Delivery,
}

impl Arrival {
    pub fn topic(&self) -> String {
        self.header("topic")
    }

    pub fn thing(&self) -> String {
        self.header("thingId")
    }

    pub fn action(&self) -> Result<u64> {
        let body: Value = serde_json::from_slice(&self.delivery.data)?;
        body.get("actionId").and_then(Value::as_u64).with_context(|| format!("a command without an action: {body}"))
    }

    fn header(&self, name: &str) -> String {
        let headers = self.delivery.properties.headers().as_ref();
        match headers.and_then(|headers| headers.inner().get(name)) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            _ => String::new(),
        }
    }
}

impl Gateway {
    pub async fn connect(broker: &RabbitMq) -> Result<Self> {
        let connection = broker.connect().await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default;
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Fanout, durable, none()).await?;
        channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), none()).await?;
        channel.queue_bind(QUEUE.into(), EXCHANGE.into(), "".into(), QueueBindOptions::default(), none()).await?;
        let unconfirmed = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let listening = connection.create_channel().await?;
        let mut consumer = listening.basic_consume(QUEUE.into(), "".into(), unconfirmed, none()).await?;
        let (sender, inbox) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // Held as long as there is somebody to tell.
            let _channel = listening;
            while let Some(Ok(delivery)) = consumer.next().await {
                if sender.send(Arrival { at: now(), delivery }).is_err() {
                    return;
                }
            }
        });
        Ok(Self { connection, channel, inbox })
    }

    /// Waits until the server listens.
    pub async fn until_heard(&self) -> Result<()> {
        let started = now();
        while started.elapsed() < WITHIN {
            // A look at what isn't there ends the channel.
            let channel = self.connection.create_channel().await?;
            if queue(&channel).await.is_ok_and(|(_, consumers)| consumers > 0) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("Kettle doesn't listen on {RECEIVER}")
    }

    /// Sends one message for each thing, without waiting in between.
    pub async fn send(&self, headers: &[(&str, &str)], things: impl Iterator<Item = (String, String)>) -> Result<()> {
        let mut table = FieldTable::default();
        for (name, value) in headers.iter().chain(&[("tenant", "DEFAULT")]) {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        for (thing, body) in things {
            table.insert("thingId".into(), AMQPValue::LongString(thing.into()));
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(PERSISTENT)
                .with_reply_to(EXCHANGE.into())
                .with_headers(table.clone());
            let options = BasicPublishOptions::default();
            self.channel.basic_publish("dmf.exchange".into(), "".into(), options, body.as_bytes(), properties).await?;
        }
        Ok(())
    }

    /// Waits until no message waits to be delivered to the server; some may still be under way in it.
    pub async fn until_taken(&self) -> Result<()> {
        let started = now();
        while queue(&self.channel).await?.0 > 0 {
            ensure!(started.elapsed() < WITHIN, "messages wait in {RECEIVER} after {WITHIN:?}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub async fn next(&mut self) -> Result<Arrival> {
        let next = timeout(WITHIN, self.inbox.recv()).await;
        next.with_context(|| format!("no message came within {WITHIN:?}"))?.context("the broker has gone")
    }

    /// Forgets what comes until so many have come.
    pub async fn skip(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.next().await?;
        }
        Ok(())
    }
}

/// Messages that wait in the server's queue, and its consumers.
async fn queue(channel: &Channel) -> Result<(u32, u32)> {
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    let queue = channel.queue_declare(RECEIVER.into(), passive, FieldTable::default()).await?;
    Ok((queue.message_count(), queue.consumer_count()))
}
