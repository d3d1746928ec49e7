//! Who may do what, and to which entities: permissions, their hierarchy and scopes, configured users (semantics.md E1,
//! E2), how they log in, and the sessions of those who did.

pub mod failed_logins;
mod hierarchy;
mod logins;
mod scope;
pub mod sessions;
mod users;

pub use failed_logins::FailedLogins;
pub use hierarchy::Hierarchy;
pub use logins::{Logins, Outcome};
pub use scope::{Scope, Scoping};
pub use sessions::Sessions;
pub use users::{Login, User, Users};

use kettle_ql::Node;

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

/// How authorities are read, the same for all who bring some: configured users, and whoever else proves its name.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub hierarchy: Hierarchy,
    /// `None`: scopes are off, and an authority with one grants nothing.
    pub scoping: Option<Scoping>,
}

/// The authorities of a caller: as given, and what they grant.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    raw: Vec<String>,
    /// What may be done, to some entities at least.
    granted: u64,
    /// What is granted by authorities without scopes.
    outright: u64,
    limits: scope::Limits,
    actions_limited: bool,
}

impl Authorities {
    /// Takes authorities to the letter, and expands them by the hierarchy. Names that mean nothing are kept, and grant
    /// nothing. Fails on a scope that can't be read.
    pub fn new(raw: Vec<String>, rules: &Rules) -> Result<Authorities, String> {
        let outright = granted(&rules.hierarchy, raw.iter().map(String::as_str));
        let Some(scoping) = rules.scoping else {
            return Ok(Authorities { raw, granted: outright, outright, ..Authorities::default() });
        };
        Ok(Authorities {
            granted: granted(&rules.hierarchy, raw.iter().map(|authority| scope::unscoped(authority))),
            outright,
            limits: scope::limits(&raw, scoping)?,
            actions_limited: scoping.actions,
            raw,
        })
    }

    /// The authorities as they were given, hierarchy not expanded: what `userinfo` shows.
    pub fn raw(&self) -> &[String] {
        &self.raw
    }

    /// Whether the permission is there without a scope.
    pub fn has(&self, permission: Permission) -> bool {
        self.outright & bit(permission) != 0
    }

    /// Whether the permission is there, if only for some entities.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.granted & bit(permission) != 0 {
            return Ok(());
        }
        let message = format!("Insufficient permission: this needs {}.", permission.name());
        Err(Error::new(Kind::InsufficientPermission, message))
    }

    /// The search that a permission is limited to. `None`: it is not limited, which does not say that it is there.
    pub fn limit(&self, permission: Permission) -> Option<&Node> {
        self.limits.get(permission.name())
    }

    /// Whether actions follow the limits on their targets.
    pub fn limits_actions(&self) -> bool {
        self.actions_limited
    }
}

fn granted<'a>(hierarchy: &Hierarchy, authorities: impl Iterator<Item = &'a str>) -> u64 {
    let all = hierarchy.expand(authorities.map(str::to_owned));
    Permission::ALL.iter().filter(|p| all.iter().any(|name| name == p.name())).fold(0, |set, p| set | bit(*p))
}

fn bit(permission: Permission) -> u64 {
    1 << permission as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &[&str], granted: &[&str], denied: &[&str]) {
        let authorities = Authorities::new(raw.iter().map(|s| (*s).to_owned()).collect(), &Rules::default()).unwrap();
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

    fn scoped(raw: &[&str], scoping: Option<Scoping>) -> Result<Authorities, String> {
        let rules = Rules { hierarchy: Hierarchy::default(), scoping };
        Authorities::new(raw.iter().map(|s| (*s).to_owned()).collect(), &rules)
    }

    #[test]
    fn a_scope_grants_its_permission_and_limits_it() {
        let authorities =
            scoped(&["READ_TARGET/group==a/b", "READ_TARGET_SECURITY_TOKEN/x"], Some(Scoping::ALL)).unwrap();
        assert!(authorities.require(Permission::ReadTarget).is_ok());
        assert_eq!(authorities.limit(Permission::ReadTarget), Some(&kettle_ql::parse("group==a/b").unwrap()));
        assert!(authorities.require(Permission::ReadTargetType).is_ok(), "implied, and not limited");
        assert_eq!(authorities.limit(Permission::ReadTargetType), None);
        assert!(!authorities.has(Permission::ReadTargetSecurityToken), "shown only to whom it is granted outright");
        assert_eq!(authorities.raw(), ["READ_TARGET/group==a/b", "READ_TARGET_SECURITY_TOKEN/x"]);
    }

    #[test]
    fn scopes_add_up_and_the_bare_permission_lifts_them() {
        let both = scoped(&["READ_TARGET/name==a", "READ_TARGET/name==b"], Some(Scoping::ALL)).unwrap();
        assert_eq!(both.limit(Permission::ReadTarget), Some(&kettle_ql::parse("name==a,name==b").unwrap()));
        let lifted = scoped(&["READ_TARGET/name==a", "READ_TARGET"], Some(Scoping::ALL)).unwrap();
        assert_eq!(lifted.limit(Permission::ReadTarget), None);
        let role = scoped(&["READ_TARGET/name==a", "ROLE_TARGET_ADMIN"], Some(Scoping::ALL)).unwrap();
        assert!(role.limit(Permission::ReadTarget).is_some(), "a role does not lift");
        assert_eq!(role.limit(Permission::UpdateTarget), None);
    }

    #[test]
    fn scopes_that_are_off_grant_nothing_and_those_of_one_type_are_cut_off() {
        let off = scoped(&["READ_TARGET/name==a", "READ_TARGET/(("], None).unwrap();
        assert!(off.require(Permission::ReadTarget).is_err());
        let scoping = Scoping { targets: false, ..Scoping::ALL };
        let cut = scoped(&["READ_TARGET/name==a", "READ_ROLLOUT/(("], Some(scoping)).unwrap();
        assert!(cut.require(Permission::ReadTarget).is_ok() && cut.require(Permission::ReadRollout).is_ok());
        assert_eq!(cut.limit(Permission::ReadTarget), None);
    }

    #[test]
    fn a_wrong_scope_is_named_with_the_place_of_the_error() {
        for (authority, why) in [
            ("READ_TARGET/name=x", "at character 4"),
            ("READ_TARGET/", "at character 0"),
            ("UPDATE_DISTRIBUTION_SET/controllerid==x", "controllerid"),
            ("DELETE_TARGET/updatestatus==gone", "updatestatus"),
        ] {
            let error = scoped(&[authority], Some(Scoping::ALL)).unwrap_err();
            assert!(error.contains(authority) && error.contains(why), "{error}");
        }
    }
}
