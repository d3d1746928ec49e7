use std::path::PathBuf;

use super::*;

/// A file on disk for one test.
struct Fixture(PathBuf);

impl Fixture {
    async fn new(name: &str, content: &[u8]) -> Fixture {
        let path = std::env::temp_dir().join(format!("kettle-rest-{}-{name}", std::process::id()));
        tokio::fs::write(&path, content).await.unwrap();
        Fixture(path)
    }

    async fn get(&self, method: Method, len: u64, headers: &[(&'static str, &str)]) -> Response {
        let headers = headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let meta = FileMeta { len, sha1: "abc".into(), last_modified_ms: 946_684_800_500, filename: "a.bin".into() };
        file_response(&method, &headers, tokio::fs::File::open(&self.0).await.unwrap(), &meta).await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

async fn content(response: Response) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn a_whole_file_is_described_and_sent() {
    let data = bytes(300_000);
    let file = Fixture::new("whole", &data).await;
    let response = file.get(Method::GET, 300_000, &[]).await;
    assert_eq!(response.status(), 200);
    let mut headers: Vec<_> = response.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "accept-ranges: bytes",
            "content-disposition: attachment;filename=a.bin",
            "content-length: 300000",
            "content-type: application/octet-stream",
            "etag: \"abc\"",
            "last-modified: Sat, 01 Jan 2000 00:00:00 GMT",
            "x-content-type-options: nosniff",
        ]
    );
    assert_eq!(content(response).await, data);
}

#[tokio::test]
async fn head_sends_the_headers_alone_and_knows_no_ranges() {
    let file = Fixture::new("head", &bytes(100)).await;
    let response = file.get(Method::HEAD, 100, &[("range", "bytes=0-9")]).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-length"]), (200, &"100".parse().unwrap()));
    assert!(content(response).await.is_empty());
}

#[tokio::test]
async fn a_range_is_cut_out() {
    let data = bytes(400_000);
    let file = Fixture::new("range", &data).await;
    for (range, first, last) in
        [("bytes=0-0", 0, 0), ("bytes=1000-399000", 1000, 399_000), ("bytes=-10", 399_990, 399_999)]
    {
        let response = file.get(Method::GET, 400_000, &[("range", range)]).await;
        assert_eq!(response.status(), 206);
        assert_eq!(response.headers()["content-range"], format!("bytes {first}-{last}/400000"));
        assert_eq!(response.headers()["content-length"], format!("{}", last - first + 1));
        assert_eq!(content(response).await, data[first..=last], "{range}");
    }
}

#[tokio::test]
async fn several_ranges_come_as_parts_of_the_announced_length() {
    let data = bytes(400_000);
    let file = Fixture::new("several", &data).await;
    let response = file.get(Method::GET, 400_000, &[("range", "bytes=399999-,5-6,1000-300000")]).await;
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["content-type"], "multipart/byteranges; boundary=THIS_STRING_SEPARATES_MULTIPART");
    let announced: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let mut expected = Vec::new();
    for (first, last) in [(5, 6), (1000, 300_000), (399_999, 399_999)] {
        let head = format!(
            "{}--THIS_STRING_SEPARATES_MULTIPART\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {first}-{last}/400000\r\n\r\n",
            if expected.is_empty() { "" } else { "\r\n" }
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&data[first..=last]);
    }
    expected.extend_from_slice(b"\r\n--THIS_STRING_SEPARATES_MULTIPART--");
    let sent = content(response).await;
    assert!(sent == expected);
    assert_eq!(sent.len(), announced);
}

#[tokio::test]
async fn a_range_beyond_the_end_is_refused_with_the_length() {
    let file = Fixture::new("beyond", &bytes(100)).await;
    let response = file.get(Method::GET, 100, &[("range", "bytes=100-")]).await;
    assert_eq!(response.status(), 416);
    assert_eq!(response.headers()["content-range"], "bytes */100");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.headers()["content-disposition"], "attachment;filename=a.bin");
    assert!(content(response).await.is_empty());
}

#[tokio::test]
async fn an_empty_file_is_sent_whole() {
    let file = Fixture::new("empty", &[]).await;
    let response = file.get(Method::GET, 0, &[]).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-length"]), (200, &"0".parse().unwrap()));
    assert!(content(response).await.is_empty());
}

#[tokio::test]
async fn a_file_that_is_too_short_breaks_the_answer_off() {
    let file = Fixture::new("short", &bytes(100)).await;
    let response = file.get(Method::GET, 200, &[]).await;
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap_err();
}

#[tokio::test]
async fn if_match_asks_for_this_very_file() {
    let file = Fixture::new("match", &bytes(100)).await;
    for (condition, status) in
        [("abc", 200), ("\"abc\"", 200), ("\"x\", abc", 200), ("*", 200), ("\"x\"", 412), ("", 412)]
    {
        let response = file.get(Method::GET, 100, &[("if-match", condition)]).await;
        assert_eq!(response.status(), status, "{condition}");
    }
}

#[test]
fn a_filename_never_breaks_the_header() {
    for (filename, expected) in [
        ("a.bin", "attachment;filename=a.bin"),
        ("fw v1.bin", "attachment;filename=fw v1.bin"),
        ("a;b=\"c\\d\".bin", "attachment;filename=\"a;b=\\\"c\\\\d\\\".bin\""),
        ("日.bin", "attachment;filename=\"_.bin\";filename*=UTF-8''%E6%97%A5.bin"),
        ("a\r\nX: y", "attachment;filename=\"a  X: y\""),
        ("", "attachment;filename="),
    ] {
        assert_eq!(attachment(filename), expected, "{filename:?}");
    }
    assert_eq!(attachment("für.bin").as_bytes(), b"attachment;filename=f\xfcr.bin");
    assert_eq!(attachment(&"x".repeat(79)), format!("attachment;filename={}", "x".repeat(78)));
    assert_eq!(attachment_as_is("a;b.MD5SUM"), "attachment;filename=a;b.MD5SUM");
}
