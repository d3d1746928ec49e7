//! `softwaremodules/{id}/artifacts`: downloads, ranges, conditions.

use crate::harness::{Answer, Connection, Server, Set, bytes_of, on_each_engine};

const LENGTH: usize = 200_000;
const BOUNDARY: &str = "THIS_STRING_SEPARATES_MULTIPART";

#[tokio::test]
async fn a_download_has_the_peers_headers_and_head_has_them_too() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        let device = server.device("d1");
        let full = device.get(&path).await.expect(200);
        assert!(full.bytes == content);
        let head = device.head(&path).await.expect_empty(200);
        for answer in [&full, &head] {
            for (name, value) in [
                ("content-type", "application/octet-stream".to_owned()),
                ("content-length", LENGTH.to_string()),
                ("content-disposition", "attachment;filename=a.bin".to_owned()),
                ("accept-ranges", "bytes".to_owned()),
                ("etag", format!("\"{}\"", sha1(&content))),
                ("x-content-type-options", "nosniff".to_owned()),
            ] {
                assert_eq!(answer.header(name), Some(value.as_str()), "{name}");
            }
            let modified = answer.header("last-modified").expect("Last-Modified");
            assert!(modified.ends_with(" GMT"), "{modified}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_download_is_not_chunked() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        let device = server.device("d1");
        for range in ["", "Range: bytes=0-99\r\n", "Range: bytes=0-9,20-29\r\n"] {
            let mut connection = Connection::open(server.port).await;
            let request = format!(
                "GET {}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{range}Authorization: {}\r\nConnection: close\r\n\r\n",
                device.root, device.authorization
            );
            connection.send(&request).await;
            let answer = connection.answer().await.expect("an answer");
            assert_eq!(answer.header("transfer-encoding"), None, "{}", answer.head);
            let length = answer.header("content-length").expect("a length");
            assert_eq!(length.parse(), Ok(answer.body.len()), "{}", answer.head);
            assert!(!range.is_empty() || answer.body == content);
        }
    })
    .await;
}

#[tokio::test]
async fn single_ranges() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        for (range, from, to) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-99", 0, 100),
            ("bytes=131072-199999", 131_072, LENGTH),
            ("bytes=199999-", LENGTH - 1, LENGTH),
            ("bytes=-10", LENGTH - 10, LENGTH),
            ("bytes=100-9999999", 100, LENGTH),
            ("bytes=-9999999", 0, LENGTH),
        ] {
            let part = ranged(&server, &path, range).await.expect(206);
            assert!(part.bytes == content[from..to], "{range}");
            let content_range = format!("bytes {from}-{}/{LENGTH}", to - 1);
            assert_eq!(part.header("content-range"), Some(content_range.as_str()), "{range}");
            let length = (to - from).to_string();
            assert_eq!(part.header("content-length"), Some(length.as_str()), "{range}");
        }
    })
    .await;
}

/// A client that has everything asks for what lies behind the end: 416 tells it that it is done.
#[tokio::test]
async fn ranges_that_cannot_be_served_are_416_with_the_length() {
    on_each_engine(async |server: Server| {
        let (path, ..) = prepared(&server).await;
        for range in
            ["bytes=200000-", "bytes=200000-200001", "bytes=99-10", "bytes=0-10,5-20", "bytes=x-y", "items=0-1"]
        {
            let refused = ranged(&server, &path, range).await.expect_empty(416);
            let expected = format!("bytes */{LENGTH}");
            assert_eq!(refused.header("content-range"), Some(expected.as_str()), "{range}");
        }
    })
    .await;
}

#[tokio::test]
async fn several_ranges_come_as_multipart_in_order() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        let answer = ranged(&server, &path, "bytes=1000-1999,0-9,-5").await.expect(206);
        let content_type = answer.header("content-type").unwrap();
        let boundary = format!("boundary={BOUNDARY}");
        assert!(content_type.starts_with("multipart/byteranges"), "{content_type}");
        assert!(content_type.ends_with(&boundary), "{content_type}");
        let mut expected = content[0..10].to_vec();
        expected.extend_from_slice(&content[1000..2000]);
        expected.extend_from_slice(&content[LENGTH - 5..]);
        let parts = parts_of(&answer.bytes);
        let ranges: Vec<&str> = parts.iter().map(|(range, _)| range.as_str()).collect();
        let last = format!("bytes {}-{}/{LENGTH}", LENGTH - 5, LENGTH - 1);
        assert_eq!(ranges, ["bytes 0-9/200000", "bytes 1000-1999/200000", &last]);
        assert!(parts.into_iter().flat_map(|(_, bytes)| bytes).eq(expected));
    })
    .await;
}

#[tokio::test]
async fn if_range_decides_between_part_and_whole() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        let device = server.device("d1");
        let head = device.head(&path).await.expect(200);
        let etag = head.header("etag").unwrap();
        let modified = head.header("last-modified").unwrap();
        for (condition, status) in [
            (etag, 206),
            (modified, 206),
            ("Fri, 01 Jan 2100 00:00:00 GMT", 206),
            ("\"0000000000000000000000000000000000000000\"", 200),
            ("Thu, 01 Jan 2015 00:00:00 GMT", 200),
            ("no date at all", 200),
        ] {
            let headers = [("range", "bytes=10-19"), ("if-range", condition)];
            let answer = device.get_with(&path, &headers).await.expect(status);
            let expected = if status == 206 { &content[10..20] } else { &content[..] };
            assert!(answer.bytes == expected, "If-Range: {condition}");
        }
    })
    .await;
}

#[tokio::test]
async fn if_match_refuses_another_content() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        let device = server.device("d1");
        let own = sha1(&content);
        for (tag, status) in [(own.as_str(), 200), ("*", 200), ("0000", 412)] {
            device.get_with(&path, &[("if-match", tag)]).await.expect(status);
        }
    })
    .await;
}

#[tokio::test]
async fn whole_downloads_are_noted_and_ranges_are_not() {
    on_each_engine(async |server: Server| {
        let (path, _, action) = prepared(&server).await;
        for n in 0..50 {
            let range = format!("bytes={}-{}", n * 4000, n * 4000 + 3999);
            ranged(&server, &path, &range).await.expect(206);
        }
        ranged(&server, &path, "bytes=0-9,20-29").await.expect(206);
        assert_eq!(server.status_types("d1", action).await, ["running"]);

        let device = server.device("d1");
        device.get(&path).await.expect(200);
        let rows = server.status_rows("d1", action).await;
        let message = format!("Update Server: Target downloads {}{path}", device.root);
        assert_eq!(rows[1..], [("download".to_owned(), vec![message])]);
    })
    .await;
}

#[tokio::test]
async fn the_md5sum_file() {
    on_each_engine(async |server: Server| {
        let (path, content, _) = prepared(&server).await;
        let sum = server.device("d1").get(&format!("{path}.MD5SUM")).await.expect(200);
        assert!(sum.header("content-type").unwrap().starts_with("text/plain"));
        let disposition = "attachment;filename=a.bin.MD5SUM";
        assert_eq!(sum.header("content-disposition"), Some(disposition));
        assert_eq!(sum.bytes, format!("{}  a.bin", md5(&content)).into_bytes());
    })
    .await;
}

#[tokio::test]
async fn only_the_device_that_has_work_may_download_and_only_meanwhile() {
    on_each_engine(async |server: Server| {
        let (path, _, action) = prepared(&server).await;
        server.target("d2").await;
        server.device("d2").get(&path).await.expect(404);
        server.device("ghost").get(&path).await.expect(404);
        let device = server.device("d1");
        device.get("/softwaremodules/99999/artifacts/a.bin").await.expect(404);
        device.get(&path.replace("a.bin", "b.bin")).await.expect(404);
        device.feedback(action, "closed", "success").await.expect_empty(200);
        let key = "hawkbit.server.error.repo.entityNotFound";
        for path in [path.clone(), format!("{path}.MD5SUM")] {
            assert_eq!(device.get(&path).await.expect_error(404, key).json().get("info"), None);
        }
        ranged(&server, &path, "bytes=0-9").await.expect_error(404, key);
    })
    .await;
}

#[tokio::test]
async fn file_names_beyond_ascii_survive_link_and_download() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let name = "räpeln&co#1.bin";
        let (_, action) = server.pending("d1", &[(name, b"abc")]).await;
        let device = server.device("d1");
        let base = device.get(&format!("/deploymentBase/{action}")).await.expect(200).json();
        let artifact = &base["deployment"]["chunks"][0]["artifacts"][0];
        assert_eq!(artifact["filename"], name);
        let href = artifact["_links"]["download-http"]["href"].as_str().unwrap();
        let path = href.strip_prefix(&format!("{}{}", server.base, device.root)).unwrap();
        assert_eq!(device.get(path).await.expect(200).bytes, b"abc");
    })
    .await;
}

/// A target `d1` with one file to download: its path below the device, the content, the action.
async fn prepared(server: &Server) -> (String, Vec<u8>, i64) {
    server.allow_devices().await;
    let content = bytes_of(LENGTH, 11);
    let (Set { module, .. }, action) = server.pending("d1", &[("a.bin", &content)]).await;
    (format!("/softwaremodules/{module}/artifacts/a.bin"), content, action)
}

async fn ranged(server: &Server, path: &str, range: &str) -> Answer {
    server.device("d1").get_with(path, &[("range", range)]).await
}

/// `Content-Range` and bytes of each part.
fn parts_of(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let delimiter = format!("--{BOUNDARY}").into_bytes();
    let mut starts: Vec<usize> = Vec::new();
    for at in 0..body.len().saturating_sub(delimiter.len() - 1) {
        if body[at..].starts_with(&delimiter) {
            starts.push(at);
        }
    }
    let part = |pair: &[usize]| {
        let part = &body[pair[0] + delimiter.len()..pair[1]];
        let split = part.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&part[..split]).into_owned();
        let range = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-range").then(|| value.trim().to_owned())
        });
        let content = part[split + 4..].strip_suffix(b"\r\n").unwrap();
        (range.expect("a Content-Range"), content.to_vec())
    };
    starts.windows(2).map(part).collect()
}

fn sha1(bytes: &[u8]) -> String {
    use sha1::Digest as _;
    hex::encode(sha1::Sha1::digest(bytes))
}

fn md5(bytes: &[u8]) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(bytes))
}
