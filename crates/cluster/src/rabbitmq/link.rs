//! What this node's tasks know of the broker together: what waits to be told, and whether the broker answers.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::lane::Lane;
use crate::outbox::{LOOK_EVERY, Row};

/// How often the outbox is looked into while the broker is away.
const LOOK_EVERY_WITHOUT: Duration = Duration::from_millis(100);

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
    rows: Mutex<Rows>,
}

/// Of which rows events were heard since the last look into the outbox, and between that and the one before: what was heard
/// during a look, it may not have seen.
#[derive(Debug, Default)]
struct Rows {
    current: HashSet<i64>,
    previous: HashSet<i64>,
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
            rows: Mutex::default(),
        }
    }
}

impl Link {
    /// Rows are committed, and service events if there are `for_services`.
    pub fn committed(&self, rows: Vec<Row>, for_services: bool) {
        for row in rows {
            let lane = if row.is_announcement() { &self.announcements } else { &self.events };
            lane.push(row);
        }
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

    /// The event of a row was heard over the broker.
    pub fn heard_row(&self, row: i64) {
        self.rows().current.insert(row);
    }

    /// Whether the event of a row was heard over the broker, of late.
    pub fn knows(&self, row: i64) -> bool {
        let rows = self.rows();
        rows.current.contains(&row) || rows.previous.contains(&row)
    }

    /// Returns when it is time to look into the outbox: soon if the broker is away.
    pub async fn next_look(&self) {
        {
            // What was heard before the last look, that look has seen.
            let mut rows = self.rows();
            rows.previous = std::mem::take(&mut rows.current);
        }
        let pause = if self.hearing.load(Ordering::Acquire) { LOOK_EVERY } else { LOOK_EVERY_WITHOUT };
        // Either way it is time.
        let _ = tokio::time::timeout(pause, self.look.notified()).await;
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
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
