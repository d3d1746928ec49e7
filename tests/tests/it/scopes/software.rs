//! Scopes over modules, sets and their types.

use reqwest::Method;
use serde_json::{Value, json};

use super::{FORBIDDEN, MISSING, SCOPES, ask, get, listed, with_users};
use crate::harness::basic;

/// Per type: sees and creates `fw…`, may change and delete what is described as `mine`.
fn permissions(entity: &str) -> String {
    format!(
        "READ_{entity}/name==fw*,CREATE_{entity}/name==fw*,UPDATE_{entity}/description==mine,\
         DELETE_{entity}/description==mine"
    )
}

fn body(resource: &str, name: &str, description: &str) -> Value {
    let more = match resource {
        "softwaremodules" | "distributionsets" => json!({"version": "1", "type": "os"}),
        "softwaremoduletypes" => json!({"key": name, "maxAssignments": 1}),
        _ => json!({"key": name}),
    };
    let mut body = json!({"name": name, "description": description});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([body])
}

#[tokio::test]
async fn every_type_of_entity_can_be_limited() {
    let resources = [
        ("softwaremodules", "SOFTWARE_MODULE"),
        ("softwaremoduletypes", "SOFTWARE_MODULE_TYPE"),
        ("distributionsets", "DISTRIBUTION_SET"),
        ("distributionsettypes", "DISTRIBUTION_SET_TYPE"),
    ];
    let all: Vec<String> = resources.iter().map(|(_, entity)| permissions(entity)).collect();
    // Modules and sets are made of types that are limited here as well: `plain` is for them.
    let plain = [permissions("SOFTWARE_MODULE"), permissions("DISTRIBUTION_SET")].join(",");
    let all = all.join(",");
    with_users(&[("all", all.as_str()), ("plain", plain.as_str())], &[SCOPES], async |server| {
        for (resource, entity) in resources {
            let user = if entity.ends_with("_TYPE") { "all" } else { "plain" };
            let path = format!("/rest/v1/{resource}");
            let mut ids = Vec::new();
            for (name, description) in [("fw-a", "mine"), ("fw-b", "theirs"), ("secret", "mine")] {
                ids.push(server.post(&path, body(resource, name, description)).await.expect(201).id());
            }
            let (total, names) = listed(get(&server, user, resource).await, "name");
            assert_eq!((total, names), (2, vec!["fw-a".to_owned(), "fw-b".to_owned()]), "{resource}");
            let (total, _) = listed(get(&server, user, &format!("{resource}?limit=1&q=name==*")).await, "name");
            assert_eq!(total, 2, "{resource}");

            for (id, read, write, key) in [(ids[1], 200, 403, FORBIDDEN), (ids[2], 404, 404, MISSING)] {
                let one = format!("{resource}/{id}");
                assert_eq!(get(&server, user, &one).await.status, read, "{one}");
                let change = Some(json!({"description": "mine"}));
                ask(&server, user, Method::PUT, &one, change).await.expect_error(write, key);
                ask(&server, user, Method::DELETE, &one, None).await.expect_error(write, key);
                server.get(&format!("/rest/v1/{one}")).await.expect(200);
            }
            let one = format!("{resource}/{}", ids[0]);
            ask(&server, user, Method::PUT, &one, Some(json!({"description": "mine"}))).await.expect(200);
            let given_away = ask(&server, user, Method::PUT, &one, Some(json!({"description": "theirs"}))).await;
            given_away.expect_error(403, FORBIDDEN);
            assert_eq!(get(&server, user, &one).await.expect(200).json()["description"], "mine");
            ask(&server, user, Method::DELETE, &one, None).await.expect(204);

            ask(&server, user, Method::POST, resource, Some(body(resource, "fw-c", ""))).await.expect(201);
            let outside = ask(&server, user, Method::POST, resource, Some(body(resource, "other", ""))).await;
            outside.expect_error(403, FORBIDDEN);
            let there = server.get(&format!("{path}?q=name==other")).await.expect(200).json();
            assert_eq!(there["total"], 0, "{resource}: nothing of a refused creation stays");
        }
        let module = Some(body("softwaremodules", "fw-d", ""));
        ask(&server, "all", Method::POST, "softwaremodules", module).await.expect_error(404, MISSING);
        let set = Some(body("distributionsets", "fw-d", ""));
        ask(&server, "all", Method::POST, "distributionsets", set).await.expect_error(404, MISSING);
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_a_module_or_a_set_follows_it() {
    let limited = [permissions("SOFTWARE_MODULE"), permissions("DISTRIBUTION_SET")].join(",");
    let limited = format!("{limited},READ_SOFTWARE_MODULE_ARTIFACT");
    with_users(&[("plain", limited.as_str())], &[SCOPES], async |server| {
        let make = async |resource: &str, name: &str, description: &str| -> i64 {
            server.post(&format!("/rest/v1/{resource}"), body(resource, name, description)).await.expect(201).id()
        };
        let mine = make("softwaremodules", "fw-a", "mine").await;
        let theirs = make("softwaremodules", "fw-b", "theirs").await;
        let secret = make("softwaremodules", "secret", "mine").await;
        for module in [mine, theirs, secret] {
            server.upload(module, "a.bin", b"abc").await.expect(201);
        }
        let artifact = async |module: i64| -> i64 {
            server.get(&format!("/rest/v1/softwaremodules/{module}/artifacts")).await.expect(200).id()
        };
        for (module, read, write) in [(mine, 200, 201), (theirs, 200, 403), (secret, 404, 404)] {
            let artifacts = format!("softwaremodules/{module}/artifacts");
            let one = format!("{artifacts}/{}", artifact(module).await);
            for path in [&artifacts, &one, &format!("{one}/download"), &format!("softwaremodules/{module}/metadata")] {
                assert_eq!(get(&server, "plain", path).await.status, read, "{path}");
            }
            let upload = server.upload_as(&basic("plain", "x"), module, "b.bin", b"def").await;
            assert_eq!(upload.status, write, "{artifacts}");
            let removed = if write == 201 { 204 } else { write };
            let metadata = Some(json!([{"key": "k", "value": "v"}]));
            let path = format!("softwaremodules/{module}/metadata");
            let posted = ask(&server, "plain", Method::POST, &path, metadata).await;
            assert_eq!(posted.status, write, "{path}");
            assert_eq!(ask(&server, "plain", Method::DELETE, &one, None).await.status, removed, "{one}");
        }

        let set = make("distributionsets", "fw-set", "mine").await;
        let add = async |module: i64| {
            let path = format!("distributionsets/{set}/assignedSM");
            ask(&server, "plain", Method::POST, &path, Some(json!([{"id": module}]))).await
        };
        add(secret).await.expect_error(404, MISSING);
        add(mine).await.expect(204);
        let modules = format!("distributionsets/{set}/assignedSM");
        assert_eq!(listed(get(&server, "plain", &modules).await, "name"), (1, vec!["fw-a".to_owned()]));
        server.post(&format!("/rest/v1/{modules}"), json!([{"id": secret}])).await.expect(204);
        assert_eq!(listed(get(&server, "plain", &modules).await, "name"), (0, vec![]), "it took the other's place");
        let other = make("distributionsets", "secret", "mine").await;
        for below in ["", "/assignedSM", "/metadata", "/statistics", "/statistics/actions", "/statistics/rollouts"] {
            let path = format!("distributionsets/{other}{below}");
            get(&server, "plain", &path).await.expect_error(404, MISSING);
        }
        let with_secret = json!([{"name": "fw-x", "version": "1", "type": "os", "modules": [{"id": secret}]}]);
        let refused = ask(&server, "plain", Method::POST, "distributionsets", Some(with_secret)).await;
        refused.expect_error(404, MISSING);
    })
    .await;
}
