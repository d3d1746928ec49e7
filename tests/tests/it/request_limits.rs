//! More requests in a second than a client may make are refused, over all nodes together.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;

use crate::harness::{Answer, Broker, Engine, Redis, Server, eventually, kettle_command, linger, timed};

const LIST: &str = "/rest/v1/targets?limit=1";
const PATIENCE: Duration = Duration::from_secs(30);

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
/// What a window lets through: two more than the limit.
const WHOLE: u64 = LIMIT + 2;
const SECOND: Duration = Duration::from_secs(1);

async fn three_nodes(more: &[&str]) -> [Server; 3] {
    let limits = ["security.dos.filter.maxRead", "security.dos.filter.maxWrite"];
    let limits = limits.map(|limit| format!("hawkbit.server.{limit}={LIMIT}"));
    let settings: Vec<&str> = limits.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let a = Server::start_with(Engine::Postgres, &settings).await;
    let (b, c) = (a.another_node().await, a.another_node().await);
    [a, b, c]
}

/// What one client sends to three nodes.
struct Load {
    name: &'static str,
    method: Method,
    path: &'static str,
    authorization: String,
    /// The answer to what is let through.
    status: u16,
    /// Requests to each node in a second.
    rates: [u32; 3],
}

impl Load {
    /// More than twice the limit, and less than the limit to each node: who counts alone lets all of it through.
    fn reads() -> Load {
        let authorization = String::new();
        Load { name: "reads", method: Method::GET, path: "/rest/v1/x", authorization, status: 401, rates: [18; 3] }
    }

    /// To each node another number.
    fn writes() -> Load {
        let (method, path) = (Method::DELETE, "/rest/v1/targets/none");
        Load { name: "writes", method, path, rates: [29, 14, 7], ..Load::reads() }
    }

    fn polls(authorization: String) -> Load {
        Load { name: "polls", path: "/DEFAULT/controller/v1/d1", authorization, status: 200, ..Load::reads() }
    }

    /// What the nodes together let through in a window, on average over so many: decisions/013 says how much that may be.
    async fn is_held_back(&self, nodes: &[Server; 3], windows: u32) {
        for _ in 0..3 {
            let (passed, steady) = self.measure(nodes, windows).await;
            let average = passed as f64 / f64::from(windows);
            eprintln!("of the {} {average:.1} in a window were let through", self.name);
            if (0.8 * LIMIT as f64..=1.1 * WHOLE as f64).contains(&average) {
                return;
            }
            // That is promised for a load that is steady. While the machine hangs, this one is not.
            assert!(!steady, "{}: {average}", self.name);
        }
        panic!("the machine is too slow for {:?} {} in a second", self.rates, self.name);
    }

    /// When it was sent, whether it went through, and how long after it was due the answer came.
    async fn ask_at(&self, node: &Server, begin: Instant, due: Duration) -> (Duration, bool, Duration) {
        linger(due.saturating_sub(begin.elapsed())).await;
        let at = begin.elapsed();
        let answer = ask(node, "203.0.113.1", self.method.clone(), self.path, &self.authorization).await;
        assert!(answer.status == self.status || answer.status == 429, "{}", answer.status);
        (at, answer.status != 429, begin.elapsed().saturating_sub(due))
    }

    /// How many went through in so many windows, and whether the load was steady: no node hung for a good part of the time
    /// for which it remembers what others say.
    async fn measure(&self, nodes: &[Server; 3], windows: u32) -> (usize, bool) {
        /// Until all have heard of each other's counts.
        const BEFORE: Duration = Duration::from_secs(3);
        const LATE: Duration = Duration::from_millis(250);
        /// In which a window begins, and more of it.
        const SEARCH: Duration = Duration::from_secs(2);
        let begin = Instant::now();
        let to_one = |node: usize, rate: u32| {
            let requests = rate * (BEFORE.as_secs() as u32 + SEARCH.as_secs() as u32 + windows);
            join_all((0..requests).map(move |n| self.ask_at(&nodes[node], begin, SECOND * n / rate)))
        };
        let of_nodes = join_all(self.rates.into_iter().enumerate().map(|(node, rate)| to_one(node, rate))).await;
        let steady = !of_nodes.iter().flatten().any(|(at, _, late)| *at > SECOND && *late > LATE);
        // Each node's windows begin when they do: after the longest time in which nothing went through. None begins
        // earlier than a second after the one before, so the next after these are not among what is counted.
        let passed = of_nodes.iter().map(|answers| {
            let passed: Vec<Duration> = answers.iter().filter(|(_, passed, _)| *passed).map(|(at, ..)| *at).collect();
            let pairs = passed.windows(2).filter(|pair| pair[1] > BEFORE && pair[1] < BEFORE + SEARCH - LATE);
            let first = pairs.max_by_key(|pair| pair[1] - pair[0]).expect("something goes through")[1];
            let end = first + SECOND * windows - LATE;
            passed.iter().filter(|at| (first..end).contains(*at)).count()
        });
        (passed.sum(), steady)
    }
}

/// All of them, by one transport; and a device's, which is the client wherever it asks.
#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_let_through_a_tenth_more_than_the_limit_at_most() {
    let host = Broker::shared().virtual_host();
    let over_broker = host.settings();
    let over_broker: Vec<&str> =
        over_broker.iter().map(String::as_str).chain(["kettle.events.transport=rabbitmq"]).collect();
    let (nodes, on_broker) = tokio::join!(three_nodes(&[]), three_nodes(&over_broker));
    for node in &on_broker {
        eventually(PATIENCE, "the broker is heard", async || {
            (node.get("/health/ready").await.status == 200).then_some(())
        })
        .await;
    }
    nodes[0].allow_devices().await;
    let device = nodes[0].device("d1");
    device.poll().await;
    let (reads, writes, polls) = (Load::reads(), Load::writes(), Load::polls(device.authorization.clone()));
    tokio::join!(
        reads.is_held_back(&nodes, 10),
        writes.is_held_back(&nodes, 10),
        polls.is_held_back(&nodes, 10),
        reads.is_held_back(&on_broker, 10),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_three_nodes_count_exactly_and_without_it_go_on() {
    let redis = Redis::start();
    // However slow the machine is, Redis answers in time.
    let own: Vec<String> = redis.settings().into_iter().chain(["spring.data.redis.timeout=20s".to_owned()]).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let nodes = three_nodes(&own).await;
    let key = eventually(PATIENCE, "a request is counted in Redis", async || {
        read(&nodes[0]).await;
        redis.ask::<Vec<String>>(&["KEYS", "kettle:limit:*"]).await.pop()
    })
    .await;
    count_exactly(&redis, &key, &nodes).await;

    redis.kill9();
    Load::reads().is_held_back(&nodes, 6).await;

    redis.restart();
    for node in &nodes {
        let count = async || redis.ask::<Option<u64>>(&["GET", &key]).await;
        redis.ask::<()>(&["SET", &key, "0"]).await;
        eventually(PATIENCE, "the node counts in Redis again", async || {
            read(node).await;
            (count().await != Some(0)).then_some(())
        })
        .await;
    }
    count_exactly(&redis, &key, &nodes).await;
}

async fn read(node: &Server) -> bool {
    let status = ask(node, "203.0.113.1", Method::GET, "/rest/v1/x", "").await.status;
    assert!(status == 401 || status == 429, "{status}");
    status == 401
}

/// Requests to three nodes at the same time: how many go through, and how long all take.
async fn to_all(nodes: &[Server; 3], count: usize) -> (u64, Duration) {
    let (passed, took) = timed(join_all((0..count).map(|n| read(&nodes[n % nodes.len()])))).await;
    (passed.into_iter().filter(|passed| *passed).count() as u64, took)
}

/// Not one more, and not one less.
async fn count_exactly(redis: &Redis, key: &str, nodes: &[Server; 3]) {
    for _ in 0..3 {
        // As after the first request of a window, but one that does not end: so it does not matter how long this takes.
        redis.ask::<()>(&["SET", key, "1"]).await;
        let (passed, _) = to_all(nodes, 90).await;
        assert_eq!(passed, WHOLE - 1);
        assert_eq!(redis.ask::<u64>(&["GET", key]).await, 91, "each is counted there, once");
        redis.ask::<()>(&["DEL", key]).await;

        let begin = Instant::now();
        let (passed, took) = to_all(nodes, 60).await;
        let windows = 1 + took.as_secs();
        assert!((WHOLE..=WHOLE * windows).contains(&passed), "{passed} in {took:?}");
        eventually(PATIENCE, "the window ends", async || (redis.ask::<u64>(&["EXISTS", key]).await == 0).then_some(()))
            .await;
        assert!(begin.elapsed() >= SECOND, "a window is a second");
    }
}
