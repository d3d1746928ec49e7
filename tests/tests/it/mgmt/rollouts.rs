//! `/rest/v1/rollouts`: creating, reading and changing them. What the scheduler makes of them is in other files.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Server, Set, basic, eventually, on_each_engine},
    users::for_each_engine,
};

pub const ROLLOUTS: &str = "/rest/v1/rollouts";
pub const CONSTRAINT: &str = "hawkbit.server.error.repo.constraintViolation";
pub const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const SYNTAX: &str = "hawkbit.server.error.rest.param.rsqlParamSyntax";
const FIELD: &str = "hawkbit.server.error.rest.param.rsqlInvalidField";
const FORBIDDEN: &str = "hawkbit.server.error.insufficientPermission";
const EXISTS: &str = "hawkbit.server.error.repo.entityAlreadyExists";
const TOO_MANY: &str = "hawkbit.server.error.quota.tooManyEntries";

/// Runs a test on servers that leave rollouts as they are created.
pub async fn without_scheduler(settings: &[&str], test: impl AsyncFn(Server)) {
    let settings: Vec<&str> = settings.iter().copied().chain(["hawkbit.rollout.scheduler.enabled=false"]).collect();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Server::start_with(engine, &settings).await).await;
    }
}

/// Targets `d-0`, `d-1`, …, and a set for them.
pub async fn fleet(server: &Server, targets: usize) -> Set {
    let targets: Vec<Value> = (0..targets).map(|n| json!({"controllerId": format!("d-{n}")})).collect();
    server.post("/rest/v1/targets", json!(targets)).await.expect(201);
    server.set("fw", &[]).await
}

/// What is sent to create a rollout of all of the fleet, with `more`.
pub fn rollout(name: &str, set: Set, more: Value) -> Value {
    merged(json!({"name": name, "targetFilterQuery": "id==d-*", "distributionSetId": set.id}), more)
}

/// An object with the members of another, which win.
pub fn merged(mut object: Value, more: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    object
}

pub async fn until(server: &Server, id: i64, status: &str) -> Value {
    let path = format!("{ROLLOUTS}/{id}");
    eventually(std::time::Duration::from_secs(30), &format!("rollout {id} is {status}"), async || {
        let found = server.get(&path).await.expect(200).json();
        (found["status"] == status).then_some(found)
    })
    .await
}

#[tokio::test]
async fn a_rollout_is_created_with_all_that_it_says() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 3).await;
        let body = json!({
            "name": " wave ", "description": " d\t", "targetFilterQuery": " id==d-* ", "distributionSetId": set.id,
            "amountGroups": "3", "type": "timeforced", "forcetime": 1_999_999_999_999_i64, "weight": 7,
            "startAt": 1_999_999_999_998_i64, "confirmationRequired": true, "unknown": {},
            "successCondition": {"expression": 30}, "successAction": {"action": "PAUSE", "expression": "x"},
            "errorCondition": {"condition": "THRESHOLD"}, "errorAction": {"action": "PAUSE"},
        });
        let created = server.post(ROLLOUTS, body).await.expect(201);
        let id = created.id();
        let this = format!("{{base}}{ROLLOUTS}/{id}");
        let compact = json!({
            "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
            "name": "wave", "description": "d", "id": id, "targetFilterQuery": "id==d-*",
            "distributionSetId": set.id, "status": "creating", "totalTargets": 3, "forcetime": "#ts",
            "deleted": false, "type": "timeforced", "weight": 7, "dynamic": false,
            "_links": {"self": {"href": this}},
        });
        let full = json!({
            "totalGroups": 3, "startAt": "#ts",
            "totalTargetsPerStatus": {
                "running": 0, "notstarted": 3, "scheduled": 0, "cancelled": 0, "finished": 0, "error": 0,
            },
            "_links": {
                "start": {"href": format!("{this}/start")}, "pause": {"href": format!("{this}/pause")},
                "resume": {"href": format!("{this}/resume")},
                "triggerNextGroup": {"href": format!("{this}/triggerNextGroup")},
                "approve": {"href": format!("{this}/approve")}, "deny": {"href": format!("{this}/deny")},
                "groups": {"href": format!("{this}/deploygroups?offset=0&limit=50")},
                "distributionset": {"href": format!("{{base}}/rest/v1/distributionsets/{}", set.id), "name": "fw:1"},
                "self": {"href": this},
            },
        });
        let full = merged(compact.clone(), full);
        assert_eq!(created.scrubbed(), full);
        assert_eq!(created.json()["forcetime"], 1_999_999_999_999_i64);
        assert_eq!(created.json()["startAt"], 1_999_999_999_998_i64);
        assert_eq!(server.get(&format!("{ROLLOUTS}/{id}")).await.expect(200).scrubbed(), full);
        let list = async |query: &str| server.get(&format!("{ROLLOUTS}{query}")).await.expect(200).scrubbed();
        assert_eq!(list("").await, json!({"content": [compact], "total": 1, "size": 1}));
        assert_eq!(list("?representation=FULL").await, json!({"content": [full], "total": 1, "size": 1}));
        let groups = server.get(&format!("{ROLLOUTS}/{id}/deploygroups")).await.expect(200).scrubbed();
        assert_eq!(groups["total"], 3);
        let last = &groups["content"][2];
        let expected = json!({
            "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
            "name": "group-3", "description": "group-3", "id": last["id"], "dynamic": false, "status": "creating",
            "totalTargets": 0, "targetFilterQuery": "", "targetPercentage": 33.333332,
            "successCondition": {"condition": "THRESHOLD", "expression": "30"},
            "successAction": {"action": "PAUSE", "expression": "x"},
            "errorCondition": {"condition": "THRESHOLD", "expression": "100"},
            "errorAction": {"action": "PAUSE"},
            "_links": {"self": {"href": format!("{this}/deploygroups/{}", last["id"])}},
        });
        assert_eq!(*last, expected);
        let locked = server.get(&format!("/rest/v1/distributionsets/{}", set.id)).await.expect(200).json();
        assert_eq!(locked["locked"], true);
    })
    .await;
}

#[tokio::test]
async fn what_a_rollout_does_not_say_is_as_usual() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 2).await;
        let created = server.post(ROLLOUTS, rollout("plain", set, json!({}))).await.expect(201).json();
        let members = ["type", "weight", "forcetime", "totalGroups", "dynamic", "startAt", "description"];
        let found: Vec<_> = members.iter().map(|name| created.get(name).cloned().unwrap_or(Value::Null)).collect();
        assert_eq!(json!(found), json!(["forced", 1000, 0, 1, false, null, null]));
        server.configure("user.confirmation.flow.enabled", true).await;
        for (name, confirm, shown) in [("flow", json!(null), true), ("quick", json!(false), false)] {
            let body = rollout(name, set, json!({"confirmationRequired": confirm}));
            let id = server.post(ROLLOUTS, body).await.expect(201).id();
            let group = &server.get(&format!("{ROLLOUTS}/{id}/deploygroups")).await.expect(200).json()["content"][0];
            assert_eq!(group["confirmationRequired"], shown, "{name}");
            assert_eq!(group["targetPercentage"], 100.0);
            let threshold = json!({"condition": "THRESHOLD", "expression": "50"});
            assert_eq!((&group["successCondition"], &group["errorCondition"]), (&threshold, &threshold));
            assert_eq!(group["successAction"], json!({"action": "NEXTGROUP", "expression": ""}));
            assert_eq!(group["errorAction"], json!({"action": "PAUSE", "expression": ""}));
        }
    })
    .await;
}

#[tokio::test]
async fn a_dynamic_rollout_may_say_what_its_groups_are_like() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 2).await;
        let template = json!({"nameSuffix": "-late", "targetCount": 20});
        for (amount, total, groups) in [(1, 2, 2), (0, 0, 1)] {
            let more = json!({"amountGroups": amount, "dynamic": true, "dynamicGroupTemplate": template});
            let body = rollout(&format!("by {amount}"), set, more);
            let created = server.post(ROLLOUTS, body).await.expect(201).json();
            let told = (&created["totalTargets"], &created["totalGroups"], &created["dynamic"]);
            assert_eq!(told, (&json!(total), &json!(groups), &json!(true)));
            let list = server.get(&format!("{ROLLOUTS}/{}/deploygroups", created["id"])).await.expect(200).json();
            let last = list["content"].as_array().unwrap().last().unwrap();
            assert_eq!(last["name"], format!("group-{groups}-late"));
            let told = (&last["status"], &last["dynamic"], &last["targetPercentage"]);
            assert_eq!(told, (&json!("ready"), &json!(true), &json!(20.0)));
        }
        let bare = rollout("bare", set, json!({"dynamic": true}));
        let created = server.post(ROLLOUTS, bare).await.expect(201).json();
        assert_eq!((&created["dynamic"], &created["totalGroups"]), (&json!(true), &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn wrong_rollouts_are_refused() {
    let quota = "hawkbit.server.security.dos.maxRolloutGroupsPerRollout=4";
    let size = "hawkbit.server.security.dos.maxTargetsPerRolloutGroup=2";
    without_scheduler(&[quota, size], async |server| {
        let set = fleet(&server, 6).await;
        let incomplete = json!([{"name": "empty", "version": "1", "type": "os"}]);
        let incomplete = server.post("/rest/v1/distributionsets", incomplete).await.expect(201).id();
        server.post(ROLLOUTS, rollout("first", set, json!({"amountGroups": 3}))).await.expect(201);
        let incomplete_set = "hawkbit.server.error.distributionset.incomplete";
        let template = json!({"targetCount": 1});
        let group = |more: Value| json!({"groups": [merged(json!({"name": "g", "targetPercentage": 30}), more)]});
        for (more, status, key) in [
            (json!({"targetFilterQuery": null}), 400, SYNTAX),
            (json!({"targetFilterQuery": ""}), 400, SYNTAX),
            (json!({"targetFilterQuery": "id=="}), 400, SYNTAX),
            (json!({"targetFilterQuery": "what==1"}), 400, FIELD),
            (json!({"targetFilterQuery": "failedrollout==1"}), 400, FIELD),
            (json!({"targetFilterQuery": format!("id=={}", "a".repeat(1021))}), 400, CONSTRAINT),
            (json!({"targetFilterQuery": "id==nobody"}), 400, CONSTRAINT),
            (json!({"distributionSetId": null}), 404, NOT_FOUND),
            (json!({"distributionSetId": 4711}), 404, NOT_FOUND),
            (json!({"distributionSetId": incomplete}), 400, incomplete_set),
            (json!({"name": null}), 400, CONSTRAINT),
            (json!({"name": " "}), 400, CONSTRAINT),
            (json!({"name": "n".repeat(129)}), 400, CONSTRAINT),
            (json!({"name": "<b>"}), 400, CONSTRAINT),
            (json!({"name": "first"}), 409, EXISTS),
            (json!({"description": "d".repeat(513)}), 400, CONSTRAINT),
            (json!({"weight": -1}), 400, CONSTRAINT),
            (json!({"weight": 1001}), 400, CONSTRAINT),
            (json!({"type": "maybe"}), 400, UNREADABLE),
            (json!({"amountGroups": -1}), 400, CONSTRAINT),
            (json!({"amountGroups": 0}), 400, CONSTRAINT),
            (json!({"amountGroups": 0, "dynamic": true}), 400, CONSTRAINT),
            (json!({"amountGroups": 0, "dynamicGroupTemplate": template}), 400, CONSTRAINT),
            (json!({"amountGroups": 5}), 429, TOO_MANY),
            (json!({"amountGroups": 2}), 429, TOO_MANY),
            (json!({"dynamicGroupTemplate": template}), 400, CONSTRAINT),
            (json!({"dynamic": true, "dynamicGroupTemplate": {}}), 400, UNREADABLE),
            (
                json!({"dynamic": true, "dynamicGroupTemplate": {"targetCount": 1, "nameSuffix": "s".repeat(122)}}),
                400,
                CONSTRAINT,
            ),
            (json!({"successCondition": {"condition": "MOOD"}}), 400, UNREADABLE),
            (json!({"successCondition": {"condition": null}}), 400, UNREADABLE),
            (json!({"successCondition": {"expression": null}}), 400, CONSTRAINT),
            (json!({"successCondition": {"expression": "1".repeat(513)}}), 400, CONSTRAINT),
            (json!({"errorCondition": {"expression": "1".repeat(513)}}), 400, CONSTRAINT),
            (json!({"errorCondition": {"condition": null}}), 400, UNREADABLE),
            (json!({"successAction": {"action": null}}), 400, UNREADABLE),
            (json!({"successAction": {"action": "pause"}}), 400, UNREADABLE),
            (json!({"errorAction": {"action": "NEXTGROUP"}}), 400, UNREADABLE),
            (json!({"errorAction": {"action": null}}), 400, UNREADABLE),
            (json!({"amountGroups": null, "groups": []}), 400, CONSTRAINT),
            (merged(group(json!({})), json!({"amountGroups": 3})), 400, CONSTRAINT),
            (merged(group(json!({})), json!({"dynamic": true})), 400, CONSTRAINT),
            (group(json!({"name": null})), 400, CONSTRAINT),
            (group(json!({"name": "n".repeat(129)})), 400, CONSTRAINT),
            (group(json!({"description": "<i>"})), 400, CONSTRAINT),
            (group(json!({"targetFilterQuery": ""})), 400, CONSTRAINT),
            (group(json!({"targetFilterQuery": "what==1"})), 400, FIELD),
            (group(json!({"targetPercentage": 0.5})), 400, CONSTRAINT),
            (group(json!({"targetPercentage": 100.5})), 400, CONSTRAINT),
            (group(json!({"targetPercentage": 50})), 400, CONSTRAINT),
            (json!({"groups": [{"name": "a", "targetPercentage": 50}, {"name": "b"}]}), 429, TOO_MANY),
            (json!({"groups": [{"name": "a", "targetFilterQuery": "id==d-0"}, {"name": "a"}]}), 429, TOO_MANY),
            (
                json!({"groups": [
                    {"name": "a", "targetPercentage": 30}, {"name": "a", "targetPercentage": 30}, {"name": "c"},
                ]}),
                409,
                EXISTS,
            ),
            (
                json!({"groups": [{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}, {"name": "e"}]}),
                429,
                TOO_MANY,
            ),
        ] {
            let base = if more.get("groups").is_some() { json!({}) } else { json!({"amountGroups": 3}) };
            let body = rollout("new", set, merged(base, more));
            let answer = server.post(ROLLOUTS, body.clone()).await;
            assert_eq!(answer.status, status, "{body} answered {}", String::from_utf8_lossy(&answer.bytes));
            answer.expect_error(status, key);
        }
        server.post(ROLLOUTS, json!([])).await.expect_error(400, UNREADABLE);
        assert_eq!(server.get(ROLLOUTS).await.expect(200).json()["total"], 1);
        server.get(&format!("{ROLLOUTS}/x")).await.expect_error(400, UNREADABLE);
        let nobody = server.get(&format!("{ROLLOUTS}/4711")).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(nobody["info"], json!({"type": "Rollout", "entityId": 4711}));
    })
    .await;
}

#[tokio::test]
async fn targets_of_other_types_are_not_counted() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 2).await;
        let kind = server.post("/rest/v1/targettypes", json!([{"name": "k", "key": "k"}])).await.expect(201).id();
        let other = json!([{"controllerId": "d-other", "targetType": kind}]);
        server.post("/rest/v1/targets", other).await.expect(201);
        let created = server.post(ROLLOUTS, rollout("some", set, json!({}))).await.expect(201).json();
        assert_eq!(created["totalTargets"], 2);
        let only = json!({"targetFilterQuery": "id==d-other"});
        server.post(ROLLOUTS, rollout("none", set, only)).await.expect_error(400, CONSTRAINT);
        // Incompatible targets overlap with nothing.
        let groups = json!({"groups": [
            {"name": "a", "targetFilterQuery": "id==d-0"}, {"name": "b", "targetFilterQuery": "id==d-o*"},
            {"name": "rest"},
        ]});
        server.post(ROLLOUTS, rollout("groups", set, groups)).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn name_and_description_change_and_nothing_else() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 1).await;
        let id = server.post(ROLLOUTS, rollout("a", set, json!({"description": "d"}))).await.expect(201).id();
        server.post(ROLLOUTS, rollout("b", set, json!({}))).await.expect(201);
        let this = format!("{ROLLOUTS}/{id}");
        let before = server.get(&this).await.expect(200).json();
        assert_eq!(server.put(&this, json!({"name": " a", "description": null})).await.expect(200).json(), before);
        assert_eq!(server.get(&this).await.expect(200).json(), before, "nothing has changed");
        let put = server.put(&this, json!({"name": " c ", "status": "running", "weight": 1})).await.expect(200);
        let changed = server.get(&this).await.expect(200).json();
        assert_eq!(put.json(), changed);
        let told = ["name", "description", "status", "weight"].map(|member| changed[member].clone());
        assert_eq!(json!(told), json!(["c", "d", "creating", 1000]));
        for (body, status, key) in [
            (json!({"name": "b"}), 409, EXISTS),
            (json!({"name": ""}), 400, CONSTRAINT),
            (json!({"name": "n".repeat(129)}), 400, CONSTRAINT),
            (json!({"description": "d".repeat(513)}), 400, CONSTRAINT),
            (json!({"name": {}}), 400, UNREADABLE),
        ] {
            server.put(&this, body).await.expect_error(status, key);
        }
        server.put(&format!("{ROLLOUTS}/4711"), json!({"name": "x"})).await.expect_error(404, NOT_FOUND);
        server.delete(&this).await.expect_empty(204);
        let read_only = "hawkbit.server.error.entityReadOnly";
        server.put(&this, json!({"name": "x"})).await.expect_error(403, read_only);
        let renamed = server.post(ROLLOUTS, rollout("c", set, json!({}))).await;
        renamed.expect_error(409, EXISTS);
    })
    .await;
}

#[tokio::test]
async fn lists_are_paged_sorted_and_searched() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 1).await;
        let other = server.set("other", &[]).await;
        for (name, of) in [("b", set), ("c", other), ("a", set)] {
            server.post(ROLLOUTS, rollout(name, of, json!({"description": name.repeat(2)}))).await.expect(201);
        }
        let names = async |query: &str| {
            let list = server.get(&format!("{ROLLOUTS}?{query}")).await.expect(200).json();
            let names = list["content"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap());
            format!("{} of {}", names.collect::<String>(), list["total"])
        };
        for (query, expected) in [
            ("", "bca of 3"),
            ("sort=name:asc", "abc of 3"),
            ("sort=status:ASC,description:DESC", "cba of 3"),
            ("offset=1&limit=1", "c of 3"),
            ("offset=9", " of 3"),
            ("q=name==a,name==b", "ba of 2"),
            ("q=description==CC", "c of 1"),
            ("q=status==creating", "bca of 3"),
            ("q=status==Running&representation=full", " of 0"),
            ("q=distributionset.name==fw;distributionset.version==1", "ba of 2"),
            ("q=distributionset.type==os&sort=name:DESC&limit=2", "cb of 3"),
            ("q=createdby==admin;createdat%3E1", "bca of 3"),
        ] {
            assert_eq!(names(query).await, expected, "{query}");
        }
        for (query, key) in [
            ("sort=name", "hawkbit.server.error.rest.param.sortParamSyntax"),
            ("sort=name:up", "hawkbit.server.error.rest.param.invalidDirection"),
            ("sort=distributionset.name:ASC", "hawkbit.server.error.rest.param.invalidField"),
            ("q=", SYNTAX),
            ("q=status==gone", FIELD),
            ("q=distributionset==fw", FIELD),
        ] {
            server.get(&format!("{ROLLOUTS}?{query}")).await.expect_error(400, key);
        }
    })
    .await;
}

#[tokio::test]
async fn who_starts_by_time_or_locks_needs_the_permission_to() {
    let creator = "permissions=CREATE_ROLLOUT,READ_TARGET,READ_DISTRIBUTION_SET";
    let locker = "permissions=CREATE_ROLLOUT,READ_TARGET,READ_DISTRIBUTION_SET,UPDATE_DISTRIBUTION_SET";
    let starter = "permissions=CREATE_ROLLOUT,READ_TARGET,READ_DISTRIBUTION_SET,HANDLE_ROLLOUT";
    for_each_engine(&[("creator", creator), ("locker", locker), ("starter", starter)], async |server| {
        let set = fleet(&server, 1).await;
        let post = async |user: &str, name: &str, more: Value| {
            server.json_as(&basic(user, "x"), Method::POST, ROLLOUTS, Some(rollout(name, set, more))).await
        };
        post("creator", "a", json!({})).await.expect_error(403, FORBIDDEN);
        post("locker", "a", json!({})).await.expect(201);
        post("creator", "b", json!({})).await.expect(201);
        let timed = json!({"startAt": 1});
        post("creator", "c", timed.clone()).await.expect_error(403, FORBIDDEN);
        post("creator", "c", json!({"startAt": i64::MAX})).await.expect(201);
        post("starter", "d", timed).await.expect(201);
        post("creator", "e", json!({"startAt": 4_000_000_000_000_i64, "groups": [{"name": "g"}]})).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn two_that_create_the_same_rollout_at_once_make_one() {
    on_each_engine(async |server: Server| {
        let set = fleet(&server, 3).await;
        let body = rollout("same", set, json!({"amountGroups": 3}));
        let answers = tokio::join!(server.post(ROLLOUTS, body.clone()), server.post(ROLLOUTS, body));
        let mut statuses = [answers.0.status, answers.1.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        assert_eq!(server.get(ROLLOUTS).await.expect(200).json()["total"], 1);
    })
    .await;
}
