//! Waiting until the other nodes have heard what was committed here: then an acknowledged write is in force on every node.
//!
//! A node that hears events of another says so by gossip, all that it heard in a while together. Who commits waits for those
//! that are alive, and never for long: a node that does not answer in time is not waited for again until it does.
//! So this is a promise about speed, not the guard against stale answers: that is `Events::whole`. Model:
//! `tests/it/model/hearing.rs`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::membership::SEEN_AFTER;

/// The topic of gossip that says what was heard.
pub(crate) const TOPIC: &str = "heard";
/// Between two sayings, for each node alive: so that a cluster of any size says as much in all.
const SAY_EVERY: Duration = Duration::from_millis(2);
/// What a saying may hold, in bytes.
const LONGEST: usize = 7_000;

/// What this node has told and not all others have heard, and what it has heard and not said yet.
pub(crate) struct Heard {
    longest_wait: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The other nodes alive; `false`: not to be waited for, because it was too slow the last time.
    others: HashMap<String, bool>,
    /// When it was looked who is alive.
    looked: Option<Instant>,
    /// By the row of the outbox.
    waits: HashMap<i64, Wait>,
    to_say: BTreeMap<String, Vec<i64>>,
}

#[derive(Default)]
struct Wait {
    /// Who has heard it.
    heard: HashSet<String>,
    awaited: Option<Awaited>,
}

struct Awaited {
    missing: HashSet<String>,
    done: oneshot::Sender<()>,
}

impl Heard {
    pub(crate) fn new(longest_wait: Duration) -> Heard {
        Heard { longest_wait, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Who else is alive, by what membership saw then.
    pub(crate) fn set_others(&self, alive: &HashSet<String>, looked: Instant) {
        let mut state = self.state();
        state.looked = Some(looked);
        state.others.retain(|node, _| alive.contains(node));
        for node in alive {
            state.others.entry(node.clone()).or_insert(true);
        }
        let awaited = state.waits.values_mut().filter_map(|wait| wait.awaited.as_mut());
        awaited.for_each(|awaited| awaited.missing.retain(|node| alive.contains(node)));
        settle(&mut state);
    }

    /// Who else is alive.
    pub(crate) fn others(&self) -> HashSet<String> {
        self.state().others.keys().cloned().collect()
    }

    /// A node that joins hears from now on. Whether it is one that is waited for.
    pub(crate) fn hears(&self, node: &str) -> bool {
        self.state().others.get_mut(node).map(|quick| *quick = true).is_some()
    }

    /// How many nodes are alive, this one included.
    pub(crate) fn nodes(&self) -> usize {
        self.state().others.len() + 1
    }

    /// To be called before the commit of `rows`, whose hearing is then waited for by [`Hearing::wait`].
    pub(crate) fn expect(&self, rows: &[i64]) -> Hearing<'_> {
        self.state().waits.extend(rows.iter().map(|row| (*row, Wait::default())));
        Hearing { of: self, rows: rows.to_owned() }
    }

    /// The wait for a row that is committed: for those who are alive now, and not for those who were when it began. Who has
    /// joined meanwhile may have looked for the last time before the commit.
    fn wait_for(&self, row: i64) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        let State { others, waits, .. } = &mut *state;
        let wait = waits.get_mut(&row)?;
        let quick = others.iter().filter(|(node, quick)| **quick && !wait.heard.contains(*node));
        let missing: HashSet<String> = quick.map(|(node, _)| node.clone()).collect();
        if missing.is_empty() {
            return None;
        }
        let (done, heard) = oneshot::channel();
        wait.awaited = Some(Awaited { missing, done });
        Some(heard)
    }

    /// `node` says what it has heard of whom, as [`Heard::take_to_say`] wrote it.
    pub(crate) fn said(&self, node: &str, me: &str, text: &str) {
        let mut state = self.state();
        if let Some(quick) = state.others.get_mut(node) {
            *quick = true;
        }
        for (teller, rows) in text.split(' ').filter_map(|part| part.split_once(':')) {
            if teller != me {
                continue;
            }
            for row in rows.split(',').filter_map(|row| row.parse().ok()) {
                let Some(wait) = state.waits.get_mut(&row) else { continue };
                wait.heard.insert(node.to_owned());
                if let Some(awaited) = &mut wait.awaited {
                    awaited.missing.remove(node);
                }
            }
        }
        settle(&mut state);
    }

    /// This node has applied an event of another.
    pub(crate) fn applied(&self, teller: &str, row: i64) {
        self.state().to_say.entry(teller.to_owned()).or_default().push(row);
    }

    pub(crate) fn has_to_say(&self) -> bool {
        !self.state().to_say.is_empty()
    }

    /// How long to gather between two sayings.
    pub(crate) fn pause(&self) -> Duration {
        SAY_EVERY.saturating_mul(u32::try_from(self.nodes()).unwrap_or(u32::MAX))
    }

    /// `NODE:ROW,ROW… NODE:…`, in texts of bounded length.
    pub(crate) fn take_to_say(&self) -> Vec<String> {
        let to_say = std::mem::take(&mut self.state().to_say);
        let mut texts = Vec::new();
        let mut text = String::new();
        for (teller, rows) in to_say {
            for rows in rows.chunks(256) {
                let rows: Vec<String> = rows.iter().map(i64::to_string).collect();
                let part = format!("{teller}:{}", rows.join(","));
                if !text.is_empty() && text.len() + part.len() > LONGEST {
                    texts.push(std::mem::take(&mut text));
                }
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&part);
            }
        }
        texts.extend(Some(text).filter(|text| !text.is_empty()));
        texts
    }
}

/// Ends the waits that miss nobody any more.
fn settle(state: &mut State) {
    for wait in state.waits.values_mut() {
        if let Some(over) = wait.awaited.take_if(|awaited| awaited.missing.is_empty()) {
            // Who waited may have gone.
            let _ = over.done.send(());
        }
    }
}

/// One wait. Dropped, it is over.
pub(crate) struct Hearing<'a> {
    of: &'a Heard,
    rows: Vec<i64>,
}

impl Hearing<'_> {
    /// To be called after the commit: returns when all have heard, or the longest wait is over.
    pub(crate) async fn wait(self) {
        if self.of.longest_wait.is_zero() {
            return;
        }
        let asked = Instant::now();
        let until = asked + self.of.longest_wait;
        let hung = self.of.state().looked.is_some_and(|looked| asked.duration_since(looked) >= SEEN_AFTER);
        for row in &self.rows {
            let Some(heard) = self.of.wait_for(*row) else { continue };
            if tokio::time::timeout_at(until, heard).await.is_err() {
                return self.is_slow(*row);
            }
        }
        if hung {
            // Another node may have joined meanwhile, and gone on without this one.
            tokio::time::sleep_until(until).await;
        }
    }

    /// Not all have heard of a row in time.
    fn is_slow(&self, row: i64) {
        let mut state = self.of.state();
        let Some(awaited) = state.waits.remove(&row).and_then(|wait| wait.awaited) else { return };
        for node in awaited.missing {
            if let Some(quick) = state.others.get_mut(&node)
                && *quick
            {
                *quick = false;
                tracing::info!(node, "a node is slow to hear of changes; writes do not wait for it until it does");
            }
        }
    }
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        let mut state = self.of.state();
        for row in &self.rows {
            state.waits.remove(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn is_with(here: &Heard, nodes: &[&str]) {
        here.set_others(&nodes.iter().map(|node| (*node).to_owned()).collect(), Instant::now());
    }

    #[tokio::test]
    async fn a_commit_waits_for_all_that_are_alive() {
        let here = Heard::new(LONG);
        here.expect(&[1]).wait().await;
        is_with(&here, &["b"]);
        let hearing = here.expect(&[6, 7]);
        // It joins between that and the commit.
        is_with(&here, &["b", "c"]);
        let (b, c) = (Heard::new(LONG), Heard::new(LONG));
        for (node, name) in [(&b, "b"), (&c, "c")] {
            node.applied("a", 6);
            node.applied("a", 7);
            node.applied("x", 7);
            for text in node.take_to_say() {
                here.said(name, "a", &text);
            }
            assert!(node.take_to_say().is_empty());
            let missing = [6, 7].map(|row| here.wait_for(row).is_some());
            assert_eq!(missing, [name == "b"; 2], "c is waited for, though it was not there when the commit began");
        }
        hearing.wait().await;
        assert!(here.state().waits.is_empty());
    }

    #[tokio::test]
    async fn who_is_slow_or_gone_is_not_waited_for() {
        let here = Heard::new(Duration::from_millis(20));
        is_with(&here, &["b"]);
        let waits = |row| {
            let hearing = here.expect(&[row]);
            (here.wait_for(row).is_some(), hearing)
        };
        here.expect(&[1]).wait().await;
        assert!(!waits(2).0, "b did not answer in time");
        here.said("b", "a", "a:1");
        here.expect(&[3]).wait().await;
        assert!(!waits(4).0, "nor this time");
        assert!(here.hears("b") && !here.hears("c"), "it has joined anew; and a stranger");
        let (waits_for_b, hearing) = waits(5);
        assert!(waits_for_b);
        is_with(&here, &[]);
        hearing.wait().await;
        assert!(!waits(6).0, "b is gone");
    }

    #[tokio::test]
    async fn each_row_of_a_commit_is_waited_for() {
        let here = Heard::new(LONG);
        is_with(&here, &["b"]);
        let hearing = here.expect(&[1, 2]);
        here.said("b", "a", "a:2");
        assert!(here.wait_for(1).is_some() && here.wait_for(2).is_none());
        here.said("b", "a", "a:1");
        hearing.wait().await;
    }

    #[tokio::test]
    async fn who_has_not_looked_for_long_who_is_alive_waits_in_full() {
        let wait = Duration::from_millis(50);
        let (here, begun) = (Heard::new(wait), Instant::now());
        here.set_others(&HashSet::new(), begun.checked_sub(SEEN_AFTER).unwrap());
        here.expect(&[1]).wait().await;
        assert!(begun.elapsed() >= wait);
    }

    #[test]
    fn a_saying_is_bounded_and_complete() {
        let node = Heard::new(LONG);
        for row in 0..5_000_i64 {
            node.applied(&format!("node-{}", row % 3), i64::MAX - row);
        }
        let texts = node.take_to_say();
        assert!(texts.iter().all(|text| text.len() < 7_900), "{:?}", texts.iter().map(String::len).collect::<Vec<_>>());
        let rows: usize = texts.iter().flat_map(|t| t.split(' ')).map(|part| part.split(',').count()).sum();
        assert_eq!(rows, 5_000);
    }
}
