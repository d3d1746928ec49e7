//! What this node's tasks know of the broker together: what waits to be told, and whether the broker answers.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::lane::Lane;
use crate::outbox::{LOOK_EVERY, Row};

/// How often the outbox is looked into while the broker is away.
const LOOK_EVERY_WITHOUT: Duration = Duration::from_millis(100);
/// A row's event that was told is known for as long as this at least: far longer than a look takes, or a message is under way.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// A node's connections to the broker, as the rest of it sees them.
#[derive(Debug)]
pub struct Link {
    /// Kettle's own events.
    pub events: Lane,
    pub announcements: Lane,
    /// Service events were written here.
    pub service_events: Notify,
    /// The outbox is to be looked into now.
    look: Notify,
    told: Mutex<Result<(), String>>,
    heard: Mutex<Result<(), String>>,
    hearing: AtomicBool,
    told_here: Mutex<Rows>,
}

/// The rows whose events this node was told of late, be it over the broker or by the outbox.
#[derive(Debug)]
struct Rows {
    current: HashSet<i64>,
    previous: HashSet<i64>,
    /// When the previous ones were the current.
    turned: Instant,
}

impl Rows {
    fn knows(&mut self, row: i64) -> bool {
        if self.turned.elapsed() >= KNOWN_FOR {
            self.turned = Instant::now();
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.contains(&row) || self.previous.contains(&row)
    }
}

impl Default for Link {
    fn default() -> Link {
        let not_yet = || Mutex::new(Err("not connected yet".to_owned()));
        Link {
            events: Lane::default(),
            announcements: Lane::default(),
            service_events: Notify::new(),
            look: Notify::new(),
            told: not_yet(),
            heard: not_yet(),
            hearing: AtomicBool::new(false),
            told_here: Mutex::new(Rows { current: HashSet::new(), previous: HashSet::new(), turned: Instant::now() }),
        }
    }
}

impl Link {
    /// Rows are committed, and service events if there are `for_services`.
    pub fn committed(&self, rows: Vec<Row>, for_services: bool) {
        let (announcements, events): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(Row::is_announcement);
        self.announcements.push(announcements);
        self.events.push(events);
        if for_services {
            self.service_events.notify_one();
        }
    }

    /// Nobody knows whether these rows are committed. If so, the announcements are told.
    pub fn in_doubt(&self, rows: &[Row]) {
        for row in rows.iter().filter(|row| row.is_announcement()) {
            self.announcements.look_from(row.at);
        }
    }

    /// Whether the broker takes what is told.
    pub fn tells(&self, state: Result<(), String>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Whether other nodes are heard over the broker. Either way, what they committed meanwhile is looked for.
    pub fn hears(&self, state: Result<(), String>) {
        self.hearing.store(state.is_ok(), Ordering::Release);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.look.notify_one();
    }

    /// Tells the event of a row to this node if that was not done before: the broker brings it, and the outbox has it. When this
    /// returns it is told, whoever did it.
    pub fn once(&self, row: i64, tell: impl FnOnce()) {
        let mut rows = self.rows();
        if !rows.knows(row) {
            tell();
            rows.current.insert(row);
        }
    }

    /// Which rows were told is forgotten: in a database that has lost its last transactions, others get their numbers.
    pub fn forget(&self) {
        let mut rows = self.rows();
        rows.current.clear();
        rows.previous.clear();
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.told_here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when it is time to look into the outbox: soon if the broker is away.
    pub async fn next_look(&self) {
        let pause = if self.hearing.load(Ordering::Acquire) { LOOK_EVERY } else { LOOK_EVERY_WITHOUT };
        // Either way it is time.
        let _ = tokio::time::timeout(pause, self.look.notified()).await;
    }

    /// Whether both connections are there, or why not.
    pub fn state(&self) -> Result<(), String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the oldest announcement was written that is not told, by the database's clock.
    pub fn untold_since(&self) -> Option<i64> {
        self.announcements.since()
    }
}
