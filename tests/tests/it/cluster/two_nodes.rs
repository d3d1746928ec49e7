//! Two `kettle` processes on one PostgreSQL database and one artifact folder: what is written through one is in force on
//! the other, and either may die.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Connection, Device, Engine, Server, bytes_of, eventually, linger, stored_files};

/// An event's way from one node to the other's caches.
const TRAVEL: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_assignment_on_one_node_is_offered_by_the_other() {
    let (a, b) = two_nodes().await;
    let set = a.set("fw", &[("a.bin", b"abc")]).await;
    let device = b.device("d1");
    assert_eq!(device.offered().await, None);
    assert_eq!(device.offered().await, None, "the answer is cached by now");
    let action = a.assign("d1", set).await;
    eventually(TRAVEL, "the other node offers the action", async || {
        device.offered().await.filter(|offered| *offered == action)
    })
    .await;
    let path = format!("/softwaremodules/{}/artifacts/a.bin", set.module);
    assert_eq!(device.get(&path).await.expect(200).bytes, b"abc");

    a.delete(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect_empty(204);
    eventually(TRAVEL, "the other node offers the cancelation", async || {
        device.poll().await["_links"].get("cancelAction").cloned()
    })
    .await;
    device.cancel_feedback(action, "closed", "success").await.expect_empty(200);
    let found = a.get(&format!("/rest/v1/targets/d1/actions/{action}")).await.expect(200);
    assert_eq!(found.json()["status"], "canceled");
    eventually(TRAVEL, "the first node offers nothing", async || {
        let poll = a.device("d1").poll().await;
        poll["_links"].get("cancelAction").is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn tenant_settings_changed_on_one_node_are_in_force_on_the_other() {
    let (a, b) = two_nodes().await;
    let device = b.device("d1");
    device.poll().await;
    a.configure("pollingTime", "00:01:00").await;
    eventually(TRAVEL, "the new polling time", async || {
        let poll = device.poll().await;
        (poll["config"]["polling"]["sleep"] == "00:01:00").then_some(())
    })
    .await;

    a.configure("authentication.gatewaytoken.key", "another").await;
    eventually(TRAVEL, "the old gateway token is refused", async || (device.get("").await.status == 401).then_some(()))
        .await;
    let renewed = Device { authorization: "GatewayToken another".to_owned(), ..b.device("d1") };
    renewed.poll().await;
    a.configure("authentication.gatewaytoken.enabled", false).await;
    eventually(TRAVEL, "gateway tokens are off", async || (renewed.get("").await.status == 401).then_some(())).await;
}

#[tokio::test]
async fn a_target_changed_or_deleted_on_one_node_is_so_on_the_other() {
    let (a, b) = two_nodes().await;
    let token = |text: &str| Device { authorization: format!("TargetToken {text}"), ..b.device("d2") };
    let old = "0".repeat(32);
    let new = "1".repeat(32);
    let body = json!([{"controllerId": "d2", "securityToken": old}]);
    a.post("/rest/v1/targets", body).await.expect(201);
    token(&old).poll().await;
    a.put("/rest/v1/targets/d2", json!({"securityToken": new})).await.expect(200);
    eventually(TRAVEL, "the old token is refused", async || (token(&old).get("").await.status == 401).then_some(()))
        .await;
    token(&new).poll().await;
    a.delete("/rest/v1/targets/d2").await.expect_empty(204);
    eventually(TRAVEL, "the deleted target is refused", async || {
        (token(&new).get("").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_second_node_goes_on_when_the_first_is_killed() {
    let (mut a, b) = two_nodes().await;
    let content = bytes_of(100_000, 9);
    let set = a.set("fw", &[("a.bin", &content)]).await;
    let device = b.device("d1");
    device.poll().await;
    let action = a.assign("d1", set).await;
    a.kill9();

    eventually(TRAVEL, "the survivor offers the action", async || device.offered().await).await;
    device.get(&format!("/deploymentBase/{action}")).await.expect(200);
    let path = format!("/softwaremodules/{}/artifacts/a.bin", set.module);
    assert!(device.get(&path).await.expect(200).bytes == content);
    device.feedback(action, "closed", "success").await.expect_empty(200);
    assert_eq!(b.update_status("d1").await, "in_sync");
    let second = b.set("next", &[("b.bin", b"b")]).await;
    let action = b.assign("d1", second).await;
    assert_eq!(device.offered().await, Some(action));

    a.restart();
    let back = a.device("d1");
    assert_eq!(back.offered().await, Some(action));
    back.feedback(action, "closed", "failure").await.expect_empty(200);
    eventually(TRAVEL, "the survivor sees the failure", async || device.offered().await.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_node_that_stops_leaves_the_other_at_work() {
    let (mut a, b) = two_nodes().await;
    b.device("d1").poll().await;
    a.stop();
    let set = b.set("fw", &[]).await;
    let action = b.assign("d1", set).await;
    assert_eq!(b.device("d1").offered().await, Some(action));
}

/// A starting node sweeps orphans of the shared folder; another node's upload under way is none.
#[tokio::test]
async fn a_starting_node_leaves_uploads_of_the_other_alone() {
    let a = Server::start(Engine::Postgres).await;
    let module = a.module("m").await;
    let content = bytes_of(3_000_000, 10);
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.bin\"\r\n\r\n";
    let end = "\r\n--b--\r\n";
    let head = format!(
        "POST /rest/v1/softwaremodules/{module}/artifacts HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         Authorization: {}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{part}",
        a.admin,
        part.len() + content.len() + end.len()
    );
    let mut connection = Connection::open(a.port).await;
    assert!(connection.send(head).await);
    assert!(connection.send(&content[..1_500_000]).await);
    eventually(Duration::from_secs(10), "the upload has begun", async || {
        (!stored_files(a.data.path()).is_empty()).then_some(())
    })
    .await;
    let b = a.another_node().await;
    assert!(connection.send(&content[1_500_000..]).await);
    assert!(connection.send(end).await);
    let answer = connection.answer().await.expect("an answer");
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    let id = answer.json()["id"].clone();
    let path = format!("/rest/v1/softwaremodules/{module}/artifacts/{id}/download");
    assert!(b.get(&path).await.expect(200).bytes == content);
}

/// The same target, set and settings raced over both nodes: one action, no error but the peer's.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_assignment_on_both_nodes_at_once_makes_one_action() {
    let (a, b) = two_nodes().await;
    for round in 0..10 {
        let set = a.set(&format!("fw{round}"), &[]).await;
        let id = format!("raced-{round}");
        a.target(&id).await;
        let path = format!("/rest/v1/targets/{id}/assignedDS");
        let body = json!({"id": set.id});
        let requests = (0..6).map(|n| if n % 2 == 0 { &a } else { &b }.post(&path, body.clone()));
        let answers = futures_util::future::join_all(requests).await;
        let assigned: i64 = answers.into_iter().map(|x| x.expect(200).json()["assigned"].as_i64().unwrap()).sum();
        let actions = a.get(&format!("/rest/v1/targets/{id}/actions")).await.expect(200).json();
        assert_eq!((assigned, actions["total"].as_i64()), (1, Some(1)), "{actions}");
    }
}

/// The survivor finds what the killed one had committed and not yet assigned, and nothing is assigned twice.
#[tokio::test(flavor = "multi_thread")]
async fn targets_of_a_node_that_is_killed_are_auto_assigned_by_the_other() {
    let (mut a, b) = two_nodes().await;
    let set = b.set("fw", &[]).await;
    let filter = b.post("/rest/v1/targetfilters", json!({"name": "all", "query": "controllerId==new-*"})).await;
    let path = format!("/rest/v1/targetfilters/{}/autoAssignDS", filter.expect(201).id());
    b.post(&path, json!({"id": set.id})).await.expect(200);
    let ids: Vec<String> = (0..40).map(|n| format!("new-{n}")).collect();
    let (last, first) = ids.split_last().unwrap();
    let create = async |id: &String| {
        a.post("/rest/v1/targets", json!([{"controllerId": id}])).await.expect(201);
    };
    futures_util::future::join_all(first.iter().map(create)).await;
    create(last).await;
    a.kill9();
    for id in &ids {
        let actions = eventually(TRAVEL + Duration::from_secs(5), "an action", async || {
            let actions = b.get(&format!("/rest/v1/targets/{id}/actions")).await.expect(200).json();
            (actions["total"] != 0).then_some(actions)
        })
        .await;
        assert_eq!(actions["total"], 1, "{id}: {actions}");
    }
}

/// What is assigned here by another node's tasks is none of a node that has them off.
#[tokio::test]
async fn a_node_with_the_scheduler_off_assigns_nothing() {
    let off = Server::start_with(Engine::Postgres, &["hawkbit.autoassign.scheduler.enabled=false"]).await;
    let set = off.set("fw", &[]).await;
    off.target("before").await;
    let filter = off.post("/rest/v1/targetfilters", json!({"name": "all", "query": "controllerId==*"})).await;
    let path = format!("/rest/v1/targetfilters/{}/autoAssignDS", filter.expect(201).id());
    off.post(&path, json!({"id": set.id})).await.expect(200);
    off.target("after").await;
    let total = async |id: &str| {
        off.get(&format!("/rest/v1/targets/{id}/actions")).await.expect(200).json()["total"].as_i64().unwrap()
    };
    // Longer than a node with it on takes, as the next lines show.
    linger(Duration::from_secs(4)).await;
    assert_eq!((total("before").await, total("after").await), (0, 0));
    let on = off.another_node_with(&[]).await;
    eventually(Duration::from_secs(4), "the other node assigns", async || {
        ((total("before").await, total("after").await) == (1, 1)).then_some(())
    })
    .await;
    drop(on);
}

async fn two_nodes() -> (Server, Server) {
    let a = Server::start(Engine::Postgres).await;
    a.allow_devices().await;
    a.target("d1").await;
    let b = a.another_node().await;
    (a, b)
}
