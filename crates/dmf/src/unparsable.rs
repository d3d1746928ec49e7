//! A message that AMQP's client can't parse, such as one with a property that is no UTF-8, ends the connection whenever it is
//! delivered, and would keep all others from being received for ever. The broker is told to put it to the dead letters.
//!
//! It can't be acknowledged, for it never arrives; but the broker numbers what it delivers on a channel, so its number
//! is known: one more than that of the last message before it.

use std::sync::Arc;

use lapin::{
    Channel, Connection, ErrorKind,
    options::{BasicGetOptions, BasicRejectOptions},
};

use crate::{
    connection::connect,
    metrics,
    receive::SessionError,
    settings::{Host, Settings},
};

/// Whether a connection ended because of what came over it.
pub fn is_cause(error: &SessionError) -> bool {
    matches!(error, SessionError::Broker(error) if matches!(error.kind(), ErrorKind::ParsingError(_)))
}

/// Puts aside the first message that can't be parsed, if it is among those that a node takes at once.
pub async fn put_aside(settings: &Arc<Settings>, host: &Host) -> Result<(), SessionError> {
    let (_connection, channel) = open(settings, host).await?;
    let queue = settings.queues.receiver.as_str();
    let mut before = 0;
    loop {
        match channel.basic_get(queue.into(), BasicGetOptions::default()).await {
            Ok(Some(_)) if before <= u64::from(settings.prefetch) => before += 1,
            Ok(_) => return Ok(()),
            Err(error) => match SessionError::from(error) {
                error if is_cause(&error) => break,
                error => return Err(error),
            },
        }
    }
    // What was taken from the queue is back in its place: nothing was acknowledged.
    let (_connection, channel) = open(settings, host).await?;
    for _ in 0..before {
        channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    }
    let (get, reject) = (BasicGetOptions::default(), BasicRejectOptions { requeue: false });
    // Both are on their way before the answer to the first ends the connection.
    let (got, _) = tokio::join!(channel.basic_get(queue.into(), get), channel.basic_reject(before + 1, reject));
    if got.is_err() {
        metrics::refused("unparsable");
        tracing::warn!(reason = "unparsable", queue, "a message was refused: its properties or headers are not UTF-8");
    }
    Ok(())
}

async fn open(settings: &Settings, host: &Host) -> Result<(Connection, Channel), SessionError> {
    let connection = connect(settings, &host.name, "putting aside").await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
