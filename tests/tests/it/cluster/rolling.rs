//! One node after the other is stopped and started again while clients go on calling: none of them sees it.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
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
    let client = cluster.client().clone();
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calling = join_all((0..CLIENTS).map(|number| calls(&client, number, &over, &done)));
    let restarting = async {
        for number in 0..cluster.nodes.len() {
            linger(Duration::from_millis(500)).await;
            tokio::task::block_in_place(|| {
                cluster.nodes[number].stop();
                cluster.nodes[number].restart();
                cluster.balancer.until_in_use(3);
            });
        }
        over.store(true, Ordering::Relaxed);
    };
    let (failed, ()) = tokio::join!(calling, restarting);
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    let all = done.load(Ordering::Relaxed);
    eprintln!("{all} requests");
    assert!(all > 100, "{all} requests");
    assert_eq!(failed, Vec::<String>::new(), "of {all} requests");
}

/// Reads and writes of both kinds of clients, until it is over; what failed.
async fn calls(client: &Client, number: usize, over: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let device = client.device("d1");
    let mut failed = Vec::new();
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
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
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    failed
}
