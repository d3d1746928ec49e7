//! `/rest/v1/distributionsettypes`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Server, basic, on_each_engine},
    users::for_each_engine,
};

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

#[tokio::test]
async fn module_types_are_mandatory_or_optional_until_a_set_has_the_type() {
    on_each_engine(async |server: Server| {
        let (os, app) = (module_type(&server, "os").await, module_type(&server, "application").await);
        let body = json!([{"name": "edge", "key": "edge", "mandatorymodules": [{"id": os}]}]);
        let id = server.post("/rest/v1/distributionsettypes", body).await.expect(201).id();
        let path = format!("/rest/v1/distributionsettypes/{id}");
        let (mandatory, optional) = (format!("{path}/mandatorymoduletypes"), format!("{path}/optionalmoduletypes"));
        let known = async |id| server.get(&format!("/rest/v1/softwaremoduletypes/{id}")).await.expect(200).json();
        let (os_type, app_type) = (known(os).await, known(app).await);
        let check = async |is_mandatory: Value, is_optional: Value| {
            assert_eq!(server.get(&mandatory).await.expect(200).json(), is_mandatory);
            assert_eq!(server.get(&optional).await.expect(200).json(), is_optional);
        };
        check(json!([os_type]), json!([])).await;
        server.post(&optional, json!({"id": app})).await.expect_empty(204);
        check(json!([os_type]), json!([app_type])).await;
        assert_eq!(server.get(&format!("{mandatory}/{os}")).await.expect(200).json(), os_type);
        assert_eq!(server.get(&format!("{optional}/{app}")).await.expect(200).json(), app_type);
        server.get(&format!("{mandatory}/{app}")).await.expect_error(404, NOT_FOUND);
        server.post(&mandatory, json!({"id": app})).await.expect_empty(204);
        check(json!([app_type, os_type]), json!([])).await;
        server.delete(&format!("{mandatory}/{os}")).await.expect_empty(204);
        server.delete(&format!("{optional}/{app}")).await.expect_empty(204);
        server.delete(&format!("{optional}/{app}")).await.expect_empty(204);
        check(json!([]), json!([])).await;

        server.post(&mandatory, json!({"id": os})).await.expect_empty(204);
        let set = json!([{"name": "s", "version": "1", "type": "edge"}]);
        let set = server.post("/rest/v1/distributionsets", set).await.expect(201).id();
        let read_only = "hawkbit.server.error.entityReadOnly";
        server.post(&optional, json!({"id": app})).await.expect_error(403, read_only);
        server.delete(&format!("{mandatory}/{os}")).await.expect_error(403, read_only);
        server.delete(&format!("{mandatory}/9999")).await.expect_error(403, read_only);
        server.post(&optional, json!({"id": 9999})).await.expect_error(404, NOT_FOUND);
        check(json!([os_type]), json!([])).await;
        server.delete(&format!("/rest/v1/distributionsets/{set}")).await.expect_empty(204);
        server.delete(&format!("{mandatory}/{os}")).await.expect_empty(204);
        check(json!([]), json!([])).await;
    })
    .await;
}

#[tokio::test]
async fn the_module_types_of_an_unknown_type_are_not_found() {
    on_each_engine(async |server: Server| {
        let os = module_type(&server, "os").await;
        let info = json!({"type": "DistributionSetType", "entityId": 9999});
        for which in ["mandatorymoduletypes", "optionalmoduletypes"] {
            let path = format!("/rest/v1/distributionsettypes/9999/{which}");
            for answer in [
                server.get(&path).await,
                server.post(&path, json!({"id": os})).await,
                server.get(&format!("{path}/{os}")).await,
                server.delete(&format!("{path}/{os}")).await,
            ] {
                assert_eq!(answer.expect_error(404, NOT_FOUND).json()["info"], info);
            }
            let constraint = "hawkbit.server.error.repo.constraintViolation";
            server.post(&path, json!({})).await.expect_error(400, constraint);
        }
    })
    .await;
}

#[tokio::test]
async fn the_quota_of_module_types_counts_what_is_there_twice_and_no_new_type() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let setting = "hawkbit.server.security.dos.maxSoftwareModuleTypesPerDistributionSetType=1";
        let server = Server::start_with(engine, &[setting]).await;
        let (os, app) = (module_type(&server, "os").await, module_type(&server, "application").await);
        let whole = json!([{"name": "whole", "key": "whole", "optionalmodules": [{"id": os}, {"id": app}]}]);
        server.post("/rest/v1/distributionsettypes", whole).await.expect(201);
        let body = json!([{"name": "edge", "key": "edge"}]);
        let id = server.post("/rest/v1/distributionsettypes", body).await.expect(201).id();
        let path = format!("/rest/v1/distributionsettypes/{id}/optionalmoduletypes");
        server.post(&path, json!({"id": os})).await.expect_empty(204);
        let quota = "hawkbit.server.error.quota.tooManyEntries";
        for id in [os, app] {
            server.post(&path, json!({"id": id})).await.expect_error(429, quota);
        }
        assert_eq!(server.get(&path).await.expect(200).json().as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn module_types_are_read_with_the_set_types_permission() {
    let users = [("viewer", "permissions=READ_DISTRIBUTION_SET_TYPE"), ("nobody", "permissions=READ_TARGET")];
    for_each_engine(&users, async |server| {
        let os = module_type(&server, "os").await;
        let kind = server.get("/rest/v1/distributionsettypes?q=key==os").await.expect(200).json();
        let path = format!("/rest/v1/distributionsettypes/{}/mandatorymoduletypes", kind["content"][0]["id"]);
        let one = format!("{path}/{os}");
        let (viewer, nobody) = (basic("viewer", "x"), basic("nobody", "x"));
        server.get_as(&viewer, &path).await.expect(200);
        let forbidden = "hawkbit.server.error.insufficientPermission";
        for (user, method, path, body) in [
            (&viewer, Method::GET, &one, None),
            (&viewer, Method::POST, &path, Some(json!({"id": os}))),
            (&viewer, Method::DELETE, &one, None),
            (&nobody, Method::GET, &path, None),
        ] {
            server.json_as(user, method, path, body).await.expect_error(403, forbidden);
        }
    })
    .await;
}

async fn module_type(server: &Server, key: &str) -> i64 {
    let found = server.get(&format!("/rest/v1/softwaremoduletypes?q=key=={key}")).await.expect(200).json();
    found["content"][0]["id"].as_i64().unwrap()
}
