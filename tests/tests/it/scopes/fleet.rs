//! Scopes over targets, which actions follow.

use reqwest::Method;
use serde_json::json;

use super::{FORBIDDEN, MISSING, SCOPES, ask, four_targets, get, listed, with_users};
use crate::harness::Server;

/// Sees the lab, may change and delete what is named `mine…`, may create in the lab.
const LAB: (&str, &str) = (
    "lab",
    "READ_TARGET/group==lab,UPDATE_TARGET/name==mine*,DELETE_TARGET/name==mine*,CREATE_TARGET/group==lab,\
     READ_DISTRIBUTION_SET/name!=secret",
);

#[tokio::test]
async fn a_target_outside_the_scope_is_not_there() {
    with_users(&[LAB], &[SCOPES], async |server| {
        four_targets(&server).await;
        let found = listed(get(&server, "lab", "targets?q=name==mine*").await, "controllerId");
        assert_eq!(found, (1, vec!["lab-1".to_owned()]));
        let either = listed(get(&server, "lab", "targets?q=group==shop,group==lab").await, "controllerId");
        assert_eq!(either.0, 2, "a search does not widen the scope");
        for below in ["", "/attributes", "/metadata", "/actions", "/tags"] {
            let shop = get(&server, "lab", &format!("targets/shop-1{below}")).await.expect_error(404, MISSING);
            let nobody = get(&server, "lab", &format!("targets/nobody{below}")).await.expect_error(404, MISSING);
            assert_eq!(shop.json().to_string().replace("shop-1", "nobody"), nobody.json().to_string());
            let own = get(&server, "lab", &format!("targets/lab-1{below}")).await;
            assert_eq!(own.status, if below == "/attributes" { 204 } else { 200 }, "{}", own.request);
        }
        get(&server, "lab", "targets/shop-1/assignedDS").await.expect_empty(204);
        assert_eq!(get(&server, "lab", "targetgroups").await.expect(200).json(), json!(["lab"]));
        assert_eq!(listed(get(&server, "lab", "targetgroups/shop/assigned").await, "controllerId").0, 0);
        assert_eq!(listed(get(&server, "lab", "targetgroups/lab/assigned").await, "controllerId").0, 2);
    })
    .await;
}

#[tokio::test]
async fn a_target_that_may_only_be_read_cannot_be_changed() {
    with_users(&[LAB], &[SCOPES], async |server| {
        four_targets(&server).await;
        let metadata = || Some(json!([{"key": "k", "value": "v"}]));
        for (id, change, remove, key) in [("lab-2", 403, 403, FORBIDDEN), ("shop-1", 404, 404, MISSING)] {
            let path = format!("targets/{id}");
            let put = ask(&server, "lab", Method::PUT, &path, Some(json!({"description": "d"}))).await;
            put.expect_error(change, key);
            ask(&server, "lab", Method::DELETE, &path, None).await.expect_error(remove, key);
            let post = ask(&server, "lab", Method::POST, &format!("{path}/metadata"), metadata()).await;
            post.expect_error(change, key);
            let untouched = server.get(&format!("/rest/v1/{path}")).await.expect(200).json();
            assert_eq!(untouched.get("description"), None, "{untouched}");
        }
        let path = "targets/lab-1";
        ask(&server, "lab", Method::POST, &format!("{path}/metadata"), metadata()).await.expect(201);
        ask(&server, "lab", Method::PUT, path, Some(json!({"name": "mine-3"}))).await.expect(200);
        let out_of_reach = ask(&server, "lab", Method::PUT, path, Some(json!({"name": "fixed"}))).await;
        out_of_reach.expect_error(403, FORBIDDEN);
        assert_eq!(get(&server, "lab", path).await.expect(200).json()["name"], "mine-3");

        let create = |id: &str, group: &str| {
            ask(&server, "lab", Method::POST, "targets", Some(json!([{"controllerId": id, "group": group}])))
        };
        create("lab-3", "lab").await.expect(201);
        create("shop-2", "shop").await.expect_error(403, FORBIDDEN);
        server.get("/rest/v1/targets/shop-2").await.expect(404);
        assert_eq!(server.get("/rest/v1/targets").await.expect(200).json()["total"], 5);

        let moved = json!(["lab-1", "lab-2", "shop-1"]);
        ask(&server, "lab", Method::PUT, "targetgroups/assigned?group=new", Some(moved)).await.expect(204);
        assert_eq!(groups(&server).await, ["new", "lab", "shop"]);
        ask(&server, "lab", Method::PUT, "targetgroups/other?q=controllerid==*", None).await.expect(204);
        assert_eq!(groups(&server).await, ["new", "lab", "shop"], "none of them is both readable and mine");
        ask(&server, "lab", Method::DELETE, "targets/lab-1", None).await.expect_error(404, MISSING);
    })
    .await;
}

async fn groups(server: &Server) -> Vec<String> {
    let mut groups = Vec::new();
    for id in ["lab-1", "lab-2", "shop-1"] {
        let target = server.get(&format!("/rest/v1/targets/{id}")).await.expect(200).json();
        groups.push(target["group"].as_str().unwrap().to_owned());
    }
    groups
}

#[tokio::test]
async fn an_assignment_leaves_out_what_may_not_be_changed() {
    with_users(&[LAB], &[SCOPES], async |server| {
        four_targets(&server).await;
        let (fw, secret) = (server.set("fw", &[]).await, server.set("secret", &[]).await);
        let path = format!("distributionsets/{}/assignedTargets", fw.id);
        let body = json!([{"id": "lab-1"}, {"id": "lab-2"}, {"id": "shop-1"}]);
        let outcome = ask(&server, "lab", Method::POST, &path, Some(body.clone())).await.expect(200).json();
        assert_eq!((&outcome["assigned"], &outcome["total"]), (&json!(1), &json!(1)), "{outcome}");
        for id in ["lab-2", "shop-1"] {
            server.get(&format!("/rest/v1/targets/{id}/assignedDS")).await.expect_empty(204);
        }
        let hidden = format!("distributionsets/{}/assignedTargets", secret.id);
        ask(&server, "lab", Method::POST, &hidden, Some(body)).await.expect_error(404, MISSING);
        let one = async |id: &str, set: i64| {
            let path = format!("targets/{id}/assignedDS");
            ask(&server, "lab", Method::POST, &path, Some(json!({"id": set}))).await
        };
        one("shop-1", fw.id).await.expect_error(404, MISSING);
        assert_eq!(one("lab-2", fw.id).await.expect(200).json()["total"], 0);
        one("lab-1", secret.id).await.expect_error(404, MISSING);

        for id in ["lab-2", "shop-1"] {
            server.assign(id, fw).await;
        }
        assert_eq!(listed(get(&server, "lab", &path).await, "controllerId").1, ["lab-1", "lab-2"]);
        get(&server, "lab", &hidden).await.expect_error(404, MISSING);
        server.assign("lab-2", secret).await;
        get(&server, "lab", "targets/lab-2/assignedDS").await.expect_empty(204);
        get(&server, "lab", "targets/lab-1/assignedDS").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn actions_follow_their_targets() {
    with_users(&[LAB], &[SCOPES], async |server| {
        four_targets(&server).await;
        let fw = server.set("fw", &[]).await;
        let (first, second) = (server.assign("lab-1", fw).await, server.assign("lab-2", fw).await);
        let shop = server.assign("shop-1", fw).await;
        let (total, _) = listed(get(&server, "lab", "actions").await, "status");
        assert_eq!(total, 2);
        assert_eq!(listed(get(&server, "lab", "actions?q=status==running").await, "status").0, 2);
        assert_eq!(listed(get(&server, "lab", "actions?limit=1").await, "status").0, 2);
        get(&server, "lab", &format!("actions/{shop}")).await.expect_error(404, MISSING);
        get(&server, "lab", &format!("actions/{first}")).await.expect(200);
        get(&server, "lab", &format!("targets/shop-1/actions/{shop}/status")).await.expect_error(404, MISSING);

        let (path, forced) =
            (|id: &str, action: i64| format!("targets/{id}/actions/{action}"), json!({"forceType": "forced"}));
        for method in [Method::PUT, Method::DELETE] {
            let body = (method == Method::PUT).then(|| forced.clone());
            let hidden = ask(&server, "lab", method.clone(), &path("shop-1", shop), body.clone()).await;
            hidden.expect_error(404, MISSING);
            ask(&server, "lab", method, &path("lab-2", second), body).await.expect_error(403, FORBIDDEN);
        }
        ask(&server, "lab", Method::PUT, &path("lab-1", first), Some(forced)).await.expect(200);
        ask(&server, "lab", Method::DELETE, &path("lab-1", first), None).await.expect(204);
        assert_eq!(server.status_types("shop-1", shop).await, ["running"]);
        assert_eq!(server.status_types("lab-2", second).await, ["running"]);
    })
    .await;
}

#[tokio::test]
async fn devices_are_not_limited() {
    with_users(&[LAB], &[SCOPES], async |server| {
        server.allow_devices().await;
        let (_, action) = server.pending("shop-9", &[]).await;
        assert_eq!(server.device("shop-9").offered().await, Some(action));
        server.device("shop-9").feedback(action, "closed", "success").await.expect(200);
        server.device("new-one").get("").await.expect(200);
        assert_eq!(listed(get(&server, "lab", "targets").await, "controllerId").0, 0);
    })
    .await;
}
