//! A message that AMQP's client can't parse, such as one with a property that is no UTF-8, ends the connection whenever it is
//! delivered. A queue of this node's own goes with the connection; from one that stays, the message is thrown away.
//!
//! It never arrives, so it can't be rejected; but the broker forgets what is fetched without acknowledgement.

use lapin::{
    BasicProperties, Channel, Connection, ErrorKind,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions},
};

use super::{
    Broker,
    connection::{Broken, connect, while_open},
    hear::HearError,
    topology::PREFETCH,
};

/// Whether a connection ended because of what came over it.
pub fn is_cause(error: &Broken) -> bool {
    matches!(error, Broken::Broker(error) if matches!(error.kind(), ErrorKind::ParsingError(_)))
}

/// Throws away the first message of a queue that can't be parsed, if it is among those that a node takes at once.
pub async fn throw_away(broker: &Broker, queue: &str) -> Result<bool, HearError> {
    let (connection, channel) = open(broker).await?;
    let mut before = 0;
    loop {
        match get(&connection, &channel, queue, false).await {
            Ok(Some(_)) if before < PREFETCH => before += 1,
            Ok(_) => return Ok(false),
            Err(Broken::Broker(error)) if connection.status().connected() => return Err(Broken::Broker(error).into()),
            Err(_) => break,
        }
    }
    // What was fetched is back in its place: nothing was acknowledged.
    let (connection, channel) = open(broker).await?;
    for _ in 0..before {
        get(&connection, &channel, queue, false).await?;
    }
    match get(&connection, &channel, queue, true).await {
        // Another node was faster, and this is one that can be parsed.
        Ok(Some(message)) => {
            put_back(&connection, &channel, queue, &message.delivery.data, &message.delivery.properties).await?;
            Ok(false)
        }
        Ok(None) => Ok(false),
        Err(_) => Ok(true),
    }
}

async fn put_back(
    connection: &Connection,
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: &BasicProperties,
) -> Result<(), Broken> {
    let publishing = async {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicPublishOptions::default();
        channel.basic_publish("".into(), queue.into(), options, body, properties.clone()).await?.await
    };
    while_open(connection, publishing).await.map(drop)
}

async fn get(
    connection: &Connection,
    channel: &Channel,
    queue: &str,
    no_ack: bool,
) -> Result<Option<BasicGetMessage>, Broken> {
    while_open(connection, channel.basic_get(queue.into(), BasicGetOptions { no_ack })).await
}

async fn open(broker: &Broker) -> Result<(Connection, Channel), HearError> {
    let connection = connect(broker, &broker.virtual_host, "throwing away").await?;
    let channel = while_open(&connection, connection.create_channel()).await?;
    Ok((connection, channel))
}
