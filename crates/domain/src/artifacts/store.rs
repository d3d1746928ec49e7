//! Queries over artifacts. Every one binds the tenant.

use kettle_db::Engine;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, Select};

use super::entity::{Column, Entity, Model};

fn of_tenant(tenant: &str) -> Select<Entity> {
    Entity::find().filter(Column::Tenant.eq(tenant))
}

/// The artifacts of a module, in the order of their upload.
pub async fn of_module(db: &impl ConnectionTrait, tenant: &str, module: i64) -> Result<Vec<Model>, DbErr> {
    of_tenant(tenant).filter(Column::SoftwareModule.eq(module)).order_by_asc(Column::Id).all(db).await
}

/// The artifacts of these modules, each module's in the order of their upload.
pub async fn of_modules(db: &impl ConnectionTrait, tenant: &str, modules: &[i64]) -> Result<Vec<Model>, DbErr> {
    let mut found = Vec::new();
    for chunk in modules.chunks(999) {
        let select = of_tenant(tenant).filter(Column::SoftwareModule.is_in(chunk.iter().copied()));
        found.extend(select.order_by_asc(Column::Id).all(db).await?);
    }
    Ok(found)
}

pub async fn get(db: &impl ConnectionTrait, tenant: &str, module: i64, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::SoftwareModule.eq(module)).filter(Column::Id.eq(id)).one(db).await
}

/// Of any module.
pub async fn by_id(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).one(db).await
}

pub async fn by_filename(
    db: &impl ConnectionTrait,
    tenant: &str,
    module: i64,
    filename: &str,
) -> Result<Option<Model>, DbErr> {
    let of_module = of_tenant(tenant).filter(Column::SoftwareModule.eq(module));
    of_module.filter(Column::ProvidedFileName.eq(filename)).order_by_asc(Column::Id).one(db).await
}

pub async fn count(db: &impl ConnectionTrait, tenant: &str, module: i64) -> Result<u64, DbErr> {
    of_tenant(tenant).filter(Column::SoftwareModule.eq(module)).count(db).await
}

/// How many bytes the artifacts of all modules that are not deleted have.
pub async fn stored_bytes(db: &impl ConnectionTrait, engine: Engine, tenant: &str) -> Result<i64, DbErr> {
    let sql = "SELECT CAST(coalesce(sum(a.file_size), 0) AS bigint) AS n FROM sp_artifact a \
               JOIN sp_software_module m ON m.id = a.software_module WHERE a.tenant = $1 AND m.deleted = false";
    let row = db.query_one_raw(engine.statement(sql, [tenant.into()])).await?;
    Ok(row.map(|r| r.try_get("", "n")).transpose()?.unwrap_or(0))
}

/// Whether an artifact of a module that is not deleted has this content.
pub async fn is_needed(db: &impl ConnectionTrait, engine: Engine, tenant: &str, sha1: &str) -> Result<bool, DbErr> {
    let sql = "SELECT 1 AS needed FROM sp_artifact a JOIN sp_software_module m ON m.id = a.software_module \
               WHERE a.tenant = $1 AND a.sha1_hash = $2 AND m.deleted = false LIMIT 1";
    Ok(db.query_one_raw(engine.statement(sql, [tenant.into(), sha1.into()])).await?.is_some())
}

/// Holds the right to put or remove this content of the tenant until the transaction ends.
pub async fn lock_content(db: &impl ConnectionTrait, engine: Engine, tenant: &str, sha1: &str) -> Result<(), DbErr> {
    if let Some(sql) = engine.lock_name() {
        db.execute_raw(engine.statement(sql, [format!("artifact {tenant} {sha1}").into()])).await?;
    }
    Ok(())
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
