//! HTTPS: devices and operators over TLS, certificates of clients, bad handshakes, new certificates, and the end.

use std::{path::Path, process::Command, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, StatusCode, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::harness::{
    Connection, Process, basic, eventually, eventually_within, free_port, kettle_command, linger, signal,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with authorities `NAME.pem`, and certificates of theirs with keys.
pub struct Certificates(TempDir);

impl Certificates {
    pub fn new() -> Self {
        let all = Self(tempfile::Builder::new().prefix("kettle-tls-").tempdir().unwrap());
        all.authority("ca");
        all.sign("ca", "server");
        all
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn pem(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn authority(&self, name: &str) {
        self.openssl(name, &["-addext", "keyUsage=keyCertSign"]);
    }

    pub fn sign(&self, authority: &str, name: &str) {
        let (ca, key) = (self.path(&format!("{authority}.pem")), self.path(&format!("{authority}.key")));
        let own =
            ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        self.openssl(name, &[&["-CA", &ca, "-CAkey", &key][..], &own].concat());
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    fn openssl(&self, name: &str, more: &[&str]) {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let out = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", &format!("/CN={name}"), "-out", &certificate, "-keyout", &key])
            .args(more)
            .output()
            .expect("the command openssl");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    fn identity(&self, name: &str) -> Identity {
        let both = [self.pem(&format!("{name}.key")), self.pem(&format!("{name}.pem"))].concat();
        Identity::from_pem(&both).unwrap()
    }

    /// A client that trusts one authority alone.
    fn client(&self, authority: &str) -> ClientBuilder {
        let certificate = Certificate::from_pem(&self.pem(&format!("{authority}.pem"))).unwrap();
        Client::builder().tls_certs_only([certificate]).no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE)
    }
}

struct Secure {
    port: u16,
    base: String,
    process: Process,
    _data: TempDir,
}

impl Secure {
    fn start(certificates: &Certificates, settings: &[&str]) -> Self {
        let data = tempfile::Builder::new().prefix("kettle-data-").tempdir().unwrap();
        let port = free_port();
        let mut command = serve(port, data.path(), certificates);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process = Process::spawn(&mut command);
        eventually_within(PATIENCE, "the server listens", || {
            assert!(process.exited().is_none(), "it did not start");
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { port, base: format!("https://127.0.0.1:{port}"), process, _data: data }
    }

    async fn ask(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Version, Value) {
        let url = format!("{}{path}", self.base);
        let mut request = client.request(method, url).header("authorization", basic("admin", "admin"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, version) = (answer.status(), answer.version());
        (status, version, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }
}

fn serve(port: u16, data: &Path, certificates: &Certificates) -> Command {
    let mut command = kettle_command();
    command.args(["serve", "--port", &port.to_string(), "--data"]).arg(data);
    for (key, file) in [("certificate", "server.pem"), ("certificate-private-key", "server.key")] {
        command.args(["--set", &format!("server.ssl.{key}={}", certificates.path(file))]);
    }
    command
}

#[tokio::test]
async fn a_device_polls_over_http_1_and_http_2() {
    let certificates = Certificates::new();
    let server = Secure::start(&certificates, &["hawkbit.server.security.requireSsl=true"]);
    let operator = certificates.client("ca").build().unwrap();
    for (key, value) in [("gatewaytoken.enabled", json!(true)), ("gatewaytoken.key", json!("gw"))] {
        let path = format!("/rest/v1/system/configs/authentication.{key}");
        let (status, ..) = server.ask(&operator, Method::PUT, &path, Some(json!({"value": value}))).await;
        assert_eq!(status, 204);
    }
    for (client, version) in [
        (certificates.client("ca").http1_only(), Version::HTTP_11),
        (certificates.client("ca"), Version::HTTP_2),
        (certificates.client("ca").tls_version_max(reqwest::tls::Version::TLS_1_2), Version::HTTP_2),
    ] {
        let url = format!("{}/DEFAULT/controller/v1/d1", server.base);
        let request = client.build().unwrap().get(url).header("authorization", "GatewayToken gw");
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
        let body: Value = answer.json().await.unwrap();
        let expected = format!("{}/DEFAULT/controller/v1/d1/configData", server.base);
        assert_eq!(body["_links"]["configData"]["href"], expected);
    }
    let (status, _, target) = server.ask(&operator, Method::GET, "/rest/v1/targets/d1", None).await;
    assert_eq!((status, &target["ipAddress"]), (StatusCode::OK, &json!("127.0.0.1")));
    assert_eq!(target["_links"]["self"]["href"], format!("{}/rest/v1/targets/d1", server.base));
    assert!(
        certificates
            .client("ca")
            .build()
            .unwrap()
            .get(server.base.replace("127.0.0.1", "127.0.0.2"))
            .send()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn plain_http_is_told_that_the_port_speaks_tls() {
    let certificates = Certificates::new();
    let server = Secure::start(&certificates, &[]);
    let mut connection = Connection::open(server.port).await;
    assert!(connection.send("GET /rest/v1/targets HTTP/1.1\r\nHost: h\r\n\r\n").await);
    let answer = connection.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.header("content-length")), (400, Some("44")));
    assert_eq!(answer.body, b"This port speaks TLS: use an https address.\n");
}

#[tokio::test]
async fn handshakes_that_stall_or_fail_hurt_nobody_else() {
    let certificates = Certificates::new();
    let mut server = Secure::start(&certificates, &[]);
    let mut stalled = Vec::new();
    for begin in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x16\xff\xff\xff\xff\xff"] {
        for _ in 0..20 {
            let mut connection = Connection::open(server.port).await;
            connection.send(begin).await;
            stalled.push(connection);
        }
    }
    let distrusting = Client::builder().no_proxy().build().unwrap();
    assert!(distrusting.get(&server.base).send().await.is_err(), "nobody vouches for the certificate");
    let (status, ..) =
        server.ask(&certificates.client("ca").build().unwrap(), Method::GET, "/health/ready", None).await;
    assert_eq!(status, 200);
    // In less than the grace that requests under way have; the client's own connection closes meanwhile.
    signal(server.process.id(), "TERM");
    let within = Duration::from_secs(20);
    let ended = eventually(within, "it does not wait for handshakes", async || server.process.exited()).await;
    assert_eq!(ended.code(), Some(0));
    drop(stalled);
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let certificates = Certificates::new();
    let server = Secure::start(&certificates, &["kettle.http.header-timeout=200ms"]);
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut connection = Connection::open(server.port).await;
        connection.send(begin).await;
        assert!(connection.answer().await.is_none(), "it is closed without an answer");
    }
}

#[tokio::test]
async fn clients_show_certificates_where_they_must_or_may() {
    let certificates = Certificates::new();
    certificates.authority("devices");
    certificates.sign("devices", "device");
    certificates.authority("strangers");
    certificates.sign("strangers", "stranger");
    let trusted = format!("server.ssl.trust-certificate={}", certificates.path("devices.pem"));
    for (auth, without) in [("need", false), ("want", true)] {
        let server = Secure::start(&certificates, &[&trusted, &format!("server.ssl.client-auth={auth}")]);
        let url = format!("{}/health/live", server.base);
        for (client, taken) in [
            (certificates.client("ca"), without),
            (certificates.client("ca").identity(certificates.identity("device")), true),
            (certificates.client("ca").identity(certificates.identity("stranger")), false),
            (certificates.client("ca").http1_only().identity(certificates.identity("device")), true),
        ] {
            let answer = client.build().unwrap().get(&url).send().await;
            assert_eq!(answer.is_ok_and(|a| a.status() == 200), taken, "{auth}");
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart() {
    let certificates = Certificates::new();
    let mut server = Secure::start(&certificates, &[]);
    let url = format!("{}/health/live", server.base);
    let reaches = async |authority: &str| {
        certificates.client(authority).build().unwrap().get(&url).send().await.is_ok().then_some(())
    };
    assert_eq!(reaches("ca").await, Some(()));
    std::fs::write(certificates.path("server.pem"), "no certificate").unwrap();
    signal(server.process.id(), "HUP");
    assert_eq!(reaches("ca").await, Some(()), "what can't be read changes nothing");
    certificates.authority("next");
    certificates.sign("next", "server");
    signal(server.process.id(), "HUP");
    eventually(PATIENCE, "the new certificate is shown", async || reaches("next").await).await;
    assert_eq!(reaches("ca").await, None);
    assert!(server.process.exited().is_none());
}

#[tokio::test]
async fn sigterm_finishes_requests_under_way() {
    let certificates = Certificates::new();
    for client in [certificates.client("ca").http1_only(), certificates.client("ca")] {
        let client = client.build().unwrap();
        let mut server = Secure::start(&certificates, &[]);
        let (sender, receiver) = mpsc::channel::<Result<&str, std::io::Error>>(1);
        let parts = futures_util::stream::unfold(receiver, async |mut r| r.recv().await.map(|part| (part, r)));
        let request = client
            .post(format!("{}/rest/v1/targets", server.base))
            .header("authorization", basic("admin", "admin"))
            .header("content-type", "application/json")
            .body(reqwest::Body::wrap_stream(Box::pin(parts)));
        let answer = tokio::spawn(request.send());
        // The second part is taken when the first was sent.
        for part in ["[{\"controllerId\": ", "\"d1\"", "}"] {
            sender.send(Ok(part)).await.unwrap();
        }
        // Requests that are answered one after the other: meanwhile the first one's head is read.
        for _ in 0..20 {
            let probe = client.get(format!("{}/health/live", server.base)).send().await.unwrap();
            assert_eq!(probe.status(), 200);
            linger(Duration::from_millis(25)).await;
        }
        signal(server.process.id(), "TERM");
        eventually(PATIENCE, "new connections are refused", async || {
            std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err().then_some(())
        })
        .await;
        assert!(server.process.exited().is_none(), "it left a request behind");
        sender.send(Ok("]")).await.unwrap();
        drop(sender);
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), 201);
        let ended = eventually(PATIENCE, "it ends", async || server.process.exited()).await;
        assert_eq!(ended.code(), Some(0));
    }
}

#[test]
fn files_that_cannot_be_used_keep_it_from_starting() {
    let certificates = Certificates::new();
    certificates.sign("ca", "other");
    let (missing, other) = (certificates.path("missing.pem"), certificates.path("other.key"));
    let (pem, key) = (certificates.path("server.pem"), certificates.path("server.key"));
    for (settings, said) in [
        (vec![format!("certificate={missing}")], "server.ssl.certificate"),
        (vec![format!("certificate={key}")], "holds no certificate"),
        (vec![format!("certificate-private-key={pem}")], "server.ssl.certificate-private-key"),
        (vec![format!("certificate-private-key={other}")], "can't be used together"),
        (vec!["client-auth=need".to_owned()], "server.ssl.trust-certificate"),
        (vec!["certificate=".to_owned(), "enabled=true".to_owned()], "server.ssl.certificate"),
        (vec!["certificate-private-key=-----BEGIN SECRET".to_owned()], "PEM file"),
        (vec![format!("trust-certificate={key}"), "client-auth=want".to_owned()], "server.ssl.trust-certificate"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut command = serve(free_port(), data.path(), &certificates);
        for setting in &settings {
            command.args(["--set", &format!("server.ssl.{setting}")]);
        }
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(!out.status.success() && text.contains(said) && !text.contains("panicked"), "{settings:?}: {text}");
        assert!(!text.contains("SECRET"), "{text}");
        assert!(!data.path().join("kettle.db").exists(), "before anything is done: {settings:?}");
    }
}

#[test]
fn a_key_store_is_told_how_to_become_pem() {
    let out = kettle_command().args(["config", "--set", "server.ssl.key-store=/etc/hawkbit.p12"]).output().unwrap();
    assert!(out.status.success());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("openssl pkcs12") && said.contains("server.ssl.certificate"), "{said}");
}
