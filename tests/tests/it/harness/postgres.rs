//! The PostgreSQL that all tests of this process share: a private one, started when the first test asks, or the one that
//! `KETTLE_TEST_POSTGRES` names. Each server gets a database of its own, dropped with it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::launch::free_port;

/// A database of one test; the name says which process made it.
pub struct Database {
    name: String,
    pub url: String,
}

impl Database {
    pub fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kettle_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        psql(&shared_postgres().admin_url, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        let url = shared_postgres().url_of(&name);
        Self { name, url }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropped = psql_command(&shared_postgres().admin_url, &sql).output();
        if !dropped.is_ok_and(|out| out.status.success()) {
            eprintln!("the database {} was left behind", self.name);
        }
    }
}

pub struct SharedPostgres {
    pub admin_url: String,
    /// The private server's life line: it stops when this pipe closes, at the latest with this process.
    _life: Option<ChildStdin>,
}

impl SharedPostgres {
    fn url_of(&self, database: &str) -> String {
        let (server, rest) = self.admin_url.rsplit_once('/').expect("a postgres:// URL");
        let parameters = rest.split_once('?').map(|(_, p)| format!("?{p}"));
        format!("{server}/{database}{}", parameters.unwrap_or_default())
    }
}

pub fn shared_postgres() -> &'static SharedPostgres {
    static SHARED: OnceLock<SharedPostgres> = OnceLock::new();
    SHARED.get_or_init(|| match std::env::var("KETTLE_TEST_POSTGRES") {
        Ok(admin_url) => SharedPostgres { admin_url, _life: None },
        Err(_) => start_private(),
    })
}

#[expect(clippy::zombie_processes, reason = "it ends after this process, by the pipe that closes then")]
fn start_private() -> SharedPostgres {
    let dir = tempfile::Builder::new().prefix("kettle-pg-").tempdir().unwrap().keep();
    let port = free_port();
    let mut keeper = Command::new("sh")
        .args(["-c", include_str!("postgres.sh"), "postgres.sh"])
        .arg(binaries())
        .arg(&dir)
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line != "ready\n" {
        let mut said = String::new();
        let _ = keeper.stderr.take().unwrap().read_to_string(&mut said);
        panic!("the private PostgreSQL did not start: {said}");
    }
    SharedPostgres { admin_url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), _life: keeper.stdin.take() }
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
