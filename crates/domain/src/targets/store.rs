//! Queries over targets. Every one binds the tenant.

use std::collections::{HashMap, HashSet};

use kettle_cluster::Tx;
use kettle_db::{Engine, column};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, Select,
    sea_query::{Alias, BinOper, Expr, Func, Query},
};
use serde::Serialize;

use super::entity::{self, Column, Entity, Model};
use crate::access::Scope;

pub(crate) fn of_tenant(tenant: &str, scope: &Scope) -> Select<Entity> {
    scope.of(Entity::find().filter(Column::Tenant.eq(tenant)))
}

/// A row of a list, in the order of the entity's columns.
pub fn decode(row: &QueryResult) -> Result<Model, DbErr> {
    Ok(Model {
        id: column(row, 0)?,
        created_at: column(row, 1)?,
        created_by: column(row, 2)?,
        last_modified_at: column(row, 3)?,
        last_modified_by: column(row, 4)?,
        optlock_revision: column(row, 5)?,
        tenant: column(row, 6)?,
        description: column(row, 7)?,
        name: column(row, 8)?,
        controller_id: column(row, 9)?,
        sec_token: column(row, 10)?,
        assigned_distribution_set: column(row, 11)?,
        install_date: column(row, 12)?,
        address: column(row, 13)?,
        last_target_query: column(row, 14)?,
        request_controller_attributes: column(row, 15)?,
        installed_distribution_set: column(row, 16)?,
        update_status: column(row, 17)?,
        target_type: column(row, 18)?,
        target_group: column(row, 19)?,
    })
}

pub async fn find(
    db: &impl ConnectionTrait,
    tenant: &str,
    scope: &Scope,
    controller_id: &str,
) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::ControllerId.eq(controller_id)).one(db).await
}

/// What a registration compares with.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: i64,
    pub name: String,
    pub address: Option<String>,
    pub update_status: i32,
    pub target_type: Option<i64>,
}

impl From<&Model> for Known {
    fn from(target: &Model) -> Known {
        Known {
            id: target.id,
            name: target.name.clone(),
            address: target.address.clone(),
            update_status: target.update_status,
            target_type: target.target_type,
        }
    }
}

/// Those of the targets that exist, by controllerId.
pub async fn known(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    controller_ids: &[&str],
) -> Result<HashMap<String, Known>, DbErr> {
    let sql = format!(
        "SELECT id, controller_id, name, address, update_status, target_type FROM sp_target \
         WHERE tenant = $1 AND controller_id IN {}",
        engine.json_values(2, "text")
    );
    let ids = serde_json::to_string(controller_ids).map_err(|e| DbErr::Custom(e.to_string()))?;
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), ids.into()])).await?;
    let known = |row: &QueryResult| {
        let known = Known {
            id: row.try_get("", "id")?,
            name: row.try_get("", "name")?,
            address: row.try_get("", "address")?,
            update_status: row.try_get("", "update_status")?,
            target_type: row.try_get("", "target_type")?,
        };
        Ok((row.try_get("", "controller_id")?, known))
    };
    rows.iter().map(known).collect()
}

/// As [`find`], and holds the row until the transaction ends: all writers of one target's state queue here.
pub async fn lock(
    db: &impl ConnectionTrait,
    tenant: &str,
    scope: &Scope,
    controller_id: &str,
) -> Result<Option<Model>, DbErr> {
    of_tenant(tenant, scope).filter(Column::ControllerId.eq(controller_id)).lock_exclusive().one(db).await
}

/// The targets among `controller_ids`, locked in the order of their ids, so that two batches can't deadlock.
pub async fn lock_many(
    db: &impl ConnectionTrait,
    tenant: &str,
    scope: &Scope,
    controller_ids: &[String],
) -> Result<Vec<Model>, DbErr> {
    let mut found = Vec::with_capacity(controller_ids.len());
    for chunk in controller_ids.chunks(999) {
        let select = of_tenant(tenant, scope).filter(Column::ControllerId.is_in(chunk)).order_by_asc(Column::Id);
        found.extend(select.lock_exclusive().all(db).await?);
    }
    found.sort_by_key(|t| t.id);
    Ok(found)
}

/// Locks targets in the order of their ids and gives their controllerIds.
pub async fn lock_ids(db: &impl ConnectionTrait, tenant: &str, ids: &[i64]) -> Result<Vec<String>, DbErr> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(999) {
        let select =
            of_tenant(tenant, &Scope::ALL).filter(Column::Id.is_in(chunk.iter().copied())).order_by_asc(Column::Id);
        let select = select.select_only().column(Column::ControllerId).lock_exclusive();
        found.extend(select.into_tuple::<String>().all(db).await?);
    }
    Ok(found)
}

/// As [`lock_ids`], in one statement for any number; gives (id, controllerId) in the order of the ids.
pub async fn hold_all(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    ids: &[i64],
) -> Result<Vec<(i64, String)>, DbErr> {
    let sql = format!(
        "SELECT id, controller_id FROM sp_target WHERE tenant = $1 AND id IN {} ORDER BY id{}",
        engine.json_values(2, "bigint"),
        engine.for_update()
    );
    let ids = serde_json::to_string(ids).map_err(|e| DbErr::Custom(e.to_string()))?;
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), ids.into()])).await?;
    rows.iter().map(|row| Ok((row.try_get("", "id")?, row.try_get("", "controller_id")?))).collect()
}

/// Targets whose type takes sets of the type `ds_type`, or that have none.
pub fn compatible(ds_type: i64) -> Condition {
    let (link, of_type) = (Alias::new("sp_target_type_ds_type"), Alias::new("target_type"));
    let mut takes = Query::select();
    takes
        .expr(Expr::val(1))
        .from(link.clone())
        .and_where(Expr::col((link.clone(), of_type)).equals((Entity, Column::TargetType)))
        .and_where(Expr::col((link, Alias::new("distribution_set_type"))).eq(ds_type));
    Condition::any().add(Column::TargetType.is_null()).add(Expr::exists(takes))
}

/// The ids of targets by their controllerIds, of those that there are.
pub async fn ids(db: &impl ConnectionTrait, tenant: &str, controller_ids: &[String]) -> Result<Vec<i64>, DbErr> {
    let mut found = Vec::with_capacity(controller_ids.len());
    for chunk in controller_ids.chunks(999) {
        let select = of_tenant(tenant, &Scope::ALL).filter(Column::ControllerId.is_in(chunk));
        found.extend(select.select_only().column(Column::Id).into_tuple::<i64>().all(db).await?);
    }
    Ok(found)
}

/// A row to insert: [`insert_all`] takes any number of them in one statement.
#[derive(Clone, Debug, Serialize)]
pub struct NewTarget {
    pub controller_id: String,
    pub name: String,
    pub description: Option<String>,
    pub sec_token: String,
    pub address: Option<String>,
    pub target_group: Option<String>,
    pub target_type: Option<i64>,
    pub update_status: i32,
    pub last_target_query: Option<i64>,
}

/// Inserts `rows` in their order and gives back what the table holds now.
pub async fn insert_all(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    rows: &[NewTarget],
    by: &str,
    now: i64,
) -> Result<Vec<Model>, DbErr> {
    let columns = [
        ("controller_id", "text"),
        ("name", "text"),
        ("description", "text"),
        ("sec_token", "text"),
        ("address", "text"),
        ("target_group", "text"),
        ("target_type", "bigint"),
        ("update_status", "integer"),
        ("last_target_query", "bigint"),
    ];
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let sql = format!(
        "INSERT INTO sp_target (tenant, created_at, created_by, last_modified_at, last_modified_by, optlock_revision, \
         request_controller_attributes, {names}) \
         SELECT $2, $3, $4, $3, $4, 1, true, {names} FROM {} RETURNING *",
        engine.json_rows(1, "r", &columns)
    );
    let json = serde_json::to_string(rows).map_err(|e| DbErr::Custom(e.to_string()))?;
    let values = [json.into(), tenant.into(), now.into(), by.into()];
    let mut models = Entity::find().from_raw_sql(engine.statement(&sql, values)).all(db).await?;
    models.sort_by_key(|m| m.id);
    Ok(models)
}

pub async fn delete(db: &impl ConnectionTrait, tenant: &str, id: i64) -> Result<(), DbErr> {
    Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Id.eq(id)).exec(db).await?;
    Ok(())
}

pub async fn attributes(db: &impl ConnectionTrait, target: i64) -> Result<Vec<entity::attribute::Model>, DbErr> {
    use entity::attribute::{Column, Entity};
    Entity::find().filter(Column::Target.eq(target)).order_by_asc(Column::AttributeKey).all(db).await
}

pub async fn metadata(db: &impl ConnectionTrait, target: i64) -> Result<Vec<entity::metadata::Model>, DbErr> {
    use entity::metadata::{Column, Entity};
    Entity::find().filter(Column::Target.eq(target)).order_by_asc(Column::MetaKey).all(db).await
}

/// The names of all groups that targets are in, in order.
pub async fn groups(db: &impl ConnectionTrait, tenant: &str, scope: &Scope) -> Result<Vec<String>, DbErr> {
    let select = of_tenant(tenant, scope).select_only().column(Column::TargetGroup).distinct();
    let select = select.filter(Column::TargetGroup.is_not_null()).order_by_asc(Column::TargetGroup);
    select.into_tuple().all(db).await
}

/// Targets whose group is `group`, or also one below it. Case is ignored.
pub fn in_group(group: &str, subgroups: bool) -> Condition {
    let column = || Func::upper(Expr::col((Entity, Column::TargetGroup)));
    let exact = Expr::from(column()).eq(Func::upper(Expr::val(group)));
    let condition = Condition::any().add(exact);
    if !subgroups {
        return condition;
    }
    // hawkBit: `%` and `_` in the name are wildcards here, and `\` takes that from them.
    let below = Expr::from(Func::upper(Expr::val(format!("{group}/%"))));
    let below = below.binary(BinOper::Escape, Expr::Constant('\\'.into()));
    condition.add(Expr::from(column()).binary(BinOper::Like, below))
}

/// Puts the targets that `which` selects into `group`; returns their controllerIds.
pub async fn set_group(
    tx: &Tx,
    tenant: &str,
    scope: &Scope,
    which: Condition,
    group: Option<&str>,
) -> Result<Vec<String>, DbErr> {
    let which = match scope.condition() {
        Some(scope) => which.add(scope.clone()),
        None => which,
    };
    let select = of_tenant(tenant, scope).filter(which.clone()).select_only().column(Column::ControllerId);
    let ids: Vec<String> = select.into_tuple().all(&**tx).await?;
    Entity::update_many()
        .col_expr(Column::TargetGroup, Expr::val(group.map(str::to_owned)))
        .col_expr(Column::OptlockRevision, Expr::col(Column::OptlockRevision).add(1))
        .filter(Column::Tenant.eq(tenant))
        .filter(which)
        .exec(&**tx)
        .await?;
    Ok(ids)
}

/// Which of `targets` confirm their actions themselves.
pub async fn auto_confirming(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    targets: &[i64],
) -> Result<HashSet<i64>, DbErr> {
    let sql = format!(
        "SELECT target FROM sp_target_conf_status WHERE tenant = $1 AND target IN {}",
        engine.json_values(2, "bigint")
    );
    let ids = serde_json::to_string(targets).map_err(|e| DbErr::Custom(e.to_string()))?;
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), ids.into()])).await?;
    rows.iter().map(|r| r.try_get("", "target")).collect()
}

/// How a target confirms its actions itself, if it does.
pub async fn auto_confirmation(
    db: &impl ConnectionTrait,
    tenant: &str,
    target: i64,
) -> Result<Option<entity::auto_confirm::Model>, DbErr> {
    Ok(auto_confirmations(db, tenant, &[target]).await?.pop())
}

/// As [`auto_confirmation`], of those among `targets` that do.
pub async fn auto_confirmations(
    db: &impl ConnectionTrait,
    tenant: &str,
    targets: &[i64],
) -> Result<Vec<entity::auto_confirm::Model>, DbErr> {
    use entity::auto_confirm::{Column, Entity};
    let mut found = Vec::new();
    for chunk in targets.chunks(999) {
        let select = Entity::find().filter(Column::Tenant.eq(tenant));
        found.extend(select.filter(Column::Target.is_in(chunk.iter().copied())).all(db).await?);
    }
    Ok(found)
}

/// Whether the target did confirm its actions itself.
pub async fn delete_auto_confirmation(db: &impl ConnectionTrait, tenant: &str, target: i64) -> Result<bool, DbErr> {
    use entity::auto_confirm::{Column, Entity};
    let of_target = Entity::delete_many().filter(Column::Tenant.eq(tenant)).filter(Column::Target.eq(target));
    Ok(of_target.exec(db).await?.rows_affected > 0)
}

/// Whose these targets are, as (tenant, controllerId), of those that there are.
pub async fn names(db: &impl ConnectionTrait, engine: Engine, ids: &[i64]) -> Result<Vec<(String, String)>, DbErr> {
    let sql = format!(
        "SELECT tenant, controller_id FROM sp_target WHERE id IN {} ORDER BY tenant, id",
        engine.json_values(1, "bigint")
    );
    let ids = serde_json::to_string(ids).map_err(|e| DbErr::Custom(e.to_string()))?;
    let rows = db.query_all_raw(engine.statement(&sql, [ids.into()])).await?;
    rows.iter().map(|row| Ok((row.try_get("", "tenant")?, row.try_get("", "controller_id")?))).collect()
}

/// The controllerIds of those of the tenant's targets that there are.
pub async fn names_of(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    ids: &[i64],
) -> Result<Vec<String>, DbErr> {
    let sql =
        format!("SELECT controller_id FROM sp_target WHERE tenant = $1 AND id IN {}", engine.json_values(2, "bigint"));
    let ids = serde_json::to_string(ids).map_err(|e| DbErr::Custom(e.to_string()))?;
    let rows = db.query_all_raw(engine.statement(&sql, [tenant.into(), ids.into()])).await?;
    rows.iter().map(|row| row.try_get("", "controller_id")).collect()
}

#[derive(Serialize)]
struct Seen {
    id: i64,
    at: i64,
}

/// Writes when targets were last heard of, without touching their revision. A later time is never overwritten.
pub async fn write_last_seen(db: &impl ConnectionTrait, engine: Engine, seen: &[(i64, i64)]) -> Result<(), DbErr> {
    let rows = engine.json_rows(1, "r", &[("id", "bigint"), ("at", "bigint")]);
    // The ids come from rows that a tenant-bound read returned, so they name targets of their tenants alone. Rows are
    // locked in the order of their ids, as by all others who lock several, so that none waits for the other.
    let sql = format!(
        "UPDATE sp_target SET last_target_query = r.at \
         FROM {rows}, (SELECT id FROM sp_target WHERE id IN (SELECT r.id FROM {rows}) ORDER BY id{}) AS held \
         WHERE held.id = r.id AND sp_target.id = held.id \
         AND (sp_target.last_target_query IS NULL OR sp_target.last_target_query < r.at)",
        engine.for_update()
    );
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    for chunk in seen.chunks(1000) {
        let list: Vec<_> = chunk.iter().map(|&(id, at)| Seen { id, at }).collect();
        let json = serde_json::to_string(&list).map_err(|e| DbErr::Custom(e.to_string()))?;
        db.execute_raw(engine.statement(&sql, [json.into()])).await?;
    }
    Ok(())
}
