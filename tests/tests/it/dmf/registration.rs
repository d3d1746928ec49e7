//! THING_CREATED and THING_REMOVED, and that a deleted target is told.

use serde_json::json;

use crate::harness::{Gateway, Server, on_each_engine_with_gateway};

#[tokio::test]
async fn a_new_thing_becomes_a_target() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let target = server.get("/rest/v1/targets/d1").await.expect(200).scrubbed();
        let root = "{base}/rest/v1/targets/d1";
        let expected = json!({
            "createdBy": "CONTROLLER_PLUG_AND_PLAY",
            "createdAt": "#ts",
            "lastModifiedBy": "CONTROLLER_PLUG_AND_PLAY",
            "lastModifiedAt": "#ts",
            "name": "d1",
            "description": "Plug and Play target: d1",
            "controllerId": "d1",
            "updateStatus": "registered",
            "lastControllerRequestAt": "#ts",
            "address": format!("amqp://{}/gw.ex", gateway.host.name),
            "securityToken": "#token",
            "requestAttributes": true,
            "pollStatus": {"lastRequestAt": "#ts", "nextExpectedRequestAt": "#ts", "overdue": false},
            "_links": {
                "self": {"href": root},
                "assignedDS": {"href": format!("{root}/assignedDS")},
                "installedDS": {"href": format!("{root}/installedDS")},
                "attributes": {"href": format!("{root}/attributes")},
                "actions": {"href": format!("{root}/actions?offset=0&limit=50&sort=id%3ADESC")},
                "metadata": {"href": format!("{root}/metadata")},
            },
        });
        assert_eq!(target, expected);
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn name_type_and_attributes_come_with_it() {
    on_each_engine_with_gateway(async |server: Server, gateway: Gateway| {
        server.post("/rest/v1/targettypes", json!([{"name": "pump", "key": "p"}])).await.expect(201);
        let created = async |thing: &str, body: serde_json::Value| {
            let headers = json!({"type": "THING_CREATED", "thingId": thing});
            gateway.tell(gateway.message(headers, Some(body))).await;
            let target = server.get(&format!("/rest/v1/targets/{thing}")).await.expect(200).json();
            (target["name"].clone(), target["targetTypeName"].clone(), target["requestAttributes"].clone())
        };
        let attributes = json!({"attributes": {"hw": "1"}, "mode": "REPLACE", "unknown": 1});
        let body = json!({"name": "Pump 7", "type": "pump", "attributeUpdate": attributes, "unknown": {"x": []}});
        assert_eq!(created("d1", body).await, (json!("Pump 7"), json!("pump"), json!(false)));
        let found = server.get("/rest/v1/targets/d1/attributes").await.expect(200).json();
        assert_eq!(found, json!({"hw": "1"}));
        // Nothing said, nothing changed; and a type of no such name is none.
        assert_eq!(created("d1", json!({"name": "", "type": "boat"})).await.0, "Pump 7");
        assert_eq!(created("d1", json!({})).await, (json!("Pump 7"), json!("pump"), json!(false)));
        assert_eq!(created("d1", json!({"type": ""})).await, (json!("Pump 7"), json!(null), json!(false)));
        assert_eq!(created("d1", json!({"name": "Pump 8"})).await.0, "Pump 8");
        assert_eq!(created("d2", json!({"type": "boat"})).await, (json!("d2"), json!(null), json!(true)));
    })
    .await;
}

/// hawkBit does the one before it looks at the other.
#[tokio::test]
async fn a_thing_whose_attributes_are_refused_is_registered_nonetheless() {
    on_each_engine_with_gateway(async |server: Server, gateway: Gateway| {
        let body = json!({"name": "Pump 7", "attributeUpdate": {"attributes": {"~": "1", "hw": "1"}}});
        gateway.tell(gateway.message(json!({"type": "THING_CREATED", "thingId": "d1"}), Some(body.clone()))).await;
        let letter = gateway.dead_letter().await;
        assert_eq!(letter.json(), body);
        assert!(letter.header("x-exception-message").len() > 10, "{:?}", letter.headers());
        assert_eq!(server.get("/rest/v1/targets/d1").await.expect(200).json()["name"], "Pump 7");
        server.get("/rest/v1/targets/d1/attributes").await.expect_empty(204);
    })
    .await;
}

/// Two quotation marks are what Spring makes of an empty body.
#[tokio::test]
async fn a_body_of_two_quotation_marks_is_none() {
    on_each_engine_with_gateway(async |server: Server, gateway: Gateway| {
        let mut message = gateway.thing_created("d1");
        message.body = b"\"\"".to_vec();
        gateway.tell(message).await;
        assert_eq!(server.get("/rest/v1/targets/d1").await.expect(200).json()["name"], "d1");
    })
    .await;
}

#[tokio::test]
async fn the_address_is_the_gateway_that_spoke_last() {
    on_each_engine_with_gateway(async |server: Server, mut first: Gateway| {
        first.register(&["d1"]).await;
        let mut second = Gateway::connect(first.host, "second.ex").await;
        second.register(&["d1"]).await;
        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        assert_eq!(target["address"], format!("amqp://{}/second.ex", first.host.name));
        let set = server.set("fw", &[]).await;
        server.assign("d1", set).await;
        second.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        first.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn a_target_that_exists_gets_an_address_and_its_open_action() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let (_, action) = server.pending("d1", &[]).await;
        gateway.expect_silence().await;
        gateway.register(&["d1"]).await;
        let sent = gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        assert_eq!(sent.json()["actionId"], action);
        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        assert_eq!(target["description"], json!(null), "{target}");
        server.delete(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect_empty(204);
        gateway.expect("CANCEL_DOWNLOAD", "d1").await;
        gateway.register(&["d1"]).await;
        let sent = gateway.expect("CANCEL_DOWNLOAD", "d1").await;
        assert_eq!(sent.json(), json!({"actionId": action}));
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn a_removed_thing_is_no_target_any_more_and_hears_of_it() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1", "d2"]).await;
        gateway.tell(gateway.message(json!({"type": "THING_REMOVED", "thingId": "d1"}), None)).await;
        server.get("/rest/v1/targets/d1").await.expect(404);
        server.get("/rest/v1/targets/d2").await.expect(200);
        let sent = gateway.next().await;
        let headers = json!({
            "type": "THING_DELETED", "thingId": "d1", "tenant": "DEFAULT", "content-type": "application/json",
        });
        assert_eq!(
            (sent.headers(), sent.json(), sent.content_type()),
            (headers, json!(null), "application/json".into())
        );
        server.delete("/rest/v1/targets/d2").await.expect_empty(204);
        assert_eq!(gateway.next().await.header("thingId"), "d2");
        gateway.expect_silence().await;
    })
    .await;
}

/// A target that polls over HTTP hears nothing here.
#[tokio::test]
async fn only_targets_of_a_gateway_are_told() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        server.allow_devices().await;
        server.target("made").await;
        server.device("polls").poll().await;
        gateway.register(&["thing"]).await;
        let set = server.set("fw", &[]).await;
        for id in ["made", "polls", "thing"] {
            server.assign(id, set).await;
        }
        server.delete("/rest/v1/targets/polls").await.expect_empty(204);
        gateway.expect("DOWNLOAD_AND_INSTALL", "thing").await;
        gateway.expect_silence().await;
    })
    .await;
}
