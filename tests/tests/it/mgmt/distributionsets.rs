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
