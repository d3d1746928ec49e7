//! The calls that a sequence is made of, and how they are drawn. Few targets, sets and rollouts, so that calls meet.

use kettle_domain::{distribution_sets::Cancelation, rollouts::SuccessAction};
use proptest::{collection, option, prelude::*, sample::select};

/// How many targets there are at the start.
pub const TARGETS: usize = 9;
pub const SETS: usize = 3;
/// The letters that controllerIds begin with, in turn.
pub const LETTERS: [char; 3] = ['a', 'b', 'c'];
const SECOND: i64 = 1000;

#[derive(Clone, Debug)]
pub enum Step {
    /// The scheduler looks at all rollouts until there is nothing left to do.
    Tick,
    Create(New),
    Operate {
        rollout: Pick,
        call: Call,
    },
    Report {
        target: usize,
        what: What,
    },
    /// An operator assigns a set by hand.
    Assign {
        target: usize,
        set: usize,
    },
    /// An operator cancels what a target is offered; quits it by force if it is being cancelled already.
    Cancel {
        target: usize,
    },
    /// A new target.
    Join,
    /// The nth target that is left.
    Leave {
        target: usize,
    },
    Invalidate {
        set: usize,
        cancelation: Cancelation,
    },
    Pass {
        ms: i64,
    },
    /// The tenant's confirmation flow.
    Flow(bool),
    Autoclose(bool),
    /// Whether rollouts wait for an approval.
    Approval(bool),
}

/// The nth newest rollout.
#[derive(Clone, Copy, Debug)]
pub struct Pick(pub usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Start,
    Pause,
    Resume,
    TriggerNext,
    Stop,
    Delete,
    Approve,
    Deny,
    Retry,
}

/// What a device says of what it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Done; confirmed; cancelled.
    Yes,
    /// Failed; denied; not cancelled.
    No,
    Proceeding,
    Downloaded,
}

#[derive(Clone, Debug)]
pub struct New {
    pub set: usize,
    pub filter: Filter,
    pub groups: Groups,
    pub conditions: Conditions,
    pub download_only: bool,
    /// After the moment of creation.
    pub start_in: Option<i64>,
    pub confirm: Option<bool>,
    pub weight: i32,
}

#[derive(Clone, Debug)]
pub enum Groups {
    Amount(i32),
    /// Before a last one that takes all that is left. Some take from what one search finds: hawkBit reads the searches of
    /// several as another one than they are when it checks that groups take all targets.
    Explicit(Filter, Vec<(bool, f32, Conditions)>),
    /// Groups by amount before one that takes as many targets as the last of them, or as many as it is said.
    Dynamic(i32, Option<i64>),
}

#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    pub success: i64,
    pub success_action: SuccessAction,
    pub error: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    All,
    One(char),
    But(char),
    None,
}

impl Filter {
    pub fn text(self) -> String {
        match self {
            Filter::All => "controllerid==*".into(),
            Filter::One(letter) => format!("controllerid=={letter}*"),
            Filter::But(letter) => format!("controllerid!={letter}*"),
            Filter::None => "controllerid==nobody".into(),
        }
    }

    pub fn finds(self, letter: char) -> bool {
        match self {
            Filter::All => true,
            Filter::One(wanted) => letter == wanted,
            Filter::But(unwanted) => letter != unwanted,
            Filter::None => false,
        }
    }
}

pub fn sequences(length: usize) -> impl Strategy<Value = Vec<Step>> {
    collection::vec(step(), length / 2..=length)
}

fn step() -> impl Strategy<Value = Step> {
    let target = || 0..TARGETS + 3;
    let set = || 0..SETS;
    let cancelation = select(vec![Cancelation::None, Cancelation::Soft, Cancelation::Force]);
    prop_oneof![
        30 => Just(Step::Tick),
        7 => new().prop_map(Step::Create),
        24 => (pick(), call()).prop_map(|(rollout, call)| Step::Operate { rollout, call }),
        50 => (target(), what()).prop_map(|(target, what)| Step::Report { target, what }),
        4 => (target(), set()).prop_map(|(target, set)| Step::Assign { target, set }),
        4 => target().prop_map(|target| Step::Cancel { target }),
        4 => Just(Step::Join),
        2 => target().prop_map(|target| Step::Leave { target }),
        1 => (set(), cancelation).prop_map(|(set, cancelation)| Step::Invalidate { set, cancelation }),
        4 => select(vec![SECOND, 70 * SECOND]).prop_map(|ms| Step::Pass { ms }),
        1 => any::<bool>().prop_map(Step::Flow),
        1 => any::<bool>().prop_map(Step::Autoclose),
        1 => prop::bool::weighted(0.3).prop_map(Step::Approval),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![6 => Just(0_usize), 3 => Just(1_usize), 1 => 2..5_usize].prop_map(Pick)
}

fn call() -> impl Strategy<Value = Call> {
    use Call::*;
    prop_oneof![
        12 => Just(Start),
        4 => Just(Pause),
        5 => Just(Resume),
        3 => Just(TriggerNext),
        2 => Just(Stop),
        2 => Just(Delete),
        3 => Just(Approve),
        1 => Just(Deny),
        3 => Just(Retry),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![6 => Just(What::Yes), 3 => Just(What::No), 1 => Just(What::Proceeding), 2 => Just(What::Downloaded)]
}

fn new() -> impl Strategy<Value = New> {
    let start_in = option::weighted(0.6, select(vec![0, -SECOND, 50 * SECOND]));
    let all = (
        0..SETS,
        prop_oneof![6 => Just(Filter::All), 4 => filter()],
        groups(),
        conditions(),
        prop::bool::weighted(0.2),
        start_in,
        option::of(any::<bool>()),
        select(vec![500, 1000]),
    );
    all.prop_map(|(set, filter, groups, conditions, download_only, start_in, confirm, weight)| New {
        set,
        filter,
        groups,
        conditions,
        download_only,
        start_in,
        confirm,
        weight,
    })
}

fn groups() -> impl Strategy<Value = Groups> {
    let group = (any::<bool>(), select(vec![10.0, 33.0, 50.0, 100.0]), conditions());
    prop_oneof![
        4 => (1..6_i32).prop_map(Groups::Amount),
        4 => (filter(), collection::vec(group, 0..4)).prop_map(|(filter, groups)| Groups::Explicit(filter, groups)),
        3 => (1..4_i32, option::of(1..4_i64)).prop_map(|(amount, template)| Groups::Dynamic(amount, template)),
        1 => (1..4_i64).prop_map(|template| Groups::Dynamic(0, Some(template))),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let letter = || select(LETTERS.to_vec());
    prop_oneof![8 => letter().prop_map(Filter::One), 4 => letter().prop_map(Filter::But), 1 => Just(Filter::None)]
}

/// Shares that small groups meet exactly.
fn conditions() -> impl Strategy<Value = Conditions> {
    let success_action = prop_oneof![3 => Just(SuccessAction::NextGroup), 1 => Just(SuccessAction::Pause)];
    (select(vec![0, 33, 50, 50, 100]), success_action, select(vec![0, 25, 50, 100]))
        .prop_map(|(success, success_action, error)| Conditions { success, success_action, error })
}
