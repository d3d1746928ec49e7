//! A private PostgreSQL: made with initdb in the scratch folder, on a free port of 127.0.0.1, with the settings that
//! initdb leaves (durable: fsync and synchronous_commit on), gone with its guard.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use crate::load::now;
use crate::process::{Process, StopSignal, complete, free_port, owner};

/// The version that the project's numbers are stated for.
const PREFERRED: u32 = 15;
const START_WITHIN: Duration = Duration::from_secs(30);

/// What makes PostgreSQL log the plans of slow statements.
const PLANS: [&str; 5] = [
    "session_preload_libraries=auto_explain",
    "auto_explain.log_min_duration=100ms",
    "auto_explain.log_analyze=on",
    "auto_explain.log_buffers=on",
    "auto_explain.log_nested_statements=on",
];

pub struct Postgres {
    process: Process,
    port: u16,
    bin: PathBuf,
    /// What it is and how it is set, for the report.
    pub description: String,
    /// Where its log is to go in the end.
    plans: Option<PathBuf>,
}

impl Postgres {
    /// With `plans`, its log goes there in the end, with the plan of every slow statement.
    pub async fn start(bin: Option<&Path>, scratch: &Path, plans: Option<&Path>) -> Result<Self> {
        let bin = bin.map_or_else(installed, |bin| Ok(bin.to_owned()))?;
        let owner = owner("postgres")?;
        let folder = scratch.join("postgres");
        fs::create_dir(&folder)?;
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group))?;
        }
        let data = folder.join("data");
        let program = |name: &str| {
            let mut command = Command::new(bin.join(name));
            command.current_dir(&folder);
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };

        let initdb = ["--username=postgres", "--auth=trust", "--locale=C.UTF-8", "--encoding=UTF8"];
        complete(program("initdb").arg("--pgdata").arg(&data).args(initdb))?;
        let version = complete(program("postgres").arg("--version"))?;
        let port = free_port()?;
        let mut postgres = program("postgres");
        postgres.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        let sockets = format!("unix_socket_directories={}", folder.display());
        for setting in ["listen_addresses=127.0.0.1", &sockets, "fsync=on", "synchronous_commit=on"] {
            postgres.arg("-c").arg(setting);
        }
        if plans.is_some() {
            for setting in PLANS {
                postgres.arg("-c").arg(setting);
            }
        }
        // SIGINT is PostgreSQL's fast shutdown: it doesn't wait for clients.
        let mut process = Process::start("postgres", &mut postgres, scratch, StopSignal::Interrupt)?;

        let started = now();
        loop {
            process.check_running()?;
            let mut createdb = program("createdb");
            createdb.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string(), "kettle"]);
            match complete(&mut createdb) {
                Ok(_) => break,
                Err(error) if started.elapsed() > START_WITHIN => {
                    return Err(error.context(format!("PostgreSQL wasn't ready within {START_WITHIN:?}")));
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        let description =
            format!("{version}, fsync on, synchronous_commit on, locale C.UTF-8, all else as initdb leaves it");
        Ok(Self { process, plans: plans.map(Path::to_owned), port, bin: bin.clone(), description })
    }

    pub fn create_database(&self, name: &str) -> Result<()> {
        complete(self.client("createdb").arg(name)).map(drop)
    }

    /// Gathers the statistics that the planner goes by, and clears what was deleted.
    pub fn analyze(&self, database: &str) -> Result<()> {
        complete(self.client("vacuumdb").args(["--quiet", "--analyze", database])).map(drop)
    }

    /// Fills a database for pgbench's own scripts.
    pub fn prepare_pgbench(&self, database: &str, scale: u32) -> Result<()> {
        complete(self.client("pgbench").args(["-i", "-q", "-s", &scale.to_string(), database])).map(drop)
    }

    /// Runs pgbench and returns what it measured, in transactions per second.
    pub fn pgbench(&self, database: &str, arguments: &[&str]) -> Result<f64> {
        let printed = complete(self.client("pgbench").args(arguments).arg(database))?;
        let rate = printed.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench printed no rate:\n{printed}"))
    }

    /// What a query gives, a line for each row.
    pub fn query(&self, database: &str, sql: &str) -> Result<String> {
        complete(self.client("psql").args(["-X", "-q", "-A", "-t", "-c", sql, database]))
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        command
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(plans) = &self.plans
            && let Err(error) = fs::copy(self.process.log(), plans)
        {
            eprintln!("PostgreSQL's log is lost: {error}");
        }
    }
}

/// The preferred version among those that Debian's packages installed, or else the newest.
fn installed() -> Result<PathBuf> {
    let root = Path::new("/usr/lib/postgresql");
    let mut versions: Vec<u32> = Vec::new();
    for entry in root.read_dir().with_context(|| format!("looking for PostgreSQL in {}", root.display()))? {
        let entry = entry?;
        if let Some(version) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && entry.path().join("bin/initdb").exists()
        {
            versions.push(version);
        }
    }
    match versions.iter().max_by_key(|version| (**version == PREFERRED, **version)) {
        Some(version) => Ok(root.join(version.to_string()).join("bin")),
        None => bail!("no PostgreSQL server in {}; name its folder with --postgres-bin", root.display()),
    }
}
