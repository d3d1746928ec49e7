//! Private PostgreSQL servers: the one that all tests of this process share (started when the first test asks, or the one
//! that `KETTLE_TEST_POSTGRES` names), and others for tests that crash it. Each Kettle gets a database of its own.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{keeper::Keeper, launch::free_port};

/// A database of one test; the name says which process made it. It is dropped with the value.
pub struct Database {
    name: String,
    pub url: String,
    /// A server of its own, which goes with it; else it is in the shared one.
    pub server: Option<Arc<Postgres>>,
}

impl Database {
    pub fn create() -> Self {
        Self::create_in(shared_postgres(), None)
    }

    /// In a server that the test may crash.
    pub fn create_apart() -> Self {
        let server = Arc::new(Postgres::start(true));
        Self::create_in(&server.clone(), Some(server))
    }

    fn create_in(server: &Postgres, own: Option<Arc<Postgres>>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kettle_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        psql(&server.admin_url, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        let url = server.url_of(&name);
        Self { name, url, server: own }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        let (_, address, _) = self.parts();
        if address.contains(':') { address.to_owned() } else { format!("{address}:5432") }
    }

    /// The same database by another way: what listens on `port` leads to [`Database::address`].
    pub fn url_by(&self, port: u16) -> String {
        let (before, _, after) = self.parts();
        format!("{before}127.0.0.1:{port}{after}")
    }

    /// The URL up to its host, host and port, and from the path on.
    fn parts(&self) -> (&str, &str, &str) {
        let begin =
            self.url.rfind('@').or_else(|| self.url.find("://").map(|at| at + 2)).expect("a postgres:// URL") + 1;
        let end = begin + self.url[begin..].find('/').expect("a database");
        (&self.url[..begin], &self.url[begin..end], &self.url[end..])
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.server.is_some() {
            return;
        }
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropped = psql_command(&shared_postgres().admin_url, &sql).output();
        if !dropped.is_ok_and(|out| out.status.success()) {
            eprintln!("the database {} was left behind", self.name);
        }
    }
}

pub struct Postgres {
    pub admin_url: String,
    keeper: Option<Keeper>,
}

impl Postgres {
    /// `lasting`: a commit outlives a crash. That costs time.
    fn start(lasting: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("kettle-pg-").tempdir().unwrap().keep();
        let port = free_port().to_string();
        let commits = if lasting { "on" } else { "off" };
        let keeper = Keeper::new("PostgreSQL", include_str!("postgres.sh"), &[&binaries(), &folder, &port, &commits]);
        keeper.tell("start");
        Self { admin_url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), keeper: Some(keeper) }
    }

    fn url_of(&self, database: &str) -> String {
        let (server, rest) = self.admin_url.rsplit_once('/').expect("a postgres:// URL");
        let parameters = rest.split_once('?').map(|(_, p)| format!("?{p}"));
        format!("{server}/{database}{}", parameters.unwrap_or_default())
    }

    /// Ends it without warning. What was committed survives.
    pub fn crash(&self) {
        self.keeper.as_ref().expect("a server of our own").tell("crash");
    }

    /// On the same port.
    pub fn restart(&self) {
        self.keeper.as_ref().expect("a server of our own").tell("start");
    }
}

pub fn shared_postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| match std::env::var("KETTLE_TEST_POSTGRES") {
        Ok(admin_url) => Postgres { admin_url, keeper: None },
        Err(_) => Postgres::start(false),
    })
}

/// Runs one statement and gives what `psql` prints, unaligned and without headings.
pub fn psql(url: &str, sql: &str) -> String {
    let out = psql_command(url, sql).output().unwrap();
    assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn psql_command(url: &str, sql: &str) -> Command {
    let mut command = Command::new(psql_binary());
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command.args(["-c", sql]).stdin(Stdio::null());
    command
}

pub fn psql_binary() -> PathBuf {
    binaries().join("psql")
}

/// Debian's folder of the newest server version.
fn binaries() -> PathBuf {
    std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL's server binaries are not installed (Debian: apt-get install postgresql)")
        .map(|entry| entry.unwrap().path().join("bin"))
        .max_by_key(|bin| version_of(bin))
        .unwrap()
}

fn version_of(bin: &std::path::Path) -> u32 {
    let version = bin.parent().and_then(|v| v.file_name()?.to_str());
    version.and_then(|v| v.parse().ok()).unwrap_or(0)
}
