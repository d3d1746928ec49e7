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
async fn subgroups_lie_below_a_slash_and_wildcards_of_the_database_work_in_their_search() {
    on_each_engine(async |server: Server| {
        let groups = ["a_b", "A_B/c", "a_b/c/d", "aXb/c", "aXb", "a_bc", "a\\b/c", "<b>", "<b>/x"];
        for (n, group) in groups.iter().enumerate() {
            server.target(&format!("d{n}")).await;
            let path = format!("/rest/v1/targetgroups/assigned?group={}", group.replace('\\', "%5C"));
            server.put(&path, json!([format!("d{n}")])).await.expect_empty(204);
        }
        for (query, found) in [
            ("group=a_b", vec!["d0"]),
            ("group=a_b&subgroups=false", vec!["d0"]),
            ("group=A_b&subgroups=true", vec!["d0", "d1", "d2", "d3", "d6"]),
            ("group=aXb&subgroups=true", vec!["d3", "d4"]),
            ("group=%25&subgroups=true", vec!["d1", "d2", "d3", "d6", "d8"]),
            ("group=a%5C_b&subgroups=true", vec!["d1", "d2"]),
            ("group=%3Cb%3E&subgroups=true", vec!["d7", "d8"]),
        ] {
            let page = server.get(&format!("/rest/v1/targetgroups/assigned?{query}")).await.expect(200).json();
            let content = page["content"].as_array().unwrap().iter();
            let ids: Vec<_> = content.map(|target| target["controllerId"].as_str().unwrap()).collect();
            assert_eq!(ids, found, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_empty_or_absent_is_refused() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let path = "/rest/v1/targetgroups";
        let key = "hawkbit.server.error.repo.constraintViolation";
        server.get(&format!("{path}/assigned?group=")).await.expect_error(400, key);
        server.put(&format!("{path}/assigned?group=eu"), json!([])).await.expect_error(400, key);
        server.put(&format!("{path}/eu/assigned"), json!([])).await.expect_error(400, key);
        let long = format!("{path}/assigned?group={}", "g".repeat(257));
        server.put(&long, json!(["d1"])).await.expect(400);
        server.delete(&format!("{path}/assigned")).await.expect_error(400, key);
        let all = format!("{path}/assigned");
        server.json_as(&server.admin, Method::DELETE, &all, Some(json!([]))).await.expect_error(400, key);
        server.delete(path).await.expect_error(400, key);
        server.put(&format!("{path}?group=eu&q=name==d1"), json!(null)).await.expect_empty(204);
        assert_eq!(server.get(path).await.expect(200).json(), json!(["eu"]));
        server.delete(&format!("{path}?q=group==eu")).await.expect_empty(204);
        assert_eq!(server.get(path).await.expect(200).json(), json!([]));
        server.put(&format!("{path}/eu?q=name==d1"), json!(null)).await.expect_empty(204);
        for missing in ["?group=eu", "?q=name==d1"] {
            let answer = server.put(&format!("{path}{missing}"), json!(null)).await.expect(400).json();
            assert_eq!(answer.get("errorCode"), None, "{missing}");
        }
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
