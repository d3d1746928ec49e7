//! Rollouts of users whose permissions on targets have scopes.

use reqwest::Method;
use serde_json::json;

use super::{SCOPES, ask, four_targets, get, listed, with_users};

#[tokio::test]
async fn a_rollout_takes_the_targets_that_its_creator_may_see_and_change() {
    let common = "CREATE_ROLLOUT,READ_ROLLOUT,READ_DISTRIBUTION_SET,UPDATE_DISTRIBUTION_SET,UPDATE_TARGET";
    let (lab, reader) = (format!("{common},READ_TARGET/group==lab"), "READ_ROLLOUT,READ_TARGET/id==lab-2");
    with_users(&[("lab", &lab), ("reader", reader)], &[SCOPES], async |server| {
        four_targets(&server).await;
        let set = server.set("fw", &[]).await;
        let body = json!({"name": "r", "targetFilterQuery": "name==*", "distributionSetId": set.id});
        let created = ask(&server, "lab", Method::POST, "rollouts", Some(body.clone())).await.expect(201);
        assert_eq!(created.json()["totalTargets"], 2);
        let id = created.id();
        crate::mgmt::until(&server, id, "ready").await;
        let groups = get(&server, "lab", &format!("rollouts/{id}/deploygroups")).await.expect(200).json();
        let path = format!("rollouts/{id}/deploygroups/{}/targets", groups["content"][0]["id"]);
        let all = server.get(&format!("/rest/v1/{path}")).await;
        assert_eq!(listed(all, "controllerId"), (2, vec!["lab-1".into(), "lab-2".into()]));
        let some = get(&server, "reader", &path).await;
        assert_eq!(listed(some, "controllerId"), (1, vec!["lab-2".into()]));
        let nothing = json!({"name": "s", "targetFilterQuery": "group==shop", "distributionSetId": set.id});
        let refused = ask(&server, "lab", Method::POST, "rollouts", Some(nothing)).await;
        refused.expect_error(400, "hawkbit.server.error.repo.constraintViolation");
    })
    .await;
}
