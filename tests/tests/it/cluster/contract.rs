//! The recorded contract holds for three nodes behind a load balancer as it does for one: each request is a connection of
//! its own, and goes to the next node.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::{
    adopted::{AT_REST, Adopted},
    contract::{SCENARIOS, amqp_replay, shared_folder},
    harness::{Broker, Cluster, Plan, skip_visibly},
};

const NODES: usize = 3;

#[test]
fn answers_of_three_nodes_are_the_recorded_ones() {
    on_three_nodes(|plan| plan);
}

/// A write is answered when the other nodes have heard of it: over the broker too.
#[test]
fn answers_of_three_nodes_on_one_broker_are_the_recorded_ones() {
    let host = Broker::shared().virtual_host();
    on_three_nodes(|plan| plan.on_broker(&host).with(&["kettle.events.transport=rabbitmq"]));
}

fn on_three_nodes(furnished: impl Fn(Plan) -> Plan) {
    let script = shared_folder().join("contract/replay.py");
    if !script.exists() {
        let why = format!("{} is absent (KETTLE_SHARED)", script.display());
        return skip_visibly("the recorded contract on three nodes", &why);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut differences = String::new();
    for scenario in SCENARIOS {
        let cluster = runtime.block_on(async { furnished(Cluster::of(NODES)).start() });
        let out = run(&script, &["check", "--base", &cluster.client().base, "--only", scenario]);
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(said.contains(scenario), "{scenario} did not run:\n{said}{}", String::from_utf8_lossy(&out.stderr));
        if !out.status.success() {
            differences.push_str(&said);
        }
    }
    assert_eq!(differences, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_read_what_the_peer_wrote_as_the_peer_reads_it() {
    let Some(adopted) = Adopted::load().await else { return };
    let cluster = Cluster::of(NODES).on(adopted.data.clone(), adopted.store.database()).with(&AT_REST).start();
    let script = shared_folder().join("contract/adopt_replay.py");
    let out = run(&script, &["check", "--base", &cluster.client().base]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
}

/// Which of them sends and which receives is theirs to settle.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_three_nodes_over_amqp_are_the_recorded_ones() {
    let Some(replay) = amqp_replay() else { return };
    let broker = Broker::start();
    let host = broker.default_host();
    let cluster = Cluster::of(NODES).on_broker(&host).at_one_address().start();
    replay(&cluster.client().base, &host).await;
}

fn run(script: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("python3");
    command.arg(script).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python3 is needed")
}
