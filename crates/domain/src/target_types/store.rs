//! Queries over target types. Every one binds the tenant, or an id that such a query gave.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect, QueryTrait, Select,
    Set, sea_query::SelectStatement,
};

use super::entity::{Column, Entity, Model, compatible};
use crate::{access::Scope, targets};

pub(crate) fn of_tenant(tenant: &str, scope: &Scope) -> Select<Entity> {
    scope.of(Entity::find().filter(Column::Tenant.eq(tenant)))
}

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

/// The names of those of the types that there are.
pub async fn names(db: &impl ConnectionTrait, tenant: &str, ids: &[i64]) -> Result<HashMap<i64, String>, DbErr> {
    let mut names = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(999) {
        let of_ids = of_tenant(tenant, &Scope::ALL).filter(Column::Id.is_in(chunk.iter().copied()));
        let select = of_ids.select_only().columns([Column::Id, Column::Name]);
        names.extend(select.into_tuple::<(i64, String)>().all(db).await?);
    }
    Ok(names)
}

/// The ids of those of the types that there are, by name.
pub async fn by_names(db: &impl ConnectionTrait, tenant: &str, names: &[&str]) -> Result<HashMap<String, i64>, DbErr> {
    let mut ids = HashMap::with_capacity(names.len());
    for chunk in names.chunks(999) {
        let of_names = of_tenant(tenant, &Scope::ALL).filter(Column::Name.is_in(chunk.iter().copied()));
        let select = of_names.select_only().columns([Column::Name, Column::Id]);
        ids.extend(select.into_tuple::<(String, i64)>().all(db).await?);
    }
    Ok(ids)
}

/// Whether a target has this type.
pub async fn is_used(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<bool, DbErr> {
    let with_type = targets::store::of_tenant(tenant, &Scope::ALL).filter(targets::entity::Column::TargetType.eq(id));
    Ok(with_type.limit(1).count(db).await? > 0)
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

/// The ids of the distribution set types that this type takes, as a query.
pub fn compatible_ids(id: i64) -> SelectStatement {
    let of_type = compatible::Entity::find().filter(compatible::Column::TargetType.eq(id));
    of_type.select_only().column(compatible::Column::DistributionSetType).into_query()
}

/// The ids of the distribution set types that this type takes.
pub async fn compatible(db: &impl ConnectionTrait, id: i64) -> Result<Vec<i64>, DbErr> {
    let of_type = compatible::Entity::find().filter(compatible::Column::TargetType.eq(id));
    of_type.select_only().column(compatible::Column::DistributionSetType).into_tuple().all(db).await
}

/// Which of these target types take sets of the type `set_type`.
pub async fn taking(db: &impl ConnectionTrait, ids: &[i64], set_type: i64) -> Result<Vec<i64>, DbErr> {
    let mut taking = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(999) {
        let of_set_type = compatible::Entity::find().filter(compatible::Column::DistributionSetType.eq(set_type));
        let of_types = of_set_type.filter(compatible::Column::TargetType.is_in(chunk.iter().copied()));
        let select = of_types.select_only().column(compatible::Column::TargetType);
        taking.extend(select.into_tuple::<i64>().all(db).await?);
    }
    Ok(taking)
}

/// Adds distribution set types that the type does not take yet.
pub async fn add_compatible(db: &impl ConnectionTrait, id: i64, set_types: &[i64]) -> Result<(), DbErr> {
    for chunk in set_types.chunks(999) {
        let rows = chunk
            .iter()
            .map(|set_type| compatible::ActiveModel { target_type: Set(id), distribution_set_type: Set(*set_type) });
        compatible::Entity::insert_many(rows).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Takes a distribution set type away; returns whether it was there.
pub async fn remove_compatible(db: &impl ConnectionTrait, id: i64, set_type: i64) -> Result<bool, DbErr> {
    Ok(compatible::Entity::delete_by_id((id, set_type)).exec(db).await?.rows_affected > 0)
}

/// Takes a distribution set type, whose id was read with the tenant, away from all target types.
pub async fn remove_from_all(db: &impl ConnectionTrait, set_type: i64) -> Result<(), DbErr> {
    let of_set_type = compatible::Entity::delete_many().filter(compatible::Column::DistributionSetType.eq(set_type));
    of_set_type.exec(db).await?;
    Ok(())
}
