//! A gateway that does for its things what it is told, and comes back whenever it was cut off.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use lapin::{Channel, Connection, ConnectionProperties, message::Delivery, options::*, types::FieldTable};
use serde_json::json;
use tokio::time::timeout;

use super::World;
use crate::harness::{Message, linger};

pub const EXCHANGE: &str = "gw.ex";
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn live(world: Arc<World>, url: String) {
    while !world.is_over() {
        // It comes back, whatever it was.
        let _ = serve(&world, &url).await;
        linger(Duration::from_millis(200)).await;
    }
}

/// Until the connection breaks, or all is over. The client does not tell all who wait for an answer of a broker that is gone that
/// none will come, so each wait has an end here.
async fn serve(world: &World, url: &str) -> lapin::Result<()> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    let Ok(connection) = timeout(PATIENCE, connecting).await else { return Ok(()) };
    let connection = connection?;
    let lost = async {
        while connection.status().connected() {
            linger(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        ended = obey_all(world, &connection) => ended?,
        () = lost => {}
    }
    timeout(PATIENCE, connection.close(200, "bye".into())).await.unwrap_or(Ok(())) // an error, if it is broken
}

async fn obey_all(world: &World, connection: &Connection) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let queue = format!("{EXCHANGE}.q");
    let options = BasicConsumeOptions::default();
    let mut inbox = channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await?;
    while !world.is_over() {
        let Ok(next) = timeout(Duration::from_millis(200), inbox.next()).await else { continue };
        let Some(delivery) = next.transpose()? else { break };
        obey(world, &channel, &delivery).await?;
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
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
