//! What this node has heard of and not yet acted upon: changed targets, to be matched in memory, and filters, to be
//! passed over all targets. Filled by events, so its functions are quick and never wait.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kettle_cluster::{Clock, Origin};
use tokio::sync::Notify;

use super::assigning::{Assigning, AssigningCache};
use crate::ctx::Tenant;

/// Changed targets that may wait. One more, and its tenant's are forgotten for a pass over all targets.
const CAPACITY: usize = 20_000;
/// How long the node on which a change was committed is let alone with it.
const ELSEWHERE_MS: i64 = 1000;
/// A pass over everything waits so long, so that what asks for it several times in a row gets it once.
const SETTLE_MS: i64 = 1000;

/// What waits on one node.
pub struct Waiting {
    /// Nothing is kept while nobody would take it up.
    on: AtomicBool,
    clock: Clock,
    queues: Mutex<Queues>,
    targets: Notify,
    passes: Notify,
    pub(super) assigning: AssigningCache,
}

#[derive(Default)]
struct Queues {
    /// By tenant, each tenant with some once in `turns`.
    targets: HashMap<Tenant, HashSet<String>>,
    turns: VecDeque<Tenant>,
    /// Heard of from other nodes, by the time from which on this one looks after it.
    later: VecDeque<(i64, Tenant, Change)>,
    /// The targets in `targets` and in `later`.
    count: usize,
    passes: HashMap<Tenant, (i64, Wanted)>,
    /// From when on all tenants are to be passed over.
    everything: Option<i64>,
}

enum Change {
    Targets(Vec<String>),
    Wanted(Wanted),
}

/// Which filters of a tenant are to be passed over all targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub all: bool,
    /// Those that ask about time.
    pub timed: bool,
    pub filters: BTreeSet<i64>,
    /// Those that ask about one of these fields.
    pub fields: BTreeSet<String>,
}

impl Wanted {
    pub fn all() -> Wanted {
        Wanted { all: true, ..Wanted::default() }
    }

    pub fn filter(filter: i64) -> Wanted {
        Wanted { filters: BTreeSet::from([filter]), ..Wanted::default() }
    }

    pub fn covers(&self, assigning: &Assigning) -> bool {
        self.all
            || (self.timed && assigning.timed)
            || self.filters.contains(&assigning.filter)
            || self.fields.iter().any(|field| assigning.asks_about(field))
    }

    fn add(&mut self, other: Wanted) {
        self.all |= other.all;
        self.timed |= other.timed;
        self.filters.extend(other.filters);
        self.fields.extend(other.fields);
    }
}

impl Waiting {
    pub fn new(clock: Clock, ttl: Duration) -> Waiting {
        Waiting {
            on: AtomicBool::new(false),
            clock,
            queues: Mutex::default(),
            targets: Notify::new(),
            passes: Notify::new(),
            assigning: AssigningCache::new(ttl),
        }
    }

    /// From now on changes are kept, to be taken up. What was before is found by a pass over everything.
    pub fn turn_on(&self) {
        self.on.store(true, Ordering::Release);
        self.lose_track();
    }

    /// Targets were changed, each in a way that a search can see, or its eligibility.
    pub(crate) fn targets_changed(&self, tenant: &str, controller_ids: &[String], origin: Origin) {
        if !self.on.load(Ordering::Acquire) || controller_ids.is_empty() {
            return;
        }
        let tenant = Tenant::new(tenant);
        if self.assigning.is_known_to_be_empty(&tenant) {
            return;
        }
        let mut queues = self.queues();
        if queues.count.saturating_add(controller_ids.len()) > CAPACITY {
            queues.forget_targets(&tenant);
            queues.want(&tenant, Wanted::all(), self.clock.now_ms() + SETTLE_MS);
            self.passes.notify_one();
            return;
        }
        match origin {
            Origin::Here => queues.add_targets(tenant, controller_ids.iter().cloned()),
            Origin::Elsewhere => {
                queues.count += controller_ids.len();
                let change = Change::Targets(controller_ids.to_vec());
                queues.later.push_back((self.clock.now_ms() + ELSEWHERE_MS, tenant, change));
            }
        }
        self.targets.notify_one();
    }

    /// The tenant's filters were changed; of `filter`, what it is assigned to.
    pub(crate) fn filters_changed(&self, tenant: &str, filter: Option<i64>, origin: Origin) {
        let tenant = Tenant::new(tenant);
        self.assigning.drop_tenant(&tenant);
        if let Some(filter) = filter {
            self.want_from(&tenant, Wanted::filter(filter), origin);
        }
    }

    /// The tenant's searches over targets by `fields` may find others than before; without fields, all searches.
    pub(crate) fn searches_changed(&self, tenant: &str, fields: &[String], origin: Origin) {
        let tenant = Tenant::new(tenant);
        if !self.assigning.is_known_to_be_empty(&tenant) {
            let wanted =
                Wanted { all: fields.is_empty(), fields: fields.iter().cloned().collect(), ..Wanted::default() };
            self.want_from(&tenant, wanted, origin);
        }
    }

    /// Events may have been missed.
    pub(crate) fn lose_track(&self) {
        self.assigning.drop_all();
        if self.on.load(Ordering::Acquire) {
            self.queues().everything.get_or_insert(self.clock.now_ms() + SETTLE_MS);
            self.passes.notify_one();
        }
    }

    fn want_from(&self, tenant: &Tenant, wanted: Wanted, origin: Origin) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let now = self.clock.now_ms();
        match origin {
            Origin::Here => self.want(tenant, wanted, now),
            Origin::Elsewhere => {
                // In the order of what came with it: a filter is set, then a target is changed.
                self.queues().later.push_back((now + ELSEWHERE_MS, tenant.clone(), Change::Wanted(wanted)));
                self.targets.notify_one();
            }
        }
    }

    /// Asks for a pass, not before a time.
    pub(super) fn want(&self, tenant: &Tenant, wanted: Wanted, not_before: i64) {
        self.queues().want(tenant, wanted, not_before);
        self.passes.notify_one();
    }

    /// Some changed targets of one tenant, at most `limit`; tenants take turns.
    pub(super) fn take_targets(&self, limit: usize) -> Option<(Tenant, Vec<String>)> {
        let mut queues = self.queues();
        if queues.ripen(self.clock.now_ms()) {
            self.passes.notify_one();
        }
        queues.take_targets(limit)
    }

    /// The passes that are due.
    pub(super) fn take_passes(&self) -> Vec<(Tenant, Wanted)> {
        let mut queues = self.queues();
        let now = self.clock.now_ms();
        queues.ripen(now);
        let due = queues.passes.extract_if(|_, (not_before, _)| *not_before <= now);
        due.map(|(tenant, (_, wanted))| (tenant, wanted)).collect()
    }

    /// Whether all tenants are to be passed over now; asked once, it is so no longer.
    pub(super) fn take_everything(&self) -> bool {
        let now = self.clock.now_ms();
        self.queues().everything.take_if(|due| *due <= now).is_some()
    }

    /// Returns when there may be targets to take.
    pub(super) async fn targets_wait(&self) {
        let next = self.queues().later.front().map(|(due, ..)| *due);
        match next {
            None => self.targets.notified().await,
            Some(due) => {
                let wait = u64::try_from(due - self.clock.now_ms()).unwrap_or(0);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                    () = self.targets.notified() => {}
                }
            }
        }
    }

    /// Returns when there may be passes to take.
    pub(super) async fn passes_wait(&self) {
        self.passes.notified().await;
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Queues {
    fn add_targets(&mut self, tenant: Tenant, controller_ids: impl IntoIterator<Item = String>) {
        let waiting = self.targets.entry(tenant.clone()).or_default();
        let before = waiting.len();
        waiting.extend(controller_ids);
        self.count += waiting.len() - before;
        if before == 0 && !waiting.is_empty() {
            self.turns.push_back(tenant);
        }
    }

    fn take_targets(&mut self, limit: usize) -> Option<(Tenant, Vec<String>)> {
        let tenant = self.turns.pop_front()?;
        let waiting = self.targets.remove(&tenant)?;
        let mut waiting = waiting.into_iter();
        let taken: Vec<String> = waiting.by_ref().take(limit).collect();
        let rest: HashSet<String> = waiting.collect();
        self.count -= taken.len();
        if !rest.is_empty() {
            self.targets.insert(tenant.clone(), rest);
            self.turns.push_back(tenant.clone());
        }
        Some((tenant, taken))
    }

    fn forget_targets(&mut self, tenant: &Tenant) {
        self.turns.retain(|other| other != tenant);
        self.count -= self.targets.remove(tenant).map_or(0, |waiting| waiting.len());
        let count = &mut self.count;
        self.later.retain(|(_, other, change)| match change {
            Change::Targets(ids) if other == tenant => {
                *count -= ids.len();
                false
            }
            _ => true,
        });
    }

    /// Takes over what other nodes have had their time for; whether passes are among it.
    fn ripen(&mut self, now: i64) -> bool {
        let mut passes = false;
        while let Some((_, tenant, change)) = self.later.pop_front_if(|(due, ..)| *due <= now) {
            match change {
                Change::Targets(ids) => {
                    self.count -= ids.len();
                    self.add_targets(tenant, ids);
                }
                Change::Wanted(wanted) => {
                    self.want(&tenant, wanted, now);
                    passes = true;
                }
            }
        }
        passes
    }

    fn want(&mut self, tenant: &Tenant, wanted: Wanted, not_before: i64) {
        let (due, known) = self.passes.entry(tenant.clone()).or_insert((not_before, Wanted::default()));
        *due = not_before.min(*due);
        known.add(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> (Waiting, Clock) {
        let clock = Clock::fixed(0);
        let waiting = Waiting::new(clock.clone(), Duration::from_secs(60));
        waiting.turn_on();
        (waiting, clock)
    }

    fn ids(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    fn count(waiting: &Waiting) -> usize {
        waiting.queues().count
    }

    #[test]
    fn tenants_take_turns_and_a_target_waits_once() {
        let (waiting, _) = waiting();
        waiting.targets_changed("A", &ids(0..5), Origin::Here);
        waiting.targets_changed("A", &ids(3..6), Origin::Here);
        waiting.targets_changed("B", &ids(0..2), Origin::Here);
        assert_eq!(count(&waiting), 8);
        let taken = std::iter::from_fn(|| waiting.take_targets(4));
        let taken: Vec<_> = taken.map(|(tenant, ids)| (tenant.id().to_owned(), ids.len())).collect();
        assert_eq!(taken, [("A".to_owned(), 4), ("B".to_owned(), 2), ("A".to_owned(), 2)]);
        assert_eq!(count(&waiting), 0);
    }

    #[test]
    fn what_other_nodes_have_committed_waits_for_a_second() {
        let (waiting, clock) = waiting();
        waiting.targets_changed("A", &ids(0..2), Origin::Elsewhere);
        waiting.filters_changed("A", Some(7), Origin::Elsewhere);
        clock.advance(ELSEWHERE_MS - 1);
        assert_eq!((waiting.take_targets(9), waiting.take_passes()), (None, Vec::new()));
        clock.advance(1);
        assert_eq!(waiting.take_targets(9).map(|(_, ids)| ids.len()), Some(2));
        assert_eq!(waiting.take_passes(), [(Tenant::new("A"), Wanted::filter(7))]);
        assert_eq!(count(&waiting), 0);
    }

    #[test]
    fn too_many_targets_are_forgotten_for_a_pass_over_all_of_their_tenant() {
        let (waiting, clock) = waiting();
        waiting.targets_changed("B", &ids(0..3), Origin::Here);
        waiting.targets_changed("A", &ids(0..3), Origin::Elsewhere);
        waiting.targets_changed("A", &ids(0..CAPACITY - 6), Origin::Here);
        assert_eq!(count(&waiting), CAPACITY);
        waiting.targets_changed("A", &ids(0..1), Origin::Here);
        assert_eq!(count(&waiting), 3);
        clock.advance(SETTLE_MS);
        assert_eq!(waiting.take_passes(), [(Tenant::new("A"), Wanted::all())]);
        assert_eq!(waiting.take_targets(9).map(|(tenant, ids)| (tenant, ids.len())), Some((Tenant::new("B"), 3)));
        assert_eq!((waiting.take_targets(9), count(&waiting)), (None, 0));
    }

    #[test]
    fn nothing_waits_while_nobody_takes_it_up() {
        let waiting = Waiting::new(Clock::fixed(0), Duration::from_secs(60));
        waiting.targets_changed("A", &ids(0..2), Origin::Here);
        waiting.filters_changed("A", Some(7), Origin::Here);
        waiting.searches_changed("A", &["tag".to_owned()], Origin::Here);
        waiting.lose_track();
        assert_eq!(
            (waiting.take_targets(9), waiting.take_passes(), waiting.take_everything()),
            (None, Vec::new(), false)
        );
    }
}
