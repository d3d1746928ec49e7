//! Who may do what: each operation with exactly what it needs, with all but one thing of that, and without a login.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    table::{Needs, OPERATIONS, Operation},
    world::World,
};
use crate::harness::{Engine, Server, basic};

const FORBIDDEN: &str = "hawkbit.server.error.insufficientPermission";

#[tokio::test]
async fn an_operation_takes_exactly_its_permissions() {
    let users = Users::of_the_table();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let settings = users.settings();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = Server::start_with(engine, &settings).await;
        let world = World::create(&server, "DEFAULT", basic("admin", "x"), "a").await;
        let mut failed = Vec::new();
        for operation in OPERATIONS {
            let answer = world.ask(&server, operation, None).await;
            if answer.status != 401 {
                failed.push(format!("{} without a login: {}", operation.name(), answer.status));
            }
            for missing in clauses(operation) {
                let login = basic(&users.without[missing], "x");
                let answer = world.ask(&server, operation, Some(&login)).await;
                let key = answer.bytes.starts_with(b"{").then(|| answer.json()["errorCode"].clone());
                if answer.status != 403 || key != Some(FORBIDDEN.into()) {
                    failed.push(format!("{} without {missing}: {}", operation.name(), answer.status));
                }
            }
        }
        for operation in in_order(OPERATIONS.iter().collect()) {
            let login = match operation.needs {
                Needs::Device => world.device(),
                Needs::Permissions(needs) => basic(&users.only[&key(needs)], "x"),
            };
            let answer = world.ask(&server, operation, Some(&login)).await;
            if !(200..300).contains(&answer.status) && !UNSUITED.contains(&operation.name().as_str()) {
                let body = String::from_utf8_lossy(&answer.bytes);
                failed.push(format!("{} with what it needs: {} {body}", operation.name(), answer.status));
            } else if matches!(answer.status, 401 | 403) {
                failed.push(format!("{} with what it needs: {}", operation.name(), answer.status));
            }
        }
        assert!(failed.is_empty(), "{engine:?}:\n  {}", failed.join("\n  "));
    }
}

/// What the walk's own state does not suit; the answer is any but a refusal.
const UNSUITED: [&str; 18] = [
    // The invalidation of its set has the action under cancellation already.
    "DELETE /rest/v1/targets/{targetId}/actions/{actionId}",
    // The action does not wait for a confirmation.
    "GET /{tenant}/controller/v1/{controllerId}/confirmationBase/{actionId}",
    "POST /{tenant}/controller/v1/{controllerId}/confirmationBase/{actionId}/feedback",
    "PUT /rest/v1/targets/{targetId}/actions/{actionId}/confirmation",
    // The action is not under cancellation.
    "GET /{tenant}/controller/v1/{controllerId}/cancelAction/{actionId}",
    "POST /{tenant}/controller/v1/{controllerId}/cancelAction/{actionId}/feedback",
    // The type is a mandatory one.
    "GET /rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes/{softwareModuleTypeId}",
    // Nothing is installed.
    "GET /{tenant}/controller/v1/{controllerId}/installedBase/{actionId}",
    // The rollout waits for no approval.
    "POST /rest/v1/rollouts/{rolloutId}/approve",
    "POST /rest/v1/rollouts/{rolloutId}/deny",
    // It has not been started, is not paused, and is not over.
    "POST /rest/v1/rollouts/{rolloutId}/pause",
    "POST /rest/v1/rollouts/{rolloutId}/resume",
    "POST /rest/v1/rollouts/{rolloutId}/triggerNextGroup",
    "POST /rest/v1/rollouts/{rolloutId}/retry",
    // The set and its module are locked: they are deployed.
    "POST /rest/v1/distributionsets/{distributionSetId}/assignedSM",
    "DELETE /rest/v1/distributionsets/{distributionSetId}/assignedSM/{softwareModuleId}",
    "POST /rest/v1/softwaremodules/{softwareModuleId}/artifacts",
    "DELETE /rest/v1/softwaremodules/{softwareModuleId}/artifacts/{artifactId}",
];

/// What reads first, what deletes last, and of that the outermost last.
fn in_order(mut operations: Vec<&Operation>) -> Vec<&Operation> {
    // Nothing can be done with an invalid set but to delete it.
    let method = |o: &Operation| if o.path.ends_with("/invalidate") { "DELETE" } else { o.method };
    let rank = |method: &str| ["GET", "PUT", "POST", "DELETE"].iter().position(|m| *m == method);
    operations.sort_by_key(|o| (rank(method(o)), usize::MAX - o.path.len()));
    operations
}

fn clauses(operation: &Operation) -> &'static [&'static str] {
    match operation.needs {
        Needs::Permissions(needs) => needs,
        Needs::Device => &[],
    }
}

fn key(needs: &[&str]) -> String {
    needs.join(",")
}

/// The users that the walk needs, by what they have or lack.
struct Users {
    only: BTreeMap<String, String>,
    without: BTreeMap<&'static str, String>,
    permissions: BTreeMap<String, String>,
}

impl Users {
    fn of_the_table() -> Users {
        let mut users = Users { only: BTreeMap::new(), without: BTreeMap::new(), permissions: BTreeMap::new() };
        for operation in OPERATIONS {
            let Needs::Permissions(needs) = operation.needs else { continue };
            let name = format!("only{}", users.only.len());
            users.only.entry(key(needs)).or_insert_with(|| {
                let first = needs.iter().map(|clause| clause.split('|').next().unwrap());
                users.permissions.insert(name.clone(), first.collect::<Vec<_>>().join(","));
                name
            });
            for clause in needs {
                let name = format!("without{}", users.without.len());
                users.without.entry(clause).or_insert_with(|| {
                    users.permissions.insert(name.clone(), all_but(clause).join(","));
                    name
                });
            }
        }
        users
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec!["hawkbit.security.user.admin.roles=TENANT_ADMIN".to_owned()];
        settings
            .extend(self.permissions.iter().map(|(name, p)| format!("hawkbit.security.user.{name}.permissions={p}")));
        for name in self.permissions.keys().map(String::as_str).chain(["admin"]) {
            settings.push(format!("hawkbit.security.user.{name}.password={{noop}}x"));
            settings.push(format!("hawkbit.security.user.{name}.tenant=DEFAULT"));
        }
        settings
    }
}

/// Every permission but those of `clause`, and but those that imply one of them.
fn all_but(clause: &str) -> Vec<String> {
    let groups = [
        "TARGET",
        "TARGET_TYPE",
        "SOFTWARE_MODULE",
        "SOFTWARE_MODULE_TYPE",
        "DISTRIBUTION_SET",
        "DISTRIBUTION_SET_TYPE",
        "ROLLOUT",
        "TENANT_CONFIGURATION",
    ];
    let more = [
        "READ_TARGET_SECURITY_TOKEN",
        "READ_GATEWAY_SECURITY_TOKEN",
        "READ_SOFTWARE_MODULE_ARTIFACT",
        "APPROVE_ROLLOUT",
        "HANDLE_ROLLOUT",
    ];
    let verbs = |group: &str| ["CREATE", "READ", "UPDATE", "DELETE"].map(|verb| format!("{verb}_{group}"));
    let mut lacking: BTreeSet<String> = clause.split('|').map(str::to_owned).collect();
    for group in ["TARGET", "SOFTWARE_MODULE", "DISTRIBUTION_SET"] {
        if lacking.contains(&format!("READ_{group}_TYPE")) {
            lacking.extend(verbs(group));
        }
    }
    let all = groups.iter().flat_map(|group| verbs(group)).chain(more.map(str::to_owned));
    all.filter(|permission| !lacking.contains(permission)).collect()
}
