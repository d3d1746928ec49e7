//! What operators do to a fleet: sets, assignments, rollouts, filters that assign; and what devices report of it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::load::{self, Load, Outcome, now};
use crate::server::{GATEWAY_AUTHORIZATION, Server, exchange, management_request, send_json};

/// As many as one request may assign.
const TARGETS_PER_ASSIGNMENT: usize = 5_000;
const FEEDBACK: &str = r#"{"status":{"execution":"closed","result":{"finished":"success"}}}"#;
/// Between two looks at a rollout that is to get somewhere.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A complete distribution set of that name.
pub async fn create_set(kettle: &Server, name: &str) -> Result<u64> {
    let modules = json!([{ "name": name, "version": "1", "type": "os" }]);
    let modules = send_json(kettle, "POST", "/rest/v1/softwaremodules", &modules).await?;
    let module = modules.pointer("/0/id").context("the software module has no id")?;
    let sets = json!([{ "name": name, "version": "1", "type": "os", "modules": [{ "id": module }] }]);
    let sets = send_json(kettle, "POST", "/rest/v1/distributionsets", &sets).await?;
    sets.pointer("/0/id").and_then(Value::as_u64).context("the distribution set has no id")
}

pub async fn assign(kettle: &Server, set: u64, targets: &[String]) -> Result<()> {
    let path = format!("/rest/v1/distributionsets/{set}/assignedTargets");
    for batch in targets.chunks(TARGETS_PER_ASSIGNMENT) {
        let wanted: Vec<_> = batch.iter().map(|id| json!({ "id": id, "type": "forced" })).collect();
        send_json(kettle, "POST", &path, &Value::Array(wanted)).await?;
    }
    Ok(())
}

/// A device's id and what it has to do.
pub type Work = (String, u64);

/// The actions that a search finds; nothing may change them meanwhile.
pub async fn actions(kettle: &Server, search: &str) -> Result<Vec<Work>> {
    let mut actions = Vec::new();
    loop {
        let search = search.replace('=', "%3D").replace(';', "%3B");
        let offset = actions.len();
        let path = format!("/rest/v1/actions?representation=full&limit=500&sort=id:ASC&q={search}&offset={offset}");
        let page = get(kettle, &path).await?;
        for action in page.get("content").and_then(Value::as_array).context("a list without content")? {
            let id = action.get("id").and_then(Value::as_u64).context("an action without an id")?;
            let target = action.pointer("/_links/target/href").and_then(Value::as_str);
            let (_, name) = target.and_then(|href| href.rsplit_once('/')).context("an action without a target")?;
            actions.push((name.to_owned(), id));
        }
        let total = page.get("total").and_then(Value::as_u64).context("a list without a total")?;
        if actions.len() as u64 >= total {
            return Ok(actions);
        }
        ensure!(actions.len() > offset, "a page of actions is empty, though there are more");
    }
}

/// The devices report success, each once.
pub async fn report_success(kettle: &Server, connections: u64, work: Vec<Work>) -> Result<Outcome> {
    let requests = work.len() as u64;
    let load = Load { address: kettle.address, connections, requests, time: Duration::ZERO };
    let write = move |number: u64, request: &mut Vec<u8>| {
        let Some((target, action)) = work.get(number as usize) else { return };
        request.extend_from_slice(
            format!(
                "POST /DEFAULT/controller/v1/{target}/deploymentBase/{action}/feedback HTTP/1.1\r\n\
                 Host: 127.0.0.1\r\nAuthorization: {GATEWAY_AUTHORIZATION}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{FEEDBACK}",
                FEEDBACK.len()
            )
            .as_bytes(),
        );
    };
    load::run(load, write).await
}

/// Filters that assign the set to targets whose ids begin with `auto-NUMBER-`.
pub async fn create_filters(kettle: &Server, count: u64, set: u64) -> Result<()> {
    let load = Load { address: kettle.address, connections: 4, requests: count, time: Duration::ZERO };
    let post = |request: &mut Vec<u8>, path: &str, body: &str| {
        management_request(request, "POST", path, Some(("application/json", body.len() as u64)));
        request.extend_from_slice(body.as_bytes());
    };
    load::run(load, move |number, request| {
        let body = format!(r#"{{"name":"auto {number}","query":"controllerId==auto-{number:05}-*;name!=broken"}}"#);
        post(request, "/rest/v1/targetfilters", &body);
    })
    .await?;
    let mut ids = Vec::new();
    while (ids.len() as u64) < count {
        let path = format!("/rest/v1/targetfilters?limit=500&sort=id:ASC&offset={}", ids.len());
        let page = get(kettle, &path).await?;
        let filters = page.get("content").and_then(Value::as_array).context("a list without content")?;
        ensure!(!filters.is_empty(), "fewer filters than were created");
        ids.extend(filters.iter().filter_map(|filter| filter.get("id")?.as_u64()));
    }
    load::run(load, move |number, request| {
        let Some(id) = ids.get(number as usize) else { return };
        let body = format!(r#"{{"id":{set},"type":"forced"}}"#);
        post(request, &format!("/rest/v1/targetfilters/{id}/autoAssignDS"), &body);
    })
    .await?;
    Ok(())
}

/// A rollout of a set to all targets.
pub struct Rollout<'a> {
    kettle: &'a Server,
    pub id: u64,
    /// How many targets each group has.
    pub groups: Vec<u64>,
    within: Duration,
}

/// How many of a rollout's targets are in these states.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub scheduled: u64,
    pub running: u64,
}

impl<'a> Rollout<'a> {
    /// Creates it and waits until it is ready; also how long that took. `within` bounds this and every later step.
    pub async fn create(kettle: &'a Server, set: u64, groups: u64, within: Duration) -> Result<(Self, Duration)> {
        let started = now();
        let body = json!({
            "name": format!("rollout of set {set}"),
            "distributionSetId": set,
            "targetFilterQuery": "controllerId==*",
            "amountGroups": groups,
        });
        let rollout = send_json(kettle, "POST", "/rest/v1/rollouts", &body).await?;
        let id = rollout.get("id").and_then(Value::as_u64).context("the rollout has no id")?;
        let mut rollout = Self { kettle, id, groups: Vec::new(), within };
        rollout.until("ready", |_| true).await?;
        let elapsed = started.elapsed();
        let path = format!("/rest/v1/rollouts/{id}/deploygroups?limit=500&sort=id:ASC");
        let page = get(kettle, &path).await?;
        let found = page.get("content").and_then(Value::as_array).context("a list without content")?;
        rollout.groups = found.iter().filter_map(|group| group.get("totalTargets")?.as_u64()).collect();
        ensure!(rollout.groups.len() as u64 == groups, "the rollout has {} groups", rollout.groups.len());
        Ok((rollout, elapsed))
    }

    /// Starts it; returns how long it took until the first group's actions were active and all others scheduled.
    pub async fn start(&self) -> Result<Duration> {
        let started = now();
        self.call("POST", "/start").await?;
        let (first, all) = (self.first(1), self.first(self.groups.len()));
        self.until("running", |counts| counts.running == first && counts.scheduled == all - first).await?;
        Ok(started.elapsed())
    }

    /// How many targets the first groups have.
    pub fn first(&self, groups: usize) -> u64 {
        self.groups.iter().take(groups).sum()
    }

    /// What the devices of its started groups have to do.
    pub async fn work(&self) -> Result<Vec<Work>> {
        actions(self.kettle, &format!("rollout.id=={};active==true", self.id)).await
    }

    /// How long it takes until the first groups, that many, are started.
    pub async fn until_started(&self, groups: usize) -> Result<Duration> {
        let started = now();
        let waiting = self.first(self.groups.len()) - self.first(groups);
        self.until("running", |counts| counts.scheduled == waiting).await?;
        Ok(started.elapsed())
    }

    pub async fn stop(&self) -> Result<Duration> {
        let started = now();
        self.call("POST", "/stop").await?;
        self.until("stopped", |counts| counts.scheduled == 0).await?;
        Ok(started.elapsed())
    }

    pub async fn delete(&self) -> Result<Duration> {
        let started = now();
        self.call("DELETE", "").await?;
        self.until("deleted", |_| true).await?;
        Ok(started.elapsed())
    }

    pub fn path(&self) -> String {
        format!("/rest/v1/rollouts/{}", self.id)
    }

    async fn call(&self, method: &str, verb: &str) -> Result<()> {
        let mut request = Vec::new();
        management_request(&mut request, method, &format!("{}{verb}", self.path()), None);
        exchange(self.kettle, &request).await.with_context(|| format!("{method} {verb}")).map(drop)
    }

    async fn until(&self, status: &str, holds: impl Fn(Counts) -> bool) -> Result<()> {
        let started = now();
        // Looking must not be part of what is measured: the list in short form counts nothing. It hides what is deleted.
        let list = format!("/rest/v1/rollouts?q=id=={}", self.id);
        while status != "deleted"
            && started.elapsed() < self.within
            && get(self.kettle, &list).await?.pointer("/content/0/status").and_then(Value::as_str) != Some(status)
        {
            sleep(LOOK_EVERY).await;
        }
        loop {
            let rollout = get(self.kettle, &self.path()).await?;
            let count =
                |state: &str| rollout.pointer(&format!("/totalTargetsPerStatus/{state}")).and_then(Value::as_u64);
            let counts = match (count("scheduled"), count("running")) {
                (Some(scheduled), Some(running)) => Counts { scheduled, running },
                _ => bail!("a rollout without its counters: {rollout}"),
            };
            let is = rollout.get("status").and_then(Value::as_str).unwrap_or_default();
            if is == status && holds(counts) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < self.within,
                "the rollout isn't {status} within {:?}: it is {is}, {counts:?}",
                self.within
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

async fn get(kettle: &Server, path: &str) -> Result<Value> {
    let mut request = Vec::new();
    management_request(&mut request, "GET", path, None);
    exchange(kettle, &request).await.with_context(|| path.to_owned())
}
