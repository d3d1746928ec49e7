//! Queries over rollouts, their groups and who is in them. Every one binds the tenant.

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use super::entity::{Column, Entity, Model, group};

pub fn of_tenant(tenant: &str) -> Select<Entity> {
    Entity::find().filter(Column::Tenant.eq(tenant))
}

pub async fn find(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).one(db).await
}

/// As [`find`], and holds the row until the transaction ends: who changes a rollout's status or its groups queues here.
pub async fn lock(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(db).await
}

pub fn groups_of(tenant: &str, rollout: i64) -> Select<group::Entity> {
    group::Entity::find().filter(group::Column::Tenant.eq(tenant)).filter(group::Column::Rollout.eq(rollout))
}

/// The groups of a rollout in the order in which they are filled and started: that of their ids.
pub async fn groups(db: &impl ConnectionTrait, tenant: &str, rollout: i64) -> Result<Vec<group::Model>, DbErr> {
    groups_of(tenant, rollout).order_by_asc(group::Column::Id).all(db).await
}
