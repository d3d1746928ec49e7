//! Publishing with confirms: what is published has been taken by the broker, or is an error.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use kettle_cluster::rabbitmq::connection::{Broken, Unreachable, connect, is_open, refused, while_open};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ExchangeKind,
    options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions},
    protocol::AMQPSoftError,
    types::{FieldTable, MAX_SHORT_STRING_LENGTH},
};
use tokio::sync::Mutex;

use crate::settings::Settings;

/// A broker that takes longer to confirm is as good as gone: it may be out of memory or disk.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// How often messages are published when an exchange vanishes in between.
const TRIES: u32 = 3;

/// A message as it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub exchange: String,
    pub routing_key: String,
    /// Where it goes if there is no such exchange; without that it is dropped.
    pub or_queue: Option<String>,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

/// Publishes to one virtual host, over a connection of its own, which is made when it is needed.
pub struct Publisher {
    settings: Arc<Settings>,
    virtual_host: String,
    link: Mutex<Option<Arc<Link>>>,
}

struct Link {
    connection: Connection,
    channel: Channel,
    /// Exchanges that were there when last asked for.
    exchanges: Mutex<HashSet<String>>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the broker did not take a message: {0}")]
    Broken(#[from] Broken),
    #[error("the broker did not confirm messages in {CONFIRM_TIMEOUT:?}")]
    NotConfirmed,
    #[error("the broker refused a message")]
    Refused,
}

impl Publisher {
    pub fn new(settings: Arc<Settings>, virtual_host: &str) -> Publisher {
        Publisher { settings, virtual_host: virtual_host.into(), link: Mutex::default() }
    }

    /// Returns when the broker has all messages. Those to exchanges that do not exist are dropped: nobody can get them,
    /// and a device that comes back asks for what it missed. After an error any of them may have gone out.
    pub async fn publish(&self, messages: &[Outgoing]) -> Result<(), PublishError> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let link = self.link().await?;
            let publishing = tokio::time::timeout(CONFIRM_TIMEOUT, link.publish(messages));
            let error = match publishing.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => PublishError::NotConfirmed,
            };
            self.drop_link(&link).await;
            // The channel ends when one exchange is gone. Then it is looked again which are there.
            let only_channel = link.connection.status().connected() && !matches!(error, PublishError::NotConfirmed);
            if !only_channel || tries == TRIES {
                return Err(error);
            }
            tracing::debug!(%error, "publishing again on a new channel");
        }
    }

    async fn link(&self) -> Result<Arc<Link>, PublishError> {
        let mut slot = self.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| is_open(&link.channel)) {
            return Ok(link.clone());
        }
        let connection = connect(&self.settings.broker, &self.virtual_host, "sending").await?;
        let channel = while_open(&connection, async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        });
        let channel = channel.await?;
        let link = Arc::new(Link { connection, channel, exchanges: Mutex::default() });
        *slot = Some(link.clone());
        Ok(link)
    }

    async fn drop_link(&self, broken: &Arc<Link>) {
        let mut slot = self.link.lock().await;
        if slot.as_ref().is_some_and(|link| Arc::ptr_eq(link, broken)) {
            *slot = None;
        }
    }
}

impl Link {
    async fn publish(&self, messages: &[Outgoing]) -> Result<(), PublishError> {
        let confirmed = while_open(&self.connection, self.try_publish(messages)).await?;
        if confirmed { Ok(()) } else { Err(PublishError::Refused) }
    }

    /// Whether the broker has confirmed all.
    async fn try_publish(&self, messages: &[Outgoing]) -> lapin::Result<bool> {
        let missing = self.missing(messages).await?;
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let (exchange, key) = match (missing.contains(message.exchange.as_str()), &message.or_queue) {
                (false, _) => (message.exchange.as_str(), message.routing_key.as_str()),
                (true, Some(queue)) => ("", queue.as_str()),
                (true, None) => {
                    let exchange = message.exchange.as_str();
                    tracing::warn!(
                        exchange,
                        "a device gave an exchange that does not exist; a message to it is dropped"
                    );
                    continue;
                }
            };
            let (body, properties) = (message.body.as_slice(), message.properties.clone());
            let options = BasicPublishOptions::default();
            let publishing = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
            confirms.push(publishing.await?);
        }
        Ok(try_join_all(confirms).await?.iter().all(Confirmation::is_ack))
    }

    /// The exchanges that do not exist.
    async fn missing<'a>(&self, messages: &'a [Outgoing]) -> lapin::Result<HashSet<&'a str>> {
        let wanted: HashSet<&str> = messages.iter().map(|message| message.exchange.as_str()).collect();
        let mut known = self.exchanges.lock().await;
        let mut missing = HashSet::new();
        for exchange in wanted.into_iter().filter(|exchange| !known.contains(*exchange)).collect::<Vec<_>>() {
            // A longer name is none in AMQP.
            if exchange.len() <= MAX_SHORT_STRING_LENGTH && self.exists(exchange).await? {
                known.insert(exchange.to_owned());
            } else {
                missing.insert(exchange);
            }
        }
        Ok(missing)
    }

    async fn exists(&self, exchange: &str) -> lapin::Result<bool> {
        // A refusal ends the channel.
        let channel = self.connection.create_channel().await?;
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        match channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, FieldTable::default()).await {
            Ok(()) => {
                channel.close(200, "found".into()).await?;
                Ok(true)
            }
            Err(error) if refused(&error, AMQPSoftError::NOTFOUND) => Ok(false),
            // hawkBit publishes without asking; who may not even ask is told so when publishing.
            Err(error) if self.connection.status().connected() => {
                tracing::debug!(exchange, %error, "whether an exchange exists can't be told");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}
