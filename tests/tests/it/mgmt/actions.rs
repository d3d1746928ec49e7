//! `/rest/v1/actions` and `/rest/v1/targets/{controllerId}/actions`.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn the_heaviest_action_is_offered_first_then_the_oldest() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let mut actions = Vec::new();
        for (name, weight) in [("light", 10), ("heavy", 900), ("middle", 500)] {
            let module = server.module(&format!("{name}-os")).await;
            let body = json!([{"name": name, "version": "1", "type": "os", "requiredMigrationStep": true, "modules": [{"id": module}]}]);
            let set = server.post("/rest/v1/distributionsets", body).await.expect(201).id();
            let body = json!({"id": set, "weight": weight});
            let assigned = server.post("/rest/v1/targets/d1/assignedDS", body).await.expect(200).json();
            actions.push(assigned["assignedActions"][0]["id"].as_i64().unwrap());
        }
        let device = server.device("d1");
        for next in [actions[1], actions[2], actions[0]] {
            assert_eq!(device.offered().await, Some(next), "of {actions:?}");
            device.feedback(next, "closed", "success").await.expect_empty(200);
        }
        assert_eq!(device.offered().await, None);
    })
    .await;
}

#[tokio::test]
async fn only_forced_may_be_put() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let set = server.set("fw", &[]).await;
        let body = json!({"id": set.id, "type": "soft"});
        let assigned = server.post("/rest/v1/targets/d1/assignedDS", body).await.expect(200).json();
        let action = assigned["assignedActions"][0]["id"].clone();
        let path = format!("/rest/v1/targets/d1/actions/{action}");
        let constraint = "hawkbit.server.error.repo.constraintViolation";
        server.put(&path, json!({"forceType": "soft"})).await.expect_error(400, constraint);
        server.put(&path, json!({})).await.expect_error(400, constraint);
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        server.put(&path, json!({"forceType": "hard"})).await.expect_error(400, unreadable);
        let not_found = "hawkbit.server.error.repo.entityNotFound";
        let unknown = "/rest/v1/targets/d1/actions/9999";
        server.put(unknown, json!({"forceType": "soft"})).await.expect_error(404, not_found);
        let forced = server.put(&path, json!({"forceType": "forced"})).await.expect(200).json();
        assert_eq!(forced["forceType"], "forced");
        let base = server.device("d1").get(&format!("/deploymentBase/{action}")).await;
        assert_eq!(base.expect(200).json()["deployment"]["update"], "forced", "the cached answer is dropped");
    })
    .await;
}

#[tokio::test]
async fn status_rows_of_an_action_have_a_quota_except_the_last_word() {
    let setting = "hawkbit.server.security.dos.maxStatusEntriesPerAction=5";
    for engine in [crate::harness::Engine::Sqlite, crate::harness::Engine::Postgres] {
        let server = Server::start_with(engine, &[setting]).await;
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        for _ in 0..4 {
            device.feedback(action, "proceeding", "none").await.expect_empty(200);
        }
        let key = "hawkbit.server.error.quota.tooManyEntries";
        device.feedback(action, "proceeding", "none").await.expect_error(429, key);
        device.feedback(action, "closed", "success").await.expect_empty(200);
        assert_eq!(server.update_status("d1").await, "in_sync");
    }
}

#[tokio::test]
async fn an_action_of_another_target_is_404_without_a_body() {
    on_each_engine(async |server: Server| {
        let (_, action) = server.pending("d1", &[]).await;
        server.target("d2").await;
        let path = format!("/rest/v1/targets/d2/actions/{action}");
        server.get(&path).await.expect_empty(404);
        server.get(&format!("{path}/status")).await.expect_empty(404);
        server.put(&path, json!({"forceType": "forced"})).await.expect_empty(404);
        server.delete(&path).await.expect_empty(404);
    })
    .await;
}

#[tokio::test]
async fn the_statuses_of_an_action_are_not_searched() {
    on_each_engine(async |server: Server| {
        let (_, action) = server.pending("d1", &[]).await;
        let path = format!("/rest/v1/targets/d1/actions/{action}/status");
        let all = server.get(&path).await.expect(200).json();
        assert_eq!(all["total"], 1);
        assert_eq!(server.get(&format!("{path}?q=no%20search")).await.expect(200).json(), all);
    })
    .await;
}
