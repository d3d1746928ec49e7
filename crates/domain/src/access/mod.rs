//! Who may do what: permissions, the role hierarchy, and configured users (semantics.md E1, E2).

mod users;

pub use users::{Login, User, Users};

use crate::error::{Error, Kind, Result};

macro_rules! permissions {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A permission of the peer. Roles and hierarchy are expanded into a set of these at login.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Permission { $($variant),* }

        impl Permission {
            pub const ALL: &[Permission] = &[$(Permission::$variant),*];

            pub fn name(self) -> &'static str {
                match self { $(Permission::$variant => $name),* }
            }
        }
    };
}

permissions! {
    CreateTarget = "CREATE_TARGET", ReadTarget = "READ_TARGET", UpdateTarget = "UPDATE_TARGET", DeleteTarget = "DELETE_TARGET",
    CreateTargetType = "CREATE_TARGET_TYPE", ReadTargetType = "READ_TARGET_TYPE",
    UpdateTargetType = "UPDATE_TARGET_TYPE", DeleteTargetType = "DELETE_TARGET_TYPE",
    CreateSoftwareModule = "CREATE_SOFTWARE_MODULE", ReadSoftwareModule = "READ_SOFTWARE_MODULE",
    UpdateSoftwareModule = "UPDATE_SOFTWARE_MODULE", DeleteSoftwareModule = "DELETE_SOFTWARE_MODULE",
    CreateSoftwareModuleType = "CREATE_SOFTWARE_MODULE_TYPE", ReadSoftwareModuleType = "READ_SOFTWARE_MODULE_TYPE",
    UpdateSoftwareModuleType = "UPDATE_SOFTWARE_MODULE_TYPE", DeleteSoftwareModuleType = "DELETE_SOFTWARE_MODULE_TYPE",
    CreateDistributionSet = "CREATE_DISTRIBUTION_SET", ReadDistributionSet = "READ_DISTRIBUTION_SET",
    UpdateDistributionSet = "UPDATE_DISTRIBUTION_SET", DeleteDistributionSet = "DELETE_DISTRIBUTION_SET",
    CreateDistributionSetType = "CREATE_DISTRIBUTION_SET_TYPE", ReadDistributionSetType = "READ_DISTRIBUTION_SET_TYPE",
    UpdateDistributionSetType = "UPDATE_DISTRIBUTION_SET_TYPE", DeleteDistributionSetType = "DELETE_DISTRIBUTION_SET_TYPE",
    CreateRollout = "CREATE_ROLLOUT", ReadRollout = "READ_ROLLOUT", UpdateRollout = "UPDATE_ROLLOUT", DeleteRollout = "DELETE_ROLLOUT",
    CreateTenantConfiguration = "CREATE_TENANT_CONFIGURATION", ReadTenantConfiguration = "READ_TENANT_CONFIGURATION",
    UpdateTenantConfiguration = "UPDATE_TENANT_CONFIGURATION", DeleteTenantConfiguration = "DELETE_TENANT_CONFIGURATION",
    ReadTargetSecurityToken = "READ_TARGET_SECURITY_TOKEN", ReadGatewaySecurityToken = "READ_GATEWAY_SECURITY_TOKEN",
    ReadSoftwareModuleArtifact = "READ_SOFTWARE_MODULE_ARTIFACT",
    ApproveRollout = "APPROVE_ROLLOUT", HandleRollout = "HANDLE_ROLLOUT",
}

/// What an authority grants beyond itself: by prefix of the implied permissions' names.
const HIERARCHY: &[(&str, &[&str])] = &[
    (
        "ROLE_TENANT_ADMIN",
        &["ROLE_TARGET_ADMIN", "ROLE_REPOSITORY_ADMIN", "ROLE_ROLLOUT_ADMIN", "TENANT_CONFIGURATION"],
    ),
    ("ROLE_TARGET_ADMIN", &["*_TARGET", "READ_TARGET_SECURITY_TOKEN", "*_TARGET_TYPE"]),
    (
        "ROLE_REPOSITORY_ADMIN",
        &[
            "*_SOFTWARE_MODULE",
            "*_SOFTWARE_MODULE_TYPE",
            "*_DISTRIBUTION_SET",
            "*_DISTRIBUTION_SET_TYPE",
            "READ_SOFTWARE_MODULE_ARTIFACT",
        ],
    ),
    ("ROLE_ROLLOUT_ADMIN", &["*_ROLLOUT", "HANDLE_ROLLOUT", "APPROVE_ROLLOUT"]),
    ("TENANT_CONFIGURATION", &["*_TENANT_CONFIGURATION", "READ_GATEWAY_SECURITY_TOKEN"]),
    ("*_TARGET", &["READ_TARGET_TYPE"]),
    ("*_SOFTWARE_MODULE", &["READ_SOFTWARE_MODULE_TYPE"]),
    ("*_DISTRIBUTION_SET", &["READ_DISTRIBUTION_SET_TYPE"]),
];
const VERBS: [&str; 4] = ["CREATE", "READ", "UPDATE", "DELETE"];

/// The authorities of a caller: as given, and expanded.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    raw: Vec<String>,
    granted: u64,
}

impl Authorities {
    /// Expands `raw` authorities by the hierarchy. Names that mean nothing are kept, and grant nothing.
    pub fn new(raw: Vec<String>) -> Authorities {
        let mut open: Vec<String> = raw.clone();
        let mut seen: Vec<String> = Vec::new();
        while let Some(authority) = open.pop() {
            if seen.contains(&authority) {
                continue;
            }
            for (from, implied) in HIERARCHY {
                if verbs_of(from).any(|f| f == authority) {
                    open.extend(implied.iter().flat_map(|i| verbs_of(i)));
                }
            }
            seen.push(authority);
        }
        let granted =
            Permission::ALL.iter().filter(|p| seen.iter().any(|s| s == p.name())).fold(0, |set, p| set | bit(*p));
        Authorities { raw, granted }
    }

    /// The authorities as they were given, hierarchy not expanded: what `userinfo` shows.
    pub fn raw(&self) -> &[String] {
        &self.raw
    }

    pub fn has(&self, permission: Permission) -> bool {
        self.granted & bit(permission) != 0
    }

    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.has(permission) {
            return Ok(());
        }
        let message = format!("Insufficient permission: this needs {}.", permission.name());
        Err(Error::new(Kind::InsufficientPermission, message))
    }
}

fn bit(permission: Permission) -> u64 {
    1 << permission as u8
}

/// `*_TARGET` stands for the four verbs.
fn verbs_of(name: &str) -> impl Iterator<Item = String> {
    let (list, rest) = match name.strip_prefix("*_") {
        Some(rest) => (VERBS.as_slice(), rest.to_owned()),
        None => (&[""][..], name.to_owned()),
    };
    list.iter().map(move |verb| if verb.is_empty() { rest.clone() } else { format!("{verb}_{rest}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &[&str], granted: &[&str], denied: &[&str]) {
        let authorities = Authorities::new(raw.iter().map(|s| (*s).to_owned()).collect());
        for permission in Permission::ALL {
            let name = permission.name();
            if granted.contains(&name) {
                assert!(authorities.has(*permission), "{raw:?} should grant {name}");
            }
            if denied.contains(&name) {
                assert!(!authorities.has(*permission), "{raw:?} should not grant {name}");
            }
        }
    }

    #[test]
    fn roles_expand_by_the_hierarchy() {
        check(&["READ_TARGET"], &["READ_TARGET", "READ_TARGET_TYPE"], &["UPDATE_TARGET", "READ_TARGET_SECURITY_TOKEN"]);
        check(&["ROLE_TARGET_ADMIN"], &["DELETE_TARGET", "READ_TARGET_SECURITY_TOKEN"], &["READ_DISTRIBUTION_SET"]);
        check(
            &["TENANT_CONFIGURATION"],
            &["DELETE_TENANT_CONFIGURATION", "READ_GATEWAY_SECURITY_TOKEN"],
            &["READ_TARGET"],
        );
        check(&["ROLE_CONTROLLER", "NONSENSE"], &[], &["READ_TARGET"]);
        let all: Vec<_> = Permission::ALL.iter().map(|p| p.name()).collect();
        check(&["ROLE_TENANT_ADMIN"], &all, &[]);
    }
}
