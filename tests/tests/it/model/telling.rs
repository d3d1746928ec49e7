//! What is published because of a row: announcements (`kt_outbox`) and commands to gateways (`kt_service_event`). The row is
//! written in the transaction of its cause, published under its id, and deleted when the broker has confirmed. Here no
//! lease keeps two nodes from publishing the same row: that only makes it rarer.

use stateright::{Model, Property, Representative};

use super::{NODES, fails, holds};

const ROWS: usize = 2;

const TOLD: &str = "what is deleted was heard";
const FINISHES: &str = "any node alone gets told what was committed, whatever the others did before";

#[test]
fn rows_that_are_deleted_after_the_confirm_are_all_heard() {
    holds(Telling::REAL.checker().symmetry());
}

#[test]
fn rows_that_are_deleted_before_they_are_published_are_lost() {
    fails(Telling { deleted: Deleted::First, ..Telling::REAL }, TOLD);
}

#[test]
fn without_the_brokers_confirm_rows_are_lost() {
    fails(Telling { deleted: Deleted::Unconfirmed, ..Telling::REAL }, TOLD);
}

#[test]
fn a_row_written_after_the_commit_of_its_cause_may_never_be() {
    fails(Telling { written: Written::AfterTheCommit, ..Telling::REAL }, FINISHES);
}

#[test]
fn rows_that_only_their_own_node_publishes_wait_for_ever() {
    fails(Telling { by: By::Committer, ..Telling::REAL }, FINISHES);
}

#[derive(Clone, Copy)]
struct Telling {
    written: Written,
    deleted: Deleted,
    by: By,
}

impl Telling {
    const REAL: Telling = Telling { written: Written::WithTheCause, deleted: Deleted::Confirmed, by: By::AnyNode };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    WithTheCause,
    AfterTheCommit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deleted {
    Confirmed,
    Unconfirmed,
    First,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    AnyNode,
    Committer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    causes: [Cause; ROWS],
    nodes: [Node; NODES],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cause {
    stage: Stage,
    /// How often others heard it, under the same id.
    heard: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Open,
    /// Committed by this node, and the row is not there yet.
    Rowless(usize),
    /// The row is there, of this node.
    Row(usize),
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    Dead,
    Idle,
    Read(usize),
    /// On its way to the broker.
    Published(usize),
    /// The broker has it, and said so.
    Confirmed(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Commit(usize, usize),
    WriteLate(usize),
    Read(usize, usize),
    Publish(usize),
    Confirm(usize),
    /// The broker has it, and the confirm is lost.
    LoseConfirm(usize),
    /// The broker dies before it has it.
    LoseMessage(usize),
    Delete(usize),
    Crash(usize),
    Restart(usize),
}

impl Telling {
    fn may_read(&self, state: &State, n: usize, r: usize) -> bool {
        match state.causes[r].stage {
            Stage::Row(of) => self.by == By::AnyNode || of == n,
            _ => false,
        }
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        let hear = |state: &mut State, r: usize| state.causes[r].heard = (before.causes[r].heard + 1).min(2);
        match (step, step.node().map(|n| before.nodes[n])) {
            (Step::Commit(n, r), _) => {
                let with = self.written == Written::WithTheCause;
                state.causes[r].stage = if with { Stage::Row(n) } else { Stage::Rowless(n) };
            }
            (Step::WriteLate(r), _) => {
                if let Stage::Rowless(n) = before.causes[r].stage {
                    state.causes[r].stage = Stage::Row(n);
                }
            }
            (Step::Read(n, r), _) => state.nodes[n] = Node::Read(r),
            (Step::Publish(n), Some(Node::Read(r))) => {
                if self.deleted == Deleted::First {
                    state.causes[r].stage = Stage::Deleted;
                }
                state.nodes[n] = Node::Published(r);
            }
            (Step::Confirm(n), Some(Node::Published(r))) => {
                hear(&mut state, r);
                state.nodes[n] = Node::Confirmed(r);
            }
            (Step::LoseConfirm(n), Some(Node::Published(r))) => {
                hear(&mut state, r);
                state.nodes[n] = Node::Idle;
            }
            (Step::LoseMessage(n), Some(Node::Published(r))) => {
                if self.deleted == Deleted::Unconfirmed {
                    state.causes[r].stage = Stage::Deleted;
                }
                state.nodes[n] = Node::Idle;
            }
            (Step::Delete(n), Some(Node::Confirmed(r))) => {
                state.causes[r].stage = Stage::Deleted;
                state.nodes[n] = Node::Idle;
            }
            (Step::Crash(n), _) => state.nodes[n] = Node::Dead,
            (Step::Restart(n), _) => state.nodes[n] = Node::Idle,
            _ => {}
        }
        state
    }

    fn finishes_alone(&self, state: &State, n: usize) -> bool {
        let mut state = state.clone();
        loop {
            let waiting = (0..ROWS).find(|r| self.may_read(&state, n, *r));
            let step = match (state.nodes[n], waiting) {
                (Node::Idle, Some(r)) => Step::Read(n, r),
                (Node::Read(_), _) => Step::Publish(n),
                (Node::Published(_), _) => Step::Confirm(n),
                (Node::Confirmed(_), _) => Step::Delete(n),
                (Node::Idle | Node::Dead, _) => {
                    return state.causes.iter().all(|cause| cause.stage == Stage::Open || cause.heard > 0);
                }
            };
            state = self.after(&state, step);
        }
    }
}

impl Step {
    fn node(self) -> Option<usize> {
        match self {
            Step::WriteLate(_) => None,
            Step::Commit(n, _) | Step::Read(n, _) => Some(n),
            Step::Publish(n) | Step::Confirm(n) | Step::LoseConfirm(n) | Step::LoseMessage(n) => Some(n),
            Step::Delete(n) | Step::Crash(n) | Step::Restart(n) => Some(n),
        }
    }
}

impl Representative for State {
    fn representative(&self) -> Self {
        let mut order: [usize; NODES] = std::array::from_fn(|n| n);
        let wrote = |n: usize| {
            self.causes.each_ref().map(|c| matches!(c.stage, Stage::Rowless(of) | Stage::Row(of) if of == n))
        };
        order.sort_by_key(|n| (self.nodes[*n], wrote(*n)));
        let mut state = self.clone();
        state.nodes = order.map(|n| self.nodes[n]);
        for cause in &mut state.causes {
            if let Stage::Rowless(n) | Stage::Row(n) = &mut cause.stage {
                *n = order.iter().position(|old| old == n).unwrap();
            }
        }
        state
    }
}

impl Model for Telling {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let cause = Cause { stage: Stage::Open, heard: 0 };
        vec![State { causes: std::array::from_fn(|_| cause.clone()), nodes: [Node::Idle; NODES] }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for (r, cause) in state.causes.iter().enumerate() {
            if matches!(cause.stage, Stage::Rowless(n) if state.nodes[n] != Node::Dead) {
                steps.push(Step::WriteLate(r));
            }
        }
        for (n, node) in state.nodes.iter().enumerate() {
            match node {
                Node::Dead => steps.push(Step::Restart(n)),
                Node::Idle => {
                    for r in 0..ROWS {
                        if state.causes[r].stage == Stage::Open {
                            steps.push(Step::Commit(n, r));
                        }
                        if self.may_read(state, n, r) {
                            steps.push(Step::Read(n, r));
                        }
                    }
                }
                Node::Read(_) => steps.push(Step::Publish(n)),
                Node::Published(_) => steps.extend([Step::Confirm(n), Step::LoseConfirm(n), Step::LoseMessage(n)]),
                Node::Confirmed(_) => steps.push(Step::Delete(n)),
            }
            if *node != Node::Dead {
                steps.push(Step::Crash(n));
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TOLD, |_, state: &State| {
                let on_its_way = |r: usize| state.nodes.contains(&Node::Published(r));
                let lost = |r: usize| state.causes[r].stage == Stage::Deleted && state.causes[r].heard == 0;
                (0..ROWS).all(|r| !lost(r) || on_its_way(r))
            }),
            Property::always(FINISHES, |model: &Telling, state: &State| {
                let living = (0..NODES).filter(|n| state.nodes[*n] != Node::Dead);
                living.into_iter().all(|n| model.finishes_alone(state, n))
            }),
            Property::sometimes("something is heard twice", |_, state: &State| {
                state.causes.iter().any(|cause| cause.heard == 2)
            }),
        ]
    }
}
