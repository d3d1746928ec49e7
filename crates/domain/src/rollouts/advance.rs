//! What a look at a running rollout decides (semantics.md B4): which groups are over, which have failed, which start.
//! Plain functions of what the database says: no clock, no queries.

use std::collections::HashMap;

use super::{Group, GroupStatus, Model, SuccessAction};
use crate::actions::{ActionStatus, ActionType};

/// How many actions of one group are in which status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(HashMap<ActionStatus, i64>);

impl Counts {
    /// Those of `group` among (group, status, count).
    pub(crate) fn of(all: &[(i64, i32, i64)], group: i64) -> Counts {
        let of_group = all.iter().filter(|(of, ..)| *of == group);
        Counts(of_group.map(|(_, status, count)| (ActionStatus::from_code(*status), *count)).collect())
    }

    pub(crate) fn get(&self, status: ActionStatus) -> i64 {
        self.0.get(&status).copied().unwrap_or(0)
    }

    pub(crate) fn all(&self) -> i64 {
        self.0.values().sum()
    }

    /// Actions that something may still happen to.
    pub(crate) fn open(&self, action_type: ActionType) -> i64 {
        use ActionStatus::{Canceled, Downloaded, Error, Finished};
        let mut over = self.get(Error) + self.get(Finished) + self.get(Canceled);
        if action_type == ActionType::DownloadOnly {
            over += self.get(Downloaded);
        }
        self.all() - over
    }
}

/// Actions that count as successful. hawkBit: of a download-only rollout, those that were installed too do not.
pub(crate) fn finished(rollout: &Model, counts: &Counts) -> i64 {
    match rollout.action_type() {
        ActionType::DownloadOnly => counts.get(ActionStatus::Downloaded),
        _ => counts.get(ActionStatus::Finished),
    }
}

/// Whether as many of `total` targets have succeeded as the group's success condition asks for.
pub(crate) fn succeeded(rollout: &Model, group: &Group, total: i64, counts: &Counts) -> bool {
    if total == 0 {
        // Its targets were deleted: nothing is left to wait for.
        return true;
    }
    threshold(&group.success_condition_exp).is_some_and(|t| share(finished(rollout, counts), total) >= t)
}

/// Whether more of `total` targets have failed than the group's error condition allows.
pub(crate) fn failed(group: &Group, total: i64, counts: &Counts) -> bool {
    if total == 0 || group.error_condition.is_none() {
        return false;
    }
    let expression = group.error_condition_exp.as_deref().unwrap_or("");
    threshold(expression).is_some_and(|t| share(counts.get(ActionStatus::Error), total) > t)
}

/// A percentage as the peer reads it; `None`: it is none, and the condition never holds.
pub(crate) fn threshold(expression: &str) -> Option<f32> {
    #[expect(clippy::cast_precision_loss, reason = "the peer compares in single precision")]
    expression.parse::<i32>().ok().map(|percent| percent as f32 / 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "the peer compares in single precision")]
fn share(count: i64, total: i64) -> f32 {
    count as f32 / total as f32
}

/// A group with what was counted of it.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub group: Group,
    /// Targets in the group as counted now: some may have been deleted.
    pub total: i64,
    pub counts: Counts,
}

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Groups with another number of targets than kept.
    pub totals: Vec<(i64, i64)>,
    pub failed: Vec<i64>,
    pub finished: Vec<i64>,
    /// Scheduled groups that start.
    pub started: Vec<i64>,
    pub pause: bool,
    /// No group is left that runs or will.
    pub over: bool,
}

impl Moves {
    pub(crate) fn none(&self) -> bool {
        *self == Moves::default()
    }
}

/// One look at a running rollout. `groups` are all of its groups in the order of their ids; only those that run need
/// to be counted.
pub(crate) fn moves(rollout: &Model, groups: &[Counted]) -> Moves {
    let mut moves = Moves::default();
    let running: Vec<&Counted> = groups.iter().filter(|g| g.group.status() == GroupStatus::Running).collect();
    if running.is_empty() {
        // The last one that ran has failed, or was quit by hand.
        moves.started = next_of_all(groups);
    }
    for (place, counted) in running.iter().enumerate() {
        let Counted { group, total, counts } = counted;
        if group.total() != *total {
            moves.totals.push((group.id, *total));
        }
        // The last dynamic group is still being filled: its share is one of all it can take.
        let filling = group.is_dynamic && place + 1 == running.len();
        let of = if filling { group.capacity() } else { *total };
        if failed(group, of, counts) {
            moves.failed.push(group.id);
            moves.pause = true;
            continue;
        }
        if succeeded(rollout, group, of, counts) && !moves.pause {
            let next = children(groups, group.id);
            match group.success_action() {
                SuccessAction::NextGroup => moves.started.extend(next),
                SuccessAction::Pause => moves.pause = !next.is_empty(),
            }
        }
        let last = groups.last().is_some_and(|last| last.group.id == group.id);
        if !(last && group.is_dynamic) && counts.open(rollout.action_type()) == 0 {
            moves.finished.push(group.id);
        }
    }
    moves.started.dedup();
    let ended = |id: i64| moves.failed.contains(&id) || moves.finished.contains(&id);
    let open = |status| matches!(status, GroupStatus::Running | GroupStatus::Scheduled);
    moves.over = !groups.iter().any(|g| open(g.group.status()) && !ended(g.group.id));
    moves
}

/// The scheduled groups after `parent`.
fn children(groups: &[Counted], parent: i64) -> Vec<i64> {
    let of_parent = groups.iter().filter(|g| g.group.parent == Some(parent));
    of_parent.filter(|g| g.group.status() == GroupStatus::Scheduled).map(|g| g.group.id).collect()
}

/// The scheduled groups after the last one that was started; the first one scheduled, if there are none.
fn next_of_all(groups: &[Counted]) -> Vec<i64> {
    let scheduled = |g: &&Counted| g.group.status() == GroupStatus::Scheduled;
    let last = groups.iter().rfind(|g| !scheduled(g));
    let next = last.map(|last| children(groups, last.group.id)).unwrap_or_default();
    if next.is_empty() { groups.iter().find(scheduled).map(|g| g.group.id).into_iter().collect() } else { next }
}
