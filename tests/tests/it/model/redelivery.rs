//! Service events of the broker: taken from its queue, stored in one transaction with their id (`kt_taken_event`), then
//! acknowledged. The broker delivers again what a node did not acknowledge, also while that node is still at work on it.

use stateright::{Model, Property, Representative};

use super::{NODES, fails, holds};

const MESSAGES: usize = 2;

const ONCE: &str = "a message takes effect at most once";
const KEPT: &str = "a message that was acknowledged has taken effect";
const FINISHES: &str = "any node alone acts on all messages, whatever the others did before";

#[test]
fn messages_stored_with_their_id_and_then_acknowledged_take_effect_once() {
    holds(Redelivery::REAL.checker().symmetry());
}

#[test]
fn without_their_ids_messages_take_effect_twice() {
    fails(Redelivery { taken: Taken::Unnoted, ..Redelivery::REAL }, ONCE);
}

#[test]
fn an_id_noted_in_a_transaction_of_its_own_loses_the_message() {
    fails(Redelivery { taken: Taken::Before, ..Redelivery::REAL }, KEPT);
}

#[test]
fn a_message_acknowledged_before_the_commit_is_lost() {
    fails(Redelivery { acknowledged: Acknowledged::First, ..Redelivery::REAL }, KEPT);
}

#[test]
fn an_id_forgotten_while_its_message_may_come_again_is_as_good_as_none() {
    fails(Redelivery { forgotten: Forgotten::AnyTime, ..Redelivery::REAL }, ONCE);
}

#[derive(Clone, Copy)]
struct Redelivery {
    taken: Taken,
    acknowledged: Acknowledged,
    forgotten: Forgotten,
}

impl Redelivery {
    const REAL: Redelivery =
        Redelivery { taken: Taken::WithTheEffect, acknowledged: Acknowledged::Last, forgotten: Forgotten::Late };
}

/// When the row of `kt_taken_event` is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    WithTheEffect,
    Before,
    Unnoted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    Last,
    First,
}

/// When that row goes: it is kept for longer than a message may take to come again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forgotten {
    Late,
    AnyTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    messages: [Message; MESSAGES],
    nodes: [Node; NODES],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Message {
    place: Place,
    /// Its id is in `kt_taken_event`.
    taken: bool,
    /// How often it was written into `kt_service_event`.
    effects: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Queue,
    With(usize),
    Acknowledged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Node {
    Dead,
    Idle,
    /// At work on a message, which the broker may have given to another by now.
    Has(usize, Did),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Did {
    Take,
    /// The id is committed, and nothing else.
    Note,
    Commit,
    Acknowledge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Take(usize, usize),
    Note(usize),
    Commit(usize),
    Acknowledge(usize),
    /// The broker gives what the node has to others; the node works on.
    LoseConnection(usize),
    Forget(usize),
    Crash(usize),
    Restart(usize),
}

impl Redelivery {
    /// What a node that has a message does next.
    fn next(&self, n: usize, did: Did) -> Step {
        match did {
            Did::Take if self.acknowledged == Acknowledged::First => Step::Acknowledge(n),
            Did::Take | Did::Acknowledge if self.taken == Taken::Before => Step::Note(n),
            Did::Take | Did::Note | Did::Acknowledge => Step::Commit(n),
            Did::Commit => Step::Acknowledge(n),
        }
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        match step {
            Step::Take(n, m) => {
                state.messages[m].place = Place::With(n);
                state.nodes[n] = Node::Has(m, Did::Take);
            }
            Step::Note(n) => {
                if let Node::Has(m, _) = before.nodes[n] {
                    let did = if before.messages[m].taken { Did::Commit } else { Did::Note };
                    state.messages[m].taken = true;
                    state.nodes[n] = Node::Has(m, did);
                }
            }
            Step::Commit(n) => {
                if let Node::Has(m, _) = before.nodes[n] {
                    let message = &mut state.messages[m];
                    // Two transactions can't both insert the id: the second waits for the first, and finds it.
                    if self.taken != Taken::WithTheEffect || !message.taken {
                        message.effects = (message.effects + 1).min(2);
                    }
                    message.taken = self.taken != Taken::Unnoted;
                    let over = self.acknowledged == Acknowledged::First;
                    state.nodes[n] = if over { Node::Idle } else { Node::Has(m, Did::Commit) };
                }
            }
            Step::Acknowledge(n) => {
                if let Node::Has(m, _) = before.nodes[n] {
                    if before.messages[m].place == Place::With(n) {
                        state.messages[m].place = Place::Acknowledged;
                    }
                    let over = self.acknowledged == Acknowledged::Last;
                    state.nodes[n] = if over { Node::Idle } else { Node::Has(m, Did::Acknowledge) };
                }
            }
            Step::LoseConnection(n) => state.lose(n),
            Step::Forget(m) => state.messages[m].taken = false,
            Step::Crash(n) => {
                state.lose(n);
                state.nodes[n] = Node::Dead;
            }
            Step::Restart(n) => state.nodes[n] = Node::Idle,
        }
        state
    }

    fn finishes_alone(&self, state: &State, n: usize) -> bool {
        let mut state = state.clone();
        (0..NODES).filter(|other| *other != n).for_each(|other| state.lose(other));
        loop {
            let waiting = (0..MESSAGES).find(|m| state.messages[*m].place == Place::Queue);
            let step = match (state.nodes[n], waiting) {
                (Node::Has(_, did), _) => self.next(n, did),
                (Node::Idle, Some(m)) => Step::Take(n, m),
                _ => return state.messages.iter().all(|message| message.effects > 0),
            };
            state = self.after(&state, step);
        }
    }
}

impl State {
    fn lose(&mut self, n: usize) {
        for message in self.messages.iter_mut().filter(|message| message.place == Place::With(n)) {
            message.place = Place::Queue;
        }
    }

    fn is_with_someone(&self, m: usize) -> bool {
        self.nodes.iter().any(|node| matches!(node, Node::Has(at, _) if *at == m))
    }
}

impl Representative for State {
    fn representative(&self) -> Self {
        let mut order: [usize; NODES] = std::array::from_fn(|n| n);
        let holds = |n: usize| self.messages.each_ref().map(|message| message.place == Place::With(n));
        order.sort_by_key(|n| (self.nodes[*n], holds(*n)));
        let mut state = self.clone();
        state.nodes = order.map(|n| self.nodes[n]);
        for message in &mut state.messages {
            if let Place::With(n) = &mut message.place {
                *n = order.iter().position(|old| old == n).unwrap();
            }
        }
        state
    }
}

impl Model for Redelivery {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let message = Message { place: Place::Queue, taken: false, effects: 0 };
        vec![State { messages: std::array::from_fn(|_| message.clone()), nodes: [Node::Idle; NODES] }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for (m, message) in state.messages.iter().enumerate() {
            let over = message.place == Place::Acknowledged && !state.is_with_someone(m);
            if message.taken && (over || self.forgotten == Forgotten::AnyTime) {
                steps.push(Step::Forget(m));
            }
        }
        for (n, node) in state.nodes.iter().enumerate() {
            match node {
                Node::Dead => steps.push(Step::Restart(n)),
                Node::Idle => {
                    let waiting = (0..MESSAGES).filter(|m| state.messages[*m].place == Place::Queue);
                    steps.extend(waiting.map(|m| Step::Take(n, m)));
                }
                Node::Has(_, did) => steps.push(self.next(n, *did)),
            }
            if state.messages.iter().any(|message| message.place == Place::With(n)) {
                steps.push(Step::LoseConnection(n));
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
            Property::always(ONCE, |_, state: &State| state.messages.iter().all(|message| message.effects <= 1)),
            Property::always(KEPT, |_, state: &State| {
                // Acknowledged first, a message is only lost once nobody has it.
                let lost = |m: usize| {
                    let message = &state.messages[m];
                    message.place == Place::Acknowledged && message.effects == 0 && !state.is_with_someone(m)
                };
                (0..MESSAGES).all(|m| !lost(m))
            }),
            Property::always(FINISHES, |model: &Redelivery, state: &State| {
                let living = (0..NODES).filter(|n| state.nodes[*n] != Node::Dead);
                living.into_iter().all(|n| model.finishes_alone(state, n))
            }),
        ]
    }
}
