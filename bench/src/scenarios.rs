//! The phases, in the order that keeps them honest: idle memory first, polls and lists on exactly the wanted number of
//! targets, the artifact, and creating further targets last. Each phase checks one answer in full before it measures.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::artifact::{self, Pattern};
use crate::load::{self, Load, Outcome, now};
use crate::postgres::Postgres;
use crate::process::Scratch;
use crate::report::{Report, Row, Wanted, megabytes, number};
use crate::server::{
    CREATE_CONNECTIONS, Server, TARGETS_PER_CREATE, configure, create_targets, exchange, management_request,
    poll_request, send_json,
};
use crate::{Database, Options, Phase, cluster, dmf, fleet, rollout};

const TARGETS_PER_PAGE: u64 = 50;
const LIST: &str = "/rest/v1/targets?limit=50";

/// Runs the phases that are asked for and reports as it goes, so that a failure leaves what was measured before.
pub async fn run(options: &Options, report: &mut Report) -> Result<()> {
    // Dropped in reverse order: processes stop before the folder they write to goes.
    let scratch = Scratch::create()?;
    let bare = match options.wants(Phase::Bare) || options.wants(Phase::Poll) {
        true => Some(Server::bare(scratch.path()).await?),
        false => None,
    };
    report.setup(
        "load",
        format!("{} connections, one request under way on each, {} s a round", options.connections, options.seconds),
    );
    if !options.wants_kettle() {
        return match bare {
            Some(bare) => limit(options, report, &bare).await,
            None => Ok(()),
        };
    }

    progress("starting the database and Kettle");
    let postgres = match options.database {
        Database::Postgres => {
            Some(Postgres::start(options.postgres_bin.as_deref(), scratch.path(), options.plans.as_deref()).await?)
        }
        Database::Sqlite => None,
    };
    report.setup("database", postgres.as_ref().map_or("SQLite", |postgres| &postgres.description));
    let started = now();
    let database = postgres.as_ref().map(|postgres| postgres.url("kettle"));
    let kettle = Server::kettle(&options.kettle, database, scratch.path(), "kettle").await?;
    report.row(Row::info("start_ms", "from start to ready", started.elapsed().as_millis() as f64, "ms"));

    let servers = Servers { bare: bare.as_ref(), kettle: &kettle, postgres: postgres.as_ref() };
    let outcome = phases(options, report, servers).await;
    if outcome.is_err() {
        eprintln!("The end of Kettle's log:\n{}", kettle.process.log_tail());
    }
    drop(kettle);
    outcome?;
    if options.wants(Phase::Fleet) {
        fleet::run(options, report, postgres.as_ref(), scratch.path()).await?;
    }
    if options.wants(Phase::Rollout) {
        rollout::run(options, report, postgres.as_ref(), scratch.path()).await?;
    }
    if let Some(postgres) = &postgres
        && options.wants(Phase::Dmf)
    {
        dmf::run(options, report, postgres, scratch.path()).await?;
    }
    if let Some(postgres) = &postgres
        && options.wants(Phase::Cluster)
    {
        cluster::run(options, report, postgres, scratch.path()).await?;
    }
    Ok(())
}

/// What the phases have to work with.
#[derive(Clone, Copy)]
struct Servers<'a> {
    bare: Option<&'a Server>,
    kettle: &'a Server,
    postgres: Option<&'a Postgres>,
}

async fn phases(options: &Options, report: &mut Report, servers: Servers<'_>) -> Result<()> {
    let Servers { bare, kettle, postgres } = servers;
    sleep(Duration::from_secs(2)).await;
    report.row(Row::memory(
        "memory_idle",
        "resident memory, idle",
        kettle.process.resident()?,
        Wanted::Under(60.0),
        "520 MB",
    ));

    let watch = kettle.process.sample_resident();
    if options.wants(Phase::Poll) || options.wants(Phase::List) {
        progress("creating the targets to work on");
        let requests = options.targets.div_ceil(TARGETS_PER_CREATE);
        let connections = CREATE_CONNECTIONS;
        let load = Load { address: kettle.address, connections, requests, time: Duration::ZERO };
        create_targets(load, "dev", options.targets).await?;
        ensure_total(kettle, options.targets).await?;
    }
    if let Some(bare) = bare
        && options.wants(Phase::Poll)
    {
        poll(options, report, bare, kettle).await?;
    }
    if options.wants(Phase::List) {
        list(options, report, kettle, postgres).await?;
    }
    if options.wants(Phase::Artifact) {
        artifact(options, report, kettle).await?;
    }
    if options.wants(Phase::Create) {
        create(options, report, kettle).await?;
    }
    sleep(Duration::from_secs(1)).await;
    let after = kettle.process.resident()?;
    report.row(Row::memory("memory_after", "resident memory, after the load", after, Wanted::Under(100.0), "660 MB"));
    report.row(Row::info("memory_max", "resident memory, largest seen under load", megabytes(watch.peak()), "MB"));
    report.row(Row::info(
        "memory_peak",
        "resident memory, peak (VmHWM)",
        megabytes(kettle.process.resident_peak()?),
        "MB",
    ));
    Ok(())
}

/// Only the bare handler.
async fn limit(options: &Options, report: &mut Report, bare: &Server) -> Result<()> {
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        rounds.push(poll_round(options, bare, &format!("bare handler, round {round}")).await?);
    }
    report.row(poll_row("bare", "polls, bare axum handler", rounds, ""));
    Ok(())
}

async fn poll(options: &Options, report: &mut Report, bare: &Server, kettle: &Server) -> Result<()> {
    configure(kettle, "authentication.gatewaytoken.key", json!("bench")).await?;
    configure(kettle, "authentication.gatewaytoken.enabled", json!(true)).await?;
    check_poll(kettle, options.targets - 1).await?;
    check_poll(bare, options.targets - 1).await?;
    progress("polling every target once");
    poll_load(options, kettle, options.targets, Duration::ZERO).await?;

    // The machine's speed varies from one second to the next: only neighbours are compared.
    let (mut limits, mut rounds, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        let limit = poll_round(options, bare, &format!("bare handler, round {round}")).await?;
        let measured = poll_round(options, kettle, &format!("polls, round {round}")).await?;
        shares.push(100.0 * measured.outcome.per_second() / limit.outcome.per_second());
        limits.push(limit);
        rounds.push(measured);
    }
    report.row(poll_row("bare", "polls, bare axum handler", limits, ""));
    report.row(poll_row("poll", "polls, Kettle", rounds, "221/s (bare: 66,000/s)"));
    let (least, most) = bounds(&shares);
    report.row(Row {
        key: "poll_share",
        what: "polls, Kettle's share of the bare handler's".to_owned(),
        value: median(shares),
        unit: "%",
        wanted: Some(Wanted::AtLeast(40.0)),
        peer: "0.3 %",
        note: format!("median of {} pairs, {} to {} %", options.rounds, number(least), number(most)),
    });
    Ok(())
}

struct PollRound {
    outcome: Outcome,
    /// CPU time of the server per poll, in microseconds; without its database's.
    cpu: f64,
}

async fn poll_round(options: &Options, server: &Server, what: &str) -> Result<PollRound> {
    progress(what);
    let before = server.process.cpu_time()?;
    let outcome = poll_load(options, server, 0, Duration::from_secs(options.seconds)).await?;
    let cpu = server.process.cpu_time()?.saturating_sub(before);
    let cpu = cpu.as_secs_f64() * 1e6 / outcome.requests as f64;
    progress(&format!("  {}/s, {} µs of CPU each", number(outcome.per_second()), number(cpu)));
    Ok(PollRound { outcome, cpu })
}

async fn poll_load(options: &Options, server: &Server, requests: u64, time: Duration) -> Result<Outcome> {
    let load = Load { address: server.address, connections: options.connections, requests, time };
    let targets = options.targets;
    load::run(load, move |number, request| poll_request(request, number % targets)).await
}

fn poll_row(key: &'static str, what: &str, rounds: Vec<PollRound>, peer: &'static str) -> Row {
    let value = median(rounds.iter().map(|round| round.outcome.per_second()).collect());
    let of = |number: fn(&PollRound) -> f64| median(rounds.iter().map(number).collect());
    let p50 = of(|round| round.outcome.millis(0.5));
    let p99 = of(|round| round.outcome.millis(0.99));
    let size = of(|round| round.outcome.body_bytes as f64 / round.outcome.requests as f64);
    let cpu = of(|round| round.cpu);
    let note = format!("p50 {p50:.2} ms, p99 {p99:.2} ms, {cpu:.1} µs CPU each, {size:.0} B body");
    Row { key, what: what.to_owned(), value, unit: "/s", wanted: None, peer, note }
}

async fn check_poll(server: &Server, target: u64) -> Result<()> {
    let mut request = Vec::new();
    poll_request(&mut request, target);
    let answer = exchange(server, &request).await.context("a first poll")?;
    let sleep = answer.pointer("/config/polling/sleep");
    ensure!(sleep.is_some_and(Value::is_string), "a poll was answered without a polling time: {answer}");
    Ok(())
}

async fn list(options: &Options, report: &mut Report, kettle: &Server, postgres: Option<&Postgres>) -> Result<()> {
    let targets = options.targets;
    ensure_total(kettle, targets).await?;
    if let Some(postgres) = postgres {
        // Autovacuum does this within a minute; until then PostgreSQL knows nothing of the new rows and sorts them all.
        progress("waiting for the database's statistics (ANALYZE)");
        postgres.analyze("kettle")?;
    }
    let time = Duration::from_secs(options.seconds);
    let load = Load { address: kettle.address, connections: options.connections, requests: 0, time };
    progress("listing targets: the first page");
    let outcome = load::run(load, |_, request| management_request(request, "GET", LIST, None)).await?;
    report.row(Row {
        key: "list",
        what: format!("lists of {TARGETS_PER_PAGE} targets with total"),
        value: outcome.per_second(),
        unit: "/s",
        wanted: Some(Wanted::AtLeast(1_500.0)),
        peer: "32/s",
        note: format!("{}, first page", outcome.latencies()),
    });
    progress("listing targets: any page, in any order");
    let outcome = load::run(load, move |number, request| random_list_request(request, number, targets)).await?;
    report.row(Row {
        note: format!("{}, random offset and order", outcome.latencies()),
        ..Row::info("list_random", "lists of any page in any order", outcome.per_second(), "/s")
    });
    Ok(())
}

fn random_list_request(request: &mut Vec<u8>, number: u64, targets: u64) {
    let random = scatter(number);
    let offset = random % (targets - TARGETS_PER_PAGE + 1);
    let sort = match (random >> 40) % 5 {
        0 => "",
        1 => "&sort=name:ASC",
        2 => "&sort=name:DESC",
        3 => "&sort=controllerId:ASC",
        _ => "&sort=createdAt:DESC",
    };
    let path = format!("{LIST}&offset={offset}{sort}");
    management_request(request, "GET", &path, None);
}

async fn ensure_total(kettle: &Server, targets: u64) -> Result<()> {
    let mut request = Vec::new();
    management_request(&mut request, "GET", LIST, None);
    let page = exchange(kettle, &request).await.context("a first list")?;
    let total = page.get("total").and_then(Value::as_u64);
    ensure!(total == Some(targets), "the list's total is {total:?}, not {targets}");
    let found = page.get("content").and_then(Value::as_array).map(Vec::len);
    ensure!(found == Some(TARGETS_PER_PAGE as usize), "the list holds {found:?} targets, not {TARGETS_PER_PAGE}");
    Ok(())
}

async fn artifact(options: &Options, report: &mut Report, kettle: &Server) -> Result<()> {
    let size = options.artifact_mib << 20;
    let modules = json!([{ "name": "bench", "version": "1", "type": "os" }]);
    let modules = send_json(kettle, "POST", "/rest/v1/softwaremodules", &modules).await?;
    let module = modules.pointer("/0/id").and_then(Value::as_u64).context("the software module has no id")?;
    let pattern = Pattern::new();

    progress("uploading the artifact");
    let watch = kettle.process.sample_resident();
    let (id, elapsed) = artifact::upload(kettle.address, module, &pattern, size).await?;
    let what = format!("upload of {} MiB", options.artifact_mib);
    report.row(Row::info("upload", &what, megabytes(size) / elapsed.as_secs_f64(), "MB/s"));
    report.row(Row::memory(
        "memory_upload",
        "resident memory, largest while uploading",
        watch.peak(),
        Wanted::Under(100.0),
        "",
    ));

    progress("downloading the artifact");
    let watch = kettle.process.sample_resident();
    let elapsed = artifact::download(kettle.address, module, id, &pattern, size).await?;
    let what = format!("download of {} MiB", options.artifact_mib);
    report.row(Row::info("download", &what, megabytes(size) / elapsed.as_secs_f64(), "MB/s"));
    report.row(Row::memory(
        "memory_download",
        "resident memory, largest while downloading",
        watch.peak(),
        Wanted::Under(100.0),
        "",
    ));
    Ok(())
}

async fn create(options: &Options, report: &mut Report, kettle: &Server) -> Result<()> {
    progress("creating further targets");
    let requests = options.targets.div_ceil(TARGETS_PER_CREATE);
    let time = Duration::from_secs(options.seconds);
    let load = Load { address: kettle.address, connections: CREATE_CONNECTIONS, requests, time };
    let outcome = create_targets(load, "new", u64::MAX).await?;
    let created = outcome.requests * TARGETS_PER_CREATE;
    report.row(Row {
        key: "create",
        what: format!("creates of {TARGETS_PER_CREATE} targets"),
        value: created as f64 / outcome.elapsed.as_secs_f64(),
        unit: "targets/s",
        wanted: Some(Wanted::AtLeast(20_000.0)),
        peer: "1,000 to 2,000/s",
        note: format!(
            "{} created on {CREATE_CONNECTIONS} connections, {}",
            number(created as f64),
            outcome.latencies()
        ),
    });
    Ok(())
}

/// NaN without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    match values.len().is_multiple_of(2) {
        true => (upper + values.get(middle.wrapping_sub(1)).copied().unwrap_or(f64::NAN)) / 2.0,
        false => upper,
    }
}

pub fn bounds(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(*value), most.max(*value)))
}

/// Numbers in order to numbers without: the same in every run.
pub fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

pub fn progress(what: &str) {
    eprintln!("{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn list_offsets_stay_within_the_targets() {
        for number in 0..1000 {
            let mut request = Vec::new();
            random_list_request(&mut request, number, 60);
            let text = String::from_utf8(request).unwrap();
            let offset = text.split("offset=").nth(1).unwrap().split(['&', ' ']).next().unwrap();
            assert!(offset.parse::<u64>().unwrap() <= 10, "{text}");
        }
    }
}
