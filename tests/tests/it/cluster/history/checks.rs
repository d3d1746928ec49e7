//! What has to hold when all is mended and quiet, by the tables and by the Management API.

use std::collections::HashSet;

use kettle_db::sea_orm::QueryResult;
use reqwest::Method;

use super::{
    World, commands,
    record::{Word, call},
};
use crate::{cluster::ROLLOUTS, harness::Store};

/// Statuses that end an action: FINISHED, ERROR, CANCELED.
const ENDS: &str = "(0, 1, 4)";

/// Actions that are active, rollouts at work, and what gateways have not been told; `None` if there is none of all that.
pub async fn under_way(store: &Store) -> Option<String> {
    let left = "SELECT 'action ' || a.id || ' of ' || t.controller_id || ' in status ' || a.status AS k FROM sp_action a \
                JOIN sp_target t ON t.id = a.target WHERE a.active = true \
                UNION ALL SELECT 'rollout ' || name || ' in status ' || status FROM sp_rollout WHERE status NOT IN (1, 6) \
                UNION ALL SELECT 'service event ' || id || ' ' || payload FROM kt_service_event";
    let left: Vec<String> = store.rows(left, []).await.iter().map(key).collect();
    (!left.is_empty()).then(|| left.join(", "))
}

pub async fn all(world: &World, store: &Store, logs: &[String]) {
    let mut wrong = world.record.violations();
    wrong.extend(written(world, store).await);
    wrong.extend(tables(store).await);
    wrong.extend(shown(world, store).await);
    wrong.extend(commands::missing(world, store).await);
    wrong.extend(idle(world, store).await);
    for (node, log) in logs.iter().enumerate() {
        let panics = log.lines().filter(|line| line.contains("panicked"));
        wrong.extend(panics.map(|line| format!("node {node}: {line}")));
    }
    let summary = world.record.write(|w| {
        format!(
            "{} sets, {} targets, {} rollouts, {} assignments, {} cancelations, {} reports, {} polls, {} commands; what polls did \
             not show yet was known for {:?}",
            w.sets.len(),
            w.targets.len(),
            w.rollouts.len(),
            w.assignments.len(),
            w.cancelations.len(),
            w.reports.len(),
            w.polls,
            w.commands.len(),
            w.stalest
        )
    });
    eprintln!("{summary}");
    if !wrong.is_empty() {
        for (node, log) in logs.iter().enumerate() {
            let told = log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
            let told: Vec<&str> = told.collect();
            eprintln!("node {node} warned:\n{}", told[told.len().saturating_sub(60)..].join("\n"));
        }
    }
    assert!(
        wrong.is_empty(),
        "KETTLE_SEED={}: {} things are wrong ({summary}):\n{}",
        world.seed,
        wrong.len(),
        wrong.join("\n")
    );
}

/// What was acknowledged is there once, what was refused is not, of the rest nothing is there twice.
async fn written(world: &World, store: &Store) -> Vec<String> {
    let mut wrong = Vec::new();
    let sets = count(store, "SELECT name AS k, count(*) AS n FROM sp_distribution_set GROUP BY name").await;
    let targets = count(store, "SELECT controller_id AS k, count(*) AS n FROM sp_target GROUP BY controller_id").await;
    let rollouts = count(store, "SELECT name AS k, count(*) AS n FROM sp_rollout GROUP BY name").await;
    let reports = "SELECT m.detail_message AS k, count(*) AS n FROM sp_action_status_messages m \
                   WHERE m.detail_message LIKE 'report %' GROUP BY m.detail_message";
    let reports = count(store, reports).await;
    let assigned = "SELECT t.controller_id || ' ' || a.distribution_set AS k, count(*) AS n FROM sp_action a \
                    JOIN sp_target t ON t.id = a.target WHERE a.rollout IS NULL GROUP BY 1";
    let assigned = count(store, assigned).await;
    let actions = "SELECT CAST(a.id AS text) || ' ' || t.controller_id || ' ' || a.distribution_set AS k, \
                   CAST(1 AS bigint) AS n FROM sp_action a JOIN sp_target t ON t.id = a.target";
    let actions = count(store, actions).await;
    let canceling = "SELECT CAST(action AS text) AS k, count(*) AS n FROM sp_action_status WHERE status = 5 GROUP BY 1";
    let canceling = count(store, canceling).await;
    world.record.write(|record| {
        let mut check = |what: &str, found: Option<&i64>, word: Word| {
            let found = found.copied().unwrap_or(0);
            let right = match word {
                Word::Done => found == 1,
                Word::Refused => found == 0,
                Word::Unknown => found <= 1,
            };
            if !right {
                wrong.push(format!("{what} was {word:?}, and is there {found} times"));
            }
        };
        for (name, word) in &record.sets {
            check(&format!("the set {name}"), sets.get(name), *word);
        }
        for (id, word) in &record.targets {
            check(&format!("the target {id}"), targets.get(id), *word);
        }
        for (name, word) in &record.rollouts {
            check(&format!("the rollout {name}"), rollouts.get(name), *word);
        }
        for (text, (action, word)) in &record.reports {
            check(&format!("{text} on {action}"), reports.get(text), *word);
        }
        for ((target, set), assignment) in &record.assignments {
            let found = assigned.get(&format!("{target} {set}"));
            check(&format!("the assignment of {set} to {target}"), found, assignment.word);
            if let Some((action, _)) = assignment.done {
                let key = format!("{action} {target} {set}");
                check(&format!("the action {key}"), actions.get(&key), Word::Done);
            }
        }
        for (action, (word, _)) in record.cancelations.iter().filter(|(_, (word, _))| *word == Word::Done) {
            check(&format!("the cancelation of {action}"), canceling.get(&action.to_string()), *word);
        }
    });
    wrong
}

/// By the tables alone: each of these finds nothing.
async fn tables(store: &Store) -> Vec<String> {
    // hawkBit: a cancelation that is confirmed again, or when it is over, is noted again.
    let ends = format!(
        "SELECT count(DISTINCT CASE WHEN s.status = 4 THEN 0 ELSE s.id END) \
         FROM sp_action_status s WHERE s.action = a.id AND s.status IN {ENDS}"
    );
    let started = "SELECT count(*) FROM sp_action_status s WHERE s.action = a.id AND s.status = 3 AND NOT EXISTS \
                   (SELECT 1 FROM sp_action_status_messages m WHERE m.action_status = s.id AND m.detail_message LIKE 'report %')";
    let checks = [
        (
            "actions that did not end once",
            format!(
                "SELECT a.id || ' of ' || t.controller_id || ' (' || (SELECT string_agg(CAST(s.status AS text), ' ' \
                 ORDER BY s.id) FROM sp_action_status s WHERE s.action = a.id) || ')' AS k FROM sp_action a \
                 JOIN sp_target t ON t.id = a.target WHERE ({ends}) <> 1"
            ),
        ),
        (
            "actions whose last word is not their status",
            format!(
                "SELECT CAST(a.id AS text) AS k FROM sp_action a WHERE a.active = true OR NOT EXISTS \
                 (SELECT 1 FROM sp_action_status s WHERE s.action = a.id AND s.status = a.status AND s.status IN {ENDS})"
            ),
        ),
        (
            "targets with two actions of one rollout",
            "SELECT t.controller_id AS k FROM sp_action a JOIN sp_target t ON t.id = a.target WHERE a.rollout IS NOT NULL \
             GROUP BY t.controller_id, a.rollout HAVING count(*) > 1"
                .to_owned(),
        ),
        (
            "members of groups without an action",
            "SELECT CAST(m.target AS text) AS k FROM sp_rollout_target_group m JOIN sp_rollout_group g \
             ON g.id = m.rollout_group JOIN sp_rollout r ON r.id = g.rollout WHERE r.status = 6 AND NOT EXISTS \
             (SELECT 1 FROM sp_action a WHERE a.target = m.target AND a.rollout_group = g.id)"
                .to_owned(),
        ),
        // Kept for five minutes; after that, by the job that looks every minute, they go. Short runs have none that old.
        (
            "rows of the outbox that should be gone",
            "SELECT CAST(id AS text) AS k FROM kt_outbox \
             WHERE created_at < extract(epoch FROM clock_timestamp()) * 1000 - 420000"
                .to_owned(),
        ),
        (
            "actions of rollouts that were not started once",
            format!("SELECT CAST(a.id AS text) AS k FROM sp_action a WHERE a.rollout IS NOT NULL AND ({started}) <> 1"),
        ),
        (
            "groups of finished rollouts that are not finished, or have other totals than targets",
            "SELECT g.name AS k FROM sp_rollout_group g JOIN sp_rollout r ON r.id = g.rollout WHERE r.status = 6 AND \
             (g.status <> 2 OR g.total_targets <> \
             (SELECT count(*) FROM sp_rollout_target_group m WHERE m.rollout_group = g.id))"
                .to_owned(),
        ),
        (
            "groups that began before the one before was over",
            format!(
                "SELECT g.name AS k FROM sp_rollout_group g JOIN sp_action a ON a.rollout_group = g.id \
                 JOIN sp_action_status s ON s.action = a.id AND s.status = 3 WHERE g.parent IS NOT NULL AND EXISTS \
                 (SELECT 1 FROM sp_action b JOIN sp_action_status e ON e.action = b.id AND e.status IN {ENDS} \
                 WHERE b.rollout_group = g.parent AND e.id > s.id)"
            ),
        ),
        (
            "targets whose installed set is none of their finished actions",
            "SELECT t.controller_id AS k FROM sp_target t WHERE t.installed_distribution_set IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM sp_action a WHERE a.target = t.id AND a.distribution_set = t.installed_distribution_set \
             AND a.status = 0)"
                .to_owned(),
        ),
        (
            "targets that are pending, though nothing is under way",
            "SELECT t.controller_id AS k FROM sp_target t WHERE t.update_status = 2".to_owned(),
        ),
        (
            "service events that nobody has taken",
            "SELECT id || ' ' || payload AS k FROM kt_service_event".to_owned(),
        ),
        (
            "kept totals that are off",
            "SELECT name AS k FROM kt_total WHERE name = 'targets' GROUP BY name \
             HAVING sum(delta) <> (SELECT count(*) FROM sp_target)"
                .to_owned(),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, sql) in checks {
        let found: Vec<String> = store.rows(&sql, []).await.iter().map(key).collect();
        if !found.is_empty() {
            wrong.push(format!("{what}: {}", found.join(", ")));
        }
    }
    wrong
}

/// What was done, how often, and how often at least. What was not done proves nothing.
type Done = (&'static str, usize, usize);

/// The least is for the time of a short run, a fifth or less of what two busy cores do.
fn times(world: &World) -> usize {
    usize::try_from(world.duration.as_secs() / super::SHORT.as_secs()).unwrap().max(1)
}

fn answered(world: &World) -> [Done; 6] {
    let times = times(world);
    world.record.write(|written| {
        let words = |words: &mut dyn Iterator<Item = Word>| words.filter(|word| *word == Word::Done).count();
        let told = |cancels: bool| {
            let commands = written.commands.iter().filter(|command| command.cancels == cancels);
            commands.map(|command| command.action).collect::<HashSet<_>>().len()
        };
        [
            ("assignments were acknowledged", words(&mut written.assignments.values().map(|it| it.word)), 40 * times),
            (
                "cancelations were acknowledged",
                words(&mut written.cancelations.values().map(|(word, _)| *word)),
                2 * times,
            ),
            ("reports were acknowledged", words(&mut written.reports.values().map(|(_, word)| *word)), 70 * times),
            ("polls were answered", written.polls, 600 * times),
            ("actions were told to gateways", told(false), times),
            ("cancelations were told to gateways", told(true), times),
        ]
    })
}

/// Whether all is done that has to be answered to prove something.
pub fn is_enough(world: &World) -> bool {
    answered(world).iter().all(|(_, count, least)| count >= least)
}

async fn idle(world: &World, store: &Store) -> Vec<String> {
    let number = async |sql: &str| usize::try_from(store.number(sql).await).unwrap();
    let finished = number("SELECT count(*) AS n FROM sp_action WHERE status = 0").await;
    let rollouts = number("SELECT count(*) AS n FROM sp_rollout WHERE status = 6").await;
    let times = times(world);
    let ended: [Done; 2] =
        [("actions were finished", finished, 40 * times), ("rollouts were finished", rollouts, 2 * times)];
    let done = [&answered(world)[..], &ended].concat();
    let counts: Vec<String> = done.iter().map(|(what, count, _)| format!("{count} {what}")).collect();
    eprintln!("{}", counts.join(", "));
    let too_few = done.iter().filter(|(_, count, least)| count < least);
    too_few.map(|(what, count, least)| format!("only {count} {what}, of {least} at least")).collect()
}

/// What the API says of it, on each node.
async fn shown(world: &World, store: &Store) -> Vec<String> {
    let mut wrong = Vec::new();
    let targets = store.number("SELECT count(*) AS n FROM sp_target").await;
    let rollouts = store.rows("SELECT CAST(id AS text) AS k FROM sp_rollout WHERE status = 6", []).await;
    for (number, node) in world.nodes.iter().enumerate() {
        let get = async |path: &str| {
            let answer = call(node, &node.admin, Method::GET, path, None).await;
            answer.done().unwrap_or_else(|| panic!("node {number} does not answer {path}")).json()
        };
        let total = get("/rest/v1/targets?limit=1").await["total"].as_i64();
        if total != Some(targets) {
            wrong.push(format!("node {number} says that there are {total:?} targets of {targets}"));
        }
        for rollout in rollouts.iter().map(key) {
            let shown = get(&format!("{ROLLOUTS}/{rollout}")).await;
            let counts = shown["totalTargetsPerStatus"].as_object().expect("counts");
            let sum: i64 = counts.values().filter_map(|count| count.as_i64()).sum();
            if Some(sum) != shown["totalTargets"].as_i64() || shown["totalTargetsPerStatus"]["finished"] != sum {
                wrong.push(format!("node {number} counts otherwise: {shown}"));
            }
        }
        for target in &world.targets {
            let answer = call(node, &node.admin, Method::GET, &format!("/rest/v1/targets/{}", target.id), None).await;
            if answer.word() != Word::Done {
                wrong.push(format!("node {number} does not show {}", target.id));
            }
        }
    }
    wrong
}

fn key(row: &QueryResult) -> String {
    row.try_get("", "k").unwrap()
}

/// `k` and `n` of each row.
async fn count(store: &Store, sql: &str) -> std::collections::HashMap<String, i64> {
    store.rows(sql, []).await.iter().map(|row| (key(row), row.try_get("", "n").unwrap())).collect()
}
