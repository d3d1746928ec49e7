//! A message that AMQP's client can't parse, such as one with a property that is no UTF-8, ends the connection whenever it is
//! delivered, and would keep all others from being received for ever. The broker is told to put it to the dead letters.
//!
//! It can't be acknowledged, for it never arrives; but the broker numbers what it delivers on a channel, so its number
//! is known: one more than that of the last message before it.

use std::sync::Arc;

use kettle_cluster::rabbitmq::connection::{Broken, connect, while_open};
use lapin::{
    Channel, Connection, ErrorKind,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicRejectOptions},
};

use crate::{
    metrics,
    receive::SessionError,
    settings::{Host, Settings},
};

/// Whether a connection ended because of what came over it.
pub fn is_cause(error: &SessionError) -> bool {
    matches!(error, SessionError::Broken(Broken::Broker(error)) if matches!(error.kind(), ErrorKind::ParsingError(_)))
}

/// Puts aside the first message that can't be parsed, if it is among those that a node takes at once.
pub async fn put_aside(settings: &Arc<Settings>, host: &Host) -> Result<(), SessionError> {
    let queue = settings.queues.receiver.as_str();
    let (connection, channel) = open(settings, host).await?;
    let mut before = 0;
    while before <= u64::from(settings.taken()) {
        match get(&connection, &channel, queue).await {
            Ok(Some(_)) => before += 1,
            Ok(None) => return Ok(()),
            Err(Broken::Broker(error)) if connection.status().connected() => return Err(Broken::Broker(error).into()),
            Err(_) => break,
        }
    }
    // What was taken from the queue is back in its place: nothing was acknowledged.
    let (connection, channel) = open(settings, host).await?;
    for _ in 0..before {
        get(&connection, &channel, queue).await?;
    }
    // Both are on their way before the answer to the first ends the connection.
    let reject = while_open(&connection, channel.basic_reject(before + 1, BasicRejectOptions { requeue: false }));
    let _ = tokio::join!(get(&connection, &channel, queue), reject);
    if !connection.status().connected() {
        metrics::refused("unparsable");
        tracing::warn!(reason = "unparsable", queue, "a message was refused: its properties or headers are not UTF-8");
    }
    Ok(())
}

async fn get(connection: &Connection, channel: &Channel, queue: &str) -> Result<Option<BasicGetMessage>, Broken> {
    while_open(connection, channel.basic_get(queue.into(), BasicGetOptions::default())).await
}

async fn open(settings: &Settings, host: &Host) -> Result<(Connection, Channel), SessionError> {
    let connection = connect(&settings.broker, &host.name, "putting aside").await?;
    let channel = while_open(&connection, connection.create_channel()).await?;
    Ok((connection, channel))
}
