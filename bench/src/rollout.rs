//! Rollouts and auto-assignment in a fleet of 100,000 targets, on a server and a database of its own. Feedback within the
//! rollout is compared with feedback on plain assignments before and after it, on as many targets and connections.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};

use crate::Options;
use crate::connection::Connection;
use crate::load::{self, Load, Outcome, now};
use crate::operator::{self, Rollout, Work};
use crate::postgres::Postgres;
use crate::report::{Report, Row, Wanted, megabytes, number};
use crate::scenarios::{bounds, median, progress};
use crate::server::{Server, create_fleet, management_request, poll_request_of, target_name};

const DATABASE: &str = "rollout";
const GROUPS: u64 = 10;
const FILTERS: u64 = 1_000;
const NEW_TARGETS: u64 = 20;
/// Some work is done after the fact: filters' first passes, groups' last.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);
const WITHIN: Duration = Duration::from_secs(180);

pub async fn run(options: &Options, report: &mut Report, postgres: Option<&Postgres>, scratch: &Path) -> Result<()> {
    if let Some(postgres) = postgres {
        postgres.create_database(DATABASE)?;
    }
    let database = postgres.map(|postgres| postgres.url(DATABASE));
    let kettle = Server::kettle(&options.kettle, database, scratch, DATABASE).await?;
    let watch = kettle.process.sample_resident();
    let outcome = Phase { options, kettle: &kettle, postgres }.measure(report).await;
    if outcome.is_err() {
        eprintln!("The end of Kettle's log:\n{}", kettle.process.log_tail());
    }
    outcome?;
    let after = kettle.process.resident()?;
    let what = "rollout: resident memory, after all that";
    report.row(Row::memory("rollout_memory", what, after, Wanted::Under(150.0), "852 MB"));
    let what = "rollout: resident memory, largest seen";
    report.row(Row::info("rollout_memory_max", what, megabytes(watch.peak()), "MB"));
    Ok(())
}

#[derive(Clone, Copy)]
struct Phase<'a> {
    options: &'a Options,
    kettle: &'a Server,
    postgres: Option<&'a Postgres>,
}

impl Phase<'_> {
    async fn measure(self, report: &mut Report) -> Result<()> {
        let targets = self.options.fleet;
        progress(&format!("rollout: creating {} targets", number(targets as f64)));
        create_fleet(self.kettle, targets).await?;
        self.analyze()?;
        progress("rollout: feedback before it");
        let before = self.manual("before").await?;

        progress("rollout: creating it");
        let set = operator::create_set(self.kettle, "rollout").await?;
        let (rollout, ready) = Rollout::create(self.kettle, set, GROUPS, WITHIN).await?;
        ensure!(rollout.first(GROUPS as usize) == targets, "the groups have {:?} targets", rollout.groups);
        report.row(Row {
            wanted: Some(Wanted::Under(2.0)),
            peer: "23 s",
            ..Row::info(
                "rollout_ready",
                &format!("rollout of all in {GROUPS} groups: created to ready"),
                seconds(ready),
                "s",
            )
        });
        progress("rollout: starting it");
        let running = rollout.start().await?;
        report.row(Row {
            wanted: Some(Wanted::Under(4.0)),
            peer: "83 s",
            note: "the first group's actions active, all others scheduled".to_owned(),
            ..Row::info("rollout_running", "rollout: started to running", seconds(running), "s")
        });
        self.analyze()?;
        let within = self.feedback(report, &rollout).await?;
        self.read(report, &rollout).await?;

        progress("rollout: stopping it");
        let stopped = rollout.stop().await?;
        report.row(Row::info("rollout_stop", "rollout: stopped, with seven groups to go", seconds(stopped), "s"));
        progress("rollout: feedback after it");
        self.analyze()?;
        let after = self.manual("after").await?;
        let requests = (before.requests + after.requests) as f64;
        let without = requests / seconds(before.elapsed + after.elapsed);
        let [before, after] = [before, after].map(|outcome| number(outcome.per_second()));
        report.row(Row {
            wanted: Some(Wanted::AtLeast(80.0)),
            note: format!("which does {before}/s before it and {after}/s after it"),
            ..Row::info(
                "rollout_feedback_share",
                "rollout: feedback, share of that without a rollout",
                100.0 * within / without,
                "%",
            )
        });
        self.auto_assign(report).await
    }

    /// Autovacuum does this within a minute; until then PostgreSQL knows nothing of the new rows.
    fn analyze(self) -> Result<()> {
        self.postgres.map_or(Ok(()), |postgres| postgres.analyze(DATABASE))
    }

    /// Feedback on plain assignments of as many targets as a group has.
    async fn manual(self, name: &str) -> Result<Outcome> {
        let set = operator::create_set(self.kettle, name).await?;
        let names: Vec<_> = (0..self.options.fleet / GROUPS).map(|target| target_name("dev", target)).collect();
        operator::assign(self.kettle, set, &names).await?;
        let work = operator::actions(self.kettle, &format!("distributionset.name=={name};active==true")).await?;
        ensure!(work.len() == names.len(), "{} actions for {} assignments", work.len(), names.len());
        self.analyze()?;
        self.report_success(work).await
    }

    async fn report_success(self, work: Vec<Work>) -> Result<Outcome> {
        operator::report_success(self.kettle, self.options.connections, work).await
    }

    /// Two groups' feedback. The first one's starts the next group half-way, as it happens; at the second one's the start of
    /// the next is measured by itself. Returns the rate of the first.
    async fn feedback(self, report: &mut Report, rollout: &Rollout<'_>) -> Result<f64> {
        progress("rollout: feedback within it");
        let work = rollout.work().await?;
        let cpu = self.kettle.process.cpu_time()?;
        let advancing = self.report_success(work).await?;
        let cpu = self.kettle.process.cpu_time()?.saturating_sub(cpu).as_secs_f64() * 1e6 / advancing.requests as f64;
        let settled = rollout.until_started(2).await?;

        let mut work = rollout.work().await?;
        ensure!(work.len() as u64 == rollout.groups.get(1).copied().unwrap_or_default(), "the second group's work");
        // The half, at which the next group is to start, but for one.
        let rest = work.split_off(work.len().div_ceil(2));
        let last = work.pop().context("an empty group")?;
        let still = self.report_success(work).await?;
        operator::report_success(self.kettle, 1, vec![last]).await?;
        let next = rollout.until_started(3).await?;
        let after = self.report_success(rest).await?;
        let still = (still.requests + after.requests) as f64 / seconds(still.elapsed + after.elapsed);
        report.row(Row {
            note: format!(
                "{}, {cpu:.0} µs CPU each; {}/s in a group that starts no other; the next was started {} ms later",
                advancing.latencies(),
                number(still),
                number(millis(settled))
            ),
            ..Row::info("rollout_feedback", "rollout: feedback closed/success", advancing.per_second(), "/s")
        });
        let what = "rollout: from the feedback that is enough to the next group's actions";
        report.row(Row::info("rollout_next", what, millis(next), "ms"));
        Ok(advancing.per_second())
    }

    async fn read(self, report: &mut Report, rollout: &Rollout<'_>) -> Result<()> {
        progress("rollout: reading it");
        let time = Duration::from_secs(self.options.seconds);
        let load = Load { address: self.kettle.address, connections: 1, requests: 0, time };
        let path = rollout.path();
        let outcome = load::run(load, move |_, request| management_request(request, "GET", &path, None)).await?;
        report.row(Row {
            note: format!("{}, one connection", outcome.latencies()),
            ..Row::info("rollout_read", "rollout: reads of it, with all its counters", outcome.per_second(), "/s")
        });
        Ok(())
    }

    /// New devices poll, each fitting one of many filters, and poll again until they are offered what that assigns.
    async fn auto_assign(self, report: &mut Report) -> Result<()> {
        progress(&format!("auto-assignment: creating {FILTERS} filters"));
        let set = operator::create_set(self.kettle, "auto").await?;
        operator::create_filters(self.kettle, FILTERS, set).await?;
        let settled = self.settle().await?;
        progress("auto-assignment: new targets");
        let mut waits = Vec::new();
        for target in 0..NEW_TARGETS {
            let name = format!("auto-{:05}-{target}", target * (FILTERS / NEW_TARGETS));
            let wait = timeout(Duration::from_secs(60), self.first_poll_to_offer(&name));
            waits.push(millis(wait.await.with_context(|| format!("{name} was never offered anything"))??));
        }
        let (least, most) = bounds(&waits);
        let middle = median(waits);
        report.row(Row {
            wanted: Some(Wanted::Under(50.0)),
            note: format!("median of {NEW_TARGETS}, at best {}; after {} s of quiet", number(least), number(settled)),
            ..Row::info("auto_assign", "auto-assign of a new target by one of 1,000 filters", middle, "ms")
        });
        report.row(Row {
            wanted: Some(Wanted::Under(50.0)),
            ..Row::info("auto_assign_max", "auto-assign of a new target, the slowest", most, "ms")
        });

        let idle = self.kettle.process.cpu_time()?;
        sleep(Duration::from_secs(10)).await;
        let idle = seconds(self.kettle.process.cpu_time()?.saturating_sub(idle)) * 10.0;
        let what = "CPU of one core while nothing happens, with 1,000 filters";
        report.row(Row::info("auto_assign_idle", what, idle, "%"));
        progress("auto-assignment: feedback beside it");
        let beside = self.manual("beside").await?;
        let what = "feedback on assignments, with 1,000 filters";
        report.row(Row {
            note: beside.latencies(),
            ..Row::info("auto_assign_feedback", what, beside.per_second(), "/s")
        });
        Ok(())
    }

    /// From the answer to a device's first poll to the one that offers it an action.
    async fn first_poll_to_offer(self, name: &str) -> Result<Duration> {
        let mut connection = Connection::connect(self.kettle.address).await?;
        let mut request = Vec::new();
        poll_request_of(&mut request, name);
        connection.send(&request).await?.success()?;
        let polled = now();
        loop {
            let answer = connection.send(&request).await?;
            if answer.success()?.windows(14).any(|window| window == b"deploymentBase") {
                return Ok(polled.elapsed());
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the server has had next to nothing to do for two seconds; how many seconds that took.
    async fn settle(self) -> Result<f64> {
        let started = now();
        let mut quiet = 0;
        while quiet < 4 {
            ensure!(started.elapsed() < SETTLE_WITHIN, "the server is still at work after {SETTLE_WITHIN:?}");
            let before = self.kettle.process.cpu_time()?;
            sleep(Duration::from_millis(500)).await;
            let used = self.kettle.process.cpu_time()?.saturating_sub(before);
            quiet = if used < Duration::from_millis(50) { quiet + 1 } else { 0 };
        }
        Ok(seconds(started.elapsed()))
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
