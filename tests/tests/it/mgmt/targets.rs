//! `/rest/v1/targets` and `/rest/v1/targetgroups`.

use serde_json::{Value, json};

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn a_created_target_as_a_whole() {
    on_each_engine(async |server: Server| {
        let body = json!([{
            "controllerId": "d1", "name": "Hall 7", "description": "north", "address": "amqp://vhost/exchange",
            "securityToken": "0123", "group": "eu/de", "unknown": 1
        }]);
        let created = server.post("/rest/v1/targets", body).await.expect(201);
        let mut expected = json!([{
            "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
            "name": "Hall 7", "description": "north", "controllerId": "d1", "updateStatus": "unknown",
            "address": "amqp://vhost/exchange", "securityToken": "#token", "requestAttributes": true,
            "group": "eu/de", "_links": {"self": {"href": "{base}/rest/v1/targets/d1"}}
        }]);
        assert_eq!(created.scrubbed(), expected);
        assert_eq!(created.json()[0]["securityToken"], "0123");
        expected[0]["_links"] = json!({});
        for rel in ["self", "assignedDS", "attributes", "installedDS", "metadata"] {
            let suffix = if rel == "self" { String::new() } else { format!("/{rel}") };
            let href = format!("{{base}}/rest/v1/targets/d1{suffix}");
            expected[0]["_links"][rel] = json!({"href": href});
        }
        let href = "{base}/rest/v1/targets/d1/actions?offset=0&limit=50&sort=id%3ADESC";
        expected[0]["_links"]["actions"] = json!({"href": href});
        let read = server.get("/rest/v1/targets/d1").await.expect(200).scrubbed();
        assert_eq!(read, expected[0]);
    })
    .await;
}

#[tokio::test]
async fn generated_tokens_are_32_hex_digits_and_differ() {
    on_each_engine(async |server: Server| {
        let mut tokens = Vec::new();
        for id in ["a", "b"] {
            let token = server.target(id).await["securityToken"].as_str().unwrap().to_owned();
            let hex = token.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
            assert!(token.len() == 32 && hex, "{token}");
            tokens.push(token);
        }
        assert_ne!(tokens[0], tokens[1]);
    })
    .await;
}

#[tokio::test]
async fn paging_is_clamped_and_sorted_pages_cover_all() {
    on_each_engine(async |server: Server| {
        let targets: Vec<Value> =
            (0..620).map(|n| json!({"controllerId": format!("d{n:04}"), "name": format!("name {}", n % 7)})).collect();
        server.post("/rest/v1/targets", json!(targets)).await.expect(201);
        for (query, first, size) in [
            ("", "d0000", 50),
            ("?limit=0", "d0000", 50),
            ("?limit=-3", "d0000", 50),
            ("?limit=9999", "d0000", 500),
            ("?offset=-5&limit=2", "d0000", 2),
            ("?offset=610", "d0610", 10),
            ("?sort=controllerid:desc&limit=1", "d0619", 1),
            ("?sort=name:DESC,controllerid:ASC&limit=3", "d0006", 3),
        ] {
            let page = server.get(&format!("/rest/v1/targets{query}")).await.expect(200).json();
            let content = page["content"].as_array().unwrap();
            assert_eq!(content[0]["controllerId"], first, "{query}");
            let counts = (content.len(), page["size"].as_u64(), page["total"].as_u64());
            assert_eq!(counts, (size, Some(size as u64), Some(620)), "{query}");
        }
        let behind = server.get("/rest/v1/targets?offset=620").await.expect(200).json();
        assert_eq!(behind, json!({"content": [], "size": 0, "total": 620}));
        let mut seen = Vec::new();
        for offset in (0..620).step_by(100) {
            let path = format!("/rest/v1/targets?sort=name:ASC&limit=100&offset={offset}");
            let page = server.get(&path).await.expect(200).json();
            let ids = page["content"].as_array().unwrap().iter();
            seen.extend(ids.map(|t| t["controllerId"].as_str().unwrap().to_owned()));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 620, "equal names are paged in a stable order");
        let key = "hawkbit.server.error.rest.param.sortParamSyntax";
        server.get("/rest/v1/targets?sort=name").await.expect_error(400, key);
    })
    .await;
}

#[tokio::test]
async fn search_text_is_data_and_never_sql() {
    on_each_engine(async |server: Server| {
        let names = ["a'b", "100%", "under_score", "back\\slash", "star*", "ümlaut", "semi;colon,comma", "\"quoted\""];
        for (n, name) in names.iter().enumerate() {
            let body = json!([{"controllerId": format!("d{n}"), "name": name}]);
            server.post("/rest/v1/targets", body).await.expect(201);
        }
        for (query, found) in [
            ("name=='a%27b'", vec![]),
            ("name==%22a%27b%22", vec!["d0"]),
            ("name==%22100%25%22", vec!["d1"]),
            ("name==%25", vec![]),
            ("name==under_score", vec!["d2"]),
            ("name==under*", vec!["d2"]),
            ("name==underXscore", vec![]),
            ("name==%C3%BCmlaut", vec!["d5"]),
            ("name==%22semi;colon,comma%22", vec!["d6"]),
            ("name==%22x%27;DROP TABLE sp_target;--%22".replace(' ', "%20").as_str(), vec![]),
            ("controllerid=in=(d1,d2);name!=100*", vec!["d2"]),
        ] {
            let list = server.get(&format!("/rest/v1/targets?q={query}&sort=controllerid:ASC")).await;
            if query.starts_with("name=='") {
                assert!(list.status < 500, "{query}: {list:?}");
                continue;
            }
            let list = list.expect(200).json();
            let ids: Vec<&str> =
                list["content"].as_array().unwrap().iter().map(|t| t["controllerId"].as_str().unwrap()).collect();
            assert_eq!(ids, found, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_only_what_it_names() {
    on_each_engine(async |server: Server| {
        let body = json!([{"controllerId": "d1", "name": "n", "description": "d", "address": "http://10.0.0.1"}]);
        server.post("/rest/v1/targets", body).await.expect(201);
        for change in [json!({}), json!({"name": null}), json!({"controllerId": "other"})] {
            let updated = server.put("/rest/v1/targets/d1", change.clone()).await.expect(200).json();
            let found = (&updated["controllerId"], &updated["name"], &updated["description"], &updated["address"]);
            assert_eq!(found, (&json!("d1"), &json!("n"), &json!("d"), &json!("http://10.0.0.1")), "{change}");
        }
        let off = json!({"requestAttributes": false});
        server.put("/rest/v1/targets/d1", off.clone()).await.expect_empty(400);
        server.put("/rest/v1/targets/nobody", off).await.expect_empty(400);
        let renamed = server.put("/rest/v1/targets/d1", json!({"name": "m"})).await.expect(200);
        assert_eq!(renamed.json()["name"], "m");
    })
    .await;
}

#[tokio::test]
async fn metadata_has_a_quota_and_refuses_doubles() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let path = "/rest/v1/targets/d1/metadata";
        let entries = |from: usize, to: usize| -> Value {
            (from..to).map(|n| json!({"key": format!("k{n}"), "value": "v"})).collect()
        };
        let quota = "hawkbit.server.error.quota.tooManyEntries";
        server.post(path, entries(0, 101)).await.expect_error(429, quota);
        server.post(path, entries(0, 100)).await.expect_empty(201);
        server.post(path, entries(100, 101)).await.expect_error(429, quota);
        let exists = "hawkbit.server.error.repo.entityAlreadyExists";
        server.delete(&format!("{path}/k99")).await.expect_empty(204);
        server.post(path, entries(98, 99)).await.expect_error(409, exists);
        server.put(&format!("{path}/k98"), json!({"value": "w"})).await.expect_empty(204);
        let entry = server.get(&format!("{path}/k98")).await.expect(200).json();
        assert_eq!(entry, json!({"key": "k98", "value": "w"}));
        let missing = "hawkbit.server.error.repo.entityNotFound";
        server.delete(&format!("{path}/k99")).await.expect_error(404, missing);
    })
    .await;
}

#[tokio::test]
async fn deleting_a_target_takes_its_actions_along() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        server.delete("/rest/v1/targets/d1").await.expect_empty(204);
        server.get(&format!("/rest/v1/actions/{action}")).await.expect(404);
        let target = server.target("d1").await;
        assert_eq!(target["updateStatus"], "unknown");
        assert_eq!(server.device("d1").offered().await, None, "not the old one's action");
    })
    .await;
}

#[tokio::test]
async fn a_target_without_a_set_and_an_unknown_one_answer_alike() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        for id in ["d1", "nobody"] {
            for which in ["assignedDS", "installedDS"] {
                server.get(&format!("/rest/v1/targets/{id}/{which}")).await.expect_empty(204);
            }
        }
        server.get("/rest/v1/targets/nobody/attributes").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_target_is_given_a_type_and_loses_it() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.configure("pollingTime", "00:05:00, targettype.key==fast -> 00:01:00").await;
        server.target("d1").await;
        let kind =
            server.post("/rest/v1/targettypes", json!([{"key": "fast", "name": "Quick"}])).await.expect(201).id();
        let path = "/rest/v1/targets/d1/targettype";
        let sleep = async || server.device("d1").poll().await["config"]["polling"]["sleep"].clone();
        assert_eq!(sleep().await, "00:05:00");
        server.post(path, json!({"id": kind})).await.expect_empty(204);
        assert_eq!(sleep().await, "00:01:00", "the device sees it at once");
        let typed = server.get("/rest/v1/targets/d1").await.expect(200);
        assert_eq!((&typed.json()["targetType"], &typed.json()["targetTypeName"]), (&json!(kind), &json!("Quick")));
        let link = json!({"href": format!("{{base}}/rest/v1/targettypes/{kind}")});
        assert_eq!(typed.scrubbed()["_links"]["targetType"], link);
        server.post(path, json!({"id": kind})).await.expect_empty(204);
        let again = server.get("/rest/v1/targets/d1").await.expect(200).json();
        assert_eq!(again["lastModifiedAt"], typed.json()["lastModifiedAt"], "nothing changed");
        for (q, total) in [
            ("type==fast", 1),
            ("type.key==fast", 1),
            ("type.name==quick", 1),
            (&format!("type.id=={kind}"), 1),
            ("targettype.key==fast", 1),
            ("targettype.name==Quick", 1),
            (&format!("targettype.id=={kind}"), 1),
            ("type.key==slow", 0),
        ] {
            let found = server.get(&format!("/rest/v1/targets?q={q}")).await.expect(200).json();
            assert_eq!(found["total"], total, "{q}");
        }
        server.put("/rest/v1/targets/d1", json!({"name": "n", "targetType": null})).await.expect(200);
        for _ in 0..2 {
            server.delete(path).await.expect_empty(204);
            let bare = server.get("/rest/v1/targets/d1").await.expect(200).json();
            assert_eq!((bare.get("targetType"), bare["_links"].get("targetType")), (None, None));
        }
        assert_eq!(sleep().await, "00:05:00");
    })
    .await;
}

#[tokio::test]
async fn only_a_known_type_is_given_and_only_to_a_known_target() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let key = "hawkbit.server.error.repo.entityNotFound";
        let nobody = "/rest/v1/targets/nobody/targettype";
        let unknown_target = json!({"type": "Target", "entityId": "nobody"});
        for (answer, info) in [
            (server.post(nobody, json!({"id": 4711})).await, unknown_target.clone()),
            (server.delete(nobody).await, unknown_target),
            (
                server.post("/rest/v1/targets/d1/targettype", json!({"id": 4711})).await,
                json!({"type": "TargetType", "entityId": 4711}),
            ),
        ] {
            assert_eq!(answer.expect_error(404, key).json()["info"], info);
        }
        let path = "/rest/v1/targets/d1/targettype";
        let constraint = "hawkbit.server.error.repo.constraintViolation";
        server.post(path, json!({})).await.expect_error(400, constraint);
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        server.post(path, json!(true)).await.expect_error(400, unreadable);
        server.get(path).await.expect(405);
    })
    .await;
}

#[tokio::test]
async fn texts_lose_the_blanks_around_them_and_must_not_be_blank() {
    on_each_engine(async |server: Server| {
        let body = json!([{
            "controllerId": " d1\t", "name": "\u{1}Hall 7 ", "description": " north ", "address": " http://10.0.0.1 ",
            "securityToken": " 0123 ", "group": format!(" {} ", "g".repeat(256))
        }, {"controllerId": "d2 ", "name": "", "securityToken": "", "group": "  "}]);
        let created = server.post("/rest/v1/targets", body).await.expect(201).json();
        let texts = |target: &Value| {
            ["controllerId", "name", "description", "address", "securityToken", "group"]
                .map(|name| target[name].clone())
        };
        let group = "g".repeat(256);
        assert_eq!(texts(&created[0]), ["d1", "Hall 7", "north", "http://10.0.0.1", "0123", &group].map(Value::from));
        let named = (&created[1]["controllerId"], &created[1]["name"], &created[1]["group"]);
        assert_eq!(named, (&json!("d2"), &json!("d2"), &json!("")), "an empty name is none");
        assert_eq!(created[1]["securityToken"].as_str().unwrap().len(), 32, "an empty token is none");
        let key = "hawkbit.server.error.repo.constraintViolation";
        for bad in [
            json!({"controllerId": " "}),
            json!({"controllerId": "a b"}),
            json!({"controllerId": "x", "name": " "}),
            json!({"controllerId": "x", "securityToken": "\t"}),
            json!({"controllerId": "x", "name": format!("{} ", "n".repeat(128))}),
            json!({"controllerId": "x", "group": "g".repeat(257)}),
        ] {
            server.post("/rest/v1/targets", json!([bad])).await.expect_error(400, key);
        }
        for bad in [json!({"name": " "}), json!({"name": ""}), json!({"securityToken": " "})] {
            server.put("/rest/v1/targets/d1", bad).await.expect_error(400, key);
        }
        assert_eq!(server.get("/rest/v1/targets").await.expect(200).json()["total"], 2);
    })
    .await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_none() {
    on_each_engine(async |server: Server| {
        let kind = server.post("/rest/v1/targettypes", json!([{"key": "k"}])).await.expect(201).id();
        let body = json!([{"controllerId": "d1", "name": "n", "description": "d", "securityToken": "t",
            "address": "http://10.0.0.1", "targetType": kind}]);
        server.post("/rest/v1/targets", body).await.expect(201);
        let path = "/rest/v1/targets/d1";
        let before = server.get(path).await.expect(200).json();
        for same in [
            json!({}),
            json!({"name": "n", "description": "d", "securityToken": "t", "address": "http://10.0.0.1"}),
            json!({"name": " n", "description": "d ", "securityToken": "t\n", "address": " http://10.0.0.1"}),
            json!({"targetType": kind, "requestAttributes": true}),
        ] {
            server.put(path, same.clone()).await.expect(200);
            assert_eq!(server.get(path).await.expect(200).json(), before, "{same}");
        }
        server.put(path, json!({"targetType": 4711})).await.expect(404);
        let changed = server.put(path, json!({"name": " m ", "targetType": -1})).await.expect(200).json();
        assert_eq!((&changed["name"], changed.get("targetType")), (&json!("m"), None));
        assert_ne!(changed["lastModifiedAt"], before["lastModifiedAt"]);
        server.put("/rest/v1/targets/nobody", json!({})).await.expect(404);
    })
    .await;
}
