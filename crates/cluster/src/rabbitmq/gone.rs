//! Telling in the place of nodes that are gone: announcements that they had committed and may not have told.
//!
//! Each node notes every two seconds until when all it wrote is told (`kt_told`); its row goes when it ends with nothing left.
//! Whoever holds the lease `events-tell` looks for rows that have not been written anew for longer than a lease lives, publishes
//! what those nodes wrote since, under the same message ids, and removes the row. A node that was only paused may tell
//! the same again, and has its row back with its next note.

use std::{sync::Arc, time::Duration};

use kettle_db::Db;
use sea_orm::{ConnectionTrait, DbErr};
use tokio::sync::watch;

use super::{
    link::Link,
    tell::{TellError, Teller, wait_for},
};
use crate::{Job, JobContext, Lease, LeaseError, Tx, lease::millis, metrics};

const EVERY: Duration = Duration::from_secs(2);
/// From when a row is written until it is known to be committed, at most: commits take milliseconds.
const MARGIN_MS: i64 = 10_000;

/// A node that is gone.
struct Gone {
    node: String,
    told_until: i64,
    seen_at: i64,
}

/// Notes until when all that this node wrote is told.
pub async fn note(db: &Db, node: &str, link: &Link) -> Result<(), DbErr> {
    let engine = db.engine();
    let now = engine.now_ms();
    let sql = format!(
        "INSERT INTO kt_told (node, told_until, seen_at) VALUES ($1, COALESCE($2, {now}) - $3, {now}) \
         ON CONFLICT (node) DO UPDATE SET told_until = excluded.told_until, seen_at = {now} RETURNING seen_at"
    );
    let since = link.untold_since();
    let values = [node.into(), since.into(), MARGIN_MS.into()];
    let row = db.write().query_one_raw(engine.statement(&sql, values)).await?.ok_or(DbErr::RecordNotInserted)?;
    let now: i64 = row.try_get("", "seen_at")?;
    metrics::untold(since.map_or(0, |since| now.saturating_sub(since)));
    Ok(())
}

/// The same, every two seconds; and at the end that nothing is left, if it is so.
pub async fn keep_noting(db: Db, node: String, link: Arc<Link>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = wait_for(&mut stopped) => break,
        }
        // The note before says less, so that more than is needed would be told.
        if let Err(error) = note(&db, &node, &link).await {
            tracing::debug!(%error, "what is told could not be noted");
        }
    }
}

/// This node ends with nothing left to tell.
pub async fn forget(db: &Db, node: &str) {
    let statement = db.engine().statement("DELETE FROM kt_told WHERE node = $1", [node.into()]);
    if let Err(error) = db.write().execute_raw(statement).await {
        tracing::debug!(%error, "that all is told could not be noted; another node may tell the last of it again");
    }
}

pub fn job(teller: Arc<Teller>) -> Job {
    Job::new("events-tell", EVERY, move |ctx, lease| {
        let teller = teller.clone();
        async move { pass(&ctx, &lease, &teller).await }
    })
}

async fn pass(ctx: &JobContext, lease: &Lease, teller: &Teller) -> Result<(), LeaseError> {
    let gone = gone(ctx).await?;
    if gone.is_empty() {
        return Ok(());
    }
    let publisher = match teller.publisher().await {
        Ok(Some(publisher)) => publisher,
        // Later, or by another node.
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::debug!(%error, "nothing can be told in the place of other nodes now");
            return Ok(());
        }
    };
    for Gone { node, told_until, seen_at } in gone {
        match publisher.outbox(&ctx.db, &node, told_until, Some(lease)).await {
            Ok(()) => done(ctx, lease, &node, seen_at).await?,
            Err(TellError::Database(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(node, "what a node that is gone had to tell waits: {error}");
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The nodes that are gone and for which nobody has told yet. A process that has its database for itself is the only one
/// that can be alive.
async fn gone(ctx: &JobContext) -> Result<Vec<Gone>, DbErr> {
    let engine = ctx.db.engine();
    let lives = if engine.is_of_one_process() { Duration::ZERO } else { ctx.lease_time };
    let sql = format!(
        "SELECT node, told_until, seen_at FROM kt_told WHERE node <> $1 AND seen_at <= {} - $2 ORDER BY seen_at",
        engine.now_ms()
    );
    let values = [ctx.events.node().into(), millis(lives).into()];
    let rows = ctx.db.read().query_all_raw(engine.statement(&sql, values)).await?;
    let gone = |row: &sea_orm::QueryResult| {
        let (node, told_until) = (row.try_get("", "node")?, row.try_get("", "told_until")?);
        Ok(Gone { node, told_until, seen_at: row.try_get("", "seen_at")? })
    };
    rows.iter().map(gone).collect()
}

/// It is done once: unless the node has come back meanwhile.
async fn done(ctx: &JobContext, lease: &Lease, node: &str, seen_at: i64) -> Result<(), LeaseError> {
    let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
    lease.fence(&tx).await?;
    let sql = "DELETE FROM kt_told WHERE node = $1 AND seen_at = $2";
    tx.execute_raw(tx.engine().statement(sql, [node.into(), seen_at.into()])).await?;
    tx.commit().await?;
    tracing::info!(node, "told other servers what a node that is gone may not have told");
    Ok(())
}
