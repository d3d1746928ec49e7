//! What events need on the broker, as Spring Cloud Stream makes it, so that neither server refuses what the other made:
//! durable topic exchanges, for each node a queue that goes with it, and for DMF one that stays.
//!
//! Of hawkBit's groups of service events only `dmf-server` is declared: the other two, `mgmt-server` and `ddi-server`, have
//! nothing to do in Kettle, and a queue that nobody reads would only fill up.

use lapin::{
    Channel, Connection, Consumer, ExchangeKind,
    options::{BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use uuid::Uuid;

use super::Channels;

/// Kettle's own events: hawkBit nodes would not know their types.
pub const KETTLE: &str = "kettleEventChannel";
/// Of every exchange, all messages.
const EVERYTHING: &str = "#";
/// The group of those that serve DMF.
const DMF_GROUP: &str = "dmf-server";
/// How many messages a consumer takes that it has not acknowledged.
pub const PREFETCH: u16 = 1_000;

/// Declares the exchanges. What the broker refuses is logged and passed over: it is there then, in another form.
pub async fn exchanges(connection: &Connection, channels: Option<&Channels>) -> lapin::Result<()> {
    let peers = channels.map(|of| [Some(of.fan_out.as_str()), of.service.as_deref()]);
    for exchange in [KETTLE].into_iter().chain(peers.into_iter().flatten().flatten()) {
        // A refusal ends the channel, so each has its own.
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        match channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await {
            Ok(()) => channel.close(200, "declared".into()).await?,
            Err(error) if connection.status().connected() => tracing::warn!(
                exchange,
                %error,
                "the broker refuses the declaration of an exchange; what is there is used as it is"
            ),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Consumes a copy of all that is published to `exchange`, from now on and for as long as the connection lives.
pub async fn copy_of(connection: &Connection, exchange: &str) -> lapin::Result<Consumer> {
    let channel = connection.create_channel().await?;
    let queue = format!("{exchange}.anonymous.{}", Uuid::new_v4().simple());
    let passing = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), passing, FieldTable::default()).await?;
    consume(&channel, &queue, exchange).await
}

/// The queue of service events for nodes that serve DMF: what is in it waits for one of them.
pub fn dmf_queue(exchange: &str) -> String {
    format!("{exchange}.{DMF_GROUP}")
}

/// Consumes service events as one of the nodes that serve DMF.
pub async fn share_of(connection: &Connection, exchange: &str) -> lapin::Result<Consumer> {
    let channel = connection.create_channel().await?;
    let queue = dmf_queue(exchange);
    channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    consume(&channel, &queue, exchange).await
}

async fn consume(channel: &Channel, queue: &str, exchange: &str) -> lapin::Result<Consumer> {
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default);
    channel.queue_bind(queue.into(), exchange.into(), EVERYTHING.into(), bind, none()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), none()).await
}
