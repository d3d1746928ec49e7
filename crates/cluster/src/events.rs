//! Events: what one node tells the others, and itself, after a change is committed.
//!
//! An event carries names, not state: who hears it drops what it has cached. It is delivered in this process right
//! after the commit, and to other nodes through the outbox (see `outbox.rs`). What gaps mean for caches is modelled in
//! `tests/it/model/cache.rs`, when a node that joins is whole in `hearing.rs`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast, watch};

use crate::{
    announcements,
    heard::{self, Heard},
    lease, metrics,
    outbox::Row,
    own::Own,
    rabbitmq::Link,
};

/// A change that nodes hear of. The serialized form is what `kt_outbox` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Event {
    /// What a device sees of these targets may have changed: an assignment, a cancellation, feedback, an edit.
    #[serde(rename_all = "camelCase")]
    TargetsChanged { tenant: String, controller_ids: Vec<String> },
    /// A setting of the tenant was written or reset, the tenant was created, or one of its target tags was renamed or
    /// deleted: polling times may name tags.
    TenantConfigurationChanged { tenant: String },
    /// A rollout has something to do: it was created, or an operator moved it on.
    RolloutChanged { tenant: String, rollout: i64 },
    /// What the tenant's target filters assign by themselves has changed; of `filter`, also what it is to be assigned to.
    TargetFiltersChanged { tenant: String, filter: Option<i64> },
    /// Searches over targets by these fields (`tag`, `type`) may find others than before, though no target was changed:
    /// what it refers to was. Without fields, any search.
    TargetSearchesChanged { tenant: String, fields: Vec<String> },
}

/// Where an event was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On this node.
    Here,
    /// On another one, which may be gone by now.
    Elsewhere,
}

impl Event {
    /// The `kind` column of the outbox, for people and for pruning.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Event::TargetsChanged { .. } => "targetsChanged",
            Event::TenantConfigurationChanged { .. } => "tenantConfigurationChanged",
            Event::RolloutChanged { .. } => "rolloutChanged",
            Event::TargetFiltersChanged { .. } => "targetFiltersChanged",
            Event::TargetSearchesChanged { .. } => "targetSearchesChanged",
        }
    }

    pub(crate) fn tenant(&self) -> &str {
        match self {
            Event::TargetsChanged { tenant, .. }
            | Event::TenantConfigurationChanged { tenant }
            | Event::RolloutChanged { tenant, .. }
            | Event::TargetFiltersChanged { tenant, .. }
            | Event::TargetSearchesChanged { tenant, .. } => tenant,
        }
    }
}

type Listener = Arc<dyn Fn(&Event, Origin) + Send + Sync>;
type GapListener = Arc<dyn Fn() + Send + Sync>;
/// Finds the controllerIds of those of a tenant's targets that there are, by their ids.
type TargetNames = dyn Fn(String, Vec<i64>) -> BoxFuture<'static, Result<Vec<String>, DbErr>> + Send + Sync;

/// Something that a node tells the others and nobody keeps: it may be lost, and says nothing about state in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// Who says it.
    pub node: String,
    pub topic: String,
    pub text: String,
}

/// What is said faster than it can be told is lost, the oldest first.
const GOSSIP_AT_ONCE: usize = 1_024;

/// Events that were read longer ago than this, two looks and some, are too old to answer by.
const FRESH: Duration = Duration::from_secs(3);
const ALONE: u64 = u64::MAX;
const UNKNOWN: u64 = u64::MAX;

/// The event channel of one node.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    node: String,
    listeners: RwLock<Vec<(Listener, GapListener)>>,
    whole: AtomicBool,
    /// When all others knew that this node is here and waited for it, in milliseconds after `began`; [`UNKNOWN`]: not yet.
    known_at: AtomicU64,
    /// When what others had to tell was last read to its end, in milliseconds after `began`; [`ALONE`]: there are no others.
    caught_up: AtomicU64,
    began: Instant,
    wake_others: Notify,
    service_events: watch::Sender<()>,
    announces: AtomicBool,
    target_names: OnceLock<Box<TargetNames>>,
    said: broadcast::Sender<Gossip>,
    gossip: broadcast::Sender<Gossip>,
    heard: Heard,
    own: Own,
    /// There is something to say about what was heard.
    to_say: Notify,
    lag_ms: AtomicI64,
    broker: OnceLock<Arc<Link>>,
}

impl Events {
    /// A channel for one process alone; it is whole from the start. `outbox::follow` joins it to other nodes.
    pub fn new(node: String) -> Events {
        Events::waiting(node, Duration::ZERO)
    }

    /// The same; a commit waits for as long as `longest_wait` until the other nodes have heard of it.
    pub fn waiting(node: String, longest_wait: Duration) -> Events {
        Events(Arc::new(Inner {
            node,
            listeners: RwLock::default(),
            whole: AtomicBool::new(true),
            known_at: AtomicU64::new(0),
            caught_up: AtomicU64::new(ALONE),
            began: Instant::now(),
            wake_others: Notify::new(),
            service_events: watch::Sender::new(()),
            announces: AtomicBool::new(false),
            target_names: OnceLock::new(),
            said: broadcast::Sender::new(GOSSIP_AT_ONCE),
            gossip: broadcast::Sender::new(GOSSIP_AT_ONCE),
            heard: Heard::new(longest_wait),
            own: Own::default(),
            to_say: Notify::new(),
            lag_ms: AtomicI64::new(0),
            broker: OnceLock::new(),
        }))
    }

    /// This node's name, unique per process.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// `on_event` hears every event, possibly more than once; `on_gap` is called when some may have been missed.
    /// Both are called from the committing task and must be quick.
    pub fn listen(
        &self,
        on_event: impl Fn(&Event, Origin) + Send + Sync + 'static,
        on_gap: impl Fn() + Send + Sync + 'static,
    ) {
        let mut listeners = self.0.listeners.write().unwrap_or_else(|e| e.into_inner());
        listeners.push((Arc::new(on_event), Arc::new(on_gap)));
    }

    /// Whether no event of another node can have been missed. While false, caches must not be answered from.
    ///
    /// A process that was paused can't know what it missed: until it has looked again, the time since its last look says so.
    /// And a node that joins is not whole before it has looked at what the others did until they waited for it.
    pub fn whole(&self) -> bool {
        let known_at = self.0.known_at.load(Ordering::Acquire);
        self.0.whole.load(Ordering::Acquire)
            && known_at != UNKNOWN
            && self.0.caught_up.load(Ordering::Acquire) >= known_at
            && self.since_caught_up() < FRESH
    }

    /// This node joins others, which do not wait for it yet.
    pub(crate) fn joins(&self) {
        self.0.known_at.store(UNKNOWN, Ordering::Release);
    }

    /// From now on all of them wait for it.
    pub(crate) fn joined(&self) {
        // The next millisecond: a look that has begun in this one may have begun before.
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(0) + 1;
        let _ = self.0.known_at.compare_exchange(UNKNOWN, now, Ordering::AcqRel, Ordering::Acquire);
    }

    /// How long ago all that others had to tell was known here.
    pub(crate) fn since_caught_up(&self) -> Duration {
        match self.0.caught_up.load(Ordering::Acquire) {
            ALONE => Duration::ZERO,
            at => self.0.began.elapsed().saturating_sub(Duration::from_millis(at)),
        }
    }

    /// All that others had told by `looked_at` is known here.
    pub(crate) fn caught_up(&self, looked_at: Instant) {
        let at = looked_at.saturating_duration_since(self.0.began);
        self.0.caught_up.store(u64::try_from(at.as_millis()).unwrap_or(0), Ordering::Release);
    }

    /// For those who act on service events: `changed()` returns once some may have been written, on this node or, within
    /// about a second, on another.
    pub fn service_events(&self) -> watch::Receiver<()> {
        self.0.service_events.subscribe()
    }

    /// Has all transactions from now on write what hawkBit nodes and others are to be told of them; see
    /// [`announcements`](crate::announcements). For whoever sends it: without one, rows would be written for nobody.
    pub fn announce_from_now_on(&self) {
        self.0.announces.store(true, Ordering::Release);
    }

    /// Whether anybody is told announcements.
    pub fn announces(&self) -> bool {
        self.0.announces.load(Ordering::Acquire)
    }

    /// How targets are found that others tell of by their ids. For whoever knows the tables; what is set first stays.
    pub fn find_target_names_by<F, Fut>(&self, find: F)
    where
        F: Fn(String, Vec<i64>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<String>, DbErr>> + Send + 'static,
    {
        let find = move |tenant, ids| -> BoxFuture<'static, _> { Box::pin(find(tenant, ids)) };
        let _ = self.0.target_names.set(Box::new(find));
    }

    /// Acts on what other nodes have announced: delivers its events, of targets that it tells by their ids too, with one
    /// look at the database per tenant. What [`announcements::Heard::service`] says is the caller's. After an error some may be lost, and
    /// caches have to go.
    pub async fn heard(&self, heard: &[announcements::Heard]) -> Result<(), DbErr> {
        let mut targets: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for one in heard {
            for event in &one.events {
                self.deliver(event, Origin::Elsewhere);
            }
            if !one.targets.is_empty() {
                targets.entry(&one.tenant).or_default().extend(&one.targets);
            }
        }
        if targets.is_empty() {
            return Ok(());
        }
        let Some(find) = self.0.target_names.get() else {
            self.doubt();
            return Ok(());
        };
        for (tenant, mut ids) in targets {
            ids.sort_unstable();
            ids.dedup();
            let controller_ids = find(tenant.to_owned(), ids).await?;
            if !controller_ids.is_empty() {
                let event = Event::TargetsChanged { tenant: tenant.to_owned(), controller_ids };
                self.deliver(&event, Origin::Elsewhere);
            }
        }
        Ok(())
    }

    /// Joins this node to the others on the same PostgreSQL database. Until the channel is up, [`Events::whole`] is
    /// false. On SQLite there are no others, and nothing is started.
    pub fn follow(&self, db: &kettle_db::Db) -> Option<tokio::task::JoinHandle<()>> {
        if db.engine() != kettle_db::Engine::Postgres {
            return None;
        }
        self.0.whole.store(false, Ordering::Release);
        let (events, db) = (self.clone(), db.clone());
        Some(tokio::spawn(crate::outbox::follow(events, db)))
    }

    /// Tells the other nodes something, by whatever joins them; alone, nobody hears it. `topic` has no blank, and both
    /// together have at most 7,900 bytes.
    pub fn say(&self, topic: &str, text: String) {
        let gossip = Gossip { node: self.node().to_owned(), topic: topic.to_owned(), text };
        // Nobody listens where a node is alone.
        let _ = self.0.said.send(gossip);
    }

    /// What other nodes say, from now on. Who is too slow misses some.
    pub fn gossip(&self) -> broadcast::Receiver<Gossip> {
        self.0.gossip.subscribe()
    }

    /// What is to be told to the others.
    pub(crate) fn said(&self) -> broadcast::Receiver<Gossip> {
        self.0.said.subscribe()
    }

    pub(crate) fn hear(&self, gossip: Gossip) {
        if gossip.node == self.node() {
            return;
        }
        if gossip.topic == heard::TOPIC {
            return self.0.heard.said(&gossip.node, self.node(), &gossip.text);
        }
        let _ = self.0.gossip.send(gossip);
    }

    /// How many nodes are alive, this one included.
    pub fn nodes(&self) -> usize {
        self.0.heard.nodes()
    }

    pub(crate) fn hearing(&self) -> &Heard {
        &self.0.heard
    }

    pub(crate) fn own(&self) -> &Own {
        &self.0.own
    }

    /// An event of another node, the row `row` of the outbox, is in force here: it is told so.
    pub(crate) fn applied(&self, teller: &str, row: i64) {
        self.0.heard.applied(teller, row);
        self.0.to_say.notify_one();
    }

    /// Says what was heard, for as long as the process lives: at once, then all of a while together.
    pub(crate) async fn say_what_is_heard(self) {
        loop {
            while !self.0.heard.has_to_say() {
                self.0.to_say.notified().await;
            }
            for text in self.0.heard.take_to_say() {
                self.say(heard::TOPIC, text);
            }
            tokio::time::sleep(self.0.heard.pause()).await;
        }
    }

    /// How long the last events of other nodes were under way, in milliseconds; of a node that does not get them any more, since
    /// when.
    pub fn lag_ms(&self) -> i64 {
        let last = self.0.lag_ms.load(Ordering::Relaxed);
        let deaf = self.since_caught_up();
        if deaf < FRESH { last } else { last.max(lease::millis(deaf)) }
    }

    /// Over a broker from now on.
    pub(crate) fn tell_over(&self, link: Arc<Link>) {
        // A node has one transport for its life.
        let _ = self.0.broker.set(link);
    }

    /// Whether the broker that events go over answers, or what is wrong; `None`: they go over none.
    pub fn broker(&self) -> Option<Result<(), String>> {
        self.0.broker.get().map(|link| link.state())
    }

    /// Since when, by the database's clock, events of this node wait for a broker.
    pub fn untold_since(&self) -> Option<i64> {
        self.0.broker.get()?.untold_since()
    }

    pub(crate) fn lagged(&self, ms: i64) {
        metrics::lag(ms);
        self.0.lag_ms.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn deliver(&self, event: &Event, origin: Origin) {
        for (on_event, _) in self.listeners() {
            on_event(event, origin);
        }
    }

    /// Some events may be lost: everything that depends on them is dropped before the channel counts as whole again.
    pub(crate) fn gap(&self) {
        self.0.whole.store(false, Ordering::Release);
        self.doubt();
    }

    pub(crate) fn mended(&self) {
        self.doubt();
        self.0.whole.store(true, Ordering::Release);
    }

    /// Nobody knows whether these rows are committed: what of them has to be told by this node is looked for.
    pub(crate) fn commit_in_doubt(&self, rows: &[Row]) {
        if let Some(link) = self.0.broker.get() {
            link.in_doubt(rows);
        }
    }

    /// Something of which events were missed may have changed, though the outbox told all that Kettle nodes did.
    pub(crate) fn doubt(&self) {
        for (_, on_gap) in self.listeners() {
            on_gap();
        }
    }

    /// Tells the others of what was committed: `rows` of the outbox, and service events if there are `for_services`. Calls in
    /// quick succession become one.
    pub(crate) fn committed(&self, rows: Vec<Row>, for_services: bool) {
        if let Some(link) = self.0.broker.get() {
            link.committed(rows, for_services);
        } else if for_services || !rows.is_empty() {
            self.0.wake_others.notify_one();
        }
    }

    /// Service events were written here, or may have been elsewhere.
    pub(crate) fn service_event_written(&self) {
        self.0.service_events.send_replace(());
    }

    pub(crate) async fn wake_wanted(&self) {
        self.0.wake_others.notified().await;
    }

    fn listeners(&self) -> Vec<(Listener, GapListener)> {
        self.0.listeners.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
}
