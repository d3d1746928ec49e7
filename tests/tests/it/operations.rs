//! All operations of both APIs, each with what it takes, and two walks over them: who may do it, and that nobody reaches
//! into another tenant by it. The table names every operation that the peer documents: a test compares them.

mod permissions;
mod table;
mod tenants;
mod world;

use std::collections::BTreeSet;

use crate::harness::workspace;
use table::{NOT_YET, OPERATIONS};

/// The documented operations, one `METHOD path` a line.
const DOCUMENTED: &str = include_str!("operations/documented.txt");

#[test]
fn the_table_holds_every_documented_operation() {
    let documented: BTreeSet<&str> = DOCUMENTED.lines().collect();
    let known: Vec<String> = OPERATIONS.iter().map(|o| format!("{} {}", o.method, o.path)).collect();
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert_eq!((documented.len(), OPERATIONS.len()), (169, 169));
    assert_eq!(known, documented);
}

/// An operation that is skipped is one that is not routed: the list shrinks when a route is added.
#[test]
fn what_is_not_served_yet_has_no_route() {
    let mut routes = String::new();
    for krate in ["mgmt", "ddi"] {
        for entry in std::fs::read_dir(workspace().join("crates").join(krate).join("src")).unwrap() {
            routes += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    for prefix in NOT_YET.iter().filter(|entry| entry.ends_with('*')) {
        let resource = prefix.trim_end_matches('*').trim_end_matches('/');
        assert!(!routes.contains(&format!("path = \"{resource}\"")), "{resource} is served: take it off the list");
    }
}
