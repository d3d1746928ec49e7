//! Jobs spread over nodes: each rollout has a lease of its own, and whichever node is free takes one up.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{finish_rollout, start_rollout};
use crate::harness::{Client, Cluster, Store};

const ROLLOUTS: usize = 12;
const WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_are_not_all_worked_on_by_one_node() {
    let cluster = Cluster::of(3).start();
    cluster.client().allow_devices().await;
    let store = cluster.store().await;
    // Also if all requests come to one node, which hears of everything first.
    let one: &Client = &cluster.nodes[0];
    for (name, client) in [("all", cluster.client()), ("one", one)] {
        store.execute("DELETE FROM kt_lease WHERE name LIKE 'rollout-%'").await;
        let rollouts =
            join_all((0..ROLLOUTS).map(async |n| start_rollout(client, &format!("{name}-{n}"), 4).await)).await;
        let started = holders(&store).await;
        eprintln!("by requests to {name}, started by {started:?}");
        join_all(rollouts.iter().map(|rollout| finish_rollout(client, rollout, WITHIN))).await;
        let finished = holders(&store).await;
        eprintln!("finished by {finished:?}");
        for by in [&started, &finished] {
            assert_eq!(by.values().sum::<i64>(), ROLLOUTS as i64);
        }
        assert!(started.len() > 1, "{name}: {started:?}");
        // What devices report wakes the node that they report to: where all is told to one, that may do it all.
        assert!(finished.len() > 1 || name == "one", "{name}: {finished:?}");
    }
}

/// How many rollouts each node was the last to work on.
async fn holders(store: &Store) -> BTreeMap<String, i64> {
    let held = "SELECT holder, count(*) AS n FROM kt_lease WHERE name LIKE 'rollout-%' GROUP BY holder";
    let rows = store.rows(held, []).await;
    rows.iter().map(|row| (row.try_get("", "holder").unwrap(), row.try_get("", "n").unwrap())).collect()
}
