//! `cancelAction/{actionId}`.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn the_stop_id_is_the_action_and_only_while_it_is_canceled() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        let path = format!("/cancelAction/{action}");
        device.get(&path).await.expect(404);
        server.delete(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect_empty(204);
        let id = action.to_string();
        let body = device.get(&path).await.expect(200).json();
        assert_eq!(body, json!({"id": id, "cancelAction": {"stopId": id}}));
        device.get(&format!("/deploymentBase/{action}")).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn each_answer_of_the_device_moves_the_action_as_it_should() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let cases = [
            ("closed", "success", "canceled", false),
            ("closed", "none", "canceled", false),
            ("closed", "failure", "running", true),
            ("rejected", "none", "running", true),
            ("canceled", "success", "canceling", true),
            ("proceeding", "none", "canceling", true),
            ("scheduled", "none", "canceling", true),
            ("resumed", "none", "canceling", true),
            ("download", "none", "canceling", true),
            ("downloaded", "none", "canceling", true),
        ];
        let set = server.set("fw", &[]).await;
        for (number, (execution, finished, status, active)) in cases.into_iter().enumerate() {
            let id = format!("d{number}");
            server.target(&id).await;
            let action = server.assign(&id, set).await;
            let path = format!("/rest/v1/targets/{id}/actions/{action}");
            server.delete(&path).await.expect_empty(204);
            let device = server.device(&id);
            device.cancel_feedback(action, execution, finished).await.expect_empty(200);
            let action = server.get(&path).await.expect(200).json();
            let found = (&action["status"], &action["active"]);
            assert_eq!(found, (&json!(status), &json!(active)), "{execution} {finished}");
        }
    })
    .await;
}

#[tokio::test]
async fn feedback_to_a_cancelation_nobody_asked_for_is_405() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let key = "hawkbit.server.error.action.notCancelable";
        let device = server.device("d1");
        device.cancel_feedback(action, "closed", "success").await.expect_error(405, key);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}

#[tokio::test]
async fn a_device_that_never_answers_can_be_force_quit() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let path = format!("/rest/v1/targets/d1/actions/{action}");
        server.delete(&path).await.expect_empty(204);
        server.delete(&format!("{path}?force=true")).await.expect_empty(204);
        let action = server.get(&path).await.expect(200).json();
        assert_eq!((&action["status"], &action["active"]), (&json!("canceled"), &json!(false)));
        assert!(server.device("d1").poll().await["_links"].get("cancelAction").is_none());
        assert_eq!(server.update_status("d1").await, "in_sync");
    })
    .await;
}
