//! A running `kettle serve` on a database and a data folder of its own.

use std::{ops::Deref, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tempfile::TempDir;

use super::{Client, Database, Process, eventually_within, free_port, kettle_command, signal};

const START: Duration = Duration::from_secs(60);
/// Longer than the time that requests in flight get.
const STOP: Duration = Duration::from_secs(45);
/// Debian's place of what makes a process see another time; the loader fills in the machine's folder.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

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
    pub data: Arc<TempDir>,
    pub database: Option<Arc<Database>>,
    process: Option<Process>,
    settings: Vec<String>,
    oddity: Oddity,
    logs: TempDir,
    client: Client,
}

/// What a node has to bear that others have not.
#[derive(Clone, Debug, Default)]
pub struct Oddity {
    /// Where it finds the database, if not at its own address.
    pub way_to_database: Option<String>,
    /// How far its clock is off, as faketime reads it: `+1h`.
    pub clock: Option<String>,
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
        Self::start_odd(data, database, settings, Oddity::default())
    }

    pub(crate) fn start_odd(
        data: Arc<TempDir>,
        database: Option<Arc<Database>>,
        settings: &[&str],
        oddity: Oddity,
    ) -> Self {
        let port = free_port();
        let logs = tempfile::Builder::new().prefix("kettle-log-").tempdir().unwrap();
        let mut server = Self {
            port,
            data,
            database,
            process: None,
            settings: settings.iter().map(|s| s.to_string()).collect(),
            oddity,
            logs,
            client: Client::to(port),
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
            command.args(["--database", self.oddity.way_to_database.as_ref().unwrap_or(&database.url)]);
        }
        if let Some(off) = &self.oddity.clock {
            // Timers go on as they do: it is the wall clock that is wrong.
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", off).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
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

    /// Stops it where it is, as a machine that is suspended does.
    pub fn pause(&self) {
        signal(self.process().id(), "STOP");
    }

    pub fn resume(&self) {
        signal(self.process().id(), "CONT");
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
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
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

fn is_ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let request = "GET /health/ready/http HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
