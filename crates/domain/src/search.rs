//! `q=` and `sort=` over an entity's fields, and the one way a page of a list is read.

use kettle_ql::{Entity, FieldError, Macros, Node, ParseError};
use sea_orm::{
    ConnectionTrait, DbErr, EntityTrait, FromQueryResult, Order, QueryResult, QueryTrait, Select,
    sea_query::{Alias, Asterisk, Condition, Expr, Func, Query, SelectStatement},
};

use crate::{
    ctx::Ctx,
    error::{Error, Kind, Result},
    listing::{Listing, Page},
    targets, tenants,
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
    let now_ts = ctx.now();
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    let overdue = settings.map_or(0, |s| s.polling.default.latest_ms() + s.polling_overdue_ms);
    Ok(kettle_ql::condition(node, entity, &Macros { now_ts, overdue_ts: now_ts - overdue })?)
}

/// Checks a search over targets without running it.
pub fn targets(q: &str) -> Result<()> {
    let node = kettle_ql::parse(q)?;
    kettle_ql::condition(&node, &targets::fields::ENTITY, &Macros { now_ts: 0, overdue_ts: 0 })?;
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
    if let Some(q) = &listing.q {
        select.cond_where(condition(ctx, entity, q).await?);
    }
    let unordered = select.clone();
    for (column, direction) in order {
        select.order_by((Alias::new(entity.table), Alias::new(column)), direction);
    }
    let db = ctx.db().read();
    let rows = db.query_all(select.offset(listing.offset).limit(listing.limit)).await?;
    let content = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    let read = content.len() as u64;
    let total = match known_total.filter(|_| listing.q.is_none()) {
        Some(total) => total,
        // A page that is not full is the last one.
        None if read < listing.limit && (read > 0 || listing.offset == 0) => listing.offset + read,
        None => count(db, unordered).await?,
    };
    Ok(Page { content, total })
}

async fn count(db: &impl ConnectionTrait, rows: SelectStatement) -> Result<u64, DbErr> {
    let mut count = Query::select();
    count.expr(Func::count(Expr::col(Asterisk))).from_subquery(rows, Alias::new("found"));
    let total: i64 = db.query_one(&count).await?.map(|row| kettle_db::column(&row, 0)).transpose()?.unwrap_or(0);
    Ok(u64::try_from(total).unwrap_or(0))
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Error {
        Error::new(Kind::SearchSyntax, error.to_string())
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
