//! Operators: they make sets and targets, assign, cancel, and run rollouts, through the load balancer and past it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    World,
    devices::{self, CONTENT, FILE},
    record::{Assignment, Expects, Outcome, Target, Word, call},
};
use crate::{
    cluster::ROLLOUTS,
    harness::{Client, linger},
};

const TARGETS: &str = "/rest/v1/targets";
const IN_GROUPS: usize = 9;
/// Rollouts end when everything works again.
const LAST: Duration = Duration::from_secs(90);

struct Operator {
    world: Arc<World>,
    name: String,
    random: StdRng,
    count: usize,
    sets: Vec<i64>,
}

impl Operator {
    fn new(world: Arc<World>, kind: &str, number: usize) -> Self {
        let salt = number as u64 * 1_000 + kind.len() as u64;
        let random = StdRng::seed_from_u64(world.seed.wrapping_mul(31).wrapping_add(salt));
        Self { world, name: format!("{kind}{number}"), random, count: 0, sets: Vec::new() }
    }

    /// Mostly by the load balancer, sometimes by a node that it chooses itself.
    fn way(&mut self) -> Client {
        let past = self.random.random_bool(0.3).then(|| self.world.nodes.choose(&mut self.random)).flatten();
        past.unwrap_or(&self.world.client).clone()
    }

    fn next_name(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}-{}-{}", self.name, self.count)
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Outcome {
        let client = self.way();
        call(&client, &client.admin, method, path, body).await
    }

    /// A set with a file, if all went well.
    async fn makes_set(&mut self) -> Option<i64> {
        let name = self.next_name("set");
        let module = json!([{"name": name, "version": "1", "type": "os"}]);
        let module = self.send(Method::POST, "/rest/v1/softwaremodules", Some(module)).await.done()?.id();
        let client = self.way();
        client.try_upload(module, FILE, CONTENT).await.ok().filter(|answer| answer.status == 201)?;
        let body = json!([{"name": name, "version": "1", "type": "os", "modules": [{"id": module}]}]);
        let made = self.send(Method::POST, "/rest/v1/distributionsets", Some(body)).await;
        self.world.record.write(|written| written.sets.insert(name.clone(), made.word()));
        match made {
            Outcome::Done(answer) => Some(answer.id()),
            Outcome::Refused(answer) => {
                self.world.record.violated(format!("the set {name} was answered {}", answer.status));
                None
            }
            Outcome::Unknown => None,
        }
    }

    async fn makes_target(&mut self) {
        let id = self.next_name("new");
        let made = self.send(Method::POST, TARGETS, Some(json!([{"controllerId": id}]))).await;
        self.world.record.write(|written| written.targets.insert(id, made.word()));
    }

    async fn assigns(&mut self, target: &Target) {
        let mut had = target.operated.lock().await;
        let fresh: Vec<i64> = self.sets.iter().filter(|set| !had.contains(set)).copied().collect();
        let set = match fresh.choose(&mut self.random) {
            Some(set) => *set,
            None => {
                let Some(set) = self.makes_set().await else { return };
                self.sets.push(set);
                set
            }
        };
        had.insert(set);
        target.is_being_changed();
        let path = format!("{TARGETS}/{}/assignedDS", target.id);
        let asked = Instant::now();
        let sent = self.send(Method::POST, &path, Some(json!({"id": set, "type": "forced"}))).await;
        let word = sent.word();
        let done = match sent {
            Outcome::Done(answer) => {
                let done = answer.json()["assignedActions"][0]["id"].as_i64().map(|action| (action, Instant::now()));
                match done {
                    Some((action, since)) => target.shows(Expects::Deployment(action, since)),
                    None => self.world.record.violated(format!("{}: nothing assigned: {}", target.id, answer.json())),
                }
                done
            }
            Outcome::Refused(answer) => {
                let what = format!("the assignment of {set} to {} was answered {}", target.id, answer.status);
                self.world.record.violated(what);
                None
            }
            Outcome::Unknown => None,
        };
        let assignment = Assignment { word, asked, done };
        self.world.record.write(|written| written.assignments.insert((target.id.clone(), set), assignment));
    }

    async fn cancels(&mut self, target: &Target) {
        let _one_at_a_time = target.operated.lock().await;
        let Some(action) = target.at_work() else { return };
        target.is_being_changed();
        let path = format!("{TARGETS}/{}/actions/{action}", target.id);
        let asked = Instant::now();
        // It is refused if the device was quicker.
        let sent = self.send(Method::DELETE, &path, None).await;
        if sent.word() == Word::Done && !target.is_thing {
            target.shows(Expects::Cancelation(action, Instant::now()));
        }
        self.world.record.write(|written| written.cancelations.insert(action, (sent.word(), asked)));
    }

    /// Tries until it is answered, however often that takes.
    async fn insists(&mut self, method: Method, path: &str, body: Option<Value>) -> Outcome {
        let begin = Instant::now();
        loop {
            match self.send(method.clone(), path, body.clone()).await {
                Outcome::Unknown => {}
                answered => return answered,
            }
            assert!(!self.world.is_ending() || begin.elapsed() < LAST, "no answer to {method} {path}");
            linger(Duration::from_millis(100)).await;
        }
    }

    /// From its targets to its end; a device of each does as it is told.
    async fn runs_rollout(&mut self) {
        let name = self.next_name("rollout");
        let Some(set) = self.makes_set().await else { return };
        let targets: Vec<Target> = (0..IN_GROUPS).map(|n| Target::new(&format!("{name}-{n}"), false)).collect();
        for target in &targets {
            // One that was made and not answered is refused the second time.
            self.insists(Method::POST, TARGETS, Some(json!([{"controllerId": target.id}]))).await;
        }
        let body = json!({
            "name": name, "targetFilterQuery": format!("controllerId=={name}-*"), "distributionSetId": set,
            "amountGroups": 3, "type": "forced", "successCondition": {"condition": "THRESHOLD", "expression": "100"},
        });
        let created = self.send(Method::POST, ROLLOUTS, Some(body)).await;
        self.world.record.write(|written| written.rollouts.insert(name.clone(), created.word()));
        let id = match created {
            Outcome::Done(answer) => answer.id(),
            Outcome::Refused(answer) => {
                return self.world.record.violated(format!("the rollout {name} was answered {}", answer.status));
            }
            Outcome::Unknown => {
                // It may still be under way where it was not answered.
                linger(Duration::from_secs(1)).await;
                let found = self.insists(Method::GET, &format!("{ROLLOUTS}?q=name=={name}"), None).await;
                match found.done().and_then(|answer| answer.json()["content"][0]["id"].as_i64()) {
                    Some(id) => id,
                    None => return,
                }
            }
        };
        let path = format!("{ROLLOUTS}/{id}");
        let mut pauses = self.random.random_bool(0.5);
        let begin = Instant::now();
        loop {
            let shown = self.insists(Method::GET, &path, None).await;
            let Outcome::Done(shown) = shown else {
                return self.world.record.violated(format!("the rollout {name} is gone: {shown:?}"));
            };
            match shown.json()["status"].as_str().unwrap_or_default() {
                "ready" => drop(self.send(Method::POST, &format!("{path}/start"), None).await),
                "paused" => drop(self.send(Method::POST, &format!("{path}/resume"), None).await),
                "running" if pauses => {
                    pauses = false;
                    drop(self.send(Method::POST, &format!("{path}/pause"), None).await);
                }
                "finished" => return,
                _ => {}
            }
            for target in &targets {
                devices::step(&self.world, target, &mut self.random, false).await;
            }
            assert!(
                !self.world.is_ending() || begin.elapsed() < LAST + super::QUIET,
                "{name} does not end: {:?}",
                shown.json()
            );
        }
    }
}

/// Assigns, cancels, makes sets and targets.
pub async fn assign(world: Arc<World>, number: usize) {
    let mut operator = Operator::new(world.clone(), "operator", number);
    while !world.is_ending() {
        let target = world.targets.choose(&mut operator.random).expect("targets").clone();
        match operator.random.random_range(0..10) {
            0 => operator.makes_target().await,
            1..=2 => operator.cancels(&target).await,
            _ => operator.assigns(&target).await,
        }
        linger(Duration::from_millis(operator.random.random_range(10..200))).await;
    }
}

/// One rollout after the other.
pub async fn roll_out(world: Arc<World>, number: usize) {
    let mut operator = Operator::new(world.clone(), "roller", number);
    while !world.is_ending() {
        operator.runs_rollout().await;
    }
}
