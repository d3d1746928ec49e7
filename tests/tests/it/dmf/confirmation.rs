//! CONFIRM and its answers, and UPDATE_AUTO_CONFIRM.

use serde_json::{Value, json};

use super::commands::headers;
use crate::harness::{DEAD_LETTERS, Gateway, Server, on_each_engine_with_gateway};

const FLOW: &str = "user.confirmation.flow.enabled";
const CONFIRMED: &str = "Update Server: Target confirmed action. Therefore, it will be set to the running state to proceed with the deployment.";
const DENIED: &str = "Update Server: Target rejected action. Action will stay in confirmation pending state.";

#[tokio::test]
async fn an_action_is_denied_and_confirmed() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        server.configure(FLOW, true).await;
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let action = server.assign("d1", set).await;
        let asked = gateway.next().await;
        let class = |name: &str| format!("org.eclipse.hawkbit.dmf.json.model.Dmf{name}Request");
        assert_eq!(asked.headers(), headers("CONFIRM", "d1", &class("Confirm")));

        let report = |status: &str, code: Value| {
            let body = json!({"actionId": action, "actionStatus": status, "message": [status], "code": code});
            gateway.event("UPDATE_ACTION_STATUS", "d1", body)
        };
        let denied = report("DENIED", json!(-3));
        gateway.tell(denied).await;
        assert_eq!(shown(&server, action).await, json!(["wait_for_confirmation", true, -3]));
        gateway.expect_silence().await;
        // Who asks again is asked again.
        gateway.register(&["d1"]).await;
        assert_eq!(gateway.expect("CONFIRM", "d1").await.json(), asked.json());

        let confirmed = gateway.event(
            "UPDATE_ACTION_STATUS",
            "d1",
            json!({"actionId": action, "actionStatus": "CONFIRMED", "message": ["CONFIRMED"]}),
        );
        gateway.tell(confirmed).await;
        assert_eq!(shown(&server, action).await, json!(["running", true, null]));
        let sent = gateway.next().await;
        assert_eq!(sent.headers(), headers("DOWNLOAD_AND_INSTALL", "d1", &class("DownloadAndUpdate")));
        assert_eq!(sent.json(), asked.json());
        let mut rows = server.status_rows("d1", action).await;
        rows.iter_mut().for_each(|(_, lines)| lines.sort());
        let row = |kind: &str, lines: &[&str]| (kind.to_owned(), lines.iter().map(|l| l.to_string()).collect());
        let expected: [(String, Vec<String>); 2] = [
            row("wait_for_confirmation", &["Confirmation status code: -3", "DENIED", DENIED]),
            row("running", &["CONFIRMED", CONFIRMED]),
        ];
        assert_eq!(rows[1..], expected);
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn who_confirms_by_itself_is_not_asked() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        server.configure(FLOW, true).await;
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("d1", set).await;
        gateway.expect("CONFIRM", "d1").await;
        let body = json!({"enabled": true, "initiator": "joe", "remark": "lab", "unknown": 1});
        gateway.tell(gateway.event("UPDATE_AUTO_CONFIRM", "d1", body)).await;
        assert_eq!(shown(&server, action).await, json!(["running", true, null]));
        let state = server.get("/rest/v1/targets/d1/autoConfirm").await.expect(200).scrubbed();
        let deactivate = json!({"deactivate": {"href": "{base}/rest/v1/targets/d1/autoConfirm/deactivate"}});
        let expected =
            json!({"active": true, "initiator": "joe", "remark": "lab", "activatedAt": "#ts", "_links": deactivate});
        assert_eq!(state, expected);
        gateway.rest().await;

        gateway.tell(gateway.status("d1", action, "FINISHED")).await;
        gateway.expect("REQUEST_ATTRIBUTES_UPDATE", "d1").await;
        let next = server.set("next", &[]).await;
        server.assign("d1", next).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;

        for _ in 0..2 {
            gateway.tell(gateway.event("UPDATE_AUTO_CONFIRM", "d1", json!({"enabled": false}))).await;
            let state = server.get("/rest/v1/targets/d1/autoConfirm").await.expect(200).json();
            assert_eq!(state["active"], false);
        }
        gateway.tell(gateway.event("UPDATE_AUTO_CONFIRM", "d1", json!({"enabled": true}))).await;
        let state = server.get("/rest/v1/targets/d1/autoConfirm").await.expect(200).json();
        assert_eq!(state["remark"], "Activated using Device Management Federation API.");
        assert_eq!(state.get("initiator"), None);
        assert!(gateway.take(DEAD_LETTERS).await.is_none());
    })
    .await;
}

async fn shown(server: &Server, action: i64) -> Value {
    let found = server.get(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect(200).json();
    json!([found["status"], found["active"], found["lastStatusCode"]])
}
