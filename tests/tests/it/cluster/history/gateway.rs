//! A gateway that does for its things what it is told, some of it late, and comes back whenever it was cut off.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use lapin::{Channel, Connection, ConnectionProperties, message::Delivery, options::*, types::FieldTable};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::{World, record::Command};
use crate::harness::{Message, linger};

pub const EXCHANGE: &str = "gw.ex";
pub const QUEUE: &str = "gw.ex.q";
const PATIENCE: Duration = Duration::from_secs(5);

/// What it keeps while it is cut off.
struct Memory {
    random: StdRng,
    /// Updates that it is not done with, as thing and action.
    at_work: Vec<(String, i64)>,
}

pub async fn live(world: Arc<World>, url: String) {
    let mut memory = Memory { random: StdRng::seed_from_u64(world.seed ^ 0x6a7e), at_work: Vec::new() };
    while !world.is_over() {
        // It comes back, whatever it was.
        let _ = serve(&world, &mut memory, &url).await;
        linger(Duration::from_millis(200)).await;
    }
}

/// Until the connection breaks, or all is over. The client does not tell all who wait for an answer of a broker that is gone that
/// none will come, so each wait has an end here.
async fn serve(world: &World, memory: &mut Memory, url: &str) -> lapin::Result<()> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    let Ok(connection) = timeout(PATIENCE, connecting).await else { return Ok(()) };
    let connection = connection?;
    let lost = async {
        while connection.status().connected() {
            linger(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        ended = obey_all(world, memory, &connection) => ended?,
        () = lost => {}
    }
    timeout(PATIENCE, connection.close(200, "bye".into())).await.unwrap_or(Ok(())) // an error, if it is broken
}

async fn obey_all(world: &World, memory: &mut Memory, connection: &Connection) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut inbox = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    while !world.is_over() {
        while world.is_ending()
            && let Some((thing, action)) = memory.at_work.last()
        {
            answer(&channel, thing, *action, "FINISHED").await?;
            memory.at_work.pop();
        }
        let Ok(next) = timeout(Duration::from_millis(200), inbox.next()).await else { continue };
        let Some(delivery) = next.transpose()? else { break };
        obey(world, memory, &channel, &delivery).await?;
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// Answers before it says that it has read the command, so that no command stays without an answer. While operators are at work,
/// it takes its time with some: they have something to cancel, or to replace, then.
async fn obey(world: &World, memory: &mut Memory, channel: &Channel, delivery: &Delivery) -> lapin::Result<()> {
    let received =
        Message { properties: delivery.properties.clone(), body: delivery.data.clone(), ..Message::default() };
    let cancels = match received.header("topic").as_str() {
        "DOWNLOAD_AND_INSTALL" | "DOWNLOAD" => false,
        "CANCEL_DOWNLOAD" => true,
        _ => return Ok(()),
    };
    let Some(action) = received.json()["actionId"].as_i64() else { return Ok(()) };
    // What is sent in its order has an id that is the same when it is sent again; an answer has a random one.
    let in_order = Uuid::try_parse(&received.correlation_id()).is_ok_and(|id| id.get_version_num() == 5);
    let command = Command { action, cancels, read: Instant::now(), in_order };
    world.record.write(|written| written.commands.push(command));
    let thing = received.header("thingId");
    if !cancels && !world.is_ending() && memory.random.random_bool(0.5) {
        memory.at_work.push((thing, action));
        return Ok(());
    }
    answer(channel, &thing, action, if cancels { "CANCELED" } else { "FINISHED" }).await
}

async fn answer(channel: &Channel, thing: &str, action: i64, status: &str) -> lapin::Result<()> {
    let headers = json!({"type": "EVENT", "topic": "UPDATE_ACTION_STATUS", "tenant": "DEFAULT", "thingId": thing});
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
