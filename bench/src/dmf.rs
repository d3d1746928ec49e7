//! Devices over AMQP, with the broker and PostgreSQL on the same machine: registrations and reports in bulk, compared with
//! what PostgreSQL does by itself in the same run, and how long a command takes to its gateway.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::Options;
use crate::connection::Connection;
use crate::gateway::Gateway;
use crate::load::{Histogram, now};
use crate::operator;
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;
use crate::report::{Report, Row, Wanted, megabytes, number};
use crate::scenarios::progress;
use crate::server::{Server, management_request};

const DATABASE: &str = "dmf";
const PGBENCH: &str = "pgbench_dmf";
const THINGS: u64 = 20_000;
const COMMANDS_PER_SECOND: u64 = 100;
const COMMANDS: u64 = 10 * COMMANDS_PER_SECOND;
/// Commands of the first second, in which connections are made and statements are prepared: reported apart.
const FIRST: u64 = COMMANDS_PER_SECOND;
const WITHIN: Duration = Duration::from_secs(180);

pub async fn run(options: &Options, report: &mut Report, postgres: &Postgres, scratch: &Path) -> Result<()> {
    progress("dmf: starting RabbitMQ and Kettle");
    let broker = RabbitMq::start(scratch).await?;
    postgres.create_database(DATABASE)?;
    let settings = ["spring.rabbitmq.host=127.0.0.1".to_owned(), format!("spring.rabbitmq.port={}", broker.port)];
    let database = Some(postgres.url(DATABASE));
    let kettle = Server::kettle_with(&options.kettle, database, scratch, DATABASE, &settings).await?;
    let watch = kettle.process.sample_resident();
    let gateway = Gateway::connect(&broker).await?;
    let outcome = Phase { kettle: &kettle, postgres, gateway }.measure(report).await;
    if outcome.is_err() {
        eprintln!("The end of Kettle's log:\n{}", kettle.process.log_tail());
    }
    outcome?;
    let what = "DMF: resident memory, after all that";
    report.row(Row::info("dmf_memory", what, megabytes(kettle.process.resident()?), "MB"));
    report.row(Row::info("dmf_memory_max", "DMF: resident memory, largest seen", megabytes(watch.peak()), "MB"));
    Ok(())
}

struct Phase<'a> {
    kettle: &'a Server,
    postgres: &'a Postgres,
    gateway: Gateway,
}

impl Phase<'_> {
    async fn measure(mut self, report: &mut Report) -> Result<()> {
        progress("dmf: pgbench -N -s 10 -c 32 -j 2");
        self.postgres.create_database(PGBENCH)?;
        self.postgres.prepare_pgbench(PGBENCH, 10)?;
        let alone = self.postgres.pgbench(PGBENCH, &["-N", "-c", "32", "-j", "2", "-T", "10"])?;
        self.gateway.until_heard().await?;

        progress("dmf: registering things");
        let created =
            self.bulk(&[("type", "THING_CREATED")], things().map(|thing| (thing, String::new())), TARGETS).await?;
        rows(report, ["dmf_created", "dmf_created_share"], "THING_CREATED of new things", created, alone);
        self.postgres.analyze(DATABASE)?;

        progress("dmf: assigning a set");
        let set = operator::create_set(self.kettle, "bulk").await?;
        let names: Vec<String> = things().collect();
        let started = now();
        operator::assign(self.kettle, set, &names).await?;
        let mut actions: HashMap<String, u64> = HashMap::new();
        let mut last = started;
        while (actions.len() as u64) < THINGS {
            let arrival = self.gateway.next().await?;
            ensure!(arrival.topic() == "DOWNLOAD_AND_INSTALL", "a command is {}", arrival.topic());
            actions.insert(arrival.thing(), arrival.action()?);
            last = arrival.at;
        }
        let rate = THINGS as f64 / last.duration_since(started).as_secs_f64();
        report.row(Row::info("dmf_sent", "DMF: commands of an assignment, at the gateway", rate, "/s"));
        self.postgres.analyze(DATABASE)?;

        let mut noted = self.count(STATUSES).await?;
        for (keys, status) in
            [(["dmf_running", "dmf_running_share"], "RUNNING"), (["dmf_finished", "dmf_finished_share"], "FINISHED")]
        {
            progress(&format!("dmf: reporting {status}"));
            let reports = names.iter().map(|thing| {
                let action = actions.get(thing).copied().unwrap_or_default();
                let body = format!(r#"{{"actionId":{action},"actionStatus":"{status}","message":["{status}"]}}"#);
                (thing.clone(), body)
            });
            let headers = [("type", "EVENT"), ("topic", "UPDATE_ACTION_STATUS")];
            let reports: Vec<_> = reports.collect();
            let rate = self.bulk_from(&headers, reports.into_iter(), STATUSES, noted).await?;
            rows(report, keys, &format!("reports, {status}"), rate, alone);
            noted += THINGS;
            self.postgres.analyze(DATABASE)?;
        }
        // Who has finished is asked for its attributes.
        self.gateway.skip(THINGS).await?;
        self.latency(report).await
    }

    async fn bulk(
        &self,
        headers: &[(&str, &str)],
        messages: impl Iterator<Item = (String, String)>,
        counted: &str,
    ) -> Result<f64> {
        self.bulk_from(headers, messages, counted, 0).await
    }

    /// How many a second, from the first that is sent until what is counted is as much more in the database.
    async fn bulk_from(
        &self,
        headers: &[(&str, &str)],
        messages: impl Iterator<Item = (String, String)>,
        counted: &str,
        before: u64,
    ) -> Result<f64> {
        let started = now();
        self.gateway.send(headers, messages).await?;
        self.gateway.until_taken().await?;
        loop {
            let count = self.count(counted).await? - before;
            if count >= THINGS {
                ensure!(count == THINGS, "{count} are in the database, not {THINGS}");
                return Ok(THINGS as f64 / started.elapsed().as_secs_f64());
            }
            ensure!(started.elapsed() < WITHIN, "{count} of {THINGS} are in the database after {WITHIN:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count(&self, sql: &str) -> Result<u64> {
        self.postgres.query(DATABASE, sql)?.trim().parse().with_context(|| sql.to_owned())
    }

    /// Assignments of one target each at a steady rate, whatever becomes of those before.
    async fn latency(&mut self, report: &mut Report) -> Result<()> {
        progress("dmf: assigning one by one");
        let set = operator::create_set(self.kettle, "single").await?;
        let address = self.kettle.address;
        let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
        let mut calls = JoinSet::new();
        let mut due: HashMap<String, (u64, Instant)> = HashMap::new();
        let begin = now() + Duration::from_millis(100);
        for (number, thing) in (0..FIRST + COMMANDS).zip(things()) {
            let at = begin + Duration::from_micros(number * 1_000_000 / COMMANDS_PER_SECOND);
            due.insert(thing.clone(), (number, at));
            let idle = Arc::clone(&idle);
            calls.spawn(async move {
                sleep_until(at.into()).await;
                let kept = idle.lock().await.pop();
                let mut connection = match kept {
                    Some(connection) => connection,
                    None => Connection::connect(address).await?,
                };
                let body = format!(r#"{{"id":{set},"type":"forced"}}"#);
                let mut request = Vec::new();
                let path = format!("/rest/v1/targets/{thing}/assignedDS");
                management_request(&mut request, "POST", &path, Some(("application/json", body.len() as u64)));
                request.extend_from_slice(body.as_bytes());
                connection.send(&request).await?.success()?;
                let answered = now().duration_since(at);
                idle.lock().await.push(connection);
                anyhow::Ok((number, answered))
            });
        }
        let (mut first, mut arrived, mut answered) = (Histogram::default(), Histogram::default(), Histogram::default());
        for _ in 0..FIRST + COMMANDS {
            let arrival = self.gateway.next().await?;
            ensure!(arrival.topic() == "DOWNLOAD_AND_INSTALL", "a command is {}", arrival.topic());
            let (number, at) = due.remove(&arrival.thing()).context("a command for a thing that none was due for")?;
            let histogram = if number < FIRST { &mut first } else { &mut arrived };
            histogram.record(arrival.at.duration_since(at));
        }
        while let Some(call) = calls.join_next().await {
            let (number, after) = call??;
            if number >= FIRST {
                answered.record(after);
            }
        }
        let millis = |histogram: &Histogram, share| histogram.quantile(share).as_secs_f64() * 1_000.0;
        let what = format!("DMF: from the assignment to the gateway, {COMMANDS_PER_SECOND}/s");
        report.row(Row::info("dmf_latency_p50", &format!("{what}, p50"), millis(&arrived, 0.5), "ms"));
        report.row(Row {
            wanted: Some(Wanted::Under(50.0)),
            note: format!(
                "after a first second of {:.0} ms (p99); the calls were answered after {:.1} ms (p50), {:.1} ms (p99)",
                millis(&first, 0.99),
                millis(&answered, 0.5),
                millis(&answered, 0.99)
            ),
            ..Row::info("dmf_latency_p99", &format!("{what}, p99"), millis(&arrived, 0.99), "ms")
        });
        Ok(())
    }
}

const TARGETS: &str = "SELECT count(*) FROM sp_target";
const STATUSES: &str = "SELECT count(*) FROM sp_action_status";

/// The rate, and its share of what PostgreSQL does by itself.
fn rows(report: &mut Report, keys: [&'static str; 2], what: &str, rate: f64, alone: f64) {
    let [key, share] = keys;
    report.row(Row::info(key, &format!("DMF: {what}"), rate, "/s"));
    report.row(Row {
        wanted: Some(Wanted::AtLeast(100.0 / 3.0)),
        note: format!("which does {}/s", number(alone)),
        ..Row::info(share, &format!("DMF: {what}, share of pgbench -N"), 100.0 * rate / alone, "%")
    });
}

fn things() -> impl Iterator<Item = String> {
    (0..THINGS).map(|number| format!("thing-{number:05}"))
}
