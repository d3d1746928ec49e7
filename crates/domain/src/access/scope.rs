//! Scopes: `READ_TARGET/group==lab` is the permission, limited to the targets that the search finds (semantics.md E1).
//!
//! Here is what an authority says. What it means for a statement is [`Scope`], which `search::scope` makes of it and
//! which every store asks for: see docs/decisions/007-scopes-live-in-the-stores.md.

use std::collections::BTreeMap;

use kettle_ql::{Entity, Macros, Node, Search};
use sea_orm::{EntityTrait, QueryFilter, Select, sea_query::Condition};

use super::Permission;
use crate::{
    distribution_set_types, distribution_sets, software_module_types, software_modules, target_types, targets,
};

/// Which entities' permissions may carry scopes. A scope on any other permission is cut off without effect, as in the
/// peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoping {
    pub targets: bool,
    /// Actions follow the scopes of their targets.
    pub actions: bool,
    pub target_types: bool,
    pub software_modules: bool,
    pub software_module_types: bool,
    pub distribution_sets: bool,
    pub distribution_set_types: bool,
}

impl Permission {
    /// The entity that a scope of this permission searches, if it can have one.
    pub(crate) fn entity(self) -> Option<&'static Entity> {
        use Permission::*;
        Some(match self {
            CreateTarget | ReadTarget | UpdateTarget | DeleteTarget => &targets::fields::ENTITY,
            CreateTargetType | ReadTargetType | UpdateTargetType | DeleteTargetType => &target_types::fields::ENTITY,
            CreateSoftwareModule | ReadSoftwareModule | UpdateSoftwareModule | DeleteSoftwareModule => {
                &software_modules::fields::ENTITY
            }
            CreateSoftwareModuleType | ReadSoftwareModuleType | UpdateSoftwareModuleType | DeleteSoftwareModuleType => {
                &software_module_types::fields::ENTITY
            }
            CreateDistributionSet | ReadDistributionSet | UpdateDistributionSet | DeleteDistributionSet => {
                &distribution_sets::fields::ENTITY
            }
            CreateDistributionSetType
            | ReadDistributionSetType
            | UpdateDistributionSetType
            | DeleteDistributionSetType => &distribution_set_types::fields::ENTITY,
            _ => return None,
        })
    }
}

impl Scoping {
    /// Every kind of scope.
    pub const ALL: Scoping = Scoping {
        targets: true,
        actions: true,
        target_types: true,
        software_modules: true,
        software_module_types: true,
        distribution_sets: true,
        distribution_set_types: true,
    };

    fn covers(self, entity: &Entity) -> bool {
        match entity.table {
            "sp_target" => self.targets,
            "sp_target_type" => self.target_types,
            "sp_software_module" => self.software_modules,
            "sp_software_module_type" => self.software_module_types,
            "sp_distribution_set" => self.distribution_sets,
            "sp_distribution_set_type" => self.distribution_set_types,
            _ => false,
        }
    }
}

/// What permissions are limited to. One that is absent is not limited.
pub(super) type Limits = BTreeMap<&'static str, Node>;

/// The authority without its scope.
pub(super) fn unscoped(authority: &str) -> &str {
    authority.split_once('/').map_or(authority, |(name, _)| name)
}

/// What `authorities`, as they were given, limit permissions to. Fails on a scope that does not fit its entity.
pub(super) fn limits(authorities: &[String], scoping: Scoping) -> Result<Limits, String> {
    let mut limits = Limits::new();
    for permission in Permission::ALL {
        let Some(entity) = permission.entity().filter(|entity| scoping.covers(entity)) else { continue };
        // hawkBit: only the permission itself lifts the limit, not a role that implies it.
        if authorities.iter().any(|authority| authority == permission.name()) {
            continue;
        }
        let mut scopes = Vec::new();
        for authority in authorities {
            let Some((name, scope)) = authority.split_once('/') else { continue };
            if name == permission.name() {
                scopes.push(parse(scope, entity).map_err(|why| format!("the scope of {authority:?} is wrong {why}"))?);
            }
        }
        scopes.dedup();
        let node = if scopes.len() > 1 { Some(Node::Or(scopes)) } else { scopes.pop() };
        limits.extend(node.map(|node| (permission.name(), node)));
    }
    Ok(limits)
}

fn parse(scope: &str, entity: &Entity) -> Result<Node, String> {
    let node = kettle_ql::parse(scope).map_err(|error| error.to_string())?;
    let fits = Search::new(&node, entity, &Macros { now_ts: 0, overdue_ts: 0 });
    fits.map_err(|error| format!("for its entity: {error}"))?;
    Ok(node)
}

/// The rows of one entity that a statement may see. Stores take one wherever they select rows; a caller gets it from
/// `search::scope`, by the permission that the work is done under.
#[derive(Clone, Debug, Default)]
pub struct Scope(Option<Condition>);

impl Scope {
    /// All rows of the tenant: for the work of devices and of the server itself, and for rows reached through others
    /// that the caller may see.
    pub const ALL: Scope = Scope(None);

    pub(crate) fn within(condition: Condition) -> Scope {
        Scope(Some(condition))
    }

    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// What is in both.
    pub fn and(self, other: Scope) -> Scope {
        match (self.0, other.0) {
            (Some(one), Some(other)) => Scope(Some(Condition::all().add(one).add(other))),
            (one, other) => Scope(one.or(other)),
        }
    }

    pub fn condition(&self) -> Option<&Condition> {
        self.0.as_ref()
    }

    pub(crate) fn of<E: EntityTrait>(&self, select: Select<E>) -> Select<E> {
        match &self.0 {
            Some(condition) => select.filter(condition.clone()),
            None => select,
        }
    }
}
