//! What target filters assign by themselves, as operators and devices see it. The rules are in `domain/auto_assign`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, eventually, on_each_engine};

const REACTED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_new_device_is_offered_what_a_filter_assigns() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let set = server.set("fw", &[]).await;
        let filter = auto_assign(&server, "lamps", "controllerId==lamp-*", json!({"id": set.id, "type": "soft"})).await;
        let device = server.device("lamp-1");
        assert_eq!(device.offered().await, None, "the first poll makes the target");
        let action = eventually(REACTED, "the action", async || device.offered().await).await;
        let shown = server.get(&format!("/rest/v1/targets/lamp-1/actions/{action}")).await.expect(200).scrubbed();
        let shown: Value = ["createdBy", "lastModifiedBy", "type", "status", "active", "forceType", "weight"]
            .map(|member| (member.to_owned(), shown[member].clone()))
            .into_iter()
            .collect::<serde_json::Map<_, _>>()
            .into();
        let expected = json!({
            "createdBy": "admin", "lastModifiedBy": "admin", "type": "update", "status": "running", "active": true,
            "forceType": "soft", "weight": 1000,
        });
        assert_eq!(shown, expected);
        let said = "Auto assignment by target filter: lamps".to_owned();
        assert_eq!(server.status_rows("lamp-1", action).await, [("running".to_owned(), vec![said])]);
        server.delete(&format!("/rest/v1/targetfilters/{filter}/autoAssignDS")).await.expect_empty(204);
        device.feedback(action, "closed", "failure").await.expect_empty(200);
        assert_eq!((server.update_status("lamp-1").await.as_str(), device.offered().await), ("error", None));
    })
    .await;
}

/// While an action is scheduled for a target, it has one of the set.
#[tokio::test]
async fn a_filter_takes_over_the_targets_that_a_stopped_rollout_has_not_reached() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        for id in ["d1", "d2"] {
            server.target(id).await;
        }
        let body = json!({
            "name": "r", "targetFilterQuery": "id==d*", "distributionSetId": set.id, "amountGroups": 2,
        });
        let rollout = server.post("/rest/v1/rollouts", body).await.expect(201).id();
        let path = format!("/rest/v1/rollouts/{rollout}");
        let reaches = async |status: &str| {
            eventually(REACTED, status, async || {
                (server.get(&path).await.expect(200).json()["status"] == status).then_some(())
            })
            .await;
        };
        reaches("ready").await;
        server.post(&format!("{path}/start"), json!({})).await.expect(204);
        reaches("running").await;
        auto_assign(&server, "all", "controllerId==*", json!({"id": set.id})).await;
        server.target("d3").await;
        let actions = async |id: &str| {
            let list = server.get(&format!("/rest/v1/targets/{id}/actions")).await.expect(200).json();
            let content = list["content"].as_array().unwrap();
            content.iter().map(|action| action["rollout"].is_number()).collect::<Vec<_>>()
        };
        eventually(REACTED, "the third is assigned", async || (actions("d3").await == [false]).then_some(())).await;
        let before = (actions("d1").await, actions("d2").await);
        assert_eq!(before, (vec![true], vec![true]), "the rollout's");
        server.post(&format!("{path}/stop"), json!({})).await.expect(204);
        eventually(REACTED, "the filter's", async || (actions("d2").await == [false]).then_some(())).await;
        assert_eq!(actions("d1").await, [true]);
    })
    .await;
}

/// Makes a filter and has it assign a set; the filter's id.
async fn auto_assign(server: &Server, name: &str, query: &str, how: Value) -> i64 {
    let filter = server.post("/rest/v1/targetfilters", json!({"name": name, "query": query})).await.expect(201).id();
    server.post(&format!("/rest/v1/targetfilters/{filter}/autoAssignDS"), how).await.expect(200);
    filter
}
