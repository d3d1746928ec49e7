//! What operators and devices do to a fleet of 100,000 targets, on a server and a database of its own: searches, lists,
//! closing feedback. Compared with what PostgreSQL does by itself in the same run, and with nothing else under way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Options;
use crate::load::{self, Load, Outcome};
use crate::operator;
use crate::postgres::Postgres;
use crate::report::{Report, Row, Wanted, megabytes, number};
use crate::scenarios::{progress, scatter};
use crate::server::{Server, create_fleet, exchange, management_request, target_name};

const DATABASE: &str = "fleet";
const LIST: &str = "/rest/v1/targets?limit=50";
/// `name==dev*1;controllerid==*00*`, of which a tenth and a few per cent of the fleet hold.
const SEARCH: &str = "/rest/v1/targets?limit=50&q=name%3D%3Ddev*1%3Bcontrollerid%3D%3D*00*";
/// What the database has to do for the total of [`SEARCH`], and no more.
const COUNT: &str = "SELECT count(*) FROM sp_target WHERE tenant = 'DEFAULT' \
                     AND upper(name) LIKE upper('dev%1') AND upper(controller_id) LIKE upper('%00%');";
const FEEDBACKS: u64 = 20_000;

pub async fn run(options: &Options, report: &mut Report, postgres: Option<&Postgres>, scratch: &Path) -> Result<()> {
    if let Some(postgres) = postgres {
        postgres.create_database(DATABASE)?;
    }
    let database = postgres.map(|postgres| postgres.url(DATABASE));
    let kettle = Server::kettle(&options.kettle, database, scratch, DATABASE).await?;
    let watch = kettle.process.sample_resident();
    let fleet = Fleet { options, kettle: &kettle, postgres, scratch };
    let outcome = fleet.measure(report).await;
    if outcome.is_err() {
        eprintln!("The end of Kettle's log:\n{}", kettle.process.log_tail());
    }
    outcome?;
    let after = kettle.process.resident()?;
    let what = "fleet: resident memory, after the load";
    report.row(Row::memory("fleet_memory", what, after, Wanted::Under(150.0), "852 MB"));
    let what = "fleet: resident memory, largest seen under load";
    report.row(Row::info("fleet_memory_max", what, megabytes(watch.peak()), "MB"));
    Ok(())
}

#[derive(Clone, Copy)]
struct Fleet<'a> {
    options: &'a Options,
    kettle: &'a Server,
    postgres: Option<&'a Postgres>,
    scratch: &'a Path,
}

impl Fleet<'_> {
    async fn measure(self, report: &mut Report) -> Result<()> {
        self.create().await?;
        self.searches(report).await?;
        self.lists(report).await?;
        self.feedback(report).await
    }

    async fn create(self) -> Result<()> {
        let targets = self.options.fleet;
        progress(&format!("fleet: creating {} targets", number(targets as f64)));
        create_fleet(self.kettle, targets).await?;
        self.analyze()
    }

    /// Autovacuum does this within a minute; until then PostgreSQL knows nothing of the new rows.
    fn analyze(self) -> Result<()> {
        self.postgres.map_or(Ok(()), |postgres| postgres.analyze(DATABASE))
    }

    async fn searches(self, report: &mut Report) -> Result<()> {
        let total = self.total(SEARCH).await?;
        let mut alone = None;
        if let Some(postgres) = self.postgres {
            progress("fleet: PostgreSQL's own count");
            let script = self.scratch.join("count.sql");
            fs::write(&script, COUNT)?;
            let (connections, seconds) = (self.options.connections.to_string(), self.options.seconds.to_string());
            let script = script.display().to_string();
            let arguments = ["-n", "-f", &script, "-c", &connections, "-j", "2", "-T", &seconds];
            alone = Some(postgres.pgbench(DATABASE, &arguments)?);
        }
        progress("fleet: searching");
        let outcome = self.get(SEARCH).await?;
        let what = "fleet: search name==dev*1;controllerid==*00*, page and total";
        report.row(Row {
            note: format!("{}, {} found", outcome.latencies(), number(total as f64)),
            peer: "20/s",
            ..Row::info("fleet_search", what, outcome.per_second(), "/s")
        });
        if let Some(alone) = alone {
            report.row(Row {
                wanted: Some(Wanted::AtLeast(60.0)),
                note: format!("which counts {} times a second", number(alone)),
                ..Row::info(
                    "fleet_search_share",
                    "fleet: search, share of PostgreSQL's own count",
                    100.0 * outcome.per_second() / alone,
                    "%",
                )
            });
        }
        for (key, field) in [("fleet_equal_id", "controllerid"), ("fleet_equal_name", "name")] {
            progress(&format!("fleet: {field}==…"));
            let targets = self.options.fleet;
            let one = move |target| format!("/rest/v1/targets?limit=50&q={field}%3D%3D{}", target_name("dev", target));
            ensure!(self.total(&one(1)).await? == 1, "{field}== doesn't find exactly one target");
            let write = move |number, request: &mut Vec<u8>| {
                management_request(request, "GET", &one(scatter(number) % targets), None);
            };
            let outcome = load::run(self.load(), write).await?;
            report.row(Row {
                wanted: Some(Wanted::AtLeast(1_000.0)),
                note: outcome.latencies(),
                ..Row::info(key, &format!("fleet: search {field}==…"), outcome.per_second(), "/s")
            });
        }
        Ok(())
    }

    async fn lists(self, report: &mut Report) -> Result<()> {
        ensure!(self.total(LIST).await? == self.options.fleet, "the list's total is not the fleet's size");
        progress("fleet: listing");
        let outcome = self.get(LIST).await?;
        report.row(Row {
            wanted: Some(Wanted::AtLeast(1_500.0)),
            peer: "30/s",
            note: format!("{}, first page", outcome.latencies()),
            ..Row::info("fleet_list", "fleet: lists of 50 targets with total", outcome.per_second(), "/s")
        });
        Ok(())
    }

    async fn feedback(self, report: &mut Report) -> Result<()> {
        let mut alone = None;
        if let Some(postgres) = self.postgres {
            progress("fleet: pgbench -N -s 10 -c 32 -j 2");
            postgres.create_database("pgbench")?;
            postgres.prepare_pgbench("pgbench", 10)?;
            let seconds = self.options.seconds.to_string();
            alone = Some(postgres.pgbench("pgbench", &["-N", "-c", "32", "-j", "2", "-T", &seconds])?);
        }
        progress("fleet: assigning a set");
        let names: Vec<_> = (0..FEEDBACKS.min(self.options.fleet)).map(|target| target_name("dev", target)).collect();
        let set = operator::create_set(self.kettle, "bench").await?;
        operator::assign(self.kettle, set, &names).await?;
        let work = operator::actions(self.kettle, "active==true").await?;
        self.analyze()?;
        let count = work.len() as u64;
        ensure!(count == names.len() as u64, "{count} actions for {} assignments", names.len());
        progress("fleet: feedback");
        let before = self.kettle.process.cpu_time()?;
        let outcome = operator::report_success(self.kettle, self.options.connections, work).await?;
        let cpu = self.kettle.process.cpu_time()?.saturating_sub(before).as_secs_f64() * 1e6 / count as f64;
        report.row(Row {
            note: format!("{}, {cpu:.0} µs CPU each", outcome.latencies()),
            ..Row::info("fleet_feedback", "fleet: feedback closed/success", outcome.per_second(), "/s")
        });
        if let Some(alone) = alone {
            report.row(Row {
                wanted: Some(Wanted::AtLeast(100.0 / 3.0)),
                note: format!("which does {}/s", number(alone)),
                ..Row::info(
                    "fleet_feedback_share",
                    "fleet: feedback, share of pgbench -N",
                    100.0 * outcome.per_second() / alone,
                    "%",
                )
            });
        }
        let installed = "/rest/v1/targets?limit=50&q=updatestatus%3D%3Din_sync";
        ensure!(self.total(installed).await? == count, "not every target is in sync after its feedback");
        Ok(())
    }

    async fn get(self, path: &'static str) -> Result<Outcome> {
        load::run(self.load(), move |_, request| management_request(request, "GET", path, None)).await
    }

    fn load(self) -> Load {
        let time = Duration::from_secs(self.options.seconds);
        Load { address: self.kettle.address, connections: self.options.connections, requests: 0, time }
    }

    async fn total(self, path: &str) -> Result<u64> {
        let mut request = Vec::new();
        management_request(&mut request, "GET", path, None);
        let page = exchange(self.kettle, &request).await.with_context(|| path.to_owned())?;
        page.get("total").and_then(Value::as_u64).context("a list without a total")
    }
}
