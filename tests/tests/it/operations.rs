//! All operations of both APIs, each with what it takes, and two walks over them: who may do it, and that nobody reaches
//! into another tenant by it. The table names every operation that the peer documents: a test compares them.

mod permissions;
mod table;
mod tenants;
mod world;

use std::collections::BTreeSet;

use table::OPERATIONS;

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
