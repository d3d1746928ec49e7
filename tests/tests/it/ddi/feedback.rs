//! `deploymentBase/{actionId}/feedback`.

use serde_json::{Value, json};

use crate::harness::{Server, on_each_engine};

const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";

/// Clients treat every other success code as an error, so the status is compared and the body is empty.
#[tokio::test]
async fn every_shape_that_clients_send_is_answered_with_200() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let status = json!({"execution": "proceeding", "result": {"finished": "none"}});
        let bodies = [
            json!({"status": status}),
            json!({"id": action, "status": status}),
            json!({"id": action.to_string(), "status": status}),
            json!({"id": "", "time": "", "status": status}),
            json!({"id": null, "time": null, "status": status}),
            json!({"id": 4711, "time": "20261122T031542", "status": status}),
            json!({"timestamp": 1_700_000_000_000_i64, "status": status}),
            json!({"status": status, "unknown": {"a": [1, 2]}, "status2": 1}),
            json!({"status": {"execution": "proceeding", "details": [], "code": 1, "more": true,
                              "result": {"finished": "none", "progress": {"cnt": 2, "of": 5}, "x": 0}}}),
            json!({"status": {"execution": "proceeding", "details": null, "result": {"finished": "none", "progress": null}}}),
        ];
        for body in bodies {
            send(&server, action, body).await.expect_empty(200);
        }
        let types = server.status_types("d1", action).await;
        assert_eq!(types, vec!["running"; 11]);
        assert_eq!(server.update_status("d1").await, "pending");
    })
    .await;
}

#[tokio::test]
async fn swupdates_own_report_is_stored_message_by_message() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let details = [
            "[_parse_files] : Found File: payload.bin --> /tmp/installed.bin (ROOTFS)",
            "[extract_file_to_tmp] : \tfilename sw-description",
            "SWUPDATE successful !",
        ];
        let body = json!({
            "id": action,
            "time": "20261122T031544",
            "status": {"result": {"progress": {"cnt": 0, "of": 0}, "finished": "none"},
                       "execution": "proceeding", "details": details}
        });
        send(&server, action, body).await.expect_empty(200);
        let rows = server.status_rows("d1", action).await;
        let mut messages = rows[1].1.clone();
        let mut expected = details.map(str::to_owned);
        messages.sort();
        expected.sort();
        assert_eq!(messages, expected);
    })
    .await;
}

#[tokio::test]
async fn executions_and_results_map_to_statuses() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let set = server.set("fw", &[]).await;
        let cases = [
            ("closed", "success", "finished", false, "in_sync"),
            ("closed", "none", "finished", false, "in_sync"),
            ("closed", "failure", "error", false, "error"),
            ("canceled", "none", "canceled", true, "pending"),
            ("rejected", "none", "warning", true, "pending"),
            ("download", "none", "download", true, "pending"),
            ("downloaded", "none", "downloaded", true, "pending"),
            ("proceeding", "failure", "running", true, "pending"),
            ("scheduled", "none", "running", true, "pending"),
            ("resumed", "success", "running", true, "pending"),
        ];
        for (number, (execution, finished, row, active, target)) in cases.into_iter().enumerate() {
            let id = format!("d{number}");
            server.target(&id).await;
            let action = server.assign(&id, set).await;
            let device = server.device(&id);
            device.feedback(action, execution, finished).await.expect_empty(200);
            let case = format!("{execution} {finished}");
            assert_eq!(server.status_types(&id, action).await, ["running", row], "{case}");
            let found = server.get(&format!("/rest/v1/targets/{id}/actions/{action}")).await;
            assert_eq!(found.expect(200).json()["active"], active, "{case}");
            assert_eq!(server.update_status(&id).await, target, "{case}");
        }
    })
    .await;
}

#[tokio::test]
async fn unreadable_feedback_is_400_and_writes_nothing() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        for body in [
            json!({}),
            json!([]),
            json!("text"),
            json!({"status": null}),
            json!({"status": {"execution": "closed"}}),
            json!({"status": {"result": {"finished": "success"}}}),
            json!({"status": {"execution": "closed", "result": {}}}),
            json!({"status": {"execution": "CLOSE", "result": {"finished": "success"}}}),
            json!({"status": {"execution": "closed", "result": {"finished": "perhaps"}}}),
            json!({"status": {"execution": "closed", "result": {"finished": "success"}, "code": "x"}}),
            json!({"status": {"execution": "closed", "result": {"finished": "success"}, "details": "x"}}),
        ] {
            send(&server, action, body).await.expect_error(400, UNREADABLE);
        }
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}

#[tokio::test]
async fn feedback_for_someone_elses_action_is_not_found() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        server.target("d2").await;
        let other = server.device("d2");
        let foreign = other.feedback(action, "closed", "success").await.expect_error(404, NOT_FOUND);
        assert_eq!(foreign.json().get("info"), None);
        other.cancel_feedback(action, "closed", "success").await.expect_error(404, NOT_FOUND);
        server.device("d1").feedback(action + 1000, "closed", "success").await.expect_error(404, NOT_FOUND);
        server.device("ghost").feedback(action, "closed", "success").await.expect_error(404, NOT_FOUND);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
        assert_eq!(server.update_status("d1").await, "pending");
    })
    .await;
}

#[tokio::test]
async fn feedback_to_a_closed_action_is_410_without_a_body() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        device.feedback(action, "closed", "success").await.expect_empty(200);
        for (execution, finished) in [("closed", "success"), ("closed", "failure"), ("proceeding", "none")] {
            device.feedback(action, execution, finished).await.expect_empty(410);
        }
        assert_eq!(server.status_types("d1", action).await, ["running", "finished"]);
        assert_eq!(server.update_status("d1").await, "in_sync");
    })
    .await;
}

#[tokio::test]
async fn messages_are_limited_and_long_ones_are_split() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let quota = "hawkbit.server.error.quota.tooManyEntries";
        send(&server, action, with_details(vec!["m"; 51])).await.expect_error(429, quota);
        let markup = "hawkbit.server.error.repo.constraintViolation";
        let script = with_details(vec!["<script>alert(1)</script>"]);
        send(&server, action, script).await.expect_error(400, markup);
        assert_eq!(server.status_types("d1", action).await, ["running"]);

        let long = "x".repeat(512) + &"y".repeat(88);
        send(&server, action, with_details(vec![&long])).await.expect_empty(200);
        let rows = server.status_rows("d1", action).await;
        let mut messages = rows[1].1.clone();
        messages.sort();
        assert_eq!(messages, ["x".repeat(512), "y".repeat(88)]);
    })
    .await;
}

#[tokio::test]
async fn the_last_status_code_is_shown() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let body = json!({"status": {"execution": "proceeding", "result": {"finished": "none"}, "code": 17}});
        send(&server, action, body).await.expect_empty(200);
        let found = server.get(&format!("/rest/v1/targets/d1/actions/{action}")).await;
        assert_eq!(found.expect(200).json()["lastStatusCode"], 17);
        let rows = server.status_rows("d1", action).await;
        assert!(rows[1].1.contains(&"Device reported status code: 17".to_owned()), "{rows:?}");
    })
    .await;
}

async fn send(server: &Server, action: i64, body: Value) -> crate::harness::Answer {
    let path = format!("/deploymentBase/{action}/feedback");
    server.device("d1").post(&path, body).await
}

fn with_details(details: Vec<&str>) -> Value {
    json!({"status": {"execution": "proceeding", "result": {"finished": "none"}, "details": details}})
}
