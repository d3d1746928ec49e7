//! `targets::shared`: the view of one target in Redis, while nodes find and fill it there, drop what they hear of, start and
//! die, and Redis restarts or fails over.
//!
//! States of the target are numbered in the order of their commits. What a node has `heard` is the newest whose event was
//! delivered to it, or that was there when its channel's snapshot was taken. A script is one step of Redis, and the answer
//! comes later or never. There are two Redis processes: one has what the other had at some time, or nothing, when it takes
//! over; the nodes find it one by one. A node's own cache is `cache.rs`. Time is only in `Age`: more than four minutes since a
//! change, so that views and tokens from before it are gone, and the outbox is not asked for it.
//!
//! Node 0 is looked at; the other only fills, hears nothing and drops nothing: no node may depend on what others do.

use stateright::{Model, Property};

use super::{fails, holds};

const FRESH: &str = "no answer from Redis is older than what the node had heard when it was asked";

#[test]
fn what_is_shared_is_not_older_than_what_the_node_that_finds_it_has_heard() {
    holds(Shared::REAL.checker());
}

#[test]
fn it_is_not_either_when_redis_goes_there_and_back_again() {
    holds(Shared { takeovers: 2, faults: 0, ..Shared::REAL }.checker());
}

#[test]
fn what_was_read_is_only_kept_with_its_token() {
    fails(Shared { fill: Fill::Anyway, ..Shared::REAL }, FRESH);
}

#[test]
fn a_drop_takes_the_token_too() {
    fails(Shared { drop: Drop::ViewOnly, ..Shared::REAL }, FRESH);
}

#[test]
fn a_node_does_not_look_for_what_it_has_not_dropped_yet() {
    fails(Shared { find: Find::Always, ..Shared::REAL }, FRESH);
}

#[test]
fn a_node_that_starts_drops_what_it_did_not_hear_of() {
    fails(Shared { start: Start::DropsNothing, ..Shared::REAL }, FRESH);
}

#[test]
fn another_process_has_not_what_was_dropped_in_the_one_before() {
    fails(Shared { process: Process::Unnoticed, faults: 0, ..Shared::REAL }, FRESH);
}

#[test]
fn which_process_has_the_drops_is_looked_at_before_redis_is_asked() {
    fails(Shared { process: Process::ComparedLate, ..Shared::REAL }, FRESH);
}

#[test]
fn a_process_that_takes_over_again_is_another() {
    fails(Shared { name: Name::RunId, takeovers: 2, faults: 0, ..Shared::REAL }, FRESH);
}

#[derive(Clone, Copy)]
struct Shared {
    fill: Fill,
    drop: Drop,
    find: Find,
    start: Start,
    process: Process,
    name: Name,
    /// How often Redis restarts or fails over, and node 0 starts or may have missed events.
    takeovers: u8,
    faults: u8,
}

impl Shared {
    const REAL: Shared = Shared {
        fill: Fill::WithToken,
        drop: Drop::WithToken,
        find: Find::UnlessCovered,
        start: Start::DropsMissed,
        process: Process::Compared,
        name: Name::ReplicationId,
        takeovers: 1,
        faults: 1,
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    WithToken,
    Anyway,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drop {
    WithToken,
    ViewOnly,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Find {
    UnlessCovered,
    Always,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    DropsMissed,
    DropsNothing,
}

/// Whether the process that answers is held against the one that has this node's drops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    Compared,
    /// With the one that has them when the answer comes.
    ComparedLate,
    Unnoticed,
}

/// What a process is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// It changes with each restart, and when a replica takes over.
    ReplicationId,
    /// It changes with each restart.
    RunId,
}

const CHANGES: u8 = 1;
const ASKING: usize = 2;

/// The name of a process.
type Id = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    database: u8,
    /// Changes that are old, up to this one.
    old: u8,
    stores: [Store; 2],
    master: usize,
    /// The other one has not heard that it is not the master any more.
    split: bool,
    nodes: [Node; ASKING],
    takeovers: u8,
    faults: u8,
    stale: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Store {
    id: Id,
    data: Data,
}

/// View and token are of this generation: those of others can't come back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Data {
    /// Of the process that began it.
    generation: Option<Id>,
    view: Option<u8>,
    token: Option<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token {
    /// `None`: its request is over.
    of: Option<usize>,
    /// The state of the target when it was left.
    born: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    /// Whether events are followed.
    whole: bool,
    started: bool,
    heard: u8,
    /// The store that it is connected to.
    at: usize,
    waiting: Drops,
    under_way: Option<Dropping>,
    process: Option<Id>,
    request: Request,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Drops {
    all: bool,
    missed: bool,
    key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Dropping {
    drops: Drops,
    /// Where they are done, but in a process that has not those before.
    elsewhere: Option<Id>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    None,
    /// `FIND` has run, and the answer is on its way.
    Found {
        heard: u8,
        process: Option<Id>,
        by: Id,
        view: u8,
    },
    /// The token is left.
    Missed {
        process: Option<Id>,
        by: Id,
    },
    HasRead {
        state: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Change,
    Age,
    Deliver(usize),
    Mended(usize),
    Gap(usize),
    Restart(usize),
    /// And what it asks for is not covered.
    Find(usize),
    Answer(usize),
    Read(usize),
    FillIn(usize),
    /// Redis is asked no more, or its answer is lost.
    Lose(usize),
    /// What was missed is looked up.
    Take(usize),
    DropNow(usize),
    /// In the process that has not the drops before these.
    DropAll(usize),
    DropFails(usize),
    Replicate,
    FailOver,
    RestartEmpty,
    Reconnect(usize),
}

const NO_DATA: Data = Data { generation: None, view: None, token: None };
const EVERYTHING: Drops = Drops { all: true, missed: false, key: false };

impl Drops {
    fn are_none(self) -> bool {
        !self.all && !self.missed && !self.key
    }

    fn add(&mut self, drops: Drops) {
        let Drops { all, missed, key } = drops;
        *self = Drops { all: self.all | all, missed: self.missed | missed, key: self.key | key };
        if self.all {
            *self = EVERYTHING;
        }
    }
}

impl Data {
    fn run_drop(&mut self, model: &Shared, all: bool) {
        let token = self.token.filter(|_| model.drop == Drop::ViewOnly);
        *self = if all { NO_DATA } else { Data { view: None, token, ..*self } };
    }
}

impl State {
    fn fresh_id(&self) -> Id {
        let used = |id: Id| {
            let in_store = |store: &Store| store.id == id || store.data.generation == Some(id);
            let in_request = |request: &Request| match request {
                Request::Found { process, by, .. } | Request::Missed { process, by } => {
                    *process == Some(id) || *by == id
                }
                Request::None | Request::HasRead { .. } => false,
            };
            let in_node = |node: &Node| {
                let elsewhere = node.under_way.and_then(|dropping| dropping.elsewhere);
                node.process == Some(id) || elsewhere == Some(id) || in_request(&node.request)
            };
            self.stores.iter().any(in_store) || self.nodes.iter().any(in_node)
        };
        (0..).find(|id| !used(*id)).unwrap()
    }

    /// No process answers a node that is connected to a replica.
    fn answers(&self, n: usize) -> bool {
        self.nodes[n].at == self.master || self.split
    }

    fn end(&mut self, n: usize) {
        self.nodes[n].request = Request::None;
        for token in self.stores.iter_mut().filter_map(|store| store.data.token.as_mut()) {
            if token.of == Some(n) {
                token.of = None;
            }
        }
    }
}

impl Shared {
    /// Whether the answer of `by` may be used.
    fn compare(&self, state: &mut State, n: usize, before: Option<Id>, by: Id) -> bool {
        if n != 0 {
            return true;
        }
        let node = &mut state.nodes[n];
        let now = *node.process.get_or_insert(by);
        let same = match self.process {
            Process::Compared => before.unwrap_or(now) == by,
            Process::ComparedLate => now == by,
            Process::Unnoticed => true,
        };
        if !same {
            node.waiting.add(EVERYTHING);
        }
        same
    }

    fn request(&self, state: &mut State, step: Step) {
        match step {
            Step::Find(n) => {
                let Node { heard, process, .. } = state.nodes[n];
                let (database, store) = (state.database, &mut state.stores[state.nodes[n].at]);
                if store.data.generation != Some(store.id) {
                    store.data = Data { generation: Some(store.id), ..NO_DATA };
                }
                let by = store.id;
                match (store.data.view, store.data.token) {
                    (Some(_), _) if n != 0 => {}
                    (Some(view), _) => state.nodes[n].request = Request::Found { heard, process, by, view },
                    (None, None) => {
                        store.data.token = Some(Token { of: Some(n), born: database });
                        state.nodes[n].request = Request::Missed { process, by };
                    }
                    (None, Some(_)) => {
                        self.compare(state, n, process, by);
                        state.end(n);
                    }
                }
            }
            Step::Answer(n) => {
                let Request::Found { heard, process, by, view } = state.nodes[n].request else { return };
                if self.compare(state, n, process, by) {
                    state.stale |= view < heard;
                }
                state.end(n);
            }
            Step::Read(n) => {
                let Request::Missed { process, by } = state.nodes[n].request else { return };
                if self.compare(state, n, process, by) {
                    state.nodes[n].request = Request::HasRead { state: state.database };
                } else {
                    state.end(n);
                }
            }
            Step::FillIn(n) => {
                let Request::HasRead { state: read } = state.nodes[n].request else { return };
                let data = &mut state.stores[state.nodes[n].at].data;
                let is_there = data.token.is_some_and(|token| token.of == Some(n));
                if data.generation.is_some() && (is_there || self.fill == Fill::Anyway) {
                    (data.view, data.token) = (Some(read), None);
                }
                state.end(n);
            }
            _ => {}
        }
    }

    fn drops(&self, state: &mut State, step: Step) {
        match step {
            Step::Take(n) => {
                let node = &mut state.nodes[n];
                let mut drops = std::mem::take(&mut node.waiting);
                drops.key |= drops.missed && state.database > state.old;
                node.under_way = Some(Dropping { drops, elsewhere: None });
            }
            Step::DropNow(n) => {
                let store = &mut state.stores[state.nodes[n].at];
                let node = &mut state.nodes[n];
                let Some(dropping) = &mut node.under_way else { return };
                if !dropping.drops.all && !dropping.drops.key {
                    node.under_way = None;
                    return;
                }
                store.data.run_drop(self, dropping.drops.all);
                if node.process.is_some_and(|known| known != store.id) && self.process != Process::Unnoticed {
                    dropping.elsewhere = Some(store.id);
                } else {
                    node.process = Some(store.id);
                    node.under_way = None;
                }
            }
            Step::DropAll(n) => {
                let store = &mut state.stores[state.nodes[n].at];
                store.data.run_drop(self, true);
                let id = store.id;
                let elsewhere = state.nodes[n].under_way.and_then(|dropping| dropping.elsewhere);
                if elsewhere == Some(id) {
                    state.nodes[n].process = Some(id);
                    state.nodes[n].under_way = None;
                } else {
                    self.drops(state, Step::DropFails(n));
                }
            }
            Step::DropFails(n) => {
                let node = &mut state.nodes[n];
                if let Some(Dropping { drops, .. }) = node.under_way.take() {
                    node.waiting.add(drops);
                }
            }
            _ => {}
        }
    }

    fn redis(&self, state: &mut State, step: Step) {
        let (master, other) = (state.master, 1 - state.master);
        match step {
            Step::Replicate => {
                state.stores[other].data = state.stores[master].data.clone();
                state.split = false;
            }
            Step::FailOver => {
                state.takeovers += 1;
                if self.name == Name::ReplicationId {
                    state.stores[other].id = state.fresh_id();
                }
                (state.master, state.split) = (other, true);
            }
            Step::RestartEmpty => {
                state.takeovers += 1;
                state.stores[master] = Store { id: state.fresh_id(), data: NO_DATA };
            }
            _ => {}
        }
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        match step {
            Step::Change => state.database += 1,
            Step::Age => {
                state.old += 1;
                for data in state.stores.iter_mut().map(|store| &mut store.data) {
                    data.view = data.view.filter(|view| *view >= state.old);
                    data.token = data.token.filter(|token| token.born >= state.old);
                }
            }
            Step::Deliver(n) => {
                let node = &mut state.nodes[n];
                node.waiting.add(Drops { key: true, ..Drops::default() });
                node.heard += 1;
            }
            Step::Gap(n) => (state.faults, state.nodes[n].whole) = (before.faults + 1, false),
            Step::Mended(n) => {
                let node = &mut state.nodes[n];
                if node.started {
                    node.waiting.add(EVERYTHING);
                } else if self.start == Start::DropsMissed {
                    node.waiting.add(Drops { missed: true, ..Drops::default() });
                }
                (node.whole, node.started, node.heard) = (true, true, before.database);
            }
            Step::Restart(n) => {
                state.faults += 1;
                state.end(n);
                let missed = self.start == Start::DropsMissed;
                let waiting = Drops { missed, ..Drops::default() };
                state.nodes[n] = Node { at: before.master, waiting, ..NEW };
            }
            Step::Lose(n) => state.end(n),
            Step::Reconnect(n) => state.nodes[n].at = before.master,
            Step::Find(_) | Step::Answer(_) | Step::Read(_) | Step::FillIn(_) => self.request(&mut state, step),
            Step::Replicate | Step::FailOver | Step::RestartEmpty => self.redis(&mut state, step),
            step => self.drops(&mut state, step),
        }
        state
    }
}

const NEW: Node = Node {
    whole: false,
    started: false,
    heard: 0,
    at: 0,
    waiting: Drops { all: false, missed: false, key: false },
    under_way: None,
    process: None,
    request: Request::None,
};

impl Model for Shared {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let store = |id| Store { id, data: NO_DATA };
        let node = Node { whole: true, started: true, ..NEW };
        vec![State {
            database: 0,
            old: 0,
            stores: [store(0), store(1)],
            master: 0,
            split: false,
            nodes: std::array::from_fn(|_| node.clone()),
            takeovers: 0,
            faults: 0,
            stale: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.database < CHANGES {
            steps.push(Step::Change);
        }
        // Only who starts goes by it.
        if self.faults > 0 && state.old < state.database {
            steps.push(Step::Age);
        }
        if state.split || state.stores[0].data != state.stores[1].data {
            steps.push(Step::Replicate);
        }
        if state.takeovers < self.takeovers {
            steps.push(Step::RestartEmpty);
            if !state.split {
                steps.push(Step::FailOver);
            }
        }
        for (n, node) in state.nodes.iter().enumerate() {
            let spare = n == 0 && state.faults < self.faults;
            if spare {
                steps.push(Step::Restart(n));
            }
            if node.at != state.master {
                steps.push(Step::Reconnect(n));
            }
            let answers = state.answers(n);
            if !node.whole {
                steps.push(Step::Mended(n));
            } else {
                if spare {
                    steps.push(Step::Gap(n));
                }
                if n == 0 && node.heard < state.database {
                    steps.push(Step::Deliver(n));
                }
                let covered = !node.waiting.are_none() || node.under_way.is_some();
                if node.request == Request::None && answers && (!covered || self.find == Find::Always) {
                    steps.push(Step::Find(n));
                }
            }
            match node.request {
                Request::Found { .. } => steps.push(Step::Answer(n)),
                Request::Missed { .. } => steps.push(Step::Read(n)),
                Request::HasRead { .. } if answers => steps.extend([Step::FillIn(n), Step::Lose(n)]),
                Request::HasRead { .. } => steps.push(Step::Lose(n)),
                Request::None => {}
            }
            match node.under_way {
                None if !node.waiting.are_none() => steps.push(Step::Take(n)),
                None => {}
                Some(dropping) => {
                    steps.push(Step::DropFails(n));
                    if answers {
                        steps.push(if dropping.elsewhere.is_some() { Step::DropAll(n) } else { Step::DropNow(n) });
                    }
                }
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FRESH, |_, state: &State| !state.stale),
            Property::sometimes(
                "a node finds what another has read, after a change and a failover",
                |_, state: &State| {
                    let found = |node: &Node| matches!(node.request, Request::Found { heard: CHANGES, .. });
                    state.takeovers > 0 && state.nodes.iter().any(found)
                },
            ),
        ]
    }
}
