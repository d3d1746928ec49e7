//! kill -9 in the middle of work: what was answered with success is there after the restart, nothing half-done is visible,
//! no stray file remains. The moment is random, by a seed that a failure prints; `KETTLE_TEST_SEED` repeats one.

use std::{collections::BTreeSet, time::Duration};

use rand::{Rng as _, rngs::StdRng};
use serde_json::{Value, json};
use sha1::Digest as _;

use crate::harness::{Engine, Server, Set, bytes_of, eventually, linger, seeded, stored_files};

const ROUNDS: usize = 4;
const AT_ONCE: usize = 12;
const LAST_MOMENT: Duration = Duration::from_millis(250);
/// A pass over everything, some seconds after the start, at the latest when the lease of the killed one has run out.
const REACTED: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn during_uploads() {
    for_each_engine(async |mut server: Server, random: &mut StdRng| {
        let module = server.module("m").await;
        for round in 0..ROUNDS {
            let files: Vec<(String, Vec<u8>)> = (0..AT_ONCE)
                .map(|n| (format!("{round}-{n}.bin"), bytes_of(random.random_range(1..2_000_000), random.random())))
                .collect();
            let requests = files.iter().map(|(name, bytes)| upload(&server, module, name, bytes));
            let done = until_killed(&server, random, requests).await;
            server.kill9();
            server.restart();

            let listed = artifacts(&server, module).await;
            for (name, bytes) in done.iter().map(|n| &files[*n]) {
                let found = listed.iter().find(|a| a["providedFilename"] == name.as_str());
                let found = found.unwrap_or_else(|| panic!("{name} was acknowledged and is lost"));
                assert_eq!(found["hashes"]["sha1"], sha1(bytes), "{name}");
            }
            everything_listed_is_whole(&server, module, &listed).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_assignments() {
    for_each_engine(async |mut server: Server, random: &mut StdRng| {
        server.allow_devices().await;
        for round in 0..ROUNDS {
            let set = server.set(&format!("fw{round}"), &[]).await;
            let ids: Vec<String> = (0..AT_ONCE).map(|n| format!("d{round}-{n}")).collect();
            let targets: Vec<Value> = ids.iter().map(|id| json!({"controllerId": id})).collect();
            server.post("/rest/v1/targets", json!(targets)).await.expect(201);
            let requests = ids.iter().map(|id| assign(&server, id, set));
            let done = until_killed(&server, random, requests).await;
            server.kill9();
            server.restart();
            for (n, id) in ids.iter().enumerate() {
                let assigned = is_wholly_assigned(&server, id, set).await;
                assert!(assigned || !done.contains(&n), "{id} was acknowledged and is lost");
            }
        }
    })
    .await;
}

/// One request for many targets: all of them or none.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_assignment_of_many() {
    for_each_engine(async |mut server: Server, random: &mut StdRng| {
        server.allow_devices().await;
        for round in 0..ROUNDS {
            let set = server.set(&format!("fw{round}"), &[]).await;
            let ids: Vec<String> = (0..300).map(|n| format!("d{round}-{n}")).collect();
            let targets: Vec<Value> = ids.iter().map(|id| json!({"controllerId": id})).collect();
            server.post("/rest/v1/targets", json!(targets)).await.expect(201);
            let body: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
            let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
            let request = succeeds(&server, reqwest::Method::POST, path.clone(), json!(body));
            let done = until_killed(&server, random, [request].into_iter()).await;
            server.kill9();
            server.restart();
            let total = server.get(&format!("{path}?limit=1")).await.expect(200).json()["total"].clone();
            let expected = if done.is_empty() { vec![json!(0), json!(300)] } else { vec![json!(300)] };
            assert!(expected.contains(&total), "{total} of 300 are assigned, answered: {}", done.len());
            for id in ids.iter().step_by(37) {
                assert_eq!(is_wholly_assigned(&server, id, set).await, total == 300, "{id}");
            }
        }
    })
    .await;
}

/// Whatever was made of it before, each target that was answered for ends with one action of its filter's set.
#[tokio::test(flavor = "multi_thread")]
async fn during_auto_assignments() {
    for_each_engine(async |mut server: Server, random: &mut StdRng| {
        server.allow_devices().await;
        let body = json!({"name": "all", "query": "controllerId==d*"});
        let filter = server.post("/rest/v1/targetfilters", body).await.expect(201).id();
        for round in 0..ROUNDS / 2 {
            let set = server.set(&format!("fw{round}"), &[]).await;
            let path = format!("/rest/v1/targetfilters/{filter}/autoAssignDS");
            server.post(&path, json!({"id": set.id})).await.expect(200);
            let ids: Vec<String> = (0..AT_ONCE).map(|n| format!("d{round}-{n}")).collect();
            let requests = ids.iter().map(|id| create(&server, id));
            let done = until_killed(&server, random, requests).await;
            server.kill9();
            server.restart();
            for id in done.iter().map(|n| &ids[*n]) {
                let path = format!("/rest/v1/targets/{id}/actions?limit=1");
                eventually(REACTED, "an action", async || {
                    (server.get(&path).await.expect(200).json()["total"] != 0).then_some(())
                })
                .await;
                assert!(is_wholly_assigned(&server, id, set).await, "{id}");
            }
        }
    })
    .await;
}

/// A set is valid with all its actions under way, or invalid with none.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_invalidation() {
    for_each_engine(async |mut server: Server, random: &mut StdRng| {
        for round in 0..ROUNDS {
            let set = server.set(&format!("fw{round}"), &[]).await;
            let ids: Vec<String> = (0..300).map(|n| format!("d{round}-{n}")).collect();
            let targets: Vec<Value> = ids.iter().map(|id| json!({"controllerId": id})).collect();
            server.post("/rest/v1/targets", json!(targets)).await.expect(201);
            let body: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
            let path = format!("/rest/v1/distributionsets/{}", set.id);
            server.post(&format!("{path}/assignedTargets"), json!(body)).await.expect(200);
            let headers = [("authorization", server.admin.as_str()), ("content-type", "application/json")];
            let request = async {
                let body = json!({"actionCancelationType": "force"}).to_string().into();
                let invalidate = format!("{path}/invalidate");
                let sent = server.try_request(reqwest::Method::POST, &invalidate, &headers, Some(body)).await;
                sent.is_ok_and(|answer| answer.status == 204)
            };
            let done = until_killed(&server, random, [request].into_iter()).await;
            server.kill9();
            server.restart();
            let valid = server.get(&path).await.expect(200).json()["valid"].as_bool().unwrap();
            assert!(done.is_empty() || !valid, "it was acknowledged and is lost");
            let statistics = server.get(&format!("{path}/statistics/actions")).await.expect(200).json();
            let status = if valid { "RUNNING" } else { "CANCELED" };
            assert_eq!(statistics, json!({"actions": {status: 300, "total": 300}}));
            let assigned = server.get(&format!("{path}/assignedTargets?limit=1")).await.expect(200).json();
            assert_eq!(assigned["total"], if valid { 300 } else { 0 });
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_feedback() {
    for_each_engine(async |mut server: Server, random: &mut StdRng| {
        server.allow_devices().await;
        for round in 0..ROUNDS {
            let set = server.set(&format!("fw{round}"), &[]).await;
            let mut actions = Vec::new();
            for n in 0..AT_ONCE {
                let id = format!("d{round}-{n}");
                server.target(&id).await;
                let action = server.assign(&id, set).await;
                actions.push((id, action));
            }
            let requests = actions.iter().map(|(id, action)| finish(&server, id, *action));
            let done = until_killed(&server, random, requests).await;
            server.kill9();
            server.restart();
            for (n, (id, action)) in actions.iter().enumerate() {
                let finished = is_wholly_finished(&server, id, *action, set).await;
                assert!(finished || !done.contains(&n), "{id} was acknowledged and is lost");
            }
        }
    })
    .await;
}

async fn for_each_engine(test: impl AsyncFn(Server, &mut StdRng)) {
    let seed = std::env::var("KETTLE_TEST_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}, KETTLE_TEST_SEED={seed}:");
        test(Server::start(engine).await, &mut seeded(seed)).await;
    }
}

/// Runs all requests at once and kills the server at a random moment; which of them were answered with success.
async fn until_killed(
    server: &Server,
    random: &mut StdRng,
    requests: impl Iterator<Item = impl Future<Output = bool>>,
) -> BTreeSet<usize> {
    let moment = random.random_range(Duration::ZERO..LAST_MOMENT);
    let pid = server.process().id();
    let killer = async {
        linger(moment).await;
        crate::harness::signal(pid, "KILL");
    };
    let requests = futures_util::future::join_all(requests);
    let (answered, ()) = tokio::join!(requests, killer);
    let done = answered.iter().enumerate().filter(|(_, ok)| **ok);
    done.map(|(n, _)| n).collect()
}

async fn upload(server: &Server, module: i64, name: &str, bytes: &[u8]) -> bool {
    server.try_upload(module, name, bytes).await.is_ok_and(|answer| answer.status == 201)
}

async fn create(server: &Server, id: &str) -> bool {
    let headers = [("authorization", server.admin.as_str()), ("content-type", "application/json")];
    let body = json!([{"controllerId": id}]).to_string().into();
    let sent = server.try_request(reqwest::Method::POST, "/rest/v1/targets", &headers, Some(body)).await;
    sent.is_ok_and(|answer| answer.status == 201)
}

async fn assign(server: &Server, id: &str, set: Set) -> bool {
    let path = format!("/rest/v1/targets/{id}/assignedDS");
    succeeds(server, reqwest::Method::POST, path, json!({"id": set.id})).await
}

async fn finish(server: &Server, id: &str, action: i64) -> bool {
    let device = server.device(id);
    let path = format!("{}/deploymentBase/{action}/feedback", device.root);
    let body = json!({"status": {"execution": "closed", "result": {"finished": "success"}, "details": ["ok"]}});
    let headers = [("authorization", device.authorization.as_str()), ("content-type", "application/json")];
    let sent = server.try_request(reqwest::Method::POST, &path, &headers, Some(body.to_string().into())).await;
    sent.is_ok_and(|answer| answer.status == 200)
}

async fn succeeds(server: &Server, method: reqwest::Method, path: String, body: Value) -> bool {
    let headers = [("authorization", server.admin.as_str()), ("content-type", "application/json")];
    let sent = server.try_request(method, &path, &headers, Some(body.to_string().into())).await;
    sent.is_ok_and(|answer| answer.status == 200)
}

async fn artifacts(server: &Server, module: i64) -> Vec<Value> {
    let list = server.get(&format!("/rest/v1/softwaremodules/{module}/artifacts")).await;
    list.expect(200).json().as_array().unwrap().clone()
}

/// Each artifact can be downloaded with its hash, and the folder holds these files and no other.
async fn everything_listed_is_whole(server: &Server, module: i64, listed: &[Value]) {
    let mut expected = BTreeSet::new();
    for artifact in listed {
        let path = format!("/rest/v1/softwaremodules/{module}/artifacts/{}/download", artifact["id"]);
        let content = server.get(&path).await.expect(200);
        assert_eq!(artifact["hashes"]["sha1"], sha1(&content.bytes), "{artifact}");
        expected.insert(sha1(&content.bytes));
    }
    let stored: BTreeSet<String> = stored_files(server.data.path())
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(stored, expected, "the artifact folder after the start");
}

/// True when assigned with all that belongs to it, false when not at all; panics on anything between.
async fn is_wholly_assigned(server: &Server, id: &str, set: Set) -> bool {
    let target = format!("/rest/v1/targets/{id}");
    let actions = server.get(&format!("{target}/actions")).await.expect(200).json();
    let assigned = server.get(&format!("{target}/assignedDS")).await;
    let offered = server.device(id).offered().await;
    let status = server.update_status(id).await;
    let Some(action) = actions["content"][0]["id"].as_i64() else {
        assert_eq!((assigned.status, offered), (204, None), "{id} has no action");
        assert_ne!(status, "pending", "{id} has no action");
        return false;
    };
    assert_eq!(actions["total"], 1, "{id}: {actions}");
    assert_eq!(assigned.expect(200).id(), set.id, "{id}");
    assert_eq!((offered, status.as_str()), (Some(action), "pending"), "{id}");
    assert_eq!(server.status_types(id, action).await, ["running"], "{id}");
    true
}

async fn is_wholly_finished(server: &Server, id: &str, action: i64, set: Set) -> bool {
    let target = format!("/rest/v1/targets/{id}");
    let found = server.get(&format!("{target}/actions/{action}")).await.expect(200).json();
    let installed = server.get(&format!("{target}/installedDS")).await;
    let types = server.status_types(id, action).await;
    let state = (found["status"].as_str().unwrap(), found["active"].as_bool().unwrap(), server.update_status(id).await);
    if found["active"] == true {
        assert_eq!(state, ("running", true, "pending".to_owned()), "{id}");
        assert_eq!((installed.status, types), (204, vec!["running".to_owned()]), "{id}");
        return false;
    }
    assert_eq!(state, ("finished", false, "in_sync".to_owned()), "{id}");
    assert_eq!(installed.expect(200).id(), set.id, "{id}");
    assert_eq!(types, ["running", "finished"], "{id}");
    true
}

fn sha1(bytes: &[u8]) -> String {
    hex::encode(sha1::Sha1::digest(bytes))
}
