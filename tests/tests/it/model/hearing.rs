//! `cluster::heard`, `Membership` and `Events::whole`: a commit is answered when the others have said that they applied its
//! events, while nodes join, hang, are lost and come back.
//!
//! Any node can stand still at any step, and any message of gossip be late or never come. Time is only in what it separates:
//! `Timeout` (write-wait is over), `SeenAfter` (a node has joined for three seconds), `Bound` (three seconds since an answer),
//! `TakenForDead` (ten seconds of silence). What a node `knows` was delivered there, or everything was dropped after it. How
//! the outbox is read is `outbox.rs`; here that is two steps. A node that starts again is a stranger to the others.
//!
//! Node 0 commits, the others hear, and nobody asks what they commit. So of what nodes know of each other only what node 0 knows is
//! here, and a node that joins waits for nobody else: that it may do earlier than the code does.

use stateright::{Model, Property};

use super::{NODES, fails, holds};

const HEARD: &str = "what was answered is known to every node that is whole, but to one that was not waited for";
const BOUND: &str = "three seconds after an answer it is known to every node that is whole";

#[test]
fn what_was_answered_is_in_force_on_every_node_that_is_waited_for() {
    holds(Hearing::REAL.checker());
}

#[test]
fn a_commit_of_several_events_is_answered_when_all_of_them_are_heard() {
    holds(Hearing { changes: &[0b11], faults: 1, ..Hearing::REAL }.checker());
}

#[test]
fn commits_of_one_node_do_not_stand_for_each_other() {
    holds(Hearing { changes: &[0b01, 0b10], faults: 0, ..Hearing::REAL }.checker());
}

#[test]
fn a_node_that_joins_must_not_use_caches_before_the_others_wait_for_it() {
    fails(Hearing { came: Came::NotSaid, ..Hearing::REAL }, HEARD);
}

#[test]
fn a_node_that_joined_looks_once_more_before_it_uses_caches() {
    fails(Hearing { look: Look::Any, ..Hearing::REAL }, HEARD);
}

#[test]
fn that_look_counts_from_its_beginning() {
    fails(Hearing { look: Look::ByItsEnd, ..Hearing::REAL }, HEARD);
}

#[test]
fn who_is_waited_for_is_not_settled_before_the_commit() {
    fails(Hearing { asks: Asks::BeforeTheCommit, ..Hearing::REAL }, HEARD);
}

#[test]
fn a_node_that_hung_while_another_joined_has_not_heard_of_it() {
    fails(Hearing { members: Members::OfAnyAge, ..Hearing::REAL }, HEARD);
}

#[test]
fn a_node_says_what_it_heard_after_it_dropped_what_it_kept() {
    fails(Hearing { says: Says::First, ..Hearing::REAL }, HEARD);
}

#[test]
fn the_last_event_of_a_commit_does_not_stand_for_those_before_it() {
    fails(Hearing { changes: &[0b11], rows: Rows::Last, ..Hearing::REAL }, HEARD);
}

#[test]
fn a_node_that_does_not_notice_how_long_it_hung_answers_from_before() {
    fails(Hearing { absence: Absence::Unnoticed, ..Hearing::REAL }, BOUND);
}

#[derive(Clone, Copy)]
struct Hearing {
    /// The rows of each. All are made by node 0, at the same time.
    changes: &'static [Set],
    /// How often nodes start, lose the channel, or are silent for ten seconds, in all.
    faults: u8,
    came: Came,
    look: Look,
    asks: Asks,
    members: Members,
    says: Says,
    rows: Rows,
    absence: Absence,
}

impl Hearing {
    const REAL: Hearing = Hearing {
        changes: &[0b01],
        faults: 2,
        came: Came::Said,
        look: Look::ByItsBeginning,
        asks: Asks::AfterTheCommit,
        members: Members::Fresh,
        says: Says::Last,
        rows: Rows::All,
        absence: Absence::Measured,
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// Until all have answered, or for three seconds.
    Said,
    NotSaid,
}

/// Which look ends a joining.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    ByItsBeginning,
    ByItsEnd,
    Any,
}

/// When it is settled who is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    AfterTheCommit,
    BeforeTheCommit,
}

/// What becomes of an answer if the last look at who is alive was longer ago than a joining lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Members {
    /// It waits in full.
    Fresh,
    OfAnyAge,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Last,
    First,
}

/// The rows of one commit that are waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    All,
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Absence {
    Measured,
    Unnoticed,
}

/// Rows, or nodes, by bit.
type Set = u8;

const ROWS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    changes: Vec<Change>,
    nodes: [Node; NODES],
    faults: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Change {
    stage: Stage,
    /// Whom the node that commits knew.
    asked: Set,
    /// By row: who has said that it applied it, and who is waited for.
    heard: [Set; ROWS],
    missing: [Set; ROWS],
    /// What was known of members when they were asked was older than a joining lasts.
    outdated: bool,
    /// Who is not waited for, or was for as long as any.
    excused: Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    None,
    /// `Heard::expect`.
    Expected,
    Committed,
    /// `Heard::wait_for`.
    Asked,
    Answered,
    /// Longer than three seconds ago.
    Past,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    lives: bool,
    others: [Known; NODES],
    /// What it knows of members is not older than a joining lasts.
    current: bool,
    greeting: Greeting,
    joined: bool,
    up: bool,
    /// `caught_up >= known_at`.
    looked: bool,
    fresh: bool,
    look: Option<Looking>,
    /// The last snapshot.
    seen: Set,
    knows: Set,
    /// Said, and not heard yet.
    said: Set,
}

/// The outbox is read, and what was found not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Looking {
    rows: Set,
    joined: bool,
    fresh: bool,
}

/// Of node 0 to a node that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Greeting {
    None,
    Awaited,
    /// It waits for that node, and said so.
    Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Known {
    No,
    Quick,
    Slow,
    /// It was known, and silent for so long that it was taken for dead.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Expect(usize),
    Commit(usize),
    Ask(usize),
    Answer(usize),
    Timeout(usize),
    Bound(usize),
    /// `Membership::join`; whether node 0 hangs, and is taken for dead.
    Start {
        node: usize,
        hangs: bool,
    },
    Crash(usize),
    Beat,
    TakenForDead(usize),
    Came(usize),
    Known(usize),
    SeenAfter(usize),
    /// `outbox::look`, up to `Events::mended`.
    Follow(usize),
    ReadSince(usize),
    Deliver(usize),
    /// The broker brings a row before the look does.
    Brings {
        row: usize,
        node: usize,
    },
    Said {
        row: usize,
        node: usize,
    },
    Gap(usize),
}

const NEW: Node = Node {
    lives: false,
    others: [Known::No; NODES],
    current: true,
    greeting: Greeting::None,
    joined: false,
    up: false,
    looked: false,
    fresh: true,
    look: None,
    seen: 0,
    knows: 0,
    said: 0,
};

fn all() -> impl Iterator<Item = usize> {
    0..NODES
}

fn has(set: Set, bit: usize) -> bool {
    set & (1 << bit) != 0
}

impl Node {
    fn set(&self, wanted: impl Fn(Known) -> bool) -> Set {
        all().filter(|n| wanted(self.others[*n])).map(|n| 1 << n).sum()
    }

    fn alive(&self) -> Set {
        self.set(|known| matches!(known, Known::Quick | Known::Slow))
    }

    /// The rows are in force here; those of others are told to be.
    fn apply(&mut self, rows: Set, own: Set, says: Says) {
        let new = rows & !self.knows & !own;
        if says == Says::Last {
            self.said |= new;
        }
        self.knows |= rows;
    }

    fn is_silent(&mut self) {
        self.fresh = false;
        if let Some(look) = &mut self.look {
            look.fresh = false;
        }
    }
}

impl Hearing {
    /// What node `n` has made.
    fn own(&self, n: usize) -> Set {
        if n == 0 { self.changes.iter().sum() } else { 0 }
    }

    fn whole(&self, node: &Node) -> bool {
        let joined = self.came == Came::NotSaid || node.joined;
        let looked = self.came == Came::NotSaid || self.look == Look::Any || node.looked;
        node.lives && node.up && joined && looked && (node.fresh || self.absence == Absence::Unnoticed)
    }

    fn committed(&self, state: &State) -> Set {
        let there = |stage| !matches!(stage, Stage::None | Stage::Expected);
        state.changes.iter().zip(self.changes).filter(|(change, _)| there(change.stage)).map(|(_, rows)| rows).sum()
    }

    fn may_answer(&self, state: &State, c: usize) -> bool {
        let change = &state.changes[c];
        change.missing == [0; ROWS] && (self.members == Members::OfAnyAge || !change.outdated)
    }

    fn ask(&self, state: &mut State, c: usize) {
        let node = &state.nodes[0];
        let (alive, quick, outdated) = (node.alive(), node.set(|known| known == Known::Quick), !node.current);
        let excused = node.set(|known| matches!(known, Known::Slow | Known::Lost));
        let last = (0..ROWS).rev().find(|row| has(self.changes[c], *row)).unwrap();
        let waits = |row| has(self.changes[c], row) && (self.rows == Rows::All || row == last);
        let change = &mut state.changes[c];
        (change.asked, change.outdated) = (alive, outdated);
        change.missing = std::array::from_fn(|row| if waits(row) { quick & !change.heard[row] } else { 0 });
        change.excused = excused;
    }

    fn known_but_to(&self, state: &State, stages: &[Stage], but: impl Fn(&Change) -> Set) -> bool {
        state.changes.iter().zip(self.changes).filter(|(change, _)| stages.contains(&change.stage)).all(
            |(change, rows)| {
                let knows = |n: usize| state.nodes[n].knows & rows == *rows;
                all().all(|n| !self.whole(&state.nodes[n]) || knows(n) || has(but(change), n))
            },
        )
    }

    fn after(&self, before: &State, step: Step) -> State {
        let mut state = before.clone();
        match step {
            Step::Expect(c) => {
                state.changes[c].stage = Stage::Expected;
                if self.asks == Asks::BeforeTheCommit {
                    self.ask(&mut state, c);
                }
            }
            Step::Commit(c) => {
                state.changes[c].stage = Stage::Committed;
                state.nodes[0].knows |= self.changes[c];
            }
            Step::Ask(c) => {
                state.changes[c].stage = Stage::Asked;
                if self.asks == Asks::AfterTheCommit {
                    self.ask(&mut state, c);
                }
            }
            Step::Answer(c) => state.changes[c].stage = Stage::Answered,
            Step::Timeout(c) => {
                let change = &mut state.changes[c];
                let missing = change.missing[0] | change.missing[1];
                change.excused |= missing | !change.asked & 0b111;
                change.missing = [0; ROWS];
                change.stage = Stage::Answered;
                for n in all().filter(|n| has(missing, *n)) {
                    let known = &mut state.nodes[0].others[n];
                    *known = if *known == Known::Quick { Known::Slow } else { *known };
                }
            }
            Step::Bound(c) => {
                state.changes[c].stage = Stage::Past;
                let rows = self.changes[c];
                for (n, node) in state.nodes.iter_mut().enumerate().filter(|(_, node)| node.lives && node.up) {
                    if n != 0 && node.seen & rows != rows {
                        node.fresh = false;
                    }
                    if let Some(look) = &mut node.look
                        && (node.seen | look.rows) & rows != rows
                    {
                        look.fresh = false;
                    }
                }
            }
            Step::Start { node: n, hangs } => {
                state.faults += 1;
                let mut node = Node { lives: true, ..NEW };
                state.nodes[0].others[n] = Known::No;
                if hangs {
                    state.nodes[0].current = false;
                }
                node.greeting = if hangs { Greeting::None } else { Greeting::Awaited };
                node.joined = hangs;
                state.nodes[n] = node;
                state.changes.iter_mut().for_each(|change| {
                    change.asked &= !(1 << n);
                    change.excused &= !(1 << n);
                    let sets = change.missing.iter_mut().chain(&mut change.heard);
                    sets.for_each(|set| *set &= !(1 << n));
                });
            }
            Step::Crash(n) => state.nodes[n] = NEW,
            Step::Beat => state.beat(),
            Step::TakenForDead(n) => {
                let lives = before.nodes[n].lives;
                state.nodes[0].others[n] = if lives { Known::Lost } else { Known::No };
                state.nodes[n].is_silent();
                state.faults += u8::from(lives);
                let waits =
                    |change: &&mut Change| matches!(change.stage, Stage::Expected | Stage::Committed | Stage::Asked);
                for change in state.changes.iter_mut().filter(waits) {
                    change.excused |= 1 << n;
                    change.missing.iter_mut().for_each(|missing| *missing &= !(1 << n));
                }
            }
            Step::Came(n) => {
                state.beat();
                state.nodes[0].others[n] = Known::Quick;
                state.nodes[n].greeting = Greeting::Said;
            }
            Step::Known(n) => {
                let node = &mut state.nodes[n];
                (node.greeting, node.joined) = (Greeting::None, true);
            }
            Step::SeenAfter(n) => {
                let node = &mut state.nodes[n];
                (node.greeting, node.joined) = (Greeting::None, true);
                state.nodes[0].current &= before.nodes[0].others[n] != Known::No;
            }
            Step::Follow(n) => {
                let committed = self.committed(before);
                let node = &mut state.nodes[n];
                (node.up, node.seen, node.knows) = (true, committed, committed);
                (node.looked, node.fresh) = (node.joined, true);
            }
            Step::ReadSince(n) => {
                let rows = self.committed(before) & !before.nodes[n].seen;
                let node = &mut state.nodes[n];
                node.look = Some(Looking { rows, joined: node.joined, fresh: true });
                if self.says == Says::First {
                    node.said |= rows & !node.knows & !self.own(n);
                }
            }
            Step::Deliver(n) => {
                let node = &mut state.nodes[n];
                if let Some(look) = node.look.take() {
                    node.apply(look.rows, self.own(n), self.says);
                    node.seen |= look.rows;
                    node.looked = if self.look == Look::ByItsEnd { node.joined } else { look.joined };
                    node.fresh = look.fresh;
                }
            }
            Step::Brings { row, node } => state.nodes[node].apply(1 << row, self.own(node), Says::Last),
            Step::Said { row, node } => {
                let change = self.changes.iter().position(|rows| has(*rows, row)).unwrap();
                state.nodes[node].said &= !(1 << row);
                state.changes[change].missing[row] &= !(1 << node);
                state.changes[change].heard[row] |= 1 << node;
                let known = &mut state.nodes[0].others[node];
                *known = if *known == Known::Slow { Known::Quick } else { *known };
            }
            Step::Gap(n) => {
                let node = &mut state.nodes[n];
                (node.up, node.looked, node.fresh, node.look) = (false, false, true, None);
                (node.seen, node.knows) = (0, 0);
                state.faults += 1;
            }
        }
        state
    }
}

impl State {
    fn beat(&mut self) {
        let lives = self.nodes.each_ref().map(|node| node.lives);
        for other in (1..NODES).filter(|other| lives[*other]) {
            let known = &mut self.nodes[0].others[other];
            *known = if *known == Known::Slow { Known::Slow } else { Known::Quick };
        }
        self.nodes[0].current = true;
    }
}

const UNMADE: Change =
    Change { stage: Stage::None, asked: 0, heard: [0; ROWS], missing: [0; ROWS], outdated: false, excused: 0 };

impl Model for Hearing {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let running = |n: usize| {
            let others = if n == 0 { [Known::No, Known::Quick, Known::No] } else { NEW.others };
            Node { lives: true, others, joined: true, up: true, looked: true, ..NEW }
        };
        vec![State { changes: vec![UNMADE; self.changes.len()], nodes: [running(0), running(1), NEW], faults: 0 }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for (c, change) in state.changes.iter().enumerate() {
            match change.stage {
                Stage::None => steps.push(Step::Expect(c)),
                Stage::Expected => steps.push(Step::Commit(c)),
                Stage::Committed => steps.push(Step::Ask(c)),
                Stage::Asked if self.may_answer(state, c) => steps.push(Step::Answer(c)),
                Stage::Asked => steps.push(Step::Timeout(c)),
                Stage::Answered => steps.push(Step::Bound(c)),
                Stage::Past => {}
            }
        }
        let (committed, spare) = (self.committed(state), state.faults < self.faults);
        let first = &state.nodes[0];
        let is_new = |n: usize| state.nodes[n].lives && matches!(first.others[n], Known::No | Known::Lost);
        if !first.current || (1..NODES).any(is_new) {
            steps.push(Step::Beat);
        }
        for (n, node) in state.nodes.iter().enumerate().skip(1) {
            if has(state.nodes[0].alive(), n) && (spare || !node.lives) {
                steps.push(Step::TakenForDead(n));
            }
            if !node.lives {
                if spare {
                    steps.extend([false, true].map(|hangs| Step::Start { node: n, hangs }));
                }
                continue;
            }
            steps.push(Step::Crash(n));
            match node.greeting {
                Greeting::Awaited => steps.extend([Step::Came(n), Step::SeenAfter(n)]),
                Greeting::Said => steps.extend([Step::Known(n), Step::SeenAfter(n)]),
                Greeting::None => {}
            }
            steps.extend((0..ROWS).filter(|row| has(node.said, *row)).map(|row| Step::Said { row, node: n }));
            if !node.up {
                steps.push(Step::Follow(n));
                continue;
            }
            if spare {
                steps.push(Step::Gap(n));
            }
            if node.look.is_some() {
                steps.push(Step::Deliver(n));
            } else if node.seen != committed || !node.looked || !node.fresh {
                steps.push(Step::ReadSince(n));
            }
            let brought = committed & !node.knows & !self.own(n);
            steps.extend((0..ROWS).filter(|row| has(brought, *row)).map(|row| Step::Brings { row, node: n }));
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HEARD, |model: &Hearing, state: &State| {
                model.known_but_to(state, &[Stage::Answered], |change| change.excused)
            }),
            Property::always(BOUND, |model: &Hearing, state: &State| model.known_but_to(state, &[Stage::Past], |_| 0)),
            Property::sometimes(
                "all are whole, and know all, by waiting for nobody in vain",
                |model: &Hearing, state: &State| {
                    let answered = |change: &Change| change.stage == Stage::Answered && change.excused == 0;
                    state.changes.iter().all(answered)
                        && state.nodes.iter().all(|node| !node.lives || model.whole(node))
                },
            ),
        ]
    }
}
