//! `kettle`: the server, its migrations and its configuration as one program.

mod config;
mod health;
mod lifecycle;
mod log;
mod openapi;
mod serve;
mod tls;
mod ui;
mod unlock;
mod wiring;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use config::{Loaded, Overrides};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A software-update server for device fleets that speaks Eclipse hawkBit's APIs.
#[derive(Parser)]
#[command(name = "kettle", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(Overrides),
    /// Bring the database to this version's tables, or say what would be done.
    Migrate {
        #[command(flatten)]
        overrides: Overrides,
        /// Only print what would be applied.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the nodes that run on this database, or did a short while ago.
    Nodes(Overrides),
    /// Let a user, or an address, log in at once after failed logins.
    Unlock {
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        subject: unlock::Subject,
    },
    /// Print the effective configuration, secrets masked, and where each value comes from.
    Config(Overrides),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kettle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(overrides) => {
            let loaded = load(&overrides)?;
            runtime()?.block_on(serve::serve(loaded))
        }
        Command::Migrate { overrides, dry_run } => {
            let loaded = load(&overrides)?;
            runtime()?.block_on(serve::migrate(&loaded.config, dry_run))
        }
        Command::Nodes(overrides) => {
            let loaded = load(&overrides)?;
            runtime()?.block_on(serve::nodes(&loaded.config))
        }
        Command::Unlock { overrides, subject } => {
            let loaded = load(&overrides)?;
            runtime()?.block_on(unlock::unlock(&loaded.config, &subject))
        }
        Command::Config(overrides) => {
            let loaded = load(&overrides)?;
            for entry in &loaded.entries {
                println!("{entry}");
            }
            loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            Ok(())
        }
    }
}

fn load(overrides: &Overrides) -> anyhow::Result<Loaded> {
    // `std::env::vars` panics on names or values that are not UTF-8; such a variable can't be one of ours.
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    config::load(overrides, env, &cwd).context("the configuration is wrong")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}
