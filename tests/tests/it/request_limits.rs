//! More requests in a second than a client may make are refused, over all nodes together.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;

use crate::harness::{Answer, Engine, Redis, Server, kettle_command, linger};

const LIST: &str = "/rest/v1/targets?limit=1";

async fn ask(server: &Server, from: &str, method: Method, path: &str, authorization: &str) -> Answer {
    let headers = [("authorization", authorization), ("x-forwarded-for", from)];
    server.request(method, path, &headers, None).await
}

/// Sends requests all at once; how many were let through.
async fn at_once(server: &Server, count: usize, method: &Method, from: &str, path: &str, authorization: &str) -> usize {
    // Tried again if the machine was too slow for all to fall into one second.
    for _ in 0..10 {
        let begin = Instant::now();
        let requests = (0..count).map(|_| ask(server, from, method.clone(), path, authorization));
        let answers = join_all(requests).await;
        let took = begin.elapsed();
        for refused in answers.iter().filter(|answer| answer.status == 429) {
            assert_eq!((refused.bytes.len(), refused.header("retry-after")), (0, Some("1")));
        }
        linger(Duration::from_millis(1_050)).await;
        if took < Duration::from_millis(950) {
            return answers.iter().filter(|answer| answer.status != 429).count();
        }
    }
    panic!("the machine is too slow for {count} requests in a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_do_two_more_than_the_limit_in_a_second() {
    let settings = ["hawkbit.server.security.dos.filter.maxRead=5", "hawkbit.server.security.dos.filter.maxWrite=3"];
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let server = Server::start_with(engine, &settings).await;
        let admin = server.admin.clone();
        server.get(LIST).await.expect(200);
        let (get, delete) = (Method::GET, Method::DELETE);
        for _ in 0..2 {
            assert_eq!(at_once(&server, 20, &get, "203.0.113.1", LIST, &admin).await, 7);
        }
        assert_eq!(at_once(&server, 20, &delete, "203.0.113.1", "/rest/v1/targets/none", &admin).await, 5);
        assert_eq!(at_once(&server, 20, &get, "203.0.113.1", "/system/x", &admin).await, 7);
        assert_eq!(at_once(&server, 20, &get, "203.0.113.2", "/rest/v1/unknown", "").await, 7);
        for (from, path) in
            [("10.1.2.3", LIST), ("127.0.0.1", LIST), ("203.0.113.1", "/health/live"), ("203.0.113.1", "/metrics")]
        {
            assert_eq!(at_once(&server, 20, &get, from, path, &admin).await, 20, "{from} {path}");
        }
        assert!(server.log_text().contains("requests above the limit are refused"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_addresses_are_refused_and_allowed_ones_not_counted() {
    let settings = [
        "hawkbit.server.security.dos.filter.maxRead=2",
        r"hawkbit.server.security.clients.blacklist=(^198\.51\.100\.)",
        "kettle.limits.deny=203.0.113.66,2001:db8:bad::/48",
        "kettle.limits.allow=203.0.113.0/24",
    ];
    let server = Server::start_with(Engine::Sqlite, &settings).await;
    let admin = server.admin.clone();
    server.get(LIST).await.expect(200);
    for from in ["198.51.100.7", "203.0.113.66", "2001:db8:bad::1"] {
        for path in [LIST, "/DEFAULT/controller/v1/d1", "/session"] {
            ask(&server, from, Method::GET, path, &admin).await.expect_empty(403);
        }
        ask(&server, from, Method::GET, "/health/ready", "").await.expect(200);
    }
    assert_eq!(at_once(&server, 20, &Method::GET, "203.0.113.1", LIST, &admin).await, 20);
    assert_eq!(at_once(&server, 20, &Method::GET, "2001:db8::1", LIST, &admin).await, 4);

    let off = ["hawkbit.server.security.dos.filter.enabled=false", "kettle.limits.deny=203.0.113.66"];
    let off = Server::start_with(Engine::Sqlite, &[settings[0], off[0], off[1]]).await;
    off.get(LIST).await.expect(200);
    assert_eq!(at_once(&off, 20, &Method::GET, "192.0.2.1", LIST, &admin).await, 20);
    ask(&off, "203.0.113.66", Method::GET, LIST, &admin).await.expect_empty(403);
}

/// What a client says of itself is not believed.
#[tokio::test]
async fn only_a_trusted_proxy_names_the_address() {
    let settings = ["kettle.limits.deny=203.0.113.66", "kettle.trusted-proxies=192.0.2.1"];
    let server = Server::start_with(Engine::Sqlite, &settings).await;
    ask(&server, "203.0.113.66", Method::GET, LIST, &server.admin).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_behind_one_address_is_not_counted_as_one() {
    on_each_engine_with(
        &["hawkbit.server.security.dos.filter.maxRead=5", "kettle.limits.device.maxRead=4"],
        async |server| {
            server.allow_devices().await;
            let token = server.device("x").authorization;
            let path = |n: usize| format!("/DEFAULT/controller/v1/fleet-{n}");
            for n in 0..10 {
                server.device(&format!("fleet-{n}")).poll().await;
            }
            let polls = (0..40).map(|n| {
                let (server, token, path) = (&server, token.clone(), path(n % 10));
                async move { ask(server, "203.0.113.1", Method::GET, &path, &token).await.status }
            });
            let statuses = join_all(polls).await;
            assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
            linger(Duration::from_millis(1_050)).await;
            assert_eq!(at_once(&server, 20, &Method::GET, "203.0.113.1", &path(1), &token).await, 6);
            // Who proves nothing uses up the address's requests, and no device's.
            let unproven = at_once(&server, 20, &Method::GET, "203.0.113.1", &path(1), "GatewayToken wrong").await;
            assert_eq!(unproven, 7);
            ask(&server, "203.0.113.1", Method::GET, &path(1), &token).await.expect(200);
        },
    )
    .await;
}

async fn on_each_engine_with(settings: &[&str], test: impl AsyncFn(Server)) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Server::start_with(engine, settings).await).await;
    }
}

#[tokio::test]
async fn a_pattern_that_cannot_be_read_stops_the_start() {
    let out = kettle_command()
        .args(["serve", "--data", "/nonexistent/x", "--set", "hawkbit.server.security.clients.blacklist=(?=x)"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("clients.blacklist") && said.contains("(?=x)"), "{said}");
}

const LIMIT: u64 = 20;
/// Of the requests of three nodes' clients: what is let through in a second on average, from two seconds after the
/// beginning.
async fn rate(nodes: &[Server], seconds: u64) -> f64 {
    let begin = Instant::now();
    let (from, to) = (Duration::from_secs(3), Duration::from_secs(3 + seconds));
    let (passed, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    // One after the other, each to the next node.
    let client = async |first: usize| {
        let mut n = first;
        while begin.elapsed() < to {
            let status = ask(&nodes[n % nodes.len()], "203.0.113.1", Method::GET, "/rest/v1/x", "").await.status;
            assert!(status == 401 || status == 429, "{status}");
            if begin.elapsed() > from {
                asked.fetch_add(1, Ordering::Relaxed);
                passed.fetch_add(u64::from(status == 401), Ordering::Relaxed);
            }
            n += 1;
        }
    };
    tokio::join!(client(0), client(1), client(2));
    let measured = (begin.elapsed() - from).as_secs_f64();
    let [passed, asked] = [passed, asked].map(|count| count.into_inner() as f64 / measured);
    eprintln!("{passed:.1} of {asked:.1} requests in a second were let through");
    assert!(asked > 4.0 * LIMIT as f64, "too few to show anything: {asked:.1} a second");
    passed
}

async fn three_nodes(more: &[&str]) -> [Server; 3] {
    let limit = format!("hawkbit.server.security.dos.filter.maxRead={LIMIT}");
    let settings: Vec<&str> = [limit.as_str()].into_iter().chain(more.iter().copied()).collect();
    let a = Server::start_with(Engine::Postgres, &settings).await;
    let (b, c) = (a.another_node().await, a.another_node().await);
    [a, b, c]
}

/// A window sees two more than the limit, and an average of ten seconds the beginning of an eleventh window.
fn bound(seconds: u64) -> f64 {
    (LIMIT + 2) as f64 * (seconds + 1) as f64 / seconds as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_let_through_a_tenth_more_than_the_limit_at_most() {
    let nodes = three_nodes(&[]).await;
    let rate = rate(&nodes, 10).await;
    assert!(rate <= 1.1 * bound(10), "{rate}");
    assert!(rate >= 0.7 * LIMIT as f64, "{rate}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_three_nodes_count_exactly_and_without_it_go_on() {
    let redis = Redis::start();
    let own = redis.settings();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let nodes = three_nodes(&own).await;
    let with = rate(&nodes, 6).await;
    assert!(with <= bound(6) && with >= 0.8 * LIMIT as f64, "{with}");
    redis.kill9();
    let without = rate(&nodes, 6).await;
    assert!(without <= 1.1 * bound(6), "{without}");
    redis.restart();
    linger(Duration::from_millis(1_500)).await;
    let again = rate(&nodes, 6).await;
    assert!(again <= bound(6), "{again}");
}
