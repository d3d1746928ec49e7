//! Distribution sets: what is deployed to targets (semantics.md A2).
//!
//! A set is deployable if it is valid and complete. Its first deployment locks it and its modules, so that what a device
//! got stays what the set says. Which modules it holds is in `modules.rs`, locking in `lock.rs`.

pub mod entity;
pub(crate) mod fields;
mod invalidate;
mod lock;
pub mod metadata;
pub mod modules;
pub mod statistics;
pub mod store;

pub use entity::Model;
pub use invalidate::{Cancelation, invalidate};
pub use lock::{deployable, is_locked_implicitly, lock_implicitly};

use std::collections::{HashMap, HashSet};

use kettle_cluster::Tx;
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, Condition, ConnectionTrait, DbErr, FromQueryResult, Order,
    QueryFilter, QueryResult, Set,
};

use crate::{
    access::{Permission, Scope},
    announcements::{self, Entity},
    audit::touched,
    ctx::Ctx,
    distribution_set_types,
    error::{Error, Kind, Result},
    listing::{Listing, Page},
    search,
    software_modules::{self, MAX_DESCRIPTION, MAX_NAME, MAX_VERSION},
    target_filters, targets, tenants, text,
};
use entity::{ActiveModel, Column};

const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);

/// A set with its modules and what its type says of it.
#[derive(Clone, Debug)]
pub struct Full {
    pub set: Model,
    pub type_key: String,
    pub type_name: String,
    /// In the order of their ids.
    pub modules: Vec<software_modules::Full>,
    /// It holds modules, all of them complete, and one of each type that its own type asks for.
    pub complete: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Create {
    pub name: String,
    pub version: String,
    /// The key of its type; the tenant's default type if absent.
    pub set_type: Option<String>,
    pub description: Option<String>,
    pub required_migration_step: bool,
    pub modules: Vec<i64>,
}

/// What is changed; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub name: Option<String>,
    pub version: Option<String>,
    pub description: Option<String>,
    pub required_migration_step: Option<bool>,
    pub locked: Option<bool>,
}

/// Sets that are not deleted. `complete==true` in the search is answered here, after paging, as the peer does (E4): a
/// page may hold fewer sets than asked for.
pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Full>> {
    ctx.require(Permission::ReadDistributionSet)?;
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let mut select = store::of_tenant(ctx.tenant_id(), &scope).filter(Column::Deleted.eq(false));
    let mut listing = listing.clone();
    let complete = match listing.q.as_deref().filter(|q| q.to_ascii_lowercase().contains("complete")) {
        Some(q) => {
            let (complete, rest) = kettle_ql::parse(q)?.split_off("complete");
            if let Some(rest) = rest {
                select = select.filter(search::condition_of(ctx, &fields::ENTITY, &rest).await?);
            }
            listing.q = None;
            complete
        }
        None => Vec::new(),
    };
    let wanted = complete.iter().map(wanted_completeness).collect::<Result<Vec<_>>>()?;
    let page = search::page(ctx, select, &fields::ENTITY, &listing, DEFAULT_SORT, None).await?;
    let mut content = load(ctx.db().read(), ctx.tenant_id(), page.content).await?;
    if wanted.is_empty() {
        return Ok(Page { content, total: page.total });
    }
    content.retain(|full| wanted.iter().all(|w| *w == full.complete));
    // The peer's total is that before the filter, but for a last page that still holds something.
    let last = listing.offset + listing.limit > page.total && !content.is_empty();
    let total = if last { listing.offset + content.len() as u64 } else { page.total };
    Ok(Page { content, total })
}

/// Sets that have a tag, as `which` says.
pub(crate) async fn list_of(ctx: &Ctx, mut which: Condition, listing: &Listing) -> Result<Page<Full>> {
    // hawkBit: this list is sorted by the fields of tags, and hides deleted sets only while it is searched.
    let order = search::order(&fields::AS_OF_TAG, listing.sort.as_deref(), DEFAULT_SORT)?;
    if listing.q.is_some() {
        which = which.add(Column::Deleted.eq(false));
    }
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let select = store::of_tenant(ctx.tenant_id(), &scope).filter(which);
    let decode = |row: &QueryResult| Model::from_query_result(row, "");
    let page = search::ordered_page(ctx, select, &fields::ENTITY, listing, order, None, decode).await?;
    Ok(Page { content: load(ctx.db().read(), ctx.tenant_id(), page.content).await?, total: page.total })
}

fn wanted_completeness(comparison: &kettle_ql::Comparison) -> Result<bool> {
    let wanted = match &comparison.test {
        kettle_ql::Test::Equal(value) if value == "true" => true,
        kettle_ql::Test::Equal(value) if value == "false" => false,
        _ => return Err(Error::new(Kind::SearchSyntax, "complete takes == and != with true or false.")),
    };
    Ok(wanted != comparison.negated)
}

/// One set, a deleted one too, or `DistributionSet` not found.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Full> {
    let found = find(ctx, id).await?;
    load_one(ctx, ctx.db().read(), found).await
}

/// The row of a set that the caller may read.
pub(crate) async fn find(ctx: &Ctx, id: i64) -> Result<Model> {
    ctx.require(Permission::ReadDistributionSet)?;
    find_within(ctx, id).await
}

/// The row of a set in the scope of the caller, whose permission the caller of this checks.
async fn find_within(ctx: &Ctx, id: i64) -> Result<Model> {
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    store::get(ctx.db().read(), ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))
}

/// Creates all sets or none; they come back in the order given.
pub async fn create(ctx: &Ctx, sets: Vec<Create>) -> Result<Vec<Full>> {
    ctx.require(Permission::CreateDistributionSet)?;
    ctx.require(Permission::ReadDistributionSetType)?;
    // hawkBit: each of these lets its holder see which type is the tenant's default.
    ctx.require_any(&[Permission::ReadDistributionSet, Permission::ReadTarget, Permission::ReadTenantConfiguration])?;
    if sets.iter().any(|create| !create.modules.is_empty()) {
        ctx.require(Permission::ReadSoftwareModule)?;
    }
    for create in &sets {
        text::filled("name", &create.name, MAX_NAME)?;
        text::filled("version", &create.version, MAX_VERSION)?;
        text::optional("description", create.description.as_deref(), MAX_DESCRIPTION)?;
    }
    let tx = ctx.begin().await?;
    let mut created = Vec::with_capacity(sets.len());
    for create in sets {
        let set_type = type_of(ctx, &*tx, create.set_type.as_deref()).await?;
        let modules = create.modules.clone();
        let row = new_row(ctx, create, set_type);
        let row = row.insert(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
        modules::place(ctx, &*tx, row.id, row.ds_type, &modules).await?;
        created.push(row);
    }
    let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
    search::permit(ctx, &*tx, Permission::CreateDistributionSet, &ids).await?;
    announcements::created(ctx, &tx, Entity::DistributionSet, ids);
    let full = load(&*tx, ctx.tenant_id(), created).await?;
    tx.commit().await?;
    Ok(full)
}

/// Changes a valid set. Of a locked one the migration step stays as it is. `locked: true` locks its modules too.
pub async fn update(ctx: &Ctx, id: i64, update: Update) -> Result<Full> {
    ctx.require(Permission::UpdateDistributionSet)?;
    if let Some(name) = &update.name {
        text::filled("name", name, MAX_NAME)?;
    }
    if let Some(version) = &update.version {
        text::filled("version", version, MAX_VERSION)?;
    }
    text::optional("description", update.description.as_deref(), MAX_DESCRIPTION)?;
    let mut tx = ctx.begin().await?;
    let found = lock_valid(ctx, &*tx, id).await?;
    let mut edited = found.clone();
    edited.name = update.name.map_or(edited.name, text::trim);
    edited.version = update.version.map_or(edited.version, text::trim);
    edited.description = update.description.map(text::trim).or(edited.description);
    edited.locked = update.locked.unwrap_or(edited.locked);
    if let Some(step) =
        update.required_migration_step.filter(|step| *step != found.required_migration_step.unwrap_or(false))
    {
        if found.locked {
            return Err(software_modules::locked("JpaDistributionSet", id, "CHANGE_REQUIRED_MIGRATION_STEP"));
        }
        edited.required_migration_step = Some(step);
    }
    if update.locked == Some(true) {
        // hawkBit: unlike a deployment, this locks incomplete sets too, and the modules of one that is locked already.
        lock::lock_modules(ctx, &tx, &found).await?;
    }
    if (&edited.name, &edited.version) != (&found.name, &found.version) {
        targets::searches_changed(ctx, &mut tx, &["assignedds", "installedds"]);
    }
    let updated = if edited == found { found } else { store_edited(ctx, &tx, &found, edited).await? };
    let full = load_one(ctx, &*tx, updated).await?;
    tx.commit().await?;
    Ok(full)
}

async fn store_edited(ctx: &Ctx, tx: &Tx, found: &Model, edited: Model) -> Result<Model> {
    let mut row = touched(ctx, found);
    row.name = Set(edited.name);
    row.version = Set(edited.version);
    row.description = Set(edited.description);
    row.locked = Set(edited.locked);
    row.required_migration_step = Set(edited.required_migration_step);
    let updated = row.update(&**tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    search::permit(ctx, &**tx, Permission::UpdateDistributionSet, &[found.id]).await?;
    told(ctx, tx, found);
    Ok(updated)
}

/// Deletes the set, and takes it out of the filters that assign it by themselves. One that targets, rollouts or actions
/// refer to is only marked as deleted.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::DeleteDistributionSet)?;
    let mut tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::DeleteDistributionSet, id).await?;
    let found = found.ok_or_else(|| Error::not_found_all("DistributionSet", &[id]))?;
    leave_target_filters(ctx, &mut tx, id).await?;
    if store::is_used(&*tx, ctx.engine(), ctx.tenant_id(), id).await? {
        let mut row = touched(ctx, &found);
        row.deleted = Set(Some(true));
        row.update(&*tx).await?;
    } else {
        store::delete(&*tx, ctx.tenant_id(), id).await?;
        announcements::deleted(ctx, &tx, Entity::DistributionSet, [id]);
    }
    Ok(tx.commit().await?)
}

/// No filter assigns the set by itself any more.
async fn leave_target_filters(ctx: &Ctx, tx: &mut Tx, id: i64) -> Result<()> {
    if store::leave_target_filters(&**tx, ctx.engine(), ctx.tenant_id(), id).await? > 0 {
        target_filters::changed(ctx, tx, None);
    }
    Ok(())
}

/// Adds to `sets` what is told with them, in a number of queries that does not grow with a page.
pub async fn load(db: &impl ConnectionTrait, tenant: &str, sets: Vec<Model>) -> Result<Vec<Full>, DbErr> {
    if sets.is_empty() {
        return Ok(Vec::new());
    }
    let mut type_ids: Vec<i64> = sets.iter().map(|s| s.ds_type).collect();
    type_ids.sort_unstable();
    type_ids.dedup();
    let types = distribution_set_types::store::get_all(db, tenant, &type_ids).await?;
    let types: HashMap<i64, distribution_set_types::Model> = types.into_iter().map(|t| (t.id, t)).collect();
    let elements = distribution_set_types::store::elements(db, &type_ids).await?;
    let mandatory = |set_type: i64| {
        let of_type = elements.iter().filter(move |e| e.distribution_set_type == set_type);
        of_type.filter(|e| e.mandatory.unwrap_or(false)).map(|e| e.software_module_type)
    };
    let set_ids: Vec<i64> = sets.iter().map(|s| s.id).collect();
    let held = store::modules(db, &set_ids).await?;
    let modules = software_modules::store::of_sets(db, tenant, &set_ids).await?;
    let modules = software_modules::load(db, tenant, modules).await?;
    let modules: HashMap<i64, software_modules::Full> = modules.into_iter().map(|m| (m.module.id, m)).collect();
    let mut of_set: HashMap<i64, Vec<software_modules::Full>> = HashMap::new();
    for link in held {
        if let Some(module) = modules.get(&link.sm_id) {
            of_set.entry(link.ds_id).or_default().push(module.clone());
        }
    }
    let full = |set: Model| {
        let modules = of_set.remove(&set.id).unwrap_or_default();
        let known = types.get(&set.ds_type);
        Full {
            type_key: known.map(|t| t.type_key.clone()).unwrap_or_default(),
            type_name: known.map(|t| t.name.clone()).unwrap_or_default(),
            complete: is_complete(modules.iter().map(|m| (m.module.sm_type, m.complete)), mandatory(set.ds_type)),
            modules,
            set,
        }
    };
    Ok(sets.into_iter().map(full).collect())
}

/// Whether modules, by type and whether each is complete, make a complete set (semantics.md A2).
fn is_complete(modules: impl Iterator<Item = (i64, bool)>, mut mandatory: impl Iterator<Item = i64>) -> bool {
    let mut types = HashSet::new();
    for (module_type, complete) in modules {
        if !complete {
            return false;
        }
        types.insert(module_type);
    }
    !types.is_empty() && mandatory.all(|t| types.contains(&t))
}

async fn load_one(ctx: &Ctx, db: &impl ConnectionTrait, set: Model) -> Result<Full> {
    let full = load(db, ctx.tenant_id(), vec![set]).await?.pop();
    full.ok_or_else(|| Error::internal("one set in, none out"))
}

/// The type with this key, or the tenant's default; it is there until the transaction ends.
async fn type_of(ctx: &Ctx, db: &impl ConnectionTrait, key: Option<&str>) -> Result<distribution_set_types::Model> {
    use distribution_set_types::store;
    let id = match key {
        Some(key) => {
            let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
            store::find_by_key(db, ctx.tenant_id(), &scope, key).await?.map(|t| t.id)
        }
        None => tenants::default_distribution_set_type(db, ctx.tenant_id()).await?,
    };
    let found = match id {
        Some(id) => store::hold(db, ctx.tenant_id(), &Scope::ALL, id).await?,
        None => None,
    };
    let found = found.ok_or_else(|| Error::not_found("DistributionSetType", key.unwrap_or_default()))?;
    if found.deleted == Some(true) {
        return Err(Error::constraint(format!("Distribution set type {} is deleted.", found.type_key)));
    }
    Ok(found)
}

fn new_row(ctx: &Ctx, create: Create, set_type: distribution_set_types::Model) -> ActiveModel {
    ActiveModel {
        id: NotSet,
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        tenant: Set(ctx.tenant_id().into()),
        description: Set(create.description.map(text::trim)),
        name: Set(text::trim(create.name)),
        version: Set(text::trim(create.version)),
        deleted: Set(Some(false)),
        required_migration_step: Set(Some(create.required_migration_step)),
        ds_type: Set(set_type.id),
        valid: Set(Some(true)),
        locked: Set(false),
    }
}

/// The row of a set that the caller may work on under `permission`, locked for the rest of the transaction.
pub(crate) async fn lock(
    ctx: &Ctx,
    db: &impl ConnectionTrait,
    permission: Permission,
    id: i64,
) -> Result<Option<Model>> {
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let found = store::lock(db, ctx.tenant_id(), &scope, id).await?;
    if found.is_some() {
        search::permit(ctx, db, permission, &[id]).await?;
    }
    Ok(found)
}

/// The row of a valid set that the caller may change, locked for the rest of the transaction.
async fn lock_valid(ctx: &Ctx, db: &impl ConnectionTrait, id: i64) -> Result<Model> {
    let found = lock(ctx, db, Permission::UpdateDistributionSet, id).await?.ok_or_else(|| not_found(id))?;
    if found.valid == Some(false) {
        return Err(lock::refused(Kind::DistributionSetInvalid, ctx, db, &found).await);
    }
    Ok(found)
}

fn not_found(id: i64) -> Error {
    Error::not_found("DistributionSet", id)
}

/// Notes that a set was changed. hawkBit: of one that is deleted, whatever changes of it, also that it is.
fn told(ctx: &Ctx, tx: &Tx, found: &Model) {
    announcements::updated(ctx, tx, Entity::DistributionSet, [found.id]);
    announcements::deleted(ctx, tx, Entity::DistributionSet, Some(found.id).filter(|_| found.deleted == Some(true)));
}

/// The row with its audit columns written anew; the caller adds what else changes.
fn touched(ctx: &Ctx, found: &Model) -> ActiveModel {
    touched!(ctx, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(modules: &[(i64, bool)], mandatory: &[i64], expect: bool) {
        assert_eq!(
            is_complete(modules.iter().copied(), mandatory.iter().copied()),
            expect,
            "{modules:?} {mandatory:?}"
        );
    }

    #[test]
    fn a_set_is_complete_with_all_mandatory_types_and_no_unfinished_module() {
        check(&[], &[], false);
        check(&[(1, true)], &[], true);
        check(&[(1, true)], &[1], true);
        check(&[(1, true)], &[1, 2], false);
        check(&[(1, true), (2, true)], &[1, 2], true);
        check(&[(1, true), (3, true)], &[1], true);
        check(&[(1, true), (3, false)], &[1], false);
    }
}
