//! The load generator: a number of connections, each with one request under way, until a count or a time is reached.
//! Any answer but 2xx fails the whole run; throughput with errors in it means nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::connection::Connection;

/// What a run may take beyond its planned time, and for each request that it must make, before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_PER_REQUEST: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: u64,
    /// At least so many requests are made; exactly so many if `time` is zero.
    pub requests: u64,
    /// And at least for so long.
    pub time: Duration,
}

pub struct Outcome {
    pub requests: u64,
    pub elapsed: Duration,
    pub body_bytes: u64,
    pub latency: Histogram,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `share` (0 to 1) of the requests didn't exceed, in milliseconds.
    pub fn millis(&self, share: f64) -> f64 {
        self.latency.quantile(share).as_secs_f64() * 1000.0
    }

    /// For the notes of a report.
    pub fn latencies(&self) -> String {
        let size = self.body_bytes as f64 / self.requests as f64 / 1000.0;
        format!("p50 {:.1} ms, p99 {:.1} ms, {size:.1} kB body", self.millis(0.5), self.millis(0.99))
    }
}

/// Runs the load. `write` appends the request of the given number, 0 and up, to the empty buffer.
pub async fn run<W>(load: Load, write: W) -> Result<Outcome>
where
    W: Fn(u64, &mut Vec<u8>) + Send + Sync + 'static,
{
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(Connection::connect(load.address).await?);
    }
    let shared = Arc::new(Shared { write, load, started: now(), next: AtomicU64::new(0) });
    let mut drivers = JoinSet::new();
    for connection in connections {
        drivers.spawn(drive(connection, Arc::clone(&shared)));
    }
    let mut outcome = Outcome { requests: 0, elapsed: Duration::ZERO, body_bytes: 0, latency: Histogram::default() };
    let mut failures = Vec::new();
    let everyone = async {
        while let Some(driver) = drivers.join_next().await {
            match driver.map_err(|error| anyhow!(error)).flatten() {
                Ok(part) => {
                    outcome.requests += part.requests;
                    outcome.body_bytes += part.body_bytes;
                    outcome.latency.add(&part.latency);
                }
                Err(error) => failures.push(error),
            }
        }
    };
    let requests = u32::try_from(load.requests).unwrap_or(u32::MAX);
    let within = load.time + PATIENCE + PATIENCE_PER_REQUEST.saturating_mul(requests);
    timeout(within, everyone).await.map_err(|_| anyhow!("the load didn't end within {within:?}"))?;
    outcome.elapsed = shared.started.elapsed();
    let failed = failures.len();
    match failures.into_iter().next() {
        Some(first) => Err(first.context(format!("{failed} of {} connections got an error", load.connections))),
        None => Ok(outcome),
    }
}

/// The one place that looks at the clock: measuring it is what this program is for.
pub fn now() -> Instant {
    Instant::now()
}

/// Requests at a steady rate, whatever becomes of those before; returns their latencies, from when each was due. Those of the first
/// second, in which connections are made and statements are prepared, are left out.
pub async fn paced<W>(address: SocketAddr, per_second: u64, time: Duration, write: W) -> Result<Histogram>
where
    W: Fn(u64, &mut Vec<u8>) + Send + Sync + 'static,
{
    let write = Arc::new(write);
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let mut calls: JoinSet<Result<Option<Duration>>> = JoinSet::new();
    let begin = now() + Duration::from_millis(100);
    for number in 0..per_second * (time.as_secs() + 1) {
        let at = begin + Duration::from_micros(number * 1_000_000 / per_second);
        let (idle, write) = (Arc::clone(&idle), Arc::clone(&write));
        calls.spawn(async move {
            sleep_until(at.into()).await;
            let kept = idle.lock().await.pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::connect(address).await?,
            };
            let mut request = Vec::new();
            write(number, &mut request);
            connection.send(&request).await?.success()?;
            let took = now().duration_since(at);
            idle.lock().await.push(connection);
            Ok((number >= per_second).then_some(took))
        });
    }
    let mut latency = Histogram::default();
    while let Some(call) = calls.join_next().await {
        if let Some(took) = call.map_err(|error| anyhow!(error)).flatten()? {
            latency.record(took);
        }
    }
    Ok(latency)
}

struct Shared<W> {
    write: W,
    load: Load,
    started: Instant,
    next: AtomicU64,
}

async fn drive<W>(mut connection: Connection, shared: Arc<Shared<W>>) -> Result<Outcome>
where
    W: Fn(u64, &mut Vec<u8>),
{
    let mut request = Vec::with_capacity(1 << 10);
    let mut part = Outcome { requests: 0, elapsed: Duration::ZERO, body_bytes: 0, latency: Histogram::default() };
    let mut before = now();
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.load.requests && before.duration_since(shared.started) >= shared.load.time {
            return Ok(part);
        }
        request.clear();
        (shared.write)(number, &mut request);
        let answer = connection.send(&request).await.with_context(|| first_line(&request))?;
        part.body_bytes += answer.success().with_context(|| first_line(&request))?.len() as u64;
        part.requests += 1;
        let after = now();
        part.latency.record(after.duration_since(before));
        before = after;
    }
}

fn first_line(request: &[u8]) -> String {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// Latencies in microseconds, in buckets at most 1/32 of their value wide.
#[derive(Default)]
pub struct Histogram {
    buckets: Vec<u64>,
}

const STEPS: u64 = 32;

impl Histogram {
    /// Counts one more.
    pub fn record(&mut self, latency: Duration) {
        let bucket = bucket_of(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.buckets.resize(self.buckets.len().max(other.buckets.len()), 0);
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
    }

    /// The latency that the given share (0 to 1) of the requests didn't exceed; zero without requests.
    pub fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.buckets.iter().sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_micros(upper_bound_of(bucket));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(micros: u64) -> usize {
    // Values below STEPS have a bucket each; from there on every doubling has STEPS buckets.
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEPS.ilog2() + 1);
    (u64::from(shift) * STEPS + (micros >> shift)) as usize
}

fn upper_bound_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    let step = bucket - shift * STEPS;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_upper_bound_and_not_the_next_value() {
        for micros in [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 1_000, 4_095, 4_096, 1_000_000, 3_600_000_000] {
            let bucket = bucket_of(micros);
            let bound = upper_bound_of(bucket);
            assert!(bound >= micros && bound - micros <= micros / STEPS, "{micros}: {bound}");
            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + 1), bucket + 1);
        }
    }

    #[test]
    fn quantiles_count_from_the_shortest_latency() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for micros in 1..=20 {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.quantile(0.5), Duration::from_micros(10));
        assert_eq!(histogram.quantile(0.99), Duration::from_micros(20));
    }
}
