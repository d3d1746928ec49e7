//! `kettle-bench`: starts Kettle on a private database, drives it over loopback and compares what it measures with the
//! numbers the project wants. A missed number is a result (exit code 0); anything that fails is an error (exit code 1).
//! It never touches a server or a database that it didn't start itself.

mod artifact;
mod bare;
mod cluster;
mod connection;
mod dmf;
mod fleet;
mod gateway;
mod load;
mod million;
mod operator;
mod postgres;
mod process;
mod rabbitmq;
mod report;
mod rollout;
mod scenarios;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand, ValueEnum};
use report::Report;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(name = "kettle-bench", about = "Measures Kettle on this machine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start Kettle and everything it needs, measure, print a table and a line of JSON
    Run(Options),
    /// Roll out to small and very large fleets and print what grows, and how, as a table for docs/benchmarks.md
    Million(million::Options),
    /// Serve the canned poll answer: the limit that polls are compared with
    Bare {
        #[arg(long)]
        port: u16,
    },
}

#[derive(clap::Args, Clone)]
pub struct Options {
    /// The program to measure
    #[arg(long, default_value = "target/release/kettle")]
    pub kettle: PathBuf,
    #[arg(long, value_enum, default_value_t = Database::Postgres)]
    pub database: Database,
    /// How many targets the polls and lists work on
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(50..=1_000_000))]
    pub targets: u64,
    /// How many targets the searches, the feedback and the rollout work on
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    pub fleet: u64,
    /// Length of each measured round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Connections that poll and list; each has one request under way
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub connections: u64,
    /// Rounds of polls, each against the bare handler and then against Kettle
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub rounds: u64,
    /// Size of the artifact; a server refuses more than 1024 by default
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub artifact_mib: u64,
    /// Only these phases, separated by commas; `bare` alone needs neither Kettle nor a database
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Phase>,
    /// Folder of initdb and postgres, where it isn't /usr/lib/postgresql/*/bin
    #[arg(long)]
    pub postgres_bin: Option<PathBuf>,
    /// Write PostgreSQL's log there, with the plans of all statements that took over 100 ms (which costs some speed)
    #[arg(long)]
    pub plans: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Database {
    Postgres,
    Sqlite,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    Bare,
    Poll,
    List,
    Artifact,
    Create,
    /// A server and a database of its own: searches, lists and feedback
    Fleet,
    /// Another one: a rollout to the fleet, feedback within it, and auto-assignment
    Rollout,
    /// Another one, on PostgreSQL, and a broker: devices over AMQP
    Dmf,
    /// Three nodes, then ten, on PostgreSQL: events between them, nodes that die and are restarted
    Cluster,
}

impl Options {
    pub fn wants(&self, phase: Phase) -> bool {
        self.only.is_empty() || self.only.contains(&phase)
    }

    /// Whether anything but the bare handler is to be measured.
    pub fn wants_kettle(&self) -> bool {
        Phase::value_variants().iter().any(|phase| *phase != Phase::Bare && self.wants(*phase))
    }

    /// Whether this is the set-up that the wanted numbers are stated for.
    pub fn is_reference(&self) -> bool {
        self.database == Database::Postgres
            && self.targets == 10_000
            && self.fleet == 100_000
            && self.artifact_mib == 1024
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(options) => run(&options).await,
        Command::Million(options) => until_a_signal(million::run(&options)).await,
        Command::Bare { port } => bare::serve(port).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kettle-bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let mut report = Report::new(options.is_reference());
    let outcome = until_a_signal(scenarios::run(options, &mut report)).await;
    report.print(outcome.as_ref().err());
    outcome
}

/// Runs the scenarios; a signal drops them, which stops every child process and removes the scratch folder.
async fn until_a_signal(scenarios: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = scenarios => outcome,
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    }
}
