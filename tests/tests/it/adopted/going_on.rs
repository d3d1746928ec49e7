//! The recorded database with everything switched on: what is new comes after what was there, and what was open goes on.

use serde_json::{Value, json};

use super::{Adopted, WITHIN, call, reaches};
use crate::harness::{Server, eventually};

/// The recorded rollout that was ready to start, and the one that waited for an approval; both of `e-0` to `e-3`.
const READY: i64 = 3;
const WAITING: i64 = 5;
/// Targets of the rollout that the peer had stopped, each with the action that it was still to cancel.
const CANCELING: [(&str, i64); 3] = [("e-1", 9), ("e-2", 7), ("e-3", 8)];

#[tokio::test(flavor = "multi_thread")]
async fn new_ids_come_after_those_of_the_peer() {
    let Some(adopted) = Adopted::load().await else { return };
    let highest = "SELECT (SELECT max(id) FROM sp_target), (SELECT max(id) FROM sp_action), \
                   (SELECT max(id) FROM sp_rollout), (SELECT max(id) FROM sp_rollout_group)";
    assert_eq!(adopted.sql(highest), "23|18|5|5");
    let server = adopted.serve(&[]);
    let total = async || server.get("/rest/v1/targets?limit=1").await.expect(200).json()["total"].clone();
    let known = total().await.as_i64().unwrap();
    server.target("new-1").await;
    assert_eq!(total().await, known + 1, "the kept total counts what was there");
    let set = server.set("after", &[("a.bin", b"abc")]).await;
    let action = server.assign("dev-1", set).await;
    let wave = json!({"name": "wave", "distributionSetId": set.id, "targetFilterQuery": "controllerId==new-1"});
    let rollout = server.post("/rest/v1/rollouts", wave).await.expect(201).id();
    assert_eq!(adopted.sql(highest), format!("24|{action}|{rollout}|6"));
    assert_eq!((action, rollout), (19, 6));
    assert_eq!(adopted.device(&server, "dev-1").offered().await, Some(action));
    server.delete("/rest/v1/targets/e-0").await.expect_empty(204);
    assert_eq!(total().await, json!(known));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_actions_end_as_their_devices_say() {
    let Some(adopted) = Adopted::load().await else { return };
    let server = adopted.serve(&[]);
    let cancelled = adopted.device(&server, "d1").poll().await["_links"]["cancelAction"]["href"].clone();
    assert!(cancelled.as_str().unwrap().ends_with("/DEFAULT/controller/v1/d1/cancelAction/4"), "{cancelled}");
    adopted.device(&server, "d1").cancel_feedback(4, "closed", "success").await.expect_empty(200);
    assert_eq!(status(&server, "d1", 4).await, "canceled");
    for (id, action) in [("x1", 11), ("x2", 10), ("x3", 12), ("y1", 13), ("v1", 14), ("v4", 17)] {
        let device = adopted.device(&server, id);
        assert_eq!(device.offered().await, Some(action), "{id}");
        device.feedback(action, "closed", "success").await.expect_empty(200);
        assert_eq!(
            (status(&server, id, action).await, server.update_status(id).await),
            ("finished".into(), "in_sync".into())
        );
        assert_eq!(device.offered().await, None, "{id}");
    }
    // What the device has downloaded is still to be installed, which it says no more of: hawkBit closed the action.
    assert_eq!(adopted.device(&server, "v2").offered().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_rollout_starts_and_skips_what_has_its_set_already() {
    let Some(adopted) = Adopted::load().await else { return };
    let server = adopted.serve(&[]);
    // The stopped rollout's actions are still to be canceled, and their targets have the set assigned.
    call(&server, READY, "start").await.expect_empty(204);
    let rollout = reaches(&server, READY, "running").await;
    let counts = &rollout["totalTargetsPerStatus"];
    assert_eq!((&counts["finished"], &counts["running"]), (&json!(3), &json!(1)), "{rollout}");
    for (id, action) in CANCELING {
        let poll = adopted.device(&server, id).poll().await;
        let href = poll["_links"]["cancelAction"]["href"].as_str().unwrap_or_default();
        assert!(href.ends_with(&format!("/cancelAction/{action}")), "{poll}");
    }
    let device = adopted.device(&server, "e-0");
    let action = device.offered().await.unwrap();
    assert!(action > 18, "{action}");
    device.feedback(action, "closed", "success").await.expect_empty(200);
    let rollout = reaches(&server, READY, "finished").await;
    assert_eq!(rollout["totalTargetsPerStatus"]["finished"], 4, "{rollout}");
    assert_eq!(adopted.sql(&actions_of(READY)), "e-0 0|e-1 0|e-2 0|e-3 0");
    assert_eq!(adopted.sql("SELECT status FROM sp_rollout_group WHERE id = 4"), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stopped_rollout_is_confirmed_and_the_waiting_one_is_approved_and_runs() {
    let Some(adopted) = Adopted::load().await else { return };
    let server = adopted.serve(&[]);
    for (id, action) in CANCELING {
        adopted.device(&server, id).cancel_feedback(action, "closed", "success").await.expect_empty(200);
        assert_eq!(status(&server, id, action).await, "canceled");
        assert_eq!(server.update_status(id).await, "in_sync");
    }
    let stopped = server.get("/rest/v1/rollouts/1").await.expect(200).json();
    assert_eq!((&stopped["status"], &stopped["totalTargetsPerStatus"]["cancelled"]), (&json!("stopped"), &json!(3)));

    call(&server, WAITING, "start").await.expect_error(400, "hawkbit.server.error.rollout.illegalState");
    call(&server, WAITING, "approve").await.expect_empty(204);
    let rollout = server.get(&format!("/rest/v1/rollouts/{WAITING}")).await.expect(200).json();
    assert_eq!((&rollout["status"], &rollout["approveDecidedBy"]), (&json!("ready"), &json!("admin")));
    call(&server, WAITING, "start").await.expect_empty(204);
    let rollout = reaches(&server, WAITING, "running").await;
    assert_eq!(rollout["totalTargetsPerStatus"]["running"], 4, "{rollout}");
    for id in ["e-0", "e-1", "e-2", "e-3"] {
        let device = adopted.device(&server, id);
        let action = device.offered().await.unwrap_or_else(|| panic!("{id} is offered nothing"));
        device.feedback(action, "closed", "success").await.expect_empty(200);
    }
    reaches(&server, WAITING, "finished").await;
    assert_eq!(adopted.sql(&actions_of(WAITING)), "e-0 0|e-1 0|e-2 0|e-3 0");
    let installed = "SELECT count(*) FROM sp_target WHERE installed_distribution_set = 9 AND update_status = 1";
    assert_eq!(adopted.sql(installed), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_in_a_rollout_of_the_peer_is_tried_again() {
    let Some(adopted) = Adopted::load().await else { return };
    // Only finished ones can be.
    adopted.sql("UPDATE sp_rollout SET status = 6 WHERE id = 1");
    adopted.sql("DELETE FROM sp_tenant_configuration WHERE conf_key = 'rollout.approval.enabled'");
    let server = adopted.serve(&[]);
    let again = call(&server, 1, "retry").await.expect(201).json();
    assert_eq!((&again["name"], &again["targetFilterQuery"]), (&json!("explicit_retry"), &json!("failedrollout==1")));
    let id = again["id"].as_i64().unwrap();
    reaches(&server, id, "ready").await;
    call(&server, id, "start").await.expect_empty(204);
    reaches(&server, id, "running").await;
    assert!(adopted.device(&server, "e-0").offered().await.is_some());
    assert_eq!(adopted.sql(&actions_of(id)), "e-0 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_the_peer_goes_on_to_assign_its_set() {
    let Some(adopted) = Adopted::load().await else { return };
    adopted.sql(
        "INSERT INTO sp_target_filter_query (created_at, created_by, last_modified_at, last_modified_by, \
           optlock_revision, tenant, name, query, auto_assign_distribution_set, auto_assign_action_type, \
           auto_assign_weight, auto_assign_initiated_by, confirmation_required) \
         VALUES (1, 'admin', 1, 'admin', 1, 'DEFAULT', 'all x', 'controllerId==x*,controllerId==v5', 10, 1, 300, 'admin', false)",
    );
    let server = adopted.serve(&[]);
    // The periodic pass finds v5; x1 to x3 have had the set.
    let device = adopted.device(&server, "v5");
    let action = eventually(WITHIN, "v5 is offered the set", async || device.offered().await).await;
    assert!(action > 18, "{action}");
    let action = server.get(&format!("/rest/v1/actions/{action}")).await.expect(200).json();
    assert_eq!((&action["forceType"], &action["weight"]), (&json!("soft"), &json!(300)), "{action}");
    // And a new device gets it at its first poll, or soon after.
    let device = server.device("x9");
    eventually(WITHIN, "x9 is offered the set", async || device.offered().await).await;
    let per_target = "SELECT string_agg(t.controller_id, ' ' ORDER BY a.id) FROM sp_action a \
                      JOIN sp_target t ON t.id = a.target WHERE a.distribution_set = 10 AND a.id > 18";
    assert_eq!(adopted.sql(per_target), "v5 x9");
}

async fn status(server: &Server, controller_id: &str, action: i64) -> String {
    let path = format!("/rest/v1/targets/{controller_id}/actions/{action}");
    let action: Value = server.get(&path).await.expect(200).json();
    action["status"].as_str().unwrap().to_owned()
}

/// Each of a rollout's targets with the status of its action.
fn actions_of(rollout: i64) -> String {
    format!(
        "SELECT string_agg(t.controller_id || ' ' || a.status, '|' ORDER BY t.controller_id, a.id) \
         FROM sp_action a JOIN sp_target t ON t.id = a.target WHERE a.rollout = {rollout}"
    )
}
