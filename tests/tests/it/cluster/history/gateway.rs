//! A gateway that does for its things what it is told, and comes back whenever it was cut off.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{Channel, Connection, ConnectionProperties, message::Delivery, options::*, types::FieldTable};
use serde_json::json;

use super::World;
use crate::harness::{Message, linger};

pub const EXCHANGE: &str = "gw.ex";

pub async fn live(world: Arc<World>, url: String) {
    while !world.is_over() {
        // It comes back, whatever it was.
        let _ = serve(&world, &url).await;
        linger(Duration::from_millis(200)).await;
    }
}

/// Until the connection breaks, or all is over.
async fn serve(world: &World, url: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = format!("{EXCHANGE}.q");
    let options = BasicConsumeOptions::default();
    let mut inbox = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await?;
    // A consumer may wait on after its connection has broken.
    while !world.is_over() && connection.status().connected() {
        let Ok(next) = tokio::time::timeout(Duration::from_millis(200), inbox.next()).await else { continue };
        let Some(delivery) = next.transpose()? else { break };
        obey(world, &channel, &delivery).await?;
        delivery.ack(BasicAckOptions::default()).await?;
    }
    connection.close(200, "bye".into()).await // an error, if it is broken
}

/// Answers before it says that it has read the command, so that no command stays without an answer.
async fn obey(world: &World, channel: &Channel, command: &Delivery) -> lapin::Result<()> {
    let received = Message { properties: command.properties.clone(), body: command.data.clone(), ..Message::default() };
    let status = match received.header("topic").as_str() {
        "DOWNLOAD_AND_INSTALL" | "DOWNLOAD" => "FINISHED",
        "CANCEL_DOWNLOAD" => "CANCELED",
        _ => return Ok(()),
    };
    let Some(action) = received.json()["actionId"].as_i64() else { return Ok(()) };
    world.record.write(|written| *written.commands.entry(action).or_default() += 1);
    let headers = json!({
        "type": "EVENT", "topic": "UPDATE_ACTION_STATUS", "tenant": "DEFAULT", "thingId": received.header("thingId"),
    });
    let answer = Message::new(headers, Some(json!({"actionId": action, "actionStatus": status})));
    let properties = answer.properties.with_reply_to(EXCHANGE.into());
    let sent = channel.basic_publish(
        answer.exchange.as_str().into(),
        "".into(),
        BasicPublishOptions::default(),
        &answer.body,
        properties,
    );
    sent.await?.await?;
    Ok(())
}
