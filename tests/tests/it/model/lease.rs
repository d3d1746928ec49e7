//! `cluster::Lease` and the passes that work under it: a job of three batches, each of which must take effect once.
//!
//! A node that is paused is one that takes no step for a while, so every pause is among the orders that are visited. Epochs
//! are only compared, and are renumbered so that there are finitely many; so is the time that a lease has left.

use stateright::{Model, Property, Representative};

use super::{NODES, fails, holds};

/// In ticks of the database's clock.
const TTL: i8 = 3;
/// How far the clock of the second node is ahead, where nodes go by their own.
const AHEAD: i8 = 4;
const BATCHES: usize = 3;
/// Batches by bit.
const ALL: u8 = (1 << BATCHES) - 1;

const ONCE: &str = "a batch takes effect at most once";
const CURRENT: &str = "nothing is committed under a lease that has passed on";
const RUNS: &str = "no lease is taken while it still runs";
const FINISHES: &str = "any node alone finishes the job soon, whatever the others did before";

#[test]
fn a_lease_with_a_fence_does_each_batch_once_and_any_node_takes_over() {
    // No node is special, so states that differ only in the nodes' names are one.
    holds(Leases::REAL.checker().symmetry());
}

#[test]
fn without_a_fence_a_batch_takes_effect_twice() {
    fails(Leases { guard: Guard::Nothing, ..Leases::REAL }, ONCE);
}

#[test]
fn a_fence_that_does_not_lock_the_lease_is_none() {
    fails(Leases { guard: Guard::Unlocked, ..Leases::REAL }, CURRENT);
    fails(Leases { guard: Guard::Unlocked, ..Leases::REAL }, ONCE);
}

#[test]
fn by_the_nodes_own_clocks_leases_are_taken_too_early_and_too_late() {
    fails(Leases { clock: ClockOf::Node, ..Leases::REAL }, RUNS);
    fails(Leases { clock: ClockOf::Node, ..Leases::REAL }, FINISHES);
}

#[test]
fn a_paused_transaction_that_the_database_does_not_end_keeps_the_lease() {
    fails(Leases { idle: Idle::Kept, ..Leases::REAL }, FINISHES);
}

#[derive(Clone, Copy)]
struct Leases {
    guard: Guard,
    clock: ClockOf,
    idle: Idle,
}

impl Leases {
    const REAL: Leases = Leases { guard: Guard::Fence, clock: ClockOf::Database, idle: Idle::Ended };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// The writing transaction reads the lease's row and locks it until its end.
    Fence,
    /// It reads the row, and does not lock it.
    Unlocked,
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClockOf {
    Database,
    Node,
}

/// What becomes of a transaction whose node says nothing for long (`idle_in_transaction_session_timeout`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    Ended,
    Kept,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    lease: Row,
    nodes: [Node; NODES],
    /// How often each batch took effect.
    effects: [u8; BATCHES],
    /// Something was committed under a lease that had passed on.
    late: bool,
    /// A lease was taken while it still ran.
    stolen: bool,
}

/// A row of `kt_lease`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    epoch: u8,
    /// `expires_at` less the time of the database.
    left: i8,
    /// The same, were all clocks right.
    runs: i8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    Idle,
    /// In a pass. `todo`: what was left when it read.
    Holds {
        epoch: u8,
        todo: u8,
    },
    /// In a writing transaction, behind the fence.
    Writes {
        epoch: u8,
        todo: u8,
    },
    Dead,
}

impl Node {
    fn epoch_mut(&mut self) -> Option<&mut u8> {
        match self {
            Node::Holds { epoch, .. } | Node::Writes { epoch, .. } => Some(epoch),
            Node::Idle | Node::Dead => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Acquire(usize),
    Refresh(usize),
    Read(usize),
    Fence(usize),
    Commit(usize),
    Release(usize),
    /// The transaction is rolled back: the connection is lost, or the database ends it.
    Rollback(usize),
    Crash(usize),
    Restart(usize),
    Tick,
}

impl Leases {
    fn now(&self, node: usize) -> i8 {
        if self.clock == ClockOf::Node && node == 1 { AHEAD } else { 0 }
    }

    fn todo(state: &State) -> u8 {
        (0..BATCHES).filter(|batch| state.effects[*batch] == 0).map(|batch| 1 << batch).sum()
    }

    /// Whether `node` can take the lease now: it has run out, and no transaction keeps it.
    fn is_free(&self, state: &State, node: usize) -> bool {
        let locked = self.guard == Guard::Fence
            && state.nodes.iter().any(|n| matches!(n, Node::Writes { epoch, .. } if *epoch == state.lease.epoch));
        state.lease.left <= self.now(node) && !locked
    }

    /// What `node` would do next if nothing went wrong.
    fn next(&self, state: &State, node: usize) -> Option<Step> {
        Some(match &state.nodes[node] {
            Node::Idle if self.is_free(state, node) => Step::Acquire(node),
            Node::Holds { todo: 0, .. } if Self::todo(state) != 0 => Step::Read(node),
            Node::Holds { todo: 0, .. } => Step::Release(node),
            Node::Holds { .. } => Step::Fence(node),
            Node::Writes { .. } => Step::Commit(node),
            Node::Idle | Node::Dead => return None,
        })
    }

    /// Only `node` goes on, and time; the database ends what the others have open, if it does.
    fn finishes_alone(&self, state: &State, node: usize) -> bool {
        let mut state = state.clone();
        if self.idle == Idle::Ended {
            for other in (0..NODES).filter(|other| *other != node) {
                if matches!(state.nodes[other], Node::Writes { .. }) {
                    state = self.after(&state, Step::Rollback(other));
                }
            }
        }
        let mut ticks = 0;
        while Self::todo(&state) != 0 {
            let step = self.next(&state, node).unwrap_or(Step::Tick);
            if step == Step::Tick {
                ticks += 1;
            }
            if ticks > TTL {
                return false;
            }
            state = self.after(&state, step);
        }
        true
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        let current = before.lease.epoch;
        match step {
            Step::Acquire(n) => {
                state.stolen |= before.lease.runs > 0;
                state.lease = Row { epoch: current + 1, left: self.now(n) + TTL, runs: TTL };
                state.nodes[n] = Node::Holds { epoch: current + 1, todo: 0 };
            }
            Step::Refresh(n) => match &before.nodes[n] {
                Node::Holds { epoch, .. } if *epoch == current => {
                    state.lease = Row { epoch: current, left: self.now(n) + TTL, runs: TTL };
                }
                _ => state.nodes[n] = Node::Idle,
            },
            Step::Read(n) => {
                if let Node::Holds { todo, .. } = &mut state.nodes[n] {
                    *todo = Self::todo(before);
                }
            }
            Step::Fence(n) => {
                if let Node::Holds { epoch, todo } = before.nodes[n] {
                    let lost = self.guard != Guard::Nothing && epoch != current;
                    state.nodes[n] = if lost { Node::Idle } else { Node::Writes { epoch, todo } };
                }
            }
            Step::Commit(n) => {
                if let Node::Writes { epoch, todo } = before.nodes[n] {
                    let batch = todo.trailing_zeros() as usize;
                    state.effects[batch] = (state.effects[batch] + 1).min(2);
                    state.late |= epoch != current;
                    state.nodes[n] = Node::Holds { epoch, todo: todo & !(1 << batch) };
                }
            }
            Step::Release(n) => {
                if matches!(before.nodes[n], Node::Holds { epoch, .. } if epoch == current) {
                    state.lease = Row { epoch: current, left: 0, runs: 0 };
                }
                state.nodes[n] = Node::Idle;
            }
            Step::Rollback(n) | Step::Restart(n) => state.nodes[n] = Node::Idle,
            Step::Crash(n) => state.nodes[n] = Node::Dead,
            Step::Tick => {
                state.lease.left = (state.lease.left - 1).max(0);
                state.lease.runs = (state.lease.runs - 1).max(0);
            }
        }
        state.renumber();
        state
    }
}

impl State {
    fn renumber(&mut self) {
        let mut epochs: Vec<u8> = self.nodes.iter_mut().filter_map(|n| n.epoch_mut().copied()).collect();
        epochs.push(self.lease.epoch);
        epochs.sort_unstable();
        epochs.dedup();
        let place = |epoch: u8| epochs.iter().position(|e| *e == epoch).unwrap() as u8;
        self.lease.epoch = place(self.lease.epoch);
        for epoch in self.nodes.iter_mut().filter_map(Node::epoch_mut) {
            *epoch = place(*epoch);
        }
    }
}

impl Representative for State {
    fn representative(&self) -> Self {
        let mut state = self.clone();
        state.nodes.sort_unstable();
        state
    }
}

impl Model for Leases {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            lease: Row { epoch: 0, left: 0, runs: 0 },
            nodes: [Node::Idle, Node::Idle, Node::Idle],
            effects: [0; BATCHES],
            late: false,
            stolen: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.lease.left > 0 || state.lease.runs > 0 {
            steps.push(Step::Tick);
        }
        for n in 0..NODES {
            match &state.nodes[n] {
                Node::Idle if self.is_free(state, n) => steps.push(Step::Acquire(n)),
                Node::Idle => {}
                Node::Holds { todo, .. } => {
                    steps.extend([Step::Refresh(n), Step::Read(n), Step::Release(n)]);
                    if *todo != 0 {
                        steps.push(Step::Fence(n));
                    }
                }
                Node::Writes { .. } => steps.extend([Step::Commit(n), Step::Rollback(n)]),
                Node::Dead => steps.push(Step::Restart(n)),
            }
            if state.nodes[n] != Node::Dead {
                steps.push(Step::Crash(n));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |_, state: &State| state.effects.iter().all(|effect| *effect <= 1)),
            Property::always(CURRENT, |_, state: &State| !state.late),
            Property::always(RUNS, |_, state: &State| !state.stolen),
            Property::always(FINISHES, |model: &Leases, state: &State| {
                let living = (0..NODES).filter(|n| state.nodes[*n] != Node::Dead);
                living.into_iter().all(|n| model.finishes_alone(state, n))
            }),
            Property::sometimes("the job is done", |_, state: &State| Leases::todo(state) & ALL == 0),
        ]
    }
}
