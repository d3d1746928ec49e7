//! What a gateway is sent when there is work: DOWNLOAD_AND_INSTALL and DOWNLOAD, in full.

use serde_json::{Value, json};

use crate::{
    harness::{Gateway, Message, Server, on_each_engine_with_gateway},
    mgmt,
};

const UPDATE: &str = "org.eclipse.hawkbit.dmf.json.model.DmfDownloadAndUpdateRequest";

#[tokio::test]
async fn an_assignment_is_sent_with_all_that_the_device_needs() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let metadata = json!([
            {"key": "shown", "value": "v", "targetVisible": true},
            {"key": "hidden", "value": "v", "targetVisible": false},
        ]);
        server.post(&format!("/rest/v1/softwaremodules/{}/metadata", set.module), metadata).await.expect(201);
        let action = server.assign("d1", set).await;
        let sent = gateway.next().await;
        assert_eq!(sent.headers(), headers("DOWNLOAD_AND_INSTALL", "d1", UPDATE));
        assert_eq!(sent.content_type(), "application/json");
        assert_eq!(sent.properties.delivery_mode(), &Some(2), "it outlives the broker");
        assert_eq!((sent.exchange.as_str(), sent.routing_key.as_str()), ("gw.ex", ""));
        assert_eq!(sent.correlation_id().len(), 36, "{}", sent.correlation_id());

        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        let artifacts = server.get(&format!("/rest/v1/softwaremodules/{}/artifacts", set.module)).await.expect(200);
        let artifact = &artifacts.json()[0];
        let mut body = sent.json();
        let urls = body["softwareModules"][0]["artifacts"][0]["urls"].take();
        let expected = json!({
            "actionId": action,
            "targetSecurityToken": target["securityToken"],
            "softwareModules": [{
                "moduleId": set.module,
                "moduleType": "os",
                "moduleVersion": "1",
                "artifacts": [{
                    "filename": "a.bin",
                    "urls": null,
                    "hashes": {"sha1": artifact["hashes"]["sha1"], "md5": artifact["hashes"]["md5"]},
                    "size": 3,
                    "lastModified": artifact["lastModifiedAt"],
                }],
                "metadata": [{"key": "shown", "value": "v"}],
            }],
        });
        assert_eq!(body, expected);

        let keys: Vec<&String> = urls.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["HTTP"]);
        let url = urls["HTTP"].as_str().unwrap();
        let path = format!("/DEFAULT/controller/v1/d1/softwaremodules/{}/artifacts/a.bin", set.module);
        assert!(url.ends_with(&format!(":{}{path}", server.port)), "{url}");
        server.configure("authentication.targettoken.enabled", true).await;
        let token = format!("TargetToken {}", target["securityToken"].as_str().unwrap());
        assert_eq!(server.get_as(&token, &path).await.expect(200).bytes, b"abc");
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn a_module_without_files_and_metadata_has_an_empty_list_and_none() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        server.assign("d1", set).await;
        let sent = gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        let expected = json!([{"moduleId": set.module, "moduleType": "os", "moduleVersion": "1", "artifacts": []}]);
        assert_eq!(sent.json()["softwareModules"], expected);
    })
    .await;
}

#[tokio::test]
async fn the_topic_says_whether_it_may_be_installed() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let window = |schedule: &str| json!({"schedule": schedule, "duration": "01:00:00", "timezone": "+00:00"});
        let set = server.set("fw", &[]).await;
        for (number, (body, topic)) in [
            (json!({"id": set.id}), "DOWNLOAD_AND_INSTALL"),
            (json!({"id": set.id, "type": "soft"}), "DOWNLOAD_AND_INSTALL"),
            (json!({"id": set.id, "type": "timeforced", "forcetime": 4_102_444_800_000_i64}), "DOWNLOAD_AND_INSTALL"),
            (json!({"id": set.id, "type": "downloadonly"}), "DOWNLOAD"),
            (json!({"id": set.id, "maintenanceWindow": window("0 0 3 * * ? 2098")}), "DOWNLOAD"),
            (json!({"id": set.id, "maintenanceWindow": window("0 * * * * ?")}), "DOWNLOAD_AND_INSTALL"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = format!("d{number}");
            gateway.register(&[&id]).await;
            server.post(&format!("/rest/v1/targets/{id}/assignedDS"), body.clone()).await.expect(200);
            let sent = gateway.next().await;
            assert_eq!((sent.header("topic").as_str(), sent.header("thingId")), (topic, id), "{body}");
        }
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn many_at_once_are_each_told() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let ids = super::things("d", 30);
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        gateway.register(&names).await;
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let body: Vec<Value> = ids.iter().map(|id| json!({"id": id, "type": "soft"})).collect();
        let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
        server.post(&path, json!(body)).await.expect(200);
        told(&server, &mut gateway, &ids).await;
        // Nothing changes for those that have it already, nor by what was done elsewhere.
        server.post(&path, json!(body)).await.expect(200);
        let next = server.set("offline", &[]).await;
        let path = format!("/rest/v1/distributionsets/{}/assignedTargets?offline=true", next.id);
        server.post(&path, json!([{"id": "d-0"}])).await.expect(200);
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_rollout_and_a_filter_assign_is_sent_too() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let ids = super::things("d", 5);
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        gateway.register(&names).await;
        let set = server.set("fw", &[]).await;
        let body = mgmt::rollout("all", set, json!({"amountGroups": 1}));
        let id = server.post("/rest/v1/rollouts", body).await.expect(201).id();
        mgmt::until(&server, id, "ready").await;
        gateway.expect_silence().await;
        server.post(&format!("/rest/v1/rollouts/{id}/start"), json!({})).await;
        told(&server, &mut gateway, &ids).await;

        let set = server.set("auto", &[]).await;
        let filter = server.post("/rest/v1/targetfilters", json!({"name": "new", "query": "id==new-*"})).await;
        let path = format!("/rest/v1/targetfilters/{}/autoAssignDS", filter.expect(201).id());
        server.post(&path, json!({"id": set.id})).await.expect(200);
        gateway.register(&["new-1"]).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "new-1").await;
        gateway.expect_silence().await;
    })
    .await;
}

/// Each of these hears of its action, once.
async fn told(server: &Server, gateway: &mut Gateway<'_>, ids: &[String]) {
    let mut told = Vec::new();
    for _ in ids {
        let sent: Message = gateway.next().await;
        assert_eq!(sent.header("topic"), "DOWNLOAD_AND_INSTALL");
        let id = sent.header("thingId");
        let path = format!("/rest/v1/targets/{id}/actions?sort=id:DESC&limit=1");
        let actions = server.get(&path).await.expect(200).json();
        assert_eq!(sent.json()["actionId"], actions["content"][0]["id"], "{id}");
        told.push(id);
    }
    told.sort();
    let mut expected = ids.to_vec();
    expected.sort();
    assert_eq!(told, expected);
}

pub fn headers(topic: &str, thing: &str, class: &str) -> Value {
    json!({
        "type": "EVENT", "topic": topic, "thingId": thing, "tenant": "DEFAULT",
        "content-type": "application/json", "__TypeId__": class,
    })
}
