//! CANCEL_DOWNLOAD, and what devices answer to it.

use serde_json::{Value, json};

use super::commands::headers;
use crate::harness::{Gateway, Server, on_each_engine_with_gateway};

#[tokio::test]
async fn a_cancelation_is_sent_and_answered() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("d1", set).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        let path = format!("/rest/v1/targets/d1/actions/{action}");
        for (answer, shown) in [("CANCEL_REJECTED", ("running", true)), ("CANCELED", ("canceled", false))] {
            server.delete(&path).await.expect_empty(204);
            let sent = gateway.next().await;
            let class = "org.eclipse.hawkbit.dmf.json.model.DmfActionRequest";
            assert_eq!(sent.headers(), headers("CANCEL_DOWNLOAD", "d1", class));
            assert_eq!(sent.json(), json!({"actionId": action}));
            assert_eq!(self::shown(&server, action).await, ("canceling".to_owned(), true));
            gateway.tell(gateway.status("d1", action, answer)).await;
            assert_eq!(self::shown(&server, action).await, (shown.0.to_owned(), shown.1));
        }
        let types = ["running", "canceling", "cancel_rejected", "canceling", "canceled"];
        assert_eq!(server.status_types("d1", action).await, types);
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn what_replaces_an_action_is_sent_when_that_one_is_canceled() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let first = server.assign("d1", set).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        let next = server.set("next", &[]).await;
        let second = server.assign("d1", next).await;
        let sent = gateway.expect("CANCEL_DOWNLOAD", "d1").await;
        assert_eq!(sent.json(), json!({"actionId": first}));
        gateway.expect_silence().await;
        gateway.tell(gateway.status("d1", first, "CANCELED")).await;
        let sent = gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        assert_eq!(sent.json()["actionId"], second);
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn one_that_is_quit_by_force_is_over_without_an_answer() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("d1", set).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        let path = format!("/rest/v1/targets/d1/actions/{action}");
        server.delete(&path).await.expect_empty(204);
        gateway.expect("CANCEL_DOWNLOAD", "d1").await;
        server.delete(&format!("{path}?force=true")).await.expect_empty(204);
        assert_eq!(shown(&server, action).await, ("canceled".to_owned(), false));
        gateway.register(&["d1"]).await;
        gateway.expect_silence().await;
    })
    .await;
}

async fn shown(server: &Server, action: i64) -> (String, bool) {
    let found: Value = server.get(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect(200).json();
    (found["status"].as_str().unwrap().to_owned(), found["active"].as_bool().unwrap())
}
