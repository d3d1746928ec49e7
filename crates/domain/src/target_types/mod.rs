//! Target types: which types of distribution sets a target takes (semantics.md A1, "Types, tags, groups").
//!
//! A target without a type takes every set; one whose type lists no distribution set type takes none.

pub mod entity;
pub(crate) mod fields;
pub(crate) mod store;

pub use entity::Model;

use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, ConnectionTrait, Order, Set};

use crate::{
    access::{Permission, Scope},
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    distribution_set_types,
    error::{Error, Kind, Result, check_quota},
    listing::{Listing, Page},
    search,
    software_module_types::{check_name, check_names, check_texts},
    targets, text,
};
use entity::ActiveModel;

const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);

/// A type to create. Of key and name, one stands for both.
#[derive(Clone, Debug, Default)]
pub struct Create {
    pub key: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub colour: Option<String>,
    /// Ids of distribution set types.
    pub compatible: Vec<i64>,
}

/// What is changed; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub name: Option<String>,
    pub description: Option<String>,
    pub colour: Option<String>,
}

pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Model>> {
    ctx.require(Permission::ReadTargetType)?;
    let scope = search::scope(ctx, Permission::ReadTargetType).await?;
    search::page(ctx, store::of_tenant(ctx.tenant_id(), &scope), &fields::ENTITY, listing, DEFAULT_SORT, None).await
}

/// One type, or `TargetType` not found.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Model> {
    ctx.require(Permission::ReadTargetType)?;
    let scope = search::scope(ctx, Permission::ReadTargetType).await?;
    store::get(ctx.db().read(), ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))
}

/// Creates all types or none; they come back in the order given.
pub async fn create(ctx: &Ctx, types: Vec<Create>) -> Result<Vec<Model>> {
    ctx.require(Permission::CreateTargetType)?;
    if types.iter().any(|t| !t.compatible.is_empty()) {
        ctx.require(Permission::ReadDistributionSetType)?;
    }
    let tx = ctx.begin().await?;
    let mut rows = Vec::with_capacity(types.len());
    for create in types {
        // hawkBit: the quota of distribution set types holds when some are added later, not here.
        distribution_set_types::hold_all(ctx, &*tx, &create.compatible).await?;
        rows.push((new_row(ctx, create.key, create.name, create.description, create.colour)?, create.compatible));
    }
    let mut created = Vec::with_capacity(rows.len());
    for (row, compatible) in rows {
        let row = row.insert(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
        store::add_compatible(&*tx, row.id, &compatible).await?;
        created.push(row);
    }
    let ids: Vec<i64> = created.iter().map(|row| row.id).collect();
    search::permit(ctx, &*tx, Permission::CreateTargetType, &ids).await?;
    announcements::created(ctx, &tx, Told::TargetType, ids);
    tx.commit().await?;
    Ok(created)
}

fn new_row(
    ctx: &Ctx,
    key: Option<String>,
    name: Option<String>,
    description: Option<String>,
    colour: Option<String>,
) -> Result<ActiveModel> {
    let (key, name) = match (key, name) {
        (Some(key), Some(name)) => (key, name),
        (Some(one), None) | (None, Some(one)) => (one.clone(), one),
        (None, None) => {
            let message = "Give the target type a key, a name, or both.";
            return Err(Error::new(Kind::TargetTypeKeyOrNameRequired, message));
        }
    };
    check_names(&key, &name, description.as_deref(), colour.as_deref())?;
    Ok(ActiveModel {
        id: NotSet,
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        tenant: Set(ctx.tenant_id().into()),
        description: Set(description.map(text::trim)),
        name: Set(text::trim(name)),
        colour: Set(colour.map(text::trim)),
        type_key: Set(text::trim(key)),
    })
}

pub async fn update(ctx: &Ctx, id: i64, update: Update) -> Result<Model> {
    ctx.require(Permission::UpdateTargetType)?;
    if let Some(name) = &update.name {
        check_name(name)?;
    }
    check_texts(update.description.as_deref(), update.colour.as_deref())?;
    let mut tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::UpdateTargetType, id).await?;
    let name = text::change(update.name, Some(&found.name));
    let description = text::change(update.description, found.description.as_deref());
    let colour = text::change(update.colour, found.colour.as_deref());
    if name.is_none() && description.is_none() && colour.is_none() {
        return Ok(found);
    }
    let mut row = touched(ctx, &found);
    if let Some(name) = name {
        row.name = Set(name);
        targets::searches_changed(ctx, &mut tx, &["type", "targettype"]);
    }
    if description.is_some() {
        row.description = Set(description);
    }
    if colour.is_some() {
        row.colour = Set(colour);
    }
    let updated = row.update(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    search::permit(ctx, &*tx, Permission::UpdateTargetType, &[id]).await?;
    announcements::updated(ctx, &tx, Told::TargetType, [id]);
    tx.commit().await?;
    Ok(updated)
}

/// Deletes a type that no target has.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::DeleteTargetType)?;
    let tx = ctx.begin().await?;
    let scope = search::scope(ctx, Permission::ReadTargetType).await?;
    let found = store::lock(&*tx, ctx.tenant_id(), &scope, id).await?;
    found.ok_or_else(|| Error::not_found_all("TargetType", &[id]))?;
    search::permit(ctx, &*tx, Permission::DeleteTargetType, &[id]).await?;
    if store::is_used(&*tx, ctx.tenant_id(), id).await? {
        let message = format!("Target type {id} is in use: take it off all targets, then delete it.");
        return Err(Error::new(Kind::TargetTypeUsed, message));
    }
    store::delete(&*tx, ctx.tenant_id(), id).await?;
    announcements::deleted(ctx, &tx, Told::TargetType, [id]);
    Ok(tx.commit().await?)
}

/// The distribution set types that targets of this type take.
pub async fn compatible(ctx: &Ctx, id: i64) -> Result<Vec<distribution_set_types::Model>> {
    get(ctx, id).await?;
    // What a type takes is part of it: the caller's scope over set types does not matter here.
    Ok(distribution_set_types::store::of_target_type(ctx.db().read(), ctx.tenant_id(), &Scope::ALL, id).await?)
}

/// Lets targets of this type take sets of these types too, of all or of none.
pub async fn add_compatible(ctx: &Ctx, id: i64, set_types: &[i64]) -> Result<()> {
    require_edit(ctx)?;
    if set_types.is_empty() {
        return Err(Error::constraint("Name at least one distribution set type."));
    }
    let mut tx = ctx.begin().await?;
    distribution_set_types::hold_all(ctx, &*tx, set_types).await?;
    let found = lock(ctx, &*tx, Permission::UpdateTargetType, id).await?;
    let current = store::compatible(&*tx, id).await?;
    let limit = ctx.settings().quotas.distribution_set_types_per_target_type;
    let count = |ids: &[i64]| i64::try_from(ids.len()).unwrap_or(i64::MAX);
    // hawkBit: those that are there already count twice.
    check_quota(limit, count(&current), count(set_types), "a target type")?;
    let new: Vec<i64> = set_types.iter().copied().filter(|id| !current.contains(id)).collect();
    if !new.is_empty() {
        store::add_compatible(&*tx, id, &new).await?;
        // Whatever a filter asks for: these targets take its set from now on.
        targets::searches_changed(ctx, &mut tx, &[]);
        touched(ctx, &found).update(&*tx).await?;
        announcements::updated(ctx, &tx, Told::TargetType, [id]);
    }
    Ok(tx.commit().await?)
}

/// Targets of this type take no sets of that type any more; a known one that they did not take changes nothing.
pub async fn remove_compatible(ctx: &Ctx, id: i64, set_type: i64) -> Result<()> {
    require_edit(ctx)?;
    let tx = ctx.begin().await?;
    let found = lock(ctx, &*tx, Permission::UpdateTargetType, id).await?;
    let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
    let known = distribution_set_types::store::get(&*tx, ctx.tenant_id(), &scope, set_type).await?;
    known.ok_or_else(|| Error::not_found("DistributionSetType", set_type))?;
    if store::remove_compatible(&*tx, id, set_type).await? {
        touched(ctx, &found).update(&*tx).await?;
        announcements::updated(ctx, &tx, Told::TargetType, [id]);
    }
    Ok(tx.commit().await?)
}

fn require_edit(ctx: &Ctx) -> Result<()> {
    ctx.require(Permission::UpdateTargetType)?;
    ctx.require(Permission::ReadDistributionSetType)
}

/// Keeps a type that targets are to have from being deleted until the transaction ends, or `TargetType` not found.
pub(crate) async fn hold(ctx: &Ctx, db: &impl ConnectionTrait, id: i64) -> Result<()> {
    let scope = search::scope(ctx, Permission::ReadTargetType).await?;
    store::hold(db, ctx.tenant_id(), &scope, id).await?.map(drop).ok_or_else(|| not_found(id))
}

/// Fails unless targets of all these types take sets of the type `set_type`.
pub(crate) async fn check_taking(db: &impl ConnectionTrait, ids: &[i64], set_type: i64) -> Result<()> {
    let taking = store::taking(db, ids, set_type).await?;
    if ids.iter().all(|id| taking.contains(id)) {
        return Ok(());
    }
    let message = "The distribution set's type is not among those that a target's type is compatible with.";
    Err(Error::new(Kind::TargetTypeIncompatible, message))
}

/// The row of a type that the caller may work on under `permission`, locked for the rest of the transaction.
async fn lock(ctx: &Ctx, db: &impl ConnectionTrait, permission: Permission, id: i64) -> Result<Model> {
    let scope = search::scope(ctx, Permission::ReadTargetType).await?;
    let found = store::lock(db, ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))?;
    search::permit(ctx, db, permission, &[id]).await?;
    Ok(found)
}

fn not_found(id: i64) -> Error {
    Error::not_found("TargetType", id)
}

fn touched(ctx: &Ctx, found: &Model) -> ActiveModel {
    touched!(ctx, found)
}
