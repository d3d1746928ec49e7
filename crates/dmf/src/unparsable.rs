//! A message that AMQP's client can't parse, such as one with a property that is no UTF-8, ends the connection whenever it is
//! delivered, and would keep all others from being received for ever. The broker is told to put it to the dead letters.
//!
//! It can't be acknowledged, for it never arrives; but the broker numbers what it delivers on a channel, so its number
//! is known: one more than that of the last message before it.

use std::{sync::Arc, time::Duration};

use lapin::{
    Channel, Connection, ErrorKind,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicRejectOptions},
};

use tokio::time::timeout;

use crate::{
    connection::connect,
    metrics,
    receive::SessionError,
    settings::{Host, Settings},
};

const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;

/// Whether a connection ended because of what came over it.
pub fn is_cause(error: &SessionError) -> bool {
    matches!(error, SessionError::Broker(error) if matches!(error.kind(), ErrorKind::ParsingError(_)))
}

/// Puts aside the first message that can't be parsed, if it is among those that a node takes at once.
pub async fn put_aside(settings: &Arc<Settings>, host: &Host) -> Result<(), SessionError> {
    let queue = settings.queues.receiver.as_str();
    let (connection, channel) = open(settings, host).await?;
    let mut before = 0;
    while before <= u64::from(settings.taken()) {
        match get(&connection, &channel, queue).await {
            Some(Ok(Some(_))) => before += 1,
            Some(Ok(None)) => return Ok(()),
            Some(Err(error)) if connection.status().connected() => return Err(error.into()),
            Some(Err(_)) | None => break,
        }
    }
    // What was taken from the queue is back in its place: nothing was acknowledged.
    let (connection, channel) = open(settings, host).await?;
    for _ in 0..before {
        channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    }
    // Both are on their way before the answer to the first ends the connection.
    let reject = channel.basic_reject(before + 1, BasicRejectOptions { requeue: false });
    let _ = tokio::join!(get(&connection, &channel, queue), reject);
    if !connection.status().connected() {
        metrics::refused("unparsable");
        tracing::warn!(reason = "unparsable", queue, "a message was refused: its properties or headers are not UTF-8");
    }
    Ok(())
}

/// The next message; `None` if the connection ended, or the broker says nothing.
async fn get(
    connection: &Connection,
    channel: &Channel,
    queue: &str,
) -> Option<lapin::Result<Option<BasicGetMessage>>> {
    let getting = channel.basic_get(queue.into(), BasicGetOptions::default());
    tokio::pin!(getting);
    // A client that can't parse an answer ends the connection, but not who waits for the answer.
    for _ in 0..LOOKS {
        match timeout(LOOK_EVERY, &mut getting).await {
            Ok(got) => return Some(got),
            Err(_) if connection.status().connected() => {}
            Err(_) => return None,
        }
    }
    None
}

async fn open(settings: &Settings, host: &Host) -> Result<(Connection, Channel), SessionError> {
    let connection = connect(settings, &host.name, "putting aside").await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
