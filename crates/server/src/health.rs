//! `/health`: whether the process lives, whether this node is ready, and if not, what is not right.
//!
//! Ready means that all of the node works. Balancers of HTTP ask for what HTTP needs: else a broker's outage would take all nodes
//! away from devices that need no broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use kettle_db::migrate;
use kettle_domain::Services;

use crate::lifecycle::Readiness;

const TIMEOUT: Duration = Duration::from_secs(2);

/// What a probe looks at.
#[derive(Clone)]
pub struct Health {
    pub services: Arc<Services>,
    pub readiness: Readiness,
    pub dmf: Option<kettle_dmf::State>,
    /// Whether the log has been told that the database is away: probes come several times a second.
    pub told: Arc<AtomicBool>,
}

pub fn routes<S: Clone + Send + Sync + 'static>(health: Health) -> Router<S> {
    Router::new()
        .route("/health/live", get(async || "live\n"))
        .route("/health/ready", get(ready).with_state(health.clone()))
        .route("/health/ready/http", get(ready_for_http).with_state(health))
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let mut wrong = health.http().await;
    wrong.extend(health.broker());
    told(&wrong)
}

async fn ready_for_http(State(health): State<Health>) -> (StatusCode, String) {
    told(&health.http().await)
}

fn told(wrong: &[String]) -> (StatusCode, String) {
    if wrong.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, wrong.iter().map(|line| format!("{line}\n")).collect())
}

impl Health {
    /// A line for each thing that keeps this node from serving over HTTP.
    async fn http(&self) -> Vec<String> {
        let stopping = (!self.readiness.wanted()).then(|| "stopping: this node takes no new work".to_owned());
        let schema = match tokio::time::timeout(TIMEOUT, migrate::check(&self.services.db)).await {
            Ok(Ok(())) => {
                self.told.store(false, Ordering::Relaxed);
                None
            }
            Ok(Err(migrate::MigrateError::Database(error))) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "a look at the database's schema failed; this node is not ready until one succeeds");
                }
                Some("database: it does not answer, see the log".to_owned())
            }
            Ok(Err(error)) => Some(format!("migrations: {error}")),
            Err(_) => Some(format!("database: it does not answer within {TIMEOUT:?}")),
        };
        stopping.into_iter().chain(schema).collect()
    }

    /// The same for the broker, where this node needs one.
    fn broker(&self) -> Vec<String> {
        let events = self.services.events.broker().and_then(Result::err);
        let devices = self.dmf.as_ref().map(kettle_dmf::State::wrong).unwrap_or_default();
        let events = events.map(|wrong| format!("broker: events between nodes: {wrong}"));
        events.into_iter().chain(devices.into_iter().map(|wrong| format!("broker: DMF: {wrong}"))).collect()
    }
}
