//! `/rest/v1/rollouts/{rolloutId}/retry`: another try for the targets that failed.

use serde_json::{Value, json};

use super::rollouts::{CONSTRAINT, NOT_FOUND, ROLLOUTS, fleet, rollout, until};
use crate::harness::{Server, on_each_engine};

/// A rollout over two targets that has ended: `d-0` succeeded if `some` did, all others failed.
async fn ended(server: &Server, some: bool) -> i64 {
    server.allow_devices().await;
    let set = fleet(server, 3).await;
    let body = json!({
        "type": "soft", "forcetime": 5, "weight": 3, "description": "d", "startAt": 1, "amountGroups": 3,
        "errorCondition": {"expression": "100"}, "successCondition": {"expression": "0"},
    });
    let id = server.post(ROLLOUTS, rollout("r", set, body)).await.expect(201).id();
    until(server, id, "running").await;
    for n in 0..3 {
        let device = server.device(&format!("d-{n}"));
        let offered = async || device.offered().await;
        let action =
            crate::harness::eventually(std::time::Duration::from_secs(30), "the group has started", offered).await;
        let result = if some && n == 0 { "success" } else { "failure" };
        device.feedback(action, "closed", result).await.expect(200);
    }
    until(server, id, "finished").await;
    id
}

#[tokio::test]
async fn a_retry_is_for_the_targets_that_failed() {
    on_each_engine(async |server: Server| {
        let id = ended(&server, true).await;
        let created = server.post(&format!("{ROLLOUTS}/{id}/retry"), Value::Null).await.expect(201).json();
        let told = [
            "name",
            "description",
            "targetFilterQuery",
            "type",
            "forcetime",
            "weight",
            "startAt",
            "totalGroups",
            "totalTargets",
            "dynamic",
            "status",
            "distributionSetId",
        ];
        let set = server.get(&format!("{ROLLOUTS}/{id}")).await.expect(200).json()["distributionSetId"].clone();
        let expected =
            json!(["r_retry", "d", format!("failedrollout=={id}"), "soft", 5, 1000, 1, 1, 2, false, "creating", set]);
        assert_eq!(json!(told.map(|member| created[member].clone())), expected);
        let retry = created["id"].as_i64().unwrap();
        until(&server, retry, "running").await;
        let groups = server.get(&format!("{ROLLOUTS}/{retry}/deploygroups")).await.expect(200).json();
        let group = &groups["content"][0];
        assert_eq!((&group["name"], &group["totalTargets"]), (&json!("group-1"), &json!(2)));
        assert_eq!(group["successCondition"]["expression"], "50");
        let path = format!("{ROLLOUTS}/{retry}/deploygroups/{}/targets", group["id"]);
        let targets = server.get(&path).await.expect(200).json();
        let names: Vec<_> = targets["content"].as_array().unwrap().iter().map(|t| t["controllerId"].clone()).collect();
        assert_eq!(json!(names), json!(["d-1", "d-2"]));
        let again = server.post(&format!("{ROLLOUTS}/{id}/retry"), Value::Null).await;
        again.expect_error(409, "hawkbit.server.error.repo.entityAlreadyExists");
        let unfinished = server.post(&format!("{ROLLOUTS}/{retry}/retry"), Value::Null).await;
        unfinished.expect_error(400, CONSTRAINT);
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_or_has_no_failures_is_not_retried() {
    on_each_engine(async |server: Server| {
        let nobody = server.post(&format!("{ROLLOUTS}/4711/retry"), Value::Null).await;
        nobody.expect_error(404, NOT_FOUND);
        let id = ended(&server, true).await;
        let retry = server.post(&format!("{ROLLOUTS}/{id}/retry"), Value::Null).await.expect(201).id();
        until(&server, retry, "running").await;
        for n in 1..3 {
            let device = server.device(&format!("d-{n}"));
            let action = device.offered().await.unwrap();
            device.feedback(action, "closed", "success").await.expect(200);
        }
        until(&server, retry, "finished").await;
        server.post(&format!("{ROLLOUTS}/{retry}/retry"), Value::Null).await.expect_error(400, CONSTRAINT);
        server.delete(&format!("{ROLLOUTS}/{id}")).await.expect_empty(204);
        until(&server, id, "deleted").await;
        server.post(&format!("{ROLLOUTS}/{id}/retry"), Value::Null).await.expect_error(404, NOT_FOUND);
    })
    .await;
}
