//! Rules of the house that a compiler does not know (ARCHITECTURE.md, CONTRIBUTING.md), read from the source. What is
//! listed as an exception is there for its reason, and a list may only shrink: an entry that is no longer needed fails too.

mod source;

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

use crate::harness::{skip_visibly, workspace};

/// Which crates of ours each crate may use. Down only; the three APIs never see each other; `ql` and `db` see none.
const EDGES: [(&str, &[&str]); 9] = [
    (
        "kettle",
        &[
            "kettle-ddi",
            "kettle-mgmt",
            "kettle-dmf",
            "kettle-rest",
            "kettle-domain",
            "kettle-cluster",
            "kettle-db",
            "kettle-ql",
        ],
    ),
    ("kettle-ddi", &["kettle-rest", "kettle-domain"]),
    ("kettle-mgmt", &["kettle-rest", "kettle-domain"]),
    ("kettle-dmf", &["kettle-rest", "kettle-domain", "kettle-cluster"]),
    ("kettle-rest", &["kettle-domain"]),
    ("kettle-domain", &["kettle-cluster", "kettle-db", "kettle-ql"]),
    ("kettle-cluster", &["kettle-db"]),
    ("kettle-db", &[]),
    ("kettle-ql", &[]),
];

/// Libraries that are at home in some crates only.
const HOMES: [(&str, &[&str]); 5] = [
    ("axum", &["kettle", "kettle-ddi", "kettle-mgmt", "kettle-rest"]),
    ("lapin", &["kettle-dmf", "kettle-cluster"]),
    ("redis", &["kettle-cluster"]),
    ("sea-orm", &["kettle-db", "kettle-cluster", "kettle-domain"]),
    ("sqlx", &["kettle-db", "kettle-cluster"]),
];

/// SQL belongs into files named `store.rs`, and into `cluster` and `db`. These have some and should lose it.
const SQL_ELSEWHERE: [&str; 4] = [
    "crates/domain/src/actions/deployment.rs",
    "crates/domain/src/actions/mod.rs",
    "crates/domain/src/targets/view.rs",
    "crates/domain/src/totals.rs",
];

/// Statements on hawkBit's tables that name no tenant: how each begins, and why that is right.
const WITHOUT_TENANT: [(&str, &str); 6] = [
    ("INSERT INTO sp_lock", "locks are the server's, not a tenant's; the tenant is in their names"),
    ("DELETE FROM sp_lock", "as above"),
    ("INSERT INTO sp_rollout_target_group", "no tenant column; the targets and the group were selected for one tenant"),
    ("INSERT INTO sp_action_status_messages", "no tenant column; the statuses were inserted by the statement before"),
    (
        "SELECT action_status, detail_message FROM sp_action_status_messages",
        "no tenant column; the ids are of a read page",
    ),
    (
        "UPDATE sp_target SET last_target_query",
        "one batch for all tenants; the ids are of views read with their tenants",
    ),
];

const LINES: usize = 600;

#[test]
fn crates_see_only_what_lies_below_them() {
    let packages = packages();
    let expected: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(found, expected, "the crates under crates/");
    for (name, allowed) in EDGES {
        for used in dependencies(&packages, name).filter(|used| expected.contains(used)) {
            assert!(allowed.contains(&used), "{name} must not depend on {used}");
        }
    }
}

#[test]
fn libraries_stay_in_their_crates() {
    let packages = packages();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        for (library, homes) in HOMES {
            let used = dependencies(&packages, name).any(|used| used == library);
            assert!(!used || homes.contains(&name), "{name} must not depend on {library}");
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let silent = source::all().into_iter().filter(|file| !file.text.starts_with("//! ") && !file.is_test);
    fails_for(silent.map(|file| file.path), "these files do not open with `//!`");
}

#[test]
fn no_file_is_too_long() {
    let long = source::all().into_iter().filter(|file| file.text.lines().count() > LINES);
    fails_for(long.map(|file| file.path), "these files are over 600 lines; split them by behaviour");
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    const PANICS: [&str; 5] = [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "panic!("];
    let mut found = Vec::new();
    for file in source::all() {
        let panics = PANICS.into_iter().filter(|panic| file.code.contains(panic));
        found.extend(panics.map(|panic| format!("{}: {panic}", file.path)));
    }
    fails_for(found, "a panic in a poll is an outage");
}

#[test]
fn lints_are_silenced_with_a_reason() {
    let mut found = Vec::new();
    for file in source::all() {
        let allowed = file.code.contains("#[allow(") || file.code.contains("#![allow(");
        let expected = file.code.matches("[expect(").count();
        let reasons = file.code.matches("reason = \"").count();
        if allowed || reasons < expected {
            found.push(file.path);
        }
    }
    fails_for(found, "write #[expect(lint, reason = \"...\")], never #[allow]");
}

#[test]
fn sql_lies_in_stores() {
    let files = source::all().into_iter().filter(|file| {
        let at_home = file.path.ends_with("/store.rs")
            || ["crates/db/", "crates/cluster/"].iter().any(|c| file.path.starts_with(c));
        !at_home && file.statements().next().is_some()
    });
    let found: BTreeSet<String> = files.map(|file| file.path).collect();
    let known: BTreeSet<String> = SQL_ELSEWHERE.map(str::to_owned).into();
    fails_for(found.difference(&known), "SQL belongs into a store.rs; these files have some");
    fails_for(known.difference(&found), "these have none any more: take them off the list");
}

#[test]
fn statements_on_the_tables_of_the_peer_name_the_tenant() {
    let mut unknown = Vec::new();
    let mut needed = BTreeSet::new();
    for file in source::all() {
        let statements = file.statements().filter(|sql| sql.contains("sp_") && !sql.contains("tenant"));
        for sql in statements {
            match WITHOUT_TENANT.iter().find(|(beginning, _)| sql.starts_with(beginning)) {
                Some((beginning, _)) => _ = needed.insert(*beginning),
                None => unknown.push(format!("{}: {sql}", file.path)),
            }
        }
    }
    fails_for(unknown, "tenants never see each other: bind the tenant");
    let stale = WITHOUT_TENANT.iter().filter(|(beginning, _)| !needed.contains(beginning));
    fails_for(stale.map(|(beginning, _)| beginning), "no statement begins so any more: take it off the list");
}

/// A select that starts elsewhere would miss the caller's scope (docs/decisions/007).
#[test]
fn scoped_entities_are_selected_by_their_stores_alone() {
    let mut found = Vec::new();
    for file in source::all() {
        let of_domain = file.path.starts_with("crates/domain/src/");
        if of_domain && !file.path.ends_with("/store.rs") && file.code.contains("entity::Entity::find") {
            found.push(file.path);
        }
    }
    fails_for(found, "start from the store's of_tenant, with a scope");
}

#[test]
fn every_crate_is_on_the_map() {
    let map = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let crates = names_in("crates").into_iter().map(|name| format!("`crates/{name}`"));
    fails_for(crates.filter(|name| !map.contains(name)), "ARCHITECTURE.md does not name these");
}

#[test]
fn migrations_exist_for_every_engine_and_are_all_applied() {
    let expected: Vec<String> = (1..)
        .zip(kettle_db::migrate::ALL)
        .map(|(number, migration)| {
            assert_eq!(migration.version, number, "numbers have no gap");
            format!("{number:04}_{}.sql", migration.name)
        })
        .collect();
    assert_eq!(names_in("migrations"), ["postgres", "sqlite"]);
    for engine in ["postgres", "sqlite"] {
        assert_eq!(names_in(&format!("migrations/{engine}")), expected, "{engine}");
    }
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let out = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(workspace()).output();
    let Some(out) = out.ok().filter(|out| out.status.success()) else {
        return skip_visibly("the search for machine paths", "this is no git repository");
    };
    let machine = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let files = String::from_utf8(out.stdout).unwrap();
    let named = files.lines().filter(|file| {
        // Binary files and files deleted but not yet committed have no text.
        let text = std::fs::read_to_string(workspace().join(file)).unwrap_or_default();
        machine.iter().any(|path| text.contains(path.as_str()))
    });
    fails_for(named, "these files name a path that exists on one machine only");
}

/// The packages under `crates/`, as cargo knows them.
fn packages() -> Vec<Value> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let Value::Array(mut packages) = metadata["packages"].take() else { panic!("no packages") };
    let crates = workspace().join("crates");
    packages.retain(|package| Path::new(package["manifest_path"].as_str().unwrap()).starts_with(&crates));
    packages
}

/// What a package depends on, also for its tests and its build.
fn dependencies<'a>(packages: &'a [Value], name: &str) -> impl Iterator<Item = &'a str> {
    let package = packages.iter().find(|package| package["name"] == name).unwrap();
    package["dependencies"].as_array().unwrap().iter().map(|used| used["name"].as_str().unwrap())
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(workspace().join(folder)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn fails_for(found: impl IntoIterator<Item: ToString>, why: &str) {
    let found: Vec<String> = found.into_iter().map(|one| one.to_string()).collect();
    assert!(found.is_empty(), "{why}:\n  {}", found.join("\n  "));
}
