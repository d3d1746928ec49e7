//! `PUT installedBase`: a device tells what it runs.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn a_device_reports_what_it_runs_in_its_own_name() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let set = server.set("fw", &[]).await;
        let device = server.device("d1");
        let running = json!({"name": "FW", "version": "1"});
        device.put("/installedBase", running.clone()).await.expect_empty(201);
        device.put("/installedBase", running).await.expect_empty(200);
        assert_eq!(server.update_status("d1").await, "in_sync");
        assert_eq!(server.get("/rest/v1/targets/d1/installedDS").await.expect(200).id(), set.id);
        let actions = server.get("/rest/v1/targets/d1/actions").await.expect(200).json();
        let (action, by) = (actions["content"][0]["id"].as_i64().unwrap(), &actions["content"][0]["createdBy"]);
        assert_eq!((by, &actions["total"]), (&json!("d1"), &json!(1)));
        let messages = vec![
            "Assignment initiated by user 'd1'".to_owned(),
            "Update Server: Action reported as offline deployment".to_owned(),
        ];
        assert_eq!(server.status_rows("d1", action).await, [("finished".to_owned(), messages)]);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_set_is_404_and_half_a_report_400() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let device = server.device("d1");
        let not_found = "hawkbit.server.error.repo.entityNotFound";
        let answer = device.put("/installedBase", json!({"name": "no", "version": "2"})).await;
        let info = answer.expect_error(404, not_found).json()["info"].clone();
        assert_eq!(info, json!({"type": "DistributionSet", "entityId": {"no": "2"}}));
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        device.put("/installedBase", json!({"name": "no"})).await.expect_error(400, unreadable);
        assert_eq!(server.update_status("d1").await, "unknown");
    })
    .await;
}
