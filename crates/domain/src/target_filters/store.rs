//! Queries over target filters, and over the targets that one may assign its set to. Every one binds the tenant.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Select,
    sea_query::{Expr, Query},
};

use super::entity::{Column, Entity, Model};
use crate::{access::Scope, actions, targets};

pub fn of_tenant(tenant: &str) -> Select<Entity> {
    Entity::find().filter(Column::Tenant.eq(tenant))
}

pub async fn find(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).one(db).await
}

/// As [`find`], and holds the row until the transaction ends.
pub async fn lock(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(db).await
}

/// How many filters were deleted: one or none.
pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<u64, DbErr> {
    let of_tenant = Entity::delete_many().filter(Column::Tenant.eq(tenant));
    Ok(of_tenant.filter(Column::Id.eq(id)).exec(db).await?.rows_affected)
}

/// The targets among those that `which` selects that a set would be assigned to by itself: whose type takes the set's,
/// and that have no action of the set, in any state.
pub fn eligible(
    tenant: &str,
    scope: &Scope,
    set: i64,
    ds_type: i64,
    which: Condition,
) -> Select<targets::entity::Entity> {
    use targets::entity::{Column, Entity};
    let mut of_set = Query::select();
    of_set.expr(Expr::val(1)).from(actions::entity::Entity).and_where(
        Expr::col((actions::entity::Entity, actions::entity::Column::Tenant))
            .eq(tenant)
            .and(Expr::col((actions::entity::Entity, actions::entity::Column::Target)).equals((Entity, Column::Id)))
            .and(Expr::col((actions::entity::Entity, actions::entity::Column::DistributionSet)).eq(set)),
    );
    let compatible = targets::store::compatible(ds_type);
    targets::store::of_tenant(tenant, scope).filter(which).filter(Expr::exists(of_set).not()).filter(compatible)
}
