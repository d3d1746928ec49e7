//! `/rest/v1/system/configs`.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

const PATH: &str = "/rest/v1/system/configs";

#[tokio::test]
async fn a_setting_is_global_until_it_is_set_and_again_after_its_removal() {
    on_each_engine(async |server: Server| {
        let key = format!("{PATH}/authentication.gatewaytoken.enabled");
        let stock = server.get(&key).await.expect(200).json();
        assert_eq!((&stock["value"], &stock["global"]), (&json!(false), &json!(true)));
        server.put(&key, json!({"value": true})).await.expect_empty(204);
        let set = server.get(&key).await.expect(200).json();
        assert_eq!((&set["value"], &set["global"]), (&json!(true), &json!(false)));
        server.delete(&key).await.expect_empty(204);
        let back = server.get(&key).await.expect(200).json();
        assert_eq!((&back["value"], &back["global"]), (&json!(false), &json!(true)));
        server.delete(&key).await.expect_empty(204);
    })
    .await;
}

#[tokio::test]
async fn unknown_keys_and_wrong_values_are_refused() {
    on_each_engine(async |server: Server| {
        let invalid_key = "hawkbit.server.error.configKeyInvalid";
        let invalid_value = "hawkbit.server.error.configValueInvalid";
        server.get(&format!("{PATH}/no.such.key")).await.expect_error(400, invalid_key);
        let body = json!({"value": true});
        server.put(&format!("{PATH}/no.such.key"), body).await.expect_error(400, invalid_key);
        for (key, value) in [
            ("authentication.targettoken.enabled", json!("perhaps")),
            ("pollingTime", json!("soon")),
            ("pollingTime", json!("00:00:01")),
            ("pollingTime", json!("48:00:00")),
            ("pollingTime", json!({"a": 1})),
        ] {
            let answer = server.put(&format!("{PATH}/{key}"), json!({"value": value})).await;
            answer.expect_error(400, invalid_value);
        }
        let fixed = server.delete(&format!("{PATH}/default.ds.type")).await;
        let info = fixed.expect_error(404, "hawkbit.server.error.repo.entityNotFound").json()["info"].clone();
        assert_eq!(info, json!({"type": "Configuration key not found", "entityId": "default.ds.type"}));
        let unchanged = server.get(&format!("{PATH}/pollingTime")).await.expect(200).json();
        assert_eq!(unchanged["value"], "00:05:00");
    })
    .await;
}

#[tokio::test]
async fn a_header_of_a_trusted_proxy_authenticates_a_device() {
    on_each_engine(async |server: Server| {
        server.configure("authentication.header.enabled", true).await;
        server.configure("authentication.header.authority", "Hash-One; hash-two").await;
        let path = "/DEFAULT/controller/v1/d1";
        for (headers, status) in [
            (vec![("x-controller-id", "d1"), ("x-authority", "hash-one")], 200),
            (vec![("x-controller-id", "d1"), ("x-authority-0", "nope"), ("x-authority-1", "HASH-TWO")], 200),
            (vec![("x-controller-id", "d2"), ("x-authority", "hash-one")], 401),
            (vec![("x-controller-id", "d1"), ("x-authority", "hash-three")], 401),
            (vec![("x-controller-id", "d1")], 401),
            (vec![("x-authority", "hash-one")], 401),
        ] {
            let answer = server.request(reqwest::Method::GET, path, &headers, None).await;
            assert_eq!(answer.status, status, "{headers:?}");
        }
    })
    .await;
}
