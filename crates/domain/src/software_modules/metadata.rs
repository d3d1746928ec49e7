//! Metadata of software modules; what is `target_visible` is also told to devices (semantics.md A1, "Metadata").

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, Set,
    sea_query::OnConflict,
};

use super::{
    entity::metadata::{ActiveModel, Column, Entity, Model},
    store,
};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::{Error, Result, check_quota},
    targets, text,
};

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub value: Option<String>,
    pub target_visible: bool,
}

/// What is changed of an entry; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub value: Option<String>,
    pub target_visible: Option<bool>,
}

pub async fn list(ctx: &Ctx, module: i64) -> Result<Vec<Model>> {
    let module = super::find(ctx, module).await?;
    Ok(store::metadata(ctx.db().read(), module.id).await?)
}

pub async fn get(ctx: &Ctx, module: i64, key: &str) -> Result<Model> {
    let module = super::find(ctx, module).await?;
    let found = find(ctx.db().read(), module.id, key).await?;
    found.ok_or_else(|| Error::not_found("SoftwareModule metadata", format!("{}:{key}", module.id)))
}

/// Sets entries, all or none; what is there under a key is overwritten.
pub async fn create(ctx: &Ctx, module: i64, entries: Vec<Entry>) -> Result<()> {
    ctx.require(Permission::UpdateSoftwareModule)?;
    for entry in &entries {
        targets::metadata::check(&entry.key, entry.value.as_deref())?;
    }
    let tx = ctx.begin().await?;
    let found = super::lock(ctx, &*tx, module).await?;
    let mut changed = false;
    for entry in entries {
        changed |= write(ctx, &*tx, module, entry).await?;
    }
    if changed {
        super::touched(ctx, &found).update(&*tx).await?;
        super::told(ctx, &tx, &found);
    }
    Ok(tx.commit().await?)
}

/// Changes an entry, or adds it.
pub async fn put(ctx: &Ctx, module: i64, key: &str, update: Update) -> Result<()> {
    ctx.require(Permission::UpdateSoftwareModule)?;
    targets::metadata::check(key, update.value.as_deref())?;
    let tx = ctx.begin().await?;
    let found = super::lock(ctx, &*tx, module).await?;
    let before = find(&*tx, module, key).await?;
    let (value, visible) = before.map_or((None, None), |b| (b.meta_value, b.target_visible));
    let target_visible = update.target_visible.or(visible).unwrap_or(false);
    if write(ctx, &*tx, module, Entry { key: key.into(), value: update.value.or(value), target_visible }).await? {
        super::touched(ctx, &found).update(&*tx).await?;
        super::told(ctx, &tx, &found);
    }
    Ok(tx.commit().await?)
}

pub async fn delete(ctx: &Ctx, module: i64, key: &str) -> Result<()> {
    ctx.require(Permission::UpdateSoftwareModule)?;
    let tx = ctx.begin().await?;
    let found = super::lock(ctx, &*tx, module).await?;
    let deleted = Entity::delete_by_id((key.into(), module)).exec(&*tx).await?;
    if deleted.rows_affected == 0 {
        return Err(Error::not_found("Metadata", format!("SoftwareModule:{module}:{key}")));
    }
    super::touched(ctx, &found).update(&*tx).await?;
    super::told(ctx, &tx, &found);
    Ok(tx.commit().await?)
}

async fn find(db: &impl ConnectionTrait, module: i64, key: &str) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id((key.into(), module)).one(db).await
}

/// Sets an entry, and tells whether that was a change.
async fn write(ctx: &Ctx, db: &impl ConnectionTrait, module: i64, entry: Entry) -> Result<bool> {
    // hawkBit: of all metadata, only the values of modules lose the blanks around them.
    let value = entry.value.map(text::trim);
    if let Some(before) = find(db, module, &entry.key).await? {
        if before.meta_value == value && before.target_visible.unwrap_or(false) == entry.target_visible {
            return Ok(false);
        }
    } else {
        let there = Entity::find().filter(Column::Sm.eq(module)).count(db).await?;
        let there = i64::try_from(there).unwrap_or(i64::MAX);
        let limit = ctx.settings().quotas.metadata_per_software_module;
        check_quota(limit, there, 1, "the metadata of a software module")?;
    }
    let row = ActiveModel {
        meta_key: Set(entry.key),
        meta_value: Set(value),
        sm: Set(module),
        target_visible: Set(Some(entry.target_visible)),
    };
    let mut known = OnConflict::columns([Column::MetaKey, Column::Sm]);
    known.update_columns([Column::MetaValue, Column::TargetVisible]);
    Entity::insert(row).on_conflict(known).exec_without_returning(db).await?;
    Ok(true)
}
