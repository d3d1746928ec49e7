//! The servers under measurement, and the requests that several phases send them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::load::{self, Load, Outcome, now};
use crate::process::{Process, StopSignal, free_port};

/// What devices send in `Authorization`; the bare handler accepts nothing else.
pub const GATEWAY_AUTHORIZATION: &str = "GatewayToken bench";
/// admin:admin, the user of a fresh server.
const MANAGEMENT_AUTHORIZATION: &str = "Basic YWRtaW46YWRtaW4=";
pub const TARGETS_PER_CREATE: u64 = 500;
pub const CREATE_CONNECTIONS: u64 = 4;
const START_WITHIN: Duration = Duration::from_secs(30);
const SETUP_ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A server under measurement.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

impl Server {
    /// `database` is the URL of a PostgreSQL database; without one, SQLite in `name`'s own folder.
    pub async fn kettle(program: &Path, database: Option<String>, scratch: &Path, name: &'static str) -> Result<Self> {
        Self::kettle_with(program, database, scratch, name, &[]).await
    }

    /// The same with settings, as `KEY=VALUE`.
    pub async fn kettle_with(
        program: &Path,
        database: Option<String>,
        scratch: &Path,
        name: &'static str,
        settings: &[String],
    ) -> Result<Self> {
        let port = free_port()?;
        std::fs::create_dir(scratch.join(name))?;
        Self::kettle_on(program, database, scratch, name, settings, port).await
    }

    /// On a port and in a folder that were its own before: a node that comes back.
    pub async fn kettle_on(
        program: &Path,
        database: Option<String>,
        scratch: &Path,
        name: &'static str,
        settings: &[String],
        port: u16,
    ) -> Result<Self> {
        let program =
            program.canonicalize().with_context(|| format!("{} isn't there; build it first", program.display()))?;
        let folder = scratch.join(name);
        let data = folder.join("data");
        let database = database.unwrap_or_else(|| format!("sqlite:{}", data.join("kettle.db").display()));
        let mut command = Command::new(program);
        // In a folder of its own, so that no `kettle.toml` lying about takes part.
        command.current_dir(&folder).args(["serve", "--port", &port.to_string(), "--database", &database]);
        command.arg("--data").arg(&data);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let process = Process::start(name, &mut command, scratch, StopSignal::Terminate)?;
        Self { process, address: (Ipv4Addr::LOCALHOST, port).into() }
            .ready("GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .await
    }

    pub async fn bare(scratch: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--port", &port.to_string()]);
        let process = Process::start("bare", &mut command, scratch, StopSignal::Terminate)?;
        let mut request = Vec::new();
        poll_request(&mut request, 1);
        let request = String::from_utf8(request)?;
        Self { process, address: (Ipv4Addr::LOCALHOST, port).into() }.ready(&request).await
    }

    /// Waits until the request is answered with success.
    async fn ready(mut self, request: &str) -> Result<Self> {
        let started = now();
        let mut last = String::from("nothing was tried");
        while started.elapsed() < START_WITHIN {
            self.process.check_running()?;
            let attempt = async {
                let mut connection = Connection::connect(self.address).await?;
                connection.send(request.as_bytes()).await?.success().map(|_| ())
            };
            match timeout(Duration::from_secs(5), attempt).await {
                Ok(Ok(())) => return Ok(self),
                Ok(Err(error)) => last = format!("{error:#}"),
                Err(_) => last = "no answer".to_owned(),
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("not ready within {START_WITHIN:?} ({last}):\n{}", self.process.log_tail())
    }
}

/// Makes a fresh server one with a fleet: targets `dev-00000` and up, and devices that show the gateway token.
pub async fn create_fleet(kettle: &Server, targets: u64) -> Result<Outcome> {
    configure(kettle, "authentication.gatewaytoken.key", json!("bench")).await?;
    configure(kettle, "authentication.gatewaytoken.enabled", json!(true)).await?;
    let (address, requests) = (kettle.address, targets.div_ceil(TARGETS_PER_CREATE));
    create_targets(Load { address, connections: CREATE_CONNECTIONS, requests, time: Duration::ZERO }, "dev", targets)
        .await
}

/// Creates targets in full batches; the last one ends before target number `end`.
pub async fn create_targets(load: Load, prefix: &'static str, end: u64) -> Result<Outcome> {
    load::run(load, move |number, request| {
        let first = number * TARGETS_PER_CREATE;
        let mut body = String::with_capacity(64 * TARGETS_PER_CREATE as usize);
        for target in first..end.min(first + TARGETS_PER_CREATE) {
            let name = target_name(prefix, target);
            for part in [
                if body.is_empty() { "[" } else { "," },
                r#"{"controllerId":""#,
                &name,
                r#"","name":""#,
                &name,
                r#""}"#,
            ] {
                body.push_str(part);
            }
        }
        body.push(']');
        management_request(request, "POST", "/rest/v1/targets", Some(("application/json", body.len() as u64)));
        request.extend_from_slice(body.as_bytes());
    })
    .await
}

pub fn target_name(prefix: &str, target: u64) -> String {
    format!("{prefix}-{target:05}")
}

/// Appends the head of a request to the Management API; `body` is its content type and length.
pub fn management_request(request: &mut Vec<u8>, method: &str, path: &str, body: Option<(&str, u64)>) {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {MANAGEMENT_AUTHORIZATION}\r\nAccept: application/json\r\n"
    );
    if let Some((content_type, length)) = body {
        head.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    request.extend_from_slice(head.as_bytes());
}

pub async fn configure(kettle: &Server, key: &str, value: Value) -> Result<()> {
    let path = format!("/rest/v1/system/configs/{key}");
    send_json(kettle, "PUT", &path, &json!({ "value": value })).await?;
    Ok(())
}

pub async fn send_json(kettle: &Server, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let mut request = Vec::new();
    management_request(&mut request, method, path, Some(("application/json", body.len() as u64)));
    request.extend_from_slice(body.as_bytes());
    exchange(kettle, &request).await.with_context(|| format!("{method} {path}"))
}

/// One request outside of any measurement; `null` for an answer without a body.
pub async fn exchange(server: &Server, request: &[u8]) -> Result<Value> {
    let mut connection = Connection::connect(server.address).await?;
    let answer = timeout(SETUP_ANSWER_WITHIN, connection.send(request)).await.context("no answer")??;
    match answer.success()? {
        [] => Ok(Value::Null),
        body => serde_json::from_slice(body).context("the answer isn't JSON"),
    }
}

pub fn poll_request(request: &mut Vec<u8>, target: u64) {
    poll_request_of(request, &target_name("dev", target));
}

pub fn poll_request_of(request: &mut Vec<u8>, name: &str) {
    for part in ["GET /DEFAULT/controller/v1/", name, " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: "] {
        request.extend_from_slice(part.as_bytes());
    }
    request.extend_from_slice(GATEWAY_AUTHORIZATION.as_bytes());
    request.extend_from_slice(b"\r\nAccept: application/json\r\n\r\n");
}
