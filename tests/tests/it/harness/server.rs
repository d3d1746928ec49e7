//! A running `kettle serve` on a database and a data folder of its own.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Answer, Database, Device, Process, eventually_within, free_port, kettle_command};

const START: Duration = Duration::from_secs(60);
/// Longer than the time that requests in flight get.
const STOP: Duration = Duration::from_secs(45);
const GATEWAY_TOKEN: &str = "gw-secret";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Runs a test on a fresh server of each engine.
pub async fn on_each_engine(test: impl AsyncFn(Server)) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Server::start(engine).await).await;
    }
}

pub struct Server {
    pub port: u16,
    pub base: String,
    /// The `Authorization` of the stock user.
    pub admin: String,
    pub data: Arc<TempDir>,
    pub database: Option<Arc<Database>>,
    process: Option<Process>,
    settings: Vec<String>,
    logs: TempDir,
    http: reqwest::Client,
}

impl Server {
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// `settings` are arguments of `--set`.
    pub async fn start_with(engine: Engine, settings: &[&str]) -> Self {
        let data = tempfile::Builder::new().prefix("kettle-data-").tempdir();
        let database = (engine == Engine::Postgres).then(|| Arc::new(Database::create()));
        Self::launch(Arc::new(data.unwrap()), database, settings)
    }

    /// On a database and a data folder that the test has filled.
    pub(crate) fn start_on(data: Arc<TempDir>, database: Arc<Database>, settings: &[&str]) -> Self {
        Self::launch(data, Some(database), settings)
    }

    /// A second node on the same database and artifact folder.
    pub async fn another_node(&self) -> Self {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.another_node_with(&settings).await
    }

    /// The same, with settings of its own.
    pub async fn another_node_with(&self, settings: &[&str]) -> Self {
        assert!(self.database.is_some(), "nodes share a PostgreSQL database");
        Self::launch(self.data.clone(), self.database.clone(), settings)
    }

    fn launch(data: Arc<TempDir>, database: Option<Arc<Database>>, settings: &[&str]) -> Self {
        let port = free_port();
        let logs = tempfile::Builder::new().prefix("kettle-log-").tempdir().unwrap();
        let mut server = Self {
            port,
            base: format!("http://127.0.0.1:{port}"),
            admin: basic("admin", "admin"),
            data,
            database,
            process: None,
            settings: settings.iter().map(|s| s.to_string()).collect(),
            logs,
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(60))
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                // A pooled connection would end with the server that a test stops.
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
        };
        server.spawn();
        server.wait_until_ready();
        server
    }

    fn spawn(&mut self) {
        let mut options = std::fs::File::options();
        let log = options.create(true).append(true).open(self.log()).unwrap();
        let mut command = kettle_command();
        command
            .args(["serve", "--port", &self.port.to_string(), "--data"])
            .arg(self.data.path())
            // Tests that stop a server do not wait for a balancer; those that have one set this again.
            .args(["--set", "kettle.shutdown-drain=0s"])
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(database) = &self.database {
            command.args(["--database", &database.url]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        self.process = Some(Process::spawn(command.stdin(Stdio::null())));
    }

    fn wait_until_ready(&mut self) {
        let port = self.port;
        let process = self.process.as_mut().unwrap();
        let ready = eventually_within(START, "the server is ready", || {
            if let Some(status) = process.exited() {
                return Some(Err(status));
            }
            is_ready(port).then_some(Ok(()))
        });
        if let Err(status) = ready {
            panic!("kettle serve ended with {status}:\n{}", self.log_tail());
        }
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a running server")
    }

    pub fn kill9(&mut self) {
        self.process.take().expect("a running server").kill9();
    }

    /// On the same data, port and settings, after `kill9` or `stop`.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "stop it first");
        self.spawn();
        self.wait_until_ready();
    }

    /// Asks for a clean end and insists on it.
    pub fn stop(&mut self) {
        let status = self.process.take().unwrap().terminate(STOP);
        assert_eq!(status.code(), Some(0), "after SIGTERM:\n{}", self.log_tail());
    }

    /// The process, out of the server's hands: for tests of ending it.
    pub fn take_process(&mut self) -> Process {
        self.process.take().expect("a running server")
    }

    fn log(&self) -> PathBuf {
        self.logs.path().join("kettle.log")
    }

    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log()).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        let request = format!("{method} {path}");
        self.try_request(method, path, headers, body).await.unwrap_or_else(|e| panic!("{request}: {e:?}"))
    }

    /// For tests in which the connection may break.
    pub async fn try_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> reqwest::Result<Answer> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        Ok(Answer {
            request: name,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await?.to_vec(),
            base: self.base.clone(),
        })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_as(&self.admin, path).await
    }

    pub async fn get_as(&self, authorization: &str, path: &str) -> Answer {
        self.json_as(authorization, Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json_as(&self.admin, Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json_as(&self.admin, Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.json_as(&self.admin, Method::DELETE, path, None).await
    }

    pub async fn json_as(&self, authorization: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut headers = vec![("authorization", authorization)];
        let bytes = body.map(|b| serde_json::to_vec(&b).unwrap());
        if bytes.is_some() {
            headers.push(("content-type", "application/json"));
        }
        self.request(method, path, &headers, bytes).await
    }

    pub async fn configure(&self, key: &str, value: impl Into<Value>) {
        let path = format!("/rest/v1/system/configs/{key}");
        let value: Value = value.into();
        self.put(&path, json!({"value": value})).await.expect(204);
    }

    /// Turns both kinds of device tokens on.
    pub async fn allow_devices(&self) {
        self.configure("authentication.targettoken.enabled", true).await;
        self.configure("authentication.gatewaytoken.enabled", true).await;
        self.configure("authentication.gatewaytoken.key", GATEWAY_TOKEN).await;
    }

    /// A device of tenant DEFAULT that shows the gateway token.
    pub fn device(&self, controller_id: &str) -> Device<'_> {
        Device {
            server: self,
            root: format!("/DEFAULT/controller/v1/{controller_id}"),
            authorization: format!("GatewayToken {GATEWAY_TOKEN}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.take());
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.base, self.log_tail());
        }
    }
}

/// `Authorization` of a Management API user.
pub fn basic(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

fn is_ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let request = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
