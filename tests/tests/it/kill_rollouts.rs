//! kill -9 in the middle of a rollout's work, in each phase of its life: after the restart, or with another node at work,
//! the rollout is where it would have been. No target is in two groups or in none, has two actions or none, and no action
//! was begun or ended twice. The moments are random, by seeds: `KETTLE_SEEDS` says how many, `KETTLE_TEST_SEED` repeats one.

mod leaders;

use std::{collections::BTreeMap, time::Duration};

use kettle_domain::{actions::ActionStatus, rollouts::GroupStatus};
use rand::{Rng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Engine, Server, Store, eventually, linger, seeded, signal};

const ROLLOUTS: &str = "/rest/v1/rollouts";
/// More than two batches of what goes by 5000, and many of what goes by [`SETTINGS`].
const FLEET: i64 = 11_000;
/// The first group is small: its devices report through the API. The second is more than one batch.
const GROUPS: [(&str, i64); 3] = [("g1", 110), ("g2", 5940), ("g3", 4950)];
const SETTINGS: [&str; 3] = [
    "hawkbit.repository.jpa.management.rollout.max.actions.per.transaction=700",
    "hawkbit.rollout.scheduler.fixedDelay=300",
    // Where a node is killed another one waits for this.
    "kettle.cluster.lease-time=2s",
];
/// From the begin of a phase to the kill, at most.
const LAST_MOMENT: Duration = Duration::from_millis(1500);
const AT_ONCE: usize = 8;
const REST: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_goes_on_after_its_restart_on_sqlite() {
    for_each_seed(Engine::Sqlite, async |fleet| fleet.lives().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_goes_on_after_its_restart_on_postgres() {
    for_each_seed(Engine::Postgres, async |fleet| fleet.lives().await).await;
}

/// The node that is at work on the rollout is killed in the middle of each phase, and its lease is left to run out.
#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_for_one_that_is_killed() {
    for_each_seed(Engine::Postgres, async |fleet| {
        fleet.survivor = Some(fleet.server.another_node().await);
        fleet.outlives_its_leaders().await;
    })
    .await;
}

/// It is paused in the middle of a pass, for longer than its lease. Another goes on, and what it was about to write when it
/// wakes up is refused: by the fence, or by the database, which has ended its transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_after_its_lease_has_passed_on_writes_nothing() {
    for_each_seed(Engine::Postgres, async |fleet| {
        fleet.survivor = Some(fleet.server.another_node().await);
        fleet.is_created_undisturbed("paused").await;
        let path = format!("{ROLLOUTS}/{}/start", fleet.rollout);
        assert!(post(&fleet.server, &path).await);
        let lease = format!("kt_lease WHERE name = 'rollout-{}'", fleet.rollout);
        let begun = format!("SELECT count(*) AS n FROM sp_action WHERE rollout = {}", fleet.rollout);
        eventually(REST, "it has begun", async || (fleet.store.number(&begun).await > 0).then_some(())).await;
        let held = fleet.store.rows(&format!("SELECT holder, epoch FROM {lease}"), []).await;
        let (holder, epoch): (String, i64) =
            (held[0].try_get("", "holder").unwrap(), held[0].try_get("", "epoch").unwrap());
        let nodes = [&fleet.server, fleet.survivor.as_ref().unwrap()];
        let paused = nodes.into_iter().find(|node| node.log_text().contains(&holder)).unwrap();
        paused.pause();
        assert!(fleet.store.number(&begun).await < FLEET, "it is not in the middle any more");

        // As if the time of its lease had passed. Who reads the lease's row in a transaction holds it.
        let expire = format!(
            "UPDATE kt_lease SET expires_at = 0 WHERE name IN \
             (SELECT name FROM {lease} AND epoch = {epoch} FOR UPDATE SKIP LOCKED)"
        );
        let passed_on = format!("SELECT count(*) AS n FROM {lease} AND epoch > {epoch}");
        eventually(REST, "the other takes over", async || {
            fleet.store.execute(&expire).await;
            (fleet.store.number(&passed_on).await > 0).then_some(())
        })
        .await;
        paused.resume();
        let complaint = "a rollout could not be worked on";
        eventually(REST, "its late batch is refused", async || paused.log_text().contains(complaint).then_some(()))
            .await;
        let [first, second, third] = GROUPS;
        use ActionStatus::{Running, Scheduled};
        let expected = tally(&[(first, Running, true, 1), (second, Scheduled, false, 0), (third, Scheduled, false, 0)]);
        fleet.rests("running", &expected).await;
        fleet.nothing_is("targets have no action", "a.id IS NULL").await;
    })
    .await;
}

async fn for_each_seed(engine: Engine, test: impl AsyncFn(&mut Fleet)) {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    let seeds = match number("KETTLE_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KETTLE_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        eprintln!("on {engine:?}, KETTLE_TEST_SEED={seed}:");
        test(&mut Fleet::start(engine, seed).await).await;
    }
}

struct Fleet {
    server: Server,
    /// Another node.
    survivor: Option<Server>,
    store: Store,
    random: StdRng,
    name: String,
    rollout: i64,
    set: i64,
}

/// How many targets of a group have an action in a status, active or not, and with so many statuses reported. A target
/// without an action has none of all that; two actions of a target count twice.
type Tally = BTreeMap<(String, Option<(&'static str, bool, i64)>), i64>;

impl Fleet {
    async fn start(engine: Engine, seed: u64) -> Fleet {
        let server = Server::start_with(engine, &SETTINGS).await;
        server.allow_devices().await;
        server.configure("repository.actions.autoclose.enabled", true).await;
        let store = Store::of(&server).await;
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FLEET}) \
             INSERT INTO sp_target (tenant, created_at, optlock_revision, name, controller_id, sec_token, \
             request_controller_attributes, update_status) \
             SELECT 'DEFAULT', 1, 1, 'd', 'd' || i, 'secret', false, 0 FROM n"
        );
        store.execute(&sql).await;
        store.execute(if engine == Engine::Postgres { "ANALYZE" } else { "PRAGMA optimize" }).await;
        Fleet { server, survivor: None, store, random: seeded(seed), name: String::new(), rollout: 0, set: 0 }
    }

    /// One rollout that ends by being stopped, one by being deleted, and one that is deleted before it starts.
    async fn lives(&mut self) {
        self.is_created("stopped").await;
        self.runs().await;
        self.disturbed(async |server, path| post(server, &format!("{path}/stop")).await, "stopping, stopped").await;
        self.rests("stopped", &self.ended(ActionStatus::Canceling, true)).await;
        self.nothing_is("it is stopped: groups go on", "g.status <> 2").await;

        self.is_created("deleted").await;
        self.runs().await;
        self.disturbed(async |server, path| delete(server, path).await, "deleting, deleted").await;
        self.rests("deleted", &self.ended(ActionStatus::Canceled, false)).await;
        self.nothing_is(
            "it is deleted: targets are not as before",
            "t.assigned_distribution_set <> coalesce(t.installed_distribution_set, 0)",
        )
        .await;

        self.is_created("forgotten").await;
        self.disturbed(async |server, path| delete(server, path).await, "deleting, ").await;
        let what = "nothing is left of a rollout that never started";
        let left = format!(
            "SELECT (SELECT count(*) FROM sp_rollout WHERE id = {0}) + \
             (SELECT count(*) FROM sp_rollout_group WHERE rollout = {0}) + (SELECT count(*) FROM \
             sp_rollout_target_group m WHERE NOT EXISTS \
             (SELECT 1 FROM sp_rollout_group g WHERE g.id = m.rollout_group)) AS n",
            self.rollout
        );
        eventually(REST, what, async || (self.store.number(&left).await == 0).then_some(())).await;
    }

    /// What a rollout of a new set is created by.
    async fn plan(&mut self, name: &str) -> Value {
        self.name = name.into();
        self.set = self.server.set(&format!("fw-{name}"), &[]).await.id;
        let groups = [1, 54, 100].iter().zip(GROUPS);
        let groups: Vec<Value> =
            groups.map(|(share, (name, _))| json!({"name": name, "targetPercentage": share})).collect();
        json!({
            "name": name, "targetFilterQuery": "controllerId==d*", "distributionSetId": self.set, "groups": groups,
            "successCondition": {"condition": "THRESHOLD", "expression": "100"},
        })
    }

    async fn is_created_undisturbed(&mut self, name: &str) {
        let plan = self.plan(name).await;
        self.rollout = self.server.post(ROLLOUTS, plan).await.expect(201).id();
        self.is_filled().await;
    }

    async fn is_filled(&self) {
        let expected = GROUPS.iter().map(|(group, targets)| (((*group).into(), None), *targets)).collect();
        self.rests("ready", &expected).await;
        let miscounted = "g.total_targets <> \
                          (SELECT count(*) FROM sp_rollout_target_group o WHERE o.rollout_group = g.id)";
        self.nothing_is("groups have other totals than targets", miscounted).await;
    }

    async fn is_created(&mut self, name: &str) {
        let body = self.plan(name).await;
        let moment = self.moment();
        let created = self.until_killed(moment, async |server| {
            let sent = send(server, Method::POST, ROLLOUTS, Some(&body)).await;
            sent.is_some_and(|status| status == 201)
        });
        let created = created.await;
        let id = format!("SELECT coalesce(max(id), 0) AS n FROM sp_rollout WHERE name = '{name}'");
        if self.store.number(&id).await == 0 {
            assert!(!created, "the rollout was acknowledged and is lost");
            self.worker().post(ROLLOUTS, body).await.expect(201);
        }
        self.rollout = self.store.number(&id).await;
        self.is_filled().await;
    }

    /// From its start until all of its groups run.
    async fn runs(&mut self) {
        use ActionStatus::{Finished, Running, Scheduled};
        let [first, second, third] = GROUPS;
        self.disturbed(async |server, path| post(server, &format!("{path}/start")).await, "starting, running").await;
        let expected = tally(&[(first, Running, true, 1), (second, Scheduled, false, 0), (third, Scheduled, false, 0)]);
        self.rests("running", &expected).await;

        self.devices_report().await;
        let expected = tally(&[(first, Finished, false, 2), (second, Running, true, 1), (third, Scheduled, false, 0)]);
        self.rests("running", &expected).await;

        // It is held while the third group is being started.
        let pause_after = self.moment() / 2;
        let triggered = self.disturbed(
            async |server, path| {
                let triggered = post(server, &format!("{path}/triggerNextGroup")).await;
                linger(pause_after).await;
                triggered && post(server, &format!("{path}/pause")).await
            },
            "running, paused",
        );
        triggered.await;
        let started = format!(
            "SELECT count(*) AS n FROM sp_rollout_group g WHERE rollout = {} AND status = {} AND name = 'g3'",
            self.rollout,
            GroupStatus::Running.code()
        );
        let path = format!("{ROLLOUTS}/{}", self.rollout);
        if self.status().await == "paused" {
            self.worker().post(&format!("{path}/resume"), json!({})).await.expect_empty(204);
        }
        if self.store.number(&started).await == 0 {
            self.worker().post(&format!("{path}/triggerNextGroup"), json!({})).await.expect_empty(204);
        }
        let expected = tally(&[(first, Finished, false, 2), (second, Running, true, 1), (third, Running, true, 1)]);
        self.rests("running", &expected).await;
        let elsewhere =
            format!("a.active = true AND (t.assigned_distribution_set <> {} OR t.update_status <> 2)", self.set);
        self.nothing_is("devices that are at it have another set", &elsewhere).await;
    }

    /// What is left of a rollout of which two groups were under way.
    fn ended(&self, status: ActionStatus, active: bool) -> Tally {
        let [first, second, third] = GROUPS;
        tally(&[(first, ActionStatus::Finished, false, 2), (second, status, active, 2), (third, status, active, 2)])
    }

    /// The devices of the first group finish while the server is killed, and again what was not acknowledged.
    async fn devices_report(&mut self) {
        let devices = self.first_group().await;
        let moment = self.moment();
        let acknowledged = std::sync::Mutex::new(Vec::new());
        self.until_killed(moment, async |server| {
            for some in devices.chunks(AT_ONCE) {
                let reports = some.iter().map(|(action, id)| finished(server, id, *action));
                let done = futures_util::future::join_all(reports).await;
                if !done.contains(&Some(200)) {
                    return false;
                }
                let done = some.iter().zip(done).filter(|(_, status)| *status == Some(200));
                acknowledged.lock().unwrap().extend(done.map(|((action, _), _)| *action));
            }
            true
        })
        .await;
        for (action, id) in &devices {
            let status = finished(self.worker(), id, *action).await;
            let expected = if acknowledged.lock().unwrap().contains(action) { &[410][..] } else { &[200, 410] };
            assert!(status.is_some_and(|status| expected.contains(&status)), "{id} answered {status:?}");
        }
    }

    /// The actions of the first group, with whose they are.
    async fn first_group(&self) -> Vec<(i64, String)> {
        let sql = "SELECT a.id, t.controller_id FROM sp_action a JOIN sp_target t ON t.id = a.target \
                   JOIN sp_rollout_group g ON g.id = a.rollout_group WHERE g.rollout = $1 AND g.name = 'g1'";
        let rows = self.store.rows(sql, [self.rollout.into()]).await;
        rows.iter().map(|row| (row.try_get("", "id").unwrap(), row.try_get("", "controller_id").unwrap())).collect()
    }

    /// Sends a request and kills the server at some moment; sends it again if nothing came of it. `then` are the statuses
    /// of a rollout for which something did; none: it is gone.
    async fn disturbed(&mut self, request: impl AsyncFn(&Server, &str) -> bool, then: &str) {
        let path = format!("{ROLLOUTS}/{}", self.rollout);
        let moment = self.moment();
        let acknowledged = self.until_killed(moment, async |server| request(server, &path).await).await;
        let status = self.status().await;
        if !then.split(", ").any(|known| known == status) {
            assert!(!acknowledged, "it was acknowledged and is lost: the rollout is {status}");
            assert!(request(self.worker(), &path).await, "again, of a rollout that is {status}");
        }
    }

    /// More often early than late: what takes long here takes less elsewhere.
    fn moment(&mut self) -> Duration {
        LAST_MOMENT.mul_f64(self.random.random::<f64>().powi(2))
    }

    /// Who works after a kill.
    fn worker(&self) -> &Server {
        self.survivor.as_ref().unwrap_or(&self.server)
    }

    /// Runs `work` against the server, which is killed after `moment` and replaced; whether the work was done by then.
    async fn until_killed(&mut self, moment: Duration, work: impl AsyncFn(&Server) -> bool) -> bool {
        let pid = self.server.process().id();
        let killer = async {
            linger(moment).await;
            signal(pid, "KILL");
        };
        let (done, ()) = tokio::join!(work(&self.server), killer);
        self.server.kill9();
        // As if the time of the dead one's leases had passed.
        self.store.execute("UPDATE kt_lease SET expires_at = 0").await;
        self.server.restart();
        done
    }

    async fn status(&self) -> String {
        let found = self.worker().get(&format!("{ROLLOUTS}/{}", self.rollout)).await;
        if found.status == 404 { String::new() } else { found.json()["status"].as_str().unwrap().into() }
    }

    /// The rollout comes to a status, and its targets and actions to a state.
    async fn rests(&self, status: &str, expected: &Tally) {
        let mut last = None;
        eventually(REST, &format!("rollout {} is {status}, with {expected:?}", self.name), async || {
            let mut found = (self.status().await, Tally::new());
            if found.0 == status {
                found.1 = self.tally().await;
            }
            let rests = (found.0.as_str(), &found.1) == (status, expected);
            if last.as_ref() != Some(&found) {
                eprintln!("rollout {}: {found:?}", self.name);
                last = Some(found);
            }
            rests.then_some(())
        })
        .await;
        let shown = self.worker().get(&format!("{ROLLOUTS}/{}", self.rollout)).await.expect(200).json();
        assert_eq!(shown["totalTargets"], FLEET, "{shown}");
        let counts = shown["totalTargetsPerStatus"].as_object().unwrap();
        let sum: i64 = counts.values().map(|count| count.as_i64().unwrap()).sum();
        assert_eq!(sum, FLEET, "{shown}");
    }

    async fn tally(&self) -> Tally {
        // The sum keeps a planner without statistics from reading the whole group for each of its targets.
        let sql = "SELECT name, status, active, n, count(*) AS targets FROM (SELECT g.name, a.status, a.active, \
                   (SELECT count(*) FROM sp_action_status s WHERE s.action = a.id) AS n \
                   FROM sp_rollout_target_group m JOIN sp_rollout_group g ON g.id = m.rollout_group \
                   LEFT JOIN sp_action a ON a.target = m.target AND a.rollout_group + 0 = g.id \
                   WHERE g.rollout = $1) x GROUP BY name, status, active, n";
        let rows = self.store.rows(sql, [self.rollout.into()]).await;
        let read = |row: &kettle_db::sea_orm::QueryResult| {
            let status: Option<i32> = row.try_get("", "status").unwrap();
            let active: Option<bool> = row.try_get("", "active").unwrap();
            let rows: i64 = row.try_get("", "n").unwrap();
            let action = status.map(|code| (ActionStatus::from_code(code).name(), active == Some(true), rows));
            ((row.try_get("", "name").unwrap(), action), row.try_get("", "targets").unwrap())
        };
        rows.iter().map(read).collect()
    }

    /// Of this rollout's group, member, target and action, if there is one.
    async fn nothing_is(&self, what: &str, condition: &str) {
        let sql = format!(
            "SELECT count(*) AS n FROM sp_rollout_group g JOIN sp_rollout_target_group m ON m.rollout_group = g.id \
             JOIN sp_target t ON t.id = m.target LEFT JOIN sp_action a ON a.target = t.id AND a.rollout_group + 0 = g.id \
             WHERE g.rollout = {} AND {condition}",
            self.rollout
        );
        assert_eq!(self.store.number(&sql).await, 0, "{what}");
        let sql = format!(
            "SELECT count(*) AS n FROM (SELECT m.target FROM sp_rollout_target_group m \
             JOIN sp_rollout_group g ON g.id = m.rollout_group WHERE g.rollout = {0} GROUP BY m.target HAVING count(*) > 1 \
             UNION ALL SELECT a.target FROM sp_action a WHERE a.rollout = {0} GROUP BY a.target HAVING count(*) > 1) x",
            self.rollout
        );
        assert_eq!(self.store.number(&sql).await, 0, "targets are in two groups, or have two actions");
    }
}

fn tally(groups: &[((&str, i64), ActionStatus, bool, i64)]) -> Tally {
    let entry = |((name, targets), status, active, rows): ((&str, i64), ActionStatus, bool, i64)| {
        ((name.to_owned(), Some((status.name(), active, rows))), targets)
    };
    groups.iter().copied().map(entry).collect()
}

async fn post(server: &Server, path: &str) -> bool {
    send(server, Method::POST, path, None).await == Some(204)
}

async fn delete(server: &Server, path: &str) -> bool {
    send(server, Method::DELETE, path, None).await == Some(204)
}

async fn finished(server: &Server, id: &str, action: i64) -> Option<u16> {
    let device = server.device(id);
    let path = format!("{}/deploymentBase/{action}/feedback", device.root);
    let body = json!({"status": {"execution": "closed", "result": {"finished": "success"}}});
    let headers = [("authorization", device.authorization.as_str()), ("content-type", "application/json")];
    let sent = server.try_request(Method::POST, &path, &headers, Some(body.to_string().into())).await;
    sent.ok().map(|answer| answer.status)
}

/// The status of the answer, if there is one.
async fn send(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Option<u16> {
    let headers = [("authorization", server.admin.as_str()), ("content-type", "application/json")];
    let body = body.map(|body| body.to_string().into());
    server.try_request(method, path, &headers, body).await.ok().map(|answer| answer.status)
}
