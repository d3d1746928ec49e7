//! The outbox: events as rows, written in the transaction that caused them and read by every other node.
//!
//! Ids do not commit in order, so a reader can't go by them. Each row carries its transaction's id, and a reader takes
//! exactly the rows visible now that were not visible in its last snapshot. NOTIFY is only a wake-up; a reader also
//! looks once a second, which finds what a node that died between commit and NOTIFY had to say. Model:
//! `tests/it/model/outbox.rs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use kettle_db::{Db, Engine};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult};
use serde::Serialize;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    Announcement, Event, Events, Gossip, Lease, LeaseError, Tx, events::Origin, jobs::JobContext, lease::millis,
    rabbitmq::Link, service::json,
};

const CHANNEL: &str = "kettle_events";
const GOSSIP_CHANNEL: &str = "kettle_gossip";
/// The kind of rows that hold an [`Announcement`]. They are for those who send them, not for nodes that read the outbox.
pub const ANNOUNCEMENT: &str = "announcement";
/// How often a reader looks without having been woken.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer means the database can't be reached; caches are not used until it can.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two NOTIFYs of a node: many small commits become one wake-up.
const NOTIFY_EVERY: Duration = Duration::from_millis(5);
/// In one NOTIFY.
const MOST_NOTICES: usize = 64;
/// Rows older than this are pruned.
const KEEP_MS: i64 = 5 * 60 * 1000;
/// A reader that was away for longer begins anew, without caches.
const LONGEST_AWAY: Duration = Duration::from_secs(60);
/// Announcements that the broker has not taken are pruned when they are older than this.
const KEEP_UNTOLD_MS: i64 = 60 * 60 * 1000;

/// A row that this node, or one that is gone, has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub id: i64,
    /// When it was written, by the database's clock.
    pub at: i64,
    pub kind: String,
    pub payload: String,
}

impl Row {
    pub fn is_announcement(&self) -> bool {
        self.kind == ANNOUNCEMENT
    }
}

/// What is written of a row before it is one.
#[derive(Serialize)]
struct New {
    tenant: String,
    kind: &'static str,
    payload: String,
}

/// Writes events, then announcements, each in their order, with one statement.
pub(crate) async fn write(
    engine: Engine,
    tx: &DatabaseTransaction,
    node: &str,
    events: &[Event],
    announcements: &[Announcement],
) -> Result<Vec<Row>, DbErr> {
    if events.is_empty() && announcements.is_empty() {
        return Ok(Vec::new());
    }
    let event = |of: &Event| Ok(New { tenant: of.tenant().to_owned(), kind: of.kind(), payload: json(of)? });
    let announcement =
        |of: &Announcement| Ok(New { tenant: of.tenant.clone(), kind: ANNOUNCEMENT, payload: json(of)? });
    let new = events.iter().map(event).chain(announcements.iter().map(announcement));
    let new = new.collect::<Result<Vec<_>, DbErr>>()?;
    let columns = [("tenant", "text"), ("kind", "text"), ("payload", "text")];
    let sql = format!(
        "INSERT INTO kt_outbox (node, tenant, kind, payload, created_at) SELECT $2, r.tenant, r.kind, r.payload, {} \
         FROM {} RETURNING id, created_at",
        engine.now_ms(),
        engine.json_rows(1, "r", &columns)
    );
    let written = tx.query_all_raw(engine.statement(&sql, [json(&new)?.into(), node.into()])).await?;
    let place = |row: &QueryResult| Ok((row.try_get("", "id")?, row.try_get("", "created_at")?));
    let mut places = written.iter().map(place).collect::<Result<Vec<(i64, i64)>, DbErr>>()?;
    // Ids are given in the order of the array, and returned in any.
    places.sort_unstable();
    let row = |((id, at), New { kind, payload, .. })| Row { id, at, kind: kind.to_owned(), payload };
    Ok(places.into_iter().zip(new).map(row).collect())
}

/// The first `limit` announcements of a node that were written at `since` or later and have ids above `after`.
pub(crate) async fn announcements(db: &Db, node: &str, since: i64, after: i64, limit: u64) -> Result<Vec<Row>, DbErr> {
    let sql = "SELECT id, created_at, kind, payload FROM kt_outbox \
               WHERE node = $1 AND kind = $2 AND created_at >= $3 AND id > $4 ORDER BY id LIMIT $5";
    let values = [node.into(), ANNOUNCEMENT.into(), since.into(), after.into(), limit.into()];
    let rows = db.read().query_all_raw(db.engine().statement(sql, values)).await?;
    let row = |row: &QueryResult| {
        let (id, at) = (row.try_get("", "id")?, row.try_get("", "created_at")?);
        Ok(Row { id, at, kind: row.try_get("", "kind")?, payload: row.try_get("", "payload")? })
    };
    rows.iter().map(row).collect()
}

/// The events of any node that were written no longer ago than `within`, by the database's clock: `limit` of them at most.
/// Fails on one that a newer node has written and that is unknown here.
pub async fn lately(db: &Db, within: Duration, limit: u64) -> Result<Vec<Event>, DbErr> {
    let now = db.engine().now_ms();
    let sql = format!("SELECT payload FROM kt_outbox WHERE created_at > {now} - $1 AND kind <> $2 LIMIT $3");
    let values = [millis(within).into(), ANNOUNCEMENT.into(), limit.into()];
    let rows = db.read().query_all_raw(db.engine().statement(&sql, values)).await?;
    let event = |row: &QueryResult| {
        let payload: String = row.try_get("", "payload")?;
        serde_json::from_str(&payload).map_err(|e| DbErr::Custom(e.to_string()))
    };
    rows.iter().map(event).collect()
}

/// Follows the outbox of a PostgreSQL database for as long as the process lives.
pub(crate) async fn follow(events: Events, db: Db) {
    tokio::spawn(events.clone().say_what_is_heard());
    loop {
        if let Err(error) = follow_once(&events, &db).await {
            db.doubt();
            tracing::warn!(%error, "the event channel is down; polls read the database until it is back");
        }
        events.gap();
        tokio::time::sleep(LOOK_EVERY).await;
        events.service_event_written();
    }
}

async fn follow_once(events: &Events, db: &Db) -> Result<(), String> {
    let channel = db.event_channel().ok_or("the database has no channel")?;
    let listening = async {
        let mut listener = PgListener::connect_with(channel.get_postgres_connection_pool()).await?;
        // A connection that was lost is a gap, and to be heard of at once.
        listener.eager_reconnect(false);
        listener.listen_all([CHANNEL, GOSSIP_CHANNEL]).await?;
        Ok(listener)
    };
    let listener = in_time(async { listening.await.map_err(|e: sqlx::Error| e.to_string()) }).await?;
    tokio::select! {
        ended = look(events, &channel, Waking::Database(listener)) => ended,
        ended = notify(events, &channel) => ended,
    }
}

/// What wakes a reader.
pub(crate) enum Waking {
    Database(PgListener),
    Broker(Arc<Link>),
}

impl Waking {
    /// Returns when it is time to look.
    async fn woken(&mut self, events: &Events) -> Result<(), String> {
        match self {
            Waking::Database(listener) => notified(listener, events).await,
            Waking::Broker(link) => {
                link.next_look().await;
                Ok(())
            }
        }
    }

    /// A look begins anew.
    fn forget(&self) {
        if let Waking::Broker(link) = self {
            link.forget();
        }
    }

    /// Tells the event of a row, if it has not been heard already.
    fn once(&self, row: i64, tell: impl FnOnce()) {
        match self {
            Waking::Database(_) => tell(),
            Waking::Broker(link) => link.once(row, tell),
        }
    }
}

/// Returns when another node has committed something, at the latest after a second. One look is enough for all that has come by
/// then.
async fn notified(listener: &mut PgListener, events: &Events) -> Result<(), String> {
    // Gossip may come at any pace, and must not keep it from looking.
    let mut at_the_latest = tokio::time::Instant::now() + LOOK_EVERY;
    let mut woken = false;
    loop {
        let received = tokio::select! {
            biased;
            () = tokio::time::sleep_until(at_the_latest) => return Ok(()),
            received = listener.try_recv() => received.map_err(|e| e.to_string())?,
            () = std::future::ready(()), if woken => return Ok(()),
        };
        match received {
            Some(heard) if heard.channel() == GOSSIP_CHANNEL => {
                if let Some(gossip) = read_gossip(heard.payload()) {
                    events.hear(gossip);
                }
            }
            Some(wake) if wake.payload() == events.node() => {}
            Some(_) => {
                woken = true;
                at_the_latest = at_the_latest.min(tokio::time::Instant::now() + NOTIFY_EVERY);
            }
            None => return Err("the listening connection was lost".into()),
        }
    }
}

/// Looks into the outbox whenever it is woken, until that or a look fails. While it looks the channel is whole.
pub(crate) async fn look(events: &Events, db: &impl ConnectionTrait, mut waking: Waking) -> Result<(), String> {
    // What is committed from here on is either in the snapshot, and told by its commit, or read below.
    events.own().follow();
    let begun = Instant::now();
    waking.forget();
    let mut snapshot = in_time(current_snapshot(db)).await?;
    let mut looked = None;
    events.caught_up(begun);
    events.mended();
    tracing::debug!(node = events.node(), "event channel is up");
    loop {
        waking.woken(events).await?;
        if events.since_caught_up() > LONGEST_AWAY {
            return Err("this node did nothing for too long, and rows that it did not see may be gone".into());
        }
        events.service_event_written();
        let looked_at = Instant::now();
        let Look { next, at, rows } = in_time(read_since(db, &snapshot)).await?;
        snapshot = next;
        // A machine that was stopped as a whole has no clock of its own that went on.
        if at - looked.replace(at).unwrap_or(at) > millis(LONGEST_AWAY) {
            return Err(
                "much time has gone by for the database, and rows that this node did not see may be gone".into()
            );
        }
        for Seen { id, node, payload, age_ms } in rows {
            let origin = if node == events.node() { Origin::Here } else { Origin::Elsewhere };
            if origin == Origin::Here && !events.own().read(id) {
                continue;
            }
            waking.once(id, || {
                events.lagged(age_ms);
                match serde_json::from_str(&payload) {
                    Ok(event) => events.deliver(&event, origin),
                    // A newer node may send kinds that this one does not know: then nothing cached can be trusted.
                    Err(error) => {
                        tracing::warn!(%error, payload, "an event of another node is unknown here; dropping all caches");
                        events.gap();
                        events.mended();
                    }
                }
            });
            if origin == Origin::Elsewhere {
                events.applied(&node, id);
            }
        }
        events.caught_up(looked_at);
    }
}

async fn in_time<T>(reading: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let read = tokio::time::timeout(LOOK_TIMEOUT, reading).await;
    read.map_err(|_| "reading the outbox timed out".to_owned())?
}

async fn current_snapshot(db: &impl ConnectionTrait) -> Result<String, String> {
    let statement = Engine::Postgres.statement("SELECT pg_current_snapshot()::text AS snapshot", []);
    let row = db.query_one_raw(statement).await.map_err(|e| e.to_string())?;
    let row = row.ok_or("no snapshot")?;
    row.try_get("", "snapshot").map_err(|e| e.to_string())
}

/// A row of another node, or of this one, as the others see it.
struct Seen {
    id: i64,
    node: String,
    payload: String,
    /// Since it was written, by the database's clock.
    age_ms: i64,
}

/// The rows committed since a snapshot, and the snapshot to go on from. Both come from one statement, so from one view
/// of the database.
struct Look {
    next: String,
    /// When it was, by the database's clock.
    at: i64,
    rows: Vec<Seen>,
}

/// Fails if the database has forgotten transactions, as one can that crashed or that took over: others have their ids then.
async fn read_since(db: &impl ConnectionTrait, snapshot: &str) -> Result<Look, String> {
    // What is the same for all rows is reckoned once.
    let sql = "SELECT (SELECT pg_current_snapshot()::text) AS snapshot, \
               (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)) AS at, \
               (SELECT pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax(CAST($1 AS pg_snapshot))) AS forgot, \
               o.id, o.node, o.payload, o.created_at \
               FROM (SELECT 1) one LEFT JOIN kt_outbox o ON o.xid >= (SELECT pg_snapshot_xmin(CAST($1 AS pg_snapshot))) \
               AND NOT pg_visible_in_snapshot(o.xid, (SELECT CAST($1 AS pg_snapshot))) AND o.kind <> $2 ORDER BY o.id";
    let rows = db.query_all_raw(Engine::Postgres.statement(sql, [snapshot.into(), ANNOUNCEMENT.into()])).await;
    let rows = rows.map_err(|e| e.to_string())?;
    let first = rows.first().ok_or("no snapshot")?;
    let read = || -> Result<(Look, bool), DbErr> {
        let at = first.try_get("", "at")?;
        let seen = |row: &QueryResult| -> Result<Option<Seen>, DbErr> {
            let Some(id) = row.try_get("", "id")? else { return Ok(None) };
            let (node, payload) = (row.try_get("", "node")?, row.try_get("", "payload")?);
            Ok(Some(Seen { id, node, payload, age_ms: at - row.try_get::<i64>("", "created_at")? }))
        };
        let rows = rows.iter().filter_map(|row| seen(row).transpose()).collect::<Result<_, _>>()?;
        Ok((Look { next: first.try_get("", "snapshot")?, at, rows }, first.try_get("", "forgot")?))
    };
    match read().map_err(|e| e.to_string())? {
        (_, true) => Err("the database has forgotten transactions".into()),
        (look, false) => Ok(look),
    }
}

/// Wakes the others when there is something to look for, and tells them what this node says: what comes up in a while with one
/// NOTIFY, because each of them costs every listener a turn. What can't be told now is not told later.
async fn notify(events: &Events, db: &impl ConnectionTrait) -> Result<(), String> {
    // A notice takes a transaction's id, and with it a commit that would wait for the disk. One that is lost with the database
    // does no harm: those who listen were cut off too.
    let sql = format!(
        "SELECT set_config('synchronous_commit', 'off', true), count(pg_notify(n.channel, n.payload)) FROM {}",
        Engine::Postgres.json_rows(1, "n", &[("channel", "text"), ("payload", "text")])
    );
    let mut said = events.said();
    loop {
        let mut notices = Vec::new();
        tokio::select! {
            () = events.wake_wanted() => notices.push(Notice::wake(events)),
            gossip = said.recv() => match gossip {
                Ok(gossip) => notices.push(Notice::gossip(&gossip)),
                Err(RecvError::Lagged(lost)) => tracing::debug!(lost, "some gossip was too much to tell"),
                Err(RecvError::Closed) => return Err("nobody says anything any more".into()),
            }
        }
        let next = tokio::time::Instant::now() + NOTIFY_EVERY;
        if events.wake_wanted().now_or_never().is_some() {
            notices.push(Notice::wake(events));
        }
        while notices.len() < MOST_NOTICES
            && let Ok(gossip) = said.try_recv()
        {
            notices.push(Notice::gossip(&gossip));
        }
        let values = [json(&notices).map_err(|e| e.to_string())?.into()];
        if let Err(error) = db.execute_raw(Engine::Postgres.statement(&sql, values)).await {
            tracing::warn!(%error, "other nodes could not be woken; they look by themselves within a second");
        }
        tokio::time::sleep_until(next).await;
    }
}

#[derive(Serialize)]
struct Notice {
    channel: &'static str,
    payload: String,
}

impl Notice {
    fn wake(events: &Events) -> Notice {
        Notice { channel: CHANNEL, payload: events.node().to_owned() }
    }

    fn gossip(Gossip { node, topic, text }: &Gossip) -> Notice {
        Notice { channel: GOSSIP_CHANNEL, payload: format!("{node} {topic} {text}") }
    }
}

fn read_gossip(payload: &str) -> Option<Gossip> {
    let mut parts = payload.splitn(3, ' ').map(str::to_owned);
    Some(Gossip { node: parts.next()?, topic: parts.next()?, text: parts.next()? })
}

/// Deletes rows that every node has had time to read, by the database's clock: that of a node may be wrong. Announcements that
/// may not be told yet are kept for longer. One bounded batch per call; returns how many rows went.
pub async fn prune(ctx: &JobContext, lease: &Lease) -> Result<u64, LeaseError> {
    let untold = "EXISTS (SELECT 1 FROM kt_told t WHERE t.node = o.node AND o.created_at >= t.told_until)";
    let read = delete(ctx, lease, &format!("(o.kind <> $3 OR NOT {untold})"), KEEP_MS).await?;
    let lost = delete(ctx, lease, "o.kind = $3", KEEP_UNTOLD_MS).await?;
    if lost > 0 {
        tracing::warn!(
            lost,
            "announcements to hawkBit nodes are dropped that could not be told for an hour: see to the broker"
        );
    }
    Ok(read + lost)
}

async fn delete(ctx: &JobContext, lease: &Lease, which: &str, older_than_ms: i64) -> Result<u64, LeaseError> {
    const BATCH: i64 = 10_000;
    let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
    lease.fence(&tx).await?;
    let sql = format!(
        "DELETE FROM kt_outbox WHERE id IN \
         (SELECT o.id FROM kt_outbox o WHERE o.created_at < {} - $1 AND {which} ORDER BY o.id LIMIT $2)",
        tx.engine().now_ms()
    );
    let values = [older_than_ms.into(), BATCH.into(), ANNOUNCEMENT.into()];
    let done = tx.execute_raw(tx.engine().statement(&sql, values)).await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}
