//! Queries over distribution set types. Every one binds the tenant, or an id that such a query gave.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select, Set,
};

use super::entity::{Column, Entity, Model, element};
use crate::{access::Scope, distribution_sets::entity as set, target_types};

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

/// As [`get`], and keeps the row from being changed until the transaction ends; others may hold it so as well.
pub async fn hold(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).lock_shared().one(db).await
}

/// Those of the ids that there are, as [`hold`] holds them, in order: two batches can't deadlock.
pub async fn hold_all(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, ids: &[i64]) -> Result<Vec<i64>, DbErr> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(999) {
        let select = of_tenant(tenant, scope).filter(Column::Id.is_in(chunk.iter().copied())).order_by_asc(Column::Id);
        found.extend(select.lock_shared().all(db).await?.into_iter().map(|t| t.id));
    }
    Ok(found)
}

/// Those of the types that there are, deleted ones too: of sets that the caller may see.
pub async fn get_all(db: &impl ConnectionTrait, tenant: &str, ids: &[i64]) -> Result<Vec<Model>, DbErr> {
    of_tenant(tenant, &Scope::ALL).filter(Column::Id.is_in(ids.iter().copied())).all(db).await
}

/// The types whose sets targets of this type take, deleted ones too, by id.
pub async fn of_target_type(
    db: &impl ConnectionTrait,
    tenant: &str,
    scope: &Scope,
    target_type: i64,
) -> Result<Vec<Model>, DbErr> {
    let ids = target_types::store::compatible_ids(target_type);
    of_tenant(tenant, scope).filter(Column::Id.in_subquery(ids)).order_by_asc(Column::Id).all(db).await
}

pub async fn find_by_key(
    db: &impl ConnectionTrait,
    tenant: &str,
    scope: &Scope,
    key: &str,
) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::TypeKey.eq(key)).one(db).await
}

/// The module types of these types: by type, in the order of the module types' ids.
pub async fn elements(db: &impl ConnectionTrait, ids: &[i64]) -> Result<Vec<element::Model>, DbErr> {
    let of_types = element::Column::DistributionSetType.is_in(ids.iter().copied());
    element::Entity::find().filter(of_types).order_by_asc(element::Column::SoftwareModuleType).all(db).await
}

/// Makes `elements`, module type to mandatory or not, the ones of the type.
pub async fn set_elements(db: &impl ConnectionTrait, id: i64, elements: &BTreeMap<i64, bool>) -> Result<(), DbErr> {
    element::Entity::delete_many().filter(element::Column::DistributionSetType.eq(id)).exec(db).await?;
    let rows = elements.iter().map(|(module_type, mandatory)| element::ActiveModel {
        mandatory: Set(Some(*mandatory)),
        distribution_set_type: Set(id),
        software_module_type: Set(*module_type),
    });
    if !elements.is_empty() {
        element::Entity::insert_many(rows).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Whether a distribution set, deleted or not, has this type.
pub async fn is_used(db: &impl ConnectionTrait, id: i64) -> Result<bool, DbErr> {
    Ok(set::Entity::find().filter(set::Column::DsType.eq(id)).limit(1).count(db).await? > 0)
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}
