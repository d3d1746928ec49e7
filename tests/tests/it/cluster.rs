//! Several `kettle` processes on one PostgreSQL database, behind a load balancer: what clients see while nodes, database and
//! broker fail. `KETTLE_SEED` repeats a random test, `KETTLE_SOAK` (minutes) makes the long ones long.

mod contract;
mod faults;
mod history;
mod rolling;
mod spread;
mod two_nodes;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, eventually};

/// Nothing that a node answers is older than this, whatever it is cut off from.
const BOUND: Duration = Duration::from_secs(3);
const ROLLOUTS: &str = "/rest/v1/rollouts";

/// How many minutes a long run is to take, if one is wanted.
fn soak() -> Option<u64> {
    std::env::var("KETTLE_SOAK").ok().map(|minutes| minutes.parse().expect("KETTLE_SOAK is a number of minutes"))
}

/// A rollout over targets of its own.
struct Rollout {
    id: i64,
    targets: Vec<String>,
}

/// With two groups of which the second waits for all of the first; running.
async fn start_rollout(client: &Client, name: &str, targets: usize) -> Rollout {
    let set = client.set(&format!("fw-{name}"), &[]).await;
    let targets: Vec<String> = (0..targets).map(|n| format!("{name}-{n:03}")).collect();
    let body: Vec<Value> = targets.iter().map(|id| json!({"controllerId": id})).collect();
    client.post("/rest/v1/targets", json!(body)).await.expect(201);
    let body = json!({
        "name": name, "targetFilterQuery": format!("controllerId=={name}-*"), "distributionSetId": set.id,
        "amountGroups": 2, "successCondition": {"condition": "THRESHOLD", "expression": "100"},
    });
    let id = client.post(ROLLOUTS, body).await.expect(201).id();
    reaches(client, id, "ready", Duration::from_secs(45)).await;
    client.post(&format!("{ROLLOUTS}/{id}/start"), json!({})).await.expect_empty(204);
    Rollout { id, targets }
}

/// Its devices do as they are told, until it is over; each had one action.
async fn finish_rollout(client: &Client, rollout: &Rollout, within: Duration) {
    let mut waiting = rollout.targets.clone();
    eventually(within, "all targets had their action", async || {
        let mut left = Vec::new();
        for id in waiting.drain(..) {
            match client.device(&id).offered().await {
                Some(action) => {
                    client.device(&id).feedback(action, "closed", "success").await.expect_empty(200);
                }
                None => left.push(id),
            }
        }
        waiting = left;
        waiting.is_empty().then_some(())
    })
    .await;
    reaches(client, rollout.id, "finished", within).await;
    let actions = client.get(&format!("/rest/v1/actions?q=rollout.id=={}&limit=1", rollout.id)).await.expect(200);
    assert_eq!(actions.json()["total"], rollout.targets.len());
}

async fn reaches(client: &Client, rollout: i64, status: &str, within: Duration) {
    let what = format!("rollout {rollout} is {status}");
    eventually(within, &what, async || (rollout_of(client, rollout).await["status"] == status).then_some(())).await;
}

async fn rollout_of(client: &Client, rollout: i64) -> Value {
    client.get(&format!("{ROLLOUTS}/{rollout}")).await.expect(200).json()
}
