//! What `targets::view`, `tenants` and `target_filters::assigning` keep: the answer about one target on one node, while two
//! requests ask for it and the target is changed on this node and on others.
//!
//! States of the target are numbered in the order of their commits. What a node has `heard` is the newest state whose
//! event was delivered to it, or that was there when the channel's snapshot was taken; while the channel is not whole, it is
//! what the database holds. Caches of different nodes know nothing of each other, so one is enough.

use stateright::{Model, Property};

use super::{fails, holds};

const CHANGES: u8 = 2;
const REQUESTS: usize = 2;

const FRESH: &str = "no answer is older than what the node had heard when it was asked";
const SETTLED: &str = "with nothing under way, what is kept is not older than what the node has heard";

#[test]
fn what_is_kept_is_dropped_by_events_and_only_used_while_none_can_be_missed() {
    holds(Cache::REAL.checker());
}

#[test]
fn a_read_that_overlaps_a_change_must_not_be_kept() {
    fails(Cache { keep: Keep::Anyway, ..Cache::REAL }, SETTLED);
}

#[test]
fn looking_for_drops_before_keeping_comes_too_early() {
    fails(Cache { keep: Keep::CheckedBefore, ..Cache::REAL }, SETTLED);
}

#[test]
fn looking_for_drops_after_keeping_comes_too_late_for_a_request_between() {
    fails(Cache { keep: Keep::CheckedAfter, ..Cache::REAL }, FRESH);
}

#[test]
fn a_drop_is_counted_before_it_is_done() {
    fails(Cache { drop: Drop::CountedLast, ..Cache::REAL }, SETTLED);
}

#[test]
fn the_channel_is_whole_after_the_caches_are_dropped() {
    fails(Cache { mended: Mended::WholeFirst, ..Cache::REAL }, FRESH);
}

#[test]
fn while_events_can_be_missed_nothing_kept_is_an_answer() {
    fails(Cache { gap: Gap::StillAnswers, ..Cache::REAL }, FRESH);
}

#[derive(Clone, Copy)]
struct Cache {
    keep: Keep,
    drop: Drop,
    mended: Mended,
    gap: Gap,
}

impl Cache {
    const REAL: Cache =
        Cache { keep: Keep::IfNoneDropped, drop: Drop::CountedFirst, mended: Mended::DropFirst, gap: Gap::ReadsAnew };
}

/// What becomes of an answer that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// In one step with looking whether something was dropped since the read began.
    IfNoneDropped,
    CheckedBefore,
    CheckedAfter,
    Anyway,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drop {
    CountedFirst,
    CountedLast,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mended {
    DropFirst,
    WholeFirst,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    ReadsAnew,
    StillAnswers,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    database: u8,
    heard: u8,
    /// Changes committed here, and on other nodes, that were not delivered yet: by bit.
    own: u8,
    others: u8,
    channel: Channel,
    /// A commit of this node that is dropping what is kept.
    dropping: Option<Dropping>,
    kept: Option<u8>,
    requests: [Request; REQUESTS],
    stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Channel {
    Up,
    Delivering(Dropping),
    /// Not whole from here on.
    Losing(Dropping),
    Down,
    /// `current_snapshot`: the newest state that it saw.
    Joined(u8),
    Mending(Dropping),
}

/// Drops are counted, then done, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Dropping {
    /// What the node has heard when it is over.
    heard: u8,
    half: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    None,
    /// Knows that the channel is whole.
    Asks {
        heard: u8,
    },
    Misses {
        heard: u8,
    },
    /// Has looked how often things were dropped; `dropped`: since then, some were.
    Begins {
        heard: u8,
        dropped: bool,
    },
    HasRead {
        heard: u8,
        dropped: bool,
        state: u8,
    },
    /// Has looked that nothing was dropped, and keeps it next.
    WillKeep {
        heard: u8,
        state: u8,
    },
    HasKept {
        heard: u8,
        dropped: bool,
        state: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    ChangeHere,
    ChangeElsewhere,
    DeliverOwn(u8),
    DropOwn,
    Deliver(u8),
    Drop,
    Gap,
    CurrentSnapshot,
    Mended,
    Ask(usize),
    Get(usize),
    Begin(usize),
    Read(usize),
    Look(usize),
    Keep(usize),
    Invalidate(usize),
}

impl State {
    fn is_whole(&self, model: &Cache) -> bool {
        match self.channel {
            Channel::Up | Channel::Delivering(_) => true,
            Channel::Mending(_) => model.mended == Mended::WholeFirst,
            Channel::Losing(_) | Channel::Down | Channel::Joined(_) => false,
        }
    }

    /// One of the two steps of a drop; returns what is left of it.
    fn drop(&mut self, model: &Cache, dropping: Dropping) -> Option<Dropping> {
        if dropping.half == (model.drop == Drop::CountedLast) {
            for request in &mut self.requests {
                match request {
                    Request::Begins { dropped, .. }
                    | Request::HasRead { dropped, .. }
                    | Request::HasKept { dropped, .. } => *dropped = true,
                    _ => {}
                }
            }
        } else {
            self.kept = None;
        }
        if dropping.half {
            self.heard = self.heard.max(dropping.heard);
            return None;
        }
        Some(Dropping { half: true, ..dropping })
    }

    fn answer(&mut self, request: usize, heard: u8, state: u8) {
        self.stale |= state < heard;
        self.requests[request] = Request::None;
    }
}

impl Cache {
    fn request(&self, state: &mut State, step: Step) {
        match step {
            Step::Ask(r) => {
                let whole = state.is_whole(self);
                let heard = if whole { state.heard } else { state.database };
                let kept = whole || self.gap == Gap::StillAnswers;
                state.requests[r] = if kept { Request::Asks { heard } } else { Request::Misses { heard } };
            }
            Step::Get(r) => {
                if let Request::Asks { heard } = state.requests[r] {
                    match state.kept {
                        Some(kept) => state.answer(r, heard, kept),
                        None => state.requests[r] = Request::Misses { heard },
                    }
                }
            }
            Step::Begin(r) => {
                if let Request::Misses { heard } = state.requests[r] {
                    state.requests[r] = Request::Begins { heard, dropped: false };
                }
            }
            Step::Read(r) => {
                if let Request::Begins { heard, dropped } = state.requests[r] {
                    state.requests[r] = Request::HasRead { heard, dropped, state: state.database };
                }
            }
            Step::Look(r) => {
                if let Request::HasRead { heard, dropped, state: read } = state.requests[r] {
                    if dropped {
                        state.answer(r, heard, read);
                    } else {
                        state.requests[r] = Request::WillKeep { heard, state: read };
                    }
                }
            }
            Step::Keep(r) => match state.requests[r] {
                Request::HasRead { heard, dropped, state: read } => match self.keep {
                    Keep::CheckedAfter => {
                        state.kept = Some(read);
                        state.requests[r] = Request::HasKept { heard, dropped, state: read };
                    }
                    keep => {
                        if !dropped || keep == Keep::Anyway {
                            state.kept = Some(read);
                        }
                        state.answer(r, heard, read);
                    }
                },
                Request::WillKeep { heard, state: read } => {
                    state.kept = Some(read);
                    state.answer(r, heard, read);
                }
                _ => {}
            },
            Step::Invalidate(r) => {
                if let Request::HasKept { heard, dropped, state: read } = state.requests[r] {
                    if dropped {
                        state.kept = None;
                    }
                    state.answer(r, heard, read);
                }
            }
            _ => {}
        }
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        let begun = |heard| Dropping { heard, half: false };
        match step {
            Step::ChangeHere => {
                state.database += 1;
                state.own |= 1 << state.database;
            }
            Step::ChangeElsewhere => {
                state.database += 1;
                state.others |= 1 << state.database;
            }
            Step::DeliverOwn(change) => {
                state.own &= !(1 << change);
                state.dropping = Some(begun(change));
            }
            Step::DropOwn => state.dropping = before.dropping.and_then(|dropping| state.drop(self, dropping)),
            Step::Deliver(change) => {
                state.others &= !(1 << change);
                state.channel = Channel::Delivering(begun(change));
            }
            Step::Drop => {
                let (dropping, goes_on, then): (_, fn(Dropping) -> Channel, _) = match before.channel {
                    Channel::Delivering(dropping) => (dropping, Channel::Delivering, Channel::Up),
                    Channel::Losing(dropping) => (dropping, Channel::Losing, Channel::Down),
                    Channel::Mending(dropping) => (dropping, Channel::Mending, Channel::Up),
                    Channel::Up | Channel::Down | Channel::Joined(_) => return state,
                };
                state.channel = state.drop(self, dropping).map_or(then, goes_on);
            }
            Step::Gap => state.channel = Channel::Losing(begun(0)),
            Step::CurrentSnapshot => {
                state.channel = Channel::Joined(state.database);
                state.others = 0;
            }
            Step::Mended => {
                if let Channel::Joined(snapshot) = before.channel {
                    state.channel = Channel::Mending(begun(snapshot));
                    if self.mended == Mended::WholeFirst {
                        state.heard = state.heard.max(snapshot);
                    }
                }
            }
            step => self.request(&mut state, step),
        }
        state
    }
}

impl Model for Cache {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            database: 0,
            heard: 0,
            own: 0,
            others: 0,
            channel: Channel::Up,
            dropping: None,
            kept: None,
            requests: [Request::None; REQUESTS],
            stale: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.database < CHANGES {
            steps.extend([Step::ChangeHere, Step::ChangeElsewhere]);
        }
        let changes = |set: u8| (1..=CHANGES).filter(move |change| set & (1 << change) != 0);
        match state.dropping {
            Some(_) => steps.push(Step::DropOwn),
            None => steps.extend(changes(state.own).map(Step::DeliverOwn)),
        }
        match state.channel {
            Channel::Up => {
                steps.push(Step::Gap);
                steps.extend(changes(state.others).map(Step::Deliver));
            }
            Channel::Delivering(_) | Channel::Losing(_) | Channel::Mending(_) => steps.push(Step::Drop),
            Channel::Down => steps.push(Step::CurrentSnapshot),
            Channel::Joined(_) => steps.push(Step::Mended),
        }
        for (r, request) in state.requests.iter().enumerate() {
            steps.push(match request {
                Request::None => Step::Ask(r),
                Request::Asks { .. } => Step::Get(r),
                Request::Misses { .. } => Step::Begin(r),
                Request::Begins { .. } => Step::Read(r),
                Request::HasRead { .. } if self.keep == Keep::CheckedBefore => Step::Look(r),
                Request::HasRead { .. } | Request::WillKeep { .. } => Step::Keep(r),
                Request::HasKept { .. } => Step::Invalidate(r),
            });
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FRESH, |_, state: &State| !state.stale),
            Property::always(SETTLED, |_, state: &State| {
                let under_way = state.requests.iter().any(|request| *request != Request::None)
                    || state.dropping.is_some()
                    || state.channel != Channel::Up;
                under_way || state.kept.is_none_or(|kept| kept >= state.heard)
            }),
            Property::sometimes("the last change is answered from what is kept", |_, state: &State| {
                state.kept == Some(CHANGES)
                    && state.requests.iter().any(|r| matches!(r, Request::Asks { heard: CHANGES }))
            }),
        ]
    }
}
