//! Rollouts that hawkBit was in the middle of: Kettle brings each to its right end, with nothing done twice or left out.

use serde_json::json;

use super::{
    WITHIN,
    peer::{Action, Group, Peer, ROLLOUT, name},
    reaches,
};
use crate::harness::eventually;

/// Statuses of rollouts, as stored (semantics.md B3).
const CREATING: i64 = 0;
const READY: i64 = 1;
const PAUSED: i64 = 2;
const STARTING: i64 = 3;
const RUNNING: i64 = 5;
const DELETING: i64 = 9;
const STOPPING: i64 = 13;

/// For groups without members.
const NOBODY: std::ops::Range<i64> = 0..0;
/// The recorded tenant wants approvals, which rollouts made by hawkBit's role names always need.
const WITHOUT_APPROVAL: &str = "DELETE FROM sp_tenant_configuration WHERE conf_key = 'rollout.approval.enabled'";

#[tokio::test(flavor = "multi_thread")]
async fn creating_with_a_group_filled_by_half() {
    let peer = Peer::rollout(CREATING)
        .group(1, Group::Ready, 0..4)
        .group(2, Group::Creating, 4..6)
        .group(3, Group::Creating, NOBODY)
        .but("UPDATE sp_rollout_group SET total_targets = 0 WHERE status = 5");
    let Some(left) = peer.adopt(&[]).await else { return };
    left.reaches("waiting_for_approval").await;
    assert_eq!(left.groups(), "READY READY READY");
    left.call("approve").await;
    left.call("start").await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_in_the_old_style_with_percentages_of_the_rest_and_nobodys_rights_stored() {
    let peer = Peer::rollout(CREATING)
        .group(1, Group::Ready, 0..6)
        .group(2, Group::Creating, NOBODY)
        .group(3, Group::Creating, NOBODY)
        .but(
            "UPDATE sp_rollout SET is_dynamic = NULL, access_control_context = NULL, last_check = NULL, \
              forced_time = NULL, description = NULL WHERE id = 50",
        )
        .but("UPDATE sp_rollout_group SET confirmation_required = NULL, description = NULL WHERE rollout = 50")
        .but("UPDATE sp_rollout_group SET target_percentage = 50 WHERE id IN (51, 52)")
        .but("UPDATE sp_rollout_group SET target_percentage = 100 WHERE id = 53")
        .but(WITHOUT_APPROVAL);
    let Some(left) = peer.adopt(&[]).await else { return };
    let rollout = left.reaches("ready").await;
    assert_eq!(rollout["dynamic"], json!(false), "{rollout}");
    let totals = "SELECT string_agg(total_targets::text, ' ' ORDER BY id) FROM sp_rollout_group WHERE rollout = 50";
    assert_eq!(left.adopted.sql(totals), "6 3 3", "a half of all, a half of the rest, and the rest");
    left.call("start").await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_a_retry_of_what_failed() {
    let peer = Peer::rollout(CREATING)
        .group(1, Group::Creating, NOBODY)
        .but("UPDATE sp_rollout SET target_filter = 'failedrollout==1', rollout_groups_created = 1 WHERE id = 50")
        .but("UPDATE sp_rollout_group SET target_percentage = 100 WHERE id = 51")
        .but(WITHOUT_APPROVAL);
    let Some(left) = peer.adopt(&[]).await else { return };
    assert_eq!(left.reaches("ready").await["totalTargets"], 1);
    let members = "SELECT string_agg(controller_id, ' ') FROM sp_rollout_target_group JOIN sp_target ON id = target \
                   WHERE rollout_group = 51";
    assert_eq!(left.adopted.sql(members), "e-0", "the one target on which the recorded rollout failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_and_due() {
    let peer = all_ready(READY).but("UPDATE sp_rollout SET start_at = 1795314690001 WHERE id = 50");
    let Some(left) = peer.adopt(&[]).await else { return };
    left.offers(0..4).await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_with_some_actions_scheduled() {
    let peer = Peer::rollout(STARTING)
        .group(1, Group::Scheduled, 0..4)
        .actions(1, 0..4, Action::Scheduled)
        .group(2, Group::Ready, 4..8)
        .actions(2, 4..6, Action::Scheduled)
        .group(3, Group::Ready, 8..12);
    let Some(left) = peer.adopt(&[]).await else { return };
    left.reaches("running").await;
    left.offers(0..4).await;
    assert_eq!(left.groups(), "RUNNING SCHEDULED SCHEDULED");
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_with_the_first_group_started_by_half() {
    let peer = Peer::rollout(STARTING).group(1, Group::Scheduled, 0..4).actions(1, 0..2, Action::Running).actions(
        1,
        2..4,
        Action::Scheduled,
    );
    let Some(left) = others_scheduled(peer).adopt(&[]).await else { return };
    left.offers(0..4).await;
    left.reaches("running").await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_with_actions_still_scheduled_in_a_running_group() {
    let peer = Peer::rollout(RUNNING).group(1, Group::Running, 0..4).actions(1, 0..2, Action::Running).actions(
        1,
        2..4,
        Action::Scheduled,
    );
    let Some(left) = others_scheduled(peer).adopt(&[]).await else { return };
    left.offers(0..4).await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_with_the_second_group_started_by_half() {
    let peer = Peer::rollout(RUNNING)
        .group(1, Group::Running, 0..4)
        .actions(1, 0..3, Action::Finished)
        .actions(1, 3..4, Action::Running)
        .group(2, Group::Scheduled, 4..8)
        .actions(2, 4..6, Action::Running)
        .actions(2, 6..8, Action::Scheduled)
        .group(3, Group::Scheduled, 8..12)
        .actions(3, 8..12, Action::Scheduled);
    let Some(left) = peer.adopt(&[]).await else { return };
    left.offers(3..8).await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_with_the_first_group_done_and_the_second_only_scheduled() {
    for (first, how) in [(Group::Finished, "as finished"), (Group::Running, "and not noticed")] {
        eprintln!("done, {how}:");
        let peer = Peer::rollout(RUNNING).group(1, first, 0..4).actions(1, 0..4, Action::Finished);
        let Some(left) = others_scheduled(peer).adopt(&[]).await else { return };
        left.offers(4..8).await;
        assert_eq!(left.groups(), "FINISHED RUNNING SCHEDULED");
        left.finishes().await;
        left.each_was_served_once().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn running_with_everything_done() {
    let peer = Peer::rollout(RUNNING)
        .group(1, Group::Finished, 0..4)
        .actions(1, 0..4, Action::Finished)
        .group(2, Group::Finished, 4..8)
        .actions(2, 4..8, Action::Finished)
        .group(3, Group::Running, 8..12)
        .actions(3, 8..12, Action::Finished);
    let Some(left) = peer.adopt(&[]).await else { return };
    left.reaches("finished").await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_after_errors_until_it_is_resumed() {
    let peer = Peer::rollout(PAUSED).group(1, Group::Error, 0..4).actions(1, 0..3, Action::Error).actions(
        1,
        3..4,
        Action::Running,
    );
    let Some(left) = others_scheduled(peer).adopt(&["hawkbit.rollout.scheduler.fixedDelay=50"]).await else { return };
    let device = left.server.device("p-03");
    device.feedback(1_003, "closed", "success").await.expect_empty(200);
    // Both the feedback and the clock have called for passes by the time that something else has come through one.
    let other = json!({"name": "other", "distributionSetId": 9, "targetFilterQuery": "controllerId==p-00"});
    let other = left.server.post("/rest/v1/rollouts", other).await.expect(201).id();
    reaches(&left.server, other, "waiting_for_approval").await;
    assert_eq!(left.offered().await, Vec::<i64>::new());
    assert_eq!(
        (left.rollout().await["status"].as_str(), left.groups()),
        (Some("paused"), "ERROR SCHEDULED SCHEDULED".into())
    );

    left.call("resume").await;
    left.offers(4..8).await;
    left.finishes().await;
    let mut expected = vec!["1 ERROR: 1 start, 1 end"; 3];
    expected.resize(12, "1 FINISHED: 1 start, 1 end");
    assert_eq!(left.histories(), expected);
    assert_eq!(left.groups(), "ERROR FINISHED FINISHED");
    let counts = left.rollout().await["totalTargetsPerStatus"].clone();
    assert_eq!((&counts["error"], &counts["finished"]), (&json!(3), &json!(9)), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_without_an_error_condition_is_not_paused_by_errors() {
    let peer = Peer::rollout(RUNNING).group(1, Group::Running, 0..4).actions(1, 0..4, Action::Error);
    let peer = others_scheduled(peer).but(
        "UPDATE sp_rollout_group SET error_condition = NULL, error_condition_exp = NULL, error_action = NULL, \
         error_action_exp = NULL WHERE rollout = 50",
    );
    let Some(left) = peer.adopt(&[]).await else { return };
    left.offers(4..8).await;
    assert_eq!(left.groups(), "FINISHED RUNNING SCHEDULED");
    left.finishes().await;
    let counts = left.rollout().await["totalTargetsPerStatus"].clone();
    assert_eq!((&counts["error"], &counts["finished"]), (&json!(4), &json!(8)), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_with_a_group_after_which_it_is_to_pause() {
    let peer = Peer::rollout(RUNNING).group(1, Group::Running, 0..4).actions(1, 0..4, Action::Finished);
    let peer = others_scheduled(peer).but("UPDATE sp_rollout_group SET success_action = 1 WHERE id = 51");
    let Some(left) = peer.adopt(&[]).await else { return };
    left.reaches("paused").await;
    assert_eq!(left.offered().await, Vec::<i64>::new());
    left.call("resume").await;
    left.offers(4..8).await;
    left.finishes().await;
    left.each_was_served_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_with_targets_gone_that_were_still_counted() {
    let peer = Peer::rollout(RUNNING).group(1, Group::Running, 0..4).actions(1, 0..1, Action::Finished).actions(
        1,
        1..4,
        Action::Running,
    );
    // With the target go its membership and its action: what is left is one of two, the half that is enough.
    let peer = others_scheduled(peer).but("DELETE FROM sp_target WHERE controller_id IN ('p-02', 'p-03')");
    let Some(left) = peer.adopt(&[]).await else { return };
    eventually(WITHIN, "the next group is running too", async || {
        (left.groups() == "RUNNING RUNNING SCHEDULED").then_some(())
    })
    .await;
    let totals = "SELECT (SELECT total_targets FROM sp_rollout_group WHERE id = 51), \
                  (SELECT total_targets FROM sp_rollout WHERE id = 50)";
    assert_eq!(left.adopted.sql(totals), "2|10");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_with_actions_left() {
    let peer = Peer::rollout(STOPPING)
        .group(1, Group::Running, 0..4)
        .actions(1, 0..2, Action::Running)
        .actions(1, 2..3, Action::Canceling)
        .actions(1, 3..4, Action::Finished)
        .group(2, Group::Scheduled, 4..8)
        .actions(2, 4..6, Action::Scheduled)
        .group(3, Group::Scheduled, 8..12)
        .actions(3, 8..12, Action::Scheduled);
    let Some(left) = peer.adopt(&[]).await else { return };
    left.reaches("stopped").await;
    let canceling = "1 CANCELING: 1 start, 1 end";
    let mut expected = vec![canceling, canceling, canceling, "1 FINISHED: 1 start, 1 end"];
    expected.resize(12, "none");
    assert_eq!(left.histories(), expected);
    assert_eq!(left.groups(), "FINISHED FINISHED FINISHED");
    for target in 0..3 {
        let device = left.server.device(&name(target));
        device.cancel_feedback(1_000 + target, "closed", "success").await.expect_empty(200);
    }
    let canceled = "1 CANCELED: 1 start, 2 end";
    assert_eq!(left.histories()[..3], [canceled; 3]);
    let counts = left.rollout().await["totalTargetsPerStatus"].clone();
    assert_eq!((&counts["cancelled"], &counts["notstarted"]), (&json!(3), &json!(8)), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_what_has_begun_leaves_its_history() {
    let peer = Peer::rollout(DELETING)
        .group(1, Group::Running, 0..4)
        .actions(1, 0..1, Action::Running)
        .actions(1, 1..2, Action::Canceling)
        .actions(1, 2..4, Action::Finished);
    let Some(left) = others_scheduled(peer).adopt(&[]).await else { return };
    let rollout = left.reaches("deleted").await;
    assert_eq!(rollout["deleted"], json!(true), "{rollout}");
    let listed = left.server.get("/rest/v1/rollouts?q=name==wave").await.expect(200).json();
    assert_eq!(listed["total"], 0, "{listed}");
    let finished = "1 FINISHED: 1 start, 1 end";
    let mut expected = vec!["1 CANCELED: 1 start, 1 end", "1 CANCELED: 1 start, 2 end", finished, finished];
    expected.resize(12, "none");
    assert_eq!(left.histories(), expected);
    assert_eq!(left.groups(), "FINISHED FINISHED FINISHED");
    assert_eq!(left.offered().await, Vec::<i64>::new());
    let targets = "SELECT count(*) FROM sp_target WHERE controller_id IN ('p-00', 'p-01') \
                   AND assigned_distribution_set IS NULL AND update_status = 1";
    assert_eq!(left.adopted.sql(targets), "2", "their sets are what they were before");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_what_has_not_begun_leaves_nothing() {
    let peer =
        others_scheduled(Peer::rollout(DELETING).group(1, Group::Scheduled, 0..4).actions(1, 0..4, Action::Scheduled));
    let Some(left) = peer.adopt(&[]).await else { return };
    let path = format!("/rest/v1/rollouts/{ROLLOUT}");
    eventually(WITHIN, "the rollout is gone", async || (left.server.get(&path).await.status == 404).then_some(()))
        .await;
    let rows = "SELECT (SELECT count(*) FROM sp_action WHERE rollout = 50), \
                (SELECT count(*) FROM sp_rollout_group WHERE rollout = 50), \
                (SELECT count(*) FROM sp_rollout_target_group WHERE rollout_group BETWEEN 51 AND 53)";
    assert_eq!(left.adopted.sql(rows), "0|0|0");
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_ones_take_in_what_comes() {
    let peer = Peer::rollout(RUNNING)
        .group(1, Group::Running, 0..12)
        .actions(1, 0..11, Action::Finished)
        .actions(1, 11..12, Action::Running)
        .group(2, Group::Scheduled, NOBODY)
        .but("UPDATE sp_rollout SET is_dynamic = true, rollout_groups_created = 2 WHERE id = 50")
        .but(
            "UPDATE sp_rollout_group SET name = 'group-2-late', is_dynamic = true, target_percentage = 2 WHERE id = 52",
        );
    let at_once = ["hawkbit.server.repository.dynamicRolloutsMinInvolvePeriodMS=0"];
    let Some(left) = peer.adopt(&at_once).await else { return };
    for late in 12..15 {
        left.server.target(&name(late)).await;
    }
    let once = vec!["1 FINISHED: 1 start, 1 end"; 15];
    eventually(WITHIN, "those that came late are done too", async || {
        left.report_success(0..15).await;
        (left.histories() == once).then_some(())
    })
    .await;
    eventually(WITHIN, "the groups are filled two by two", async || {
        (left.groups() == "FINISHED FINISHED RUNNING").then_some(())
    })
    .await;
    let names =
        "SELECT string_agg(name || ' ' || total_targets, ', ' ORDER BY id) FROM sp_rollout_group WHERE rollout = 50";
    assert_eq!(left.adopted.sql(names), "group-1 12, group-2-late 2, group-3-late 1");
    let rollout = left.rollout().await;
    assert_eq!((&rollout["status"], &rollout["totalTargets"]), (&json!("running"), &json!(15)), "more may come");
}

/// Three groups of four, with nothing begun.
fn all_ready(status: i64) -> Peer {
    Peer::rollout(status).group(1, Group::Ready, 0..4).group(2, Group::Ready, 4..8).group(3, Group::Ready, 8..12)
}

/// The second and the third group, scheduled and not started.
fn others_scheduled(peer: Peer) -> Peer {
    peer.group(2, Group::Scheduled, 4..8).actions(2, 4..8, Action::Scheduled).group(3, Group::Scheduled, 8..12).actions(
        3,
        8..12,
        Action::Scheduled,
    )
}
