//! hawkBit's locks (`sp_lock`, semantics.md F2), taken beside its nodes: `kettle.cluster.hawkbit-locks`.

use std::time::Duration;

use kettle_cluster::PeerLocks;
use serde_json::json;

use crate::harness::{Client, Engine, Server, Store, basic, eventually, linger, on_each_store};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(300);
/// The peer's key of `DEFAULT-rollout`.
const KEY: &str = "10a737da-d1d7-3236-bac3-eacbdbb7c025";
/// Of `DEFAULT-auto-assign`.
const AUTO_ASSIGN: &str = "9e33985d-e5a1-3738-ad50-339fd5c69aca";
/// Of `auto-cleanup.action-cleanup.DEFAULT`.
const CLEAN_UP: &str = "78857fb8-5c87-3e06-8475-09642a5f13ec";

#[tokio::test]
async fn a_lock_is_of_one_process_until_it_is_given_back_or_run_out() {
    on_each_store(async |store| {
        let (a, b) = (PeerLocks::new(store.db.clone(), LONG), PeerLocks::new(store.db.clone(), LONG));
        let (first, second) =
            (a.acquire("DEFAULT-rollout").await.unwrap(), a.acquire("DEFAULT-rollout").await.unwrap());
        assert!(b.acquire("DEFAULT-rollout").await.unwrap().is_none());
        assert!(b.acquire("T2-rollout").await.unwrap().is_some(), "another lock");
        let keys = store.rows("SELECT lock_key FROM sp_lock WHERE region = 'DEFAULT'", []).await;
        assert!(keys.iter().any(|row| row.try_get::<String>("", "lock_key").unwrap() == KEY));
        first.unwrap().release().await.unwrap();
        assert!(b.acquire("DEFAULT-rollout").await.unwrap().is_none(), "still shared in the first process");
        second.unwrap().release().await.unwrap();
        let taken = b.acquire("DEFAULT-rollout").await.unwrap().unwrap();
        assert!(a.acquire("DEFAULT-rollout").await.unwrap().is_none());
        store.execute("UPDATE sp_lock SET created_date = '2020-01-01 00:00:00'").await;
        let again = a.acquire("DEFAULT-rollout").await.unwrap();
        assert!(again.is_some(), "it had run out");
        taken.release().await.unwrap();
        assert!(b.acquire("DEFAULT-rollout").await.unwrap().is_none(), "giving back takes nobody else's lock away");
    })
    .await;
}

#[tokio::test]
async fn rollouts_wait_while_a_node_of_hawkbit_is_at_them() {
    let server = Server::start_with(Engine::Postgres, &["kettle.cluster.hawkbit-locks=true"]).await;
    let store = Store::of(&server).await;
    hold(&store, KEY).await;
    let set = server.set("fw", &[("a.bin", b"abc")]).await;
    server.target("d1").await;
    let body = json!({"name": "r", "distributionSetId": set.id, "targetFilterQuery": "name==*", "amountGroups": 1});
    let rollout = server.post("/rest/v1/rollouts", body).await.expect(201).json()["id"].clone();
    let status =
        async || server.get(&format!("/rest/v1/rollouts/{rollout}")).await.expect(200).json()["status"].clone();
    linger(Duration::from_secs(3)).await;
    assert_eq!(status().await, "creating", "it is left alone");
    store.execute("DELETE FROM sp_lock").await;
    eventually(PATIENCE, "the rollout is worked on", async || (status().await == "ready").then_some(())).await;
    until_free(&store).await;
}

#[tokio::test]
async fn auto_assignment_of_a_tenant_waits_while_a_node_of_hawkbit_is_at_it() {
    let (server, other) = of_two_tenants("hawkbit.autoassign.scheduler.fixedDelay=200").await;
    let store = Store::of(&server).await;
    for (name, free) in ENDS {
        hold(&store, AUTO_ASSIGN).await;
        let of_tenants = [set_filter(&server, name).await, set_filter(&other, name).await];
        let assigned = async |client: &Client, set: i64| {
            let path = format!("/rest/v1/distributionsets/{set}/assignedTargets");
            client.get(&path).await.expect(200).json()["total"].as_i64().unwrap()
        };
        eventually(PATIENCE, "the other tenant's is done", async || {
            (assigned(&other, of_tenants[1]).await == 2).then_some(())
        })
        .await;
        until_tried(&store, "auto-assign:DEFAULT").await;
        assert_eq!(assigned(&server, of_tenants[0]).await, 0, "it is left alone");
        store.execute(free).await;
        eventually(PATIENCE, "the set is assigned", async || {
            (assigned(&server, of_tenants[0]).await == 2).then_some(())
        })
        .await;
        until_free(&store).await;
    }
}

/// A filter that is to assign a set to a target which is there already, a matter of the job, and to one that comes.
async fn set_filter(client: &Client, name: &str) -> i64 {
    client.target(&format!("{name}-d1")).await;
    let set = client.set(name, &[]).await.id;
    let body = json!({"name": name, "query": format!("controllerId=={name}-*")});
    let filter = client.post("/rest/v1/targetfilters", body).await.expect(201).id();
    let path = format!("/rest/v1/targetfilters/{filter}/autoAssignDS");
    client.post(&path, json!({"id": set})).await.expect(200);
    client.target(&format!("{name}-d2")).await;
    set
}

#[tokio::test]
async fn the_clean_up_of_a_tenant_waits_while_a_node_of_hawkbit_is_at_it() {
    let (server, other) = of_two_tenants("hawkbit.autocleanup.scheduler.fixedDelay=300").await;
    let store = Store::of(&server).await;
    let actions = async |client: &Client| {
        client.get("/rest/v1/actions?limit=1").await.expect(200).json()["total"].as_i64().unwrap()
    };
    for client in [&*server, &other] {
        client.configure("action.cleanup.auto.status", "RUNNING").await;
    }
    for (name, free) in ENDS {
        for client in [&*server, &other] {
            client.configure("action.cleanup.auto.expiry", -1).await;
        }
        hold(&store, CLEAN_UP).await;
        for client in [&*server, &other] {
            client.pending(name, &[]).await;
            assert_eq!(actions(client).await, 1);
            client.configure("action.cleanup.auto.expiry", 0).await;
        }
        eventually(PATIENCE, "the other tenant's is done", async || (actions(&other).await == 0).then_some(())).await;
        until_tried(&store, "action-cleanup").await;
        assert_eq!(actions(&server).await, 1, "it is left alone");
        store.execute(free).await;
        eventually(PATIENCE, "it is deleted", async || (actions(&server).await == 0).then_some(())).await;
        until_free(&store).await;
    }
}

/// How a lock ends that a node of hawkBit holds: it gives it back, or is gone and its time is over.
const ENDS: [(&str, &str); 2] =
    [("given-back", "DELETE FROM sp_lock"), ("run-out", "UPDATE sp_lock SET created_date = '2020-01-01 00:00:00'")];

/// Takes a lock as a node of hawkBit does, when it is free.
async fn hold(store: &Store, key: &str) {
    const CLIENT: &str = "b7a0c9a6-0000-4000-8000-000000000000";
    let take = format!(
        "INSERT INTO sp_lock (lock_key, region, client_id, created_date) \
         VALUES ('{key}', 'DEFAULT', '{CLIENT}', now() AT TIME ZONE 'UTC') ON CONFLICT (lock_key, region) DO NOTHING"
    );
    let held = format!("SELECT count(*) AS n FROM sp_lock WHERE lock_key = '{key}' AND client_id = '{CLIENT}'");
    eventually(PATIENCE, "the lock is free", async || {
        store.execute(&take).await;
        (store.number(&held).await == 1).then_some(())
    })
    .await;
}

/// The job has had its lease twice from now on: so it has begun and ended at least once.
async fn until_tried(store: &Store, lease: &str) {
    let epoch = format!("SELECT coalesce(max(epoch), 0) AS n FROM kt_lease WHERE name = '{lease}'");
    let before = store.number(&epoch).await;
    eventually(PATIENCE, "it is tried", async || (store.number(&epoch).await >= before + 2).then_some(())).await;
}

/// What was taken for the work is given back after it.
async fn until_free(store: &Store) {
    eventually(PATIENCE, "no lock is held", async || {
        (store.number("SELECT count(*) AS n FROM sp_lock").await == 0).then_some(())
    })
    .await;
}

/// A server that takes hawkBit's locks, and what administers its other tenant.
async fn of_two_tenants(setting: &str) -> (Server, Client) {
    let other = ["password={noop}x", "tenant=OTHER", "roles=TENANT_ADMIN"];
    let other = other.map(|of| format!("hawkbit.security.user.other.{of}"));
    let admin = "hawkbit.security.user.admin.password={noop}admin";
    let mut settings = vec!["kettle.cluster.hawkbit-locks=true", admin, setting];
    settings.extend(other.iter().map(String::as_str));
    let server = Server::start_with(Engine::Postgres, &settings).await;
    let mut client = Client::to(server.port);
    client.admin = basic("other", "x");
    (server, client)
}
