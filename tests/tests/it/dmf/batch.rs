//! Tenants that want one message for all targets of an assignment.

use serde_json::{Value, json};

use crate::harness::{Gateway, Server, on_each_engine_with_gateway};

#[tokio::test]
async fn one_message_is_sent_for_all_targets_of_an_assignment() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        server.configure("batch.assignments.enabled", true).await;
        let ids = super::things("d", 3);
        gateway.register(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        // Of another kind: it is no recipient.
        server.target("alone").await;
        for (kind, topic) in [("forced", "BATCH_DOWNLOAD_AND_INSTALL"), ("downloadonly", "BATCH_DOWNLOAD")] {
            let set = server.set(kind, &[("a.bin", b"abc")]).await;
            let all = ids.iter().map(String::as_str).chain(["alone"]);
            let body: Vec<Value> = all.map(|id| json!({"id": id, "type": kind})).collect();
            let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
            server.post(&path, json!(body)).await.expect(200);
            let sent = gateway.next().await;
            let headers = json!({
                "type": "EVENT", "topic": topic, "tenant": "DEFAULT", "content-type": "application/json",
                "__TypeId__": "org.eclipse.hawkbit.dmf.json.model.DmfBatchDownloadAndUpdateRequest",
            });
            assert_eq!(sent.headers(), headers);
            let mut body = sent.json();
            assert!(body["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "{body}");
            let modules = body["softwareModules"].take();
            assert_eq!(modules[0]["moduleId"], set.module);
            let url = modules[0]["artifacts"][0]["urls"]["HTTP"].as_str().unwrap();
            assert!(url.contains("/DEFAULT/controller/v1/d-"), "of the first target: {url}");
            let mut targets = body["targets"].as_array().unwrap().clone();
            targets.sort_by_key(|target| target["controllerId"].to_string());
            let mut expected = Vec::new();
            for id in &ids {
                let actions = server.get(&format!("/rest/v1/targets/{id}/actions?sort=id:DESC&limit=1")).await;
                let action = actions.expect(200).json()["content"][0]["id"].clone();
                let token =
                    server.get(&format!("/rest/v1/targets/{id}")).await.expect(200).json()["securityToken"].take();
                expected.push(json!({"actionId": action, "controllerId": id, "targetSecurityToken": token}));
            }
            assert_eq!(targets, expected);
            assert_eq!(body.as_object().unwrap().len(), 3, "{body}");
            gateway.expect_silence().await;
            for target in &expected {
                let (id, action) = (target["controllerId"].as_str().unwrap(), target["actionId"].as_i64().unwrap());
                gateway.tell(gateway.status(id, action, "FINISHED")).await;
            }
            gateway.rest().await;
        }
    })
    .await;
}
