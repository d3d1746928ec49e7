//! Three nodes on one PostgreSQL, all on this machine: what they answer in sum, how long an event is under way and what it
//! costs a node, also among ten; how long work stands still when the node that is at it dies or is stopped; and
//! whether clients behind a load balancer notice a rolling restart. Events go over PostgreSQL, at last over RabbitMQ.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Options;
use crate::connection::Connection;
use crate::load::{self, Load, now};
use crate::operator::{self, Rollout};
use crate::postgres::Postgres;
use crate::process::{Process, StopSignal, free_port};
use crate::rabbitmq::RabbitMq;
use crate::report::{Report, Row, Wanted, number};
use crate::scenarios::{median, progress, scatter};
use crate::server::{Server, create_fleet, management_request, poll_request, target_name};

const DATABASE: &str = "cluster";
const NAMES: [&str; 10] =
    ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6", "node-7", "node-8", "node-9", "node-10"];
const NODES: usize = 3;
const EVENTS_PER_SECOND: u64 = 1_000;
/// What hearing of another's event may cost a node, in µs: at 1,000/s a tenth of a core.
const CPU_PER_EVENT: f64 = 100.0;
/// Among ten nodes on two cores; what is measured is what one event costs.
const EVENTS_AMONG_TEN: u64 = 200;
const LEASE: f64 = 10.0;
const GROUPS: u64 = 10;
const WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const CLIENTS: u64 = 16;

pub async fn run(options: &Options, report: &mut Report, postgres: &Postgres, scratch: &Path) -> Result<()> {
    progress("cluster: starting three nodes");
    postgres.create_database(DATABASE)?;
    // A few connections each, so that ten nodes fit into PostgreSQL's hundred.
    let settings = vec!["spring.datasource.hikari.maximum-pool-size=7".to_owned()];
    let mut phase = Phase { options, postgres, scratch, settings, nodes: Vec::new() };
    let outcome = async {
        phase.grow(NODES).await?;
        phase.measure(report).await
    }
    .await;
    if outcome.is_err() {
        for node in &phase.nodes {
            eprintln!("The end of a node's log:\n{}", node.process.log_tail());
        }
    }
    outcome
}

struct Phase<'a> {
    options: &'a Options,
    postgres: &'a Postgres,
    scratch: &'a Path,
    settings: Vec<String>,
    nodes: Vec<Server>,
}

impl Phase<'_> {
    async fn measure(&mut self, report: &mut Report) -> Result<()> {
        let targets = self.options.fleet;
        progress(&format!("cluster: creating {} targets", number(targets as f64)));
        create_fleet(self.node(0)?, targets).await?;
        self.postgres.analyze(DATABASE)?;
        self.polls(report).await?;
        self.fan_out(report).await?;
        self.lost(report, "KILL").await?;
        self.lost(report, "TERM").await?;
        self.rolling_restart(report).await?;
        self.ten(report).await?;
        self.over_rabbitmq(report).await
    }

    fn node(&self, index: usize) -> Result<&Server> {
        self.nodes.get(index).context("a node is missing")
    }

    async fn grow(&mut self, to: usize) -> Result<()> {
        for name in NAMES.iter().take(to).skip(self.nodes.len()) {
            let database = Some(self.postgres.url(DATABASE));
            let node = Server::kettle_with(&self.options.kettle, database, self.scratch, name, &self.settings).await?;
            self.nodes.push(node);
        }
        Ok(())
    }

    async fn come_back(&self, index: usize, port: u16) -> Result<Server> {
        let database = Some(self.postgres.url(DATABASE));
        let name = NAMES.get(index).context("too many nodes")?;
        Server::kettle_on(&self.options.kettle, database, self.scratch, name, &self.settings, port).await
    }

    /// One node alone against three at once, in turns.
    async fn polls(&self, report: &mut Report) -> Result<()> {
        progress("cluster: polls of one node, and of three at once");
        let targets = self.options.targets.min(self.options.fleet);
        let time = Duration::from_secs(self.options.seconds);
        let poll = move |number: u64, request: &mut Vec<u8>| poll_request(request, scatter(number) % targets);
        let load = |address: SocketAddr, share: u64| Load {
            address,
            connections: (self.options.connections / share).max(1),
            requests: 0,
            time,
        };
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            // A device's first poll is a write, and a node's first poll of a device a read.
            let all = Load { requests: targets, time: Duration::ZERO, ..load(node.address, 1) };
            load::run(all, move |number, request: &mut Vec<u8>| poll_request(request, number % targets)).await?;
        }
        for _ in 0..self.options.rounds {
            alone.push(load::run(load(self.node(0)?.address, 1), poll).await?.per_second());
            let mut loads = JoinSet::new();
            for node in &self.nodes {
                loads.spawn(load::run(load(node.address, NODES as u64), poll));
            }
            let mut sum = 0.0;
            while let Some(outcome) = loads.join_next().await {
                sum += outcome??.per_second();
            }
            together.push(sum);
        }
        let (alone, together) = (median(alone), median(together));
        report.row(Row::info("cluster_poll_one", "cluster: polls of one node of three", alone, "/s"));
        report.row(Row {
            wanted: Some(Wanted::AtLeast(85.0)),
            note: format!("{}/s in sum", number(together)),
            ..Row::info(
                "cluster_poll_share",
                "cluster: polls of three nodes at once, share of one's",
                100.0 * together / alone,
                "%",
            )
        });
        Ok(())
    }

    async fn fan_out(&self, report: &mut Report) -> Result<()> {
        progress("cluster: 1,000 events a second");
        let (answers, cpu) = self.edits(EVENTS_PER_SECOND).await?;
        let lag = self.lag().await?;
        report.row(Row {
            wanted: Some(Wanted::Under(20.0)),
            note: "from the insert of the event's row to its reading by the slower of two other nodes".to_owned(),
            ..Row::info("cluster_fan_out", "cluster: an event under way at 1,000/s, p99", lag, "ms")
        });
        let p99 = answers.quantile(0.99).as_secs_f64() * 1_000.0;
        report.row(Row {
            note: format!(
                "p50 {:.1} ms; answered when all nodes have heard",
                answers.quantile(0.5).as_secs_f64() * 1e3
            ),
            ..Row::info("cluster_edit", "cluster: edits of a target at 1,000/s, p99", p99, "ms")
        });
        report.row(Row {
            wanted: Some(Wanted::Under(CPU_PER_EVENT)),
            ..Row::info("cluster_event_cpu", "cluster: CPU of a node per event of another", cpu, "µs")
        });
        let rows = self.postgres.query(
            DATABASE,
            "SELECT count(*) FROM kt_outbox WHERE created_at < \
            extract(epoch FROM clock_timestamp()) * 1000 - 420000",
        )?;
        report.row(Row {
            wanted: Some(Wanted::Under(1.0)),
            note: format!(
                "of {} in all; kept for 5 minutes",
                self.postgres.query(DATABASE, "SELECT count(*) FROM kt_outbox")?
            ),
            ..Row::info("cluster_outbox", "cluster: rows of the outbox older than 7 minutes", rows.trim().parse()?, "")
        });
        Ok(())
    }

    async fn ten(&mut self, report: &mut Report) -> Result<()> {
        progress("cluster: starting seven more nodes");
        self.grow(NAMES.len()).await?;
        let (answers, cpu) = self.edits(EVENTS_AMONG_TEN).await?;
        let what = format!("ten nodes: CPU of a node per event of another, at {EVENTS_AMONG_TEN}/s");
        report.row(Row {
            wanted: Some(Wanted::Under(CPU_PER_EVENT)),
            ..Row::info("cluster_ten_event_cpu", &what, cpu, "µs")
        });
        let what = "ten nodes: edits of a target, p99, answered when all have heard";
        report.row(Row::info("cluster_ten_edit", what, answers.quantile(0.99).as_secs_f64() * 1e3, "ms"));
        Ok(())
    }

    /// Three nodes again, whose events go over a broker.
    async fn over_rabbitmq(&mut self, report: &mut Report) -> Result<()> {
        progress("cluster: three nodes over RabbitMQ");
        for node in &mut self.nodes {
            node.process.signal("TERM")?;
        }
        for node in &mut self.nodes {
            node.process.ended(WITHIN).await?;
        }
        self.nodes.clear();
        let broker = RabbitMq::start(self.scratch).await?;
        self.settings.extend([
            "kettle.events.transport=rabbitmq".to_owned(),
            "spring.rabbitmq.host=127.0.0.1".to_owned(),
            format!("spring.rabbitmq.port={}", broker.port),
        ]);
        for index in 0..NODES {
            let node = self.come_back(index, free_port()?).await?;
            self.nodes.push(node);
        }
        let (answers, cpu) = self.edits(EVENTS_PER_SECOND).await?;
        let lag = self.lag().await?;
        report.row(Row {
            wanted: Some(Wanted::Under(20.0)),
            note: format!("a node spends {cpu:.0} µs CPU on one"),
            ..Row::info("cluster_rabbitmq_fan_out", "over RabbitMQ: an event under way at 1,000/s, p99", lag, "ms")
        });
        let p99 = answers.quantile(0.99).as_secs_f64() * 1e3;
        report.row(Row::info("cluster_rabbitmq_edit", "over RabbitMQ: edits of a target at 1,000/s, p99", p99, "ms"));
        Ok(())
    }

    /// Edits targets on the first node; also the CPU time per edit of the last, which only hears of them, in µs.
    async fn edits(&self, per_second: u64) -> Result<(load::Histogram, f64)> {
        let listener = &self.nodes.last().context("no node")?.process;
        let targets = self.options.fleet;
        let time = Duration::from_secs(self.options.seconds.max(5));
        let idle = listener.cpu_time()?;
        sleep(time).await;
        let before = listener.cpu_time()?;
        let write = move |number: u64, request: &mut Vec<u8>| {
            let body = format!(r#"{{"description":"{number}"}}"#);
            let path = format!("/rest/v1/targets/{}", target_name("dev", number % targets));
            management_request(request, "PUT", &path, Some(("application/json", body.len() as u64)));
            request.extend_from_slice(body.as_bytes());
        };
        let answers = load::paced(self.node(0)?.address, per_second, time, write).await?;
        let seconds = (time.as_secs() + 1) as f64;
        let resting = before.saturating_sub(idle).as_secs_f64() / time.as_secs_f64() * seconds;
        let busy = listener.cpu_time()?.saturating_sub(before).as_secs_f64();
        Ok((answers, 1e6 * (busy - resting).max(0.0) / (per_second as f64 * seconds)))
    }

    /// What the other nodes measured, the larger p99, in milliseconds.
    async fn lag(&self) -> Result<f64> {
        let mut largest = f64::NAN;
        for node in self.nodes.iter().skip(1) {
            let mut connection = Connection::connect(node.address).await?;
            let answer = connection.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await?;
            let text = String::from_utf8(answer.success()?.to_vec())?;
            let line = text.lines().find_map(|line| line.strip_prefix("kettle_event_lag_seconds{quantile=\"0.99\"} "));
            let seconds: f64 = line.context("a node measured no lag")?.trim().parse()?;
            largest = largest.max(seconds * 1_000.0);
        }
        Ok(largest)
    }

    /// Ends the node that starts a rollout in the middle of it, and measures until another goes on.
    async fn lost(&mut self, report: &mut Report, signal: &str) -> Result<()> {
        progress(&format!("cluster: SIG{signal} for the node that starts a rollout"));
        let set = operator::create_set(self.node(0)?, signal).await?;
        let rollout = Rollout::create(self.node(0)?, set, GROUPS, WITHIN).await?.0.id;
        let lease = format!(
            "SELECT n.address FROM kt_lease l JOIN kt_node n ON n.id = l.holder WHERE l.name = 'rollout-{rollout}' \
             AND l.expires_at > extract(epoch FROM clock_timestamp()) * 1000"
        );
        let actions = format!("SELECT count(*) FROM sp_action WHERE rollout = {rollout}");
        let mut start = Vec::new();
        management_request(&mut start, "POST", &format!("/rest/v1/rollouts/{rollout}/start"), None);
        crate::server::exchange(self.node(0)?, &start).await?;
        let begun = now();
        let holder = loop {
            let holder = self.postgres.query(DATABASE, &lease)?.trim().to_owned();
            if !holder.is_empty() && self.number(&actions)? > 0 {
                break holder;
            }
            ensure!(begun.elapsed() < WITHIN, "nobody starts the rollout");
        };
        let index = self.nodes.iter().position(|node| node.address.to_string() == holder);
        let index = index.with_context(|| format!("{holder} is no node of ours"))?;
        let lost = self.nodes.get_mut(index).context("no node")?;
        let port = lost.address.port();
        lost.process.signal(signal)?;
        let from = now();
        let other = format!(
            "SELECT count(*) FROM kt_lease l JOIN kt_node n ON n.id = l.holder \
            WHERE l.name = 'rollout-{rollout}' AND n.address <> '{holder}'"
        );
        let mut before = self.number(&actions)?;
        let took = loop {
            // What the lost node had under way may still be committed; only another's work counts.
            let (taken, now_there) = (self.number(&other)? > 0, self.number(&actions)?);
            if taken && now_there > before {
                break from.elapsed().as_secs_f64();
            }
            if !taken {
                before = now_there;
            }
            let total = self.options.fleet;
            ensure!(now_there < total || taken, "the rollout was started before its node was lost");
            ensure!(from.elapsed() < WITHIN, "nobody goes on with the rollout");
            sleep(LOOK_EVERY).await;
        };
        let (key, what, wanted) = match signal {
            "KILL" => ("cluster_killed", "cluster: kill -9 to the next step of the rollout", LEASE + 1.0),
            _ => ("cluster_stopped", "cluster: SIGTERM to the next step of the rollout", 1.0),
        };
        report.row(Row { wanted: Some(Wanted::Under(wanted)), ..Row::info(key, what, took, "s") });
        let node = self.nodes.get_mut(index).context("no node")?;
        node.process.ended(WITHIN).await?;
        let back = self.come_back(index, port).await?;
        *self.nodes.get_mut(index).context("no node")? = back;
        let done = now();
        while self.number(&format!("SELECT count(*) FROM sp_rollout WHERE id = {rollout} AND status = 5"))? == 0 {
            ensure!(done.elapsed() < WITHIN, "the rollout is not running");
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn number(&self, sql: &str) -> Result<u64> {
        self.postgres.query(DATABASE, sql)?.trim().parse().with_context(|| sql.to_owned())
    }

    /// One node after the other, behind HAProxy, while clients poll and edit.
    async fn rolling_restart(&mut self, report: &mut Report) -> Result<()> {
        progress("cluster: a rolling restart behind HAProxy");
        let balancer = Balancer::start(&self.nodes, self.scratch).await?;
        let (stop, done, failed) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let work = Client { address: balancer.address, client, targets: self.options.fleet };
            clients.spawn(work.run(Arc::clone(&stop), Arc::clone(&done), Arc::clone(&failed)));
        }
        for index in 0..self.nodes.len() {
            let node = self.nodes.get_mut(index).context("no node")?;
            let port = node.address.port();
            node.process.signal("TERM")?;
            node.process.ended(WITHIN).await?;
            let back = self.come_back(index, port).await?;
            *self.nodes.get_mut(index).context("no node")? = back;
            // As long as the balancer needs to take it in again, and more.
            sleep(Duration::from_secs(3)).await;
        }
        stop.store(true, Ordering::Relaxed);
        while let Some(client) = clients.join_next().await {
            client?;
        }
        let (done, failed) = (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
        ensure!(done > 0, "no request was answered");
        report.row(Row {
            wanted: Some(Wanted::Under(1.0)),
            note: format!("of {} polls and edits", number(done as f64)),
            ..Row::info("cluster_restart", "cluster: failed requests in a rolling restart", failed as f64, "")
        });
        Ok(())
    }
}

/// A client of the load balancer that keeps its connection.
struct Client {
    address: SocketAddr,
    client: u64,
    targets: u64,
}

impl Client {
    async fn run(self, stop: Arc<AtomicBool>, done: Arc<AtomicU64>, failed: Arc<AtomicU64>) {
        let mut kept = None;
        let mut number = self.client;
        while !stop.load(Ordering::Relaxed) {
            number += CLIENTS;
            let mut request = Vec::new();
            if number % (4 * CLIENTS) == self.client {
                let body = format!(r#"{{"description":"{number}"}}"#);
                let path = format!("/rest/v1/targets/{}", target_name("dev", scatter(number) % self.targets));
                management_request(&mut request, "PUT", &path, Some(("application/json", body.len() as u64)));
                request.extend_from_slice(body.as_bytes());
            } else {
                poll_request(&mut request, scatter(number) % self.targets);
            }
            let answered = async {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => Connection::connect(self.address).await?,
                };
                connection.send(&request).await?.success()?;
                anyhow::Ok(connection)
            };
            match answered.await {
                Ok(connection) => {
                    kept = Some(connection);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    eprintln!("a client's request failed: {error:#}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Clients that think, not a load: the machine is shared with three nodes and a database.
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// HAProxy, round robin, as the example in `deploy/` sets it.
struct Balancer {
    address: SocketAddr,
    _process: Process,
}

impl Balancer {
    async fn start(nodes: &[Server], scratch: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut text = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  retries 3\n  \
             option redispatch 1\n\n\
             frontend http\n  bind 127.0.0.1:{port}\n  default_backend kettle\n\
             backend kettle\n  balance roundrobin\n  option httpchk GET /health/ready/http\n  \
             default-server inter 500ms fall 2 rise 1\n"
        );
        for (index, node) in nodes.iter().enumerate() {
            text.push_str(&format!("  server node{index} {} check\n", node.address));
        }
        let file = scratch.join("haproxy.cfg");
        fs::write(&file, text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::start("haproxy", &mut command, scratch, StopSignal::Interrupt)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let started = now();
        loop {
            process.check_running()?;
            let mut request = Vec::new();
            poll_request(&mut request, 1);
            let answered = async { Connection::connect(address).await?.send(&request).await?.success().map(drop) };
            if answered.await.is_ok() {
                return Ok(Self { address, _process: process });
            }
            ensure!(started.elapsed() < WITHIN, "HAProxy does not answer: {}", process.log_tail());
            sleep(LOOK_EVERY).await;
        }
    }
}
