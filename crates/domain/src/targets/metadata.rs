//! Metadata that operators keep with a target (semantics.md A1, "Metadata").

use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, Set};

use super::{
    entity::metadata::{self, ActiveModel, Column, Entity, Model},
    store,
};
use crate::{
    access::Permission,
    announcements::{self, Entity as Told},
    ctx::Ctx,
    error::{Error, Result, check_quota},
    text,
};

const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 4000;

/// Checks a key and a value of any entity's metadata.
pub(crate) fn check(key: &str, value: Option<&str>) -> Result<()> {
    text::required("key", key, MAX_KEY)?;
    text::optional("value", value, MAX_VALUE)
}

pub async fn list(ctx: &Ctx, controller_id: &str) -> Result<Vec<Model>> {
    let target = super::find(ctx, controller_id).await?;
    Ok(store::metadata(ctx.db().read(), target.id).await?)
}

pub async fn get(ctx: &Ctx, controller_id: &str, key: &str) -> Result<Model> {
    let target = super::find(ctx, controller_id).await?;
    find(ctx.db().read(), target.id, key).await?.ok_or_else(|| not_found(controller_id, key))
}

/// Adds entries, all or none; a key that is there already is a conflict.
pub async fn create(ctx: &Ctx, controller_id: &str, entries: Vec<(String, Option<String>)>) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    for (key, value) in &entries {
        check(key, value.as_deref())?;
    }
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    check_room(ctx, &*tx, target.id, entries.len()).await?;
    for (key, value) in entries {
        let row = ActiveModel { target: Set(target.id), meta_key: Set(key), meta_value: Set(value) };
        let inserted = Entity::insert(row).exec_without_returning(&*tx).await;
        inserted.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    }
    super::touched(ctx, &target).update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Target, [target.id]);
    super::changed(ctx, &mut tx, vec![target.controller_id]);
    Ok(tx.commit().await?)
}

/// Sets an entry, new or not.
pub async fn put(ctx: &Ctx, controller_id: &str, key: &str, value: Option<String>) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    check(key, value.as_deref())?;
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    match find(&*tx, target.id, key).await? {
        Some(found) => {
            let mut row: ActiveModel = found.into();
            row.meta_value = Set(value);
            row.update(&*tx).await?;
        }
        None => {
            check_room(ctx, &*tx, target.id, 1).await?;
            let row = ActiveModel { target: Set(target.id), meta_key: Set(key.into()), meta_value: Set(value) };
            Entity::insert(row).exec_without_returning(&*tx).await?;
        }
    }
    super::touched(ctx, &target).update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Target, [target.id]);
    super::changed(ctx, &mut tx, vec![target.controller_id]);
    Ok(tx.commit().await?)
}

pub async fn delete(ctx: &Ctx, controller_id: &str, key: &str) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    let deleted = Entity::delete_by_id((target.id, key.into())).exec(&*tx).await?;
    if deleted.rows_affected == 0 {
        return Err(not_found(controller_id, key));
    }
    super::touched(ctx, &target).update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::Target, [target.id]);
    super::changed(ctx, &mut tx, vec![target.controller_id]);
    Ok(tx.commit().await?)
}

async fn find(db: &impl ConnectionTrait, target: i64, key: &str) -> Result<Option<metadata::Model>, DbErr> {
    Entity::find_by_id((target, key.into())).one(db).await
}

async fn check_room(ctx: &Ctx, db: &impl ConnectionTrait, target: i64, wanted: usize) -> Result<()> {
    let there = Entity::find().filter(Column::Target.eq(target)).count(db).await?;
    let (there, wanted) = (i64::try_from(there).unwrap_or(i64::MAX), i64::try_from(wanted).unwrap_or(i64::MAX));
    check_quota(ctx.settings().quotas.metadata_per_target, there, wanted, "the metadata of a target")
}

fn not_found(controller_id: &str, key: &str) -> Error {
    Error::not_found("Target metadata", format!("{controller_id}:{key}"))
}
