//! Messages that can never be carried out go to the dead letters, with the reason, and are acknowledged then.

use std::sync::Arc;

use lapin::{
    BasicProperties,
    message::Delivery,
    options::BasicAckOptions,
    types::{AMQPValue, ShortString},
};
use tokio::sync::{mpsc, watch};

use crate::{
    metrics,
    publish::{Outgoing, Publisher},
    settings::Queues,
};

/// The headers that Spring's recoverer of messages uses, so that tools for dead letters know them.
const REASON: &str = "x-exception-message";
const ORIGINAL_EXCHANGE: &str = "x-original-exchange";
const ORIGINAL_ROUTING_KEY: &str = "x-original-routingKey";
const PERSISTENT: u8 = 2;
const LONGEST_REASON: usize = 1000;
const BATCH: usize = 128;

/// A message that is refused; `reason` is counted, `message` is for people.
pub struct Refusal {
    pub delivery: Delivery,
    pub reason: &'static str,
    pub message: String,
}

pub struct Refuser {
    publisher: Arc<Publisher>,
    exchange: String,
}

impl Refuser {
    pub fn new(publisher: Arc<Publisher>, queues: &Queues) -> Refuser {
        Refuser { publisher, exchange: queues.dead_letter_exchange.clone() }
    }

    /// Until nobody refuses any more, or the session is over: then the broker delivers again what is not acknowledged.
    pub async fn run(self, mut refusals: mpsc::Receiver<Refusal>, session: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        while refusals.recv_many(&mut batch, BATCH).await > 0 {
            if *session.borrow() {
                return;
            }
            let letters: Vec<Outgoing> = batch.iter().map(|refusal| self.letter(refusal)).collect();
            if let Err(error) = self.publisher.publish(&letters).await {
                tracing::warn!(%error, count = letters.len(), "refused messages could not be put to the dead letters");
                return;
            }
            for Refusal { delivery, reason, message } in batch.drain(..) {
                metrics::refused(reason);
                tracing::warn!(reason, "a message was refused: {message}");
                if delivery.acker.ack(BasicAckOptions::default()).await.is_err() {
                    return;
                }
            }
        }
    }

    fn letter(&self, refusal: &Refusal) -> Outgoing {
        let Refusal { delivery, message, .. } = refusal;
        Outgoing {
            exchange: self.exchange.clone(),
            routing_key: delivery.routing_key.to_string(),
            or_queue: None,
            properties: properties(&delivery.properties, message, &delivery.exchange, &delivery.routing_key),
            body: delivery.data.clone(),
        }
    }
}

/// All that the sender wrote, and why it was refused. Without the sender's time to live: dead letters have their own.
fn properties(
    original: &BasicProperties,
    why: &str,
    exchange: &ShortString,
    routing_key: &ShortString,
) -> BasicProperties {
    let mut headers = original.headers().clone().unwrap_or_default();
    let why: String = why.chars().take(LONGEST_REASON).collect();
    headers.insert(REASON.into(), AMQPValue::LongString(why.into()));
    headers.insert(ORIGINAL_EXCHANGE.into(), AMQPValue::LongString(exchange.as_str().into()));
    headers.insert(ORIGINAL_ROUTING_KEY.into(), AMQPValue::LongString(routing_key.as_str().into()));
    let kept = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    type Put = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, Put); 7] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.correlation_id(), BasicProperties::with_correlation_id),
        (original.reply_to(), BasicProperties::with_reply_to),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
    ];
    texts.into_iter().fold(kept, |kept, (text, put)| text.clone().map_or(kept.clone(), |text| put(kept, text)))
}
