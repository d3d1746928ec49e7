//! `deploymentBase/{actionId}`.

use serde_json::json;

use crate::harness::{Server, on_each_engine};

#[tokio::test]
async fn the_whole_body() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let body = server.device("d1").get(&format!("/deploymentBase/{action}")).await;
        let href = format!("{{base}}/DEFAULT/controller/v1/d1/softwaremodules/{}/artifacts/a.bin", set.module);
        let expected = json!({
            "id": action.to_string(),
            "deployment": {
                "download": "forced",
                "update": "forced",
                "chunks": [{
                    "part": "os",
                    "version": "1",
                    "name": "fw-d1-os",
                    "artifacts": [{
                        "filename": "a.bin",
                        "hashes": {
                            "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
                            "md5": "900150983cd24fb0d6963f7d28e17f72",
                            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                        },
                        "size": 3,
                        "_links": {
                            "download-http": {"href": href},
                            "md5sum-http": {"href": format!("{href}.MD5SUM")}
                        }
                    }]
                }]
            }
        });
        assert_eq!(body.expect(200).scrubbed(), expected);
    })
    .await;
}

#[tokio::test]
async fn action_ids_fit_a_positive_int32() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        assert!((1..i64::from(i32::MAX)).contains(&action), "{action}");
        assert_eq!(server.device("d1").offered().await, Some(action));
    })
    .await;
}

#[tokio::test]
async fn reading_again_writes_one_retrieved_row() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        let path = format!("/deploymentBase/{action}");
        let first = device.get(&path).await.expect(200).bytes;
        for query in ["", "?c=-1", "?c=2147483647", "?actionHistory=-1"] {
            device.get(&format!("{path}{query}")).await.expect(200);
        }
        assert_eq!(device.get(&path).await.expect(200).bytes, first);
        let rows = server.status_rows("d1", action).await;
        let text = "Update Server: Target retrieved update action and should start now the download.";
        assert_eq!(rows[1..], [("retrieved".to_owned(), vec![text.to_owned()])]);

        device.feedback(action, "proceeding", "none").await.expect_empty(200);
        device.get(&path).await.expect(200);
        device.get(&path).await.expect(200);
        let types = server.status_types("d1", action).await;
        assert_eq!(types, ["running", "retrieved", "running", "retrieved"]);
    })
    .await;
}

#[tokio::test]
async fn reading_a_finished_action_leaves_it_finished() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        device.feedback(action, "closed", "success").await.expect_empty(200);
        device.get(&format!("/deploymentBase/{action}")).await.expect(200);
        let found = server.get(&format!("/rest/v1/targets/d1/actions/{action}")).await;
        let found = found.expect(200).json();
        assert_eq!((&found["status"], &found["active"]), (&json!("finished"), &json!(false)));
        assert_eq!(server.update_status("d1").await, "in_sync");
    })
    .await;
}

#[tokio::test]
async fn the_kinds_of_assignment_say_what_the_device_may_do() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let set = server.set("fw", &[]).await;
        let past = json!({"id": set.id, "type": "timeforced", "forcetime": 1});
        let future = json!({"id": set.id, "type": "timeforced", "forcetime": 4_102_444_800_000_i64});
        let cases = [
            (json!({"id": set.id}), "forced", "forced"),
            (json!({"id": set.id, "type": "soft"}), "attempt", "attempt"),
            (json!({"id": set.id, "type": "downloadonly"}), "forced", "skip"),
            (past, "forced", "forced"),
            (future, "attempt", "attempt"),
        ];
        for (number, (body, download, update)) in cases.into_iter().enumerate() {
            let id = format!("d{number}");
            server.target(&id).await;
            server.post(&format!("/rest/v1/targets/{id}/assignedDS"), body.clone()).await.expect(200);
            let device = server.device(&id);
            let action = device.offered().await.expect("an offer");
            let base = device.get(&format!("/deploymentBase/{action}")).await.expect(200).json();
            let expected = json!({"download": download, "update": update, "chunks": base["deployment"]["chunks"]});
            assert_eq!(base["deployment"], expected, "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_closed_maintenance_window_says_skip_in_lower_case() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let set = server.set("fw", &[]).await;
        let window = json!({"schedule": "0 0 0 1 1 ? 2090", "duration": "01:00:00", "timezone": "+00:00"});
        let body = json!({"id": set.id, "type": "forced", "maintenanceWindow": window});
        server.post("/rest/v1/targets/d1/assignedDS", body).await.expect(200);
        let device = server.device("d1");
        let action = device.offered().await.expect("an offer");
        let base = device.get(&format!("/deploymentBase/{action}")).await.expect(200).json();
        let expected = json!({
            "download": "forced",
            "update": "skip",
            "maintenanceWindow": "unavailable",
            "chunks": base["deployment"]["chunks"]
        });
        assert_eq!(base["deployment"], expected);
    })
    .await;
}

#[tokio::test]
async fn an_action_of_another_target_is_not_found() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        server.target("d2").await;
        let other = server.device("d2");
        other.get(&format!("/deploymentBase/{action}")).await.expect(404);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        for id in ["abc", "1.5", "99999999999999999999"] {
            other.get(&format!("/deploymentBase/{id}")).await.expect_error(400, unreadable);
        }
    })
    .await;
}

#[tokio::test]
async fn application_modules_are_shown_as_the_part_that_old_clients_know() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let module = json!([{"name": "a", "version": "1", "type": "application"}]);
        let module = server.post("/rest/v1/softwaremodules", module).await.expect(201).id();
        let set = json!([{"name": "a", "version": "1", "type": "app", "modules": [{"id": module}]}]);
        let set = server.post("/rest/v1/distributionsets", set).await.expect(201).id();
        let assigned = server.post("/rest/v1/targets/d1/assignedDS", json!({"id": set})).await;
        let action = assigned.expect(200).json()["assignedActions"][0]["id"].clone();
        let base = server.device("d1").get(&format!("/deploymentBase/{action}")).await;
        assert_eq!(base.expect(200).json()["deployment"]["chunks"][0]["part"], "bApp");
    })
    .await;
}
