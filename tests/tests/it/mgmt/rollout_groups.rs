//! `/rest/v1/rollouts/{rolloutId}/deploygroups`: how targets are spread over groups, and what is told of both.

use serde_json::{Value, json};

use super::rollouts::{CONSTRAINT, NOT_FOUND, ROLLOUTS, fleet, merged, rollout, until, without_scheduler};
use crate::harness::{Server, on_each_engine};

/// The names of the groups of a rollout with their numbers of targets.
async fn sizes(server: &Server, id: i64) -> String {
    let list = server.get(&format!("{ROLLOUTS}/{id}/deploygroups?limit=500")).await.expect(200).json();
    let groups = list["content"].as_array().unwrap().iter();
    let sizes: Vec<_> = groups.map(|g| format!("{} {}", g["name"].as_str().unwrap(), g["totalTargets"])).collect();
    sizes.join(", ")
}

#[tokio::test]
async fn targets_are_spread_as_the_percentages_say() {
    on_each_engine(async |server: Server| {
        let set = fleet(&server, 10).await;
        let group = |name: &str, filter: Value, percentage: f64| {
            json!({"name": name, "targetFilterQuery": filter, "targetPercentage": percentage})
        };
        let all = Value::Null;
        for (name, layout, expected) in [
            ("thirds", json!({"amountGroups": 3}), "group-1 3, group-2 3, group-3 4"),
            ("fours", json!({"amountGroups": 4}), "group-1 3, group-2 2, group-3 3, group-4 2"),
            (
                "elevenths",
                json!({"amountGroups": 11}),
                "group-1 1, group-2 1, group-3 1, group-4 1, group-5 1, group-6 1, group-7 1, group-8 1, group-9 1, \
                 group-10 0, group-11 1",
            ),
            (
                "shares",
                json!({"groups": [
                    group("a", all.clone(), 10.0), group("b", all.clone(), 30.0), group("c", all.clone(), 100.0),
                ]}),
                "a 1, b 3, c 6",
            ),
            (
                "canary",
                json!({"groups": [
                    group("a", json!("id==d-0"), 100.0), group("b", all.clone(), 50.0), group("c", all.clone(), 50.0),
                ]}),
                "a 1, b 5, c 4",
            ),
            (
                "twice",
                json!({"groups": [
                    group("a", json!("id==d-0,id==d-1"), 50.0), group("b", json!("id==d-0,id==d-1"), 50.0),
                    group("c", all.clone(), 100.0),
                ]}),
                "a 1, b 1, c 8",
            ),
            (
                "left over",
                json!({"groups": [group("a", json!("id==d-0,id==d-1"), 50.0), group("b", all.clone(), 100.0)]}),
                "a 1, b 9",
            ),
        ] {
            let id = server.post(ROLLOUTS, rollout(name, set, layout)).await.expect(201).id();
            assert_eq!(until(&server, id, "ready").await["totalTargets"], 10, "{name}");
            assert_eq!(sizes(&server, id).await, expected, "{name}");
        }
        for layout in [
            json!([group("a", all.clone(), 90.0)]),
            json!([group("a", all.clone(), 60.0), group("b", all.clone(), 30.0)]),
            json!([group("a", json!("id==d-0"), 100.0)]),
            json!([group("a", json!("id==d-0"), 100.0), group("b", all.clone(), 50.0)]),
        ] {
            let body = rollout("partial", set, json!({"groups": layout}));
            server.post(ROLLOUTS, body).await.expect_error(400, CONSTRAINT);
        }
    })
    .await;
}

#[tokio::test]
async fn explicit_groups_take_from_the_rollout_what_they_do_not_say() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 2).await;
        let body = json!({
            "confirmationRequired": true,
            "successCondition": {"expression": "11"}, "successAction": {"action": "PAUSE", "expression": "p"},
            "errorCondition": {"expression": "22"}, "errorAction": {"expression": "e"},
            "groups": [
                {"name": " plain ", "description": " d ", "targetFilterQuery": " id==d-0 ", "targetPercentage": "100"},
                {
                    "name": "own", "confirmationRequired": false,
                    "successCondition": {}, "errorCondition": {"expression": " 5 "},
                    "successAction": {"action": "PAUSE"}, "errorAction": {"expression": "x"},
                },
            ],
        });
        let id = server.post(ROLLOUTS, rollout("r", set, body)).await.expect(201).id();
        server.configure("user.confirmation.flow.enabled", true).await;
        let this = format!("{ROLLOUTS}/{id}/deploygroups");
        let list = server.get(&format!("{this}?representation=full")).await.expect(200).scrubbed();
        let (plain, own) = (&list["content"][0], &list["content"][1]);
        let of_thresholds = |success: &str, error: &str| {
            json!({
                "successCondition": {"condition": "THRESHOLD", "expression": success},
                "errorCondition": {"condition": "THRESHOLD", "expression": error},
            })
        };
        let common = json!({
            "createdBy": "admin", "createdAt": "#ts", "lastModifiedBy": "admin", "lastModifiedAt": "#ts",
            "dynamic": false, "status": "creating", "totalTargets": 0, "targetPercentage": 100.0,
            "totalTargetsPerStatus": {
                "running": 0, "notstarted": 0, "scheduled": 0, "cancelled": 0, "finished": 0, "error": 0,
            },
        });
        let link = |group: &Value| json!({"self": {"href": format!("{{base}}{this}/{}", group["id"])}});
        let more = json!({
            "name": "plain", "description": "d", "id": plain["id"], "targetFilterQuery": "id==d-0",
            "confirmationRequired": true, "_links": link(plain),
            // Not the rollout's action.
            "successAction": {"action": "NEXTGROUP", "expression": "p"},
            "errorAction": {"action": "PAUSE", "expression": "e"},
        });
        assert_eq!(*plain, merged(merged(common.clone(), of_thresholds("11", "22")), more));
        let more = json!({
            "name": "own", "id": own["id"], "targetFilterQuery": "", "confirmationRequired": false, "_links": link(own),
            "successAction": {"action": "PAUSE", "expression": "p"},
            "errorAction": {"action": "PAUSE", "expression": "x"},
        });
        assert_eq!(*own, merged(merged(common, of_thresholds("100", "5")), more));
        let one = server.get(&format!("{this}/{}", own["id"])).await.expect(200).scrubbed();
        assert_eq!(one, *own);
    })
    .await;
}

#[tokio::test]
async fn groups_are_paged_sorted_and_searched() {
    without_scheduler(&[], async |server| {
        let set = fleet(&server, 4).await;
        let id = server.post(ROLLOUTS, rollout("r", set, json!({"amountGroups": 3}))).await.expect(201).id();
        let path = format!("{ROLLOUTS}/{id}/deploygroups");
        let names = async |query: &str| {
            let list = server.get(&format!("{path}?{query}")).await.expect(200).json();
            let groups = list["content"].as_array().unwrap().iter();
            let names = groups.map(|g| g["name"].as_str().unwrap().replace("group-", ""));
            format!("{} of {}", names.collect::<String>(), list["total"])
        };
        for (query, expected) in [
            ("", "123 of 3"),
            ("sort=name:DESC", "321 of 3"),
            ("sort=status:ASC,id:DESC", "321 of 3"),
            ("offset=1&limit=1", "2 of 3"),
            ("offset=9", " of 3"),
            ("offset=9&representation=full", " of 0"),
            ("q=name==group-2", "2 of 1"),
            ("q=description!=group-2&representation=full", "13 of 2"),
        ] {
            assert_eq!(names(query).await, expected, "{query}");
        }
        let field = "hawkbit.server.error.rest.param.rsqlInvalidField";
        server.get(&format!("{path}?q=status==ready")).await.expect_error(400, field);
        let sort = "hawkbit.server.error.rest.param.invalidField";
        server.get(&format!("{path}?sort=percentage:ASC")).await.expect_error(400, sort);
        server.get(&format!("{ROLLOUTS}/4711/deploygroups")).await.expect_error(404, NOT_FOUND);
        let nobody = server.get(&format!("{path}/4711")).await.expect_error(404, NOT_FOUND).json();
        assert_eq!(nobody["info"], json!({"type": "RolloutGroup", "entityId": 4711}));

        let other = server.post(ROLLOUTS, rollout("other", set, json!({}))).await.expect(201).id();
        let group = server.get(&path).await.expect(200).json()["content"][0]["id"].clone();
        server.get(&format!("{ROLLOUTS}/{other}/deploygroups/{group}")).await.expect_error(404, NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn targets_of_a_group_are_its_members_and_then_those_of_its_actions() {
    on_each_engine(async |server: Server| {
        let set = fleet(&server, 4).await;
        let body = json!({"amountGroups": 2, "dynamic": true});
        let id = server.post(ROLLOUTS, rollout("r", set, body)).await.expect(201).id();
        until(&server, id, "ready").await;
        let groups = server.get(&format!("{ROLLOUTS}/{id}/deploygroups")).await.expect(200).json();
        let group = |n: usize| groups["content"][n]["id"].as_i64().unwrap();
        let of = async |group: i64, query: &str| {
            let path = format!("{ROLLOUTS}/{id}/deploygroups/{group}/targets?{query}");
            let list = server.get(&path).await.expect(200).json();
            let targets = list["content"].as_array().unwrap().iter();
            let names = targets.map(|t| t["controllerId"].as_str().unwrap().replace("d-", ""));
            format!("{} of {}", names.collect::<String>(), list["total"])
        };
        let check = async |all: &str| {
            assert_eq!(of(group(0), "").await, all);
            assert_eq!(of(group(0), "sort=name:DESC&limit=1").await, "1 of 2");
            assert_eq!(of(group(0), "q=controllerid==d-1").await, "1 of 1");
            assert_eq!(of(group(1), "q=id==d-*").await, "23 of 2");
            assert_eq!(of(group(1), "q=id==d-1").await, " of 0");
        };
        check("01 of 2").await;
        let path = format!("{ROLLOUTS}/{id}/deploygroups/{}/targets", group(0));
        let shown = server.get(&path).await.expect(200).json()["content"][0].clone();
        assert_eq!(shown, server.get("/rest/v1/targets").await.expect(200).json()["content"][0]);
        server.post(&format!("{ROLLOUTS}/{id}/start"), json!(null)).await.expect_empty(204);
        until(&server, id, "running").await;
        check("01 of 2").await;
        let sort = "hawkbit.server.error.rest.param.invalidField";
        server.get(&format!("{path}?sort=controllerid:ASC")).await.expect_error(400, sort);
        let nobody = format!("{ROLLOUTS}/{id}/deploygroups/4711/targets");
        server.get(&nobody).await.expect_error(404, NOT_FOUND);
        let other = format!("{ROLLOUTS}/4711/deploygroups/{}/targets", group(0));
        server.get(&other).await.expect_error(404, NOT_FOUND);
        // The group need not be the rollout's.
        let second = server.post(ROLLOUTS, rollout("s", set, json!({}))).await.expect(201).id();
        let through = format!("{ROLLOUTS}/{second}/deploygroups/{}/targets", group(0));
        assert_eq!(server.get(&through).await.expect(200).json()["total"], 2);
    })
    .await;
}

#[tokio::test]
async fn counters_tell_what_became_of_the_targets() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let set = fleet(&server, 4).await;
        let body = json!({"amountGroups": 2, "successCondition": {"expression": "100"}});
        let id = server.post(ROLLOUTS, rollout("r", set, body)).await.expect(201).id();
        until(&server, id, "ready").await;
        server.post(&format!("{ROLLOUTS}/{id}/start"), json!(null)).await.expect_empty(204);
        until(&server, id, "running").await;
        let device = server.device("d-0");
        let action = device.offered().await.unwrap();
        device.feedback(action, "closed", "success").await.expect(200);
        let counters = |of: &Value| {
            let of = &of["totalTargetsPerStatus"];
            json!(["running", "notstarted", "scheduled", "cancelled", "finished", "error"].map(|s| of[s].clone()))
        };
        let this = format!("{ROLLOUTS}/{id}");
        assert_eq!(counters(&server.get(&this).await.expect(200).json()), json!([1, 0, 2, 0, 1, 0]));
        let list = server.get(&format!("{ROLLOUTS}?representation=full")).await.expect(200).json();
        assert_eq!(counters(&list["content"][0]), json!([1, 0, 2, 0, 1, 0]));
        let groups = server.get(&format!("{this}/deploygroups?representation=full")).await.expect(200).json();
        assert_eq!(counters(&groups["content"][0]), json!([1, 0, 0, 0, 1, 0]));
        assert_eq!(counters(&groups["content"][1]), json!([0, 0, 2, 0, 0, 0]));
        let put = server.put(&this, json!({"description": "x"})).await.expect(200).json();
        assert_eq!(counters(&put), json!([0, 4, 0, 0, 0, 0]));

        server.delete(&this).await.expect_empty(204);
        let deleted = until(&server, id, "deleted").await;
        assert_eq!((&deleted["deleted"], counters(&deleted)), (&json!(true), json!([0, 2, 0, 1, 1, 0])));
        assert_eq!(server.get(ROLLOUTS).await.expect(200).json()["total"], 0);
        server.get(&format!("{this}/deploygroups")).await.expect(200);
        let again = server.post(ROLLOUTS, rollout("r", set, json!({}))).await;
        again.expect_error(409, "hawkbit.server.error.repo.entityAlreadyExists");
    })
    .await;
}
