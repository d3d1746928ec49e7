//! Every state of a rollout, and what is said of it.

use super::*;
use crate::rollouts::testing;

const NOW: i64 = 10_000;

fn counted(id: i64, status: GroupStatus, total: i64, counts: &[(ActionStatus, i64)]) -> Counted {
    let group = Group { total_targets: Some(total), last_modified_at: Some(3_000 + id), ..testing::group(id, status) };
    let counts: Vec<_> = counts.iter().map(|(status, count)| (id, status.code(), *count)).collect();
    Counted { counts: Counts::of(&counts, id), total, group }
}

fn explain(rollout: &Model, groups: &[Counted]) -> Explanation {
    of(rollout, groups, None, NOW, true)
}

#[track_caller]
fn check(rollout: &Model, groups: &[Counted], waiting_for: WaitingFor, message: &str) {
    let explanation = explain(rollout, groups);
    assert_eq!((explanation.waiting_for, explanation.message.as_str()), (waiting_for, message));
    assert_eq!(explanation.status, rollout.status());
}

use ActionStatus::{Canceling, Error, Finished, Running as Runs, Scheduled, WaitForConfirmation};
use GroupStatus as Group_;

#[test]
fn states_without_a_running_group_are_told_by_the_status() {
    let rollout = testing::rollout;
    let half = [counted(1, Group_::Ready, 1, &[]), counted(2, Group_::Creating, 0, &[])];
    let message = "The server works on it; groups that have their targets: 1 of 2.";
    check(&rollout(RolloutStatus::Creating), &half, WaitingFor::Scheduler, message);
    let message = "Someone has to approve it, or to deny it.";
    check(&rollout(RolloutStatus::WaitingForApproval), &half, WaitingFor::Approval, message);
    let denied = Model {
        approval_decided_by: Some("chief".into()),
        approval_remark: Some("not yet".into()),
        ..rollout(RolloutStatus::ApprovalDenied)
    };
    check(&denied, &[], WaitingFor::Nothing, "chief has denied its approval (not yet); it can be deleted.");
    let half = [counted(1, Group_::Scheduled, 1, &[]), counted(2, Group_::Ready, 0, &[])];
    let message = "The server works on it; groups that have actions for their targets: 1 of 2.";
    check(&rollout(RolloutStatus::Starting), &half, WaitingFor::Scheduler, message);
    let stopping = [counted(1, Group_::Finished, 4, &[(Runs, 3), (Canceling, 1), (Finished, 2)])];
    let message = "Its actions are being cancelled; left: 3.";
    check(&rollout(RolloutStatus::Stopping), &stopping, WaitingFor::Scheduler, message);
    for (status, waiting_for) in [
        (RolloutStatus::Stopped, WaitingFor::Nothing),
        (RolloutStatus::Finished, WaitingFor::Nothing),
        (RolloutStatus::Deleted, WaitingFor::Nothing),
        (RolloutStatus::Deleting, WaitingFor::Scheduler),
    ] {
        let explanation = explain(&rollout(status), &[]);
        assert_eq!((explanation.waiting_for, explanation.since), (waiting_for, Some(2_000)), "{status:?}");
        assert!(explanation.groups.is_empty());
    }
}

#[test]
fn a_ready_rollout_waits_for_who_or_what_starts_it() {
    for (start_at, waiting_for, told) in [
        (None, WaitingFor::Start, None),
        (Some(i64::MAX), WaitingFor::Start, None),
        (Some(NOW + 1), WaitingFor::StartAt, Some(NOW + 1)),
        (Some(NOW), WaitingFor::Scheduler, None),
    ] {
        let explanation = explain(&Model { start_at, ..testing::rollout(RolloutStatus::Ready) }, &[]);
        assert_eq!((explanation.waiting_for, explanation.start_at), (waiting_for, told), "{start_at:?}");
    }
}

#[test]
fn a_running_group_tells_what_it_takes_to_go_on() {
    let groups = [
        counted(1, Group_::Running, 10, &[(Runs, 7), (Finished, 2), (Error, 1)]),
        counted(2, Group_::Scheduled, 10, &[]),
    ];
    let rollout = testing::rollout(RolloutStatus::Running);
    let message = "Group group-1: finished 2 of 10 targets, failed 1. After 3 more finished, group group-2 starts. \
                   After 5 more failed, it fails itself, and the rollout pauses.";
    check(&rollout, &groups, WaitingFor::SuccessThreshold, message);
    let explanation = explain(&rollout, &groups);
    assert_eq!(explanation.since, Some(3_001));
    let threshold = |missing| Threshold { expression: "50".into(), reached: false, missing: Some(missing) };
    let expected = Running {
        id: 1,
        name: "group-1".into(),
        since: Some(3_001),
        total: 10,
        finished: 2,
        errors: 1,
        open: 7,
        unconfirmed: 0,
        success: threshold(3),
        error: threshold(5),
        next: Some((2, "group-2".into())),
        free: None,
        pauses: false,
    };
    assert_eq!(explanation.groups, [expected]);
}

#[test]
fn thresholds_out_of_reach_and_wrong_ones_are_told() {
    let rollout = testing::rollout(RolloutStatus::Running);
    let next = || counted(2, Group_::Scheduled, 4, &[]);
    let mut group = counted(1, Group_::Running, 4, &[(ActionStatus::Canceled, 3), (WaitForConfirmation, 1)]);
    let message = "Group group-1: finished 0 of 4 targets, failed 0. Its success threshold (50%) is out of reach; \
                   group group-2 starts when all have reported. Waiting to be confirmed: 1.";
    check(&rollout, &[group.clone(), next()], WaitingFor::SuccessThreshold, message);
    group.group.success_condition_exp = "half".into();
    let explanation = explain(&rollout, &[group.clone(), next()]);
    assert_eq!(explanation.groups[0].success.missing, None);
    group = counted(1, Group_::Running, 4, &[(Runs, 4)]);
    group.group.success_action = SuccessAction::Pause.code();
    let message = "Group group-1: finished 0 of 4 targets, failed 0. After 2 more finished, the rollout pauses. \
                   After 3 more failed, it fails itself, and the rollout pauses.";
    check(&rollout, &[group, next()], WaitingFor::SuccessThreshold, message);
}

#[test]
fn the_last_groups_are_waited_for_to_their_end() {
    let rollout = testing::rollout(RolloutStatus::Running);
    let groups = [
        counted(1, Group_::Running, 4, &[(Runs, 1), (Finished, 3)]),
        counted(2, Group_::Running, 4, &[(Runs, 2), (WaitForConfirmation, 2)]),
    ];
    let message = "No group is left to start. Actions still open: 5. Waiting to be confirmed: 2.";
    check(&rollout, &groups, WaitingFor::Finish, message);
    assert_eq!(explain(&rollout, &groups).since, Some(3_002));
}

#[test]
fn what_the_server_is_about_to_do_is_told_as_that() {
    let rollout = testing::rollout(RolloutStatus::Running);
    let next = || counted(2, Group_::Scheduled, 4, &[]);
    for (counts, about) in [
        (&[(Finished, 2), (Runs, 2)][..], "group group-2 is about to start"),
        (&[(Error, 3), (Runs, 1)], "group group-1 has failed"),
    ] {
        let message = format!("The server is about to go on: {about}.");
        check(&rollout, &[counted(1, Group_::Running, 4, counts), next()], WaitingFor::Scheduler, &message);
    }
    let ended = [counted(1, Group_::Running, 4, &[(Finished, 4)])];
    let message = "The server is about to go on: its groups have ended, and so does it.";
    check(&rollout, &ended, WaitingFor::Scheduler, message);
    let starting = [counted(1, Group_::Running, 4, &[(Scheduled, 3), (Runs, 1)])];
    let message = "Group group-1 is being started; actions left to start: 3.";
    check(&rollout, &starting, WaitingFor::Scheduler, message);
    let elsewhere = of(&rollout, &starting, None, NOW, false);
    assert_eq!(elsewhere.message, format!("{message} This node does not work on rollouts; another one has to."));
    assert!(!elsewhere.scheduler);
}

#[test]
fn a_dynamic_rollout_waits_for_new_targets_in_the_end() {
    let rollout = Model { is_dynamic: Some(true), ..testing::rollout(RolloutStatus::Running) };
    let last = |counts: &[(ActionStatus, i64)]| {
        let mut last = counted(1, Group_::Running, 4, counts);
        last.group.is_dynamic = true;
        last.group.target_percentage = Some(10.0);
        last
    };
    let message = "All its devices have reported. Targets that come to match join it; free places in group-1: 6.";
    check(&rollout, &[last(&[(Finished, 4)])], WaitingFor::NewTargets, message);
    let explanation = explain(&rollout, &[last(&[(Finished, 3), (Runs, 1)])]);
    assert_eq!((explanation.waiting_for, explanation.groups[0].free), (WaitingFor::Finish, Some(6)));
    assert_eq!((explanation.groups[0].total, explanation.groups[0].success.missing), (10, Some(2)));
}

#[test]
fn a_paused_rollout_tells_why_it_was_paused() {
    let rollout = testing::rollout(RolloutStatus::Paused);
    let tail = "What was started goes on; someone has to resume it before another group starts.";
    let next = || counted(2, Group_::Scheduled, 4, &[]);
    let running = counted(1, Group_::Running, 4, &[(Finished, 2), (Runs, 2)]);
    let message = format!("mover has paused it. {tail}");
    check(&rollout, &[running.clone(), next()], WaitingFor::Resume, &message);
    let mut pauses = running;
    pauses.group.success_action = SuccessAction::Pause.code();
    let message = format!("Group group-1 has succeeded, and its success action is to pause. {tail}");
    check(&rollout, &[pauses, next()], WaitingFor::Resume, &message);
    let failed = counted(1, Group_::Error, 4, &[(Error, 3), (Runs, 1)]);
    let message = format!("Group group-1 has failed: more of its devices than allowed reported errors. {tail}");
    check(&rollout, &[failed, next()], WaitingFor::Resume, &message);
}

#[test]
fn a_pass_that_fails_is_told_with_what_hinders_it() {
    let failure = Failure { message: "The target has too many actions.".into(), since: 5_000, attempts: 7 };
    let rollout = testing::rollout(RolloutStatus::Starting);
    let explanation = of(&rollout, &[counted(1, Group_::Ready, 1, &[])], Some(failure.clone()), NOW, true);
    assert_eq!(
        explanation.message,
        "The server works on it; groups that have actions for their targets: 0 of 1. Going on fails, and is tried again \
         (attempts: 7): The target has too many actions."
    );
    assert_eq!((explanation.since, explanation.failure), (Some(5_000), Some(failure)));
}
