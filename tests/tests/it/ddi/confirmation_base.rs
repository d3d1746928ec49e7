//! `confirmationBase`, the actions under it, and auto-confirmation by the device.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Device, Server, basic, on_each_engine},
    users::for_each_engine,
};

const FLOW: &str = "user.confirmation.flow.enabled";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const CONSTRAINT: &str = "hawkbit.server.error.repo.constraintViolation";
const WAITING: &str = "Waiting for the confirmation by the device before processing with the deployment";
const INITIATED: &str = "Assignment initiated by user 'admin'";
const CONFIRMED: &str = "Update Server: Target confirmed action. Therefore, it will be set to the running state to proceed with the deployment.";
const DENIED: &str = "Update Server: Target rejected action. Action will stay in confirmation pending state.";

#[tokio::test]
async fn a_waiting_action_is_offered_read_denied_and_confirmed() {
    on_each_engine(async |server: Server| {
        let action = waiting(&server, "d1").await;
        let device = server.device("d1");
        let links = device.poll().await["_links"].clone();
        let href = links["confirmationBase"]["href"].as_str().unwrap();
        assert!(href.starts_with(&format!("{}{}/confirmationBase/{action}?c=", server.base, device.root)), "{href}");
        assert_eq!(links.as_object().unwrap().keys().collect::<Vec<_>>(), ["confirmationBase", "configData"]);
        device.get(&format!("/deploymentBase/{action}")).await.expect_empty(404);
        device.feedback(action, "closed", "success").await.expect_empty(404);

        let path = format!("/confirmationBase/{action}");
        let mut body = device.get(&format!("{path}?c=5&actionHistory=-1")).await.expect(200).json();
        let deployment = json!({"download": "forced", "update": "forced", "chunks": [
            {"part": "os", "version": "1", "name": "fw-d1-os", "artifacts": []}
        ]});
        let history = json!({"status": "WAIT_FOR_CONFIRMATION", "messages": body["actionHistory"]["messages"]});
        assert_eq!(body, json!({"id": action.to_string(), "confirmation": deployment, "actionHistory": history}));
        let mut messages: Vec<String> = serde_json::from_value(body["actionHistory"]["messages"].take()).unwrap();
        messages.sort();
        assert_eq!(messages, [INITIATED, WAITING]);
        assert_eq!(server.status_types("d1", action).await, ["wait_for_confirmation"], "reading is not noted");

        let denied = json!({"confirmation": "denied", "code": -3, "details": ["<b>later</b>", null]});
        device.post(&format!("{path}/feedback"), denied).await.expect_empty(200);
        assert_eq!(shown(&server, "d1", action).await, json!(["wait_for_confirmation", true, -3]));
        device.post(&format!("{path}/feedback"), json!({"confirmation": "confirmed"})).await.expect_empty(200);
        assert_eq!(shown(&server, "d1", action).await, json!(["running", true, null]));
        let rows = [
            ("wait_for_confirmation", vec![INITIATED, WAITING]),
            ("wait_for_confirmation", vec!["<b>later</b>", DENIED, "Confirmation status code: -3"]),
            ("running", vec![CONFIRMED]),
        ];
        assert_eq!(server.status_rows("d1", action).await, owned(&rows));
        assert_eq!(device.offered().await, Some(action));
        device.get(&path).await.expect_empty(404);
        device.post(&format!("{path}/feedback"), json!({"confirmation": "confirmed"})).await.expect_empty(404);
        device.feedback(action, "closed", "success").await.expect_empty(200);
        device.post(&format!("{path}/feedback"), json!({"confirmation": "denied"})).await.expect_empty(410);
        assert_eq!(server.update_status("d1").await, "in_sync");
    })
    .await;
}

#[tokio::test]
async fn confirmation_base_as_a_whole_is_a_poll() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let device = server.device("new");
        let base = "{base}/DEFAULT/controller/v1/new/confirmationBase";
        let inactive = json!({
            "autoConfirm": {"active": false, "activatedAt": 0},
            "_links": {"activateAutoConfirm": {"href": format!("{base}/activateAutoConfirm")}}
        });
        assert_eq!(device.get("/confirmationBase").await.expect(200).scrubbed(), inactive);
        assert_eq!(server.update_status("new").await, "registered");
        server.target("d1").await;
        server.device("d1").get("/confirmationBase").await.expect(200);
        assert_eq!(server.update_status("d1").await, "registered");

        let wanted = json!({"initiator": "me", "remark": "<i>because</i>", "other": 1});
        device.post("/confirmationBase/activateAutoConfirm", wanted).await.expect_empty(200);
        let active = json!({
            "autoConfirm": {"active": true, "initiator": "me", "remark": "<i>because</i>", "activatedAt": "#ts"},
            "_links": {"deactivateAutoConfirm": {"href": format!("{base}/deactivateAutoConfirm")}}
        });
        assert_eq!(device.get("/confirmationBase").await.expect(200).scrubbed(), active);
        for _ in 0..2 {
            device.send_empty("/confirmationBase/deactivateAutoConfirm").await.expect_empty(200);
            assert_eq!(device.get("/confirmationBase").await.expect(200).scrubbed(), inactive);
        }
    })
    .await;
}

#[tokio::test]
async fn auto_confirmation_lets_what_waits_go_on_and_all_that_follows() {
    on_each_engine(async |server: Server| {
        let action = waiting(&server, "d1").await;
        let device = server.device("d1");
        device.send_empty("/confirmationBase/activateAutoConfirm").await.expect_empty(200);
        let text = |initiator: &str, remark: &str| {
            format!(
                "Assignment automatically confirmed by initiator '{initiator}'. \n\nAuto confirmation activated by \
                 system user: 'CONTROLLER_PLUG_AND_PLAY' \n\nRemark: {remark}"
            )
        };
        let own = text("n/a", "Initiated using the Device Direct Integration API without providing a remark.");
        let rows = [("wait_for_confirmation", vec![INITIATED, WAITING]), ("running", vec![own.as_str()])];
        assert_eq!(server.status_rows("d1", action).await, owned(&rows));
        assert_eq!(device.offered().await, Some(action));
        let key = "hawkbit.server.error.repo.autoConfAlreadyActive";
        device.post("/confirmationBase/activateAutoConfirm", json!({})).await.expect_error(409, key);

        server.configure(FLOW, false).await;
        device.send_empty("/confirmationBase/deactivateAutoConfirm").await.expect_empty(200);
        let blank = json!({"initiator": "", "remark": " "});
        device.post("/confirmationBase/activateAutoConfirm", blank).await.expect_empty(200);
        let base = device.get("/confirmationBase").await.expect(200).scrubbed();
        assert_eq!(base["autoConfirm"], json!({"active": true, "remark": " ", "activatedAt": "#ts"}), "flow or not");
        server.configure(FLOW, true).await;
        let set = server.set("next", &[]).await;
        let next = server.assign("d1", set).await;
        let blank = text("n/a", "n/a");
        let rows = [("wait_for_confirmation", vec![INITIATED, blank.as_str()])];
        assert_eq!(server.status_rows("d1", next).await, owned(&rows));
        assert_eq!(shown(&server, "d1", next).await, json!(["running", true, null]));
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_null_is_none() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let device = server.device("d1");
        device.post("/confirmationBase/activateAutoConfirm", Value::Null).await.expect_empty(200);
        let base = device.get("/confirmationBase").await.expect(200).json();
        let remark = "Initiated using the Device Direct Integration API without providing a remark.";
        assert_eq!(base["autoConfirm"]["remark"], remark);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_answer_changes_nothing() {
    on_each_engine(async |server: Server| {
        let action = waiting(&server, "d1").await;
        let device = server.device("d1");
        let path = format!("/confirmationBase/{action}/feedback");
        for body in [
            json!({}),
            json!({"confirmation": null}),
            json!({"confirmation": "CONFIRMED"}),
            json!({"confirmation": "yes"}),
            json!({"confirmation": "confirmed", "code": "x"}),
            json!({"confirmation": "confirmed", "details": "x"}),
            json!([]),
        ] {
            device.post(&path, body).await.expect_error(400, UNREADABLE);
        }
        device.post(&path, json!({"confirmation": "denied", "details": ["a\0"]})).await.expect_error(400, CONSTRAINT);
        let many = json!({"confirmation": "denied", "details": vec!["x"; 50]});
        device.post(&path, many).await.expect_error(429, "hawkbit.server.error.quota.tooManyEntries");
        device.send_empty(&path).await.expect(415);
        for long in [json!({"initiator": "x".repeat(65)}), json!({"remark": "x".repeat(513)})] {
            device.post("/confirmationBase/activateAutoConfirm", long).await.expect_error(400, CONSTRAINT);
        }
        for odd in ["abc", "activateAutoConfirm", "deactivateAutoConfirm", "1.5"] {
            device.get(&format!("/confirmationBase/{odd}")).await.expect_error(400, UNREADABLE);
        }
        device.get(&format!("/confirmationBase/{action}?c=x")).await.expect_error(400, UNREADABLE);
        assert_eq!(server.status_types("d1", action).await, ["wait_for_confirmation"]);
        assert_eq!(device.get("/confirmationBase").await.expect(200).json()["autoConfirm"]["active"], false);
    })
    .await;
}

#[tokio::test]
async fn unknown_devices_and_the_actions_of_others_are_not_found() {
    on_each_engine(async |server: Server| {
        let action = waiting(&server, "d1").await;
        server.target("d2").await;
        let confirmed = || json!({"confirmation": "confirmed"});
        for (id, action) in [("d2", action), ("d2", 999_999), ("nobody", action)] {
            let device = server.device(id);
            let path = format!("/confirmationBase/{action}");
            device.get(&path).await.expect_error(404, NOT_FOUND);
            device.post(&format!("{path}/feedback"), confirmed()).await.expect_error(404, NOT_FOUND);
        }
        let nobody = server.device("nobody");
        for verb in ["activateAutoConfirm", "deactivateAutoConfirm"] {
            nobody.send_empty(&format!("/confirmationBase/{verb}")).await.expect_error(404, NOT_FOUND);
        }
        let stranger = Device { authorization: "GatewayToken wrong".into(), ..server.device("d1") };
        for path in
            ["/confirmationBase", &format!("/confirmationBase/{action}"), "/confirmationBase/activateAutoConfirm"]
        {
            stranger.get(path).await.expect_empty(401);
        }
        stranger.post(&format!("/confirmationBase/{action}/feedback"), confirmed()).await.expect_empty(401);
        assert_eq!(server.status_types("d1", action).await, ["wait_for_confirmation"]);
    })
    .await;
}

#[tokio::test]
async fn cbor_is_spoken_as_json_is() {
    on_each_engine(async |server: Server| {
        let action = waiting(&server, "d1").await;
        let device = server.device("d1");
        let accept = [("accept", "application/cbor")];
        let (path, base) = (format!("/confirmationBase/{action}"), "/confirmationBase");
        for path in [path.as_str(), base] {
            let answer = device.get_with(path, &accept).await.expect(200);
            assert_eq!(answer.header("content-type"), Some("application/cbor"), "{path}");
            assert!(!answer.bytes.starts_with(b"{"), "{path}");
        }
        let headers = [("authorization", device.authorization.as_str()), ("content-type", "application/cbor")];
        // {"confirmation": "confirmed"} and {"remark": "x"}
        let confirmed = b"\xa1\x6cconfirmation\x69confirmed".to_vec();
        let remark = b"\xa1\x66remark\x61x".to_vec();
        for (path, body) in [
            (format!("{}{path}/feedback", device.root), confirmed),
            (format!("{}{base}/activateAutoConfirm", device.root), remark),
        ] {
            server.request(Method::POST, &path, &headers, Some(body)).await.expect_empty(200);
        }
        assert_eq!(shown(&server, "d1", action).await, json!(["running", true, null]));
        assert_eq!(device.get(base).await.expect(200).json()["autoConfirm"]["remark"], "x");
    })
    .await;
}

#[tokio::test]
async fn a_waiting_action_can_be_canceled_superseded_and_forced() {
    on_each_engine(async |server: Server| {
        let action = waiting(&server, "d1").await;
        let device = server.device("d1");
        let path = format!("/rest/v1/targets/d1/actions/{action}");
        let confirm = format!("/confirmationBase/{action}/feedback");
        server.configure(FLOW, false).await;
        assert!(device.poll().await["_links"]["confirmationBase"].is_object(), "it waits also without the flow");
        server.put(&path, json!({"forceType": "forced"})).await.expect(200);
        server.delete(&path).await.expect_empty(204);
        device.get(&format!("/confirmationBase/{action}")).await.expect_empty(404);
        device.post(&confirm, json!({"confirmation": "confirmed"})).await.expect_empty(404);
        assert!(device.poll().await["_links"]["cancelAction"].is_object());
        // A rejected cancellation leaves an action that no longer waits.
        device.cancel_feedback(action, "rejected", "none").await.expect_empty(200);
        assert_eq!(device.offered().await, Some(action));
        server.delete(&path).await.expect_empty(204);
        server.delete(&format!("{path}?force=true")).await.expect_empty(204);
        device.post(&confirm, json!({"confirmation": "confirmed"})).await.expect_empty(410);

        server.configure(FLOW, true).await;
        let (one, two) = (server.set("one", &[]).await, server.set("two", &[]).await);
        let first = server.assign("d1", one).await;
        let second = server.assign("d1", two).await;
        assert_eq!(shown(&server, "d1", first).await[0], "canceling");
        device.cancel_feedback(first, "closed", "success").await.expect_empty(200);
        let links = device.poll().await["_links"].clone();
        let href = links["confirmationBase"]["href"].as_str().unwrap();
        assert!(href.contains(&format!("/confirmationBase/{second}?")), "{href}");
    })
    .await;
}

#[tokio::test]
async fn kinds_of_assignment_and_windows_are_shown_while_an_action_waits() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.configure(FLOW, true).await;
        let set = server.set("fw", &[]).await;
        let window = json!({"schedule": "0 0 0 1 1 ? 2090", "duration": "01:00:00", "timezone": "+00:00"});
        let cases = [
            (json!({"type": "soft"}), json!(["attempt", "attempt", null])),
            (json!({"type": "downloadonly"}), json!(["forced", "skip", null])),
            (json!({"type": "timeforced", "forcetime": 1}), json!(["forced", "forced", null])),
            (json!({"maintenanceWindow": window}), json!(["forced", "skip", "unavailable"])),
        ];
        for (number, (mut body, expected)) in cases.into_iter().enumerate() {
            let id = format!("d{number}");
            server.target(&id).await;
            body["id"] = set.id.into();
            let assigned = server.post(&format!("/rest/v1/targets/{id}/assignedDS"), body).await.expect(200).json();
            let action = &assigned["assignedActions"][0]["id"];
            let read = server.device(&id).get(&format!("/confirmationBase/{action}")).await.expect(200).json();
            let found = &read["confirmation"];
            let found = json!([found["download"], found["update"], found["maintenanceWindow"]]);
            assert_eq!(found, expected, "{id}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_and_a_cancellation_at_once_leave_one_story() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.configure(FLOW, true).await;
        let set = server.set("fw", &[]).await;
        for number in 0..8 {
            let id = format!("d{number}");
            server.target(&id).await;
            let action = server.assign(&id, set).await;
            let device = server.device(&id);
            let feedback = format!("/confirmationBase/{action}/feedback");
            let path = format!("/rest/v1/targets/{id}/actions/{action}");
            let (confirmed, again, canceled) = tokio::join!(
                device.post(&feedback, json!({"confirmation": "confirmed"})),
                device.post(&feedback, json!({"confirmation": "confirmed"})),
                server.delete(&path),
            );
            canceled.expect_empty(204);
            let types = server.status_types(&id, action).await;
            let both = [confirmed.status, again.status];
            match both.iter().filter(|status| **status == 200).count() {
                0 => assert_eq!(types, ["wait_for_confirmation", "canceling"]),
                1 => assert_eq!(types, ["wait_for_confirmation", "running", "canceling"]),
                _ => panic!("confirmed twice: {both:?}"),
            }
            assert!(both.iter().all(|status| [200, 404].contains(status)), "{both:?}");
            assert_eq!(shown(&server, &id, action).await[0], "canceling");
        }
    })
    .await;
}

#[tokio::test]
async fn tenants_with_equal_controller_ids_confirm_their_own() {
    for_each_engine(&[("boss", "tenant=OTHER\nroles=TENANT_ADMIN")], async |server| {
        let action = waiting(&server, "d1").await;
        let boss = basic("boss", "x");
        let send = async |method, path: &str, body| server.json_as(&boss, method, path, body).await;
        for (key, value) in [("enabled", json!(true)), ("key", json!("theirs"))] {
            let path = format!("/rest/v1/system/configs/authentication.gatewaytoken.{key}");
            send(Method::PUT, &path, Some(json!({"value": value}))).await.expect(204);
        }
        send(Method::POST, "/rest/v1/targets", Some(json!([{"controllerId": "d1"}]))).await.expect(201);
        let (root, authorization) = ("/OTHER/controller/v1/d1".into(), "GatewayToken theirs".into());
        let theirs = Device { client: &server, root, authorization };
        let path = format!("/confirmationBase/{action}");
        theirs.get(&path).await.expect_error(404, NOT_FOUND);
        let confirmed = json!({"confirmation": "confirmed"});
        theirs.post(&format!("{path}/feedback"), confirmed.clone()).await.expect_error(404, NOT_FOUND);
        theirs.send_empty("/confirmationBase/activateAutoConfirm").await.expect_empty(200);
        let path = format!("/rest/v1/targets/d1/actions/{action}/confirmation");
        send(Method::PUT, &path, Some(confirmed)).await.expect_error(404, NOT_FOUND);
        let auto_confirm = server.get("/rest/v1/targets/d1/autoConfirm").await.expect(200).json();
        assert_eq!(auto_confirm["active"], false);
        assert_eq!(shown(&server, "d1", action).await, json!(["wait_for_confirmation", true, null]));
    })
    .await;
}

/// A target with an action that waits for confirmation.
async fn waiting(server: &Server, controller_id: &str) -> i64 {
    server.allow_devices().await;
    server.configure(FLOW, true).await;
    server.pending(controller_id, &[]).await.1
}

/// Status, activity and last code of an action.
async fn shown(server: &Server, controller_id: &str, action: i64) -> Value {
    let path = format!("/rest/v1/targets/{controller_id}/actions/{action}");
    let action = server.get(&path).await.expect(200).json();
    json!([action["status"], action["active"], action["lastStatusCode"]])
}

fn owned(rows: &[(&str, Vec<&str>)]) -> Vec<(String, Vec<String>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    rows.iter().map(|(kind, messages)| (kind.to_string(), texts(messages))).collect()
}
