//! The calls that a sequence is made of, and how they are drawn. Small numbers and few sets, so that calls meet.

use kettle_domain::{
    actions::{ActionStatus, ActionType, Execution},
    distribution_sets::Cancelation,
};
use proptest::{collection, option, prelude::*, sample::select};

use crate::domain::NOW;

pub const TARGETS: usize = 2;
/// Whether each set is a required migration step. Steps name sets by their place here; one that is found invalid by an
/// assignment gives its place to a new set.
pub const SETS: [bool; 4] = [false, false, false, true];
const CLEANED: [&[ActionStatus]; 3] = [
    &[ActionStatus::Canceled, ActionStatus::Error],
    &[ActionStatus::Finished],
    &[ActionStatus::Running, ActionStatus::Canceling],
];
const HOUR: i64 = 3_600_000;

#[derive(Clone, Debug)]
pub enum Step {
    Assign {
        targets: Vec<usize>,
        set: usize,
        urgency: Urgency,
        weight: Option<i32>,
        confirmation: Option<bool>,
        windowed: bool,
    },
    AssignOffline {
        target: usize,
        set: usize,
    },
    /// The tenant's confirmation flow.
    Flow(bool),
    Autoclose(bool),
    /// The clock passes the last maintenance window of all actions that have one.
    Lapse,
    AutoConfirm {
        by: By,
        target: usize,
        on: bool,
    },
    Poll {
        target: usize,
    },
    Work {
        target: usize,
        pick: Pick,
        work: Work,
    },
    Delete {
        target: usize,
        pick: Pick,
    },
    /// All that are active, or all that are closed.
    DeleteFound {
        active: bool,
    },
    /// By its id, if it is the target's.
    DeleteOfTarget {
        target: usize,
        pick: Pick,
    },
    KeepNewest {
        target: usize,
        keep: u64,
    },
    DeleteTarget {
        target: usize,
    },
    Invalidate {
        set: usize,
        cancelation: Cancelation,
    },
    /// How much of the quota goes when it is hit.
    Percent(i64),
    /// The tenant's clean-up, with these settings.
    CleanUp {
        expiry: i64,
        statuses: &'static [ActionStatus],
    },
}

impl Step {
    /// Whether this does nothing but to delete actions.
    pub fn forgets(&self) -> bool {
        use Step::*;
        matches!(self, Delete { .. } | DeleteFound { .. } | DeleteOfTarget { .. } | KeepNewest { .. } | CleanUp { .. })
    }
}

/// A call about one action.
#[derive(Clone, Debug)]
pub enum Work {
    Cancel,
    ForceQuit,
    Force,
    Confirm { by: By, confirmed: bool, code: Option<i32> },
    ReadDeployment,
    ReadConfirmation,
    ReadCancel,
    ReadInstalled,
    Feedback { execution: Execution, failed: bool, code: Option<i32>, when: When },
    CancelFeedback { execution: Execution, failed: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Operator,
    Device,
}

/// The nth newest action, of the target's own or of all.
#[derive(Clone, Copy, Debug)]
pub struct Pick {
    pub own: bool,
    pub nth: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Urgency {
    Forced,
    Soft,
    ForcedSince,
    ForcedLater,
    DownloadOnly,
}

/// The device's time of a report.
#[derive(Clone, Copy, Debug)]
pub enum When {
    NotSaid,
    Earlier,
    Ahead,
}

impl Urgency {
    pub fn action_type(self) -> ActionType {
        match self {
            Urgency::Forced => ActionType::Forced,
            Urgency::Soft => ActionType::Soft,
            Urgency::ForcedSince | Urgency::ForcedLater => ActionType::TimeForced,
            Urgency::DownloadOnly => ActionType::DownloadOnly,
        }
    }

    pub fn forced_time(self) -> i64 {
        match self {
            Urgency::ForcedSince => NOW,
            Urgency::ForcedLater => NOW + 1000 * HOUR,
            _ => 0,
        }
    }
}

impl When {
    pub fn at(self, now: i64) -> Option<i64> {
        match self {
            When::NotSaid => None,
            When::Earlier => Some(now - HOUR),
            When::Ahead => Some(now + HOUR),
        }
    }
}

impl Work {
    pub fn by(&self) -> By {
        match self {
            Work::Cancel | Work::ForceQuit | Work::Force => By::Operator,
            Work::Confirm { by, .. } => *by,
            _ => By::Device,
        }
    }
}

pub fn sequences(length: usize) -> impl Strategy<Value = Vec<Step>> {
    collection::vec(step(), length / 2..=length)
}

fn step() -> impl Strategy<Value = Step> {
    let target = || 0..TARGETS;
    let set = || 0..SETS.len();
    let assign = (
        select(vec![vec![0], vec![1], vec![0, 1]]),
        set(),
        urgency(),
        option::of(select(vec![1, 500, 1000])),
        option::of(any::<bool>()),
        prop::bool::weighted(0.15),
    );
    let assign = assign.prop_map(|(targets, set, urgency, weight, confirmation, windowed)| Step::Assign {
        targets,
        set,
        urgency,
        weight,
        confirmation,
        windowed,
    });
    prop_oneof![
        12 => assign,
        3 => (target(), set()).prop_map(|(target, set)| Step::AssignOffline { target, set }),
        2 => any::<bool>().prop_map(Step::Flow),
        2 => prop::bool::weighted(0.4).prop_map(Step::Autoclose),
        1 => Just(Step::Lapse),
        4 => (by(), target(), any::<bool>()).prop_map(|(by, target, on)| Step::AutoConfirm { by, target, on }),
        12 => target().prop_map(|target| Step::Poll { target }),
        2 => (target(), pick()).prop_map(|(target, pick)| Step::Delete { target, pick }),
        1 => prop::bool::weighted(0.3).prop_map(|active| Step::DeleteFound { active }),
        1 => (target(), pick()).prop_map(|(target, pick)| Step::DeleteOfTarget { target, pick }),
        1 => (target(), 0..4_u64).prop_map(|(target, keep)| Step::KeepNewest { target, keep }),
        1 => target().prop_map(|target| Step::DeleteTarget { target }),
        4 => (set(), select(vec![Cancelation::None, Cancelation::Soft, Cancelation::Force]))
            .prop_map(|(set, cancelation)| Step::Invalidate { set, cancelation }),
        3 => select(vec![0, 10, 20, 50, 100]).prop_map(Step::Percent),
        3 => (select(vec![-1, 0, 5000, 20_000]), select(CLEANED.to_vec()))
            .prop_map(|(expiry, statuses)| Step::CleanUp { expiry, statuses }),
        70 => (target(), pick(), work()).prop_map(|(target, pick, work)| Step::Work { target, pick, work }),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    let confirm = (by(), any::<bool>(), code());
    let feedback = (execution(), any::<bool>(), code(), select(vec![When::NotSaid, When::Earlier, When::Ahead]));
    prop_oneof![
        12 => Just(Work::Cancel),
        8 => Just(Work::ForceQuit),
        3 => Just(Work::Force),
        8 => confirm.prop_map(|(by, confirmed, code)| Work::Confirm { by, confirmed, code }),
        6 => Just(Work::ReadDeployment),
        2 => Just(Work::ReadConfirmation),
        2 => Just(Work::ReadCancel),
        2 => Just(Work::ReadInstalled),
        10 => feedback.prop_map(|(execution, failed, code, when)| Work::Feedback { execution, failed, code, when }),
        20 => (execution(), any::<bool>()).prop_map(|(execution, failed)| Work::CancelFeedback { execution, failed }),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    (prop::bool::weighted(0.95), prop_oneof![6 => Just(0_usize), 4 => 1..5_usize])
        .prop_map(|(own, nth)| Pick { own, nth })
}

fn by() -> impl Strategy<Value = By> {
    select(vec![By::Operator, By::Device])
}

fn code() -> impl Strategy<Value = Option<i32>> {
    option::weighted(0.3, select(vec![-7, 200]))
}

fn urgency() -> impl Strategy<Value = Urgency> {
    use Urgency::*;
    select(vec![Forced, Soft, ForcedSince, ForcedLater, DownloadOnly])
}

/// Most of them close something.
fn execution() -> impl Strategy<Value = Execution> {
    use Execution::*;
    let others = vec![Proceeding, Canceled, Scheduled, Resumed, Download];
    prop_oneof![4 => Just(Closed), 2 => Just(Rejected), 2 => Just(Downloaded), 2 => select(others)]
}
