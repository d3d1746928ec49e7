//! The client library `hawkbit` of crates.io: its types reject an answer that lacks a field, and it checks all three hashes.

use std::time::Duration;

use hawkbit::ddi::{Client, ClientAuthorization, Execution, Finished, Mode, Type};
use serde_json::json;

use crate::harness::{Server, bytes_of, on_each_engine};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_polled_downloaded_verified_and_reported() {
    on_each_engine(async |server: Server| {
        let client = client(&server, "dev-1").await;
        let (os, app) = (bytes_of(200_000, 1), bytes_of(1, 2));
        let set = server.set("fw", &[("os.img", &os), ("app.img", &app)]).await;

        let idle = client.poll().await.unwrap();
        assert_eq!(idle.polling_sleep().unwrap(), Duration::from_secs(300));
        assert!(idle.update().is_none() && idle.cancel_action().is_none());
        let request = idle.config_data_request().expect("attributes are asked for");
        let data = json!({"HwRevision": "1.0"});
        request.upload(Execution::Closed, Finished::Success, Some(Mode::Merge), data, vec![]).await.unwrap();
        assert!(client.poll().await.unwrap().config_data_request().is_none());
        let attributes = server.get("/rest/v1/targets/dev-1/attributes").await;
        assert_eq!(attributes.expect(200).json(), json!({"HwRevision": "1.0"}));

        let action = server.assign("dev-1", set).await;
        let update = client.poll().await.unwrap().update().expect("an update").fetch().await.unwrap();
        assert_eq!(update.action_id(), action.to_string());
        assert_eq!((update.download_type(), update.update_type()), (Type::Forced, Type::Forced));
        assert!(update.maintenance_window().is_none());
        let chunk = update.chunks().next().expect("a chunk");
        assert_eq!((chunk.part(), chunk.name(), chunk.version()), ("os", "fw-os", "1"));

        let progress = json!({"cnt": 1, "of": 2});
        update
            .send_feedback_with_progress(Execution::Proceeding, Finished::None, progress, vec!["loading"])
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let artifacts = update.download(folder.path()).await.unwrap();
        assert_eq!(artifacts.len(), 2);
        for artifact in &artifacts {
            artifact.check_md5().await.unwrap();
            artifact.check_sha1().await.unwrap();
            artifact.check_sha256().await.unwrap();
            let expected = if artifact.file().ends_with("os.img") { &os } else { &app };
            assert!(&std::fs::read(artifact.file()).unwrap() == expected, "{:?}", artifact.file());
        }
        update.send_feedback(Execution::Closed, Finished::Success, vec!["done"]).await.unwrap();

        assert_eq!(server.update_status("dev-1").await, "in_sync");
        let installed = server.get("/rest/v1/targets/dev-1/installedDS").await;
        assert_eq!(installed.expect(200).id(), set.id);
        assert!(client.poll().await.unwrap().update().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_broken_off_goes_on_where_it_stopped() {
    on_each_engine(async |server: Server| {
        let client = client(&server, "dev-1").await;
        let content = bytes_of(500_000, 3);
        let set = server.set("fw", &[("os.img", &content)]).await;
        let action = server.assign("dev-1", set).await;
        let update = client.poll().await.unwrap().update().unwrap().fetch().await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let chunk_folder = folder.path().join("fw-os");
        std::fs::create_dir(&chunk_folder).unwrap();
        std::fs::write(chunk_folder.join("os.img.part"), &content[..123_456]).unwrap();
        let artifacts = update.download(folder.path()).await.unwrap();
        artifacts[0].check_sha256().await.unwrap();

        let types = server.status_types("dev-1", action).await;
        assert_eq!(types, ["running", "retrieved"], "a range writes no status");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelation_is_seen_and_confirmed() {
    on_each_engine(async |server: Server| {
        let client = client(&server, "dev-1").await;
        let set = server.set("fw", &[]).await;
        let action = server.assign("dev-1", set).await;
        let path = format!("/rest/v1/targets/dev-1/actions/{action}");
        server.delete(&path).await.expect(204);

        let reply = client.poll().await.unwrap();
        assert!(reply.update().is_none());
        let cancel = reply.cancel_action().expect("a cancelation");
        assert_eq!(cancel.id().await.unwrap(), action.to_string());
        cancel.send_feedback(Execution::Proceeding, Finished::None, vec!["stopping"]).await.unwrap();
        cancel.send_feedback(Execution::Closed, Finished::Success, vec![]).await.unwrap();

        let closed = server.get(&path).await.expect(200).json();
        assert_eq!((&closed["status"], &closed["active"]), (&json!("canceled"), &json!(false)));
        assert!(client.poll().await.unwrap().cancel_action().is_none());
    })
    .await;
}

async fn client(server: &Server, controller_id: &str) -> Client {
    server.configure("authentication.targettoken.enabled", true).await;
    let body = json!([{"controllerId": controller_id, "securityToken": TOKEN}]);
    server.post("/rest/v1/targets", body).await.expect(201);
    let authorization = ClientAuthorization::TargetToken(TOKEN.to_owned());
    let timeout = Some(Duration::from_secs(30));
    Client::new(&server.base, "DEFAULT", controller_id, authorization, None, None, timeout).unwrap()
}
