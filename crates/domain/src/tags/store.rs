//! Queries over tags of either kind. Every one binds the tenant, or ids that such a query gave.

use kettle_db::Engine;
use sea_orm::{
    ConnectionTrait, DbErr, ExprTrait, FromQueryResult, Value,
    sea_query::{Alias, Asterisk, Condition, Expr, Query, SelectStatement},
};
use serde::Serialize;

use super::{Tag, TagKind};

/// A row to insert.
#[derive(Clone, Debug, Serialize)]
pub struct NewTag {
    pub name: String,
    pub description: Option<String>,
    pub colour: Option<String>,
}

pub fn of_tenant(kind: &TagKind, tenant: &str) -> SelectStatement {
    let table = Alias::new(kind.entity.table);
    let mut select = Query::select();
    select.column((table.clone(), Asterisk)).from(table.clone());
    select.and_where(Expr::col((table, Alias::new("tenant"))).eq(tenant));
    select
}

pub async fn find(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    id: i64,
) -> Result<Option<Tag>, DbErr> {
    one(db, engine, tenant, kind, id, "").await
}

/// As [`find`], and holds the row until the transaction ends.
pub async fn lock(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    id: i64,
) -> Result<Option<Tag>, DbErr> {
    one(db, engine, tenant, kind, id, engine.for_update()).await
}

/// As [`find`], and keeps the row from being changed until the transaction ends; others may hold it so as well.
pub async fn hold(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    id: i64,
) -> Result<Option<Tag>, DbErr> {
    one(db, engine, tenant, kind, id, engine.for_share()).await
}

async fn one(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    id: i64,
    locking: &str,
) -> Result<Option<Tag>, DbErr> {
    let sql = format!("SELECT * FROM {} WHERE tenant = $1 AND id = $2{locking}", kind.entity.table);
    let row = db.query_one_raw(engine.statement(&sql, [tenant.into(), id.into()])).await?;
    row.map(|row| Tag::from_query_result(&row, "")).transpose()
}

/// Inserts `rows` in their order.
pub async fn insert_all(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    rows: &[NewTag],
    by: &str,
    now: i64,
) -> Result<Vec<Tag>, DbErr> {
    let sql = format!(
        "INSERT INTO {} (tenant, created_at, created_by, last_modified_at, last_modified_by, optlock_revision, name, \
         description, colour) SELECT $2, $3, $4, $3, $4, 1, name, description, colour FROM {} RETURNING *",
        kind.entity.table,
        engine.json_rows(1, "r", &[("name", "text"), ("description", "text"), ("colour", "text")])
    );
    let json = serde_json::to_string(rows).map_err(|e| DbErr::Custom(e.to_string()))?;
    let values = [json.into(), tenant.into(), now.into(), by.into()];
    let mut tags = all(db, engine, &sql, values).await?;
    tags.sort_by_key(|tag| tag.id);
    Ok(tags)
}

pub async fn update(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    tag: &Tag,
) -> Result<(), DbErr> {
    let sql = format!(
        "UPDATE {} SET name = $3, description = $4, colour = $5, last_modified_at = $6, last_modified_by = $7, \
         optlock_revision = optlock_revision + 1 WHERE tenant = $1 AND id = $2",
        kind.entity.table
    );
    let Tag { id, name, description, colour, last_modified_at, last_modified_by, .. } = tag.clone();
    let values: [Value; 7] = [
        tenant.into(),
        id.into(),
        name.into(),
        description.into(),
        colour.into(),
        last_modified_at.into(),
        last_modified_by.into(),
    ];
    db.execute_raw(engine.statement(&sql, values)).await?;
    Ok(())
}

/// Whether the tag was there.
pub async fn delete(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    id: i64,
) -> Result<bool, DbErr> {
    let sql = format!("DELETE FROM {} WHERE tenant = $1 AND id = $2", kind.entity.table);
    Ok(db.execute_raw(engine.statement(&sql, [tenant.into(), id.into()])).await?.rows_affected() > 0)
}

/// The tags of one row, in the order of their ids.
pub async fn of(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    row: i64,
) -> Result<Vec<Tag>, DbErr> {
    let (links, end) = kind.links;
    let sql = format!(
        "SELECT t.* FROM {} t JOIN {links} x ON x.tag = t.id WHERE t.tenant = $1 AND x.{end} = $2 ORDER BY t.id",
        kind.entity.table
    );
    all(db, engine, &sql, [tenant.into(), row.into()]).await
}

/// The rows that have the tag, as a condition on their table. `id` was read with the tenant.
pub fn tagged(kind: &TagKind, id: i64) -> Condition {
    let (links, end) = kind.links;
    let mut rows = Query::select();
    rows.column(Alias::new(end)).from(Alias::new(links)).and_where(Expr::col(Alias::new("tag")).eq(id));
    Condition::all().add(Expr::col((Alias::new(kind.tagged), Alias::new("id"))).in_subquery(rows))
}

/// Puts the tag on rows; gives those that did not have it.
pub async fn link(
    db: &impl ConnectionTrait,
    engine: Engine,
    kind: &TagKind,
    tag: i64,
    rows: &[i64],
) -> Result<Vec<i64>, DbErr> {
    let (links, end) = kind.links;
    let sql = format!(
        // SQLite reads `ON CONFLICT` after a plain FROM as part of a join.
        "INSERT INTO {links} ({end}, tag) SELECT r.id, $2 FROM {} WHERE true ON CONFLICT DO NOTHING RETURNING {end}",
        engine.json_rows(1, "r", &[("id", "bigint")])
    );
    let rows: Vec<_> = rows.iter().map(|&id| Row { id }).collect();
    ids(db, engine, &sql, end, &rows, [tag.into()]).await
}

/// Takes the tag off rows; gives those that had it.
pub async fn unlink(
    db: &impl ConnectionTrait,
    engine: Engine,
    kind: &TagKind,
    tag: i64,
    rows: &[i64],
) -> Result<Vec<i64>, DbErr> {
    let (links, end) = kind.links;
    let list = engine.json_values(1, "bigint");
    let sql = format!("DELETE FROM {links} WHERE tag = $2 AND {end} IN {list} RETURNING {end}");
    ids(db, engine, &sql, end, rows, [tag.into()]).await
}

/// Notes that rows were changed.
pub async fn touch(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    kind: &TagKind,
    rows: &[i64],
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    let sql = format!(
        "UPDATE {} SET last_modified_at = $3, last_modified_by = $4, optlock_revision = optlock_revision + 1 \
         WHERE tenant = $2 AND id IN {}",
        kind.tagged,
        engine.json_values(1, "bigint")
    );
    let rows = serde_json::to_string(rows).map_err(|e| DbErr::Custom(e.to_string()))?;
    db.execute_raw(engine.statement(&sql, [rows.into(), tenant.into(), now.into(), by.into()])).await?;
    Ok(())
}

#[derive(Serialize)]
struct Row {
    id: i64,
}

async fn all(
    db: &impl ConnectionTrait,
    engine: Engine,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<Tag>, DbErr> {
    let rows = db.query_all_raw(engine.statement(sql, values)).await?;
    rows.iter().map(|row| Tag::from_query_result(row, "")).collect()
}

/// Runs a statement that takes a JSON list first and gives ids in `column`.
async fn ids(
    db: &impl ConnectionTrait,
    engine: Engine,
    sql: &str,
    column: &str,
    list: &(impl Serialize + ?Sized),
    others: impl IntoIterator<Item = Value>,
) -> Result<Vec<i64>, DbErr> {
    let list = serde_json::to_string(list).map_err(|e| DbErr::Custom(e.to_string()))?;
    let values = std::iter::once(list.into()).chain(others);
    let rows = db.query_all_raw(engine.statement(sql, values)).await?;
    rows.iter().map(|row| row.try_get("", column)).collect()
}
