//! Logins that fail again and again are refused unseen for a while, on every node, and unlocked; who is at work is not kept
//! out.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Engine, Redis, Server, Store, basic, eventually, kettle_command, timed};

const LOCKED: &str = "hawkbit.server.error.tooManyFailedLogins";
const NOT_FOUND: &str = "hawkbit.server.error.repo.entityNotFound";
const FORBIDDEN: &str = "hawkbit.server.error.insufficientPermission";
const LIST: &str = "/rest/v1/system/failedlogins";
const PATIENCE: Duration = Duration::from_secs(20);

/// `bob` beside the stock user. Few failures are free, and what follows lasts longer than any test.
const SETTINGS: [&str; 6] = [
    "hawkbit.security.user.admin.password={noop}admin",
    "hawkbit.security.user.bob.password={noop}right",
    "hawkbit.security.user.bob.tenant=DEFAULT",
    "kettle.login.failures-per-user=3",
    "kettle.login.first-delay=10m",
    "kettle.login.longest-delay-per-user=10m",
];

async fn each(more: &[&str], test: impl AsyncFn(Server)) {
    let settings: Vec<&str> = SETTINGS.iter().chain(more).copied().collect();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Server::start_with(engine, &settings).await).await;
    }
}

/// A login from an address, as a trusted proxy tells it.
async fn log_in(server: &Server, from: &str, user: &str, password: &str) -> Answer {
    let authorization = basic(user, password);
    let headers = [("authorization", authorization.as_str()), ("x-forwarded-for", from)];
    server.request(Method::GET, "/rest/v1/userinfo", &headers, None).await
}

async fn fail(server: &Server, from: &str, user: &str, times: usize) {
    for _ in 0..times {
        let refused = log_in(server, from, user, "wrong-guess").await.expect(401);
        assert!(refused.header("www-authenticate").is_some());
    }
}

#[tokio::test]
async fn after_failures_even_the_right_password_is_not_looked_at() {
    each(&[], async |server| {
        fail(&server, "203.0.113.1", "bob", 2).await;
        log_in(&server, "203.0.113.1", "bob", "right").await.expect(200);
        fail(&server, "203.0.113.1", "carol", 2).await;
        let listed = server.get(LIST).await.expect(200).json();
        assert_eq!(listed["content"].as_array().unwrap().len(), 2, "a success resets the user: {listed}");

        // From different addresses: it is the user's count. Carol does not exist.
        for user in ["carol", "dave"] {
            let times = if user == "carol" { 1 } else { 3 };
            fail(&server, "203.0.113.2", user, times).await;
            let refused = log_in(&server, "203.0.113.3", user, "right").await.expect_error(429, LOCKED);
            let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
            assert!((500..=600).contains(&seconds), "{seconds}");
        }
        let listed = server.get(LIST).await.expect(200).json();
        let of = |subject: &str| {
            let found = listed["content"].as_array().unwrap().iter().find(|one| one["subject"] == subject);
            found.unwrap_or_else(|| panic!("{subject} in {listed}")).clone()
        };
        let address = of("203.0.113.2");
        assert_eq!((&address["kind"], &address["failures"]), (&json!("address"), &json!(4)));
        let dave = of("dave");
        assert_eq!((&dave["kind"], &dave["failures"]), (&json!("user"), &json!(3)));
        assert!(dave["lockedFor"].as_u64().unwrap() > 500_000 && dave["lastFailedAt"].as_i64().unwrap() > 0);
        log_in(&server, "203.0.113.2", "bob", "right").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn the_delay_ends_doubles_and_begins_anew_after_a_success() {
    let settings = ["kettle.login.first-delay=1s", "kettle.login.longest-delay-per-user=2s"];
    each(&settings, async |server| {
        fail(&server, "203.0.113.1", "bob", 3).await;
        log_in(&server, "203.0.113.1", "bob", "right").await.expect_error(429, LOCKED);
        let wait = async |password: &str, status: u16| {
            let tries = async || {
                let answer = log_in(&server, "203.0.113.1", "bob", password).await;
                (answer.status != 429).then_some(answer.status)
            };
            let (answered, waited) = timed(eventually(PATIENCE, "the delay is over", tries)).await;
            assert_eq!(answered, status);
            waited
        };
        wait("wrong-guess", 401).await;
        let waited = wait("right", 200).await;
        assert!(waited > Duration::from_millis(1_500), "the fourth failure costs two seconds: {waited:?}");
        log_in(&server, "203.0.113.1", "bob", "right").await.expect(200);
        fail(&server, "203.0.113.9", "bob", 3).await;
    })
    .await;
}

#[tokio::test]
async fn who_is_at_work_is_not_kept_out_by_who_guesses() {
    let hash = bcrypt::hash("right", 4).unwrap();
    let password = format!("hawkbit.security.user.bob.password={{bcrypt}}{hash}");
    for password in ["hawkbit.security.user.bob.password={noop}right", &password] {
        each(&[password], async |server| {
            log_in(&server, "203.0.113.1", "bob", "right").await.expect(200);
            fail(&server, "203.0.113.66", "bob", 3).await;
            log_in(&server, "203.0.113.66", "bob", "next-guess").await.expect_error(429, LOCKED);
            log_in(&server, "203.0.113.1", "bob", "right").await.expect(200);
            server.get("/rest/v1/userinfo").await.expect(200);
        })
        .await;
    }
}

#[tokio::test]
async fn an_address_that_tries_many_names_is_refused_and_others_are_not() {
    let settings = ["kettle.login.failures-per-address=4", "kettle.login.longest-delay-per-address=10m"];
    each(&settings, async |server| {
        for (n, from) in ["203.0.113.1", "2001:db8:0:1::5"].into_iter().enumerate() {
            for name in 0..4 {
                fail(&server, from, &format!("name-{n}-{name}"), 1).await;
                // One's own success clears nothing of the address.
                if name == 0 {
                    log_in(&server, from, ["bob", "admin"][n], ["right", "admin"][n]).await.expect(200);
                }
            }
            log_in(&server, from, "name-x", "guess").await.expect_error(429, LOCKED);
        }
        log_in(&server, "2001:db8:0:1:ffff::1", "name-x", "guess").await.expect_error(429, LOCKED);
        fail(&server, "2001:db8:0:2::5", "name-x", 1).await;
        fail(&server, "203.0.113.2", "name-x", 1).await;
    })
    .await;
}

/// Tries that are under way at the same time count for each other.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_in_parallel_gets_no_more_guesses() {
    each(&[], async |server| {
        let tries = (0..40).map(|n| log_in(&server, "203.0.113.1", "bob", ["a", "b"][n % 2]));
        let answers = futures_util::future::join_all(tries).await;
        let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!(looked_at, 3);
        assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 37);
    })
    .await;
}

#[tokio::test]
async fn names_that_no_user_can_have_are_counted_in_little_room() {
    each(&[], async |server| {
        let long = "x".repeat(5_000);
        for name in ["", "a\0b", "a\nb", "jürgen", "a/b", &long] {
            fail(&server, "203.0.113.1", name, 3).await;
            log_in(&server, "203.0.113.2", name, "guess").await.expect_error(429, LOCKED);
        }
        let store = Store::of(&server).await;
        let longest = "SELECT max(length(subject)) AS n FROM kt_failed_login";
        assert!(store.rows(longest, []).await[0].try_get::<i32>("", "n").map_or(0, i64::from) < 200);
        server.delete(&format!("{LIST}/user/j%C3%BCrgen")).await.expect_empty(204);
        fail(&server, "203.0.113.2", "jürgen", 1).await;
    })
    .await;
}

#[tokio::test]
async fn an_administrator_unlocks_users_and_addresses() {
    let settings = ["kettle.login.failures-per-address=3", "kettle.login.longest-delay-per-address=10m"];
    each(&settings, async |server| {
        fail(&server, "203.0.113.1", "bob", 3).await;
        server.delete(&format!("{LIST}/user/bob")).await.expect_empty(204);
        log_in(&server, "203.0.113.1", "bob", "right").await.expect_error(429, LOCKED);
        server.delete(&format!("{LIST}/address/203.0.113.1")).await.expect_empty(204);
        log_in(&server, "203.0.113.1", "bob", "right").await.expect(200);
        let listed = server.get(LIST).await.expect(200).json();
        assert_eq!(listed, json!({"content": [], "total": 0}));
        for missing in ["user/bob", "address/203.0.113.1", "address/nonsense", "thing/bob"] {
            server.delete(&format!("{LIST}/{missing}")).await.expect_error(404, NOT_FOUND);
        }

        fail(&server, "203.0.113.5", "eve", 3).await;
        for (arguments, said) in [
            (["--user", "eve"], "Forgot the failed logins of the user eve."),
            (["--user", "eve"], "There were no failed logins of the user eve."),
            (["--address", "203.0.113.5"], "Forgot the failed logins of the address 203.0.113.5."),
        ] {
            assert_eq!(unlock(&server, &arguments).trim(), said);
        }
        log_in(&server, "203.0.113.5", "eve", "guess").await.expect(401);
    })
    .await;
}

fn unlock(server: &Server, arguments: &[&str]) -> String {
    let mut command = kettle_command();
    command.arg("unlock").args(arguments).arg("--data").arg(server.data.path());
    if let Some(database) = &server.database {
        command.args(["--database", &database.url]);
    }
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn tenants_see_the_failures_of_their_own_users_alone() {
    let settings = [
        "hawkbit.security.user.other.password={noop}x",
        "hawkbit.security.user.other.tenant=OTHER",
        "hawkbit.security.user.other.roles=TENANT_ADMIN",
        "hawkbit.security.user.bob.permissions=READ_TENANT_CONFIGURATION",
        "hawkbit.security.user.viewer.password={noop}x",
        "hawkbit.security.user.viewer.tenant=DEFAULT",
        "hawkbit.security.user.viewer.permissions=READ_TARGET",
    ];
    each(&settings, async |server| {
        for name in ["bob", "other", "nobody"] {
            fail(&server, "203.0.113.1", name, 1).await;
        }
        let other = basic("other", "x");
        let subjects = async |login: &str| -> Vec<Value> {
            let listed = server.get_as(login, LIST).await.expect(200).json();
            listed["content"].as_array().unwrap().iter().map(|one| one["subject"].clone()).collect()
        };
        // Other's own failure is gone with the login that asks.
        assert_eq!(subjects(&other).await, Vec::<Value>::new());
        assert_eq!(subjects(&server.admin).await, ["bob"]);
        for (login, status, path) in [
            (&other, 404, "user/bob"),
            (&other, 404, "user/nobody"),
            (&server.admin, 404, "address/203.0.113.1"),
            (&server.admin, 404, "user/other"),
        ] {
            let answer = server.json_as(login, Method::DELETE, &format!("{LIST}/{path}"), None).await;
            answer.expect_error(status, NOT_FOUND);
        }
        let viewer = basic("viewer", "x");
        server.get_as(&viewer, LIST).await.expect_error(403, FORBIDDEN);
        server.json_as(&viewer, Method::DELETE, &format!("{LIST}/user/bob"), None).await.expect_error(403, FORBIDDEN);
        server.delete(&format!("{LIST}/user/bob")).await.expect_empty(204);
    })
    .await;
}

#[tokio::test]
async fn the_security_log_tells_what_happened_and_no_password() {
    each(&["kettle.login.first-delay=1s", "kettle.login.longest-delay-per-user=1s"], async |server| {
        fail(&server, "203.0.113.1", "bob", 3).await;
        eventually(PATIENCE, "the delay is over", async || {
            (log_in(&server, "203.0.113.1", "bob", "right").await.status == 200).then_some(())
        })
        .await;
        fail(&server, "203.0.113.1", "bob", 1).await;
        server.delete(&format!("{LIST}/user/bob")).await.expect_empty(204);
        let log = server.log_text();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("server-security")).collect();
        for (message, fields) in [
            ("a login failed", vec!["user.name=\"bob\"", "client.address=203.0.113.1", "failures=1"]),
            ("logins of this user are refused", vec!["user.name=\"bob\"", "failures=3", "locked_for=1"]),
            ("logged in after failures", vec!["user.name=\"bob\"", "failures=3"]),
            ("were forgotten", vec!["user.name=\"bob\"", "by=\"admin\""]),
        ] {
            let found =
                lines.iter().any(|line| line.contains(message) && fields.iter().all(|field| line.contains(field)));
            assert!(found, "{message} with {fields:?} is not in:\n{}", lines.join("\n"));
        }
        assert!(!log.contains("wrong-guess") && !log.contains("right"), "{log}");
    })
    .await;
}

#[tokio::test]
async fn who_is_refused_on_one_node_is_refused_on_the_other() {
    let a = Server::start_with(Engine::Postgres, &SETTINGS).await;
    let b = a.another_node().await;
    fail(&a, "203.0.113.1", "bob", 2).await;
    fail(&b, "203.0.113.1", "bob", 1).await;
    for node in [&a, &b] {
        log_in(node, "203.0.113.1", "bob", "right").await.expect_error(429, LOCKED);
    }
    b.delete(&format!("{LIST}/user/bob")).await.expect_empty(204);
    log_in(&a, "203.0.113.1", "bob", "right").await.expect(200);
}

/// What is under way on each node when the last free failure is counted is looked at; so is nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_on_three_nodes_at_once_gets_one_guess_more_for_each_other_node_at_most() {
    const FREE: usize = 3;
    let redis = Redis::start();
    // However slow the machine is, Redis answers in time.
    let own: Vec<String> = redis.settings().into_iter().chain(["spring.data.redis.timeout=20s".to_owned()]).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    for more in [&[][..], &own] {
        let settings: Vec<&str> = SETTINGS.iter().chain(more).copied().collect();
        let a = Server::start_with(Engine::Postgres, &settings).await;
        let nodes = [a.another_node().await, a.another_node().await, a];
        for user in ["bob", "nobody"] {
            // Each from an address of its own: it is the user's count.
            let guesses = (0..90).map(|n| {
                let node = &nodes[n % nodes.len()];
                async move { log_in(node, &format!("198.51.100.{n}"), user, &format!("guess-{n}")).await.status }
            });
            let statuses = futures_util::future::join_all(guesses).await;
            let looked_at = statuses.iter().filter(|status| **status == 401).count();
            eprintln!("{looked_at} guesses were looked at");
            assert!((FREE..FREE + nodes.len()).contains(&looked_at), "{looked_at}");
            assert_eq!(statuses.iter().filter(|status| **status == 429).count(), statuses.len() - looked_at);
            for node in &nodes {
                log_in(node, "203.0.113.1", user, "right").await.expect_error(429, LOCKED);
            }
            let listed = nodes[0].get(LIST).await.expect(200).json();
            let of_user = listed["content"].as_array().unwrap().iter().find(|one| one["subject"] == user).unwrap();
            assert_eq!(of_user["failures"], looked_at, "each was counted");
        }
    }
}

#[tokio::test]
async fn redis_counts_them_and_the_database_does_while_it_is_away() {
    let redis = Redis::start();
    let own = redis.settings();
    let settings: Vec<&str> = SETTINGS.iter().copied().chain(own.iter().map(String::as_str)).collect();
    let a = Server::start_with(Engine::Postgres, &settings).await;
    let b = a.another_node().await;
    let rows = Store::of(&a).await;
    let in_database = async || rows.number("SELECT count(*) AS n FROM kt_failed_login").await;
    fail(&a, "203.0.113.1", "bob", 3).await;
    for node in [&a, &b] {
        log_in(node, "203.0.113.1", "bob", "right").await.expect_error(429, LOCKED);
    }
    assert_eq!(in_database().await, 0);
    assert_eq!(b.get(LIST).await.expect(200).json()["total"], 2);
    b.delete(&format!("{LIST}/user/bob")).await.expect_empty(204);
    log_in(&a, "203.0.113.1", "bob", "right").await.expect(200);

    redis.pause();
    let (_, took) = timed(fail(&a, "203.0.113.1", "carol", 3)).await;
    assert!(took < Duration::from_secs(10), "a Redis that hangs holds nobody up: {took:?}");
    log_in(&b, "203.0.113.1", "carol", "x").await.expect_error(429, LOCKED);
    assert_eq!(in_database().await, 2);
    redis.resume();
    redis.kill9();
    log_in(&b, "203.0.113.1", "carol", "x").await.expect_error(429, LOCKED);
    redis.restart();
    let mut tries = 0;
    eventually(PATIENCE, "Redis counts again", async || {
        tries += 1;
        fail(&a, &format!("198.51.100.{}", tries % 250), &format!("new-{tries}"), 1).await;
        a.log_text().contains("Redis is back").then_some(())
    })
    .await;
    let away = a.log_text().matches("Redis is away").count();
    assert!((1..=2).contains(&away), "one warning each time: {away}");
}
