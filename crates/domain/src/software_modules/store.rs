//! Queries over software modules. Every one binds the tenant, or ids that such a query gave.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
    sea_query::{Expr, Query, SelectStatement},
};

use super::entity::{Column, Entity, Model, metadata};
use crate::{
    access::Scope,
    artifacts::entity as artifact,
    distribution_sets::entity::{self as set, module as held},
};

pub(crate) fn of_tenant(tenant: &str, scope: &Scope) -> Select<Entity> {
    scope.of(Entity::find().filter(Column::Tenant.eq(tenant)))
}

/// Any module, deleted ones too.
pub async fn get(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).one(db).await
}

/// As [`get`], and holds the row until the transaction ends: all writers of one module queue here.
pub async fn lock(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).lock_exclusive().one(db).await
}

/// Those of the modules that there are, deleted ones too, kept from being changed until the transaction ends.
pub async fn hold_all(db: &impl ConnectionTrait, tenant: &str, ids: &[i64]) -> Result<Vec<Model>, DbErr> {
    of_tenant(tenant, &Scope::ALL)
        .filter(Column::Id.is_in(ids.iter().copied()))
        .order_by_asc(Column::Id)
        .lock_shared()
        .all(db)
        .await
}

/// The ids of the modules of these sets, for use in another query.
pub(crate) fn ids_in_sets(sets: &[i64]) -> SelectStatement {
    let mut select = Query::select();
    select.column(held::Column::SmId).from(held::Entity);
    select.and_where(Expr::col(held::Column::DsId).is_in(sets.iter().copied()));
    select
}

/// The modules of these sets, each once, deleted ones too.
pub async fn of_sets(db: &impl ConnectionTrait, tenant: &str, sets: &[i64]) -> Result<Vec<Model>, DbErr> {
    of_tenant(tenant, &Scope::ALL).filter(Column::Id.in_subquery(ids_in_sets(sets))).all(db).await
}

/// How many artifacts each of these modules has; those without any are left out.
pub async fn artifact_counts(db: &impl ConnectionTrait, modules: &[i64]) -> Result<HashMap<i64, i64>, DbErr> {
    let mut counts = HashMap::new();
    for chunk in modules.chunks(999) {
        let select = artifact::Entity::find().select_only().column(artifact::Column::SoftwareModule);
        let select = select.expr_as(artifact::Column::Id.count(), "artifacts");
        let select = select.filter(artifact::Column::SoftwareModule.is_in(chunk.iter().copied()));
        let rows = select.group_by(artifact::Column::SoftwareModule).into_tuple::<(i64, i64)>().all(db).await?;
        counts.extend(rows);
    }
    Ok(counts)
}

/// Whether any set, deleted or not, holds the module.
pub async fn is_in_a_set(db: &impl ConnectionTrait, id: i64) -> Result<bool, DbErr> {
    Ok(held::Entity::find().filter(held::Column::SmId.eq(id)).limit(1).count(db).await? > 0)
}

/// Whether a locked set that is not deleted holds the module.
pub async fn is_in_a_locked_set(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<bool, DbErr> {
    let mut sets = Query::select();
    sets.column(held::Column::DsId).from(held::Entity).and_where(Expr::col(held::Column::SmId).eq(id));
    let locked = set::Entity::find()
        .filter(set::Column::Tenant.eq(tenant))
        .filter(set::Column::Id.in_subquery(sets))
        .filter(set::Column::Locked.eq(true))
        .filter(set::Column::Deleted.eq(false));
    Ok(locked.limit(1).count(db).await? > 0)
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

pub async fn metadata(db: &impl ConnectionTrait, module: i64) -> Result<Vec<metadata::Model>, DbErr> {
    let of_module = metadata::Entity::find().filter(metadata::Column::Sm.eq(module));
    of_module.order_by_asc(metadata::Column::MetaKey).all(db).await
}
