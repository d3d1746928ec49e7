//! Distribution set types: which types of modules a set must and may hold (semantics.md A2).

pub mod entity;
pub(crate) mod fields;
pub mod store;

pub use entity::Model;

use std::collections::{BTreeMap, HashSet};

use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, ConnectionTrait, Order, QueryFilter, Set};

use crate::{
    access::{Permission, Scope},
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    error::{Error, Kind, Result, check_quota},
    listing::{Listing, Page},
    search, software_module_types, target_types, tenants, text,
};
use entity::{ActiveModel, Column};

const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);

#[derive(Clone, Debug, Default)]
pub struct Create {
    pub key: String,
    pub name: String,
    pub description: Option<String>,
    pub colour: Option<String>,
    /// Ids of software module types.
    pub mandatory: Vec<i64>,
    pub optional: Vec<i64>,
}

/// What is changed; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub description: Option<String>,
    pub colour: Option<String>,
}

pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Model>> {
    ctx.require(Permission::ReadDistributionSetType)?;
    let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
    let select = store::of_tenant(ctx.tenant_id(), &scope).filter(Column::Deleted.eq(false));
    search::page(ctx, select, &fields::ENTITY, listing, DEFAULT_SORT, None).await
}

/// One type, a deleted one too, or `DistributionSetType` not found.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Model> {
    ctx.require(Permission::ReadDistributionSetType)?;
    let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
    let found = store::get(ctx.db().read(), ctx.tenant_id(), &scope, id).await?;
    found.ok_or_else(|| not_found(id))
}

/// Creates all types or none; they come back in the order given.
pub async fn create(ctx: &Ctx, types: Vec<Create>) -> Result<Vec<Model>> {
    ctx.require(Permission::CreateDistributionSetType)?;
    for create in &types {
        let texts = (create.description.as_deref(), create.colour.as_deref());
        software_module_types::check_names(&create.key, &create.name, texts.0, texts.1)?;
        if !create.mandatory.is_empty() || !create.optional.is_empty() {
            ctx.require(Permission::ReadSoftwareModuleType)?;
        }
    }
    let tx = ctx.begin().await?;
    let mut created = Vec::with_capacity(types.len());
    for create in types {
        if !create.mandatory.is_empty() || !create.optional.is_empty() {
            ctx.require(Permission::ReadSoftwareModuleType)?;
        }
        let mandatory = create.mandatory.iter().map(|id| (*id, true));
        let elements: BTreeMap<i64, bool> = mandatory.chain(create.optional.iter().map(|id| (*id, false))).collect();
        // hawkBit: the quota of module types holds when one is added later, not here.
        let ids: Vec<i64> = elements.keys().copied().collect();
        software_module_types::all(ctx, &*tx, &ids).await?;
        let row = ActiveModel {
            id: NotSet,
            created_at: Set(Some(ctx.now())),
            created_by: Set(Some(ctx.actor_name())),
            last_modified_at: Set(Some(ctx.now())),
            last_modified_by: Set(Some(ctx.actor_name())),
            optlock_revision: Set(Some(1)),
            tenant: Set(ctx.tenant_id().into()),
            description: Set(create.description.map(text::trim)),
            name: Set(text::trim(create.name)),
            colour: Set(create.colour.map(text::trim)),
            deleted: Set(Some(false)),
            type_key: Set(text::trim(create.key)),
        };
        let row = row.insert(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
        store::set_elements(&*tx, row.id, &elements).await?;
        created.push(row);
    }
    let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
    search::permit(ctx, &*tx, Permission::CreateDistributionSetType, &ids).await?;
    announcements::created(ctx, &tx, Told::DistributionSetType, ids);
    tx.commit().await?;
    Ok(created)
}

pub async fn update(ctx: &Ctx, id: i64, update: Update) -> Result<Model> {
    ctx.require(Permission::UpdateDistributionSetType)?;
    software_module_types::check_texts(update.description.as_deref(), update.colour.as_deref())?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::UpdateDistributionSetType, id).await?;
    let description = text::change(update.description, found.description.as_deref());
    let colour = text::change(update.colour, found.colour.as_deref());
    if description.is_none() && colour.is_none() {
        return Ok(found);
    }
    let mut row = touched(ctx, &found);
    if description.is_some() {
        row.description = Set(description);
    }
    if colour.is_some() {
        row.colour = Set(colour);
    }
    let updated = row.update(&*tx).await?;
    search::permit(ctx, &*tx, Permission::UpdateDistributionSetType, &[id]).await?;
    announcements::updated(ctx, &tx, Told::DistributionSetType, [id]);
    tx.commit().await?;
    Ok(updated)
}

/// Deletes the type and takes it out of all target types; one that sets have is only marked as deleted.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::DeleteDistributionSetType)?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::DeleteDistributionSetType, id).await?;
    target_types::store::remove_from_all(&*tx, id).await?;
    if store::is_used(&*tx, id).await? {
        let mut row = touched(ctx, &found);
        row.deleted = Set(Some(true));
        row.update(&*tx).await?;
    } else if tenants::default_distribution_set_type(&*tx, ctx.tenant_id()).await? == Some(id) {
        return Err(Error::constraint("The tenant's default distribution set type can't be deleted."));
    } else {
        store::delete(&*tx, ctx.tenant_id(), id).await?;
        announcements::deleted(ctx, &tx, Told::DistributionSetType, [id]);
    }
    Ok(tx.commit().await?)
}

/// The module types that a set of this type must hold, or those that it may.
pub async fn module_types(ctx: &Ctx, id: i64, mandatory: bool) -> Result<Vec<software_module_types::Model>> {
    let found = get(ctx, id).await?;
    let db = ctx.db().read();
    let elements = store::elements(db, &[found.id]).await?;
    let of_kind = elements.iter().filter(|e| e.mandatory.unwrap_or(false) == mandatory);
    let ids: Vec<i64> = of_kind.map(|e| e.software_module_type).collect();
    // What a type holds is part of it: the caller's scope over module types does not matter here.
    Ok(software_module_types::store::get_all(db, ctx.tenant_id(), &Scope::ALL, &ids).await?)
}

/// One of [`module_types`], or `SoftwareModuleType` not found.
pub async fn module_type(ctx: &Ctx, id: i64, module: i64, mandatory: bool) -> Result<software_module_types::Model> {
    let of_kind = module_types(ctx, id, mandatory).await?;
    let known = software_module_types::get(ctx, module).await?;
    if of_kind.iter().all(|t| t.id != module) {
        let message =
            format!("SoftwareModuleType with id {{{module}}} is not part of DistributionSetType with id {{{id}}}.");
        return Err(Error::new(Kind::EntityNotFound, message));
    }
    Ok(known)
}

/// Adds a module type, or makes it mandatory or optional if it is there. Not for types that sets have already.
pub async fn add_module_type(ctx: &Ctx, id: i64, module: i64, mandatory: bool) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSetType)?;
    software_module_types::all(ctx, ctx.db().read(), &[module]).await?;
    edit_elements(ctx, id, async |_, elements| {
        let limit = ctx.settings().quotas.software_module_types_per_distribution_set_type;
        // hawkBit: one that is there already counts twice.
        check_quota(limit, i64::try_from(elements.len()).unwrap_or(i64::MAX), 1, "a distribution set type")?;
        elements.insert(module, mandatory);
        Ok(())
    })
    .await
}

/// Takes a module type out; a known one that is not in changes nothing. Not for types that sets have already.
pub async fn remove_module_type(ctx: &Ctx, id: i64, module: i64) -> Result<()> {
    edit_elements(ctx, id, async |tx, elements| {
        let scope = search::scope(ctx, Permission::ReadSoftwareModuleType).await?;
        let known = software_module_types::store::get(tx, ctx.tenant_id(), &scope, module).await?;
        known.ok_or_else(|| Error::not_found("SoftwareModuleType", module))?;
        elements.remove(&module);
        Ok(())
    })
    .await
}

async fn edit_elements(
    ctx: &Ctx,
    id: i64,
    edit: impl AsyncFnOnce(&sea_orm::DatabaseTransaction, &mut BTreeMap<i64, bool>) -> Result<()>,
) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSetType)?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::UpdateDistributionSetType, id).await?;
    if store::is_used(&*tx, id).await? {
        let message = format!("Distribution set type {id} is used by distribution sets and can't be changed any more.");
        return Err(Error::new(Kind::EntityReadOnly, message));
    }
    let elements = store::elements(&*tx, &[id]).await?;
    let mut elements: BTreeMap<i64, bool> =
        elements.into_iter().map(|e| (e.software_module_type, e.mandatory.unwrap_or(false))).collect();
    edit(&tx, &mut elements).await?;
    store::set_elements(&*tx, id, &elements).await?;
    touched(ctx, &found).update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::DistributionSetType, [id]);
    Ok(tx.commit().await?)
}

/// Keeps all these types as they are until the transaction ends, or `DistributionSetType` not found for the missing.
pub(crate) async fn hold_all(ctx: &Ctx, db: &impl ConnectionTrait, ids: &[i64]) -> Result<()> {
    let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
    let found: HashSet<i64> = store::hold_all(db, ctx.tenant_id(), &scope, ids).await?.into_iter().collect();
    let missing: Vec<i64> = ids.iter().copied().filter(|id| !found.contains(id)).collect();
    // hawkBit: an id that is given twice counts as one that is missing, and is not named.
    if found.len() < ids.len() { Err(Error::not_found_all("DistributionSetType", &missing)) } else { Ok(()) }
}

/// The row of a type that the caller may work on under `permission`, locked for the rest of the transaction.
async fn lock(ctx: &Ctx, db: &impl ConnectionTrait, permission: Permission, id: i64) -> Result<Model> {
    let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
    let found = store::lock(db, ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))?;
    search::permit(ctx, db, permission, &[id]).await?;
    Ok(found)
}

fn not_found(id: i64) -> Error {
    Error::not_found("DistributionSetType", id)
}

fn touched(ctx: &Ctx, found: &Model) -> ActiveModel {
    touched!(ctx, found)
}
