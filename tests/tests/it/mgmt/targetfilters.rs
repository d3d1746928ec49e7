//! `/rest/v1/targetfilters` and `/rest/v1/distributionsets/{id}/autoAssignTargetFilters`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Server, basic, on_each_engine},
    users::for_each_engine,
};

const CONSTRAINT: &str = "hawkbit.server.error.repo.constraintViolation";
const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const FILTERS: &str = "/rest/v1/targetfilters";

#[tokio::test]
async fn a_filter_is_created_changed_and_deleted() {
    on_each_engine(async |server: Server| {
        let created = server.post(FILTERS, json!({"name": "eu", "query": "group==eu", "more": 1})).await.expect(201);
        let id = created.id();
        let this = format!("{FILTERS}/{id}");
        let expected = |name: &str, query: &str| {
            json!({
                "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
                "id": id, "name": name, "query": query, "autoAssignDistributionSet": null,
                "autoAssignActionType": null, "autoAssignWeight": null, "confirmationRequired": null,
                "_links": {
                    "self": {"href": format!("{{base}}{this}")},
                    "autoAssignDS": {"href": format!("{{base}}{this}/autoAssignDS")},
                },
            })
        };
        assert_eq!(created.scrubbed(), expected("eu", "group==eu"));
        assert_eq!(server.get(&this).await.expect(200).scrubbed(), expected("eu", "group==eu"));
        let put = async |body: Value| server.put(&this, body).await.expect(200).scrubbed();
        assert_eq!(put(json!({"query": "group==us"})).await, expected("eu", "group==us"));
        assert_eq!(put(json!({"name": "us", "query": null})).await, expected("us", "group==us"));
        assert_eq!(put(json!({})).await, expected("us", "group==us"));
        server.delete(&this).await.expect_empty(204);
        server.get(&this).await.expect_error(404, NOT_FOUND);
        let again = server.delete(&this).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(again["info"], json!({"type": "TargetFilterQuery", "entityId": [id.to_string()]}));
        let put = server.put(&this, json!({"query": "oops"})).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(put["info"], json!({"type": "TargetFilterQuery", "entityId": id}));
    })
    .await;
}

#[tokio::test]
async fn wrong_filters_are_refused() {
    on_each_engine(async |server: Server| {
        let first = server.post(FILTERS, json!({"name": "first", "query": "name==a"})).await.expect(201).id();
        server.post(FILTERS, json!({"name": "second", "query": "name==a"})).await.expect(201);
        let this = format!("{FILTERS}/{first}");
        let (syntax, field) =
            ("hawkbit.server.error.rest.param.rsqlParamSyntax", "hawkbit.server.error.rest.param.rsqlInvalidField");
        let exists = "hawkbit.server.error.repo.entityAlreadyExists";
        for (name, query, status, key) in [
            (json!("second"), json!("name==a"), 409, exists),
            (json!(""), json!("name==a"), 400, CONSTRAINT),
            (json!("n".repeat(129)), json!("name==a"), 400, CONSTRAINT),
            (json!("<b>n</b>"), json!("name==a"), 400, CONSTRAINT),
            (json!("n"), json!(""), 400, CONSTRAINT),
            (json!("n"), json!(format!("name=={}", "a".repeat(1019))), 400, CONSTRAINT),
            (json!("n"), json!("name"), 400, syntax),
            (json!("n"), json!("oops==1"), 400, field),
            (json!("n"), json!({}), 400, UNREADABLE),
        ] {
            let body = json!({"name": name, "query": query});
            server.post(FILTERS, body.clone()).await.expect_error(status, key);
            server.put(&this, body).await.expect_error(status, key);
        }
        server.post(FILTERS, json!({"query": "name==a"})).await.expect_error(400, CONSTRAINT);
        server.post(FILTERS, json!({"name": "n"})).await.expect_error(400, CONSTRAINT);
        server.get(&format!("{FILTERS}/x")).await.expect_error(400, UNREADABLE);
        let long = json!({"name": "n".repeat(128), "query": format!("name=={}", "a".repeat(1018))});
        server.post(FILTERS, long).await.expect(201);
        assert_eq!(server.get(&this).await.expect(200).json()["name"], "first");
    })
    .await;
}

#[tokio::test]
async fn a_searched_list_of_filters_tells_the_total_of_all() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw one", &[]).await;
        for name in ["a", "b", "c"] {
            server.post(FILTERS, json!({"name": name, "query": "name==x"})).await.expect(201);
        }
        let b = server.get(&format!("{FILTERS}?q=name==b")).await.expect(200).json()["content"][0]["id"].clone();
        let body = json!({"id": set.id});
        server.post(&format!("{FILTERS}/{b}/autoAssignDS"), body).await.expect(200);
        let names = async |query: &str| {
            let list = server.get(&format!("{FILTERS}?{query}")).await.expect(200).json();
            let names = list["content"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap().to_owned());
            (names.collect::<Vec<_>>(), list["total"].as_i64().unwrap())
        };
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(names("").await, (owned(&["a", "b", "c"]), 3));
        assert_eq!(names("sort=name:DESC&limit=2").await, (owned(&["c", "b"]), 3));
        assert_eq!(names("q=name==b").await, (owned(&["b"]), 3));
        assert_eq!(names("q=autoassigndistributionset.name==fw*").await, (owned(&["b"]), 3));
        assert_eq!(names("q=name==nobody").await, (owned(&[]), 3));
        let syntax = "hawkbit.server.error.rest.param.rsqlParamSyntax";
        server.get(&format!("{FILTERS}?q=")).await.expect_error(400, syntax);
        let full = server.get(&format!("{FILTERS}?representation=full")).await.expect(200).scrubbed();
        let this = |id: &Value| json!({"href": format!("{{base}}{FILTERS}/{id}")});
        let (a, b) = (&full["content"][0], &full["content"][1]);
        assert_eq!(a["_links"], json!({"self": this(&a["id"])}));
        let search = "{base}/rest/v1/distributionsets?q=name%3D%3Dfw%20one%3Bversion%3D%3D1&offset=0&limit=50";
        assert_eq!(b["_links"], json!({"self": this(&b["id"]), "DS": {"href": search}}));
        let compact = server.get(FILTERS).await.expect(200).scrubbed();
        assert_eq!(compact["content"][1]["_links"], json!({"self": this(&b["id"])}));

        let of_set = format!("/rest/v1/distributionsets/{}/autoAssignTargetFilters", set.id);
        let list = server.get(&of_set).await.expect(200).scrubbed();
        assert_eq!(list, json!({"content": [compact["content"][1]], "total": 1, "size": 1}));
        let none = json!({"content": [], "total": 0, "size": 0});
        assert_eq!(server.get(&format!("{of_set}?q=name==a")).await.expect(200).json(), none);
        assert_eq!(server.get(&format!("{of_set}?q=&sort=name:ASC")).await.expect(200).json()["total"], 1);
        let unknown = "/rest/v1/distributionsets/4711/autoAssignTargetFilters";
        server.get(unknown).await.expect_error(404, NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a_filter_assigns_a_set_by_itself_which_is_locked_by_that() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        let id = server.post(FILTERS, json!({"name": "all", "query": "name==*"})).await.expect(201).id();
        let this = format!("{FILTERS}/{id}");
        let auto = format!("{this}/autoAssignDS");
        server.get(&auto).await.expect_empty(204);
        let kept = |body: &Value| {
            ["autoAssignDistributionSet", "autoAssignActionType", "autoAssignWeight", "confirmationRequired"]
                .map(|name| body[name].clone())
        };
        let nothing = [json!(null), json!(null), json!(null), json!(null)];
        for (sent, expected) in [
            (json!({"id": set.id}), [json!(set.id), json!("forced"), json!(1000), json!(null)]),
            (json!({"id": set.id, "type": "soft", "weight": 0}), [json!(set.id), json!("soft"), json!(0), json!(null)]),
            (
                json!({"id": set.id, "type": "downloadonly", "weight": 300, "confirmationRequired": true}),
                [json!(set.id), json!("downloadonly"), json!(300), json!(null)],
            ),
        ] {
            let answer = server.post(&auto, sent.clone()).await.expect(200).scrubbed();
            assert_eq!(kept(&answer), expected, "{sent}");
            let links = json!({
                "self": {"href": format!("{{base}}{this}")},
                "autoAssignDS": {"href": format!("{{base}}{auto}")},
            });
            assert_eq!(answer["_links"], links);
        }
        let shown = server.get(&this).await.expect(200).scrubbed();
        let search = "{base}/rest/v1/distributionsets?q=name%3D%3Dfw%3Bversion%3D%3D1&offset=0&limit=50";
        assert_eq!(shown["_links"]["DS"]["href"], search);
        let found = server.get(&auto).await.expect(200);
        assert_eq!((found.id(), found.json()["locked"].clone()), (set.id, json!(true)));
        assert_eq!(found.json(), server.get(&format!("/rest/v1/distributionsets/{}", set.id)).await.json());
        let statistics = format!("/rest/v1/distributionsets/{}/statistics/autoassignments", set.id);
        assert_eq!(server.get(&statistics).await.expect(200).json(), json!({"totalAutoAssignments": 1}));

        server.configure("user.confirmation.flow.enabled", true).await;
        assert_eq!(server.get(&this).await.json()["confirmationRequired"], true);
        let by_default = server.post(&auto, json!({"id": set.id})).await.expect(200).json();
        assert_eq!(by_default["confirmationRequired"], true);
        let refused = server.post(&auto, json!({"id": set.id, "confirmationRequired": false})).await.expect(200).json();
        assert_eq!(refused["confirmationRequired"], false);

        server.delete(&auto).await.expect_empty(204);
        server.delete(&auto).await.expect_empty(204);
        assert_eq!(kept(&server.get(&this).await.expect(200).json()), nothing);
        assert_eq!(server.get(&statistics).await.expect(200).json(), json!({}));
        server.post(&auto, json!({"id": set.id})).await.expect(200);
        assert_eq!(kept(&server.post(&auto, json!({})).await.expect(200).json()), nothing, "no set is none");
    })
    .await;
}

#[tokio::test]
async fn what_a_filter_can_not_assign_is_refused() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        let id = server.post(FILTERS, json!({"name": "all", "query": "name==*"})).await.expect(201).id();
        let auto = format!("{FILTERS}/{id}/autoAssignDS");
        let body = json!([{"name": "hollow", "version": "1", "type": "os"}]);
        let hollow = server.post("/rest/v1/distributionsets", body).await.expect(201).id();
        let invalid = server.set("invalid", &[]).await.id;
        let path = format!("/rest/v1/distributionsets/{invalid}/invalidate");
        server.post(&path, json!({"actionCancelationType": "none"})).await.expect_empty(204);
        let deleted = server.set("deleted", &[]).await;
        server.target("d1").await;
        server.assign("d1", deleted).await;
        server.delete(&format!("/rest/v1/distributionsets/{}", deleted.id)).await.expect_empty(204);
        for (sent, status, key) in [
            (json!({"id": 4711}), 404, NOT_FOUND),
            (json!({"id": hollow}), 400, "hawkbit.server.error.distributionset.incomplete"),
            (json!({"id": invalid}), 400, "hawkbit.server.error.distributionset.invalid"),
            (json!({"id": deleted.id}), 404, "hawkbit.server.error.deleted"),
            (json!({"id": set.id, "type": "timeforced"}), 400, "hawkbit.server.error.repo.invalidAutoAssignActionType"),
            (json!({"id": set.id, "type": "hard"}), 400, UNREADABLE),
            (json!({"id": set.id, "weight": 1001}), 400, CONSTRAINT),
            (json!({"id": set.id, "weight": -1}), 400, CONSTRAINT),
        ] {
            server.post(&auto, sent).await.expect_error(status, key);
        }
        server.post(&format!("{FILTERS}/4711/autoAssignDS"), json!({"id": 4711})).await.expect_error(404, NOT_FOUND);
        server.get(&format!("{FILTERS}/4711/autoAssignDS")).await.expect_error(404, NOT_FOUND);
        server.delete(&format!("{FILTERS}/4711/autoAssignDS")).await.expect_error(404, NOT_FOUND);
        server.get(&auto).await.expect_empty(204);
        let found = server.get(&format!("/rest/v1/distributionsets/{}", set.id)).await.expect(200).json();
        assert_eq!(found["locked"], false, "a refusal locks nothing");
    })
    .await;
}

#[tokio::test]
async fn a_filter_may_not_match_too_many_targets_without_the_set() {
    // What is assigned meanwhile does not count: here nothing is.
    let settings =
        ["hawkbit.server.security.dos.maxTargetsPerAutoAssignment=2", "hawkbit.autoassign.scheduler.enabled=false"];
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let server = Server::start_with(engine, &settings).await;
        let quota = "hawkbit.server.error.quota.tooManyEntries";
        let set = server.set("fw", &[]).await;
        for id in ["x1", "x2", "x3", "y1"] {
            server.target(id).await;
        }
        let create = async |name: &str, query: &str| {
            let id = server.post(FILTERS, json!({"name": name, "query": query})).await.expect(201).id();
            format!("{FILTERS}/{id}")
        };
        let (x, y) = (create("x", "name==x*").await, create("y", "name==y*").await);
        let body = json!({"id": set.id});
        server.post(&format!("{x}/autoAssignDS"), body.clone()).await.expect_error(429, quota);
        server.post(&format!("{y}/autoAssignDS"), body.clone()).await.expect(200);
        let wider = json!({"query": "name==*"});
        server.put(&y, wider.clone()).await.expect_error(429, quota);
        assert_eq!(server.get(&y).await.expect(200).json()["query"], "name==y*");
        let action = server.assign("x1", set).await;
        server.delete(&format!("/rest/v1/targets/x1/actions/{action}")).await.expect_empty(204);
        server.post(&format!("{x}/autoAssignDS"), body).await.expect(200);
        server.put(&y, wider.clone()).await.expect_error(429, quota);
        server.assign("x2", set).await;
        server.put(&y, wider).await.expect(200);
        server.target("x4").await;
        server.put(&y, json!({"name": "still y", "query": "name==*"})).await.expect(200);
    }
}

#[tokio::test]
async fn a_set_that_goes_leaves_its_filters() {
    on_each_engine(async |server: Server| {
        for (name, ends) in [("deleted", false), ("invalidated", true)] {
            let set = server.set(name, &[]).await;
            let id = server.post(FILTERS, json!({"name": name, "query": "name==*"})).await.expect(201).id();
            let this = format!("{FILTERS}/{id}");
            server.post(&format!("{this}/autoAssignDS"), json!({"id": set.id})).await.expect(200);
            let before = server.get(&this).await.expect(200).json();
            let path = format!("/rest/v1/distributionsets/{}", set.id);
            match ends {
                false => server.delete(&path).await,
                true => server.post(&format!("{path}/invalidate"), json!({"actionCancelationType": "none"})).await,
            }
            .expect_empty(204);
            let after = server.get(&this).await.expect(200).json();
            assert_eq!(after["autoAssignDistributionSet"], json!(null), "{name}");
            assert_eq!(after["lastModifiedAt"], before["lastModifiedAt"], "{name}: it was not edited");
            server.get(&format!("{this}/autoAssignDS")).await.expect_empty(204);
        }
    })
    .await;
}

#[tokio::test]
async fn filters_need_their_permissions_and_stay_in_their_tenant() {
    let users = [
        ("viewer", "permissions=READ_TARGET"),
        ("updater", "permissions=READ_TARGET,UPDATE_TARGET"),
        ("assigner", "permissions=READ_TARGET,UPDATE_TARGET,READ_DISTRIBUTION_SET"),
        ("other", "roles=TENANT_ADMIN\ntenant=OTHER"),
    ];
    for_each_engine(&users, async |server| {
        let forbidden = "hawkbit.server.error.insufficientPermission";
        let set = server.set("fw", &[]).await;
        let id = server.post(FILTERS, json!({"name": "all", "query": "name==*"})).await.expect(201).id();
        let this = format!("{FILTERS}/{id}");
        let auto = format!("{this}/autoAssignDS");
        let of_set = format!("/rest/v1/distributionsets/{}/autoAssignTargetFilters", set.id);
        let ask = async |user: &str, method: Method, path: &str, body: Option<Value>| {
            server.json_as(&basic(user, "x"), method, path, body).await
        };
        let (filter, assign) = (json!({"name": "n", "query": "name==*"}), json!({"id": set.id}));
        ask("viewer", Method::GET, &this, None).await.expect(200);
        for (user, method, path, body) in [
            ("viewer", Method::POST, FILTERS, Some(filter.clone())),
            ("viewer", Method::PUT, &this, Some(filter.clone())),
            ("viewer", Method::DELETE, &this, None),
            ("viewer", Method::POST, &auto, Some(assign.clone())),
            ("viewer", Method::DELETE, &auto, None),
            ("viewer", Method::GET, &of_set, None),
            ("updater", Method::POST, FILTERS, Some(filter.clone())),
            ("updater", Method::POST, &auto, Some(assign.clone())),
            // The set would have to be locked.
            ("assigner", Method::POST, &auto, Some(assign.clone())),
        ] {
            ask(user, method, path, body).await.expect_error(403, forbidden);
        }
        server.put(&format!("/rest/v1/distributionsets/{}", set.id), json!({"locked": true})).await.expect(200);
        ask("assigner", Method::POST, &auto, Some(assign.clone())).await.expect(200);
        ask("updater", Method::PUT, &this, Some(json!({"name": "renamed"}))).await.expect(200);
        ask("updater", Method::PUT, &this, Some(json!({"query": "name==y"}))).await.expect_error(403, forbidden);

        for (method, path, body) in [
            (Method::GET, this.as_str(), None),
            (Method::PUT, &this, Some(json!({"name": "x"}))),
            (Method::DELETE, &this, None),
            (Method::GET, &auto, None),
            (Method::POST, &auto, Some(assign.clone())),
            (Method::DELETE, &auto, None),
            (Method::GET, &of_set, None),
        ] {
            ask("other", method, path, body).await.expect_error(404, NOT_FOUND);
        }
        let theirs = ask("other", Method::GET, FILTERS, None).await.expect(200).json();
        assert_eq!(theirs, json!({"content": [], "total": 0, "size": 0}));
        let own = ask("other", Method::POST, FILTERS, Some(json!({"name": "renamed", "query": "name==*"}))).await;
        let own = format!("{FILTERS}/{}/autoAssignDS", own.expect(201).id());
        ask("other", Method::POST, &own, Some(assign)).await.expect_error(404, NOT_FOUND);
        assert_eq!(server.get(&this).await.expect(200).json()["autoAssignDistributionSet"], set.id);
    })
    .await;
}

#[tokio::test]
async fn a_name_loses_the_blanks_around_it_and_a_query_only_in_a_new_filter() {
    on_each_engine(async |server: Server| {
        let body = json!({"name": " f ", "query": " name==a "});
        let created = server.post("/rest/v1/targetfilters", body).await.expect(201).json();
        assert_eq!((&created["name"], &created["query"]), (&json!("f"), &json!("name==a")));
        let path = format!("/rest/v1/targetfilters/{}", created["id"]);
        let before = server.get(&path).await.expect(200).json();
        server.put(&path, json!({"name": "f ", "query": "name==a"})).await.expect(200);
        assert_eq!(server.get(&path).await.expect(200).json(), before);
        let changed = server.put(&path, json!({"query": " name==a"})).await.expect(200).json();
        assert_eq!(changed["query"], " name==a");
        let key = "hawkbit.server.error.repo.constraintViolation";
        server.put(&path, json!({"name": " "})).await.expect_error(400, key);
        let blank = json!({"name": " ", "query": "name==a"});
        server.post("/rest/v1/targetfilters", blank).await.expect_error(400, key);
    })
    .await;
}
