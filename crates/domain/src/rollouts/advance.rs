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
    reaches(&group.success_condition_exp, finished(rollout, counts), total)
}

/// Whether more of `total` targets have failed than the group's error condition allows.
pub(crate) fn failed(group: &Group, total: i64, counts: &Counts) -> bool {
    if total == 0 || group.error_condition.is_none() {
        return false;
    }
    let expression = group.error_condition_exp.as_deref().unwrap_or("");
    exceeds(expression, counts.get(ActionStatus::Error), total)
}

/// Whether `count` of `total` is as much as a success condition asks for.
pub(crate) fn reaches(expression: &str, count: i64, total: i64) -> bool {
    threshold(expression).is_some_and(|t| share(count, total) >= t)
}

/// Whether `count` of `total` is more than an error condition allows.
pub(crate) fn exceeds(expression: &str, count: i64, total: i64) -> bool {
    threshold(expression).is_some_and(|t| share(count, total) > t)
}

/// A percentage as the peer reads it; `None`: it is none, and the condition never holds.
fn threshold(expression: &str) -> Option<f32> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollouts::{RolloutStatus, testing};

    /// A group with its success and error thresholds (50 and 50), its total, and counts by status.
    fn counted(id: i64, status: GroupStatus, total: i64, counts: &[(ActionStatus, i64)]) -> Counted {
        let group = Group { total_targets: Some(total), ..testing::group(id, status) };
        Counted { group, total, counts: Counts(counts.iter().copied().collect()) }
    }

    fn running() -> Model {
        testing::rollout(RolloutStatus::Running)
    }

    #[track_caller]
    fn check(groups: &[Counted], expected: Moves) {
        assert_eq!(moves(&running(), groups), expected);
    }

    use ActionStatus::{Canceled, Downloaded, Error, Finished, Running, Scheduled};

    #[test]
    fn a_group_below_its_thresholds_is_left_alone() {
        let next = counted(2, GroupStatus::Scheduled, 4, &[]);
        check(
            &[counted(1, GroupStatus::Running, 4, &[(Running, 2), (Finished, 1), (Error, 1)]), next],
            Moves::default(),
        );
    }

    #[test]
    fn success_starts_the_next_group_and_the_last_report_ends_this_one() {
        let next = || counted(2, GroupStatus::Scheduled, 4, &[]);
        let half = counted(1, GroupStatus::Running, 4, &[(Running, 2), (Finished, 2)]);
        check(&[half, next()], Moves { started: vec![2], ..Moves::default() });
        let all = counted(1, GroupStatus::Running, 4, &[(Canceled, 1), (Finished, 3)]);
        check(&[all, next()], Moves { started: vec![2], finished: vec![1], ..Moves::default() });
        let last = counted(1, GroupStatus::Running, 4, &[(Canceled, 3), (Finished, 1)]);
        check(&[last], Moves { finished: vec![1], over: true, ..Moves::default() });
    }

    #[test]
    fn errors_above_the_threshold_fail_the_group_and_pause_the_rollout() {
        let next = || counted(2, GroupStatus::Scheduled, 4, &[]);
        let half = counted(1, GroupStatus::Running, 4, &[(Running, 2), (Error, 2)]);
        check(&[half, next()], Moves::default());
        let most = || counted(1, GroupStatus::Running, 4, &[(Finished, 1), (Error, 3)]);
        check(&[most(), next()], Moves { failed: vec![1], pause: true, ..Moves::default() });
        check(&[most()], Moves { failed: vec![1], pause: true, over: true, ..Moves::default() });
    }

    #[test]
    fn after_a_group_has_failed_no_other_starts_one() {
        let failed = counted(1, GroupStatus::Running, 4, &[(Error, 4)]);
        let done = counted(2, GroupStatus::Running, 4, &[(Finished, 2), (Running, 2)]);
        let next = counted(3, GroupStatus::Scheduled, 4, &[]);
        check(&[failed, done, next], Moves { failed: vec![1], pause: true, ..Moves::default() });
    }

    #[test]
    fn a_group_that_is_to_pause_does_so_only_before_another() {
        let pausing = |status| {
            let mut counted = counted(1, status, 2, &[(Finished, 1), (Running, 1)]);
            counted.group.success_action = SuccessAction::Pause.code();
            counted
        };
        let next = |status| counted(2, status, 2, &[(Running, 2)]);
        let paused = Moves { pause: true, ..Moves::default() };
        check(&[pausing(GroupStatus::Running), next(GroupStatus::Scheduled)], paused);
        check(&[pausing(GroupStatus::Running), next(GroupStatus::Running)], Moves::default());
    }

    #[test]
    fn without_a_running_group_the_next_one_starts_or_the_rollout_is_over() {
        let failed = || counted(1, GroupStatus::Error, 2, &[]);
        check(&[failed(), counted(2, GroupStatus::Scheduled, 2, &[])], Moves { started: vec![2], ..Moves::default() });
        check(&[failed()], Moves { over: true, ..Moves::default() });
        let first = [counted(1, GroupStatus::Scheduled, 2, &[]), counted(2, GroupStatus::Scheduled, 2, &[])];
        check(&first, Moves { started: vec![1], ..Moves::default() });
    }

    #[test]
    fn deleted_targets_are_counted_off_and_an_empty_group_is_done() {
        let mut half = counted(1, GroupStatus::Running, 4, &[(Running, 1), (Finished, 1)]);
        half.total = 2;
        let next = || counted(2, GroupStatus::Scheduled, 4, &[]);
        check(&[half, next()], Moves { totals: vec![(1, 2)], started: vec![2], ..Moves::default() });
        let empty = counted(1, GroupStatus::Running, 0, &[]);
        check(&[empty, next()], Moves { started: vec![2], finished: vec![1], ..Moves::default() });
    }

    #[test]
    fn the_last_dynamic_group_is_measured_by_what_it_can_take_and_does_not_end() {
        let dynamic = |finished| {
            let mut counted = counted(1, GroupStatus::Running, finished, &[(Finished, finished)]);
            (counted.group.is_dynamic, counted.group.target_percentage) = (true, Some(10.0));
            counted
        };
        check(&[dynamic(4)], Moves::default());
        check(&[dynamic(5)], Moves::default());
        let next = counted(2, GroupStatus::Scheduled, 0, &[]);
        let moves = Moves { started: vec![2], finished: vec![1], ..Moves::default() };
        check(&[dynamic(5), next], moves);
    }

    #[test]
    fn download_only_rollouts_count_downloads() {
        let rollout = Model { action_type: ActionType::DownloadOnly.code(), ..running() };
        let of = |counts: &[(ActionStatus, i64)]| {
            moves(&rollout, &[counted(1, GroupStatus::Running, 2, counts), counted(2, GroupStatus::Scheduled, 2, &[])])
        };
        assert_eq!(of(&[(Finished, 1), (Running, 1)]), Moves::default());
        assert_eq!(of(&[(Downloaded, 1), (Running, 1)]), Moves { started: vec![2], ..Moves::default() });
        assert_eq!(of(&[(Downloaded, 2)]), Moves { started: vec![2], finished: vec![1], ..Moves::default() });
    }

    #[test]
    fn a_threshold_is_a_whole_number_and_compared_in_single_precision() {
        for (expression, expected) in [("50", Some(0.5)), ("+7", Some(0.07)), ("", None), ("1.5", None), (" 1", None)] {
            assert_eq!(threshold(expression), expected, "{expression:?}");
        }
        let group = Group { success_condition_exp: "x".into(), ..testing::group(1, GroupStatus::Running) };
        assert!(!succeeded(&running(), &group, 1, &Counts([(Finished, 1)].into())));
        let group = Group { success_condition_exp: "70".into(), ..testing::group(1, GroupStatus::Running) };
        assert!(succeeded(&running(), &group, 10, &Counts([(Finished, 7), (Scheduled, 3)].into())));
    }
}
