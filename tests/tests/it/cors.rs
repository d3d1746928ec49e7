//! Pages of other origins: refused or let in before anyone logs in, and only where that is configured.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Engine, Server};

const ORIGIN: &str = "http://ui.example.com";
const ON: &[&str] = &[
    "hawkbit.server.security.cors.enabled=true",
    "hawkbit.server.security.cors.allowedOrigins=http://first.example.com,http://ui.example.com/",
    "hawkbit.server.security.cors.exposed-headers=ETag",
];

async fn ask(server: &Server, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [("origin", origin), ("access-control-request-method", method)];
    server.request(Method::OPTIONS, path, &headers, None).await
}

#[track_caller]
fn expect_refused(answer: Answer) {
    let answer = answer.expect(403);
    assert_eq!(String::from_utf8_lossy(&answer.bytes), "Invalid CORS request");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("content-type"), None);
    expect_vary(&answer);
}

#[track_caller]
fn expect_vary(answer: &Answer) {
    let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]);
}

#[tokio::test]
async fn allowed_pages_are_answered_and_others_refused() {
    let server = Server::start_with(Engine::Sqlite, ON).await;
    server.allow_devices().await;
    for path in ["/rest/v1/targets", "/rest/v1/nothing", "/DEFAULT/controller/v1/d1"] {
        let answer = ask(&server, path, ORIGIN, "GET").await.expect_empty(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), Some("DELETE,GET,POST,PATCH,PUT"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("ETag"));
        assert_eq!(answer.header("allow"), None);
        expect_vary(&answer);
        expect_refused(ask(&server, path, "http://evil.example.com", "GET").await);
        expect_refused(ask(&server, path, ORIGIN, "TRACE").await);
    }
    let headers = [("authorization", server.admin.as_str()), ("origin", ORIGIN)];
    for (path, status) in [("/rest/v1/targets", 200), ("/rest/v1/targets/nope", 404)] {
        let answer = server.request(Method::GET, path, &headers, None).await.expect(status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "{path}");
        assert_eq!(answer.header("access-control-allow-methods"), None);
        expect_vary(&answer);
    }
    let answer = server.request(Method::GET, "/rest/v1/targets", &[("origin", ORIGIN)], None).await.expect(401);
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN), "a page may read that it has to log in");
    let evil = [("authorization", server.admin.as_str()), ("origin", "null"), ("content-type", "application/json")];
    let body = json!([{"controllerId": "evil"}]).to_string().into_bytes();
    expect_refused(server.request(Method::POST, "/rest/v1/targets", &evil, Some(body)).await);
    server.get("/rest/v1/targets/evil").await.expect(404);

    let own = [("authorization", server.admin.as_str()), ("origin", server.base.as_str())];
    let answer = server.request(Method::GET, "/rest/v1/targets", &own, None).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    expect_vary(&answer);
    expect_vary(&server.get("/rest/v1/targets").await.expect(200));
}

#[tokio::test]
async fn downloads_and_pages_of_the_server_itself_take_no_part() {
    let server = Server::start_with(Engine::Sqlite, ON).await;
    server.allow_devices().await;
    let (set, _) = server.pending("d1", &[("a.bin", b"abc")]).await;
    let path = format!("/softwaremodules/{}/artifacts/a.bin", set.module);
    for origin in [ORIGIN, "http://evil.example.com"] {
        let answer = server.device("d1").get_with(&path, &[("origin", origin)]).await.expect(200);
        assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, None));
        server.request(Method::GET, "/health/ready", &[("origin", origin)], None).await.expect(200);
    }
    expect_refused(ask(&server, "/some_uri", ORIGIN, "GET").await);
}

#[tokio::test]
async fn the_device_api_can_be_left_out() {
    let settings = [ON, &["hawkbit.server.security.cors.disable-for-ddi-api=true"]].concat();
    let server = Server::start_with(Engine::Sqlite, &settings).await;
    server.allow_devices().await;
    let answer = server.device("d1").get_with("", &[("origin", "http://evil.example.com")]).await.expect(200);
    assert_eq!(answer.header("vary"), None);
    ask(&server, "/DEFAULT/controller/v1/d1", ORIGIN, "GET").await.expect_empty(401);
    ask(&server, "/rest/v1/targets", ORIGIN, "GET").await.expect_empty(200);
}

#[tokio::test]
async fn while_it_is_off_preflights_are_refused_and_nothing_else() {
    let server = Server::start(Engine::Sqlite).await;
    let headers =
        [("authorization", server.admin.as_str()), ("origin", ORIGIN), ("access-control-request-method", "GET")];
    expect_refused(server.request(Method::OPTIONS, "/rest/v1/targets", &headers, None).await);
    ask(&server, "/rest/v1/targets", ORIGIN, "GET").await.expect(401);
    let answer = server.request(Method::GET, "/rest/v1/targets", &headers, None).await.expect(200);
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), (None, None));
    server.request(Method::OPTIONS, "/rest/v1/targets", &headers[..2], None).await.expect_empty(200);
}
