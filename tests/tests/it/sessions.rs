//! Sessions, ours: opened at `/session`, valid on every node, and of no use to other sites' pages.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Engine, Link, Redis, Server, Store, basic, eventually, on_each_engine};

const PATIENCE: Duration = Duration::from_secs(20);
const TARGETS: &str = "/rest/v1/targets";

/// The cookie of a new session, as it is sent back.
async fn open(server: &Server, user: &str, password: &str) -> String {
    let answer = try_open(server, user, password, &[]).await.expect(200);
    let cookie = answer.header("set-cookie").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn try_open(server: &Server, user: &str, password: &str, more: &[(&str, &str)]) -> Answer {
    let body = json!({"username": user, "password": password}).to_string().into_bytes();
    let headers: Vec<_> = [("content-type", "application/json")].iter().chain(more).copied().collect();
    server.request(Method::POST, "/session", &headers, Some(body)).await
}

async fn with(server: &Server, cookie: &str, method: Method, path: &str) -> Answer {
    server.request(method, path, &[("cookie", cookie), ("sec-fetch-site", "same-origin")], None).await
}

async fn get(server: &Server, cookie: &str) -> Answer {
    with(server, cookie, Method::GET, "/rest/v1/userinfo").await
}

#[tokio::test]
async fn a_session_stands_for_a_login_until_it_is_closed() {
    on_each_engine(async |server: Server| {
        let answer = try_open(&server, "admin", "admin", &[]).await.expect(200);
        let cookie = answer.header("set-cookie").unwrap().to_owned();
        let (pair, rest) = cookie.split_once(';').unwrap();
        assert_eq!(rest, " Path=/; HttpOnly; SameSite=Strict");
        let body = answer.json();
        assert_eq!((&body["username"], &body["tenant"]), (&json!("admin"), &json!("DEFAULT")));
        let minutes = (body["expiresAt"].as_i64().unwrap() - body["createdAt"].as_i64().unwrap()) / 60_000;
        assert_eq!(minutes, 30);

        let info = get(&server, pair).await.expect(200).json();
        assert_eq!(info, server.get("/rest/v1/userinfo").await.expect(200).json());
        assert_eq!(with(&server, pair, Method::GET, "/session").await.expect(200).json()["username"], "admin");

        let other = open(&server, "admin", "admin").await;
        let closed = with(&server, pair, Method::DELETE, "/session").await.expect_empty(204);
        assert!(closed.header("set-cookie").unwrap().starts_with("kettle_session=; Max-Age=0;"));
        get(&server, pair).await.expect(401);
        get(&server, &other).await.expect(200);
        let third = open(&server, "admin", "admin").await;
        with(&server, &third, Method::DELETE, "/session/all").await.expect_empty(204);
        for cookie in [&other, &third] {
            let refused = get(&server, cookie).await.expect(401);
            assert_eq!(refused.header("www-authenticate"), None, "a browser is not to ask for a password by itself");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_session_is_refused() {
    on_each_engine(async |server: Server| {
        let cookie = open(&server, "admin", "admin").await;
        let secret = cookie.strip_prefix("kettle_session=").unwrap();
        assert_eq!(secret.len(), 64);
        let store = Store::of(&server).await;
        let id: String = store.rows("SELECT id FROM kt_session", []).await[0].try_get("", "id").unwrap();
        let reversed: String = secret.chars().rev().collect();
        for wrong in [&reversed, &id, &"0".repeat(64), &secret[1..].to_owned(), &String::new()] {
            with(&server, &format!("kettle_session={wrong}"), Method::GET, "/session").await.expect(401);
            with(&server, &format!("kettle_session={wrong}"), Method::GET, TARGETS).await.expect(401);
        }
        server.request(Method::GET, "/session", &[("authorization", &server.admin)], None).await.expect(401);
        // A header says who calls, if there is one.
        let wrong = basic("admin", "wrong");
        let headers = [("cookie", cookie.as_str()), ("authorization", wrong.as_str())];
        server.request(Method::GET, TARGETS, &headers, None).await.expect(401);

        let refused = try_open(&server, "admin", "wrong", &[]).await.expect(401);
        assert_eq!((refused.header("set-cookie"), refused.header("www-authenticate")), (None, None));
        for body in ["", "{}", "[]", r#"{"username": "admin"}"#, r#"{"username": ["admin"], "password": "admin"}"#] {
            let headers = [("content-type", "application/json")];
            let answer = server.request(Method::POST, "/session", &headers, Some(body.into())).await;
            assert_eq!((answer.status, answer.header("set-cookie")), (400, None), "{body}");
        }
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = Some(b"username=admin&password=admin".to_vec());
        server.request(Method::POST, "/session", &form, body).await.expect(415);
    })
    .await;
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    on_each_engine(async |server: Server| {
        let cookie = open(&server, "admin", "admin").await;
        let own = server.base.clone();
        let mut made = 0;
        for (headers, allowed) in [
            (vec![], false),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![("sec-fetch-site", "cross-site"), ("origin", own.as_str())], false),
            (vec![("origin", own.as_str())], true),
            (vec![("origin", "http://evil.example")], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "http://127.0.0.1")], false),
        ] {
            let body = json!([{"controllerId": format!("d{made}")}]).to_string().into_bytes();
            let mut all = vec![("cookie", cookie.as_str()), ("content-type", "application/json")];
            all.extend(headers.iter().copied());
            let answer = server.request(Method::POST, TARGETS, &all, Some(body)).await;
            assert_eq!(answer.status, if allowed { 201 } else { 403 }, "{headers:?}");
            made += i64::from(allowed);
            let all: Vec<_> = [("cookie", cookie.as_str())].into_iter().chain(headers).collect();
            server.request(Method::GET, TARGETS, &all, None).await.expect(200);
        }
        assert_eq!(server.get(TARGETS).await.expect(200).json()["total"], made);
        for path in ["/session", "/session/all"] {
            let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")];
            server.request(Method::DELETE, path, &headers, None).await.expect(403);
        }
        let foreign = try_open(&server, "admin", "admin", &[("origin", "http://evil.example")]).await;
        assert_eq!((foreign.status, foreign.header("set-cookie")), (403, None));
        get(&server, &cookie).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn over_tls_the_cookie_never_goes_without() {
    let secure = Server::start_with(Engine::Sqlite, &["kettle.public-url=https://updates.example.com/up"]).await;
    let answer = try_open(&secure, "admin", "admin", &[]).await.expect(200);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    for (origin, status) in [("https://updates.example.com", 204), ("http://updates.example.com", 403)].iter().rev() {
        let headers = [("cookie", pair.as_str()), ("origin", *origin)];
        secure.request(Method::DELETE, "/session", &headers, None).await.expect(*status);
    }
    let plain = Server::start(Engine::Sqlite).await;
    let proxied = try_open(&plain, "admin", "admin", &[("x-forwarded-proto", "https")]).await.expect(200);
    assert!(proxied.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_at_last_anyway() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let settings = ["server.servlet.session.timeout=4", "kettle.session.longest=8s"];
        let server = Server::start_with(engine, &settings).await;
        let (idle, used) = (open(&server, "admin", "admin").await, open(&server, "admin", "admin").await);
        let mut times = Vec::new();
        eventually(PATIENCE, "the unused session is over", async || {
            times.push(with(&server, &used, Method::GET, "/session").await.expect(200).json()["expiresAt"].as_i64());
            // Being asked for would be use; the row tells.
            let store = Store::of(&server).await;
            let now = store.db.engine().now_ms();
            let over = store.number(&format!("SELECT count(*) AS n FROM kt_session WHERE expires_at <= {now}")).await;
            (over == 1).then_some(())
        })
        .await;
        get(&server, &idle).await.expect(401);
        times.dedup();
        assert!(times.len() > 1 && times.is_sorted(), "use prolongs it: {times:?}");
        eventually(PATIENCE, "the used session is over too", async || {
            (get(&server, &used).await.status == 401).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_is_changed_in_the_configuration_has_no_session_any_more() {
    let user = |name: &str, password: &str| {
        [
            format!("hawkbit.security.user.{name}.password={{noop}}{password}"),
            format!("hawkbit.security.user.{name}.tenant=DEFAULT"),
            format!("hawkbit.security.user.{name}.roles=TENANT_ADMIN"),
        ]
    };
    let before: Vec<String> = [user("ann", "a"), user("bob", "b"), user("eve", "e")].concat();
    let after: Vec<String> = [user("ann", "a"), user("bob", "changed")].concat();
    let [before, after] = [&before, &after].map(|all| all.iter().map(String::as_str).collect::<Vec<_>>());
    let a = Server::start_with(Engine::Postgres, &before).await;
    let [ann, bob, eve] = [("ann", "a"), ("bob", "b"), ("eve", "e")].map(|(name, password)| open(&a, name, password));
    let (ann, bob, eve) = (ann.await, bob.await, eve.await);
    let b = a.another_node_with(&after).await;
    get(&b, &ann).await.expect(200);
    get(&b, &bob).await.expect(401);
    get(&b, &eve).await.expect(401);
    get(&a, &bob).await.expect(200);
}

#[tokio::test]
async fn a_session_opened_on_one_node_goes_on_on_the_other() {
    let mut a = Server::start(Engine::Postgres).await;
    let b = a.another_node().await;
    let (first, second) = (open(&a, "admin", "admin").await, open(&a, "admin", "admin").await);
    get(&b, &first).await.expect(200);
    with(&b, &second, Method::DELETE, "/session").await.expect_empty(204);
    get(&a, &second).await.expect(401);
    a.kill9();
    get(&b, &first).await.expect(200);
    a.restart();
    get(&a, &first).await.expect(200);
}

#[tokio::test]
async fn failed_logins_here_count_as_everywhere() {
    let settings = ["kettle.login.failures-per-user=2", "kettle.login.first-delay=1m"];
    let server = Server::start_with(Engine::Sqlite, &settings).await;
    try_open(&server, "admin", "wrong", &[]).await.expect(401);
    server.get_as(&basic("admin", "wrong"), "/rest/v1/userinfo").await.expect(401);
    let refused = try_open(&server, "admin", "admin", &[]).await;
    let refused = refused.expect_error(429, "hawkbit.server.error.tooManyFailedLogins");
    assert!(refused.header("retry-after").is_some() && refused.header("set-cookie").is_none());
}

#[tokio::test]
async fn neither_cookies_nor_passwords_are_logged() {
    let server = Server::start_with(Engine::Sqlite, &["kettle.log.filter=trace", "kettle.log.requests=all"]).await;
    let cookie = open(&server, "admin", "admin").await;
    try_open(&server, "admin", "some-wrong-password", &[]).await.expect(401);
    get(&server, &cookie).await.expect(200);
    let log = server.log_text();
    let secret = cookie.strip_prefix("kettle_session=").unwrap();
    assert!(log.contains("/rest/v1/userinfo") && !log.contains(secret));
    assert!(!log.contains("some-wrong-password"));
}

#[tokio::test]
async fn redis_keeps_them_and_the_database_does_while_it_is_away() {
    let redis = Redis::start();
    let own = redis.settings();
    let settings: Vec<&str> = own.iter().map(String::as_str).collect();
    let a = Server::start_with(Engine::Postgres, &settings).await;
    let b = a.another_node().await;
    let rows = Store::of(&a).await;
    let in_database = async || rows.number("SELECT count(*) AS n FROM kt_session").await;
    let (first, second) = (open(&a, "admin", "admin").await, open(&a, "admin", "admin").await);
    let third = open(&b, "admin", "admin").await;
    get(&b, &first).await.expect(200);
    with(&b, &second, Method::DELETE, "/session").await.expect_empty(204);
    get(&a, &second).await.expect(401);
    get(&a, &first).await.expect(200);
    assert_eq!(in_database().await, 0);
    with(&a, &third, Method::DELETE, "/session/all").await.expect_empty(204);
    get(&b, &first).await.expect(401);

    redis.kill9();
    let fourth = open(&a, "admin", "admin").await;
    get(&b, &fourth).await.expect(200);
    assert_eq!(in_database().await, 1);
    redis.restart();
    eventually(PATIENCE, "sessions are in Redis again", async || {
        let before = in_database().await;
        let cookie = open(&a, "admin", "admin").await;
        get(&b, &cookie).await.expect(200);
        (in_database().await == before).then_some(())
    })
    .await;
    get(&b, &fourth).await.expect(200);
}

/// It leaves Redis alone for a second after a failure; what it would be wrong about, it asks all the same.
#[tokio::test]
async fn a_node_knows_what_is_in_redis_as_soon_as_it_reaches_it_again() {
    let redis = Redis::start();
    let link = Link::to(format!("127.0.0.1:{}", redis.port));
    let own = redis.settings();
    let settings: Vec<&str> = own.iter().map(String::as_str).collect();
    let a = Server::start_with(Engine::Postgres, &settings).await;
    let b = a.another_node_with(&[settings[0], &format!("spring.data.redis.port={}", link.port)]).await;
    let cookie = open(&a, "admin", "admin").await;
    for _ in 0..3 {
        get(&b, &cookie).await.expect(200);
        link.cut();
        get(&b, &cookie).await.expect(401);
        link.mend();
        get(&b, &cookie).await.expect(200);
        link.cut();
        get(&b, &cookie).await.expect(401);
        with(&b, &cookie, Method::DELETE, "/session").await.expect(401);
        link.mend();
    }
    with(&b, &cookie, Method::DELETE, "/session").await.expect_empty(204);
    get(&a, &cookie).await.expect(401);
}
