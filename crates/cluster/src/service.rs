//! Service events: what one node of a role is to act on, written in the transaction that caused it (`kt_service_event`).
//!
//! The outbox tells every node and forgets; these rows wait for one node that acts, and go when it is done: at least
//! once, in the order of their ids. Rows about one target are written by transactions that hold it, so their ids are in the
//! order of what happened to it. Who reads holds a lease; who may read what is the caller's.
//!
//! A kind, once released, keeps its members. So a node leaves kinds that it does not know to a newer one, and they keep
//! nothing up. Models: `tests/it/model/redelivery.rs` and `telling.rs`.

use std::time::Duration;

use kettle_db::{Db, Engine};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{JobContext, Lease, LeaseError, Tx};

/// Something that gateways are to be told. It carries names, not state: what is sent is read when it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServiceEvent {
    /// Targets were given actions of one set, as (action, controllerId).
    Assigned { tenant: String, set: i64, actions: Vec<(i64, String)> },
    /// Actions are to be cancelled, as (action, controllerId).
    Canceled { tenant: String, actions: Vec<(i64, String)> },
    /// A target is gone, and can't be asked for its address any more.
    TargetDeleted { tenant: String, controller_id: String, address: String },
    /// Targets are to report their attributes, as (controllerId, address).
    AttributesRequested { tenant: String, targets: Vec<(String, String)> },
}

impl ServiceEvent {
    /// The kinds that this node can act on.
    const KINDS: [&str; 4] = ["assigned", "canceled", "targetDeleted", "attributesRequested"];

    fn kind(&self) -> &'static str {
        match self {
            ServiceEvent::Assigned { .. } => "assigned",
            ServiceEvent::Canceled { .. } => "canceled",
            ServiceEvent::TargetDeleted { .. } => "targetDeleted",
            ServiceEvent::AttributesRequested { .. } => "attributesRequested",
        }
    }

    pub fn tenant(&self) -> &str {
        match self {
            ServiceEvent::Assigned { tenant, .. }
            | ServiceEvent::Canceled { tenant, .. }
            | ServiceEvent::TargetDeleted { tenant, .. }
            | ServiceEvent::AttributesRequested { tenant, .. } => tenant,
        }
    }
}

/// An event as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub id: i64,
    /// The same whenever it is read, and never another's: what is sent twice can be told by it.
    pub event_id: Uuid,
    pub event: ServiceEvent,
}

/// Whose events are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    Only(String),
    AllBut(Vec<String>),
}

/// A row of one statement that writes all events of a transaction.
#[derive(Serialize)]
struct Row {
    event_id: String,
    tenant: String,
    kind: &'static str,
    payload: String,
}

pub(crate) async fn write(
    engine: Engine,
    tx: &DatabaseTransaction,
    events: &[ServiceEvent],
    now_ms: i64,
) -> Result<(), DbErr> {
    if events.is_empty() {
        return Ok(());
    }
    let row = |event: &ServiceEvent| {
        let (tenant, kind, payload) = (event.tenant().to_owned(), event.kind(), json(event)?);
        Ok(Row { event_id: Uuid::new_v4().to_string(), tenant, kind, payload })
    };
    let rows = events.iter().map(row).collect::<Result<Vec<_>, DbErr>>()?;
    let columns = [("event_id", "text"), ("tenant", "text"), ("kind", "text"), ("payload", "text")];
    let sql = format!(
        "INSERT INTO kt_service_event (event_id, tenant, kind, payload, created_at) \
         SELECT r.event_id, r.tenant, r.kind, r.payload, $2 FROM {}",
        engine.json_rows(1, "r", &columns)
    );
    tx.execute_raw(engine.statement(&sql, [json(&rows)?.into(), now_ms.into()])).await?;
    Ok(())
}

/// The first `limit` events of these tenants, in the order of their ids. What this node can't act on is left where it is.
pub async fn read(db: &Db, tenants: &Tenants, limit: usize) -> Result<Vec<Written>, DbErr> {
    let mut found = Vec::new();
    let mut after = 0;
    while found.len() < limit {
        let wanted = limit - found.len();
        let rows = page(db, tenants, after, wanted).await?;
        let last = rows.len() < wanted;
        for row in rows {
            after = row.try_get("", "id")?;
            match decode(&row, after) {
                Ok(written) => found.push(written),
                Err(error) => tracing::warn!(
                    service_event.id = after,
                    %error,
                    "a service event can't be read here; it is left in kt_service_event, others go on"
                ),
            }
        }
        if last {
            break;
        }
    }
    Ok(found)
}

async fn page(db: &Db, tenants: &Tenants, after: i64, limit: usize) -> Result<Vec<QueryResult>, DbErr> {
    let engine = db.engine();
    let (comparison, tenants) = match tenants {
        Tenants::Only(tenant) => ("IN", std::slice::from_ref(tenant)),
        Tenants::AllBut(tenants) => ("NOT IN", tenants.as_slice()),
    };
    let sql = format!(
        "SELECT id, event_id, payload FROM kt_service_event \
         WHERE id > $1 AND kind IN {} AND tenant {comparison} {} ORDER BY id LIMIT $4",
        engine.json_values(2, "text"),
        engine.json_values(3, "text")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = [after.into(), json(&ServiceEvent::KINDS)?.into(), json(&tenants)?.into(), limit.into()];
    db.read().query_all_raw(engine.statement(&sql, values)).await
}

fn decode(row: &QueryResult, id: i64) -> Result<Written, String> {
    let text = |column| row.try_get::<String>("", column).map_err(|e| e.to_string());
    let event_id = text("event_id")?.parse().map_err(|e: uuid::Error| e.to_string())?;
    let event = serde_json::from_str(&text("payload")?).map_err(|e| e.to_string())?;
    Ok(Written { id, event_id, event })
}

/// Removes events that were acted on. The caller fences `tx`.
pub async fn done(tx: &Tx, ids: &[i64]) -> Result<(), DbErr> {
    let engine = tx.engine();
    let sql = format!("DELETE FROM kt_service_event WHERE id IN {}", engine.json_values(1, "bigint"));
    tx.execute_raw(engine.statement(&sql, [json(&ids)?.into()])).await?;
    Ok(())
}

/// Drops events that no node has acted on for as long as `keep`, the oldest first, in bounded batches; returns how many.
pub async fn drop_older(ctx: &JobContext, lease: &Lease, keep: Duration) -> Result<u64, LeaseError> {
    const BATCH: i64 = 1_000;
    let before = ctx.clock.now_ms().saturating_sub(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    // The oldest are those with the lowest ids: so a pass reads one batch, however many there are.
    let sql = "DELETE FROM kt_service_event WHERE created_at < $1 AND id IN \
               (SELECT id FROM kt_service_event ORDER BY id LIMIT $2)";
    let mut dropped = 0;
    loop {
        let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
        lease.fence(&tx).await?;
        let batch = tx.execute_raw(tx.engine().statement(sql, [before.into(), BATCH.into()])).await?.rows_affected();
        tx.commit().await?;
        dropped += batch;
        if batch == 0 {
            break;
        }
        lease.refresh(&ctx.db).await?;
    }
    if dropped > 0 {
        tracing::warn!(
            dropped,
            days = keep.as_secs() / 86_400,
            "what gateways were to be told for so long is dropped: no node that serves DMF has sent it; start one, or ask \
             the devices to report again"
        );
    }
    Ok(dropped)
}

/// As payloads and sets of values are bound.
pub(crate) fn json(value: &impl Serialize) -> Result<String, DbErr> {
    serde_json::to_string(value).map_err(|e| DbErr::Custom(e.to_string()))
}
