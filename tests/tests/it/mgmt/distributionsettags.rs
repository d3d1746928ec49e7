//! `/rest/v1/distributionsettags`. What tags of either kind do alike is tested in `targettags.rs`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, on_each_engine};

const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const TAGS: &str = "/rest/v1/distributionsettags";

async fn tag(server: &Server, name: &str) -> i64 {
    server.post(TAGS, json!([{"name": name}])).await.expect(201).id()
}

/// The ids of a list, in its order.
async fn listed(server: &Server, path: &str) -> Vec<i64> {
    let page = server.get(path).await.expect(200).json();
    page["content"].as_array().unwrap().iter().map(|set| set["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_tag_as_a_whole() {
    on_each_engine(async |server: Server| {
        let created = server.post(TAGS, json!([{"name": "lts", "description": "d", "colour": "red"}])).await;
        let id = created.expect(201).id();
        let path = format!("{TAGS}/{id}");
        let expected = json!({
            "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
            "name": "lts", "description": "d", "colour": "blue", "id": id,
            "_links": {
                "self": {"href": format!("{{base}}{path}")},
                "assignedDistributionSets": {"href": format!("{{base}}{path}/assigned?offset=0&limit=50")}
            }
        });
        assert_eq!(server.put(&path, json!({"colour": "blue"})).await.expect(200).scrubbed(), expected);
        assert_eq!(server.get(&path).await.expect(200).scrubbed(), expected);
        server.delete(&path).await.expect_empty(204);
        let gone = server.get(&path).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(gone["info"], json!({"type": "DistributionSetTag", "entityId": id}));
        let gone = server.delete(&path).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(gone["info"], json!({"type": "DistributionSetTag", "entityId": [id.to_string()]}));
    })
    .await;
}

#[tokio::test]
async fn sets_are_tagged_all_or_none() {
    on_each_engine(async |server: Server| {
        let (a, b) = (server.set("a", &[]).await.id, server.set("b", &[]).await.id);
        let id = tag(&server, "lts").await;
        let path = format!("{TAGS}/{id}/assigned");
        let list = async |method: Method, body: Value| server.json_as(&server.admin, method, &path, Some(body)).await;
        for method in [Method::POST, Method::DELETE] {
            let refused = list(method.clone(), json!([a, 4711])).await.expect_error(404, NOT_FOUND).json();
            assert_eq!(refused["info"], json!({"type": "DistributionSet", "entityId": [4711]}));
            let twice = list(method.clone(), json!([a, a])).await.expect_error(404, NOT_FOUND).json();
            assert_eq!(twice["info"], json!({"type": "DistributionSet", "entityId": []}));
            let key = "hawkbit.server.error.repo.constraintViolation";
            list(method.clone(), json!([])).await.expect_error(400, key);
            let one = server.json_as(&server.admin, method.clone(), &format!("{path}/4711"), None).await;
            let info = json!({"type": "DistributionSet", "entityId": [4711]});
            assert_eq!(one.expect_error(404, NOT_FOUND).json()["info"], info);
            let nowhere = format!("{TAGS}/4711/assigned/{a}");
            server.json_as(&server.admin, method, &nowhere, None).await.expect_error(404, NOT_FOUND);
            assert_eq!(listed(&server, &path).await, [0; 0]);
        }
        list(Method::POST, json!([b, a])).await.expect_empty(204);
        server.post(&format!("{path}/{a}"), json!(null)).await.expect_empty(204);
        for (query, found) in [("", vec![a, b]), ("?sort=name:DESC", vec![b, a]), ("?q=name==b", vec![b])] {
            assert_eq!(listed(&server, &format!("{path}{query}")).await, found, "{query}");
        }
        assert_eq!(listed(&server, "/rest/v1/distributionsets?q=tag==LTS").await, [a, b]);
        let tags = server.get(&format!("{TAGS}?q=distributionset.name==b;distributionset.id=={a}")).await;
        assert_eq!(tags.expect(200).json()["total"], 1);
        for (query, key) in [("sort=version:ASC", "invalidField"), ("q=complete==true", "rsqlInvalidField")] {
            let key = format!("hawkbit.server.error.rest.param.{key}");
            server.get(&format!("{path}?{query}")).await.expect_error(400, &key);
        }
        list(Method::DELETE, json!([a])).await.expect_empty(204);
        server.delete(&format!("{path}/{b}")).await.expect_empty(204);
        assert_eq!(listed(&server, &path).await, [0; 0]);
    })
    .await;
}

#[tokio::test]
async fn deleted_sets_are_listed_until_they_are_searched_for() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let set = server.set("a", &[]).await;
        server.assign("d1", set).await;
        let path = format!("{TAGS}/{}/assigned", tag(&server, "lts").await);
        server.post(&path, json!([set.id])).await.expect_empty(204);
        server.delete(&format!("/rest/v1/distributionsets/{}", set.id)).await.expect_empty(204);
        assert_eq!(listed(&server, &path).await, [set.id]);
        assert_eq!(listed(&server, &format!("{path}?q=name==a")).await, [0; 0]);
        server.delete(&format!("{path}/{}", set.id)).await.expect_empty(204);
        assert_eq!(listed(&server, &path).await, [0; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_locks_a_set_unless_a_tag_says_not_to() {
    on_each_engine(async |server: Server| {
        for (name, locked) in [("skip-implicit-lock", false), ("SKIP_IMPLICIT_LOCK", false), ("other", true)] {
            let (target, set) = (server.target(name).await, server.set(name, &[]).await);
            let id = tag(&server, name).await;
            server.post(&format!("{TAGS}/{id}/assigned/{}", set.id), json!(null)).await.expect_empty(204);
            server.assign(target["controllerId"].as_str().unwrap(), set).await;
            let set = server.get(&format!("/rest/v1/distributionsets/{}", set.id)).await.expect(200).json();
            assert_eq!((&set["locked"], &set["modules"][0]["locked"]), (&json!(locked), &json!(locked)), "{name}");
        }
    })
    .await;
}
