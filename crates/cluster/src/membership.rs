//! Membership: which nodes there are (`kt_node`), and which of them are alive.
//!
//! Each node writes its row every few seconds and reads those of the others, all by the database's clock. Nothing is decided
//! by being a member: leases decide who works. Membership says who is waited for, what the load is shared among, and
//! what people are shown. Model of joining: `tests/it/model/hearing.rs`.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use kettle_db::{Db, Engine};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    task::JoinHandle,
    time::{MissedTickBehavior, timeout},
};

use crate::{Clock, Events, Gossip, lease::millis};

/// Between two heartbeats.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// A heartbeat that takes longer is on a connection that is dead.
const BEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// Without a heartbeat for so long a node takes itself for one that is taken for dead, or soon will be, and joins anew.
const MISSED: Duration = Duration::from_secs(6);
/// Between two announcements of a node that joins.
const SAY_EVERY: Duration = Duration::from_millis(100);
/// After this time every node that lives has seen the row of a node that joins.
pub(crate) const SEEN_AFTER: Duration = Duration::from_secs(3);
/// A node that has not been seen for so long is taken for dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);
/// Rows of nodes that died are kept for so long, for people to see.
const SHOWN_FOR: Duration = Duration::from_secs(15 * 60);
/// The topic of gossip by which a node says that it came or goes; the others look then.
const TOPIC: &str = "members";
const CAME: &str = "came";
/// The topic by which it is told, by its name, that another node waits for it from now on.
const KNOWN: &str = "known";

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Where it listens.
    pub address: String,
    pub roles: String,
    pub version: String,
    pub schema_version: i64,
}

/// A node as the others see it. Times are epoch milliseconds of the database's clock.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub about: About,
    pub started_at: i64,
    pub seen_at: i64,
    /// How long its last events of others were under way, in milliseconds.
    pub event_lag: i64,
    /// Since when events of it wait for the broker.
    pub untold_since: Option<i64>,
    pub alive: bool,
}

/// This node as a member, until [`Membership::leave`].
pub struct Membership {
    db: Db,
    events: Events,
    stop: watch::Sender<bool>,
    beating: JoinHandle<()>,
}

impl Membership {
    /// Writes this node's row and starts the heartbeat. `clock` is set by the database's from here on.
    pub async fn join(db: &Db, events: &Events, clock: &Clock, about: About) -> Result<Membership, DbErr> {
        let member = Member { db: db.clone(), events: events.clone(), clock: clock.clone(), about };
        member.beat().await?;
        if !events.hearing().others().is_empty() {
            events.joins();
        }
        let (stop, stopped) = watch::channel(false);
        let beating = tokio::spawn(member.beat_on(stopped));
        Ok(Membership { db: db.clone(), events: events.clone(), stop, beating })
    }

    /// Tells the others that this node is here, until each says that it waits for it from now on: before that, what they
    /// acknowledge this node need not have heard, and it answers from no cache. To be called once the event channel is being
    /// joined.
    pub fn announce(&self) {
        announce(&self.events);
    }

    /// Removes this node's row, and tells the others.
    pub async fn leave(self) {
        self.stop.send_replace(true);
        if self.beating.await.is_err() {
            tracing::error!("the heartbeat had panicked");
        }
        let statement = self.db.engine().statement("DELETE FROM kt_node WHERE id = $1", [self.events.node().into()]);
        if let Err(error) = self.db.write().execute_raw(statement).await {
            tracing::warn!(%error, "this node could not be taken off the list; the others see that it is gone in a while");
        }
        self.events.say(TOPIC, "goes".into());
    }
}

fn announce(events: &Events) {
    let events = events.clone();
    tokio::spawn(async move {
        let mut gossip = events.gossip();
        let mut unaware = events.hearing().others();
        // Some may be dead, or not be reached: those that live see the row.
        let _ = timeout(SEEN_AFTER, async {
            while !unaware.is_empty() {
                events.say(TOPIC, CAME.into());
                let _ = timeout(SAY_EVERY, greetings(&mut gossip, events.node(), &mut unaware)).await;
            }
        })
        .await;
        events.joined();
    });
}

/// Takes those out of `unaware` that say that they know this node; returns when none is left.
async fn greetings(gossip: &mut broadcast::Receiver<Gossip>, node: &str, unaware: &mut HashSet<String>) {
    while !unaware.is_empty() {
        match gossip.recv().await {
            Ok(heard) if heard.topic == KNOWN && heard.text == node => {
                unaware.remove(&heard.node);
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

struct Member {
    db: Db,
    events: Events,
    clock: Clock,
    about: About,
}

impl Member {
    async fn beat_on(self, mut stopped: watch::Receiver<bool>) {
        let mut gossip = self.events.gossip();
        let mut beats = tokio::time::interval(BEAT_EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            let heard = tokio::select! {
                _ = beats.tick() => None,
                heard = gossip.recv() => match heard {
                    Ok(heard) if heard.topic == TOPIC => Some(heard),
                    _ => continue,
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            let begun = Instant::now();
            let beat = timeout(BEAT_TIMEOUT, self.beat()).await;
            let missed = last.elapsed() >= MISSED;
            if missed {
                // Others may not wait for this node any more.
                self.events.joins();
            }
            match beat {
                Ok(Ok(())) => last = begun,
                // A database that is away is told of by those who need it.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a heartbeat could not be written");
                    continue;
                }
                Err(_) => {
                    self.db.doubt();
                    tracing::debug!("a heartbeat could not be written in {BEAT_TIMEOUT:?}");
                    continue;
                }
            }
            if missed {
                tracing::warn!("this node had no heartbeat for too long, and joins the others anew");
                announce(&self.events);
            }
            if let Some(Gossip { node, text, .. }) = heard
                && text == CAME
                && self.events.hearing().hears(&node)
            {
                self.events.say(KNOWN, node);
            }
        }
    }

    async fn beat(&self) -> Result<(), DbErr> {
        let before = self.clock.now_ms();
        let now = self.write().await?;
        if self.db.engine() == Engine::Postgres {
            self.clock.correct(before, now);
        }
        let looked = tokio::time::Instant::now();
        let alive = alive(&self.db).await?;
        let others: HashSet<String> = alive.into_iter().filter(|id| id != self.events.node()).collect();
        self.events.hearing().set_others(&others, looked);
        Ok(())
    }

    /// Returns the database's time.
    async fn write(&self) -> Result<i64, DbErr> {
        let engine = self.db.engine();
        let now = engine.now_ms();
        let sql = format!(
            "INSERT INTO kt_node \
             (id, address, roles, version, schema_version, started_at, seen_at, event_lag, untold_since) \
             VALUES ($1, $2, $3, $4, $5, {now}, {now}, $6, $7) ON CONFLICT (id) DO UPDATE SET \
             seen_at = {now}, event_lag = excluded.event_lag, untold_since = excluded.untold_since RETURNING seen_at"
        );
        let About { address, roles, version, schema_version } = &self.about;
        let values = [
            self.events.node().into(),
            address.as_str().into(),
            roles.as_str().into(),
            version.as_str().into(),
            (*schema_version).into(),
            self.events.lag_ms().into(),
            self.events.untold_since().into(),
        ];
        let row = self.db.write().query_one_raw(engine.statement(&sql, values)).await?;
        let now = row.ok_or(DbErr::RecordNotInserted)?.try_get("", "seen_at")?;
        let old = format!("DELETE FROM kt_node WHERE seen_at < {} - $1", engine.now_ms());
        self.db.write().execute_raw(engine.statement(&old, [millis(SHOWN_FOR).into()])).await?;
        Ok(now)
    }
}

async fn alive(db: &Db) -> Result<Vec<String>, DbErr> {
    let sql = format!("SELECT id FROM kt_node WHERE seen_at > {} - $1", db.engine().now_ms());
    let rows = db.read().query_all_raw(db.engine().statement(&sql, [millis(DEAD_AFTER).into()])).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

/// Frees what a process that had this database for itself left behind when it died.
pub async fn forget_all_alone(db: &Db) -> Result<(), DbErr> {
    if db.engine().is_of_one_process() {
        db.write().execute_unprepared("DELETE FROM kt_node").await?;
    }
    Ok(())
}

/// All nodes, also those that were lost a short while ago; the oldest first.
pub async fn nodes(db: &Db) -> Result<Vec<Node>, DbErr> {
    let now = db.engine().now_ms();
    let sql = format!(
        "SELECT id, address, roles, version, schema_version, started_at, seen_at, event_lag, untold_since, \
         CASE WHEN seen_at > {now} - $1 THEN 1 ELSE 0 END AS alive FROM kt_node ORDER BY started_at, id"
    );
    let rows = db.read().query_all_raw(db.engine().statement(&sql, [millis(DEAD_AFTER).into()])).await?;
    rows.iter().map(node).collect()
}

fn node(row: &QueryResult) -> Result<Node, DbErr> {
    Ok(Node {
        id: row.try_get("", "id")?,
        about: About {
            address: row.try_get("", "address")?,
            roles: row.try_get("", "roles")?,
            version: row.try_get("", "version")?,
            schema_version: row.try_get("", "schema_version")?,
        },
        started_at: row.try_get("", "started_at")?,
        seen_at: row.try_get("", "seen_at")?,
        event_lag: row.try_get("", "event_lag")?,
        untold_since: row.try_get("", "untold_since")?,
        alive: row.try_get::<i32>("", "alive")? == 1,
    })
}
