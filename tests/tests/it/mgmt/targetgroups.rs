//! `/rest/v1/targetgroups`.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn unknown_targets_are_left_out_of_a_group_without_a_word() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        server.put("/rest/v1/targetgroups/assigned?group=eu", json!(["d1", "nobody"])).await.expect_empty(204);
        let found = server.get("/rest/v1/targetgroups/eu/assigned").await.expect(200).json();
        assert_eq!((&found["total"], &found["content"][0]["controllerId"]), (&json!(1), &json!("d1")));
        let body = serde_json::to_vec(&json!(["d1", "nobody"])).unwrap();
        let headers = [("Authorization", server.admin.as_str()), ("Content-Type", "application/json")];
        let path = "/rest/v1/targetgroups/assigned";
        server.request(Method::DELETE, path, &headers, Some(body)).await.expect_empty(204);
        assert_eq!(server.get("/rest/v1/targetgroups").await.expect(200).json(), json!([]));
    })
    .await;
}

#[tokio::test]
async fn the_targets_of_a_group_can_be_paged_and_not_searched() {
    on_each_engine(async |server: Server| {
        for id in ["d1", "d2"] {
            server.target(id).await;
        }
        server.put("/rest/v1/targetgroups/eu/assigned", json!(["d1", "d2"])).await.expect_empty(204);
        let page =
            server.get("/rest/v1/targetgroups/eu/assigned?q=name==other&limit=1&offset=1").await.expect(200).json();
        assert_eq!((&page["total"], &page["content"][0]["controllerId"]), (&json!(2), &json!("d2")));
    })
    .await;
}

#[tokio::test]
async fn a_change_of_the_group_keeps_who_changed_the_target_last() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.configure("authentication.gatewaytoken.enabled", true).await;
        server.configure("authentication.gatewaytoken.key", "gw").await;
        let headers = [("Authorization", "GatewayToken gw")];
        server.request(Method::GET, "/DEFAULT/controller/v1/d1", &headers, None).await.expect(200);
        server.put("/rest/v1/targetgroups/assigned?group=eu", json!(["d1"])).await.expect_empty(204);
        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        let found = (&target["group"], &target["lastModifiedBy"]);
        assert_eq!(found, (&json!("eu"), &json!("CONTROLLER_PLUG_AND_PLAY")));
    })
    .await;
}

#[tokio::test]
async fn a_missing_parameter_is_a_plain_400() {
    on_each_engine(async |server: Server| {
        let answer = server.get("/rest/v1/targetgroups/assigned").await.expect(400).json();
        assert_eq!((&answer["status"], &answer["error"]), (&json!(400), &json!("Bad Request")));
        assert_eq!(answer.get("errorCode"), None);
    })
    .await;
}
