//! Software module types: what kinds of modules there are, and how many of each a set may hold (semantics.md A2).

pub mod entity;
pub(crate) mod fields;
pub mod store;

pub use entity::Model;

use std::collections::HashSet;

use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, Order, QueryFilter, Set};

use crate::{
    access::Permission,
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    error::{Error, Result},
    listing::{Listing, Page},
    search, text,
};
use entity::{ActiveModel, Column};

const MAX_KEY: usize = 64;
const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 512;
const MAX_COLOUR: usize = 16;
const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);

#[derive(Clone, Debug, Default)]
pub struct Create {
    pub key: String,
    pub name: String,
    pub description: Option<String>,
    pub colour: Option<String>,
    /// How many modules of the type one distribution set may hold; 1 at least.
    pub max_assignments: i32,
    /// From how many artifacts on a module of the type is complete.
    pub min_artifacts: i32,
}

/// What is changed; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub description: Option<String>,
    pub colour: Option<String>,
}

pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Model>> {
    ctx.require(Permission::ReadSoftwareModuleType)?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModuleType).await?;
    let select = store::of_tenant(ctx.tenant_id(), &scope).filter(Column::Deleted.eq(false));
    search::page(ctx, select, &fields::ENTITY, listing, DEFAULT_SORT, None).await
}

/// One type, a deleted one too, or `SoftwareModuleType` not found.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Model> {
    ctx.require(Permission::ReadSoftwareModuleType)?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModuleType).await?;
    let found = store::get(ctx.db().read(), ctx.tenant_id(), &scope, id).await?;
    found.ok_or_else(|| Error::not_found("SoftwareModuleType", id))
}

/// Creates all types or none; they come back in the order given.
pub async fn create(ctx: &Ctx, types: Vec<Create>) -> Result<Vec<Model>> {
    ctx.require(Permission::CreateSoftwareModuleType)?;
    for create in &types {
        check_names(&create.key, &create.name, create.description.as_deref(), create.colour.as_deref())?;
        if create.max_assignments < 1 {
            return Err(Error::constraint("maxAssignments must be greater than or equal to 1."));
        }
        if create.min_artifacts < 0 {
            return Err(Error::constraint("minArtifacts must be greater than or equal to 0."));
        }
    }
    let tx = ctx.begin().await?;
    let mut created = Vec::with_capacity(types.len());
    for create in types {
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
            max_ds_assignments: Set(create.max_assignments),
            min_artifacts: Set(create.min_artifacts),
        };
        created.push(row.insert(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?);
    }
    let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
    search::permit(ctx, &*tx, Permission::CreateSoftwareModuleType, &ids).await?;
    announcements::created(ctx, &tx, Told::SoftwareModuleType, ids);
    tx.commit().await?;
    Ok(created)
}

pub async fn update(ctx: &Ctx, id: i64, update: Update) -> Result<Model> {
    ctx.require(Permission::UpdateSoftwareModuleType)?;
    check_texts(update.description.as_deref(), update.colour.as_deref())?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::UpdateSoftwareModuleType, id).await?;
    let found = found.ok_or_else(|| Error::not_found("SoftwareModuleType", id))?;
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
    search::permit(ctx, &*tx, Permission::UpdateSoftwareModuleType, &[id]).await?;
    announcements::updated(ctx, &tx, Told::SoftwareModuleType, [id]);
    tx.commit().await?;
    Ok(updated)
}

/// Deletes the type; one that a module or a distribution set type uses is only marked as deleted.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::DeleteSoftwareModuleType)?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::DeleteSoftwareModuleType, id).await?;
    let found = found.ok_or_else(|| Error::not_found_all("SoftwareModuleType", &[id]))?;
    if store::is_used(&*tx, id).await? {
        let mut row = touched(ctx, &found);
        row.deleted = Set(Some(true));
        row.update(&*tx).await?;
    } else {
        store::delete(&*tx, ctx.tenant_id(), id).await?;
        announcements::deleted(ctx, &tx, Told::SoftwareModuleType, [id]);
    }
    Ok(tx.commit().await?)
}

/// The types with these ids that the caller may read, or `SoftwareModuleType` not found for those that are missing.
pub(crate) async fn all(ctx: &Ctx, db: &impl sea_orm::ConnectionTrait, ids: &[i64]) -> Result<Vec<Model>> {
    let scope = search::scope(ctx, Permission::ReadSoftwareModuleType).await?;
    let found = store::get_all(db, ctx.tenant_id(), &scope, ids).await?;
    let known: HashSet<i64> = found.iter().map(|t| t.id).collect();
    let missing: Vec<i64> = ids.iter().copied().filter(|id| !known.contains(id)).collect();
    if missing.is_empty() { Ok(found) } else { Err(Error::not_found_all("SoftwareModuleType", &missing)) }
}

/// Checks what every type of modules, sets or targets has.
pub(crate) fn check_names(key: &str, name: &str, description: Option<&str>, colour: Option<&str>) -> Result<()> {
    text::filled("key", key, MAX_KEY)?;
    check_name(name)?;
    check_texts(description, colour)
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    text::filled("name", name, MAX_NAME)
}

pub(crate) fn check_texts(description: Option<&str>, colour: Option<&str>) -> Result<()> {
    text::optional("description", description, MAX_DESCRIPTION)?;
    text::optional("colour", colour, MAX_COLOUR)
}

/// The row of a type that the caller may work on under `permission`, locked for the rest of the transaction.
async fn lock(ctx: &Ctx, db: &impl sea_orm::ConnectionTrait, permission: Permission, id: i64) -> Result<Option<Model>> {
    let scope = search::scope(ctx, Permission::ReadSoftwareModuleType).await?;
    let found = store::lock(db, ctx.tenant_id(), &scope, id).await?;
    if found.is_some() {
        search::permit(ctx, db, permission, &[id]).await?;
    }
    Ok(found)
}

fn touched(ctx: &Ctx, found: &Model) -> ActiveModel {
    touched!(ctx, found)
}
