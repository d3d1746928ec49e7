//! `q=` and `sort=` over an entity's fields, and the one way a page of a list is read.

mod store;

use std::collections::HashMap;

use kettle_ql::{Entity, FieldError, Macros, Node, ParseError, Search, Values};
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, Order, QueryResult, QueryTrait, Select,
    sea_query::{Alias, Condition, Expr, Query, SelectStatement},
};

use crate::{
    access::{Permission, Scope},
    ctx::Ctx,
    error::{Error, Kind, Result},
    listing::{Listing, Page},
    targets,
    tenants::{self, TenantSettings},
};

/// Columns that no two rows of a tenant share.
const UNIQUE: [&str; 2] = ["id", "controller_id"];

/// A search as a condition on the entity's table. `${now_ts}` and `${overdue_ts}` are those of the tenant's default
/// polling time.
pub async fn condition(ctx: &Ctx, entity: &Entity, q: &str) -> Result<Condition> {
    condition_of(ctx, entity, &kettle_ql::parse(q)?).await
}

/// As [`condition`], of a search that is parsed already.
pub async fn condition_of(ctx: &Ctx, entity: &Entity, node: &Node) -> Result<Condition> {
    Ok(Search::new(node, entity, &macros(ctx).await?)?.condition())
}

/// What the macros of a search stand for now.
pub async fn macros(ctx: &Ctx) -> Result<Macros> {
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    Ok(settings.map_or(Macros { now_ts: ctx.now(), overdue_ts: ctx.now() }, |s| macros_of(ctx, &s)))
}

fn macros_of(ctx: &Ctx, settings: &TenantSettings) -> Macros {
    let now_ts = ctx.now();
    let polled = now_ts.saturating_sub(settings.polling_overdue_ms);
    Macros { now_ts, overdue_ts: polled.saturating_sub(settings.polling.default.latest_ms()) }
}

/// A stored search, to be matched in memory with what [`values`] loads for it; its macros are those of `settings`.
pub fn stored(ctx: &Ctx, settings: &TenantSettings, entity: &Entity, q: &str) -> Result<Search> {
    Ok(Search::new(&kettle_ql::parse(q)?, entity, &macros_of(ctx, settings))?)
}

/// What `searches` ask of the rows `ids` of an entity, an entry for each. It is read once however many searches there are:
/// a statement for the row's own columns, and one for each related table that some search names.
pub async fn values<'a>(
    ctx: &Ctx,
    entity: &Entity,
    searches: impl IntoIterator<Item = &'a Search>,
    ids: &[i64],
) -> Result<HashMap<i64, Values>> {
    let fields: Vec<_> = searches.into_iter().flat_map(Search::fields).collect();
    Ok(store::values(ctx.db().read(), ctx.engine(), ctx.tenant_id(), entity, &fields, ids).await?)
}

/// The rows that the caller may see under `permission`: the first step of every query that a user causes. Costs nothing
/// where the permission is not limited.
pub async fn scope(ctx: &Ctx, permission: Permission) -> Result<Scope> {
    let (Some(node), Some(entity)) = (ctx.limit(permission), permission.entity()) else { return Ok(Scope::ALL) };
    Ok(Scope::within(condition_of(ctx, entity, node).await?))
}

/// Those of `ids` that the caller may work on under `permission`, as the rows are now.
pub async fn permitted(ctx: &Ctx, db: &impl ConnectionTrait, permission: Permission, ids: &[i64]) -> Result<Vec<i64>> {
    let scope = scope(ctx, permission).await?;
    let (Some(condition), Some(entity)) = (scope.condition(), permission.entity()) else { return Ok(ids.to_vec()) };
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(999) {
        let column = |name| Expr::col((Alias::new(entity.table), Alias::new(name)));
        let mut select = Query::select();
        select.expr_as(column("id"), Alias::new("id")).from(Alias::new(entity.table));
        select.and_where(column("tenant").eq(ctx.tenant_id())).and_where(column("id").is_in(chunk.iter().copied()));
        select.cond_where(condition.clone());
        for row in db.query_all(&select).await? {
            found.push(row.try_get("", "id")?);
        }
    }
    Ok(found)
}

/// Fails unless the caller may work on all these rows under `permission`. For rows that the caller may read: of others
/// it must not learn that they exist. Before a write, and after it too: nobody moves a row out of its own reach.
pub async fn permit(ctx: &Ctx, db: &impl ConnectionTrait, permission: Permission, ids: &[i64]) -> Result<()> {
    if ctx.limit(permission).is_none() || permitted(ctx, db, permission, ids).await?.len() == ids.len() {
        return Ok(());
    }
    let message = format!("Insufficient permission: the scope of {} leaves this out.", permission.name());
    Err(Error::new(Kind::InsufficientPermission, message))
}

/// Checks a search over targets without running it.
pub fn targets(q: &str) -> Result<()> {
    Search::new(&kettle_ql::parse(q)?, &targets::fields::ENTITY, &Macros { now_ts: 0, overdue_ts: 0 })?;
    Ok(())
}

/// The columns to sort by. `default` holds when the client names none; the key comes last, so that pages never overlap.
pub fn order(
    entity: &Entity,
    sort: Option<&str>,
    default: (&'static str, Order),
) -> Result<Vec<(&'static str, Order)>> {
    let mut columns = Vec::new();
    for part in sort.into_iter().flat_map(|s| s.split(',')).filter(|part| !part.is_empty()) {
        let mut words = part.trim().split(':').filter(|word| !word.is_empty());
        let (Some(field), Some(direction), None) = (words.next(), words.next(), words.next()) else {
            let message = "The sort parameter is field:ASC or field:DESC, several separated by commas.";
            return Err(Error::new(Kind::SortSyntax, message));
        };
        let direction = match direction.trim().to_ascii_lowercase().as_str() {
            "asc" => Order::Asc,
            "desc" => Order::Desc,
            _ => return Err(Error::new(Kind::SortDirection, "The given sort parameter direction does not exist")),
        };
        let column = entity
            .sort_column(field.trim())
            .ok_or_else(|| Error::new(Kind::SortField, "The given sort parameter field does not exist"))?;
        columns.push((column, direction));
    }
    if columns.is_empty() {
        columns.push(default);
    }
    // A further column would keep the engine from reading in the order of the unique one's index.
    if columns.iter().all(|(column, _)| !UNIQUE.contains(column)) {
        columns.push(("id", Order::Asc));
    }
    Ok(columns)
}

/// Reads one page of `select`, searched and sorted as `listing` says, and counts the rest. `known_total` is a total
/// that is kept, used where nothing is searched for.
pub async fn page<E>(
    ctx: &Ctx,
    select: Select<E>,
    entity: &Entity,
    listing: &Listing,
    default: (&'static str, Order),
    known_total: Option<u64>,
) -> Result<Page<E::Model>>
where
    E: EntityTrait,
    E::Model: FromQueryResult + Send + Sync,
{
    let order = order(entity, listing.sort.as_deref(), default)?;
    let decode = |row: &QueryResult| E::Model::from_query_result(row, "");
    ordered_page(ctx, select, entity, listing, order, known_total, decode).await
}

/// As [`page`], for a list whose order is not that of its entity's fields, or whose rows are read in a way of their own.
pub async fn ordered_page<E>(
    ctx: &Ctx,
    select: Select<E>,
    entity: &Entity,
    listing: &Listing,
    order: Vec<(&'static str, Order)>,
    known_total: Option<u64>,
    decode: impl Fn(&QueryResult) -> Result<E::Model, DbErr>,
) -> Result<Page<E::Model>>
where
    E: EntityTrait,
{
    rows(ctx, select.into_query(), entity, listing, order, known_total, decode).await
}

/// As [`ordered_page`], of rows that are no entity of the mapper.
pub async fn rows<T>(
    ctx: &Ctx,
    mut select: SelectStatement,
    entity: &Entity,
    listing: &Listing,
    order: Vec<(&'static str, Order)>,
    known_total: Option<u64>,
    decode: impl Fn(&QueryResult) -> Result<T, DbErr>,
) -> Result<Page<T>> {
    let db = ctx.db().read();
    if let Some(q) = &listing.q {
        let mut hits = select.clone();
        hits.cond_where(condition(ctx, entity, q).await?);
        let rows = db.query_all(&store::page_of_hits(select, &hits, entity.table, listing, &order)).await?;
        let content = rows.iter().map(decode).collect::<Result<_, _>>()?;
        let total = match rows.first() {
            Some(row) => u64::try_from(row.try_get::<i64>("", store::TOTAL)?).unwrap_or(0),
            None if listing.offset == 0 => 0,
            None => store::count(db, hits).await?,
        };
        return Ok(Page { content, total });
    }
    let unordered = select.clone();
    for (column, direction) in order {
        select.order_by((Alias::new(entity.table), Alias::new(column)), direction);
    }
    let rows = db.query_all(select.offset(listing.offset).limit(listing.limit)).await?;
    let content = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    let read = content.len() as u64;
    let total = match known_total {
        Some(total) => total,
        // A page that is not full is the last one.
        None if read < listing.limit && (read > 0 || listing.offset == 0) => listing.offset + read,
        None => store::count(db, unordered).await?,
    };
    Ok(Page { content, total })
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Error {
        Error::new(Kind::SearchSyntax, format!("The search can't be read {error}."))
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Error {
        let kind = match &error {
            FieldError::BadNumber { .. } => Kind::BodyNotReadable,
            FieldError::BadBoolean { .. } | FieldError::NoOrder { .. } => Kind::SearchSyntax,
            FieldError::UnknownField { .. } | FieldError::BadEnumValue { .. } => Kind::SearchField,
        };
        Error::new(kind, error.to_string())
    }
}
