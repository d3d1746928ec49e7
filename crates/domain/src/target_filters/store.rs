//! Queries over target filters, and over the targets that one may assign its set to. Every one binds the tenant.

use kettle_db::Engine;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Select,
    sea_query::{Expr, Query},
};

use serde::Serialize;

use super::entity::{Column, Entity, Model};
use crate::{access::Scope, actions, targets};

pub fn of_tenant(tenant: &str) -> Select<Entity> {
    Entity::find().filter(Column::Tenant.eq(tenant))
}

pub async fn find(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).one(db).await
}

/// The filters that assign a set, in the order of their ids.
pub async fn assigning(db: &impl ConnectionTrait, tenant: &str) -> Result<Vec<Model>, DbErr> {
    let assigning = of_tenant(tenant).filter(Column::AutoAssignDistributionSet.is_not_null());
    assigning.order_by_asc(Column::Id).all(db).await
}

/// The ids of the filters that assign this set.
pub async fn assigning_set(db: &impl ConnectionTrait, tenant: &str, set: i64) -> Result<Vec<i64>, DbErr> {
    let of_set = of_tenant(tenant).filter(Column::AutoAssignDistributionSet.eq(set));
    of_set.select_only().column(Column::Id).into_tuple().all(db).await
}

/// As [`find`], and keeps the row from being changed until the transaction ends; others may hold it so as well.
pub async fn hold(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant).filter(Column::Id.eq(id)).lock_shared().one(db).await
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

/// The ids of the first `limit` [`eligible`] targets above `after`.
pub async fn eligible_after(
    db: &impl ConnectionTrait,
    eligible: Select<targets::entity::Entity>,
    after: i64,
    limit: u64,
) -> Result<Vec<i64>, DbErr> {
    use targets::entity::Column;
    let select = eligible.filter(Column::Id.gt(after)).select_only().column(Column::Id);
    select.order_by_asc(Column::Id).limit(limit).into_tuple().all(db).await
}

/// The [`eligible`] targets among `ids`, at most a thousand, locked in the order of their ids.
pub async fn lock_eligible(
    db: &impl ConnectionTrait,
    eligible: Select<targets::entity::Entity>,
    ids: &[i64],
) -> Result<Vec<targets::Model>, DbErr> {
    use targets::entity::Column;
    let select = eligible.filter(Column::Id.is_in(ids.iter().copied())).order_by_asc(Column::Id);
    select.lock_exclusive().all(db).await
}

/// A filter, and a target that its query matches.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Match {
    pub filter: i64,
    pub target: i64,
}

/// Those of `matches` whose target would be assigned the filter's set now, in the order of the filters' ids: the rule
/// of [`eligible`], for many filters at once.
pub async fn still_to_assign(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    matches: &[Match],
) -> Result<Vec<Match>, DbErr> {
    let json = serde_json::to_string(matches).map_err(|e| DbErr::Custom(e.to_string()))?;
    let sql = format!(
        "SELECT f.id AS filter_id, t.id AS target_id FROM {} \
         JOIN sp_target_filter_query f ON f.id = m.filter AND f.tenant = $2 \
         JOIN sp_distribution_set s ON s.id = f.auto_assign_distribution_set \
         JOIN sp_target t ON t.id = m.target AND t.tenant = $2 \
         WHERE (t.assigned_distribution_set IS NULL OR t.assigned_distribution_set <> s.id) \
         AND NOT EXISTS (SELECT 1 FROM sp_action a WHERE a.tenant = $2 AND a.target = t.id AND a.distribution_set = s.id) \
         AND (t.target_type IS NULL OR EXISTS (SELECT 1 FROM sp_target_type_ds_type c \
         WHERE c.target_type = t.target_type AND c.distribution_set_type = s.ds_type)) ORDER BY f.id, t.id",
        engine.json_rows(1, "m", &[("filter", "bigint"), ("target", "bigint")])
    );
    let rows = db.query_all_raw(engine.statement(&sql, [json.into(), tenant.into()])).await?;
    let read =
        |row: &QueryResult| Ok(Match { filter: row.try_get("", "filter_id")?, target: row.try_get("", "target_id")? });
    rows.iter().map(read).collect()
}

/// The tenants with filters that assign a set.
pub async fn tenants(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let assigning = Entity::find().filter(Column::AutoAssignDistributionSet.is_not_null());
    assigning.select_only().column(Column::Tenant).distinct().order_by_asc(Column::Tenant).into_tuple().all(db).await
}
