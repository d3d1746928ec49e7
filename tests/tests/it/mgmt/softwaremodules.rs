//! `/rest/v1/softwaremodules` and `/rest/v1/softwaremoduletypes`.

use serde_json::{Value, json};

use crate::harness::{Connection, Server, bytes_of, on_each_engine};

#[tokio::test]
async fn a_large_artifact_comes_and_goes_in_constant_memory() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        let content = bytes_of(120_000_000, 13);
        let id = server.upload(module, "large.bin", &content).await.expect(201).id();
        let path = format!("/rest/v1/softwaremodules/{module}/artifacts/{id}/download");
        assert!(server.get(&path).await.expect(200).bytes == content);
        let (_, highest) = server.process().resident_kib();
        assert!(highest < 100 * 1024, "{highest} KiB");
    })
    .await;
}

#[tokio::test]
async fn an_artifact_above_the_quota_is_refused() {
    let setting = "hawkbit.server.security.dos.maxArtifactSize=1000";
    for engine in [crate::harness::Engine::Sqlite, crate::harness::Engine::Postgres] {
        let server = Server::start_with(engine, &[setting]).await;
        let module = server.module("m").await;
        let key = "hawkbit.server.error.quota.fileSizeExceeded";
        server.upload(module, "a.bin", &[1; 1001]).await.expect_error(429, key);
        server.upload(module, "a.bin", &[1; 1000]).await.expect(201);
        assert_eq!(crate::harness::stored_files(server.data.path()).len(), 1);
    }
}

#[tokio::test]
async fn management_downloads_know_ranges_and_conditions() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        let id = server.upload(module, "a.bin", b"0123456789").await.expect(201).id();
        let path = format!("/rest/v1/softwaremodules/{module}/artifacts/{id}/download");
        let get = async |name: &'static str, value: &'static str| {
            let headers = [("authorization", server.admin.as_str()), (name, value)];
            server.request(reqwest::Method::GET, &path, &headers, None).await
        };
        let part = get("range", "bytes=2-4").await.expect(206);
        assert_eq!(part.bytes, b"234");
        assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
        get("range", "bytes=10-").await.expect(416);
        get("if-match", "0000").await.expect(412);
    })
    .await;
}

/// Locked by the assignment: what a device was promised does not change.
#[tokio::test]
async fn a_module_in_a_locked_set_takes_no_more_artifacts() {
    on_each_engine(async |server: Server| {
        let (set, _) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let key = "hawkbit.server.error.locked";
        server.upload(set.module, "b.bin", b"b").await.expect_error(423, key);
        let artifacts = format!("/rest/v1/softwaremodules/{}/artifacts", set.module);
        let id = server.get(&artifacts).await.expect(200).id();
        server.delete(&format!("{artifacts}/{id}")).await.expect_error(423, key);
        server.delete(&format!("/rest/v1/softwaremodules/{}", set.module)).await.expect_error(423, key);
        let left = server.get(&format!("{artifacts}/{id}/download")).await;
        assert_eq!(left.expect(200).bytes, b"abc");
    })
    .await;
}

#[tokio::test]
async fn metadata_shows_devices_only_what_is_meant_for_them() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[]).await;
        let path = format!("/rest/v1/softwaremodules/{}/metadata", set.module);
        let body = json!([{"key": "a", "value": "1", "targetVisible": true}, {"key": "b", "value": "2"}]);
        server.post(&path, body).await.expect_empty(201);
        let chunk = async || -> Value {
            let base = server.device("d1").get(&format!("/deploymentBase/{action}")).await;
            base.expect(200).json()["deployment"]["chunks"][0].clone()
        };
        assert_eq!(chunk().await["metadata"], json!([{"key": "a", "value": "1"}]));
        let hidden = json!({"value": "1", "targetVisible": false});
        server.put(&format!("{path}/a"), hidden).await.expect_empty(204);
        assert_eq!(chunk().await.get("metadata"), None);
    })
    .await;
}

#[tokio::test]
async fn a_type_in_use_is_only_marked_deleted() {
    on_each_engine(async |server: Server| {
        let body = json!([{"name": "firmware", "key": "fw", "maxAssignments": 1}]);
        let kind = server.post("/rest/v1/softwaremoduletypes", body.clone()).await.expect(201).id();
        let module = json!([{"name": "m", "version": "1", "type": "fw"}]);
        server.post("/rest/v1/softwaremodules", module).await.expect(201);
        let path = format!("/rest/v1/softwaremoduletypes/{kind}");
        server.delete(&path).await.expect_empty(204);
        assert_eq!(server.get(&path).await.expect(200).json()["deleted"], true);
        let module = json!([{"name": "m", "version": "2", "type": "fw"}]);
        let refused = server.post("/rest/v1/softwaremodules", module).await;
        assert!((400..500).contains(&refused.status), "{refused:?}");
    })
    .await;
}

/// curl sends it for every body above a kilobyte and waits for the answer.
#[tokio::test]
async fn an_upload_that_asks_first_is_told_to_continue() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\nabc\r\n--b--\r\n";
        let head = format!(
            "POST /rest/v1/softwaremodules/{module}/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\
             Connection: close\r\n\r\n",
            server.admin,
            body.len()
        );
        let mut connection = Connection::open(server.port).await;
        assert!(connection.send(head).await);
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(connection.read_some(interim.len()).await, interim.as_bytes());
        assert!(connection.send(body).await);
        assert_eq!(connection.answer().await.expect("an answer").status, 201);
    })
    .await;
}

#[tokio::test]
async fn hashes_come_in_any_case_and_the_key_of_a_type_with_blanks() {
    on_each_engine(async |server: Server| {
        let body = json!([{"name": "m", "version": "1", "type": " os "}]);
        let module = server.post("/rest/v1/softwaremodules", body).await.expect(201).id();
        let sha1 = "A9993E364706816ABA3E25717850C26C9CD0D89D";
        let created = server.upload_with(module, "a.bin", b"abc", &format!("?sha1sum={sha1}&filename=b.bin")).await;
        assert_eq!(created.expect(201).json()["providedFilename"], "b.bin");
        let constraint = "hawkbit.server.error.repo.constraintViolation";
        server.upload_with(module, "a.bin", b"abc", "?filename=").await.expect_error(400, constraint);
        server.put(&format!("/rest/v1/softwaremodules/{module}"), json!({"locked": true})).await.expect(200);
        let locked = "hawkbit.server.error.locked";
        server.upload(module, "b.bin", b"abc").await.expect_error(423, locked);
    })
    .await;
}

#[tokio::test]
async fn only_what_can_be_downloaded_has_a_link_to_its_download() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let module = format!("/rest/v1/softwaremodules/{}", set.module);
        let links = async |query: &str| {
            let list = server.get(&format!("{module}/artifacts?representation=full{query}")).await.expect(200).json();
            let one = format!("{module}/artifacts/{}?{query}", list[0]["id"]);
            let one = server.get(&one).await.expect(200).json();
            assert_eq!(one["_links"], list[0]["_links"]);
            list[0]["_links"].get("download").is_some()
        };
        assert!(links("").await);
        assert!(!links("&useartifacturlhandler=true").await, "no address is configured for this API");
        server.delete(&module).await.expect_empty(204);
        assert!(!links("").await, "its content went with the module");
    })
    .await;
}

#[tokio::test]
async fn texts_lose_the_blanks_around_them_and_an_update_that_changes_nothing_is_none() {
    on_each_engine(async |server: Server| {
        let body = json!([{"name": " m ", "version": " 1", "vendor": "v ", "description": "\td", "type": "os"}]);
        let id = server.post("/rest/v1/softwaremodules", body).await.expect(201).id();
        let path = format!("/rest/v1/softwaremodules/{id}");
        let entry = json!([{"key": "k", "value": " v ", "targetVisible": true}]);
        server.post(&format!("{path}/metadata"), entry.clone()).await.expect_empty(201);
        let shown = server.get(&format!("{path}/metadata/k")).await.expect(200).json();
        assert_eq!(shown["value"], "v", "unlike those of sets and targets");
        let before = server.get(&path).await.expect(200).json();
        let texts = ["name", "version", "vendor", "description"].map(|name| before[name].clone());
        assert_eq!(texts, ["m", "1", "v", "d"].map(Value::from));
        server.post(&format!("{path}/metadata"), entry).await.expect_empty(201);
        server.put(&format!("{path}/metadata/k"), json!({"value": "v ", "targetVisible": true})).await.expect(204);
        for same in [json!({}), json!({"vendor": " v", "description": "d"}), json!({"locked": false})] {
            server.put(&path, same.clone()).await.expect(200);
            assert_eq!(server.get(&path).await.expect(200).json(), before, "{same}");
        }
        let changed = server.put(&path, json!({"vendor": " w "})).await.expect(200).json();
        assert_eq!(changed["vendor"], "w");
        assert_ne!(changed["lastModifiedAt"], before["lastModifiedAt"]);
        let key = "hawkbit.server.error.repo.constraintViolation";
        for blank in ["name", "version"] {
            let mut new = json!({"name": "n", "version": "1", "type": "os"});
            new[blank] = json!(" ");
            server.post("/rest/v1/softwaremodules", json!([new])).await.expect_error(400, key);
        }
    })
    .await;
}
