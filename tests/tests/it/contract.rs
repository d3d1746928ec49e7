//! The recorded contract: `shared/contract/replay.py` starts Kettle per scenario and compares every answer with the peer's;
//! `dmf_replay.py` does so with what a gateway is sent over AMQP.

use std::{path::PathBuf, process::Command};

use crate::harness::{Broker, Engine, Gateway, kettle_binary, psql_binary, shared_postgres, skip_visibly, workspace};

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
    let script = shared_folder().join("contract/dmf_replay.py");
    let python = workspace().join("target/tools/pika/bin/python");
    for needed in [&script, &python] {
        if !needed.exists() {
            return skip_visibly("the recorded messages", &format!("{} is absent", needed.display()));
        }
    }
    let host = Broker::shared().default_host();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let server = host.server(engine, &[]).await;
        Gateway::connect(&host, "probe").await.until_heard().await;
        let out = Command::new(&python)
            .arg(&script)
            .args(["check", "--base", &server.base, "--amqp", &host.url()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let complained = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "on {engine:?}:\n{said}{complained}");
        assert!(said.ends_with(" passed, 0 failed\n"), "on {engine:?}: {said}");
    }
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
