//! `/rest/v1/distributionsets`.

use serde_json::{Value, json};

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn a_set_is_complete_with_all_mandatory_modules() {
    on_each_engine(async |server: Server| {
        server.target("d1").await;
        let create = async |name: &str, kind: &str, modules: Value| {
            let body = json!([{"name": name, "version": "1", "type": kind, "modules": modules}]);
            server.post("/rest/v1/distributionsets", body).await.expect(201).json()[0].clone()
        };
        let empty = create("empty", "os", json!([])).await;
        assert_eq!(empty["complete"], false);
        let body = json!([{"name": "a", "version": "1", "type": "application"}]);
        let app = server.post("/rest/v1/softwaremodules", body).await.expect(201).id();
        let partly = create("partly", "os_app", json!([{"id": app}])).await;
        assert_eq!(partly["complete"], false);
        let os = server.module("os").await;
        let whole = create("whole", "os_app", json!([{"id": app}, {"id": os}])).await;
        assert_eq!(whole["complete"], true);
        let incomplete = "hawkbit.server.error.distributionset.incomplete";
        for set in [&empty, &partly] {
            let assigned = server.post("/rest/v1/targets/d1/assignedDS", json!({"id": set["id"]})).await;
            assigned.expect_error(400, incomplete);
        }
        let unsupported = json!([{"name": "x", "version": "1", "type": "app", "modules": [{"id": os}]}]);
        let key = "hawkbit.server.error.distributionset.modules.unsupported";
        server.post("/rest/v1/distributionsets", unsupported).await.expect_error(400, key);
        assert_eq!(server.update_status("d1").await, "unknown");
    })
    .await;
}

#[tokio::test]
async fn one_set_goes_to_many_targets_and_unknown_ones_are_left_out() {
    on_each_engine(async |server: Server| {
        let targets: Vec<Value> = (0..1500).map(|n| json!({"controllerId": format!("d{n}")})).collect();
        server.post("/rest/v1/targets", json!(targets)).await.expect(201);
        let set = server.set("fw", &[]).await;
        let mut body: Vec<Value> = (0..1500).map(|n| json!({"id": format!("d{n}"), "type": "soft"})).collect();
        body.push(json!({"id": "ghost"}));
        body.push(json!({"id": "d0", "type": "soft"}));
        let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
        let result = server.post(&path, json!(body)).await.expect(200).json();
        let counts = ["assigned", "alreadyAssigned", "total"].map(|name| result[name].as_u64().unwrap());
        assert_eq!(counts, [1500, 0, 1500]);
        assert_eq!(result["assignedActions"].as_array().unwrap().len(), 1500);
        let again = server.post(&path, json!([{"id": "d7"}, {"id": "ghost"}])).await.expect(200).json();
        assert_eq!(again, json!({"alreadyAssigned": 1, "assigned": 0, "assignedActions": [], "total": 1}));
        let assigned = server.get(&format!("{path}?limit=1")).await.expect(200).json();
        assert_eq!(assigned["total"], 1500);
        let statistics = server.get(&format!("/rest/v1/distributionsets/{}/statistics", set.id)).await;
        let expected =
            json!({"actions": {"RUNNING": 1500, "total": 1500}, "rollouts": {"total": 0}, "totalAutoAssignments": 0});
        assert_eq!(statistics.expect(200).json(), expected);
        let too_many: Vec<Value> = (0..5001).map(|n| json!({"id": format!("x{n}")})).collect();
        let key = "hawkbit.server.error.quota.tooManyEntries";
        server.post(&path, json!(too_many)).await.expect_error(429, key);
    })
    .await;
}

#[tokio::test]
async fn offline_assignment_notes_what_is_already_installed() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let set = server.set("fw", &[]).await;
        let path = format!("/rest/v1/distributionsets/{}/assignedTargets?offline=true", set.id);
        server.post(&path, json!([{"id": "d1"}])).await.expect(200);
        assert_eq!(server.update_status("d1").await, "in_sync");
        for which in ["assignedDS", "installedDS"] {
            let found = server.get(&format!("/rest/v1/targets/d1/{which}")).await;
            assert_eq!(found.expect(200).id(), set.id, "{which}");
        }
        assert_eq!(server.device("d1").offered().await, None);
    })
    .await;
}

#[tokio::test]
async fn offline_what_is_under_way_counts_as_assigned_and_who_is_unknown_not_at_all() {
    on_each_engine(async |server: Server| {
        server.pending("d1", &[]).await;
        let set = server.set("other", &[]).await;
        let body = json!({"id": set.id});
        let answer = server.post("/rest/v1/targets/d1/assignedDS?offline=true", body.clone()).await.expect(200).json();
        assert_eq!(answer, json!({"alreadyAssigned": 1, "assigned": 0, "assignedActions": [], "total": 1}));
        let answer = server.post("/rest/v1/targets/nobody/assignedDS?offline=true", body.clone()).await.expect(200);
        assert_eq!(answer.json(), json!({"alreadyAssigned": 0, "assigned": 0, "assignedActions": [], "total": 0}));
        server.post("/rest/v1/targets/nobody/assignedDS", body).await.expect(404);
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        server.post("/rest/v1/targets/d1/assignedDS", json!({})).await.expect_error(400, unreadable);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_set_is_not_assigned() {
    on_each_engine(async |server: Server| {
        let (set, _) = server.pending("d1", &[]).await;
        server.target("d2").await;
        server.delete(&format!("/rest/v1/distributionsets/{}", set.id)).await.expect_empty(204);
        let answer = server.post("/rest/v1/targets/d2/assignedDS", json!({"id": set.id})).await;
        assert_eq!(answer.expect_error(404, "hawkbit.server.error.deleted").json().get("info"), None);
    })
    .await;
}

#[tokio::test]
async fn an_operator_locks_what_is_incomplete_and_all_modules() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        let (set_path, module) = (format!("/rest/v1/distributionsets/{}", set.id), set.module);
        let module = format!("/rest/v1/softwaremodules/{module}");
        server.put(&set_path, json!({"locked": true})).await.expect(200);
        server.put(&module, json!({"locked": false})).await.expect(200);
        server.put(&set_path, json!({"locked": true})).await.expect(200);
        assert_eq!(server.get(&module).await.expect(200).json()["locked"], true);
        let body = json!([{"name": "empty", "version": "1", "type": "os"}]);
        let empty = server.post("/rest/v1/distributionsets", body).await.expect(201).id();
        let path = format!("/rest/v1/distributionsets/{empty}");
        let locked = server.put(&path, json!({"locked": true})).await.expect(200).json();
        assert_eq!((&locked["locked"], &locked["complete"]), (&json!(true), &json!(false)));
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_named_as_the_peer_names_it() {
    on_each_engine(async |server: Server| {
        let key = "hawkbit.server.error.repo.entityNotFound";
        let set = server.set("fw", &[]).await;
        let path = format!("/rest/v1/distributionsets/{}", set.id);
        let module = format!("/rest/v1/softwaremodules/{}", set.module);
        let id = format!("{}:k", set.id);
        for (answer, info) in [
            (server.get(&format!("{path}/metadata/k")).await, json!({"type": "Target metadata", "entityId": id})),
            (
                server.delete(&format!("{path}/metadata/k")).await,
                json!({"type": "Metadata", "entityId": format!("DistributionSet:{id}")}),
            ),
            (
                server.delete(&format!("{module}/metadata/k")).await,
                json!({"type": "Metadata", "entityId": format!("SoftwareModule:{}:k", set.module)}),
            ),
            (
                server.post(&format!("{path}/assignedSM"), json!([{"id": 9998}])).await,
                json!({"type": "SoftwareModule", "entityId": ["9998"]}),
            ),
            (
                server.delete("/rest/v1/distributionsets/9998").await,
                json!({"type": "DistributionSet", "entityId": ["9998"]}),
            ),
            (
                server.post("/rest/v1/distributionsets", json!([{"name": "n", "version": "1", "type": ""}])).await,
                json!({"type": "DistributionSetType", "entityId": ""}),
            ),
        ] {
            assert_eq!(answer.expect_error(404, key).json()["info"], info);
        }
    })
    .await;
}

#[tokio::test]
async fn the_modules_of_a_set_can_be_paged_and_not_searched() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        let path = format!("/rest/v1/distributionsets/{}/assignedSM?q=name==other", set.id);
        let page = server.get(&path).await.expect(200).json();
        assert_eq!((&page["total"], &page["content"][0]["id"]), (&json!(1), &json!(set.module)));
    })
    .await;
}

#[tokio::test]
async fn a_module_is_taken_out_of_a_set_that_is_not_locked() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        let path = format!("/rest/v1/distributionsets/{}", set.id);
        let one = format!("{path}/assignedSM/{}", set.module);
        server.put(&path, json!({"locked": true})).await.expect(200);
        server.delete(&one).await.expect_error(423, "hawkbit.server.error.locked");
        server.delete(&format!("{path}/assignedSM/9998")).await.expect(404);
        server.put(&path, json!({"locked": false})).await.expect(200);
        for _ in 0..2 {
            server.delete(&one).await.expect_empty(204);
            let found = server.get(&path).await.expect(200).json();
            assert_eq!((&found["modules"], &found["complete"]), (&json!([]), &json!(false)));
        }
        let key = "hawkbit.server.error.repo.entityNotFound";
        for (path, info) in [
            (format!("{path}/assignedSM/9998"), json!({"type": "SoftwareModule", "entityId": 9998})),
            (
                format!("/rest/v1/distributionsets/9998/assignedSM/{}", set.module),
                json!({"type": "DistributionSet", "entityId": 9998}),
            ),
        ] {
            assert_eq!(server.delete(&path).await.expect_error(404, key).json()["info"], info);
        }
    })
    .await;
}

#[tokio::test]
async fn texts_lose_the_blanks_around_them_and_an_update_that_changes_nothing_is_none() {
    on_each_engine(async |server: Server| {
        let module = server.module("os").await;
        let body = json!([{"name": " fw ", "version": "1\t", "description": " d", "type": "os",
            "modules": [{"id": module}]}]);
        let id = server.post("/rest/v1/distributionsets", body).await.expect(201).id();
        let path = format!("/rest/v1/distributionsets/{id}");
        let before = server.get(&path).await.expect(200).json();
        let texts = ["name", "version", "description"].map(|name| before[name].clone());
        assert_eq!(texts, ["fw", "1", "d"].map(Value::from));
        server.post(&format!("{path}/metadata"), json!([{"key": "k", "value": " v "}])).await.expect_empty(201);
        let before = server.get(&path).await.expect(200).json();
        server.post(&format!("{path}/metadata"), json!([{"key": "k", "value": " v "}])).await.expect_empty(201);
        let entry = server.get(&format!("{path}/metadata/k")).await.expect(200).json();
        assert_eq!(entry["value"], " v ", "blanks stay in the metadata of sets");
        for same in [
            json!({}),
            json!({"name": "fw", "version": " 1", "description": "d "}),
            json!({"locked": false, "requiredMigrationStep": false}),
        ] {
            server.put(&path, same.clone()).await.expect(200);
            assert_eq!(server.get(&path).await.expect(200).json(), before, "{same}");
        }
        let key = "hawkbit.server.error.repo.constraintViolation";
        for blank in ["name", "version"] {
            server.put(&path, json!({blank: " "})).await.expect_error(400, key);
            let mut new = json!({"name": "n", "version": "1", "type": "os"});
            new[blank] = json!("\t");
            server.post("/rest/v1/distributionsets", json!([new])).await.expect_error(400, key);
        }
        let locked = server.put(&path, json!({"locked": true})).await.expect(200).json();
        assert_ne!(locked["lastModifiedAt"], before["lastModifiedAt"]);
        let still = json!({"locked": true, "requiredMigrationStep": false});
        assert_eq!(server.put(&path, still).await.expect(200).json(), locked);
        let step = json!({"requiredMigrationStep": true});
        server.put(&path, step).await.expect_error(423, "hawkbit.server.error.locked");
    })
    .await;
}
