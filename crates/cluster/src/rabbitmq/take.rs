//! Taking service events of hawkBit nodes: into the database, once each, for whoever sends to gateways (semantics.md F1).
//!
//! A message is acknowledged when what it says is committed; a node that dies before leaves it to the next one, and one
//! that dies between the two has its message delivered again, which then says nothing new.

use std::time::Duration;

use kettle_db::Db;
use lapin::{
    Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicRejectOptions},
};
use sea_orm::{ConnectionTrait, DbErr};
use serde::Serialize;

use super::{connection::Broken, hear::next_batch, message};
use crate::{
    Clock, Events, JobContext, Lease, LeaseError, ServiceEvent, Tx,
    announcements::{self, Heard},
    metrics,
};

/// The database is asked again after this time.
const PAUSE: Duration = Duration::from_secs(1);
/// A message that is delivered again after so long is taken for a new one.
const KEEP_MS: i64 = 24 * 60 * 60 * 1000;

/// Takes what is for nodes that serve DMF.
pub struct Taker {
    pub db: Db,
    pub events: Events,
    pub clock: Clock,
}

#[derive(Serialize)]
struct Taken {
    id: String,
}

impl Taker {
    /// Until the connection is no more.
    pub async fn take(&self, consumer: Option<Consumer>) -> Broken {
        let Some(mut consumer) = consumer else { return std::future::pending().await };
        loop {
            // All of them go into one transaction.
            let result = async {
                let Some(deliveries) = next_batch(&mut consumer).await? else { return Ok(false) };
                self.take_all(deliveries).await.map(|()| true)
            };
            match result.await {
                Ok(true) => {}
                Ok(false) => return Broken::Ended,
                Err(error) => return Broken::Broker(error),
            }
        }
    }

    async fn take_all(&self, deliveries: Vec<Delivery>) -> lapin::Result<()> {
        let (mut heard, mut done) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            // What Kettle nodes say here is in the database already.
            if message::node(&delivery).is_some() {
                done.push(delivery);
                continue;
            }
            metrics::heard("service");
            match announcements::read(&message::content_type(&delivery), &delivery.data) {
                Ok(Heard { service: Some(event), .. }) if !is_tenant(event.tenant()) => {
                    tracing::warn!(tenant = event.tenant(), "an event for services is of no tenant; it is thrown away");
                    delivery.reject(BasicRejectOptions { requeue: false }).await?;
                }
                Ok(Heard { id, service: Some(event), .. }) => {
                    heard.push((id.to_string(), event));
                    done.push(delivery);
                }
                Ok(_) => done.push(delivery),
                Err(error) => {
                    tracing::warn!(%error, "an event for services can't be read; it is thrown away");
                    delivery.reject(BasicRejectOptions { requeue: false }).await?;
                }
            }
        }
        while let Err(error) = self.store(&heard).await {
            tracing::warn!(%error, "events for services wait: they could not be stored; trying again");
            tokio::time::sleep(PAUSE).await;
        }
        for delivery in done {
            delivery.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }

    /// Stores those that are new.
    async fn store(&self, heard: &[(String, ServiceEvent)]) -> Result<(), DbErr> {
        if heard.is_empty() {
            return Ok(());
        }
        let mut tx = Tx::begin(&self.db, &self.events, &self.clock).await?;
        let engine = tx.engine();
        // In one order everywhere, so that two nodes that were given the same messages don't wait for each other in a circle.
        let sql = format!(
            "INSERT INTO kt_taken_event (event_id, taken_at) SELECT r.id, {} FROM {} WHERE true ORDER BY r.id \
             ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
            engine.now_ms(),
            engine.json_rows(1, "r", &[("id", "text")])
        );
        let ids: Vec<Taken> = heard.iter().map(|(id, _)| Taken { id: id.clone() }).collect();
        let ids = serde_json::to_string(&ids).map_err(|e| DbErr::Custom(e.to_string()))?;
        let rows = tx.query_all_raw(engine.statement(&sql, [ids.into()])).await?;
        let mut new = rows.iter().map(|row| row.try_get("", "event_id")).collect::<Result<Vec<String>, _>>()?;
        for (id, event) in heard {
            // One that is in this batch twice counts once.
            if let Some(at) = new.iter().position(|other| other == id) {
                new.swap_remove(at);
                tx.emit_service(event.clone());
            }
        }
        tx.commit().await
    }
}

/// Whether a tenant can have this name. The database would refuse another one for ever, and what comes after it would wait.
fn is_tenant(name: &str) -> bool {
    (1..=40).contains(&name.chars().count()) && !name.contains('\0')
}

/// Forgets messages that won't be delivered again. One bounded batch per call; returns how many rows went.
pub async fn prune(ctx: &JobContext, lease: &Lease) -> Result<u64, LeaseError> {
    const BATCH: i64 = 10_000;
    let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
    lease.fence(&tx).await?;
    let sql = format!(
        "DELETE FROM kt_taken_event WHERE event_id IN \
         (SELECT event_id FROM kt_taken_event WHERE taken_at < {} - $1 ORDER BY taken_at LIMIT $2)",
        tx.engine().now_ms()
    );
    let done = tx.execute_raw(tx.engine().statement(&sql, [KEEP_MS.into(), BATCH.into()])).await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}
