//! What waits in memory to be told: filled by commits, emptied by whoever is connected to the broker.
//!
//! It is bounded. What does not fit, or was on its way when the connection ended, is not kept here: it is in the outbox,
//! and only the time of the oldest such row is remembered.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use tokio::sync::Notify;

use crate::outbox::Row;

/// How much may wait, in bytes of rows.
const MOST: usize = 16 << 20;
/// How many rows are taken at once.
const AT_ONCE: usize = 500;

/// Rows of one kind on their way.
#[derive(Debug, Default)]
pub struct Lane {
    state: Mutex<State>,
    filled: Notify,
}

/// What there is to do.
#[derive(Debug, PartialEq)]
pub enum Work {
    Rows(Vec<Row>),
    /// Rows of the outbox, from this time on.
    Since(i64),
}

#[derive(Debug, Default)]
struct State {
    /// Whether the broker takes rows now.
    open: bool,
    waiting: VecDeque<Row>,
    bytes: usize,
    /// When the oldest row was written of those that were taken.
    taken: Option<i64>,
    /// When the oldest row was written of those that are in the outbox only.
    behind: Option<i64>,
}

impl Lane {
    /// The rows of one transaction are committed: all of them wait here, or all are read from the outbox.
    pub fn push(&self, rows: Vec<Row>) {
        let Some(at) = rows.iter().map(|row| row.at).min() else { return };
        let mut state = self.state();
        let bytes = rows.iter().fold(state.bytes, |bytes, row| bytes.saturating_add(row.payload.len()));
        if state.open && state.behind.is_none() && bytes <= MOST {
            state.bytes = bytes;
            state.waiting.extend(rows);
        } else {
            state.behind = oldest([state.behind, Some(at)]);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The outbox may have rows, from this time on, that nobody pushed.
    pub fn look_from(&self, at: i64) {
        let mut state = self.state();
        state.behind = oldest([state.behind, Some(at)]);
        drop(state);
        self.filled.notify_one();
    }

    /// The broker takes rows from now on.
    pub fn open(&self) {
        self.state().open = true;
        self.filled.notify_one();
    }

    /// It takes none any more: what it has not confirmed has to be read from the outbox.
    pub fn close(&self) {
        let mut state = self.state();
        let since = state.since();
        *state = State { behind: since, ..State::default() };
    }

    /// What to tell next, when there is something. Call [`Lane::done`] once it is told.
    pub async fn take(&self) -> Work {
        loop {
            if let Some(work) = self.state().take() {
                return work;
            }
            self.filled.notified().await;
        }
    }

    /// What was taken last is told.
    pub fn done(&self) {
        self.state().taken = None;
    }

    /// When the oldest row was written that is not told, in epoch milliseconds.
    pub fn since(&self) -> Option<i64> {
        self.state().since()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl State {
    fn take(&mut self) -> Option<Work> {
        if self.waiting.is_empty() {
            // Rows that are committed from now on wait here again; those before are seen by a read of the outbox.
            self.taken = self.behind.take();
            return self.taken.map(Work::Since);
        }
        let count = self.waiting.len().min(AT_ONCE);
        let rows: Vec<Row> = self.waiting.drain(..count).collect();
        self.bytes = self.bytes.saturating_sub(rows.iter().map(|row| row.payload.len()).sum());
        self.taken = rows.iter().map(|row| row.at).min();
        Some(Work::Rows(rows))
    }

    fn since(&self) -> Option<i64> {
        oldest([self.behind, self.taken].into_iter().chain(self.waiting.iter().map(|row| Some(row.at))))
    }
}

fn oldest(times: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
    times.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, bytes: usize) -> Row {
        Row { id, at: id * 10, kind: "announcement".into(), payload: "x".repeat(bytes) }
    }

    #[tokio::test]
    async fn rows_come_out_in_their_order_and_count_as_untold_until_they_are_done() {
        let lane = Lane::default();
        lane.open();
        lane.push((1..=3).map(|id| row(id, 1)).collect());
        assert_eq!(lane.since(), Some(10));
        let Work::Rows(rows) = lane.take().await else { panic!("rows") };
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 2, 3]);
        lane.push(vec![row(4, 1)]);
        assert_eq!(lane.since(), Some(10), "what was taken may be lost yet");
        lane.done();
        assert_eq!(lane.since(), Some(40));
        assert_eq!(lane.take().await, Work::Rows(vec![row(4, 1)]));
        lane.done();
        assert_eq!(lane.since(), None);
    }

    #[tokio::test]
    async fn what_is_lost_with_the_connection_is_read_from_the_outbox() {
        let lane = Lane::default();
        lane.push(vec![row(1, 1)]);
        assert_eq!(lane.since(), Some(10), "it was closed from the start");
        lane.open();
        assert_eq!(lane.take().await, Work::Since(10));
        lane.push(vec![row(2, 1)]);
        lane.close();
        assert_eq!(lane.since(), Some(10), "the read was not done");
        lane.push(vec![row(3, 1)]);
        lane.open();
        assert_eq!(lane.take().await, Work::Since(10));
        lane.done();
        assert_eq!(lane.since(), None);
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let lane = Lane::default();
        lane.open();
        lane.push(vec![row(1, MOST)]);
        lane.push(vec![row(2, 1)]);
        lane.push(vec![row(3, 0)]);
        assert_eq!(lane.take().await, Work::Rows(vec![row(1, MOST)]));
        lane.done();
        assert_eq!(lane.take().await, Work::Since(20));
        lane.push(vec![row(4, 1)]);
        lane.done();
        assert_eq!(lane.take().await, Work::Rows(vec![row(4, 1)]), "there is room again");
    }

    #[tokio::test]
    async fn what_may_be_committed_is_looked_for() {
        let lane = Lane::default();
        lane.open();
        lane.look_from(50);
        assert_eq!(lane.since(), Some(50));
        assert_eq!(lane.take().await, Work::Since(50));
    }
}
