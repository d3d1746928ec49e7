//! The same rollout to fleets of different size, on both databases: what grows, and how. Prints tables for
//! docs/benchmarks.md and judges nothing; a step that takes longer than it may is an error.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use crate::Database;
use crate::load::{self, Load, Outcome, now};
use crate::operator::{self, Rollout};
use crate::postgres::Postgres;
use crate::process::Scratch;
use crate::report::{megabytes, number};
use crate::scenarios::{progress, scatter};
use crate::server::{Server, create_fleet, management_request, poll_request};

const NAME: &str = "million";

#[derive(clap::Args, Clone)]
pub struct Options {
    /// The program to measure
    #[arg(long, default_value = "target/release/kettle")]
    kettle: PathBuf,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Database::Sqlite, Database::Postgres])]
    database: Vec<Database>,
    /// The sizes of the fleets, in ascending order
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    targets: Vec<u64>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(3..=500))]
    groups: u64,
    /// Connections of devices; each has one request under way
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    connections: u64,
    /// What one step of a rollout may take
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    minutes_a_step: u64,
    /// What everything on one database, with one fleet, may take
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// Folder of initdb and postgres, where it isn't /usr/lib/postgresql/*/bin
    #[arg(long)]
    postgres_bin: Option<PathBuf>,
    /// Write PostgreSQL's log there, with the plans of all statements that took over 100 ms (which costs some speed)
    #[arg(long)]
    plans: Option<PathBuf>,
}

pub async fn run(options: &Options) -> Result<()> {
    for database in &options.database {
        let mut columns = Vec::new();
        for targets in &options.targets {
            let within = Duration::from_secs(60 * options.minutes);
            let column = timeout(within, measure(options, *database, *targets)).await;
            let column = column.map_err(anyhow::Error::from).flatten();
            columns.push(column.with_context(|| format!("with {targets} targets"))?);
            // After each, so that a failure of the next leaves something.
            println!("{}", table(options, &columns));
        }
    }
    Ok(())
}

/// What was measured with one fleet on one database.
struct Column {
    targets: u64,
    database: String,
    cells: Vec<Cell>,
    /// The largest tables with their indexes, where the database tells.
    tables: String,
}

struct Cell {
    what: &'static str,
    value: f64,
    unit: &'static str,
}

impl Column {
    fn cell(&mut self, what: &'static str, value: f64, unit: &'static str) {
        progress(&format!("  {what}: {} {unit}", number(value)));
        self.cells.push(Cell { what, value, unit });
    }

    fn time(&mut self, what: &'static str, time: Duration) {
        self.cell(what, time.as_secs_f64() * 1_000.0, "ms");
    }

    fn rate(&mut self, what: &'static str, outcome: &Outcome) {
        self.cell(what, outcome.per_second(), "/s");
    }
}

async fn measure(options: &Options, database: Database, targets: u64) -> Result<Column> {
    // Dropped in reverse order: processes stop before the folder they write to goes.
    let scratch = Scratch::create()?;
    let postgres = match database {
        Database::Postgres => {
            let (bin, plans) = (options.postgres_bin.as_deref(), options.plans.as_deref());
            let postgres = Postgres::start(bin, scratch.path(), plans).await?;
            postgres.create_database(NAME)?;
            Some(postgres)
        }
        Database::Sqlite => None,
    };
    let url = postgres.as_ref().map(|postgres| postgres.url(NAME));
    let kettle = Server::kettle(&options.kettle, url, scratch.path(), NAME).await?;
    let run =
        Run { options, kettle: &kettle, postgres: postgres.as_ref(), data: scratch.path().join(NAME).join("data") };
    let database = postgres.as_ref().map_or("SQLite", |postgres| &postgres.description).to_owned();
    let mut column = Column { targets, database, cells: Vec::new(), tables: String::new() };
    let outcome = run.fill(&mut column).await;
    if outcome.is_err() {
        eprintln!("The end of Kettle's log:\n{}", kettle.process.log_tail());
    }
    outcome.map(|()| column)
}

struct Run<'a> {
    options: &'a Options,
    kettle: &'a Server,
    postgres: Option<&'a Postgres>,
    /// Kettle's data folder.
    data: PathBuf,
}

impl Run<'_> {
    async fn fill(&self, column: &mut Column) -> Result<()> {
        let targets = column.targets;
        progress(&format!("{} targets on {}", number(targets as f64), column.database));
        column.rate("creates of 500 targets", &create_fleet(self.kettle, targets).await?);
        self.analyze()?;
        self.sizes(column, "database with the targets", "memory with the targets")?;

        let watch = self.kettle.process.sample_resident();
        let within = Duration::from_secs(60 * self.options.minutes_a_step);
        let set = operator::create_set(self.kettle, "rollout").await?;
        let (rollout, ready) = Rollout::create(self.kettle, set, self.options.groups, within).await?;
        ensure!(rollout.first(rollout.groups.len()) == targets, "the groups have {:?} targets", rollout.groups);
        column.time("rollout: created to ready", ready);
        self.sizes(column, "database when it is ready", "memory when it is ready")?;
        column.time("rollout: started to running, all scheduled", rollout.start().await?);
        self.sizes(column, "database when it is running", "memory when it is running")?;
        self.analyze()?;

        // The first half of the first group, at whose last the next one is to start; then the rest beside that one.
        let mut work = rollout.work().await?;
        let rest = work.split_off(work.len().div_ceil(2));
        let last = work.pop().context("an empty group")?;
        let connections = self.options.connections;
        column.rate("feedback in its first group", &operator::report_success(self.kettle, connections, work).await?);
        operator::report_success(self.kettle, 1, vec![last]).await?;
        column.time("from feedback that is enough to the next group", rollout.until_started(2).await?);
        column.rate("feedback beside the next group", &operator::report_success(self.kettle, connections, rest).await?);

        let time = Duration::from_secs(5);
        let load = Load { address: self.kettle.address, connections: 1, requests: 0, time };
        let path = rollout.path();
        let reads = load::run(load, move |_, request| management_request(request, "GET", &path, None)).await?;
        column.cell("read of the rollout, p50", reads.millis(0.5), "ms");
        let write = move |number: u64, request: &mut Vec<u8>| poll_request(request, scatter(number) % targets);
        let polls = load::run(Load { connections, ..load }, write).await?;
        column.rate("polls of any of its targets, most for the first time", &polls);
        self.sizes(column, "database after feedback and polls", "memory after feedback and polls")?;

        column.time("rollout: stopped", rollout.stop().await?);
        column.time("rollout: deleted, with its history kept", rollout.delete().await?);
        self.sizes(column, "database in the end", "memory in the end")?;
        column.cell("memory, largest seen since the rollout", megabytes(watch.peak()), "MB");
        if let Some(postgres) = self.postgres {
            column.tables = postgres.query(NAME, TABLES)?;
        }
        let started = now();
        self.analyze()?;
        if self.postgres.is_some() {
            column.time("VACUUM ANALYZE of what all that left", started.elapsed());
        }
        Ok(())
    }

    fn analyze(&self) -> Result<()> {
        self.postgres.map_or(Ok(()), |postgres| postgres.analyze(NAME))
    }

    fn sizes(&self, column: &mut Column, database: &'static str, memory: &'static str) -> Result<()> {
        let size = match self.postgres {
            Some(postgres) => postgres.query(NAME, &format!("SELECT pg_database_size('{NAME}')"))?.parse()?,
            None => files(&self.data, "kettle.db")?,
        };
        column.cell(database, megabytes(size), "MB");
        column.cell(memory, megabytes(self.kettle.process.resident()?), "MB");
        Ok(())
    }
}

const TABLES: &str = "SELECT string_agg(relname || ' ' || pg_size_pretty(size) || ' with ' || pg_size_pretty(indexes) \
                      || ' of indexes', ', ') FROM (SELECT relname, pg_total_relation_size(oid) AS size, \
                      pg_indexes_size(oid) AS indexes FROM pg_class WHERE relkind = 'r' ORDER BY 2 DESC LIMIT 6) t";

/// The size of a folder's files of that name and what is added to it, such as a write-ahead log.
fn files(folder: &Path, name: &str) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(name) {
            size += entry.metadata()?.len();
        }
    }
    Ok(size)
}

/// In Markdown; the last column says how much more the largest fleet takes than the smallest.
fn table(options: &Options, columns: &[Column]) -> String {
    let (Some(first), Some(last)) = (columns.first(), columns.last()) else { return String::new() };
    let mut text = format!("\n{}; {} groups, {} connections\n\n|", last.database, options.groups, options.connections);
    for column in columns {
        text += &format!(" | {} targets", number(column.targets as f64));
    }
    let times = last.targets as f64 / first.targets as f64;
    text += &format!(" | growth at ×{} |\n| ---{} | --- |\n", number(times), " | ---:".repeat(columns.len()));
    for (row, cell) in first.cells.iter().enumerate() {
        text += &format!("| {}", cell.what);
        for column in columns {
            let cell = column.cells.get(row);
            text += &cell.map_or(" |".to_owned(), |cell| format!(" | {} {}", number(cell.value), cell.unit));
        }
        let growth = last.cells.get(row).map(|last| last.value / cell.value);
        text += &growth.map_or(" | |\n".to_owned(), |growth| format!(" | ×{} |\n", number(growth)));
    }
    for column in columns.iter().filter(|column| !column.tables.is_empty()) {
        text += &format!("\nLargest tables at {} targets: {}\n", number(column.targets as f64), column.tables);
    }
    text
}
