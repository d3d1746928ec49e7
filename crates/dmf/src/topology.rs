//! What this server declares on the broker (semantics.md D1): to the letter what hawkBit declares, so that neither refuses
//! what the other made.

use std::time::Duration;

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use crate::settings::Queues;

const EXCHANGE: &str = "dmf.exchange";
const AUTHENTICATION_EXCHANGE: &str = "authentication.exchange";
/// A question that nobody answered in this time is not asked any more.
const AUTHENTICATION_TTL: Duration = Duration::from_secs(30);
const AUTHENTICATION_LENGTH: i32 = 1000;

/// Declares everything. What the broker refuses is logged and passed over: it is there then, in another form.
pub async fn declare(connection: &Connection, queues: &Queues) -> lapin::Result<()> {
    if !queues.declare {
        return Ok(());
    }
    let receiver = table([("x-dead-letter-exchange", text(&queues.dead_letter_exchange))]);
    let dead_letter = table([("x-message-ttl", AMQPValue::LongLongInt(millis(queues.dead_letter_ttl)))]);
    let authentication = table([
        ("x-message-ttl", AMQPValue::LongLongInt(millis(AUTHENTICATION_TTL))),
        ("x-max-length", AMQPValue::LongInt(AUTHENTICATION_LENGTH)),
    ]);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let passing = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    let wanted = [
        Wanted {
            exchange: &queues.dead_letter_exchange,
            queue: &queues.dead_letter,
            options: durable,
            arguments: dead_letter,
        },
        Wanted { exchange: EXCHANGE, queue: &queues.receiver, options: durable, arguments: receiver },
        Wanted {
            exchange: AUTHENTICATION_EXCHANGE,
            queue: &queues.authentication,
            options: passing,
            arguments: authentication,
        },
    ];
    for wanted in wanted {
        // A refusal ends the channel, so each has its own.
        let channel = connection.create_channel().await?;
        match one(&channel, &wanted).await {
            Ok(()) => channel.close(200, "declared".into()).await?,
            Err(error) if connection.status().connected() => tracing::warn!(
                queue = wanted.queue,
                exchange = wanted.exchange,
                %error,
                "the broker refuses a declaration; what is there is used as it is"
            ),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A queue, bound to an exchange of which it gets every message.
struct Wanted<'a> {
    exchange: &'a str,
    queue: &'a str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
}

async fn one(channel: &Channel, wanted: &Wanted<'_>) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(wanted.exchange.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
    channel.queue_declare(wanted.queue.into(), wanted.options, wanted.arguments.clone()).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(wanted.queue.into(), wanted.exchange.into(), "".into(), options, FieldTable::default()).await
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
