//! Which modules a set holds, and what its type says of that (semantics.md A2).

use std::collections::HashMap;

use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, QueryFilter};

use super::store;
use crate::{
    access::{Permission, Scope},
    ctx::Ctx,
    distribution_set_types,
    error::{Error, Kind, Result, check_quota},
    listing::{Listing, Page},
    search, software_module_types, software_modules, target_filters,
};

/// The modules of a set, as a list of its own.
pub async fn list(ctx: &Ctx, set: i64, listing: &Listing) -> Result<Page<software_modules::Full>> {
    // hawkBit: this asks for modules, so it needs no right to read sets; a scope over sets holds all the same.
    ctx.require(Permission::ReadSoftwareModule)?;
    let set = super::find_within(ctx, set).await?;
    let in_set = software_modules::entity::Column::Id.in_subquery(software_modules::store::ids_in_sets(&[set.id]));
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    let select = software_modules::store::of_tenant(ctx.tenant_id(), &scope).filter(in_set);
    let fields = &software_modules::fields::ENTITY;
    // hawkBit: this list can't be searched; `q` is ignored.
    let listing = &Listing { q: None, ..listing.clone() };
    let page = search::page(ctx, select, fields, listing, software_modules::DEFAULT_SORT, None).await?;
    let content = software_modules::load(ctx.db().read(), ctx.tenant_id(), page.content).await?;
    Ok(Page { content, total: page.total })
}

/// Adds modules to a set, all or none. Where its type takes no more of a kind, a new module takes an old one's place.
pub async fn add(ctx: &Ctx, set: i64, modules: &[i64]) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSet)?;
    let mut tx = ctx.begin().await?;
    let found = super::lock_valid(ctx, &*tx, set).await?;
    if found.locked {
        return Err(software_modules::locked("JpaDistributionSet", set, "ADD_SOFTWARE_MODULE"));
    }
    if place(ctx, &*tx, set, found.ds_type, modules).await? {
        super::touched(ctx, &found).update(&*tx).await?;
        super::told(ctx, &tx, &found);
        // It may be complete now.
        target_filters::set_changed(ctx, &mut tx, set).await?;
    }
    Ok(tx.commit().await?)
}

/// Takes a module out of a set; one that is not in it changes nothing.
pub async fn remove(ctx: &Ctx, set: i64, module: i64) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSet)?;
    let tx = ctx.begin().await?;
    let found = super::lock_valid(ctx, &*tx, set).await?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    let known = software_modules::store::get(&*tx, ctx.tenant_id(), &scope, module).await?;
    known.ok_or_else(|| Error::not_found("SoftwareModule", module))?;
    if found.locked {
        return Err(software_modules::locked("JpaDistributionSet", set, "REMOVE_SOFTWARE_MODULE"));
    }
    if store::remove_modules(&*tx, set, &[module]).await? > 0 {
        super::touched(ctx, &found).update(&*tx).await?;
        super::told(ctx, &tx, &found);
    }
    Ok(tx.commit().await?)
}

/// Puts modules into a set whose row the transaction holds; returns whether that changed it.
pub(super) async fn place(
    ctx: &Ctx,
    db: &impl ConnectionTrait,
    set: i64,
    set_type: i64,
    modules: &[i64],
) -> Result<bool> {
    if modules.is_empty() {
        return Ok(false);
    }
    let before: Vec<i64> = store::modules(db, &[set]).await?.into_iter().map(|m| m.sm_id).collect();
    let wanted = i64::try_from(modules.len()).unwrap_or(i64::MAX);
    let there = i64::try_from(before.len()).unwrap_or(i64::MAX);
    check_quota(ctx.settings().quotas.software_modules_per_distribution_set, there, wanted, "a distribution set")?;
    let known = known_modules(ctx, db, &before, modules).await?;
    let limits = limits(ctx, db, set_type).await?;
    let mut held: Vec<(i64, i64)> = before.iter().filter_map(|id| known.get(id).map(|t| (*id, *t))).collect();
    for id in modules {
        let Some(kind) = known.get(id) else { continue };
        let Some(limit) = limits.get(kind) else {
            let message = format!("Software module {id} is of a type that the distribution set's type does not hold.");
            return Err(Error::new(Kind::ModuleUnsupported, message));
        };
        insert(&mut held, (*id, *kind), *limit);
    }
    let after: Vec<i64> = held.into_iter().map(|(id, _)| id).collect();
    let gone: Vec<i64> = before.iter().copied().filter(|id| !after.contains(id)).collect();
    let new: Vec<i64> = after.into_iter().filter(|id| !before.contains(id)).collect();
    store::remove_modules(db, set, &gone).await?;
    store::add_modules(db, set, &new).await?;
    Ok(!gone.is_empty() || !new.is_empty())
}

/// Adds a module, `(id, type)`, of whose type the set may hold `limit`: at the limit it takes the first one's place.
fn insert(held: &mut Vec<(i64, i64)>, module: (i64, i64), limit: i64) {
    if held.contains(&module) {
        return;
    }
    let same = held.iter().filter(|(_, kind)| *kind == module.1).count();
    if i64::try_from(same).unwrap_or(i64::MAX) >= limit
        && let Some(first) = held.iter().position(|(_, kind)| *kind == module.1)
    {
        held.remove(first);
    }
    held.push(module);
}

/// The types of all these modules, which stay as they are until the transaction ends. New ones must be there
/// for the caller, and not deleted.
async fn known_modules(ctx: &Ctx, db: &impl ConnectionTrait, before: &[i64], new: &[i64]) -> Result<HashMap<i64, i64>> {
    let ids: Vec<i64> = before.iter().chain(new).copied().collect();
    let found = software_modules::store::hold_all(db, ctx.tenant_id(), &ids).await?;
    let readable = search::permitted(ctx, db, Permission::ReadSoftwareModule, new).await?;
    let known = |id: &i64| readable.contains(id) && found.iter().any(|m| m.id == *id);
    let missing: Vec<i64> = new.iter().copied().filter(|id| !known(id)).collect();
    if !missing.is_empty() {
        return Err(Error::not_found_all("SoftwareModule", &missing));
    }
    if let Some(deleted) = found.iter().find(|m| m.deleted == Some(true) && new.contains(&m.id)) {
        let message = format!("SoftwareModule with given identifier {{{}}} is deleted.", deleted.id);
        return Err(Error::new(Kind::Deleted, message));
    }
    Ok(found.into_iter().map(|m| (m.id, m.sm_type)).collect())
}

/// How many modules of which type a set of this type may hold.
async fn limits(ctx: &Ctx, db: &impl ConnectionTrait, set_type: i64) -> Result<HashMap<i64, i64>> {
    let elements = distribution_set_types::store::elements(db, &[set_type]).await?;
    let ids: Vec<i64> = elements.iter().map(|e| e.software_module_type).collect();
    let types = software_module_types::store::get_all(db, ctx.tenant_id(), &Scope::ALL, &ids).await?;
    Ok(types.into_iter().map(|t| (t.id, i64::from(t.max_ds_assignments))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(modules: &[(i64, i64)], limit: i64, expect: &[i64]) {
        let mut held = Vec::new();
        for module in modules {
            insert(&mut held, *module, limit);
        }
        let ids: Vec<i64> = held.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, expect);
    }

    #[test]
    fn a_module_beyond_the_limit_takes_another_ones_place() {
        check(&[(1, 10), (2, 10)], 2, &[1, 2]);
        check(&[(1, 10), (2, 10)], 1, &[2]);
        check(&[(1, 10), (2, 11), (3, 10)], 1, &[2, 3]);
        check(&[(1, 10), (1, 10)], 1, &[1]);
    }
}
