//! `deploy/haproxy` and `deploy/nginx` with ports and addresses substituted, and nothing else, before two nodes; a third is
//! named and was never started.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{
    Client, Connection, Engine, Process, Server, bytes_of, eventually, free_port, linger, stored_files, workspace,
};

const PATIENCE: Duration = Duration::from_secs(20);
const CLIENTS: usize = 6;

#[tokio::test]
async fn haproxy_passes_everything_on() {
    passes_everything_on(Balancer::haproxy).await;
}

#[tokio::test]
async fn nginx_passes_everything_on() {
    passes_everything_on(Balancer::nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_no_request_fails_when_a_node_stops_or_is_killed() {
    no_request_fails(Balancer::haproxy, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_no_read_fails_when_a_node_stops_or_is_killed() {
    // nginx notices that a node stops when its port is closed: a write that comes in that moment may fail.
    no_request_fails(Balancer::nginx, false).await;
}

async fn passes_everything_on(start: impl Fn([u16; 2]) -> Balancer) {
    let (a, b) = two_nodes().await;
    let balancer = start([a.port, b.port]);
    let front = balancer.front().await;

    links_are_those_that_clients_asked_for(&front).await;
    uploads_and_downloads_pass(&front).await;
    an_upload_reaches_a_node_before_it_is_whole(&front, &a).await;

    let limit = vec![b' '; 10 * 1024 * 1024 + 1];
    let headers = [("authorization", front.admin.as_str()), ("content-type", "application/json")];
    front.request(Method::POST, "/rest/v1/targets", &headers, Some(limit)).await.expect(413);
    for hidden in ["/metrics", "/health/live", "/health/ready/http"] {
        front.get(hidden).await.expect(404);
        a.get(hidden).await.expect(200);
    }
}

async fn links_are_those_that_clients_asked_for(front: &Client) {
    front.target("lamp").await;
    let path = "/rest/v1/targets/lamp";
    let found = front.get(path).await.expect(200).json();
    assert_eq!(found["_links"]["self"]["href"], format!("{}{path}", front.base));

    let lies = [
        ("host", "updates.example.com"),
        ("authorization", front.admin.as_str()),
        ("forwarded", "host=evil;proto=https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-ssl", "on"),
    ];
    let found = front.request(Method::GET, path, &lies, None).await.expect(200).json();
    assert_eq!(found["_links"]["self"]["href"], format!("http://updates.example.com{path}"));

    front.configure("authentication.header.enabled", true).await;
    front.configure("authentication.header.authority", "us").await;
    let lies = [("x-controller-id", "lamp"), ("x-authority", "us"), ("x-forwarded-for", "9.9.9.9")];
    front.request(Method::GET, "/DEFAULT/controller/v1/lamp", &lies, None).await.expect(401);
    let token = format!("GatewayToken {}", "gw-secret");
    let lies = [("authorization", token.as_str()), ("x-forwarded-for", "9.9.9.9")];
    front.request(Method::GET, "/DEFAULT/controller/v1/lamp", &lies, None).await.expect(200);
    assert_eq!(front.get(path).await.expect(200).json()["ipAddress"], "127.0.0.1");
}

async fn uploads_and_downloads_pass(front: &Client) {
    let content = bytes_of(20_000_000, 3);
    let set = front.set("fw", &[("big.bin", &content)]).await;
    let device = front.device("lamp");
    front.assign("lamp", set).await;
    let path = format!("/softwaremodules/{}/artifacts/big.bin", set.module);
    assert!(device.get(&path).await.expect(200).bytes == content);
    let headers = [("authorization", device.authorization.as_str()), ("range", "bytes=10000000-10000009")];
    let part = front.request(Method::GET, &format!("{}{path}", device.root), &headers, None).await.expect(206);
    assert_eq!(part.bytes, content[10_000_000..10_000_010]);
    assert_eq!(part.headers["content-range"], "bytes 10000000-10000009/20000000");
}

async fn an_upload_reaches_a_node_before_it_is_whole(front: &Client, node: &Server) {
    let module = front.module("m").await;
    let before = stored_files(node.data.path()).len();
    let content = bytes_of(3_000_000, 10);
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.bin\"\r\n\r\n";
    let end = "\r\n--b--\r\n";
    let head = format!(
        "POST /rest/v1/softwaremodules/{module}/artifacts HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Authorization: {}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{part}",
        front.admin,
        part.len() + content.len() + end.len()
    );
    let port = front.base.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut connection = Connection::open(port).await;
    assert!(connection.send(head).await);
    assert!(connection.send(&content[..1_500_000]).await);
    eventually(PATIENCE, "the upload has begun on a node", async || {
        (stored_files(node.data.path()).len() > before).then_some(())
    })
    .await;
    assert!(connection.send(&content[1_500_000..]).await);
    assert!(connection.send(end).await);
    assert_eq!(connection.answer().await.expect("an answer").status, 201);
}

async fn no_request_fails(start: impl Fn([u16; 2]) -> Balancer, writes: bool) {
    let (mut a, b) = two_nodes().await;
    let balancer = start([a.port, b.port]);
    let front = balancer.front().await;
    let polls = a.get("/metrics").await.expect(200);
    assert!(!String::from_utf8_lossy(&polls.bytes).contains("kettle_ddi_polls_total"), "nobody polled yet");

    let mut a = under_load(&front, writes, move || {
        a.stop();
        a
    })
    .await;
    let mut a = under_load(&front, writes, move || {
        a.restart();
        a
    })
    .await;
    eventually(PATIENCE, "the node that is back is asked again", async || {
        front.device("lamp").poll().await;
        let metrics = a.get("/metrics").await.expect(200);
        String::from_utf8_lossy(&metrics.bytes).contains("kettle_ddi_polls_total").then_some(())
    })
    .await;
    // A write that a node has got when it is killed fails, so only reads go on meanwhile.
    under_load(&front, false, move || a.kill9()).await;
    for n in 0..20 {
        front.target(&format!("after-{n}")).await;
    }
}

/// What clients are told while `work` goes on, and for a while after.
async fn under_load<T: Send + 'static>(front: &Client, writes: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let client = async |_| {
        let mut done = 0;
        while !over.load(Ordering::Relaxed) {
            let path = "/DEFAULT/controller/v1/lamp".to_owned();
            let headers = [("authorization", "GatewayToken gw-secret")];
            let poll = front.try_request(Method::GET, &path, &headers, None).await;
            assert_eq!(poll.unwrap_or_else(|e| panic!("a poll failed: {e:?}")).status, 200);
            if writes {
                let id = format!("new-{}", WRITES.fetch_add(1, Ordering::Relaxed));
                let headers = [("authorization", front.admin.as_str()), ("content-type", "application/json")];
                let body = json!([{"controllerId": id}]).to_string().into_bytes();
                let answer = front.try_request(Method::POST, "/rest/v1/targets", &headers, Some(body)).await;
                let status = answer.unwrap_or_else(|e| panic!("a write failed: {e:?}")).status;
                assert_eq!(status, 201, "neither refused nor done twice");
            }
            done += 1;
        }
        done
    };
    let work = async {
        let result = tokio::task::spawn_blocking(work).await.unwrap();
        linger(Duration::from_secs(2)).await;
        over.store(true, Ordering::Relaxed);
        result
    };
    let clients = futures_util::future::join_all((0..CLIENTS).map(client));
    let (done, result) = tokio::join!(clients, work);
    assert!(done.iter().all(|done| *done > 10), "{done:?}");
    result
}

async fn two_nodes() -> (Server, Server) {
    // The default, which other tests do without.
    let a = Server::start_with(Engine::Postgres, &["kettle.shutdown-drain=5s"]).await;
    a.allow_devices().await;
    let b = a.another_node().await;
    (a, b)
}

struct Balancer {
    port: u16,
    _process: Process,
    folder: TempDir,
}

impl Balancer {
    fn haproxy(nodes: [u16; 2]) -> Balancer {
        Self::start("haproxy/haproxy.cfg", nodes, |folder| {
            let file = folder.join("kettle.conf");
            let mut check = Command::new("haproxy");
            check.arg("-c").arg("-f").arg(&file);
            let mut run = Command::new("haproxy");
            run.arg("-db").arg("-f").arg(&file);
            [check, run]
        })
    }

    fn nginx(nodes: [u16; 2]) -> Balancer {
        Self::start("nginx/kettle.conf", nodes, |folder| {
            let at = folder.display();
            let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {at}/{name};"));
            // One process, so that nothing of it outlives the test.
            let main = format!(
                "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}\n\
                 http {{ access_log off; {} include {at}/kettle.conf; }}\n",
                paths.join(" ")
            );
            std::fs::write(folder.join("nginx.conf"), main).unwrap();
            let command = |more: &[&str]| {
                let mut command = Command::new("nginx");
                command
                    .arg("-e")
                    .arg("stderr")
                    .arg("-p")
                    .arg(folder)
                    .arg("-c")
                    .arg(folder.join("nginx.conf"))
                    .args(more);
                command
            };
            [command(&["-t"]), command(&[])]
        })
    }

    fn start(file: &str, nodes: [u16; 2], commands: impl Fn(&Path) -> [Command; 2]) -> Balancer {
        let port = free_port();
        let text = std::fs::read_to_string(workspace().join("deploy").join(file)).unwrap();
        let substituted = substitute(&text, port, nodes);
        let folder = tempfile::Builder::new().prefix("kettle-lb-").tempdir().unwrap();
        std::fs::write(folder.path().join("kettle.conf"), substituted).unwrap();
        let [mut check, mut run] = commands(folder.path());
        let checked = check.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        assert!(checked.status.success() && !said.to_lowercase().contains("warn"), "{file}:\n{said}");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Balancer { port, _process: Process::spawn(&mut run), folder }
    }

    /// A client of the balancer, which answers.
    async fn front(&self) -> Client {
        let front = Client::to(self.port);
        eventually(PATIENCE, "the balancer answers", async || {
            let headers = [("authorization", front.admin.as_str())];
            let answer = front.try_request(Method::GET, "/rest/v1/userinfo", &headers, None).await;
            (answer.ok()?.status == 200).then_some(())
        })
        .await;
        front
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the balancer's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

fn substitute(text: &str, port: u16, [a, b]: [u16; 2]) -> String {
    let absent = free_port();
    let mut text = text.to_owned();
    for (name, port) in [("kettle-1", a), ("kettle-2", b), ("kettle-3", absent)] {
        let address = format!("{name}:8080");
        assert!(text.contains(&address), "{address}");
        text = text.replace(&address, &format!("127.0.0.1:{port}"));
    }
    let listens = ["bind :8080", "listen 8080;"];
    assert_eq!(listens.iter().map(|listen| text.matches(listen).count()).sum::<usize>(), 1);
    text.replace(listens[0], &format!("bind 127.0.0.1:{port}"))
        .replace(listens[1], &format!("listen 127.0.0.1:{port};"))
}
