//! UPDATE_ACTION_STATUS: what devices report, what is noted of it, and what they are told next.

use serde_json::{Value, json};

use crate::harness::{DEAD_LETTERS, Gateway, Server, on_each_engine_with_gateway};

#[tokio::test]
async fn every_status_is_noted_and_some_end_the_action() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        for (status, shown, active, update_status, told) in [
            ("DOWNLOAD", "running", true, "pending", ""),
            ("RETRIEVED", "running", true, "pending", ""),
            ("RUNNING", "running", true, "pending", ""),
            ("WARNING", "running", true, "pending", ""),
            ("DOWNLOADED", "running", true, "pending", ""),
            ("FINISHED", "finished", false, "in_sync", "REQUEST_ATTRIBUTES_UPDATE"),
            ("ERROR", "error", false, "error", ""),
        ] {
            let id = format!("thing-{}", status.to_lowercase());
            gateway.register(&[&id]).await;
            let set = server.set(&id, &[]).await;
            let action = server.assign(&id, set).await;
            gateway.expect("DOWNLOAD_AND_INSTALL", &id).await;
            gateway.tell(gateway.status(&id, action, status)).await;
            let found = action_of(&server, &id, action).await;
            assert_eq!((&found["status"], &found["active"]), (&json!(shown), &json!(active)), "{status}");
            assert_eq!(server.update_status(&id).await, update_status, "{status}");
            let rows = server.status_rows(&id, action).await;
            let lower = status.to_lowercase();
            assert_eq!(rows[1..], [(lower.clone(), vec![lower])], "{status}");
            let topics: Vec<String> = gateway.rest().await.iter().map(|message| message.header("topic")).collect();
            assert_eq!(topics.concat(), told, "{status}");
        }
    })
    .await;
}

#[tokio::test]
async fn code_correlation_and_lines_are_kept() {
    on_each_engine_with_gateway(async |server: Server, gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("d1", set).await;
        let report = |more: Value| {
            let body = crate::mgmt::merged(json!({"actionId": action, "actionStatus": "RUNNING"}), more);
            gateway.event("UPDATE_ACTION_STATUS", "d1", body)
        };
        let all = json!({
            "message": ["half", "done"], "code": 7, "timestamp": 1, "softwareModuleId": 4, "unknown": {"x": 1},
        });
        gateway.tell(report(all).correlated("c-7")).await;
        assert_eq!(action_of(&server, "d1", action).await["lastStatusCode"], 7);
        gateway.tell(report(json!({})).correlated("c-8")).await;
        assert_eq!(action_of(&server, "d1", action).await["lastStatusCode"], json!(null));
        gateway.tell(report(json!({"message": null, "code": -1}))).await;
        // As Jackson reads them.
        gateway.tell(report(json!({"actionId": action.to_string(), "message": []}))).await;
        let mut rows = server.status_rows("d1", action).await;
        // A row's lines have no order.
        rows.iter_mut().for_each(|(_, lines)| lines.sort());
        let noted = |lines: &[&str]| ("running".to_owned(), lines.iter().map(|l| l.to_string()).collect::<Vec<_>>());
        let expected = [
            noted(&["Device reported status code: 7", "Update Server: DMF message correlation-id c-7", "done", "half"]),
            noted(&["Update Server: DMF message correlation-id c-8"]),
            noted(&["Device reported status code: -1"]),
            noted(&[]),
        ];
        assert_eq!(rows[1..], expected);
        assert!(gateway.take(DEAD_LETTERS).await.is_none());
    })
    .await;
}

/// Nothing binds a report to the thing that its header names, nor need there be one.
#[tokio::test]
async fn the_header_need_not_name_the_thing() {
    on_each_engine_with_gateway(async |server: Server, gateway: Gateway| {
        gateway.register(&["d1", "d2"]).await;
        let set = server.set("fw", &[]).await;
        let (one, two) = (server.assign("d1", set).await, server.assign("d2", set).await);
        gateway.tell(gateway.status("d2", one, "FINISHED")).await;
        let headers = json!({"type": "EVENT", "topic": "UPDATE_ACTION_STATUS"});
        let body = json!({"actionId": two, "actionStatus": "FINISHED"});
        gateway.tell(gateway.message(headers, Some(body))).await;
        for (id, action) in [("d1", one), ("d2", two)] {
            assert_eq!(action_of(&server, id, action).await["status"], "finished");
        }
    })
    .await;
}

#[tokio::test]
async fn reports_of_a_closed_action_are_noted_unless_they_would_end_it() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("d1", set).await;
        for status in ["ERROR", "RUNNING", "FINISHED", "ERROR"] {
            gateway.tell(gateway.status("d1", action, status)).await;
        }
        assert_eq!(server.status_types("d1", action).await, ["running", "error", "running"]);
        assert_eq!(action_of(&server, "d1", action).await["status"], "error");
        assert!(gateway.take(DEAD_LETTERS).await.is_none());
        gateway.rest().await;
    })
    .await;
}

#[tokio::test]
async fn download_only_is_over_when_it_is_downloaded() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let body = json!({"id": set.id, "type": "downloadonly"});
        let assigned = server.post("/rest/v1/targets/d1/assignedDS", body).await.expect(200).json();
        let action = assigned["assignedActions"][0]["id"].as_i64().unwrap();
        gateway.expect("DOWNLOAD", "d1").await;
        gateway.tell(gateway.status("d1", action, "DOWNLOADED")).await;
        gateway.expect("REQUEST_ATTRIBUTES_UPDATE", "d1").await;
        let found = action_of(&server, "d1", action).await;
        assert_eq!((&found["status"], &found["active"]), (&json!("downloaded"), &json!(false)));
        assert_eq!(server.update_status("d1").await, "in_sync");
        gateway.tell(gateway.status("d1", action, "FINISHED")).await;
        assert_eq!(action_of(&server, "d1", action).await["status"], "finished");
    })
    .await;
}

/// An empty message without a class name: the recording has it so.
#[tokio::test]
async fn attributes_are_asked_for_without_a_body() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("d1", set).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        gateway.tell(gateway.status("d1", action, "FINISHED")).await;
        let sent = gateway.next().await;
        let headers = json!({
            "type": "EVENT", "topic": "REQUEST_ATTRIBUTES_UPDATE", "thingId": "d1", "tenant": "DEFAULT",
            "content-type": "application/json",
        });
        assert_eq!((sent.headers(), sent.json()), (headers, Value::Null));
        assert_eq!(sent.correlation_id().len(), 36);
        gateway.tell(gateway.attributes("d1", json!({"hw": "1"}))).await;
        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        assert_eq!(target["requestAttributes"], false);
    })
    .await;
}

async fn action_of(server: &Server, id: &str, action: i64) -> Value {
    server.get(&format!("/rest/v1/targets/{id}/actions/{action}")).await.expect(200).json()
}
