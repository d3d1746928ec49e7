//! Uploads that do not end well: cut off, of another content than announced, doubled, empty.

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use crate::harness::{Connection, Server, bytes_of, eventually, on_each_engine, stored_files};

#[tokio::test]
async fn an_upload_cut_off_half_way_leaves_nothing() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        let content = bytes_of(4_000_000, 5);
        let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut.bin\"\r\n\r\n";
        let end = "\r\n--b--\r\n";
        let head = |framing: String| {
            format!(
                "POST /rest/v1/softwaremodules/{module}/artifacts HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                 Authorization: {}\r\nContent-Type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n",
                server.admin
            )
        };
        let length = part.len() + content.len() + end.len();
        let sized = head(format!("Content-Length: {length}"));
        let mut connection = Connection::open(server.port).await;
        assert!(connection.send(format!("{sized}{part}")).await);
        assert!(connection.send(&content[..2_000_000]).await);
        eventually(Duration::from_secs(10), "the upload has begun", async || {
            (!stored_files(server.data.path()).is_empty()).then_some(())
        })
        .await;
        drop(connection);

        let chunked = head("Transfer-Encoding: chunked".to_owned());
        let mut connection = Connection::open(server.port).await;
        let first = format!("{:x}\r\n{part}\r\n", part.len());
        assert!(connection.send(format!("{chunked}{first}{:x}\r\n", content.len())).await);
        assert!(connection.send(&content[..1_000_000]).await);
        drop(connection);

        let mut whole_but_unended = Connection::open(server.port).await;
        let sized = head(format!("Content-Length: {}", part.len() + content.len()));
        assert!(whole_but_unended.send(format!("{sized}{part}")).await);
        assert!(whole_but_unended.send(&content).await);
        drop(whole_but_unended);

        eventually(Duration::from_secs(10), "the halves are removed", async || {
            stored_files(server.data.path()).is_empty().then_some(())
        })
        .await;
        let list = server.get(&format!("/rest/v1/softwaremodules/{module}/artifacts")).await;
        assert_eq!(list.expect(200).json(), json!([]));
        server.upload(module, "cut.bin", &content).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_hash_is_named_and_leaves_nothing() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        for (kind, length) in [("md5", 32), ("sha1", 40), ("sha256", 64)] {
            let key = format!("hawkbit.server.error.artifact.uploadFailed.checksum.{kind}.match");
            let query = format!("?{kind}sum={}", "0".repeat(length));
            let answer = server.upload_with(module, "a.bin", b"abc", &query).await;
            answer.expect_error(400, &key);
        }
        assert_eq!(stored_files(server.data.path()), Vec::<PathBuf>::new());
        let right = "?md5sum=900150983cd24fb0d6963f7d28e17f72&sha1sum=a9993e364706816aba3e25717850c26c9cd0d89d\
                     &sha256sum=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        server.upload_with(module, "a.bin", b"abc", right).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_hash_does_not_take_the_same_content_from_others() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let other = server.module("other").await;
        let query = format!("?md5sum={}", "0".repeat(32));
        server.upload_with(other, "b.bin", b"abc", &query).await.expect(400);
        assert_eq!(stored_files(server.data.path()).len(), 1);
        let artifacts = format!("/rest/v1/softwaremodules/{}/artifacts", set.module);
        let id = server.get(&artifacts).await.expect(200).id();
        let content = server.get(&format!("{artifacts}/{id}/download")).await.expect(200);
        assert_eq!(content.bytes, b"abc");
    })
    .await;
}

#[tokio::test]
async fn equal_content_is_stored_once_and_goes_with_its_last_user() {
    on_each_engine(async |server: Server| {
        let (one, two) = (server.module("one").await, server.module("two").await);
        let artifacts = |module: i64| format!("/rest/v1/softwaremodules/{module}/artifacts");
        let first = server.upload(one, "a.bin", b"abc").await.expect(201).id();
        let second = server.upload(two, "b.bin", b"abc").await.expect(201).id();
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let stored = stored_files(server.data.path());
        assert_eq!(stored.len(), 1);
        assert!(stored[0].ends_with(format!("DEFAULT/d8/9d/{sha1}")), "hawkBit's layout: {stored:?}");
        server.delete(&format!("{}/{first}", artifacts(one))).await.expect_empty(204);
        let left = server.get(&format!("{}/{second}/download", artifacts(two))).await;
        assert_eq!(left.expect(200).bytes, b"abc");
        server.delete(&format!("/rest/v1/softwaremodules/{two}")).await.expect_empty(204);
        eventually(Duration::from_secs(10), "the file goes with its last user", async || {
            stored_files(server.data.path()).is_empty().then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn uploads_of_one_name_at_once_leave_one() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        let contents: Vec<Vec<u8>> = (0..8).map(|n| bytes_of(300_000, n)).collect();
        let uploads = contents.iter().map(|content| server.upload(module, "same.bin", content));
        let answers = futures_util::future::join_all(uploads).await;
        let mut statuses: Vec<u16> = answers.iter().map(|a| a.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
        eventually(Duration::from_secs(10), "only the winner's file is left", async || {
            (stored_files(server.data.path()).len() == 1).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_or_missing_file_is_400() {
    on_each_engine(async |server: Server| {
        let module = server.module("m").await;
        server.upload(module, "empty.bin", b"").await.expect_empty(400);
        let path = format!("/rest/v1/softwaremodules/{module}/artifacts");
        for body in
            ["", "--b--\r\n", "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--b--\r\n", "junk"]
        {
            let headers =
                [("authorization", server.admin.as_str()), ("content-type", "multipart/form-data; boundary=b")];
            let answer = server.request(reqwest::Method::POST, &path, &headers, Some(body.into())).await;
            assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
        }
        assert_eq!(stored_files(server.data.path()), Vec::<PathBuf>::new());
    })
    .await;
}
