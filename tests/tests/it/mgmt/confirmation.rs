//! `/rest/v1/targets/{controllerId}/actions/{actionId}/confirmation` and `/rest/v1/targets/{controllerId}/autoConfirm`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Server, basic, on_each_engine},
    users::for_each_engine,
};

const FLOW: &str = "user.confirmation.flow.enabled";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const CONSTRAINT: &str = "hawkbit.server.error.repo.constraintViolation";

#[tokio::test]
async fn an_operator_denies_and_confirms_for_the_device() {
    on_each_engine(async |server: Server| {
        server.configure(FLOW, true).await;
        let (_, action) = server.pending("d1", &[]).await;
        let path = format!("/rest/v1/targets/d1/actions/{action}");
        let confirmation = format!("{path}/confirmation");
        let denied = json!({"confirmation": "denied", "code": 5, "details": ["no", "really"]});
        server.put(&confirmation, denied).await.expect_empty(204);
        let shown = server.get(&path).await.expect(200).json();
        assert_eq!((&shown["status"], &shown["lastStatusCode"]), (&json!("wait_for_confirmation"), &json!(5)));
        server.put(&confirmation, json!({"confirmation": "confirmed"})).await.expect_empty(204);
        let shown = server.get(&path).await.expect(200).json();
        assert_eq!((&shown["status"], shown.get("lastStatusCode")), (&json!("running"), None));
        let rows = server.status_rows("d1", action).await;
        let denial = "Update Server: Target rejected action. Action will stay in confirmation pending state.";
        assert_eq!(rows[1].1, ["no", "really", denial, "Confirmation status code: 5"]);
        assert_eq!(
            rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>()[1..],
            ["wait_for_confirmation", "running"]
        );

        server.put(&confirmation, json!({"confirmation": "denied"})).await.expect_empty(404);
        server.delete(&path).await.expect_empty(204);
        server.delete(&format!("{path}?force=true")).await.expect_empty(204);
        server.put(&confirmation, json!({"confirmation": "confirmed"})).await.expect_empty(410);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_confirmed_is_told_apart() {
    on_each_engine(async |server: Server| {
        server.configure(FLOW, true).await;
        let (_, action) = server.pending("d1", &[]).await;
        server.target("d2").await;
        let confirmed = || json!({"confirmation": "confirmed"});
        let path = |target: &str, action: &str| format!("/rest/v1/targets/{target}/actions/{action}/confirmation");
        let id = action.to_string();
        server.put(&path("d2", &id), confirmed()).await.expect_empty(404);
        server.put(&path("nobody", &id), confirmed()).await.expect_empty(404);
        server.put(&path("d1", "999999"), confirmed()).await.expect_error(404, NOT_FOUND);
        server.put(&path("d1", "abc"), confirmed()).await.expect_error(400, UNREADABLE);
        for body in [json!({}), json!({"confirmation": "maybe"}), json!({"confirmation": null}), Value::Null] {
            server.put(&path("d1", &id), body).await.expect_error(400, UNREADABLE);
        }
        let headers = [("authorization", server.admin.as_str()), ("accept", "text/html")];
        let headers = [&headers[..], &[("content-type", "application/json")]].concat();
        let body = serde_json::to_vec(&confirmed()).unwrap();
        server.request(Method::PUT, &path("d1", &id), &headers, Some(body)).await.expect(406);
        assert_eq!(server.status_types("d1", action).await, ["wait_for_confirmation"]);
    })
    .await;
}

#[tokio::test]
async fn auto_confirmation_as_a_whole() {
    on_each_engine(async |server: Server| {
        server.configure(FLOW, true).await;
        let (_, action) = server.pending("d1", &[]).await;
        let path = "/rest/v1/targets/d1/autoConfirm";
        let href = |verb: &str| json!({verb: {"href": format!("{{base}}{path}/{verb}")}});
        let inactive = json!({"active": false, "_links": href("activate")});
        assert_eq!(server.get(path).await.expect(200).scrubbed(), inactive);
        assert_eq!(server.get("/rest/v1/targets/d1").await.expect(200).json()["autoConfirmActive"], false);

        let wanted = json!({"initiator": "lab", "remark": "tests"});
        server.post(&format!("{path}/activate"), wanted).await.expect_empty(204);
        let active = json!({
            "active": true, "initiator": "lab", "remark": "tests", "activatedAt": "#ts", "_links": href("deactivate")
        });
        assert_eq!(server.get(path).await.expect(200).scrubbed(), active);
        let target = server.get("/rest/v1/targets/d1").await.expect(200).scrubbed();
        assert_eq!(
            (&target["autoConfirmActive"], &target["_links"]["autoConfirm"]["href"]),
            (&json!(true), &json!(format!("{{base}}{path}")))
        );
        let text = "Assignment automatically confirmed by initiator 'lab'. \n\n\
                    Auto confirmation activated by system user: 'admin' \n\nRemark: tests";
        let rows = server.status_rows("d1", action).await;
        assert_eq!(rows[1..], [("running".to_owned(), vec![text.to_owned()])]);

        let key = "hawkbit.server.error.repo.autoConfAlreadyActive";
        server.post(&format!("{path}/activate"), json!({})).await.expect_error(409, key);
        server.configure(FLOW, false).await;
        assert_eq!(server.get("/rest/v1/targets/d1").await.expect(200).json().get("autoConfirmActive"), None);
        assert_eq!(server.get(path).await.expect(200).scrubbed(), active, "kept while the flow is off");
        for _ in 0..2 {
            post_empty(&server, &format!("{path}/deactivate")).await.expect_empty(204);
            assert_eq!(server.get(path).await.expect(200).scrubbed(), inactive);
        }
        post_empty(&server, &format!("{path}/activate")).await.expect_empty(204);
        let bare = json!({"active": true, "activatedAt": "#ts", "_links": href("deactivate")});
        assert_eq!(server.get(path).await.expect(200).scrubbed(), bare);
    })
    .await;
}

#[tokio::test]
async fn bad_activations_change_nothing() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let path = "/rest/v1/targets/d1/autoConfirm";
        let activate = format!("{path}/activate");
        for body in [json!({"initiator": "x".repeat(65)}), json!({"remark": "x".repeat(513)}), json!({"remark": "\0"})]
        {
            server.post(&activate, body).await.expect_error(400, CONSTRAINT);
        }
        for body in [json!([]), json!({"remark": {}}), json!("x")] {
            server.post(&activate, body).await.expect_error(400, UNREADABLE);
        }
        assert_eq!(server.get(path).await.expect(200).json()["active"], false);
        let most = json!({"initiator": "x".repeat(64), "remark": "<p>".repeat(170)});
        server.post(&activate, most).await.expect_empty(204);
        server.get("/rest/v1/targets/nobody/autoConfirm").await.expect_error(404, NOT_FOUND);
        for verb in ["activate", "deactivate"] {
            let path = format!("/rest/v1/targets/nobody/autoConfirm/{verb}");
            post_empty(&server, &path).await.expect_error(404, NOT_FOUND);
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_sees_auto_confirmation_and_changes_nothing() {
    let users = [("viewer", "permissions=READ_TARGET"), ("writer", "permissions=UPDATE_TARGET")];
    for_each_engine(&users, async |server| {
        server.configure(FLOW, true).await;
        let (_, action) = server.pending("d1", &[]).await;
        let forbidden = "hawkbit.server.error.insufficientPermission";
        let confirmation = format!("/rest/v1/targets/d1/actions/{action}/confirmation");
        let confirmed = Some(json!({"confirmation": "confirmed"}));
        let (viewer, writer) = (basic("viewer", "x"), basic("writer", "x"));
        for user in [&viewer, &writer] {
            server.json_as(user, Method::PUT, &confirmation, confirmed.clone()).await.expect_error(403, forbidden);
        }
        server.get_as(&viewer, "/rest/v1/targets/d1/autoConfirm").await.expect(200);
        server.get_as(&writer, "/rest/v1/targets/d1/autoConfirm").await.expect_error(403, forbidden);
        for verb in ["activate", "deactivate"] {
            let path = format!("/rest/v1/targets/d1/autoConfirm/{verb}");
            server.json_as(&viewer, Method::POST, &path, None).await.expect_error(403, forbidden);
            server.json_as(&writer, Method::POST, &path, None).await.expect_empty(204);
        }
        let types = server.status_types("d1", action).await;
        assert_eq!(types, ["wait_for_confirmation", "running"], "the writer's activation alone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn activations_at_once_leave_one() {
    on_each_engine(async |server: Server| {
        server.configure(FLOW, true).await;
        let (_, action) = server.pending("d1", &[]).await;
        let path = "/rest/v1/targets/d1/autoConfirm/activate";
        let all = (0..6).map(|n| server.post(path, json!({"remark": n.to_string()})));
        let mut statuses: Vec<u16> = futures_util::future::join_all(all).await.iter().map(|a| a.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409, 409, 409, 409, 409]);
        assert_eq!(server.status_types("d1", action).await, ["wait_for_confirmation", "running"]);
    })
    .await;
}

async fn post_empty(server: &Server, path: &str) -> crate::harness::Answer {
    server.json_as(&server.admin, Method::POST, path, None).await
}
