//! The tree to a condition over an entity's tables: E4's meaning of operators, nulls, maps and relations.
//!
//! Everything outside the root table is asked in subqueries, so that a condition neither repeats rows nor interferes
//! with the joins of the query it goes into. The text is the same for all engines; values are always bound. What
//! changes here changes in [`crate::memory`] too: a test compares them.

use sea_query::{BinOper, Condition, Expr, ExprTrait, Func, JoinType, Query, SelectStatement};

use crate::fields::{Entity, Path, Step};
use crate::macros::Macros;
use crate::search::{Ask, Branch, Check, FieldError, Operand, Search};
use crate::tree::{Node, Order};
use crate::wildcard::LIKE_ESCAPE;

/// The condition that holds for the rows of `entity` which the query asks for.
pub fn condition(node: &Node, entity: &Entity, macros: &Macros) -> Result<Condition, FieldError> {
    Ok(Search::new(node, entity, macros)?.condition())
}

impl Search {
    /// The condition that holds for the rows of the entity which are asked for.
    pub fn condition(&self) -> Condition {
        group(&self.root, self.table)
    }
}

fn group(branch: &Branch, root: &'static str) -> Condition {
    let (group_of, children) = match branch {
        Branch::All(children) => (Condition::all(), children),
        Branch::Any(children) => (Condition::any(), children),
        Branch::Ask(ask) => return compare(ask, root),
    };
    children.iter().fold(group_of, |all, child| all.add(group(child, root)))
}

fn compare(ask: &Ask, root: &'static str) -> Condition {
    match ask.field.path {
        Path::Column(column) => column_test(column_of(root, column), &ask.check, ask.negated),
        Path::Related { steps, column } => {
            let test = test(Expr::col((alias(steps.len()), column)), &ask.check);
            exists(rows(root, steps, Some(test)), !ask.negated)
        }
        Path::Map { table, owner, key, value } => {
            let value = Expr::col((alias(1), value));
            let (test, present) = match ask.check {
                Check::Present => (Condition::all().add(value.is_not_null()), !ask.negated),
                _ => (column_test(value, &ask.check, ask.negated), true),
            };
            let mut rows = rows(root, &[Step { table, column: owner, from: "id" }], None);
            rows.and_where(upper(Expr::col((alias(1), key))).eq(upper(ask.key.as_str())));
            rows.cond_where(test);
            exists(rows, present)
        }
        Path::Exists { steps } => {
            let wanted = matches!(ask.check, Check::Exists(true));
            exists(rows(root, steps, None), wanted != ask.negated)
        }
    }
}

/// A test of one column. Negated, it also holds for null.
fn column_test(column: Expr, check: &Check, negated: bool) -> Condition {
    let plain = test(column.clone(), check);
    match (negated, check) {
        (false, _) => Condition::all().add(plain),
        (true, Check::Present) => Condition::all().add(column.is_null()),
        (true, _) => Condition::any().add(column.is_null()).add(plain.not()),
    }
}

/// The plain test; not true for a null column.
fn test(column: Expr, check: &Check) -> Expr {
    match check {
        Check::Present | Check::Exists(_) => column.is_not_null(),
        Check::Equal(operand) => folded(column, operand).eq(bound(operand)),
        Check::In(operands) => {
            let column = match operands.first() {
                Some(operand) => folded(column, operand),
                None => column,
            };
            column.is_in(operands.iter().map(bound))
        }
        Check::Like(pattern) => {
            let escaped = upper(pattern.to_like()).binary(BinOper::Escape, Expr::Constant(LIKE_ESCAPE.into()));
            upper(column).binary(BinOper::Like, escaped)
        }
        Check::Ordered(order, operand) => {
            // Text is compared as stored: the peer folds case for equality and patterns only.
            let value = plain(operand);
            match order {
                Order::Less => column.lt(value),
                Order::LessOrEqual => column.lte(value),
                Order::Greater => column.gt(value),
                Order::GreaterOrEqual => column.gte(value),
            }
        }
    }
}

fn folded(column: Expr, operand: &Operand) -> Expr {
    if matches!(operand, Operand::Text(_)) { upper(column) } else { column }
}

/// What a column that is [`folded`] is compared with.
fn bound(operand: &Operand) -> Expr {
    folded(plain(operand), operand)
}

fn plain(operand: &Operand) -> Expr {
    match operand {
        Operand::Text(text) => Expr::val(text.as_str()),
        Operand::Long(number) => Expr::val(*number),
        Operand::Bool(bool) => Expr::val(*bool),
    }
}

fn exists(rows: SelectStatement, wanted: bool) -> Condition {
    Condition::all().add(if wanted { Expr::exists(rows) } else { Expr::not_exists(rows) })
}

/// The rows at the end of `steps` from a row of `root`.
fn rows(root: &'static str, steps: &[Step], test: Option<Expr>) -> SelectStatement {
    let mut rows = Query::select();
    rows.expr(Expr::Constant(1.into()));
    for (step, number) in steps.iter().zip(1..) {
        let column = Expr::col((alias(number), step.column));
        if number == 1 {
            rows.from_as(step.table, alias(number)).and_where(column.eq(column_of(root, step.from)));
        } else {
            let before = Expr::col((alias(number - 1), step.from));
            rows.join_as(JoinType::InnerJoin, step.table, alias(number), column.eq(before));
        }
    }
    rows.and_where_option(test);
    rows
}

/// Tables of a subquery are numbered, for the root may be among them.
fn alias(number: usize) -> String {
    format!("q{number}")
}

fn column_of(table: &'static str, column: &'static str) -> Expr {
    Expr::col((table, column))
}

/// Both sides of a comparison are folded by the engine: SQLite folds ASCII only, PostgreSQL by the column's locale.
fn upper(text: impl Into<Expr>) -> Expr {
    Func::upper(text.into()).into()
}
