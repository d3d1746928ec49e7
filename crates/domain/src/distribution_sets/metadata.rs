//! Metadata of distribution sets (semantics.md A1, "Metadata"). That of an invalid set stays as it is.

use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, Set, sea_query::OnConflict};

use super::{
    entity::metadata::{ActiveModel, Column, Entity, Model},
    store,
};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::{Error, Result, check_quota},
    targets,
};

pub async fn list(ctx: &Ctx, set: i64) -> Result<Vec<Model>> {
    let set = super::find(ctx, set).await?;
    Ok(store::metadata(ctx.db().read(), set.id).await?)
}

pub async fn get(ctx: &Ctx, set: i64, key: &str) -> Result<Model> {
    let set = super::find(ctx, set).await?;
    let found = find(ctx.db().read(), set.id, key).await?;
    // hawkBit: a read names the type of another entity's metadata.
    found.ok_or_else(|| Error::not_found("Target metadata", format!("{set}:{key}", set = set.id)))
}

/// Sets entries, all or none; what is there under a key is overwritten.
pub async fn create(ctx: &Ctx, set: i64, entries: Vec<(String, Option<String>)>) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSet)?;
    for (key, value) in &entries {
        targets::metadata::check(key, value.as_deref())?;
    }
    let tx = ctx.begin().await?;
    let found = super::lock_valid(ctx, &*tx, set).await?;
    let mut changed = false;
    for (key, value) in entries {
        if let Some(before) = find(&*tx, set, &key).await? {
            if before.meta_value == value {
                continue;
            }
        } else {
            let there = i64::try_from(store::metadata_count(&*tx, set).await?).unwrap_or(i64::MAX);
            let limit = ctx.settings().quotas.metadata_per_distribution_set;
            check_quota(limit, there, 1, "the metadata of a distribution set")?;
        }
        let row = ActiveModel { meta_key: Set(key), meta_value: Set(value), ds: Set(set) };
        let mut known = OnConflict::columns([Column::MetaKey, Column::Ds]);
        known.update_column(Column::MetaValue);
        Entity::insert(row).on_conflict(known).exec_without_returning(&*tx).await?;
        changed = true;
    }
    if changed {
        super::touched(ctx, &found).update(&*tx).await?;
        super::told(ctx, &tx, &found);
    }
    Ok(tx.commit().await?)
}

/// Sets an entry, new or not.
pub async fn put(ctx: &Ctx, set: i64, key: &str, value: Option<String>) -> Result<()> {
    create(ctx, set, vec![(key.into(), value)]).await
}

pub async fn delete(ctx: &Ctx, set: i64, key: &str) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSet)?;
    let tx = ctx.begin().await?;
    let found = super::lock_valid(ctx, &*tx, set).await?;
    let deleted = Entity::delete_by_id((key.into(), set)).exec(&*tx).await?;
    if deleted.rows_affected == 0 {
        return Err(Error::not_found("Metadata", format!("DistributionSet:{set}:{key}")));
    }
    super::touched(ctx, &found).update(&*tx).await?;
    super::told(ctx, &tx, &found);
    Ok(tx.commit().await?)
}

async fn find(db: &impl ConnectionTrait, set: i64, key: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((key.into(), set)).one(db).await
}
