//! The recorded contract: `shared/contract/replay.py` starts Kettle per scenario and compares every answer with the peer's;
//! `dmf_replay.py` does so with what a gateway is sent over AMQP, and writes down what other servers are told meanwhile.

pub(crate) mod cluster_events;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::harness::{
    Broker, Engine, Gateway, VirtualHost, eventually, kettle_binary, psql_binary, shared_postgres, skip_visibly,
    workspace,
};
use cluster_events::Told;

/// A server finds its broker.
const CONNECTED: Duration = Duration::from_secs(60);

pub(crate) const SCENARIOS: [&str; 14] = [
    "01_targets",
    "02_target_types_and_tags",
    "03_software_modules",
    "04_distribution_sets",
    "05_deployment_over_ddi",
    "06_cancel_over_ddi",
    "07_device_authentication",
    "08_confirmation",
    "09_rollout",
    "10_rollout_failures_and_approval",
    "11_target_filters_and_auto_assignment",
    "12_tenant_configuration",
    "13_search_language",
    "14_assignment_variants",
];

#[test]
fn answers_on_sqlite_are_the_recorded_ones() {
    replay(Engine::Sqlite);
}

#[test]
fn answers_on_postgres_are_the_recorded_ones() {
    replay(Engine::Postgres);
}

fn replay(engine: Engine) {
    let script = shared_folder().join("contract/replay.py");
    if !script.exists() {
        let why = format!("{} is absent (KETTLE_SHARED)", script.display());
        return skip_visibly("the recorded contract", &why);
    }
    let out = Command::new("python3")
        .arg(&script)
        .args(["check", "--start", &start_command(engine)])
        .args(SCENARIOS.iter().flat_map(|name| ["--only", name]))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 is needed");
    let said = String::from_utf8_lossy(&out.stdout);
    let complained = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "on {engine:?}:\n{said}{complained}");
    for scenario in SCENARIOS {
        assert!(said.contains(scenario), "{scenario} did not run:\n{said}");
    }
}

/// One test for both engines: the recording knows one virtual host.
#[tokio::test]
async fn messages_over_amqp_are_the_recorded_ones() {
    let Some(replay) = amqp_replay() else { return };
    let host = Broker::shared().default_host();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let server = host.server(engine, &[]).await;
        replay(&server.base, &host).await;
    }
}

/// Compares what a gateway is sent with the recording, which knows the default virtual host.
pub(crate) fn amqp_replay() -> Option<impl AsyncFn(&str, &VirtualHost<'_>)> {
    let script = shared_folder().join("contract/dmf_replay.py");
    let python = workspace().join("target/tools/pika/bin/python");
    for needed in [&script, &python] {
        if !needed.exists() {
            skip_visibly("the recorded messages", &format!("{} is absent", needed.display()));
            return None;
        }
    }
    Some(async move |base: &str, host: &VirtualHost<'_>| {
        Gateway::connect(host, "probe").await.until_heard().await;
        let mut command = Command::new(&python);
        command.arg(&script).args(["check", "--base", base, "--amqp", &host.url()]);
        let out = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{base}:\n{said}{}", String::from_utf8_lossy(&out.stderr));
        assert!(said.ends_with(" passed, 0 failed\n"), "{base}: {said}");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_events_on_sqlite_are_the_recorded_ones() {
    told_to_other_servers(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_events_on_postgres_are_the_recorded_ones() {
    told_to_other_servers(Engine::Postgres).await;
}

async fn told_to_other_servers(engine: Engine) {
    let Some(recorded) = cluster_events::recorded() else { return };
    let python = workspace().join("target/tools/pika/bin/python");
    if !python.exists() {
        return skip_visibly("the recorded cluster events", &format!("{} is absent", python.display()));
    }
    // It writes beside itself.
    let folder = tempfile::tempdir().unwrap();
    for script in ["dmf_replay.py", "replay.py"] {
        let text = fs::read(shared_folder().join("contract").join(script)).unwrap();
        fs::write(folder.path().join(script), text).unwrap();
    }
    let host = Broker::shared().virtual_host();
    let server = host.server(engine, &["kettle.events.transport=rabbitmq"]).await;
    eventually(CONNECTED, "the exchanges are there", async || {
        (server.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    let written = folder.path().join("events.json");
    let out = Command::new(&python)
        .arg(folder.path().join("dmf_replay.py"))
        .args(["record", "--base", &server.base, "--amqp", &host.url(), "--events"])
        .arg(&written)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // An address names the virtual host, and the recording's has no name.
    let written = fs::read_to_string(&written).unwrap().replace(&format!("amqp://{}/", host.name), "amqp:/");
    let mut told: Vec<Value> = serde_json::from_str(&written).unwrap();
    for event in &mut told {
        let node = event["headers"].as_object_mut().unwrap().remove("kettle-node");
        assert!(node.is_some_and(|node| node.is_string()), "{event}");
    }
    let (ours, theirs) = (by_channel(cluster_events::read(told)), by_channel(recorded));
    for (channel, theirs) in &theirs {
        let ours = &ours[channel];
        for n in 0..ours.len().max(theirs.len()) {
            assert_eq!(ours.get(n), theirs.get(n), "number {n} of {channel}");
        }
    }
}

/// What was told in its order. In which step it was heard is a matter of how busy the machine is.
fn by_channel(told: Vec<Told>) -> BTreeMap<&'static str, Vec<Value>> {
    let mut channels: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for event in told {
        let channel = match event.body["type"].as_str().unwrap() {
            // That a device was seen is told when a timer says so.
            "24" | "1010" => "polls",
            _ if event.fan_out => "fan-out",
            _ => "services",
        };
        channels.entry(channel).or_default().push(event.body);
    }
    for (channel, events) in &mut channels {
        if *channel == "polls" {
            events.sort_by_key(Value::to_string);
            continue;
        }
        // Of several things that one statement changes, hawkBit tells in the order in which its database finds them.
        for alike in events.chunk_by_mut(|one, next| one["type"] == next["type"]) {
            alike.sort_by_key(|event| event["source"].to_string());
        }
    }
    channels
}

fn start_command(engine: Engine) -> String {
    let kettle = kettle_binary().canonicalize().unwrap();
    let serve = format!("{} serve --port {{port}} --data {{dir}}/data", kettle.display());
    match engine {
        Engine::Sqlite => serve,
        Engine::Postgres => {
            let admin = &shared_postgres().admin_url;
            let (server, _) = admin.rsplit_once('/').unwrap();
            let psql = psql_binary();
            format!(
                "sh -c '{} -X -q -d \"{admin}\" -c \"DROP DATABASE IF EXISTS contract_{{port}}\" \
                 -c \"CREATE DATABASE contract_{{port}} TEMPLATE template0\" \
                 && exec {serve} --database {server}/contract_{{port}}'",
                psql.display()
            )
        }
    }
}

pub(crate) fn shared_folder() -> PathBuf {
    match std::env::var_os("KETTLE_SHARED") {
        Some(folder) => folder.into(),
        None => workspace().join("../shared"),
    }
}
