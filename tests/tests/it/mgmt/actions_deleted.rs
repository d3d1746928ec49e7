//! `DELETE` of `/rest/v1/actions`, of one of them, and of a target's.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Server, basic, on_each_engine},
    users::for_each_engine,
};

const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";

#[tokio::test]
async fn an_active_action_that_is_deleted_leaves_its_target_as_it_is() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let device = server.device("d1");
        assert_eq!(device.offered().await, Some(action));
        server.delete(&format!("/rest/v1/actions/{action}")).await.expect_empty(204);
        server.delete(&format!("/rest/v1/actions/{action}")).await.expect_empty(204);
        assert_eq!(device.offered().await, None, "the cached answer is dropped");
        device.get(&format!("/deploymentBase/{action}")).await.expect(404);
        device.feedback(action, "closed", "success").await.expect(404);
        server.get(&format!("/rest/v1/actions/{action}")).await.expect_error(404, NOT_FOUND);
        assert_eq!(server.update_status("d1").await, "pending");
        assert_eq!(server.get("/rest/v1/targets/d1/assignedDS").await.expect(200).id(), set.id);
        let again = server.post("/rest/v1/targets/d1/assignedDS", json!({"id": set.id})).await.expect(200).json();
        assert_eq!(again["alreadyAssigned"], 1, "the target has the set");
    })
    .await;
}

#[tokio::test]
async fn actions_are_deleted_by_ids_or_by_a_search() {
    on_each_engine(async |server: Server| {
        let mut actions = Vec::new();
        for id in ["a", "b", "c", "d"] {
            server.target(id).await;
        }
        for name in ["one", "two"] {
            let set = server.set(name, &[]).await;
            for id in ["a", "b", "c", "d"] {
                actions.push(server.assign(id, set).await);
            }
        }
        let left = async || {
            let list = server.get("/rest/v1/actions?sort=id:ASC").await.expect(200).json();
            list["content"].as_array().unwrap().iter().map(|a| a["id"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        let delete = async |query: &str, body: Option<Value>| {
            server.json_as(&server.admin, Method::DELETE, &format!("/rest/v1/actions{query}"), body).await
        };
        for (query, body) in [
            ("", None),
            ("?q=", None),
            ("", Some(json!([]))),
            ("", Some(json!(null))),
            ("?q=id==1", Some(json!([actions[0]]))),
            ("", Some(json!({"id": 1}))),
            ("", Some(json!(["x"]))),
        ] {
            delete(query, body).await.expect_error(400, UNREADABLE);
        }
        delete("?q=oops==1", None).await.expect_error(400, "hawkbit.server.error.rest.param.rsqlInvalidField");
        delete("?q=active", None).await.expect_error(400, "hawkbit.server.error.rest.param.rsqlParamSyntax");
        server.delete("/rest/v1/actions/x").await.expect_error(400, UNREADABLE);
        assert_eq!(left().await, actions);

        delete("", Some(json!([actions[0], 4711]))).await.expect_empty(204);
        assert_eq!(left().await, actions[1..]);
        delete("?q=target.controllerid==b;distributionset.name==one", None).await.expect_empty(204);
        assert_eq!(left().await, actions[2..]);
        delete("?q=status==canceling,target.name==d", None).await.expect_empty(204);
        assert_eq!(left().await, actions[4..7]);
        delete("?q=target.name==nobody", None).await.expect_empty(204);
        delete("?q=id=gt=0", None).await.expect_empty(204);
        assert_eq!(left().await, [0; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_targets_actions_are_deleted_by_ids_or_but_for_the_newest() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        server.target("d2").await;
        let mut actions = Vec::new();
        for name in ["one", "two", "three", "four"] {
            let set = server.set(name, &[]).await;
            actions.push(server.assign("d1", set).await);
            actions.push(server.assign("d2", set).await);
        }
        let mine: Vec<i64> = actions.iter().step_by(2).copied().collect();
        let left = async |id: &str| {
            let list = server.get(&format!("/rest/v1/targets/{id}/actions?sort=id:ASC")).await.expect(200).json();
            list["content"].as_array().unwrap().iter().map(|a| a["id"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        let delete = async |target: &str, query: &str, body: Option<Value>| {
            let path = format!("/rest/v1/targets/{target}/actions{query}");
            server.json_as(&server.admin, Method::DELETE, &path, body).await
        };
        for (query, body) in [
            ("", None),
            ("?keepLast=-1", None),
            ("?keepLast=x", None),
            ("", Some(json!([]))),
            ("?keepLast=0", Some(json!([mine[0]]))),
            ("", Some(json!("x"))),
        ] {
            delete("d1", query, body).await.expect_error(400, UNREADABLE);
        }
        let unknown = delete("nobody", "?keepLast=1", None).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(unknown.get("info"), None);
        delete("nobody", "", Some(json!([mine[0]]))).await.expect_empty(204);
        assert_eq!(left("d1").await, mine);

        delete("d1", "?keepLast=-5", Some(json!([mine[1], actions[1], 4711]))).await.expect_empty(204);
        assert_eq!(left("d1").await, [mine[0], mine[2], mine[3]]);
        delete("d1", "?keepLast=3", None).await.expect_empty(204);
        assert_eq!(left("d1").await, [mine[0], mine[2], mine[3]]);
        delete("d1", "?keepLast=1", None).await.expect_empty(204);
        assert_eq!(left("d1").await, [mine[3]]);
        delete("d1", "?keepLast=0", None).await.expect_empty(204);
        assert_eq!(left("d1").await, [0; 0]);
        assert_eq!(left("d2").await.len(), 4, "another target's actions stay");
    })
    .await;
}

#[tokio::test]
async fn deleting_actions_needs_update_target_and_stays_in_the_tenant() {
    let users = [("viewer", "permissions=READ_TARGET,DELETE_TARGET"), ("other", "roles=TENANT_ADMIN\ntenant=OTHER")];
    for_each_engine(&users, async |server| {
        let (_, action) = server.pending("d1", &[]).await;
        let requests = [
            (format!("/rest/v1/actions/{action}"), None),
            ("/rest/v1/actions".to_owned(), Some(json!([action]))),
            ("/rest/v1/actions?q=id=gt=0".to_owned(), None),
            ("/rest/v1/targets/d1/actions".to_owned(), Some(json!([action]))),
        ];
        let ask = async |user: &str, path: &str, body: &Option<Value>| {
            server.json_as(&basic(user, "x"), Method::DELETE, path, body.clone()).await
        };
        let keep = "/rest/v1/targets/d1/actions?keepLast=0";
        for (path, body) in &requests {
            ask("viewer", path, body).await.expect_error(403, "hawkbit.server.error.insufficientPermission");
            ask("other", path, body).await.expect_empty(204);
        }
        ask("viewer", keep, &None).await.expect_error(403, "hawkbit.server.error.insufficientPermission");
        ask("other", keep, &None).await.expect_error(404, NOT_FOUND);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}
