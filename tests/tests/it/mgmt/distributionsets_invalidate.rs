//! `/rest/v1/distributionsets/{id}/invalidate`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Server, Set, basic, on_each_engine},
    users::for_each_engine,
};

const INVALID: &str = "hawkbit.server.error.distributionset.invalid";
const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const ASKED: &str = "Update Server: manual cancelation requested";
const QUIT: &str = "Update Server: A force quit has been performed.";

#[tokio::test]
async fn without_cancelation_what_is_under_way_goes_on() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        assert_eq!(device.offered().await, Some(action));
        invalidate(&server, set, "none").await;
        assert_eq!(device.offered().await, Some(action));
        device.feedback(action, "closed", "success").await.expect_empty(200);
        assert_eq!(server.update_status("d1").await, "in_sync");
        invalidate(&server, set, "force").await;
        assert_eq!(server.status_types("d1", action).await, ["running", "finished"], "it was over already");
    })
    .await;
}

#[tokio::test]
async fn softly_devices_are_asked_to_cancel() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[]).await;
        server.target("d2").await;
        let canceled = server.assign("d2", set).await;
        server.delete(&format!("/rest/v1/targets/d2/actions/{canceled}")).await.expect_empty(204);
        let device = server.device("d1");
        assert_eq!(device.offered().await, Some(action));
        invalidate(&server, set, "soft").await;
        let poll = device.poll().await;
        assert!(poll["_links"].get("cancelAction").is_some(), "the cached answer is dropped: {poll}");
        let rows = server.status_rows("d1", action).await;
        assert_eq!(rows.last().unwrap(), &("canceling".to_owned(), vec![ASKED.to_owned()]));
        assert_eq!(server.status_types("d2", canceled).await, ["running", "canceling"], "asked once");
        assert_eq!(server.update_status("d1").await, "pending");
        device.cancel_feedback(action, "closed", "success").await.expect_empty(200);
        assert_eq!(server.update_status("d1").await, "in_sync");
        server.get("/rest/v1/targets/d1/assignedDS").await.expect_empty(204);
    })
    .await;
}

#[tokio::test]
async fn by_force_actions_are_closed_and_targets_fall_back() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let old = server.set("old", &[]).await;
        let set = server.set("new", &[]).await;
        for id in ["installed", "bare", "under-way"] {
            server.target(id).await;
        }
        let first = server.assign("installed", old).await;
        server.device("installed").feedback(first, "closed", "success").await.expect_empty(200);
        let older = server.assign("under-way", old).await;
        let mut actions = Vec::new();
        for id in ["installed", "bare", "under-way"] {
            actions.push((id, server.assign(id, set).await));
            server.device(id).poll().await;
        }
        invalidate(&server, set, "force").await;
        for (id, action) in actions {
            let found = server.get(&format!("/rest/v1/targets/{id}/actions/{action}")).await.expect(200).json();
            assert_eq!((&found["status"], &found["active"]), (&json!("canceled"), &json!(false)), "{id}");
            assert_eq!(found["lastModifiedBy"], "admin");
            let rows = server.status_rows(id, action).await;
            let row = |kind: &str, message: &str| (kind.to_owned(), vec![message.to_owned()]);
            assert_eq!(rows[1..], [row("canceling", ASKED), row("canceled", QUIT)], "{id}");
        }
        let assigned = async |id: &str| {
            let answer = server.get(&format!("/rest/v1/targets/{id}/assignedDS")).await;
            (answer.status == 200).then(|| answer.id())
        };
        assert_eq!(
            (assigned("installed").await, server.update_status("installed").await),
            (Some(old.id), "in_sync".into())
        );
        assert_eq!((assigned("bare").await, server.update_status("bare").await), (None, "in_sync".into()));
        assert_eq!(
            (assigned("under-way").await, server.update_status("under-way").await),
            (Some(old.id), "pending".into())
        );
        assert!(server.device("bare").poll().await["_links"].get("deploymentBase").is_none());
        let next = server.device("under-way").poll().await["_links"]["cancelAction"]["href"].to_string();
        assert!(next.contains(&format!("/cancelAction/{older}")), "{next}");
    })
    .await;
}

#[tokio::test]
async fn an_invalid_set_can_not_be_used_or_edited() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let set = server.set("fw", &[]).await;
        let this = format!("/rest/v1/distributionsets/{}", set.id);
        server.post(&format!("{this}/metadata"), json!([{"key": "k", "value": "v"}])).await.expect(201);
        invalidate(&server, set, "none").await;
        let found = server.get(&this).await.expect(200).json();
        assert_eq!((&found["valid"], &found["complete"]), (&json!(false), &json!(true)));
        let module = server.module("more").await;
        for (method, path, body) in [
            (Method::PUT, String::new(), Some(json!({"name": "x"}))),
            (Method::PUT, String::new(), Some(json!({"locked": true}))),
            (Method::POST, "/assignedSM".into(), Some(json!([{"id": module}]))),
            (Method::DELETE, format!("/assignedSM/{}", set.module), None),
            (Method::POST, "/metadata".into(), Some(json!([{"key": "l", "value": "v"}]))),
            (Method::PUT, "/metadata/k".into(), Some(json!({"value": "w"}))),
            (Method::DELETE, "/metadata/k".into(), None),
            (Method::POST, "/assignedTargets".into(), Some(json!([{"id": "d1"}]))),
            (Method::POST, "/assignedTargets?offline=true".into(), Some(json!([{"id": "d1"}]))),
        ] {
            server.json_as(&server.admin, method, &format!("{this}{path}"), body).await.expect_error(400, INVALID);
        }
        let assign = server.post("/rest/v1/targets/d1/assignedDS", json!({"id": set.id})).await;
        assign.expect_error(400, INVALID);
        assert_eq!(server.get(&this).await.expect(200).json(), found);
        let invalid = server.get("/rest/v1/distributionsets?q=valid==false").await.expect(200).json();
        assert_eq!(invalid["total"], 1);
        server.delete(&this).await.expect_empty(204);
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_invalidated_is_refused() {
    let users = [
        ("repo", "roles=REPOSITORY_ADMIN"),
        ("viewer", "permissions=READ_DISTRIBUTION_SET"),
        ("both", "roles=REPOSITORY_ADMIN\npermissions=UPDATE_ROLLOUT"),
        ("other", "roles=TENANT_ADMIN\ntenant=OTHER"),
    ];
    for_each_engine(&users, async |server| {
        let set = server.set("fw", &[]).await;
        let path = format!("/rest/v1/distributionsets/{}/invalidate", set.id);
        for body in [json!({}), json!({"actionCancelationType": null}), json!({"actionCancelationType": "hard"})] {
            server.post(&path, body).await.expect_error(400, UNREADABLE);
        }
        let body = |how: &str| json!({"actionCancelationType": how});
        server.post("/rest/v1/distributionsets/4711/invalidate", body("none")).await.expect_error(404, NOT_FOUND);
        let hollow = json!([{"name": "hollow", "version": "1", "type": "os"}]);
        let hollow = server.post("/rest/v1/distributionsets", hollow).await.expect(201).id();
        let incomplete = "hawkbit.server.error.distributionset.incomplete";
        let hollow = format!("/rest/v1/distributionsets/{hollow}/invalidate");
        server.post(&hollow, body("none")).await.expect_error(400, incomplete);
        let ask =
            async |user: &str, how: &str| server.json_as(&basic(user, "x"), Method::POST, &path, Some(body(how))).await;
        let forbidden = "hawkbit.server.error.insufficientPermission";
        for (user, how) in
            [("viewer", "none"), ("repo", "soft"), ("repo", "force"), ("both", "soft"), ("both", "force")]
        {
            ask(user, how).await.expect_error(403, forbidden);
        }
        ask("other", "none").await.expect_error(404, NOT_FOUND);
        let this = format!("/rest/v1/distributionsets/{}", set.id);
        assert_eq!(server.get(&this).await.expect(200).json()["valid"], true);
        ask("repo", "none").await.expect_empty(204);
        ask("repo", "none").await.expect_empty(204);
        assert_eq!(server.get(&this).await.expect(200).json()["valid"], false);
    })
    .await;
}

/// Whatever the order: an assignment that was answered with success is cancelled, and none comes after.
#[tokio::test(flavor = "multi_thread")]
async fn no_assignment_outlives_an_invalidation_at_the_same_time() {
    on_each_engine(async |server: Server| {
        for round in 0..5 {
            let set = server.set(&format!("fw{round}"), &[]).await;
            let ids: Vec<String> = (0..10).map(|n| format!("d{round}-{n}")).collect();
            let targets: Vec<Value> = ids.iter().map(|id| json!({"controllerId": id})).collect();
            server.post("/rest/v1/targets", json!(targets)).await.expect(201);
            let assignments = ids.iter().map(|id| {
                let (server, path) = (&server, format!("/rest/v1/targets/{id}/assignedDS"));
                async move { server.post(&path, json!({"id": set.id})).await }
            });
            let (answers, ()) =
                tokio::join!(futures_util::future::join_all(assignments), invalidate(&server, set, "force"));
            for (id, answer) in ids.iter().zip(answers) {
                let actions = server.get(&format!("/rest/v1/targets/{id}/actions")).await.expect(200).json();
                if answer.status == 200 {
                    assert_eq!(actions["content"][0]["status"], "canceled", "{id}: {actions}");
                } else {
                    answer.expect_error(400, INVALID);
                    assert_eq!(actions["total"], 0, "{id}");
                }
                server.get(&format!("/rest/v1/targets/{id}/assignedDS")).await.expect_empty(204);
            }
        }
    })
    .await;
}

async fn invalidate(server: &Server, set: Set, how: &str) {
    let path = format!("/rest/v1/distributionsets/{}/invalidate", set.id);
    server.post(&path, json!({"actionCancelationType": how})).await.expect_empty(204);
}
