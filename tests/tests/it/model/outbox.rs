//! `cluster::outbox` and `cluster::Events`: two nodes write events, all read them.
//!
//! Ids are given when a row is written, and rows are committed in any order. An event is known to a node when it was
//! delivered there, or when everything cached was dropped after its commit. Time is only in what it separates: a row is
//! old when it was written longer ago than rows are kept. What only a variant looks at (ids, wake-ups) only it has, and a
//! crash of the node that writes nothing is a gap: fewer states say the same.

use stateright::{Model, Property, Representative};

use super::{NODES, fails, holds};

const EVENTS: usize = 2;

const HEARD: &str = "after one more look, a node whose channel is whole knows of every event that was committed";

#[test]
fn an_outbox_read_by_snapshot_loses_nothing() {
    holds(Outbox::REAL.checker().symmetry());
}

#[test]
fn reading_by_the_last_id_loses_what_commits_late() {
    fails(Outbox { by: By::LastId, ..Outbox::REAL }, HEARD);
}

#[test]
fn a_node_that_looks_only_when_woken_misses_what_a_dead_one_could_not_tell() {
    fails(Outbox { look: Look::WhenWoken, ..Outbox::REAL }, HEARD);
}

#[test]
fn a_channel_that_is_whole_before_its_snapshot_misses_what_is_committed_between() {
    fails(Outbox { start: Start::MendedFirst, ..Outbox::REAL }, HEARD);
}

#[test]
fn a_node_that_does_not_notice_how_long_it_was_away_misses_what_was_pruned() {
    fails(Outbox { absence: Absence::Unnoticed, ..Outbox::REAL }, HEARD);
}

#[test]
fn a_transaction_that_may_stay_open_commits_what_is_pruned_at_once() {
    fails(Outbox { idle: Idle::Kept, ..Outbox::REAL }, HEARD);
}

#[test]
fn passing_over_all_own_rows_loses_those_whose_commit_was_not_answered() {
    fails(Outbox { own: Own::PassedOver, ..Outbox::REAL }, HEARD);
}

#[derive(Clone, Copy)]
struct Outbox {
    by: By,
    look: Look,
    start: Start,
    absence: Absence,
    idle: Idle,
    own: Own,
}

impl Outbox {
    const REAL: Outbox = Outbox {
        by: By::Snapshot,
        look: Look::Always,
        start: Start::SnapshotFirst,
        absence: Absence::Measured,
        idle: Idle::Ended,
        own: Own::DeliveredOnce,
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Snapshot,
    LastId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Once a second, woken or not.
    Always,
    WhenWoken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    SnapshotFirst,
    MendedFirst,
}

/// Whether a node that has not looked for as long as rows are kept declares a gap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absence {
    Measured,
    Unnoticed,
}

/// Whether the database ends a transaction that says nothing for nearly as long as rows are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Ended,
    Kept,
}

/// What a reader does with rows of its own node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    /// Delivers those that the commit could not.
    DeliveredOnce,
    PassedOver,
}

/// Events by bit.
type Set = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct State {
    events: [Event; EVENTS],
    nodes: [Node; NODES],
    last_id: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Event {
    row: Row,
    id: u8,
    old: bool,
    answer: Answer,
    /// The others were woken, or the wake-up was lost.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Row {
    None,
    Written,
    Committed,
    Pruned,
    RolledBack,
}

/// What the node that committed got to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Answer {
    Awaited,
    Delivered,
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    channel: Channel,
    /// The last snapshot, or the last id.
    seen: u8,
    knows: Set,
    woken: bool,
    /// Its last look is longer ago than rows are kept.
    away: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Channel {
    Dead,
    Down,
    /// The first of the two steps of joining is done: the snapshot, or the mending.
    Joining,
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write(usize),
    Commit(usize),
    Deliver(usize),
    /// The connection broke, or who waited was gone, before the commit was answered.
    LoseAnswer(usize),
    Wake(usize),
    LoseWake(usize),
    /// So much time passes that the row is old.
    Age(usize),
    Prune(usize),
    CurrentSnapshot(usize),
    Mended(usize),
    ReadSince(usize),
    Gap(usize),
    Crash(usize),
    Restart(usize),
}

fn writer(event: usize) -> usize {
    event % 2
}

impl State {
    fn set(&self, wanted: impl Fn(&Event) -> bool) -> Set {
        self.events.iter().enumerate().filter(|(_, event)| wanted(event)).map(|(bit, _)| 1 << bit).sum()
    }

    fn committed(&self) -> Set {
        self.set(|event| matches!(event.row, Row::Committed | Row::Pruned))
    }

    fn of_node(&self, node: usize) -> Set {
        (0..EVENTS).filter(|event| writer(*event) == node).map(|event| 1 << event).sum()
    }
}

impl Outbox {
    /// Rows that are there and that `node` has not read.
    fn unread(&self, state: &State, node: &Node) -> Set {
        let there = state.set(|event| event.row == Row::Committed);
        match self.by {
            By::Snapshot => there & !node.seen,
            By::LastId => there & state.set(|event| event.id > node.seen),
        }
    }

    fn cursor(&self, state: &State, before: u8) -> u8 {
        match self.by {
            By::Snapshot => state.committed(),
            By::LastId => {
                let there = state.events.iter().filter(|event| event.row == Row::Committed);
                there.map(|event| event.id).max().unwrap_or(0).max(before)
            }
        }
    }

    fn read_since(&self, state: &mut State, n: usize) {
        let node = &state.nodes[n];
        let mut rows = self.unread(state, node);
        if self.own == Own::PassedOver {
            rows &= !state.of_node(n);
        }
        let dropped = if node.away && self.absence == Absence::Measured { state.committed() } else { 0 };
        let seen = self.cursor(state, node.seen);
        let node = &mut state.nodes[n];
        node.knows |= rows | dropped;
        (node.seen, node.woken, node.away) = (seen, false, false);
    }

    fn heard_after_one_look(&self, state: &State) -> bool {
        let mut state = state.clone();
        for event in 0..EVENTS {
            let living = state.nodes[writer(event)].channel != Channel::Dead;
            let committed = matches!(state.events[event].row, Row::Committed | Row::Pruned);
            if living && committed && state.events[event].answer == Answer::Awaited {
                state = self.after(&state, Step::Deliver(event));
            }
            let untold = self.look == Look::WhenWoken && !state.events[event].told;
            if living && state.events[event].answer == Answer::Delivered && untold {
                state = self.after(&state, Step::Wake(event));
            }
        }
        (0..NODES).all(|n| {
            let mut state = state.clone();
            if state.nodes[n].channel == Channel::Up && (self.look == Look::Always || state.nodes[n].woken) {
                self.read_since(&mut state, n);
            }
            state.nodes[n].channel != Channel::Up || state.committed() & !state.nodes[n].knows == 0
        })
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        match step {
            Step::Write(e) => {
                state.events[e].row = Row::Written;
                if self.by == By::LastId {
                    state.last_id += 1;
                    state.events[e].id = state.last_id;
                }
            }
            Step::Commit(e) => state.events[e].row = Row::Committed,
            Step::Deliver(e) => {
                state.events[e].answer = Answer::Delivered;
                state.nodes[writer(e)].knows |= 1 << e;
            }
            Step::LoseAnswer(e) => state.events[e].answer = Answer::Lost,
            Step::Wake(e) => {
                state.events[e].told = true;
                for node in state.nodes.iter_mut().filter(|node| node.channel == Channel::Up) {
                    node.woken = true;
                }
            }
            Step::LoseWake(e) => state.events[e].told = true,
            Step::Age(e) if before.events[e].row == Row::Written && self.idle == Idle::Ended => {
                state.events[e].row = Row::RolledBack;
            }
            Step::Age(e) => {
                state.events[e].old = true;
                if before.events[e].row == Row::Committed {
                    for node in &mut state.nodes {
                        let unread = self.unread(before, node) & (1 << e) != 0;
                        node.away |= unread && matches!(node.channel, Channel::Joining | Channel::Up);
                    }
                }
            }
            Step::Prune(e) => state.events[e].row = Row::Pruned,
            Step::CurrentSnapshot(n) => {
                let seen = self.cursor(before, 0);
                let node = &mut state.nodes[n];
                node.seen = seen;
                node.channel = if node.channel == Channel::Joining { Channel::Up } else { Channel::Joining };
            }
            Step::Mended(n) => {
                let node = &mut state.nodes[n];
                node.knows = before.committed();
                node.channel = if node.channel == Channel::Joining { Channel::Up } else { Channel::Joining };
            }
            Step::ReadSince(n) => self.read_since(&mut state, n),
            Step::Gap(n) => state.nodes[n] = Node { channel: Channel::Down, ..NEW },
            Step::Crash(n) => {
                state.nodes[n] = Node { channel: Channel::Dead, ..NEW };
                for e in (0..EVENTS).filter(|e| writer(*e) == n) {
                    let event = &mut state.events[e];
                    if event.row == Row::Written {
                        event.row = Row::RolledBack;
                    }
                    if event.answer == Answer::Awaited {
                        event.answer = Answer::Lost;
                    }
                }
            }
            Step::Restart(n) => state.nodes[n].channel = Channel::Down,
        }
        state
    }
}

/// The two that write can change places, with their events.
impl Representative for State {
    fn representative(&self) -> Self {
        let swapped = |set: Set| (set & 1) << 1 | (set & 2) >> 1;
        let node = |node: &Node| Node { seen: swapped(node.seen), knows: swapped(node.knows), ..node.clone() };
        let [first, second, third] = &self.nodes;
        let other = State {
            events: [self.events[1].clone(), self.events[0].clone()],
            nodes: [node(second), node(first), node(third)],
            last_id: self.last_id,
        };
        if *self <= other { self.clone() } else { other }
    }
}

const NEW: Node = Node { channel: Channel::Down, seen: 0, knows: 0, woken: false, away: false };

impl Model for Outbox {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let event = Event { row: Row::None, id: 0, old: false, answer: Answer::Awaited, told: false };
        let events = std::array::from_fn(|_| event.clone());
        vec![State { events, nodes: [NEW; NODES], last_id: 0 }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for (e, event) in state.events.iter().enumerate() {
            let living = state.nodes[writer(e)].channel != Channel::Dead;
            match event.row {
                Row::None if living => steps.push(Step::Write(e)),
                Row::Written => {
                    steps.push(Step::Commit(e));
                    if !event.old {
                        steps.push(Step::Age(e));
                    }
                }
                Row::Committed if event.old => steps.push(Step::Prune(e)),
                Row::Committed => steps.push(Step::Age(e)),
                Row::None | Row::Pruned | Row::RolledBack => {}
            }
            if living && matches!(event.row, Row::Committed | Row::Pruned) {
                match event.answer {
                    Answer::Awaited => steps.extend([Step::Deliver(e), Step::LoseAnswer(e)]),
                    Answer::Delivered if self.look == Look::WhenWoken && !event.told => {
                        steps.extend([Step::Wake(e), Step::LoseWake(e)])
                    }
                    Answer::Delivered | Answer::Lost => {}
                }
            }
        }
        let (first, second) = match self.start {
            Start::SnapshotFirst => (Step::CurrentSnapshot as fn(usize) -> Step, Step::Mended as fn(usize) -> Step),
            Start::MendedFirst => (Step::Mended as fn(usize) -> Step, Step::CurrentSnapshot as fn(usize) -> Step),
        };
        for (n, node) in state.nodes.iter().enumerate() {
            match node.channel {
                Channel::Dead => steps.push(Step::Restart(n)),
                Channel::Down => steps.push(first(n)),
                Channel::Joining => steps.extend([second(n), Step::Gap(n)]),
                Channel::Up => {
                    steps.push(Step::Gap(n));
                    let finds = self.cursor(state, node.seen) != node.seen || node.away || node.woken;
                    if finds && (self.look == Look::Always || node.woken) {
                        steps.push(Step::ReadSince(n));
                    }
                }
            }
            if state.of_node(n) != 0 && node.channel != Channel::Dead {
                steps.push(Step::Crash(n));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HEARD, |model: &Outbox, state: &State| model.heard_after_one_look(state)),
            Property::sometimes("all events are pruned, and known", |_, state: &State| {
                let pruned = state.events.iter().all(|event| event.row == Row::Pruned);
                pruned && state.nodes.iter().all(|node| node.knows == state.committed())
            }),
        ]
    }
}
