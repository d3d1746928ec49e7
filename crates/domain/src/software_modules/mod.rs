//! Software modules: what distribution sets are made of (semantics.md A2). Their files are `artifacts`' business.

pub mod entity;
pub(crate) mod fields;
pub mod metadata;
pub mod store;

pub use entity::Model;

use std::collections::HashMap;

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, ConnectionTrait, DbErr, Order, QueryFilter, Set};

use crate::{
    access::{Permission, Scope},
    announcements::{self, Entity},
    artifacts,
    audit::touched,
    ctx::Ctx,
    error::{Error, Kind, Result},
    listing::{Listing, Page},
    search, software_module_types, text,
};
use entity::{ActiveModel, Column};

pub(crate) const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);
pub(crate) const MAX_NAME: usize = 128;
pub(crate) const MAX_VERSION: usize = 64;
pub(crate) const MAX_DESCRIPTION: usize = 512;
const MAX_VENDOR: usize = 256;

/// A module with what its type and its artifacts say of it.
#[derive(Clone, Debug)]
pub struct Full {
    pub module: Model,
    pub type_key: String,
    pub type_name: String,
    /// It has as many artifacts as its type asks for.
    pub complete: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Create {
    pub name: String,
    pub version: String,
    /// The key of its type.
    pub module_type: String,
    pub vendor: Option<String>,
    pub description: Option<String>,
    pub encrypted: bool,
}

/// What is changed; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub vendor: Option<String>,
    pub description: Option<String>,
    pub locked: Option<bool>,
}

pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Full>> {
    ctx.require(Permission::ReadSoftwareModule)?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    let select = store::of_tenant(ctx.tenant_id(), &scope).filter(Column::Deleted.eq(false));
    let page = search::page(ctx, select, &fields::ENTITY, listing, DEFAULT_SORT, None).await?;
    Ok(Page { content: load(ctx.db().read(), ctx.tenant_id(), page.content).await?, total: page.total })
}

/// One module, a deleted one too, or `SoftwareModule` not found.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Full> {
    let found = find(ctx, id).await?;
    load_one(ctx, ctx.db().read(), found).await
}

/// The row of a module that the caller may read.
pub(crate) async fn find(ctx: &Ctx, id: i64) -> Result<Model> {
    ctx.require(Permission::ReadSoftwareModule)?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    store::get(ctx.db().read(), ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))
}

/// The row of a module that the caller may change, locked for the rest of the transaction.
pub(crate) async fn lock(ctx: &Ctx, db: &impl ConnectionTrait, id: i64) -> Result<Model> {
    lock_for(ctx, db, Permission::UpdateSoftwareModule, id).await
}

/// The row of a module that the caller may work on under `permission`, locked for the rest of the transaction.
async fn lock_for(ctx: &Ctx, db: &impl ConnectionTrait, permission: Permission, id: i64) -> Result<Model> {
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    let found = store::lock(db, ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))?;
    search::permit(ctx, db, permission, &[id]).await?;
    Ok(found)
}

/// Creates all modules or none; they come back in the order given.
pub async fn create(ctx: &Ctx, modules: Vec<Create>) -> Result<Vec<Full>> {
    ctx.require(Permission::CreateSoftwareModule)?;
    ctx.require(Permission::ReadSoftwareModuleType)?;
    for create in &modules {
        text::filled("name", &create.name, MAX_NAME)?;
        text::filled("version", &create.version, MAX_VERSION)?;
        text::optional("vendor", create.vendor.as_deref(), MAX_VENDOR)?;
        text::optional("description", create.description.as_deref(), MAX_DESCRIPTION)?;
        if create.encrypted {
            let message = "Encrypted software modules are not supported.";
            return Err(Error::new(Kind::EncryptionNotSupported, message));
        }
    }
    let tx = ctx.begin().await?;
    let mut created = Vec::with_capacity(modules.len());
    for create in modules {
        let module_type = type_by_key(ctx, &*tx, &create.module_type).await?;
        let row = new_row(ctx, create, module_type);
        created.push(row.insert(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?);
    }
    let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
    search::permit(ctx, &*tx, Permission::CreateSoftwareModule, &ids).await?;
    announcements::created(ctx, &tx, Entity::SoftwareModule, ids);
    let full = load(&*tx, ctx.tenant_id(), created).await?;
    tx.commit().await?;
    Ok(full)
}

/// Changes the module; a locked one too, except for its artifacts.
pub async fn update(ctx: &Ctx, id: i64, update: Update) -> Result<Full> {
    ctx.require(Permission::UpdateSoftwareModule)?;
    text::optional("vendor", update.vendor.as_deref(), MAX_VENDOR)?;
    text::optional("description", update.description.as_deref(), MAX_DESCRIPTION)?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, id).await?;
    let mut edited = found.clone();
    edited.vendor = update.vendor.map(text::trim).or(edited.vendor);
    edited.description = update.description.map(text::trim).or(edited.description);
    edited.locked = update.locked.unwrap_or(edited.locked);
    if edited == found {
        return load_one(ctx, &*tx, found).await;
    }
    let mut row = touched(ctx, &found);
    row.vendor = Set(edited.vendor);
    row.description = Set(edited.description);
    row.locked = Set(edited.locked);
    let updated = row.update(&*tx).await?;
    search::permit(ctx, &*tx, Permission::UpdateSoftwareModule, &[id]).await?;
    told(ctx, &tx, &found);
    let full = load_one(ctx, &*tx, updated).await?;
    tx.commit().await?;
    Ok(full)
}

/// Deletes the module and, after the commit, the content of its artifacts that no other module needs. A module that a
/// set holds is only marked as deleted, and keeps its artifacts' rows; one that a locked set holds can't be deleted.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::ReadSoftwareModule)?;
    ctx.require(Permission::DeleteSoftwareModule)?;
    let tx = ctx.begin().await?;
    let found = lock_for(ctx, &*tx, Permission::DeleteSoftwareModule, id).await?;
    if store::is_in_a_locked_set(&*tx, ctx.tenant_id(), id).await? {
        return Err(locked("JpaSoftwareModule", id, "DELETE"));
    }
    let removal =
        artifacts::prepare_removal(ctx, &tx, artifacts::store::of_module(&*tx, ctx.tenant_id(), id).await?).await?;
    if store::is_in_a_set(&*tx, id).await? {
        let mut row = touched(ctx, &found);
        row.deleted = Set(Some(true));
        row.update(&*tx).await?;
    } else {
        store::delete(&*tx, ctx.tenant_id(), id).await?;
        announcements::deleted(ctx, &tx, Entity::SoftwareModule, [id]);
    }
    tx.commit().await?;
    artifacts::remove(ctx, removal).await;
    Ok(())
}

/// Adds to `modules` what is told with them, in a number of queries that does not grow with theirs.
pub async fn load(db: &impl ConnectionTrait, tenant: &str, modules: Vec<Model>) -> Result<Vec<Full>, DbErr> {
    let mut type_ids: Vec<i64> = modules.iter().map(|m| m.sm_type).collect();
    type_ids.sort_unstable();
    type_ids.dedup();
    let types = software_module_types::store::get_all(db, tenant, &Scope::ALL, &type_ids).await?;
    let types: HashMap<i64, software_module_types::Model> = types.into_iter().map(|t| (t.id, t)).collect();
    let wanted = |module: &Model| types.get(&module.sm_type).map_or(0, |t| i64::from(t.min_artifacts));
    let counted: Vec<i64> = modules.iter().filter(|m| wanted(m) > 0).map(|m| m.id).collect();
    let counts = if counted.is_empty() { HashMap::new() } else { store::artifact_counts(db, &counted).await? };
    let full = |module: Model| {
        let complete = counts.get(&module.id).copied().unwrap_or(0) >= wanted(&module);
        let known = types.get(&module.sm_type);
        let type_key = known.map(|t| t.type_key.clone()).unwrap_or_default();
        Full { type_key, type_name: known.map(|t| t.name.clone()).unwrap_or_default(), complete, module }
    };
    Ok(modules.into_iter().map(full).collect())
}

async fn load_one(ctx: &Ctx, db: &impl ConnectionTrait, module: Model) -> Result<Full> {
    let full = load(db, ctx.tenant_id(), vec![module]).await?.pop();
    full.ok_or_else(|| Error::internal("one module in, none out"))
}

async fn type_by_key(ctx: &Ctx, db: &impl ConnectionTrait, key: &str) -> Result<software_module_types::Model> {
    let key = key.trim();
    let scope = search::scope(ctx, Permission::ReadSoftwareModuleType).await?;
    let found = software_module_types::store::find_by_key(db, ctx.tenant_id(), &scope, key).await?;
    let found = found.ok_or_else(|| Error::not_found("SoftwareModuleType", key))?;
    if found.deleted == Some(true) {
        return Err(Error::constraint(format!("Software module type {key} is deleted.")));
    }
    Ok(found)
}

fn new_row(ctx: &Ctx, create: Create, module_type: software_module_types::Model) -> ActiveModel {
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
        vendor: Set(create.vendor.map(text::trim)),
        sm_type: Set(module_type.id),
        encrypted: Set(Some(false)),
        locked: Set(false),
    }
}

/// The peer's error for work on something locked; `entity` is its class.
pub(crate) fn locked(entity: &str, id: i64, operation: &str) -> Error {
    let message = format!("{entity} with given identifier {{{id}}} is locked and {operation} is forbidden!");
    Error::new(Kind::Locked, message)
}

fn not_found(id: i64) -> Error {
    Error::not_found("SoftwareModule", id)
}

/// Notes that a module was changed. hawkBit: of one that is deleted, whatever changes of it, also that it is.
pub(crate) fn told(ctx: &Ctx, tx: &Tx, found: &Model) {
    announcements::updated(ctx, tx, Entity::SoftwareModule, [found.id]);
    announcements::deleted(ctx, tx, Entity::SoftwareModule, Some(found.id).filter(|_| found.deleted == Some(true)));
}

/// The row with its audit columns written anew; the caller adds what else changes.
pub(crate) fn touched(ctx: &Ctx, found: &Model) -> ActiveModel {
    touched!(ctx, found)
}
