//! Queries over software module types. Every one binds the tenant, or an id that such a query gave.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};

use super::entity::{Column, Entity, Model};
use crate::{access::Scope, distribution_set_types::entity::element, software_modules::entity as module};

pub(crate) fn of_tenant(tenant: &str, scope: &Scope) -> Select<Entity> {
    scope.of(Entity::find().filter(Column::Tenant.eq(tenant)))
}

/// Any type, deleted ones too.
pub async fn get(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).one(db).await
}

/// As [`get`], and holds the row until the transaction ends.
pub async fn lock(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).lock_exclusive().one(db).await
}

/// Those of the types that there are, deleted ones too, by id.
pub async fn get_all(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, ids: &[i64]) -> Result<Vec<Model>, DbErr> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(999) {
        let select = of_tenant(tenant, scope).filter(Column::Id.is_in(chunk.iter().copied()));
        found.extend(select.order_by_asc(Column::Id).all(db).await?);
    }
    Ok(found)
}

pub async fn find_by_key(
    db: &impl ConnectionTrait,
    tenant: &str,
    scope: &Scope,
    key: &str,
) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::TypeKey.eq(key)).one(db).await
}

/// Whether a module, deleted or not, or a distribution set type has this type.
pub async fn is_used(db: &impl ConnectionTrait, id: i64) -> Result<bool, DbErr> {
    if module::Entity::find().filter(module::Column::SmType.eq(id)).limit(1).count(db).await? > 0 {
        return Ok(true);
    }
    let elements = element::Entity::find().filter(element::Column::SoftwareModuleType.eq(id));
    Ok(elements.limit(1).count(db).await? > 0)
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
