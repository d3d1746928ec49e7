//! Rows of the outbox that this node wrote, until its own reader has come by them: which of them were told here already.
//!
//! A row that is found and was not told is one whose commit got lost on its way back: it is told then.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

/// The rows of one node; nothing is noted unless a reader comes by.
#[derive(Default)]
pub(crate) struct Own(Mutex<State>);

#[derive(Default)]
struct State {
    followed: bool,
    /// Whether a row was told.
    rows: HashMap<i64, bool>,
}

impl Own {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// From now on a reader comes by the rows, those that are committed from here on.
    pub(crate) fn follow(&self) {
        let mut state = self.state();
        state.followed = true;
        state.rows.clear();
    }

    /// Rows are about to be committed.
    pub(crate) fn write(&self, rows: &[i64]) {
        let mut state = self.state();
        if state.followed {
            state.rows.extend(rows.iter().map(|row| (*row, false)));
        }
    }

    /// They are, and were told here; the reader may have come by already.
    pub(crate) fn told(&self, rows: &[i64]) {
        let mut state = self.state();
        for row in rows {
            if let Some(told) = state.rows.get_mut(row) {
                *told = true;
            }
        }
    }

    /// Nobody knows whether they are.
    pub(crate) fn leave(&self, rows: &[i64]) {
        let mut state = self.state();
        for row in rows {
            state.rows.remove(row);
        }
    }

    /// The reader comes by a row; whether it is still to be told.
    pub(crate) fn read(&self, row: i64) -> bool {
        self.state().rows.remove(&row) != Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_once_or_when_its_commit_got_lost() {
        let own = Own::default();
        own.follow();
        own.write(&[1, 2, 3]);
        own.told(&[1]);
        assert!(!own.read(1));
        own.leave(&[2]);
        assert!(own.read(2), "the commit's answer got lost");
        assert!(own.read(3), "twice does no harm: the reader was quicker than the commit's answer");
        own.told(&[3]);
        assert!(own.state().rows.is_empty());
    }

    #[test]
    fn nothing_is_noted_where_nobody_reads() {
        let own = Own::default();
        own.write(&[1]);
        own.told(&[1]);
        assert!(own.state().rows.is_empty());
    }
}
