//! hawkBit's locks (`sp_lock`, semantics.md F2), taken beside its nodes: `kettle.cluster.hawkbit-locks`.

use std::time::Duration;

use kettle_cluster::PeerLocks;
use serde_json::json;

use crate::harness::{Engine, Server, Store, eventually, linger, on_each_store};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(300);
/// The peer's key of `DEFAULT-rollout`.
const KEY: &str = "10a737da-d1d7-3236-bac3-eacbdbb7c025";

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
    let held = format!(
        "INSERT INTO sp_lock (lock_key, region, client_id, created_date) \
         VALUES ('{KEY}', 'DEFAULT', 'b7a0c9a6-0000-4000-8000-000000000000', now() AT TIME ZONE 'UTC')"
    );
    store.execute(&held).await;
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
}
