//! `/rest/v1/rollouts/{rolloutId}/explanation`, ours: why a rollout waits.

use serde_json::{Value, json};

use super::rollouts::{NOT_FOUND, ROLLOUTS, fleet, rollout, until, without_scheduler};
use crate::{
    harness::{Server, basic, eventually, on_each_engine},
    users::for_each_engine,
};

async fn waits(server: &Server, id: i64, waiting_for: &str) -> Value {
    let path = format!("{ROLLOUTS}/{id}/explanation");
    eventually(std::time::Duration::from_secs(30), &format!("rollout {id} waits for {waiting_for}"), async || {
        let found = server.get(&path).await.expect(200);
        (found.json()["waitingFor"] == waiting_for).then(|| found.scrubbed())
    })
    .await
}

#[tokio::test]
async fn every_wait_of_a_rollout_is_explained() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let set = fleet(&server, 4).await;
        let created = server.post(ROLLOUTS, rollout("r", set, json!({"amountGroups": 2}))).await.expect(201);
        let id = created.id();
        let this = format!("{{base}}{ROLLOUTS}/{id}");
        let links = json!({"self": {"href": format!("{this}/explanation")}, "rollout": {"href": this}});
        let ready = json!({
            "status": "ready", "waitingFor": "operator.start", "since": "#ts", "message": "Someone has to start it.",
            "groups": [], "scheduler": true, "_links": links,
        });
        assert_eq!(waits(&server, id, "operator.start").await, ready);
        let post = async |verb: &str| {
            server.post(&format!("{ROLLOUTS}/{id}/{verb}"), Value::Null).await.expect_empty(204);
        };
        post("start").await;
        let groups = server.get(&format!("{ROLLOUTS}/{id}/deploygroups")).await.expect(200).json();
        let threshold = |missing: i64| json!({"expression": "50", "reached": false, "missing": missing});
        let running = json!({
            "status": "running", "waitingFor": "devices.successThreshold", "since": "#ts",
            "message": "Group group-1: finished 0 of 2 targets, failed 0. After 1 more finished, group group-2 starts. \
                        After 2 more failed, it fails itself, and the rollout pauses.",
            "groups": [{
                "id": groups["content"][0]["id"], "name": "group-1", "since": "#ts", "totalTargets": 2, "finished": 0,
                "error": 0, "open": 2, "waitingForConfirmation": 0, "successThreshold": threshold(1),
                "errorThreshold": threshold(2),
                "nextGroup": {"id": groups["content"][1]["id"], "name": "group-2"},
            }],
            "scheduler": true, "_links": links,
        });
        assert_eq!(waits(&server, id, "devices.successThreshold").await, running);
        post("pause").await;
        let paused = waits(&server, id, "operator.resume").await;
        assert!(paused["message"].as_str().unwrap().starts_with("admin has paused it."), "{paused}");
        post("resume").await;
        for device in ["d-0", "d-1"].map(|name| server.device(name)) {
            let action = device.offered().await.unwrap();
            device.feedback(action, "closed", "failure").await.expect(200);
        }
        let failed = waits(&server, id, "operator.resume").await;
        assert!(failed["message"].as_str().unwrap().starts_with("Group group-1 has failed"), "{failed}");
        post("resume").await;
        let last = waits(&server, id, "devices.finish").await;
        assert_eq!(last["message"], "No group is left to start. Actions still open: 2.");
        post("stop").await;
        let stopped = waits(&server, id, "nothing").await;
        assert_eq!(stopped["status"], "stopped");
    })
    .await;
}

#[tokio::test]
async fn a_node_without_a_scheduler_says_so() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 1).await;
        let later = json!({"startAt": 4_000_000_000_000_i64});
        let id = server.post(ROLLOUTS, rollout("r", set, later)).await.expect(201).id();
        let found = server.get(&format!("{ROLLOUTS}/{id}/explanation")).await.expect(200).json();
        assert_eq!((&found["waitingFor"], &found["scheduler"]), (&json!("scheduler"), &json!(false)));
        let message = "The server works on it; groups that have their targets: 0 of 1. This node does not work on \
                       rollouts; another one has to.";
        assert_eq!(found["message"], message);
    })
    .await;
}

#[tokio::test]
async fn times_and_approvals_are_waited_for() {
    on_each_engine(async |server: Server| {
        let set = fleet(&server, 1).await;
        let later = json!({"startAt": 4_000_000_000_000_i64});
        let id = server.post(ROLLOUTS, rollout("later", set, later)).await.expect(201).id();
        assert_eq!(waits(&server, id, "time.startAt").await["startAt"], "#ts");
        server.configure("rollout.approval.enabled", true).await;
        let id = server.post(ROLLOUTS, rollout("asks", set, json!({}))).await.expect(201).id();
        waits(&server, id, "approval").await;
        server.post(&format!("{ROLLOUTS}/{id}/deny?remark=no"), Value::Null).await.expect_empty(204);
        let denied = waits(&server, id, "nothing").await;
        assert_eq!(denied["message"], "admin has denied its approval (no); it can be deleted.");
    })
    .await;
}

#[tokio::test]
async fn only_who_may_read_rollouts_of_the_tenant_gets_an_explanation() {
    let users = [("blind", "permissions=READ_TARGET"), ("other", "tenant=OTHER\nroles=TENANT_ADMIN")];
    for_each_engine(&users, async |server| {
        let set = fleet(&server, 1).await;
        let id = server.post(ROLLOUTS, rollout("r", set, json!({}))).await.expect(201).id();
        until(&server, id, "ready").await;
        let path = format!("{ROLLOUTS}/{id}/explanation");
        let forbidden = "hawkbit.server.error.insufficientPermission";
        server.get_as(&basic("blind", "x"), &path).await.expect_error(403, forbidden);
        server.get_as(&basic("other", "x"), &path).await.expect_error(404, NOT_FOUND);
        server.get(&format!("{ROLLOUTS}/4711/explanation")).await.expect_error(404, NOT_FOUND);
    })
    .await;
}
