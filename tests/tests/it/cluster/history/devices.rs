//! Simulated devices: they poll through the load balancer, download, report, and say again what was not heard.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    World,
    record::{Outcome, Target, call},
};
use crate::harness::linger;

/// What the sets' one file holds.
pub const CONTENT: &[u8] = b"what a device installs";
pub const FILE: &str = "a.bin";

/// A target that operators assign to by hand.
pub async fn live(world: Arc<World>, target: Arc<Target>) {
    let mut random = StdRng::seed_from_u64(world.seed ^ target.id.bytes().fold(7, |sum, b| sum * 31 + u64::from(b)));
    while !world.is_over() {
        step(&world, &target, &mut random, true).await;
        linger(Duration::from_millis(random.random_range(40..250))).await;
    }
}

/// A poll and what it asks for. `moody`: it may fail, and may leave things for later as long as operators are at work.
pub async fn step(world: &World, target: &Target, random: &mut StdRng, moody: bool) {
    let device = world.client.device(&target.id);
    let (expected, asked) = (target.asked(), Instant::now());
    let polled = call(&world.client, &device.authorization, Method::GET, &device.root, None).await;
    let answer = match polled {
        Outcome::Done(answer) => answer,
        Outcome::Refused(answer) => {
            return world.record.violated(format!("the poll of {} was answered {}", target.id, answer.status));
        }
        Outcome::Unknown => return,
    };
    world.record.write(|written| written.polls += 1);
    let poll = answer.json();
    let (offered, canceled) = (action_of(&poll, "deploymentBase"), action_of(&poll, "cancelAction"));
    target.judge(&world.record, &answer, expected, asked, (offered, canceled));
    let hesitates = moody && !world.is_ending() && random.random_bool(0.4);
    if let Some(action) = canceled
        && !hesitates
    {
        report(world, target, action, "cancelAction", "closed", "success").await;
    } else if let Some(action) = offered {
        if random.random_bool(0.3) {
            download(world, target, action).await;
        }
        if random.random_bool(0.4) {
            report(world, target, action, "deploymentBase", "proceeding", "none").await;
        }
        if !hesitates {
            let fails = moody && random.random_bool(0.15);
            let result = if fails { "failure" } else { "success" };
            report(world, target, action, "deploymentBase", "closed", result).await;
        }
    }
}

async fn report(world: &World, target: &Target, action: i64, of: &str, execution: &str, finished: &str) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let text = format!("report {}", COUNT.fetch_add(1, Ordering::Relaxed));
    let device = world.client.device(&target.id);
    let status = json!({"execution": execution, "result": {"finished": finished}, "details": [text.as_str()]});
    let closes = execution == "closed";
    if closes {
        target.closes(action);
    }
    let path = format!("{}/{of}/{action}/feedback", device.root);
    let body = Some(json!({"status": status}));
    let sent = call(&world.client, &device.authorization, Method::POST, &path, body).await;
    if closes && sent.word() == super::record::Word::Done {
        target.has_closed(action);
    }
    // What was canceled, or closed in its stead, meanwhile is gone.
    if let Outcome::Refused(answer) = &sent
        && ![404, 410].contains(&answer.status)
    {
        world.record.violated(format!("{}: {text} on {action} was answered {}", target.id, answer.status));
    }
    world.record.write(|written| written.reports.insert(text, (action, sent.word())));
}

async fn download(world: &World, target: &Target, action: i64) {
    let device = world.client.device(&target.id);
    let path = format!("{}/deploymentBase/{action}", device.root);
    let got = call(&world.client, &device.authorization, Method::GET, &path, None).await;
    let Some(base) = got.done().map(|answer| answer.json()) else { return };
    let Some(link) = base["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download-http"]["href"].as_str() else {
        return world.record.violated(format!("{}: no download in {base}", target.id));
    };
    let path = link.strip_prefix(&world.client.base).expect("a link through the load balancer");
    match call(&world.client, &device.authorization, Method::GET, path, None).await {
        Outcome::Done(answer) if answer.bytes != CONTENT => {
            world.record.violated(format!("{}: another content of {path}", target.id));
        }
        // The action may have ended meanwhile.
        Outcome::Refused(answer) if answer.status != 404 => {
            world.record.violated(format!("{}: the download {path} was answered {}", target.id, answer.status));
        }
        _ => {}
    }
}

fn action_of(poll: &Value, link: &str) -> Option<i64> {
    let href = poll["_links"][link]["href"].as_str()?;
    href.rsplit('/').next()?.split('?').next()?.parse().ok()
}
