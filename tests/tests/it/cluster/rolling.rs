//! One node after the other is stopped and started again while clients go on calling: none of them sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, Cluster, linger};

const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_nodes_are_restarted_one_by_one() {
    let mut cluster = Cluster::of(3).with(&["kettle.shutdown-drain=2s"]).start();
    cluster.client().allow_devices().await;
    cluster.client().target("d1").await;
    let progress = Arc::new(Progress::default());
    let calling = (0..CLIENTS).map(|number| tokio::spawn(calls(cluster.client().clone(), number, progress.clone())));
    let calling: Vec<_> = calling.collect();
    for number in 0..cluster.nodes.len() {
        linger(Duration::from_millis(500)).await;
        tokio::task::block_in_place(|| {
            cluster.nodes[number].stop();
            cluster.nodes[number].restart();
            cluster.balancer.until_in_use(3);
        });
    }
    progress.over.store(true, Ordering::Relaxed);
    let failed: Vec<String> = join_all(calling).await.into_iter().flat_map(Result::unwrap).collect();
    let all = progress.done.load(Ordering::Relaxed);
    assert!(all > 500, "{all} requests");
    assert_eq!(failed, Vec::<String>::new(), "of {all} requests");
}

#[derive(Default)]
struct Progress {
    done: AtomicUsize,
    over: AtomicBool,
}

/// Reads and writes of both kinds of clients, until it is over; what failed.
async fn calls(client: Client, number: usize, progress: Arc<Progress>) -> Vec<String> {
    let device = client.device("d1");
    let mut failed = Vec::new();
    for n in 0.. {
        if progress.over.load(Ordering::Relaxed) {
            break;
        }
        let body = json!([{"controllerId": format!("new-{number}-{n}")}]).to_string();
        let requests = [
            (Method::GET, device.root.as_str(), device.authorization.as_str(), None),
            (Method::GET, "/rest/v1/targets?limit=1", client.admin.as_str(), None),
            (Method::POST, "/rest/v1/targets", client.admin.as_str(), Some(body.into_bytes())),
        ];
        for (method, path, authorization, body) in requests {
            let headers = [("authorization", authorization), ("content-type", "application/json")];
            let what = format!("{method} {path}");
            match client.try_request(method, path, &headers, body).await {
                Ok(answer) if answer.status < 300 => {}
                Ok(answer) => failed.push(format!("{what}: {}", answer.status)),
                Err(error) => failed.push(format!("{what}: {error:?}")),
            }
            progress.done.fetch_add(1, Ordering::Relaxed);
        }
    }
    failed
}
