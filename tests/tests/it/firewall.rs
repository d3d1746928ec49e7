//! Requests that no handler gets to see: foreign hosts, odd methods and paths, heads that are too long, and what has to
//! come over TLS.

use reqwest::Method;

use crate::harness::{Connection, Engine, RawAnswer, Server};

async fn send(server: &Server, line: &str, headers: &str) -> RawAnswer {
    let mut connection = Connection::open(server.port).await;
    connection.send(format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await;
    connection.answer().await.expect("an answer")
}

#[track_caller]
fn expect_bad_request(answer: &RawAnswer, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {}", answer.head);
    let body = answer.json();
    assert_eq!((&body["status"], &body["error"]), (&400.into(), &"Bad Request".into()), "{what}");
}

#[tokio::test]
async fn odd_methods_and_paths_are_refused_to_everyone() {
    let server = Server::start(Engine::Sqlite).await;
    server.allow_devices().await;
    let device = format!("Host: h\r\nAuthorization: {}\r\n", server.device("d1").authorization);
    for name in ["a;b", "a%3Bb", "a%2Fb", "a%5cb", "a%25b", "%2e%2e", "a//b", "./a", "../d1", "a%0ab", "a%", "a%zz"] {
        for headers in ["Host: h\r\n", &device] {
            let answer = send(&server, &format!("GET /DEFAULT/controller/v1/{name}"), headers).await;
            expect_bad_request(&answer, name);
        }
    }
    for method in ["TRACE", "PROPFIND", "get"] {
        expect_bad_request(&send(&server, &format!("{method} /rest/v1/targets"), &device).await, method);
    }
    let list = server.get("/rest/v1/targets").await.expect(200).json();
    assert_eq!(list["total"], 0, "{list}");
    for name in ["a.b", "..a", "a,b", "a:b", "%C3%A4", "a=b&c"] {
        let answer = send(&server, &format!("GET /DEFAULT/controller/v1/{name}"), &device).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.head);
    }
}

#[tokio::test]
async fn only_allowed_host_names_are_served() {
    let settings = ["hawkbit.server.security.allowedHostNames=updates.example.com,127.0.0.1"];
    let server = Server::start_with(Engine::Sqlite, &settings).await;
    let authorization = server.admin.clone();
    let get = async |path: &str, host: &str, more: &str| {
        let headers = format!("Host: {host}\r\nAuthorization: {authorization}\r\n{more}");
        send(&server, &format!("GET {path}"), &headers).await
    };
    for host in ["updates.example.com", "updates.example.com:8443", "127.0.0.1"] {
        assert_eq!(get("/rest/v1/targets", host, "").await.status, 200, "{host}");
    }
    for host in ["evil.example.com", "updates.example.com.evil", "", "a b"] {
        expect_bad_request(&get("/rest/v1/targets", host, "").await, host);
        expect_bad_request(&get("/", host, "").await, host);
    }
    // A trusted proxy says which host was asked for.
    let forwarded = "X-Forwarded-Host: updates.example.com\r\n";
    assert_eq!(get("/rest/v1/targets", "inner", forwarded).await.status, 200);
    let forwarded = "X-Forwarded-Host: evil.example.com\r\n";
    expect_bad_request(&get("/rest/v1/targets", "127.0.0.1", forwarded).await, "forwarded");
    for probe in ["/health/live", "/health/ready", "/health/ready/http"] {
        assert_eq!(get(probe, "10.0.0.7", "").await.status, 200, "{probe}: probes come by address");
    }
    expect_bad_request(&get("/health/ready/", "10.0.0.7", "").await, "another path");
}

#[tokio::test]
async fn both_apis_can_be_kept_to_tls() {
    let server = Server::start_with(Engine::Sqlite, &["hawkbit.server.security.requireSsl=true"]).await;
    let admin = server.admin.as_str();
    for (host, path, location) in [
        ("h.example", "/rest/v1/targets?limit=1&q=name==a", "https://h.example/rest/v1/targets?limit=1&q=name==a"),
        ("h.example:8080", "/DEFAULT/controller/v1/d1", "https://h.example:8443/DEFAULT/controller/v1/d1"),
        ("h.example:9000", "/rest/v1/nothing", "https://h.example/rest/v1/nothing"),
        (
            "[::1]",
            "/T/controller/v1/d/softwaremodules/1/artifacts/a%20b",
            "https://[::1]/T/controller/v1/d/softwaremodules/1/artifacts/a%20b",
        ),
    ] {
        let headers = [("host", host), ("authorization", admin)];
        let answer = server.request(Method::GET, path, &headers, None).await.expect_empty(302);
        assert_eq!(answer.header("location"), Some(location));
    }
    let proxied = [("authorization", admin), ("x-forwarded-proto", "https")];
    server.request(Method::GET, "/rest/v1/targets", &proxied, None).await.expect(200);
    let headers = [("authorization", admin), ("x-forwarded-proto", "http")];
    server.request(Method::POST, "/rest/v1/targets", &headers, Some(b"[]".to_vec())).await.expect(302);
    server.request(Method::GET, "/health/ready", &[], None).await.expect(200);
}

#[tokio::test]
async fn long_heads_end_in_a_clear_status() {
    let server = Server::start(Engine::Sqlite).await;
    let headers = format!("Host: h\r\nAuthorization: {}\r\n", server.admin);
    let many = (0..10_000).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join("&");
    assert_eq!(send(&server, &format!("GET /rest/v1/targets?{many}"), &headers).await.status, 414);
    let fewer = (0..5_000).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join("&");
    assert_eq!(send(&server, &format!("GET /rest/v1/targets?{fewer}"), &headers).await.status, 200);
    let twice = "limit=1&limit=2&offset=0&offset=1";
    assert_eq!(send(&server, &format!("GET /rest/v1/targets?{twice}"), &headers).await.status, 200);
    let long = "x".repeat(70_000);
    assert_eq!(send(&server, &format!("GET /DEFAULT/controller/v1/{long}"), &headers).await.status, 414);
    let long = format!("{headers}X-Long: {}\r\n", "x".repeat(1_000_000));
    assert_eq!(send(&server, "GET /rest/v1/targets", &long).await.status, 431);
    let many: String = (0..200).map(|n| format!("X-Many-{n}: v\r\n")).collect();
    assert_eq!(send(&server, "GET /rest/v1/targets", &format!("{headers}{many}")).await.status, 431);
    server.get("/rest/v1/targets").await.expect(200);
}
