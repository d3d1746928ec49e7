//! `/rest/v1/distributionsettypes`.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";

#[tokio::test]
async fn which_module_types_are_missing_is_told() {
    on_each_engine(async |server: Server| {
        let types = server.get("/rest/v1/softwaremoduletypes?q=key==os").await.expect(200).json();
        let os = types["content"][0]["id"].as_i64().unwrap();
        let body = json!([{"name": "edge", "key": "edge", "mandatorymodules": [{"id": os}]}]);
        let id = server.post("/rest/v1/distributionsettypes", body).await.expect(201).id();
        let path = format!("/rest/v1/distributionsettypes/{id}");

        let not_in = server.get(&format!("{path}/optionalmoduletypes/{os}")).await.expect_error(404, NOT_FOUND);
        assert_eq!(not_in.json().get("info"), None, "it is known, but not part of this type");
        let unknown = json!({"type": "SoftwareModuleType", "entityId": 9999});
        let answer = server.get(&format!("{path}/optionalmoduletypes/9999")).await.expect_error(404, NOT_FOUND);
        assert_eq!(answer.json()["info"], unknown);
        let answer = server.delete(&format!("{path}/mandatorymoduletypes/9999")).await.expect_error(404, NOT_FOUND);
        assert_eq!(answer.json()["info"], unknown);

        let unknown = json!({"type": "SoftwareModuleType", "entityId": ["9999"]});
        let body = json!({"id": 9999});
        let answer = server.post(&format!("{path}/optionalmoduletypes"), body.clone()).await;
        assert_eq!(answer.expect_error(404, NOT_FOUND).json()["info"], unknown);
        let answer = server.delete("/rest/v1/softwaremoduletypes/9999").await.expect_error(404, NOT_FOUND);
        assert_eq!(answer.json()["info"], unknown);
        let body = json!([{"name": "x", "key": "x", "optionalmodules": [body]}]);
        let answer = server.post("/rest/v1/distributionsettypes", body).await.expect_error(404, NOT_FOUND);
        assert_eq!(answer.json()["info"], unknown);
    })
    .await;
}
