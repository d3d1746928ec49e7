//! `/rest/v1/targettags`, and the tags of a target.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, on_each_engine};

const EXISTS: &str = "hawkbit.server.error.repo.entityAlreadyExists";
const INVALID: &str = "hawkbit.server.error.repo.constraintViolation";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const NOT_READABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const TAGS: &str = "/rest/v1/targettags";

async fn tag(server: &Server, name: &str) -> i64 {
    server.post(TAGS, json!([{"name": name}])).await.expect(201).id()
}

async fn targets(server: &Server, ids: &[&str]) {
    let bodies: Vec<Value> = ids.iter().map(|id| json!({"controllerId": id})).collect();
    server.post("/rest/v1/targets", json!(bodies)).await.expect(201);
}

async fn delete_list(server: &Server, path: &str, body: Value) -> Answer {
    server.json_as(&server.admin, Method::DELETE, path, Some(body)).await
}

/// The controllerIds of a list, in its order.
async fn listed(server: &Server, path: &str) -> Vec<String> {
    let page = server.get(path).await.expect(200).json();
    let content = page["content"].as_array().unwrap().iter();
    content.map(|target| target["controllerId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_tag_as_a_whole() {
    on_each_engine(async |server: Server| {
        let body = json!([
            {"name": " pilot ", "description": "first ones", "colour": "#00ff00", "unknown": 1},
            {"name": "plain"}
        ]);
        let created = server.post(TAGS, body).await.expect(201);
        let (pilot, plain) = (created.id(), created.json()[1]["id"].as_i64().unwrap());
        let mut expected = json!([
            {
                "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
                "name": "pilot", "description": "first ones", "colour": "#00ff00", "id": pilot,
                "_links": {"self": {"href": format!("{{base}}{TAGS}/{pilot}")}}
            },
            {
                "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
                "name": "plain", "id": plain, "_links": {"self": {"href": format!("{{base}}{TAGS}/{plain}")}}
            }
        ]);
        assert_eq!(created.scrubbed(), expected);
        let list = server.get(TAGS).await.expect(200).scrubbed();
        assert_eq!(list, json!({"content": expected, "total": 2, "size": 2}));
        let assigned = format!("{{base}}{TAGS}/{pilot}/assigned?offset=0&limit=50");
        expected[0]["_links"]["assignedTargets"] = json!({"href": assigned});
        let path = format!("{TAGS}/{pilot}");
        assert_eq!(server.get(&path).await.expect(200).scrubbed(), expected[0]);

        expected[0]["colour"] = "red".into();
        expected[0]["name"] = "pilots".into();
        let changed = server.put(&path, json!({"name": "pilots", "colour": "red", "description": null})).await;
        assert_eq!(changed.expect(200).scrubbed(), expected[0]);
        server.delete(&path).await.expect_empty(204);
        let gone = server.get(&path).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(gone["info"], json!({"type": "TargetTag", "entityId": pilot}));
        let gone = server.delete(&path).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(gone["info"], json!({"type": "TargetTag", "entityId": pilot}));
        server.put(&path, json!({})).await.expect_error(404, NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn what_a_tag_may_be_is_checked() {
    on_each_engine(async |server: Server| {
        let other = tag(&server, "other").await;
        for wrong in [
            json!({}),
            json!({"name": null}),
            json!({"name": ""}),
            json!({"name": "  "}),
            json!({"name": "n".repeat(129)}),
            json!({"name": "<b>bold</b>"}),
            json!({"name": "n", "description": "d".repeat(513)}),
            json!({"name": "n", "description": "<script>"}),
            json!({"name": "n", "colour": "c".repeat(17)}),
            json!({"name": "n", "colour": "<i>"}),
        ] {
            server.post(TAGS, json!([{"name": "good"}, wrong.clone()])).await.expect_error(400, INVALID);
            if wrong["name"].is_string() {
                server.put(&format!("{TAGS}/{other}"), wrong).await.expect_error(400, INVALID);
            }
        }
        server.post(TAGS, json!({"name": "no list"})).await.expect_error(400, NOT_READABLE);
        for twice in [json!([{"name": "other"}]), json!([{"name": "new"}, {"name": "new"}])] {
            server.post(TAGS, twice).await.expect_error(409, EXISTS);
        }
        let good = json!([{"name": "n".repeat(128), "description": "d".repeat(512), "colour": "c".repeat(16)}]);
        let good = server.post(TAGS, good).await.expect(201).id();
        server.put(&format!("{TAGS}/{good}"), json!({"name": "other"})).await.expect_error(409, EXISTS);
        assert_eq!(server.get(TAGS).await.expect(200).json()["total"], 2, "of a refused list, nothing stays");
        assert_eq!(server.post(TAGS, json!([])).await.expect(201).json(), json!([]));
        assert_eq!(server.post(TAGS, json!([{"name": "OTHER"}])).await.expect(201).json()[0]["name"], "OTHER");
    })
    .await;
}

#[tokio::test]
async fn tags_are_searched_sorted_and_paged() {
    on_each_engine(async |server: Server| {
        let body = json!([
            {"name": "b", "colour": "red", "description": "x"}, {"name": "a", "colour": "red"}, {"name": "c"}
        ]);
        server.post(TAGS, body).await.expect(201);
        for (query, found, total) in [
            ("", vec!["b", "a", "c"], 3),
            ("?sort=name:DESC", vec!["c", "b", "a"], 3),
            ("?sort=colour:ASC,name:ASC&q=colour==RED", vec!["a", "b"], 2),
            ("?q=description==x;createdby==admin;lastmodifiedby==admin;createdat%3E1;lastmodifiedat%3E1", vec!["b"], 1),
            ("?limit=1&offset=1", vec!["a"], 3),
            ("?q=name==*&limit=1&offset=5", vec![], 3),
        ] {
            let page = server.get(&format!("{TAGS}{query}")).await.expect(200).json();
            let names: Vec<_> =
                page["content"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
            assert_eq!((names, &page["total"]), (found, &json!(total)), "{query}");
        }
        let key = "hawkbit.server.error.rest.param.rsqlInvalidField";
        server.get(&format!("{TAGS}?q=distributionset.name==x")).await.expect_error(400, key);
        let key = "hawkbit.server.error.rest.param.invalidField";
        server.get(&format!("{TAGS}?sort=tenant:ASC")).await.expect_error(400, key);
    })
    .await;
}

#[tokio::test]
async fn unknown_targets_are_dealt_with_as_the_policy_says() {
    on_each_engine(async |server: Server| {
        targets(&server, &["a", "b", "c"]).await;
        let id = tag(&server, "t").await;
        let path = format!("{TAGS}/{id}/assigned");
        let missing = json!({"type": "Target", "entityId": ["x", "y"]});

        let refused = server.post(&path, json!(["x", "a", "y"])).await.expect_error(404, NOT_FOUND).json();
        assert_eq!((&refused["info"], listed(&server, &path).await), (&missing, vec![]));
        let fail = format!("{path}?onNotFoundPolicy=ON_WHAT_FOUND_AND_FAIL");
        let told = server.post(&fail, json!(["x", "a", "y"])).await.expect_error(404, NOT_FOUND).json();
        assert_eq!((&told["info"], listed(&server, &path).await), (&missing, vec!["a".to_owned()]));
        let succeed = format!("{path}?onNotFoundPolicy=ON_WHAT_FOUND_AND_SUCCESS");
        server.post(&succeed, json!(["x", "b", "a"])).await.expect_empty(204);
        assert_eq!(listed(&server, &path).await, ["a", "b"]);

        delete_list(&server, &path, json!(["a", "x", "y"])).await.expect_error(404, NOT_FOUND);
        assert_eq!(listed(&server, &path).await, ["a", "b"]);
        let told = delete_list(&server, &fail, json!(["x", "a", "y"])).await.expect_error(404, NOT_FOUND).json();
        assert_eq!((&told["info"], listed(&server, &path).await), (&missing, vec!["b".to_owned()]));
        delete_list(&server, &succeed, json!(["b", "c", "x"])).await.expect_empty(204);
        assert_eq!(listed(&server, &path).await, [""; 0]);

        let twice = server.post(&path, json!(["a", "a"])).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(twice["info"], json!({"type": "Target", "entityId": []}));
        server.post(&path, json!([])).await.expect_error(400, INVALID);
        delete_list(&server, &path, json!([])).await.expect_error(400, INVALID);
        let other = format!("{path}?onNotFoundPolicy=IGNORE");
        server.post(&other, json!(["a"])).await.expect_error(400, NOT_READABLE);
        server.post(&format!("{path}?onNotFoundPolicy="), json!(["a"])).await.expect_empty(204);
        let one = json!({"type": "Target", "entityId": ["x"]});
        for method in [Method::POST, Method::DELETE] {
            let answer = server.json_as(&server.admin, method.clone(), &format!("{path}/x"), None).await;
            assert_eq!(answer.expect_error(404, NOT_FOUND).json()["info"], one);
            let nowhere = format!("{TAGS}/4711/assigned");
            let answer = server.json_as(&server.admin, method, &nowhere, Some(json!(["x"]))).await;
            let info = json!({"type": "TargetTag", "entityId": 4711});
            assert_eq!(answer.expect_error(404, NOT_FOUND).json()["info"], info);
        }
        server.get(&format!("{TAGS}/4711/assigned")).await.expect_error(404, NOT_FOUND);
        server.get("/rest/v1/targets/x/tags").await.expect_error(404, NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_tags_targets_can_be_searched_and_targets_be_found_by_tag() {
    on_each_engine(async |server: Server| {
        targets(&server, &["a", "b", "c"]).await;
        let (pilot, lab) = (tag(&server, "pilot").await, tag(&server, "lab").await);
        server.post(&format!("{TAGS}/{pilot}/assigned"), json!(["c", "a"])).await.expect_empty(204);
        server.post(&format!("{TAGS}/{lab}/assigned/a"), json!(null)).await.expect_empty(204);
        let path = format!("{TAGS}/{pilot}/assigned");
        for (query, found) in [
            ("", vec!["a", "c"]),
            ("?sort=name:DESC", vec!["c", "a"]),
            ("?q=controllerid==c", vec!["c"]),
            ("?q=tag==lab&sort=id:ASC", vec!["a"]),
            ("?limit=1&offset=1", vec!["c"]),
        ] {
            assert_eq!(listed(&server, &format!("{path}{query}")).await, found, "{query}");
        }
        let key = "hawkbit.server.error.rest.param.invalidField";
        server.get(&format!("{path}?sort=controllerid:ASC")).await.expect_error(400, key);
        for (query, found) in [
            ("tag==PILOT", vec!["a", "c"]),
            ("tag.name==pi*", vec!["a", "c"]),
            ("tag!=pilot", vec!["b"]),
            ("tag==pilot;tag==lab", vec!["a"]),
            ("tag=in=(lab,other)", vec!["a"]),
        ] {
            assert_eq!(listed(&server, &format!("/rest/v1/targets?q={query}")).await, found, "{query}");
        }
        let tags = server.get("/rest/v1/targets/a/tags").await.expect(200).json();
        let names: Vec<_> = tags.as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["pilot", "lab"]);
        assert_eq!(tags[0]["_links"], json!({"self": {"href": format!("{}{TAGS}/{pilot}", server.base)}}));
        server.delete(&format!("{TAGS}/{pilot}")).await.expect_empty(204);
        assert_eq!(listed(&server, "/rest/v1/targets?q=tag==pilot").await, [""; 0]);
        assert_eq!(server.get("/rest/v1/targets").await.expect(200).json()["total"], 3);
    })
    .await;
}

#[tokio::test]
async fn tagging_changes_the_target_and_tagging_again_does_not() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.device("d1").poll().await;
        let id = tag(&server, "t").await;
        let by = async || {
            let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
            (target["lastModifiedBy"].clone(), target["lastModifiedAt"].clone())
        };
        let made = by().await;
        assert_eq!(made.0, "CONTROLLER_PLUG_AND_PLAY");
        let one = format!("{TAGS}/{id}/assigned/d1");
        server.delete(&one).await.expect_empty(204);
        assert_eq!(by().await, made, "it did not have the tag");
        server.post(&one, json!(null)).await.expect_empty(204);
        let tagged = by().await;
        assert_eq!(tagged.0, "admin");
        server.post(&one, json!(null)).await.expect_empty(204);
        server.put(&format!("{TAGS}/{id}"), json!({"name": "u"})).await.expect(200);
        server.delete(&format!("{TAGS}/{id}")).await.expect_empty(204);
        assert_eq!(by().await, tagged, "the tag's own changes are none of the target's");
    })
    .await;
}

#[tokio::test]
async fn an_edit_that_changes_nothing_is_none() {
    on_each_engine(async |server: Server| {
        let created = server.post(TAGS, json!([{"name": "t", "colour": "red"}])).await.expect(201);
        let path = format!("{TAGS}/{}", created.id());
        let before = server.get(&path).await.expect(200).json();
        for same in [json!({}), json!({"name": "t"}), json!({"name": " t", "colour": "red "})] {
            assert_eq!(server.put(&path, same.clone()).await.expect(200).json(), before, "{same}");
        }
        let emptied = server.put(&path, json!({"colour": ""})).await.expect(200).json();
        assert_eq!(emptied["colour"], "");
    })
    .await;
}

#[tokio::test]
async fn a_thousand_targets_are_tagged_at_once() {
    on_each_engine(async |server: Server| {
        let ids: Vec<String> = (0..1000).map(|n| format!("d{n:04}")).collect();
        targets(&server, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let id = tag(&server, "t").await;
        let path = format!("{TAGS}/{id}/assigned");
        let total = async || server.get(&path).await.expect(200).json()["total"].clone();
        server.post(&path, json!(ids)).await.expect_empty(204);
        assert_eq!(total().await, 1000);
        let page = listed(&server, &format!("{path}?limit=500&offset=500")).await;
        assert_eq!((page.len(), page[0].as_str()), (500, "d0500"));
        delete_list(&server, &path, json!(ids[1..])).await.expect_empty(204);
        assert_eq!(listed(&server, &path).await, ["d0000"]);
    })
    .await;
}

#[tokio::test]
async fn the_same_tag_can_be_assigned_twice_at_the_same_time() {
    on_each_engine(async |server: Server| {
        let ids: Vec<String> = (0..50).map(|n| format!("d{n:02}")).collect();
        targets(&server, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let id = tag(&server, "t").await;
        let path = format!("{TAGS}/{id}/assigned");
        let backwards: Vec<&String> = ids.iter().rev().collect();
        for _ in 0..5 {
            let (one, two) = tokio::join!(server.post(&path, json!(ids)), server.post(&path, json!(backwards)));
            one.expect_empty(204);
            two.expect_empty(204);
            assert_eq!(server.get(&path).await.expect(200).json()["total"], 50);
            let (on, off) = tokio::join!(server.post(&path, json!(ids)), delete_list(&server, &path, json!(backwards)));
            on.expect_empty(204);
            off.expect_empty(204);
        }
        let tag = format!("{TAGS}/{id}");
        let (assigned, deleted) = tokio::join!(server.post(&path, json!(ids)), server.delete(&tag));
        deleted.expect_empty(204);
        assert!([204, 404].contains(&assigned.status), "{assigned:?}");
    })
    .await;
}

#[tokio::test]
async fn a_tag_gives_its_targets_their_own_polling_time() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.configure("pollingTime", "00:10:00,tag==fast->00:01:00").await;
        let device = server.device("d1");
        let sleep = async || device.poll().await["config"]["polling"]["sleep"].as_str().unwrap().to_owned();
        assert_eq!(sleep().await, "00:10:00");
        let id = tag(&server, "fast").await;
        let (path, one) = (format!("{TAGS}/{id}"), format!("{TAGS}/{id}/assigned/d1"));
        server.post(&one, json!(null)).await.expect_empty(204);
        assert_eq!(sleep().await, "00:01:00");
        server.delete(&one).await.expect_empty(204);
        assert_eq!(sleep().await, "00:10:00");
        server.post(&one, json!(null)).await.expect_empty(204);
        assert_eq!(sleep().await, "00:01:00");
        server.put(&path, json!({"name": "slow"})).await.expect(200);
        assert_eq!(sleep().await, "00:10:00");
        server.put(&path, json!({"name": "fast"})).await.expect(200);
        assert_eq!(sleep().await, "00:01:00");
        server.delete(&path).await.expect_empty(204);
        assert_eq!(sleep().await, "00:10:00");
    })
    .await;
}
