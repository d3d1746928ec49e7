//! Conditional requests, HEAD and OPTIONS, and the media type of answers, as every GET has them.

use reqwest::Method;

use crate::harness::{Answer, Engine, Server};

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("authorization", server.admin.as_str())];
    all.extend(headers);
    server.request(Method::GET, path, &all, None).await
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let (_, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
    for path in ["/rest/v1/targets", "/rest/v1/targets/d1", "/rest/v1/actions", "/rest/v1/userinfo"] {
        let first = server.get(path).await.expect(200);
        let etag = first.header("etag").unwrap_or_else(|| panic!("{path} has no ETag")).to_owned();
        assert!(etag.starts_with("\"0") && etag.len() == 35, "{etag}");
        for asked in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}")] {
            let again = get(&server, path, &[("if-none-match", &asked)]).await.expect_empty(304);
            assert_eq!(again.header("etag"), Some(etag.as_str()));
            assert_eq!(again.header("content-type"), None);
        }
        let two = [("if-none-match", "\"x\""), ("if-none-match", etag.as_str())];
        get(&server, path, &two).await.expect_empty(304);
        for other in ["\"x\"", "*", etag.trim_matches('"'), ""] {
            get(&server, path, &[("if-none-match", other)]).await.expect(200);
        }
        get(&server, path, &[("if-match", "\"x\"")]).await.expect(200);
    }
    let device = server.device("d1");
    for path in [String::new(), format!("/deploymentBase/{action}")] {
        let etag = device.get(&path).await.expect(200).header("etag").unwrap().to_owned();
        device.get_with(&path, &[("if-none-match", &etag)]).await.expect_empty(304);
        let cbor = device.get_with(&path, &[("accept", "application/cbor"), ("if-none-match", &etag)]).await;
        assert_ne!(cbor.expect(200).header("etag"), Some(etag.as_str()), "another form has another ETag");
    }
}

#[tokio::test]
async fn errors_and_downloads_have_no_etag_and_nothing_has_one() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let (set, _) = server.pending("d1", &[("a.bin", b"abc")]).await;
    for path in ["/rest/v1/targets/nope", "/rest/v1/nothing", "/rest/v1/targets?sort=x"] {
        let answer = get(&server, path, &[("if-none-match", "*")]).await;
        assert!(answer.status >= 400 && answer.header("etag").is_none(), "{answer:?}");
    }
    let artifacts = format!("/softwaremodules/{}/artifacts", set.module);
    for path in [artifacts.clone(), format!("{artifacts}/a.bin.MD5SUM")] {
        assert_eq!(server.device("d1").get(&path).await.expect(200).header("etag"), None, "{path}");
    }
    let sha1 = "\"a9993e364706816aba3e25717850c26c9cd0d89d\"";
    let file = server.device("d1").get(&format!("{artifacts}/a.bin")).await.expect(200);
    assert_eq!(file.header("etag"), Some(sha1));
    let list = server.get(&format!("/rest/v1{artifacts}")).await.expect(200);
    assert!(list.header("etag").is_some(), "the operators' list is no download");
    server.target("d2").await;
    let nothing = server.get("/rest/v1/targets/d2/assignedDS").await.expect_empty(204);
    assert_eq!(nothing.header("etag"), Some("\"0d41d8cd98f00b204e9800998ecf8427e\""), "hawkBit: of no bytes");
}

#[tokio::test]
async fn head_tells_what_get_would_send() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let (_, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
    let same = |head: Answer, get: Answer| {
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert_eq!(head.header("content-length"), Some(get.bytes.len().to_string().as_str()), "{}", head.request);
        assert_eq!(head.header("etag"), None, "hawkBit has ETags on GET alone");
    };
    let headers = [("authorization", server.admin.as_str())];
    for path in ["/rest/v1/targets", "/rest/v1/targets/d1"] {
        let head = server.request(Method::HEAD, path, &headers, None).await.expect_empty(200);
        same(head, server.get(path).await);
    }
    for path in [String::new(), format!("/deploymentBase/{action}")] {
        let head = server.device("d1").head(&path).await.expect_empty(200);
        same(head, server.device("d1").get(&path).await);
    }
    server.request(Method::HEAD, "/rest/v1/targets/nope", &headers, None).await.expect_empty(404);
    server.request(Method::HEAD, "/rest/v1/targets", &[], None).await.expect_empty(401);
}

#[tokio::test]
async fn who_is_no_device_learns_nothing_of_the_device_api() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let device = server.device("d1");
    let authorization = device.authorization.clone();
    for (method, path, known) in [
        (Method::OPTIONS, "", 200),
        (Method::POST, "", 405),
        (Method::GET, "/nothing", 404),
        (Method::DELETE, "/configData", 405),
    ] {
        let path = format!("{}{path}", device.root);
        let answer = server.request(method.clone(), &path, &[], None).await.expect_empty(401);
        assert_eq!(answer.header("allow"), None);
        server.request(method, &path, &[("authorization", &authorization)], None).await.expect(known);
    }
}

#[tokio::test]
async fn answers_are_hal_unless_json_is_preferred() {
    let server = Server::start(Engine::Sqlite).await;
    server.target("d1").await;
    for (accept, expected) in [
        ("*/*", "application/hal+json"),
        ("application/json", "application/json"),
        ("application/hal+json", "application/hal+json"),
        ("application/json, application/hal+json;q=0.9", "application/json"),
        ("application/json;q=0.8, application/hal+json", "application/hal+json"),
    ] {
        let answer = get(&server, "/rest/v1/targets/d1", &[("accept", accept)]).await.expect(200);
        assert_eq!(answer.header("content-type"), Some(expected), "{accept}");
        assert!(answer.json()["_links"]["self"]["href"].is_string(), "{accept}");
    }
    for accept in ["application/cbor", "text/html"] {
        get(&server, "/rest/v1/targets/d1", &[("accept", accept)]).await.expect(406);
    }
}
