//! `/rest/v1/targettypes`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Server, basic, on_each_engine},
    users::for_each_engine,
};

const TYPES: &str = "/rest/v1/targettypes";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const EXISTS: &str = "hawkbit.server.error.repo.entityAlreadyExists";
const CONSTRAINT: &str = "hawkbit.server.error.repo.constraintViolation";
const FORBIDDEN: &str = "hawkbit.server.error.insufficientPermission";
const USED: &str = "hawkbit.server.error.target.type.used";

#[tokio::test]
async fn a_target_type_as_a_whole() {
    on_each_engine(async |server: Server| {
        let os = set_type(&server, "os").await;
        let body = json!([{
            "key": "gw", "name": "gateway", "description": "d", "colour": "#ff0000", "unknown": 1,
            "compatibledistributionsettypes": [{"id": os}]
        }]);
        let created = server.post(TYPES, body).await.expect(201);
        let path = format!("{TYPES}/{}", created.id());
        let compact = json!({
            "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
            "id": created.id(), "key": "gw", "name": "gateway", "description": "d", "colour": "#ff0000",
            "deleted": false, "_links": {"self": {"href": format!("{{base}}{path}")}}
        });
        assert_eq!(created.scrubbed(), json!([compact]));
        let mut full = compact.clone();
        let compatible = format!("{{base}}{path}/compatibledistributionsettypes");
        full["_links"]["compatibledistributionsettypes"] = json!({"href": compatible});
        assert_eq!(server.get(&path).await.expect(200).scrubbed(), full);

        let second = create(&server, json!({"name": "plain"})).await;
        let list = server.get(TYPES).await.expect(200);
        assert_eq!((list.json()["total"].clone(), list.scrubbed()["content"][0].clone()), (json!(2), compact));
        for (query, found) in [
            ("?q=key==gw", vec![created.id()]),
            ("?q=name==p*", vec![second]),
            ("?q=createdby==admin&sort=name:DESC", vec![second, created.id()]),
            ("?limit=1&offset=1", vec![second]),
        ] {
            assert_eq!(ids(server.get(&format!("{TYPES}{query}")).await.expect(200).json()), found, "{query}");
        }
        let unknown_field = "hawkbit.server.error.rest.param.rsqlInvalidField";
        server.get(&format!("{TYPES}?q=colour==x")).await.expect_error(400, unknown_field);

        full["name"] = json!("gateway2");
        full["description"] = json!("e");
        let changes = json!({"name": " gateway2 ", "description": "e", "colour": null, "key": "other"});
        assert_eq!(server.put(&path, changes).await.expect(200).scrubbed(), full);
        server.delete(&path).await.expect_empty(204);
        let gone = server.get(&path).await.expect_error(404, NOT_FOUND);
        assert_eq!(gone.json()["info"], json!({"type": "TargetType", "entityId": created.id()}));
    })
    .await;
}

#[tokio::test]
async fn a_key_or_a_name_stands_for_both() {
    on_each_engine(async |server: Server| {
        for (body, key, name) in [
            (json!({"name": "by name"}), "by name", "by name"),
            (json!({"key": "by-key"}), "by-key", "by-key"),
            (json!({"key": " k ", "name": "n\t"}), "k", "n"),
        ] {
            let created = server.post(TYPES, json!([body])).await.expect(201).json();
            assert_eq!((&created[0]["key"], &created[0]["name"]), (&json!(key), &json!(name)), "{body}");
        }
        let neither = "hawkbit.server.error.target.type.keyOrNameRequired";
        server.post(TYPES, json!([{"name": "fine"}, {"description": "d"}])).await.expect_error(400, neither);
        assert_eq!(server.get(TYPES).await.expect(200).json()["total"], 3, "all or none");
        assert_eq!(server.post(TYPES, json!([])).await.expect(201).json(), json!([]));
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_type_is_refused() {
    on_each_engine(async |server: Server| {
        let path = format!("{TYPES}/{}", create(&server, json!({"key": "k", "name": "n"})).await);
        for (member, value) in [
            ("key", "x".repeat(65)),
            ("key", "<b>".into()),
            ("key", "  ".into()),
            ("name", String::new()),
            ("name", " ".into()),
            ("name", "x".repeat(129)),
            ("name", "<b>".into()),
            ("description", "x".repeat(513)),
            ("description", "<b>".into()),
            ("colour", "x".repeat(17)),
            ("colour", "<b>".into()),
        ] {
            let mut body = json!({"key": "other", "name": "other"});
            body[member] = json!(value);
            server.post(TYPES, json!([body])).await.expect_error(400, CONSTRAINT);
            if member != "key" {
                server.put(&path, json!({member: value})).await.expect_error(400, CONSTRAINT);
            }
        }
        for body in [json!({"key": "k", "name": "o"}), json!({"key": "o", "name": "n"}), json!({"name": " n"})] {
            server.post(TYPES, json!([{"name": "new"}, body])).await.expect_error(409, EXISTS);
        }
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        server.post(TYPES, json!({"name": "no list"})).await.expect_error(400, unreadable);
        server.get(&format!("{TYPES}/x")).await.expect_error(400, unreadable);
        let unknown = json!([{"name": "new", "compatibledistributionsettypes": [{"id": 4711}]}]);
        let missing = server.post(TYPES, unknown).await.expect_error(404, NOT_FOUND);
        assert_eq!(missing.json()["info"], json!({"type": "DistributionSetType", "entityId": ["4711"]}));
        assert_eq!(server.get(TYPES).await.expect(200).json()["total"], 1, "nothing was created");

        create(&server, json!({"name": "taken"})).await;
        server.put(&path, json!({"name": "taken"})).await.expect_error(409, EXISTS);
        server.put(&format!("{TYPES}/4711"), json!({"name": "x"})).await.expect_error(404, NOT_FOUND);
        let missing = server.delete(&format!("{TYPES}/4711")).await.expect_error(404, NOT_FOUND);
        assert_eq!(missing.json()["info"], json!({"type": "TargetType", "entityId": ["4711"]}));
    })
    .await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_none() {
    on_each_engine(async |server: Server| {
        let body = json!({"key": "k", "name": "n", "description": "d", "colour": "c"});
        for (list, body) in [
            (TYPES, json!([body])),
            ("/rest/v1/distributionsettypes", json!([body])),
            (
                "/rest/v1/softwaremoduletypes",
                json!([{"key": "k", "name": "n", "description": "d", "maxAssignments": 1}]),
            ),
        ] {
            let created = server.post(list, body).await.expect(201);
            let (path, before) = (format!("{list}/{}", created.id()), created.json()[0]["lastModifiedAt"].clone());
            for same in [json!({}), json!({"description": "d", "colour": null}), json!({"description": " d\n"})] {
                let after = server.put(&path, same.clone()).await.expect(200).json();
                assert_eq!((&after["lastModifiedAt"], &after["description"]), (&before, &json!("d")), "{path} {same}");
            }
            let after = server.put(&path, json!({"description": ""})).await.expect(200).json();
            assert_ne!(after["lastModifiedAt"], before);
        }
    })
    .await;
}

#[tokio::test]
async fn compatible_distribution_set_types_come_and_go() {
    on_each_engine(async |server: Server| {
        let (os, app) = (set_type(&server, "os").await, set_type(&server, "app").await);
        let path = format!("{TYPES}/{}", create(&server, json!({"name": "gw"})).await);
        let compatible = format!("{path}/compatibledistributionsettypes");
        assert_eq!(server.get(&compatible).await.expect(200).json(), json!([]));
        for new in [json!([{"id": app}]), json!([{"id": os}, {"id": app}])] {
            server.post(&compatible, new).await.expect_empty(204);
        }
        let found = server.get(&compatible).await.expect(200).json();
        let expected = server.get("/rest/v1/distributionsettypes?q=key=in=(os,app)").await.expect(200).json();
        assert_eq!(found, expected["content"]);

        server.post(&compatible, json!([])).await.expect_error(400, CONSTRAINT);
        server.post(&compatible, json!([{}])).await.expect_error(400, CONSTRAINT);
        let nobody = format!("{TYPES}/4711/compatibledistributionsettypes");
        let unknown_sets = |ids: Value| json!({"type": "DistributionSetType", "entityId": ids});
        let unknown = json!({"type": "TargetType", "entityId": 4711});
        for (answer, info) in [
            (server.get(&nobody).await, unknown.clone()),
            (server.post(&nobody, json!([{"id": os}])).await, unknown.clone()),
            (server.post(&nobody, json!([{"id": 4712}])).await, unknown_sets(json!(["4712"]))),
            (server.delete(&format!("{nobody}/{os}")).await, unknown),
            (server.post(&compatible, json!([{"id": os}, {"id": 4712}])).await, unknown_sets(json!(["4712"]))),
            (server.post(&compatible, json!([{"id": os}, {"id": os}])).await, unknown_sets(json!([]))),
            (server.delete(&format!("{compatible}/4712")).await, unknown_sets(json!(4712))),
        ] {
            assert_eq!(answer.expect_error(404, NOT_FOUND).json()["info"], info);
        }

        for _ in 0..2 {
            server.delete(&format!("{compatible}/{os}")).await.expect_empty(204);
            assert_eq!(server.get(&compatible).await.expect(200).json(), json!([expected["content"][1]]));
        }
        let own = json!([{"name": "own", "key": "own"}]);
        let own = server.post("/rest/v1/distributionsettypes", own).await.expect(201).id();
        server.post(&compatible, json!([{"id": own}])).await.expect_empty(204);
        server.delete(&format!("/rest/v1/distributionsettypes/{own}")).await.expect_empty(204);
        assert_eq!(server.get(&compatible).await.expect(200).json(), json!([expected["content"][1]]));
    })
    .await;
}

#[tokio::test]
async fn the_quota_of_compatible_types_counts_what_is_there_twice_and_no_new_type() {
    let quota = "hawkbit.server.error.quota.tooManyEntries";
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let setting = "hawkbit.server.security.dos.maxDistributionSetTypesPerTargetType=2";
        let server = Server::start_with(engine, &[setting]).await;
        let mut all = Vec::new();
        for key in ["os", "app", "os_app"] {
            all.push(json!({"id": set_type(&server, key).await}));
        }
        let whole = create(&server, json!({"name": "whole", "compatibledistributionsettypes": all})).await;
        let path = format!("{TYPES}/{whole}/compatibledistributionsettypes");
        assert_eq!(server.get(&path).await.expect(200).json().as_array().unwrap().len(), 3);
        let path = format!("{TYPES}/{}/compatibledistributionsettypes", create(&server, json!({"name": "n"})).await);
        server.post(&path, json!(all)).await.expect_error(429, quota);
        server.post(&path, json!(all[..2])).await.expect_empty(204);
        server.post(&path, json!(all[..1])).await.expect_error(429, quota);
        assert_eq!(server.get(&path).await.expect(200).json().as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_type_that_a_target_has_stays() {
    on_each_engine(async |server: Server| {
        let id = create(&server, json!({"name": "gw"})).await;
        let path = format!("{TYPES}/{id}");
        server.post("/rest/v1/targets", json!([{"controllerId": "d1", "targetType": id}])).await.expect(201);
        server.delete(&path).await.expect_error(409, USED);
        server.put("/rest/v1/targets/d1", json!({"targetType": -1})).await.expect(200);
        server.delete(&path).await.expect_empty(204);
        for (method, path, body) in [
            (Method::POST, "/rest/v1/targets", json!([{"controllerId": "d2", "targetType": id}])),
            (Method::PUT, "/rest/v1/targets/d1", json!({"targetType": id})),
        ] {
            let missing = server.json_as(&server.admin, method, path, Some(body)).await.expect_error(404, NOT_FOUND);
            assert_eq!(missing.json()["info"], json!({"type": "TargetType", "entityId": id}));
        }
        server.get("/rest/v1/targets/d2").await.expect(404);
    })
    .await;
}

/// Whatever comes first: the type stays with its target, or neither is there.
#[tokio::test]
async fn a_type_is_not_deleted_under_a_target_that_gets_it() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        for round in 0..12 {
            let id = create(&server, json!({"name": format!("t{round}")})).await;
            let path = format!("{TYPES}/{id}");
            let (assigned, deleted) =
                tokio::join!(server.post("/rest/v1/targets/d1/targettype", json!({"id": id})), server.delete(&path));
            let statuses = (assigned.status, deleted.status);
            assert!([(204, 409), (404, 204)].contains(&statuses), "{statuses:?}");
            server.delete("/rest/v1/targets/d1/targettype").await.expect_empty(204);
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_addition_by_many_at_once_is_one() {
    on_each_engine(async |server: Server| {
        let os = set_type(&server, "os").await;
        let path = format!("{TYPES}/{}/compatibledistributionsettypes", create(&server, json!({"name": "n"})).await);
        let add = || server.post(&path, json!([{"id": os}]));
        let (a, b, c, d) = tokio::join!(add(), add(), add(), add());
        for answer in [a, b, c, d] {
            answer.expect_empty(204);
        }
        assert_eq!(ids(json!({"content": server.get(&path).await.expect(200).json()})), [os]);
    })
    .await;
}

#[tokio::test]
async fn a_target_takes_only_sets_of_types_that_its_type_lists() {
    on_each_engine(async |server: Server| {
        let id = create(&server, json!({"name": "gw"})).await;
        server.post("/rest/v1/targets", json!([{"controllerId": "d1", "targetType": id}])).await.expect(201);
        server.target("d2").await;
        let set = server.set("fw", &[]).await;
        let assign = || server.post("/rest/v1/targets/d1/assignedDS", json!({"id": set.id}));
        let incompatible = "hawkbit.server.error.target.type.incompatible";
        assign().await.expect_error(400, incompatible);
        let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
        server.post(&path, json!([{"id": "d1"}, {"id": "d2"}])).await.expect_error(400, incompatible);
        assert_eq!(server.update_status("d2").await, "unknown");
        let path = format!("{TYPES}/{id}/compatibledistributionsettypes");
        server.post(&path, json!([{"id": set_type(&server, "app").await}])).await.expect_empty(204);
        assign().await.expect_error(400, incompatible);
        server.post(&path, json!([{"id": set_type(&server, "os").await}])).await.expect_empty(204);
        assert_eq!(assign().await.expect(200).json()["assigned"], 1);
    })
    .await;
}

#[tokio::test]
async fn each_operation_needs_its_permission() {
    let users = [
        ("viewer", "permissions=READ_TARGET"),
        ("fleet", "roles=TARGET_ADMIN"),
        ("types", "permissions=UPDATE_TARGET_TYPE,READ_DISTRIBUTION_SET_TYPE"),
        ("repo", "roles=REPOSITORY_ADMIN"),
    ];
    for_each_engine(&users, async |server| {
        let os = set_type(&server, "os").await;
        let path = format!("{TYPES}/{}", create(&server, json!({"name": "gw"})).await);
        let compatible = format!("{path}/compatibledistributionsettypes");
        let one = format!("{compatible}/{os}");
        let with_sets = json!([{"name": "m", "compatibledistributionsettypes": [{"id": os}]}]);
        for (method, path, body, status_of) in [
            (Method::GET, TYPES, None, [200, 200, 403, 403]),
            (Method::GET, path.as_str(), None, [200, 200, 403, 403]),
            (Method::GET, compatible.as_str(), None, [200, 200, 403, 403]),
            (Method::POST, TYPES, Some(json!([{"name": "n"}])), [403, 201, 403, 403]),
            (Method::POST, TYPES, Some(with_sets), [403, 403, 403, 403]),
            (Method::PUT, path.as_str(), Some(json!({"description": "e"})), [403, 200, 200, 403]),
            (Method::POST, compatible.as_str(), Some(json!([{"id": os}])), [403, 403, 204, 403]),
            (Method::DELETE, one.as_str(), None, [403, 403, 204, 403]),
            (Method::DELETE, path.as_str(), None, [403, 204, 403, 403]),
        ] {
            let order = if method == Method::DELETE { [0, 2, 3, 1] } else { [0, 1, 2, 3] };
            for user in order {
                let name = users[user].0;
                let answer = server.json_as(&basic(name, "x"), method.clone(), path, body.clone()).await;
                assert_eq!(answer.status, status_of[user], "{name}: {method} {path}");
                if answer.status == 403 {
                    answer.expect_error(403, FORBIDDEN);
                }
            }
        }
        server.get_as("", TYPES).await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn the_types_of_another_tenant_are_not_there() {
    for_each_engine(&[("other", "roles=TENANT_ADMIN\ntenant=OTHER")], async |server| {
        let other = basic("other", "x");
        let id = create(&server, json!({"name": "gw"})).await;
        let os = set_type(&server, "os").await;
        let mine = server.json_as(&other, Method::POST, TYPES, Some(json!([{"name": "gw"}]))).await.expect(201).id();
        let target = Some(json!([{"controllerId": "d1"}]));
        server.json_as(&other, Method::POST, "/rest/v1/targets", target).await.expect(201);
        let theirs = format!("{TYPES}/{id}");
        let my_sets = format!("{TYPES}/{mine}/compatibledistributionsettypes");
        for (method, path, body) in [
            (Method::GET, theirs.clone(), None),
            (Method::PUT, theirs.clone(), Some(json!({"name": "taken"}))),
            (Method::DELETE, theirs.clone(), None),
            (Method::GET, format!("{theirs}/compatibledistributionsettypes"), None),
            (Method::POST, my_sets.clone(), Some(json!([{"id": os}]))),
            (Method::DELETE, format!("{my_sets}/{os}"), None),
            (Method::POST, "/rest/v1/targets/d1/targettype".into(), Some(json!({"id": id}))),
            (Method::PUT, "/rest/v1/targets/d1".into(), Some(json!({"targetType": id}))),
            (Method::POST, "/rest/v1/targets".into(), Some(json!([{"controllerId": "d2", "targetType": id}]))),
        ] {
            server.json_as(&other, method, &path, body).await.expect_error(404, NOT_FOUND);
        }
        assert_eq!(ids(server.get_as(&other, TYPES).await.expect(200).json()), [mine]);
        assert_eq!(server.get(&theirs).await.expect(200).json()["name"], "gw");
    })
    .await;
}

async fn create(server: &Server, body: Value) -> i64 {
    server.post(TYPES, json!([body])).await.expect(201).id()
}

async fn set_type(server: &Server, key: &str) -> i64 {
    let found = server.get(&format!("/rest/v1/distributionsettypes?q=key=={key}")).await.expect(200).json();
    found["content"][0]["id"].as_i64().unwrap()
}

fn ids(list: Value) -> Vec<i64> {
    list["content"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
}
