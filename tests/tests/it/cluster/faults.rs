//! One failure each, at a moment that the test chooses: what clients see meanwhile, and that everything goes on after it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{BOUND, finish_rollout, rollout_of, start_rollout};
use crate::harness::{Broker, Client, Cluster, Gateway, eventually, linger};

/// For what takes a lease's time, a few looks, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);

/// A request that waits at a paused node is answered in the moment in which it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_that_wakes_gives_no_old_answer() {
    let cluster = Cluster::of(2).start();
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    a.allow_devices().await;
    a.target("d1").await;
    let set = a.set("fw", &[]).await;
    eventually(PATIENCE, "the answer is cached", async || b.device("d1").offered().await.is_none().then_some(())).await;
    b.pause();
    let action = a.assign("d1", set).await;
    linger(BOUND).await;
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let client: Client = (**b).clone();
            tokio::spawn(async move { client.device("d1").offered().await })
        })
        .collect();
    linger(Duration::from_millis(300)).await;
    b.resume();
    for answer in join_all(waiting).await {
        assert_eq!(answer.unwrap(), Some(action));
    }
}

/// Nothing is refused and nothing answers: the node finds out by itself, and is out of the balancer's use until it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_silent_way_to_the_database_gives_no_old_answer() {
    cut_off(|node| node.database.silence()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_from_the_database_gives_no_old_answer() {
    cut_off(|node| node.database.cut()).await;
}

async fn cut_off(fail: impl Fn(&crate::harness::Node)) {
    let cluster = Cluster::of(2).start();
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    a.allow_devices().await;
    a.target("d1").await;
    let set = a.set("fw", &[]).await;
    eventually(PATIENCE, "the answer is cached", async || b.device("d1").offered().await.is_none().then_some(())).await;
    fail(b);
    let action = a.assign("d1", set).await;
    linger(BOUND).await;
    let client = Client::with_patience(b.port, Duration::from_secs(4));
    let device = client.device("d1");
    let headers = [("authorization", device.authorization.as_str())];
    let answer = client.try_request(reqwest::Method::GET, &device.root, &headers, None).await;
    assert!(answer.is_err() || answer.as_ref().is_ok_and(|answer| answer.status >= 500), "an old answer: {answer:?}");
    cluster.balancer.until_in_use(1);
    for _ in 0..4 {
        assert_eq!(cluster.client().device("d1").offered().await, Some(action));
    }
    b.database.mend();
    cluster.balancer.until_in_use(2);
    eventually(PATIENCE, "it answers again", async || {
        let answer = client.try_request(reqwest::Method::GET, &device.root, &headers, None).await;
        let poll = answer.ok().filter(|answer| answer.status == 200)?.json();
        assert!(poll["_links"]["deploymentBase"].is_object(), "an old answer: {poll}");
        Some(())
    })
    .await;
}

/// A node without power leaves its transactions open, and with them its locks: the database does not hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_node_that_has_vanished_do_not_stay() {
    let cluster = Cluster::of(2).start();
    let [a, b] = &cluster.nodes[..] else { unreachable!() };
    a.allow_devices().await;
    let ids: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    let targets: Vec<Value> = ids.iter().map(|id| json!({"controllerId": id})).collect();
    a.post("/rest/v1/targets", json!(targets)).await.expect(201);
    let store = cluster.store().await;
    // A trigger that is slow, once, makes the moment: the node is silent while its transaction holds rows.
    store
        .execute(
            "CREATE SEQUENCE times; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN IF nextval(''times'') = 1 THEN PERFORM pg_sleep(1); END IF; RETURN NULL; END'; \
             CREATE TRIGGER slow AFTER INSERT ON sp_action FOR EACH STATEMENT EXECUTE FUNCTION slow()",
        )
        .await;
    let set = a.set("fw", &[]).await;
    let body: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    let path = format!("/rest/v1/distributionsets/{}/assignedTargets", set.id);
    let hung = tokio::spawn({
        let client = Client::with_patience(b.port, PATIENCE);
        let (path, body) = (path.clone(), body.clone());
        async move {
            let headers = [("authorization", client.admin.as_str()), ("content-type", "application/json")];
            client.try_request(reqwest::Method::POST, &path, &headers, Some(json!(body).to_string().into())).await
        }
    });
    let slow = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually(PATIENCE, "its statement is under way", async || (store.number(slow).await > 0).then_some(())).await;
    b.database.silence();
    eventually(PATIENCE, "it is over", async || (store.number(slow).await == 0).then_some(())).await;
    let open =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%sp_action%'";
    assert!(store.number(open).await > 0, "a transaction is open");

    let begin = std::time::Instant::now();
    a.post(&path, json!(body)).await.expect(200);
    assert!(begin.elapsed() < Duration::from_secs(15), "the locks stayed for {:?}", begin.elapsed());
    b.database.mend();
    let _ = hung.await;
    assert_eq!(store.number("SELECT count(*) AS n FROM sp_action").await, 300, "each target has one action");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_an_hour_ahead() {
    wrong_clock("+1h").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_an_hour_behind() {
    wrong_clock("-1h").await;
}

/// Whoever does the work, it is done, and what is said of times is the database's time.
async fn wrong_clock(off: &str) {
    let mut cluster = Cluster::of(2).with_clock(1, off).start();
    cluster.client().allow_devices().await;
    let store = cluster.store().await;
    let rollout = start_rollout(cluster.client(), "early", 12).await;
    finish_rollout(cluster.client(), &rollout, PATIENCE).await;
    let created = cluster.nodes[1].target("late").await["createdAt"].as_i64().unwrap();
    let now = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) AS n";
    let now = store.number(now).await;
    assert!((now - created).abs() < 60_000, "a time that is off by {} ms", created - now);

    // The one whose clock is right dies; the other has to see by the database's time that its leases have run out.
    let rollout = start_rollout(cluster.client(), "next", 12).await;
    cluster.nodes[0].kill9();
    finish_rollout(cluster.client(), &rollout, PATIENCE).await;
    // And back: what the other noted as times in an hour, or an hour ago, holds nobody up.
    cluster.nodes[0].restart();
    cluster.nodes[1].kill9();
    let rollout = start_rollout(cluster.client(), "last", 12).await;
    finish_rollout(cluster.client(), &rollout, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_three_nodes_goes_on_alone() {
    let mut cluster = Cluster::of(3).start();
    cluster.client().allow_devices().await;
    let rollout = start_rollout(cluster.client(), "r", 24).await;
    let [a, b, c] = &mut cluster.nodes[..] else { unreachable!() };
    let set = c.set("fw", &[]).await;
    c.target("d1").await;
    let action = c.assign("d1", set).await;
    a.kill9();
    c.kill9();
    assert_eq!(b.device("d1").offered().await, Some(action));
    cluster.balancer.until_in_use(1);
    finish_rollout(cluster.client(), &rollout, PATIENCE).await;
    cluster.client().device("d1").feedback(action, "closed", "success").await.expect_empty(200);
    let [a, b, c] = &mut cluster.nodes[..] else { unreachable!() };
    a.restart();
    c.restart();
    b.kill9();
    cluster.balancer.until_in_use(2);
    assert_eq!(cluster.client().update_status("d1").await, "in_sync");
    assert_eq!(rollout_of(cluster.client(), rollout.id).await["status"], "finished");
}

/// It comes back on its own port, and nobody has to be restarted for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_loses_nothing_that_was_acknowledged() {
    let cluster = Cluster::of(2).on_its_own_postgres().start();
    cluster.client().allow_devices().await;
    let rollout = start_rollout(cluster.client(), "r", 12).await;
    let postgres = cluster.database.server.as_ref().unwrap();
    let mut known = Vec::new();
    for round in 0..3 {
        let writing = tokio::spawn(create_until_refused(cluster.client().clone(), round));
        linger(Duration::from_millis(700)).await;
        tokio::task::block_in_place(|| postgres.crash());
        let acknowledged = writing.await.unwrap();
        assert!(!acknowledged.is_empty());
        known.extend(acknowledged);
        postgres.restart();
        cluster.balancer.until_in_use(2);
        // Each at once, so that all pooled connections are used: none that died with the server fails a request.
        let client = cluster.client();
        let found = known.iter().map(|id| async move {
            client.get(&format!("/rest/v1/targets/{id}")).await.expect(200);
        });
        join_all(found).await;
    }
    finish_rollout(cluster.client(), &rollout, PATIENCE).await;
}

/// Target after target; those that were acknowledged.
async fn create_until_refused(client: Client, round: usize) -> Vec<String> {
    let headers = [("authorization", client.admin.as_str()), ("content-type", "application/json")];
    let mut acknowledged = Vec::new();
    loop {
        let id = format!("d{round}-{}", acknowledged.len());
        let body = json!([{"controllerId": id}]).to_string().into_bytes();
        match client.try_request(reqwest::Method::POST, "/rest/v1/targets", &headers, Some(body)).await {
            Ok(answer) if answer.status == 201 => acknowledged.push(id),
            _ => return acknowledged,
        }
    }
}

/// Nothing but what goes to gateways waits for the broker; that is sent when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_holds_nobody_up() {
    let away = if super::soak().is_some() { Duration::from_secs(60) } else { Duration::from_secs(3) };
    let broker = Broker::start();
    let host = broker.virtual_host();
    let cluster = Cluster::of(3).on_broker(&host).start();
    cluster.client().allow_devices().await;
    let gateway = Gateway::connect(&host, "gw.ex").await;
    gateway.until_heard().await;
    let things: Vec<String> = (0..30).map(|n| format!("thing-{n}")).collect();
    gateway.register(&things.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let set = cluster.client().set("fw", &[]).await;
    broker.kill9();
    let rollout = start_rollout(cluster.client(), "r", 12).await;
    let mut actions = std::collections::BTreeMap::new();
    for thing in &things {
        actions.insert(thing.clone(), cluster.client().assign(thing, set).await);
    }
    finish_rollout(cluster.client(), &rollout, PATIENCE).await;
    linger(away).await;
    broker.restart();
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    let mut heard = std::collections::BTreeMap::new();
    while heard.len() < things.len() {
        let message = gateway.next_or("each thing hears of its action").await;
        if message.header("topic").starts_with("DOWNLOAD") {
            heard.insert(message.header("thingId"), message.json()["actionId"].as_i64().unwrap());
        }
    }
    assert_eq!(heard, actions);
    let store = cluster.store().await;
    let left = "SELECT count(*) AS n FROM kt_service_event";
    eventually(PATIENCE, "all is done", async || (store.number(left).await == 0).then_some(())).await;
}
