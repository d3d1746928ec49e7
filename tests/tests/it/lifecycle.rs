//! The binary: commands, starting, refusing to start, stopping.

use std::{
    net::TcpStream,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::harness::{
    Connection, Database, Engine, Process, Server, bytes_of, eventually, free_port, kettle_binary, kettle_command,
    on_each_engine, psql, signal, skip_visibly, timed,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_version() {
    let out = run(&["--version"]);
    assert!(out.status.success());
    assert_eq!(text(&out.stdout), format!("kettle {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn it_starts_in_under_half_a_second_on_an_empty_folder() {
    let path = kettle_binary();
    if !path.components().any(|part| part.as_os_str() == "release") {
        return skip_visibly("the time to start", "only a release build promises it (KETTLE_BIN)");
    }
    let (server, took) = timed(Server::start(Engine::Sqlite)).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
    drop(server);
}

#[tokio::test]
async fn health_says_live_and_ready_without_a_login() {
    on_each_engine(async |server: Server| {
        for path in ["/health/live", "/health/ready", "/health/ready/http"] {
            server.request(reqwest::Method::GET, path, &[], None).await.expect(200);
        }
    })
    .await;
}

/// A load balancer gets the time to notice.
#[tokio::test]
async fn sigterm_makes_a_node_not_ready_while_it_still_answers() {
    let mut server = Server::start_with(Engine::Postgres, &["kettle.shutdown-drain=3s"]).await;
    server.allow_devices().await;
    server.device("d1").poll().await;
    let mut process = server.take_process();
    signal(process.id(), "TERM");
    eventually(PATIENCE, "the node is not ready", async || {
        let ready = server.try_request(reqwest::Method::GET, "/health/ready/http", &[], None).await.ok()?;
        (ready.status == 503).then(|| assert_eq!(ready.bytes, b"stopping: this node takes no new work\n"))
    })
    .await;
    let answer = server.device("d1").get("").await.expect(200);
    assert_eq!(answer.headers["connection"], "close", "who keeps connections goes elsewhere");
    assert!(process.exited().is_none());
    let status = eventually(PATIENCE, "the process ends", async || process.exited()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn nodes_are_listed_until_they_leave() {
    on_each_engine(async |mut server: Server| {
        let nodes = server.get("/rest/v1/system/nodes").await.expect(200).json();
        let node = &nodes.as_array().unwrap()[0];
        assert_eq!(nodes.as_array().unwrap().len(), 1);
        assert_eq!(node["address"], format!("127.0.0.1:{}", server.port));
        assert_eq!(node["roles"], json!(["mgmt", "ddi"]));
        assert_eq!((&node["version"], &node["alive"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(true)));
        let times = ["startedAt", "lastSeenAt"].map(|time| node[time].as_i64().unwrap());
        assert!(times[0] <= times[1] && times[0] > 1_700_000_000_000, "{node}");
        let data = server.data.path().to_str().unwrap().to_owned();
        let database = server.database.as_ref().map(|database| database.url.clone());
        let list = || match &database {
            Some(url) => run(&["nodes", "--database", url, "--data", &data]),
            None => run(&["nodes", "--data", &data]),
        };
        let said = list();
        assert!(text(&said.stdout).contains(&format!("alive  127.0.0.1:{}", server.port)), "{said:?}");
        server.stop();
        assert_eq!(text(&list().stdout), "No node runs on this database.\n");
    })
    .await;
}

#[tokio::test]
async fn data_outlives_a_stop_and_a_kill() {
    on_each_engine(async |mut server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        server.stop();
        server.restart();
        assert_eq!(server.device("d1").offered().await, Some(action));
        server.kill9();
        server.restart();
        let path = format!("/softwaremodules/{}/artifacts/a.bin", set.module);
        assert_eq!(server.device("d1").get(&path).await.expect(200).bytes, b"abc");
        assert_eq!(server.update_status("d1").await, "pending");
    })
    .await;
}

#[tokio::test]
async fn last_seen_times_survive_a_clean_stop() {
    on_each_engine(async |mut server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        server.device("d1").poll().await;
        server.stop();
        server.restart();
        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        assert!(target["pollStatus"]["lastRequestAt"].is_i64(), "{target}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_a_download_under_way_and_exits_0() {
    on_each_engine(async |mut server: Server| {
        server.allow_devices().await;
        let content = bytes_of(40_000_000, 12);
        let (set, _) = server.pending("d1", &[("big.bin", &content)]).await;
        let mut connection = Connection::open(server.port).await;
        let request = format!(
            "GET /DEFAULT/controller/v1/d1/softwaremodules/{}/artifacts/big.bin HTTP/1.1\r\nHost: x\r\n\
             Authorization: {}\r\n\r\n",
            set.module,
            server.device("d1").authorization
        );
        assert!(connection.send(request).await);
        let begin = connection.read_some(1000).await;
        let mut process = server.take_process();
        signal(process.id(), "TERM");
        eventually(PATIENCE, "new connections are refused", async || {
            TcpStream::connect(("127.0.0.1", server.port)).is_err().then_some(())
        })
        .await;
        assert!(process.exited().is_none(), "it left a download behind");
        let head = String::from_utf8_lossy(&begin).into_owned();
        let head_length = head.find("\r\n\r\n").expect("a head in the first bytes") + 4;
        let rest = connection.read_some(content.len() - (begin.len() - head_length)).await;
        assert!([&begin[head_length..], &rest[..]].concat() == content);
        drop(connection);
        let status = eventually(PATIENCE, "it ends", async || process.exited()).await;
        assert_eq!(status.code(), Some(0));
    })
    .await;
}

#[test]
fn binding_elsewhere_with_the_stock_user_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let out = run(&["serve", "--bind", "0.0.0.0", "--port", &port, "--data", data.path().to_str().unwrap()]);
    assert!(!out.status.success());
    let said = text(&out.stdout) + &text(&out.stderr);
    assert!(said.contains("hawkbit.security.user"), "it says what to set: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn binding_elsewhere_with_a_configured_user_starts() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut process = Process::spawn(
        kettle_command()
            .args(["serve", "--bind", "0.0.0.0", "--port", &port.to_string(), "--data"])
            .arg(data.path())
            .args(["--set", "hawkbit.security.user.ops.password={noop}long-secret"])
            .args(["--set", "hawkbit.security.user.ops.tenant=DEFAULT"])
            .args(["--set", "hawkbit.security.user.ops.roles=TENANT_ADMIN"])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let userinfo = async |user: &str, password: &str| {
        let url = format!("http://127.0.0.1:{port}/rest/v1/userinfo");
        let request = reqwest::Client::new().get(url).basic_auth(user, Some(password));
        Some(request.send().await.ok()?.status().as_u16())
    };
    eventually(PATIENCE, "the configured user may log in", async || {
        assert!(process.exited().is_none(), "it did not start");
        (userinfo("ops", "long-secret").await == Some(200)).then_some(())
    })
    .await;
    assert_eq!(userinfo("admin", "admin").await, Some(401), "the stock user is gone");
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
    let data = tempfile::tempdir().unwrap();
    let port = free_port().to_string();
    let folder = data.path().to_str().unwrap();
    let out = run(&["serve", "--port", &port, "--data", folder, "--set", "server.prot=1"]);
    assert!(!out.status.success());
    let said = text(&out.stdout) + &text(&out.stderr);
    assert!(said.contains("server.prot") && said.contains("server.port"), "{said}");
}

#[test]
fn config_shows_values_with_their_source_and_masks_secrets() {
    let mut command = kettle_command();
    let out = command
        .arg("config")
        .env("SERVER_PORT", "12345")
        .env("SPRING_DATASOURCE_URL", "jdbc:postgresql://db.example.com:5432/hawkbit")
        .env("SPRING_DATASOURCE_USERNAME", "hawk")
        .env("SPRING_DATASOURCE_PASSWORD", "secret-one")
        .env("HAWKBIT_SECURITY_USER_BOB_PASSWORD", "{noop}secret-two")
        .env("HAWKBIT_SECURITY_USER_BOB_TENANT", "DEFAULT")
        .output()
        .unwrap();
    let said = text(&out.stdout);
    assert!(out.status.success(), "{}", text(&out.stderr));
    for secret in ["secret-one", "secret-two"] {
        assert!(!said.contains(secret) && !text(&out.stderr).contains(secret), "{said}");
    }
    let port = said.lines().find(|line| line.contains("12345")).expect("the port in force");
    assert!(port.contains("server.port") && port.to_lowercase().contains("env"), "{port}");
    assert!(said.contains("db.example.com"), "{said}");
}

#[test]
fn config_masks_a_password_inside_a_url() {
    let mut command = kettle_command();
    let out = command
        .arg("config")
        .env("SPRING_DATASOURCE_URL", "postgres://hawk:secret-three@db.example.com/hawkbit")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let said = text(&out.stdout) + &text(&out.stderr);
    assert!(said.contains("db.example.com") && !said.contains("secret-three"), "{said}");
}

#[test]
fn migrate_dry_run_says_what_it_would_do_and_does_nothing() {
    let database = Database::create();
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    let dry = run(&["migrate", "--database", &database.url, "--dry-run"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    assert!(!text(&dry.stdout).trim().is_empty(), "it says what it would do");
    assert_eq!(psql(&database.url, tables), "0");

    let real = run(&["migrate", "--database", &database.url]);
    assert!(real.status.success(), "{}", text(&real.stderr));
    let targets = "SELECT count(*) FROM sp_target";
    assert_eq!(psql(&database.url, targets), "0");
    let again = run(&["migrate", "--database", &database.url]);
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn an_unreachable_database_is_named_without_its_password() {
    let data = tempfile::tempdir().unwrap();
    let url = format!("postgres://u:secret-four@127.0.0.1:{}/nothing", free_port());
    let port = free_port().to_string();
    let folder = data.path().to_str().unwrap();
    let out = run(&["serve", "--port", &port, "--data", folder, "--database", &url]);
    assert!(!out.status.success());
    let said = text(&out.stdout) + &text(&out.stderr);
    assert!(said.contains("127.0.0.1") && !said.contains("secret-four"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let server = Server::start(Engine::Sqlite).await;
    let data = tempfile::tempdir().unwrap();
    let port = server.port.to_string();
    let out = run(&["serve", "--port", &port, "--data", data.path().to_str().unwrap()]);
    assert!(!out.status.success());
    assert!((text(&out.stdout) + &text(&out.stderr)).contains(&port));
}

/// For commands that end by themselves; one that should not have started is stopped after a minute.
fn run(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new("timeout");
    let kettle = kettle_command();
    command.arg("60").arg(kettle.get_program()).args(arguments).env_clear().stdin(Stdio::null());
    for (name, value) in kettle.get_envs() {
        command.env(name, value.unwrap());
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
