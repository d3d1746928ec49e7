//! The statements behind searches: a page of what was found, and the values that a match in memory needs.

use std::collections::HashMap;

use kettle_db::{Engine, column};
use kettle_ql::{Datum, Entity, Field, Folding, Kind, Path, Step, Values};
use sea_orm::{
    ConnectionTrait, DbErr, ExprTrait, Order, QueryResult,
    sea_query::{Alias, Asterisk, Expr, Func, JoinType, Query, SelectStatement},
};

use crate::listing::Listing;

/// The column with the number of all hits.
pub const TOTAL: &str = "kt_total";
const HITS: &str = "kt_hits";
const PAGE: &str = "kt_page";
/// Ids of one statement.
const BATCH: usize = 1000;

/// One page of `hits`, whose rows also carry how many there are. One statement searches once: the count of a search
/// costs as much as finding its rows. The hits are sorted outside of the search, lest the planner, which thinks that it
/// can stop after a page, walks the index of the order instead of the one that finds them.
/// `rows` selects what `hits` selects, and more.
pub fn page_of_hits(
    mut rows: SelectStatement,
    hits: &SelectStatement,
    table: &'static str,
    listing: &Listing,
    order: &[(&'static str, Order)],
) -> SelectStatement {
    let mut found = hits.clone();
    found.clear_selects().expr_as(Expr::col((table, "id")), "id").expr_as(Expr::cust("count(*) OVER ()"), TOTAL);
    let mut page = Query::select();
    page.columns(["id", TOTAL]);
    rows.column((PAGE, TOTAL));
    for (place, (column, direction)) in order.iter().enumerate() {
        let named_before = order.iter().take(place).any(|(before, _)| before == column);
        if *column != "id" && !named_before {
            found.column((table, *column));
        }
        page.order_by((HITS, *column), direction.clone());
        rows.order_by((table, *column), direction.clone());
    }
    page.from_subquery(found, HITS).limit(listing.limit).offset(listing.offset);
    let on = Expr::col((PAGE, "id")).eq(Expr::col((table, "id")));
    rows.join_subquery(JoinType::InnerJoin, page, PAGE, on);
    rows
}

pub async fn count(db: &impl ConnectionTrait, rows: SelectStatement) -> Result<u64, DbErr> {
    let mut count = Query::select();
    count.expr(Func::count(Expr::col(Asterisk))).from_subquery(rows, Alias::new("found"));
    let total: i64 = db.query_one(&count).await?.map(|row| kettle_db::column(&row, 0)).transpose()?.unwrap_or(0);
    Ok(u64::try_from(total).unwrap_or(0))
}

/// What `fields` hold of the rows `ids` of an entity, for [`kettle_ql::Search::matches`]: one statement for the columns of
/// the table itself and one for each related table, however many fields and ids there are. Every id gets an entry.
pub async fn values(
    db: &impl ConnectionTrait,
    engine: Engine,
    tenant: &str,
    entity: &Entity,
    fields: &[&'static Field],
    ids: &[i64],
) -> Result<HashMap<i64, Values>, DbErr> {
    let folding = if engine.folds_ascii_only() { Folding::Ascii } else { Folding::Unicode };
    let mut loaded: HashMap<i64, Values> = ids.iter().map(|id| (*id, Values::new(folding))).collect();
    for source in sources(fields) {
        for ids in ids.chunks(BATCH) {
            let rows = db.query_all(&source.select(entity.table, tenant, ids)).await?;
            for row in &rows {
                if let Some(values) = loaded.get_mut(&column(row, 0)?) {
                    source.read(row, values)?;
                }
            }
        }
    }
    Ok(loaded)
}

/// Fields that one statement reads.
struct Source {
    steps: Vec<Step>,
    fields: Vec<&'static Field>,
}

fn sources(fields: &[&'static Field]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for field in fields {
        let steps = match field.path {
            Path::Column(_) => Vec::new(),
            Path::Related { steps, .. } | Path::Exists { steps } => steps.to_vec(),
            Path::Map { table, owner, .. } => vec![Step::new(table, owner, "id")],
        };
        match sources.iter_mut().find(|source| source.steps == steps) {
            Some(source) if source.fields.iter().any(|known| known.path == field.path) => {}
            Some(source) => source.fields.push(field),
            None => sources.push(Source { steps, fields: vec![field] }),
        }
    }
    sources
}

impl Source {
    fn select(&self, root: &'static str, tenant: &str, ids: &[i64]) -> SelectStatement {
        let mut select = Query::select();
        select.column((root, "id")).from(root);
        let mut last = Alias::new(root);
        for (step, number) in self.steps.iter().zip(1..) {
            let alias = Alias::new(format!("q{number}"));
            let on = Expr::col((alias.clone(), step.column)).eq(Expr::col((last, step.from)));
            select.join_as(JoinType::InnerJoin, step.table, alias.clone(), on);
            last = alias;
        }
        for field in &self.fields {
            match field.path {
                Path::Column(column) | Path::Related { column, .. } => {
                    select.expr(typed(Expr::col((last.clone(), column)), field.kind));
                }
                Path::Map { key, value, .. } => {
                    select.column((last.clone(), key)).column((last.clone(), value));
                }
                Path::Exists { .. } => {}
            }
        }
        select.and_where(Expr::col((root, "tenant")).eq(tenant));
        select.and_where(Expr::col((root, "id")).is_in(ids.iter().copied()));
        select
    }

    /// Takes over what one row holds, in the order of [`Source::select`].
    fn read(&self, row: &QueryResult, values: &mut Values) -> Result<(), DbErr> {
        let mut place = 1;
        for field in &self.fields {
            match field.path {
                Path::Column(_) | Path::Related { .. } => {
                    values.put(field.path, datum(row, place, field.kind)?);
                    place += 1;
                }
                Path::Map { .. } => {
                    values.put_entry(field.path, column(row, place)?, datum(row, place + 1, Kind::Text)?);
                    place += 2;
                }
                Path::Exists { .. } => values.put(field.path, Datum::Bool(true)),
            }
        }
        Ok(())
    }
}

/// Integers of any width are read as the widest.
fn typed(column: Expr, kind: Kind) -> Expr {
    match kind {
        Kind::Long | Kind::Enum(_) => column.cast_as("bigint"),
        Kind::Text | Kind::Bool => column,
    }
}

fn datum(row: &QueryResult, place: usize, kind: Kind) -> Result<Datum, DbErr> {
    let datum = match kind {
        Kind::Text => column::<Option<String>>(row, place)?.map(Datum::Text),
        Kind::Long | Kind::Enum(_) => column::<Option<i64>>(row, place)?.map(Datum::Long),
        Kind::Bool => column::<Option<bool>>(row, place)?.map(Datum::Bool),
    };
    Ok(datum.unwrap_or(Datum::Null))
}
