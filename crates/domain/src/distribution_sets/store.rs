//! Queries over distribution sets. Every one binds the tenant, or ids that such a query gave.

use kettle_db::Engine;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, Set,
    sea_query::{Expr, Func},
};

use super::entity::{Column, Entity, Model, metadata, module};
use crate::{access::Scope, software_modules::entity as software_module};

pub(crate) fn of_tenant(tenant: &str, scope: &Scope) -> Select<Entity> {
    scope.of(Entity::find().filter(Column::Tenant.eq(tenant)))
}

/// Any set, deleted ones too.
pub async fn get(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).one(db).await
}

/// The sets of these ids, deleted ones too: of filters that the caller may see.
pub async fn get_all(db: &impl ConnectionTrait, tenant: &str, ids: &[i64]) -> Result<Vec<Model>, DbErr> {
    of_tenant(tenant, &Scope::ALL).filter(Column::Id.is_in(ids.iter().copied())).all(db).await
}

/// As [`get`], and holds the row until the transaction ends: all writers of one set queue here.
pub async fn lock(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).lock_exclusive().one(db).await
}

/// Those of the sets that there are, deleted ones too, each once, locked in the order of their ids.
pub async fn lock_many(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, ids: &[i64]) -> Result<Vec<i64>, DbErr> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut found = Vec::with_capacity(sorted.len());
    for chunk in sorted.chunks(999) {
        let select = of_tenant(tenant, scope).filter(Column::Id.is_in(chunk.iter().copied())).order_by_asc(Column::Id);
        found.extend(select.lock_exclusive().all(db).await?.into_iter().map(|set| set.id));
    }
    Ok(found)
}

/// As [`get`], and keeps the row from being changed until the transaction ends; others may hold it so as well.
pub async fn hold(db: &impl ConnectionTrait, tenant: &str, scope: &Scope, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::Id.eq(id)).lock_shared().one(db).await
}

/// The set of this name and version, in any case, that is not deleted; of several, which differ in their type, the
/// oldest.
pub async fn find_by_name_version(
    db: &impl ConnectionTrait,
    tenant: &str,
    name: &str,
    version: &str,
) -> Result<Option<Model>, DbErr> {
    let same = |column: Column, value: &str| {
        Expr::from(Func::upper(Expr::col((Entity, column)))).eq(Func::upper(Expr::val(value)))
    };
    of_tenant(tenant, &Scope::ALL)
        .filter(Column::Deleted.eq(false))
        .filter(same(Column::Name, name))
        .filter(same(Column::Version, version))
        .order_by_asc(Column::Id)
        .one(db)
        .await
}

/// Which modules these sets hold, in the order of the modules' ids.
pub async fn modules(db: &impl ConnectionTrait, sets: &[i64]) -> Result<Vec<module::Model>, DbErr> {
    let of_sets = module::Entity::find().filter(module::Column::DsId.is_in(sets.iter().copied()));
    of_sets.order_by_asc(module::Column::SmId).all(db).await
}

pub async fn add_modules(db: &impl ConnectionTrait, set: i64, modules: &[i64]) -> Result<(), DbErr> {
    if modules.is_empty() {
        return Ok(());
    }
    let rows = modules.iter().map(|id| module::ActiveModel { ds_id: Set(set), sm_id: Set(*id) });
    module::Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

/// Takes modules out of the set; returns how many were in it.
pub async fn remove_modules(db: &impl ConnectionTrait, set: i64, modules: &[i64]) -> Result<u64, DbErr> {
    let in_set = module::Entity::delete_many().filter(module::Column::DsId.eq(set));
    Ok(in_set.filter(module::Column::SmId.is_in(modules.iter().copied())).exec(db).await?.rows_affected)
}

/// Locks those of the modules that are not; the caller holds their set.
pub async fn lock_modules(
    db: &impl ConnectionTrait,
    tenant: &str,
    modules: &[i64],
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    use software_module::{Column, Entity};
    Entity::update_many()
        .col_expr(Column::Locked, Expr::val(true))
        .col_expr(Column::LastModifiedAt, Expr::val(now))
        .col_expr(Column::LastModifiedBy, Expr::val(by))
        .col_expr(Column::OptlockRevision, Expr::col(Column::OptlockRevision).add(1))
        .filter(Column::Tenant.eq(tenant))
        .filter(Column::Id.is_in(modules.iter().copied()))
        .filter(Column::Locked.eq(false))
        .exec(db)
        .await?;
    Ok(())
}

/// Whether a target has the set, a rollout was made for it, or an action tells of it: it must stay readable then.
pub async fn is_used(db: &impl ConnectionTrait, engine: Engine, tenant: &str, set: i64) -> Result<bool, DbErr> {
    let sql = "SELECT 1 AS used WHERE \
               EXISTS (SELECT 1 FROM sp_target WHERE tenant = $1 AND assigned_distribution_set = $2) \
               OR EXISTS (SELECT 1 FROM sp_target WHERE tenant = $1 AND installed_distribution_set = $2) \
               OR EXISTS (SELECT 1 FROM sp_rollout WHERE tenant = $1 AND distribution_set = $2) \
               OR EXISTS (SELECT 1 FROM sp_action WHERE tenant = $1 AND distribution_set = $2)";
    Ok(db.query_one_raw(engine.statement(sql, [tenant.into(), set.into()])).await?.is_some())
}

/// Takes the set out of all target filters that assign it by themselves. That is no edit of the filters: who changed them
/// last stays.
pub async fn leave_target_filters(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
) -> Result<u64, DbErr> {
    let sql = "UPDATE sp_target_filter_query SET auto_assign_distribution_set = NULL, auto_assign_action_type = NULL, \
               access_control_context = NULL, optlock_revision = optlock_revision + 1 \
               WHERE tenant = $1 AND auto_assign_distribution_set = $2";
    Ok(db.execute_raw(engine.statement(sql, [tenant.into(), set.into()])).await?.rows_affected())
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

pub async fn metadata(db: &impl ConnectionTrait, set: i64) -> Result<Vec<metadata::Model>, DbErr> {
    let of_set = metadata::Entity::find().filter(metadata::Column::Ds.eq(set));
    of_set.order_by_asc(metadata::Column::MetaKey).all(db).await
}

pub async fn metadata_count(db: &impl ConnectionTrait, set: i64) -> Result<u64, DbErr> {
    metadata::Entity::find().filter(metadata::Column::Ds.eq(set)).count(db).await
}

/// How many actions (or rollouts, deleted ones too) of the set are in which status. `table` is one of the two.
pub async fn by_status(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    set: i64,
    table: &'static str,
) -> Result<Vec<(i32, i64)>, DbErr> {
    let sql = format!(
        "SELECT status, count(*) AS n FROM {table} WHERE tenant = $1 AND distribution_set = $2 GROUP BY status"
    );
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), set.into()])).await?;
    rows.iter().map(|row| Ok((row.try_get("", "status")?, row.try_get("", "n")?))).collect()
}

/// How many target filters assign the set by themselves.
pub async fn auto_assignments(db: &impl ConnectionTrait, engine: Engine, tenant: &str, set: i64) -> Result<i64, DbErr> {
    let sql =
        "SELECT count(*) AS n FROM sp_target_filter_query WHERE tenant = $1 AND auto_assign_distribution_set = $2";
    let row = db.query_one_raw(engine.statement(sql, [tenant.into(), set.into()])).await?;
    Ok(row.map(|r| r.try_get("", "n")).transpose()?.unwrap_or(0))
}
