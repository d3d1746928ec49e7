//! The device API in CBOR: every answer holds what JSON would, and every body is read as JSON is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Device, Engine, Server, on_each_engine};

const CBOR: &str = "application/cbor";

fn decoded(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some(CBOR), "{}", answer.request);
    ciborium::from_reader(answer.bytes.as_slice()).unwrap()
}

async fn send(device: &Device<'_>, method: Method, path: &str, body: &Value) -> Answer {
    let mut bytes = Vec::new();
    ciborium::into_writer(body, &mut bytes).unwrap();
    let headers = [("authorization", device.authorization.as_str()), ("content-type", CBOR), ("accept", CBOR)];
    device.client.request(method, &format!("{}{path}", device.root), &headers, Some(bytes)).await
}

/// Asks in both forms and returns what both hold.
async fn get(device: &Device<'_>, path: &str) -> Value {
    let json = device.get(path).await.expect(200).json();
    let cbor = device.get_with(path, &[("accept", CBOR)]).await.expect(200);
    assert_eq!(decoded(&cbor), json, "{path}");
    json
}

#[tokio::test]
async fn an_update_from_the_first_poll_to_the_last_feedback() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let device = server.device("d1");
        let poll = decoded(&device.get_with("", &[("accept", CBOR)]).await.expect(200));
        let href = format!("{}/DEFAULT/controller/v1/d1/configData", server.base);
        let expected = json!({"config": {"polling": {"sleep": "00:05:00"}}, "_links": {"configData": {"href": href}}});
        assert_eq!(poll, expected);

        let attributes = json!({"mode": "replace", "data": {"os": "linux", "cores": 4, "lte": true}});
        send(&device, Method::PUT, "/configData", &attributes).await.expect_empty(200);
        let kept = server.get("/rest/v1/targets/d1/attributes").await.expect(200).json();
        assert_eq!(kept, json!({"os": "linux", "cores": "4", "lte": "true"}));

        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let action = server.assign("d1", set).await;
        let base = get(&device, &format!("/deploymentBase/{action}")).await;
        let artifact = &base["deployment"]["chunks"][0]["artifacts"][0];
        assert_eq!((&artifact["size"], &artifact["filename"]), (&3.into(), &"a.bin".into()), "{base}");
        let list = get(&device, &format!("/softwaremodules/{}/artifacts", set.module)).await;
        assert_eq!(&list[0], artifact);

        let feedback = format!("/deploymentBase/{action}/feedback");
        let proceeding = json!({
            "id": action.to_string(), "timestamp": 1_700_000_000_000_i64,
            "status": {"execution": "proceeding", "result": {"finished": "none"}, "code": 7, "details": ["half"]},
        });
        send(&device, Method::POST, &feedback, &proceeding).await.expect_empty(200);
        let closed = json!({"status": {"execution": "closed", "result": {"finished": "success"}, "details": []}});
        send(&device, Method::POST, &feedback, &closed).await.expect_empty(200);
        assert_eq!(server.update_status("d1").await, "in_sync");
        let installed = get(&device, &format!("/installedBase/{action}?actionHistory=-1")).await;
        assert!(installed["actionHistory"]["messages"].as_array().unwrap().contains(&"half".into()), "{installed}");
    })
    .await;
}

#[tokio::test]
async fn a_cancellation() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let (_, action) = server.pending("d1", &[]).await;
    server.delete(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect(204);
    let device = server.device("d1");
    let cancel = get(&device, &format!("/cancelAction/{action}")).await;
    let id = action.to_string();
    assert_eq!(cancel, json!({"id": id, "cancelAction": {"stopId": id}}));
    let closed = json!({"status": {"execution": "closed", "result": {"finished": "success"}}});
    let path = format!("/cancelAction/{action}/feedback");
    send(&device, Method::POST, &path, &closed).await.expect_empty(200);
    let state = server.get(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect(200).json();
    assert_eq!(state["status"], "canceled", "{state}");
}

#[tokio::test]
async fn the_form_is_chosen_by_quality() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let device = server.device("d1");
    for (accept, expected) in [
        ("application/cbor, application/json;q=0.9", CBOR),
        ("application/cbor;q=0.5, application/json", "application/json"),
        ("application/hal+json;q=0.2, application/cbor;q=0.3", CBOR),
        ("application/*;q=0.9, application/cbor", CBOR),
        ("*/*", "application/hal+json"),
    ] {
        let answer = device.get_with("", &[("accept", accept)]).await.expect(200);
        assert_eq!(answer.header("content-type"), Some(expected), "{accept}");
    }
    device.get_with("", &[("accept", "application/xml")]).await.expect(406);
}

#[tokio::test]
async fn bodies_that_are_no_cbor_are_refused_and_errors_are_json() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let device = server.device("d1");
    device.poll().await;
    let root = format!("{}/configData", device.root);
    let unreadable = "hawkbit.server.error.rest.body.notReadable";
    for body in [&b""[..], b"{\"data\":{}}", b"\xff", b"\xa1\x64data\xa1\x01\x61x", b"\xbf", &[0x81; 4000]] {
        let headers = [("authorization", device.authorization.as_str()), ("content-type", CBOR), ("accept", CBOR)];
        let answer = server.request(Method::PUT, &root, &headers, Some(body.to_vec())).await;
        answer.expect_error(400, unreadable);
    }
    let missing = device.get_with("/deploymentBase/4711", &[("accept", CBOR)]).await.expect(404);
    assert_ne!(missing.header("content-type"), Some(CBOR));
}
