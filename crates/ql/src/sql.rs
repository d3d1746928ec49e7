//! The tree to a condition over an entity's tables: E4's meaning of operators, nulls, maps and relations.
//!
//! Everything outside the root table is asked in subqueries, so that a condition neither repeats rows nor interferes
//! with the joins of the query it goes into. The text is the same for all engines; values are always bound.

use sea_query::{BinOper, Condition, Expr, ExprTrait, Func, JoinType, Query, SelectStatement};
use thiserror::Error;

use crate::fields::{Entity, Kind, Path, Step};
use crate::macros::Macros;
use crate::tree::{Comparison, Node, Order, Test};
use crate::wildcard::{LIKE_ESCAPE, to_like};

/// A well-formed query that does not fit the entity. `field` is the name as the query has it, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldError {
    /// Answered as `rsqlInvalidField`.
    #[error("There is no search field {field}")]
    UnknownField { field: String },
    /// Answered as `rsqlInvalidField`, with this message.
    #[error("Value of {field} must be one of the following: [{}]", .allowed.join(", "))]
    BadEnumValue { field: String, allowed: Vec<&'static str> },
    /// Answered as `body.notReadable`: the peer fails only when it binds the value.
    #[error("The value of {field} must be a number")]
    BadNumber { field: String },
    /// Answered as `rsqlParamSyntax`.
    #[error("The value of {field} must be true or false")]
    BadBoolean { field: String },
    /// Answered as `rsqlParamSyntax`.
    #[error("{field} has no order")]
    NoOrder { field: String },
}

/// The condition that holds for the rows of `entity` which the query asks for.
pub fn condition(node: &Node, entity: &Entity, macros: &Macros) -> Result<Condition, FieldError> {
    let (group, children) = match node {
        Node::And(children) => (Condition::all(), children),
        Node::Or(children) => (Condition::any(), children),
        Node::Comparison(comparison) => return compare(comparison, entity, macros),
    };
    children.iter().try_fold(group, |group, child| Ok(group.add(condition(child, entity, macros)?)))
}

fn compare(comparison: &Comparison, entity: &Entity, macros: &Macros) -> Result<Condition, FieldError> {
    let name = comparison.field.as_str();
    let (field, key) = entity.resolve(name).ok_or_else(|| FieldError::UnknownField { field: name.to_owned() })?;
    let operand = Operand { name, kind: field.kind, macros };
    let negated = comparison.negated;
    Ok(match field.path {
        Path::Column(column) => column_test(column_of(entity.table, column), &operand, &comparison.test, negated)?,
        Path::Related { steps, column } => {
            let last = alias(steps.len());
            let test = operand.test(Expr::col((last, column)), &comparison.test)?;
            exists(rows(entity.table, steps, Some(test)), !negated)
        }
        Path::Map { table, owner, key: key_column, value } => {
            let value = Expr::col((alias(1), value));
            let (test, present) = match comparison.test {
                Test::Present => (Condition::all().add(value.is_not_null()), !negated),
                _ => (column_test(value, &operand, &comparison.test, negated)?, true),
            };
            let mut rows = rows(entity.table, &[Step { table, column: owner, from: "id" }], None);
            rows.and_where(upper(Expr::col((alias(1), key_column))).eq(upper(key)));
            rows.cond_where(test);
            exists(rows, present)
        }
        Path::Exists { steps } => {
            let wanted = operand.existence(&comparison.test)?;
            exists(rows(entity.table, steps, None), wanted != negated)
        }
    })
}

/// A test of one column. Negated, it also holds for null.
fn column_test(column: Expr, operand: &Operand<'_>, test: &Test, negated: bool) -> Result<Condition, FieldError> {
    let plain = operand.test(column.clone(), test)?;
    Ok(match (negated, test) {
        (false, _) => Condition::all().add(plain),
        (true, Test::Present) => Condition::all().add(column.is_null()),
        (true, _) => Condition::any().add(column.is_null()).add(plain.not()),
    })
}

/// What a column is compared with: reads values as the field's kind.
struct Operand<'a> {
    name: &'a str,
    kind: Kind,
    macros: &'a Macros,
}

impl Operand<'_> {
    /// The plain test; not true for a null column.
    fn test(&self, column: Expr, test: &Test) -> Result<Expr, FieldError> {
        Ok(match test {
            Test::Present => column.is_not_null(),
            Test::Equal(value) => self.folded(column).eq(self.value(value)?),
            Test::In(values) => {
                let values = values.iter().map(|value| self.value(value)).collect::<Result<Vec<_>, _>>()?;
                self.folded(column).is_in(values)
            }
            Test::Like(pattern) => self.like(column, pattern)?,
            Test::Ordered(order, value) => self.ordered(column, *order, value)?,
        })
    }

    fn like(&self, column: Expr, pattern: &str) -> Result<Expr, FieldError> {
        match self.kind {
            Kind::Text => {
                let pattern = upper(to_like(&self.macros.expand(pattern)));
                let escaped = pattern.binary(BinOper::Escape, Expr::Constant(LIKE_ESCAPE.into()));
                Ok(upper(column).binary(BinOper::Like, escaped))
            }
            Kind::Long if pattern == "*" => Ok(column.is_not_null()),
            // No number, boolean or name has a star: this tells which of them the peer misses.
            Kind::Long | Kind::Bool | Kind::Enum(_) => Ok(column.eq(self.value(pattern)?)),
        }
    }

    /// Text is compared as stored: the peer folds case for equality and patterns only.
    fn ordered(&self, column: Expr, order: Order, value: &str) -> Result<Expr, FieldError> {
        let value = match self.kind {
            Kind::Text => Expr::val(self.macros.expand(value)),
            Kind::Long => self.value(value)?,
            Kind::Bool | Kind::Enum(_) => {
                self.value(value)?;
                return Err(FieldError::NoOrder { field: self.name.to_owned() });
            }
        };
        Ok(match order {
            Order::Less => column.lt(value),
            Order::LessOrEqual => column.lte(value),
            Order::Greater => column.gt(value),
            Order::GreaterOrEqual => column.gte(value),
        })
    }

    fn existence(&self, test: &Test) -> Result<bool, FieldError> {
        match test {
            Test::Equal(value) => self.boolean(&self.macros.expand(value)),
            Test::Ordered(_, value) => {
                self.boolean(&self.macros.expand(value))?;
                Err(FieldError::NoOrder { field: self.name.to_owned() })
            }
            Test::Present | Test::Like(_) | Test::In(_) => Err(FieldError::BadBoolean { field: self.name.to_owned() }),
        }
    }

    fn folded(&self, column: Expr) -> Expr {
        match self.kind {
            Kind::Text => upper(column),
            Kind::Long | Kind::Bool | Kind::Enum(_) => column,
        }
    }

    fn value(&self, value: &str) -> Result<Expr, FieldError> {
        let value = self.macros.expand(value);
        match self.kind {
            Kind::Text => Ok(upper(value)),
            Kind::Long => match value.parse::<i64>() {
                Ok(number) => Ok(Expr::val(number)),
                Err(_) => Err(FieldError::BadNumber { field: self.name.to_owned() }),
            },
            Kind::Bool => Ok(Expr::val(self.boolean(&value)?)),
            Kind::Enum(names) => match names.iter().find(|(name, _)| *name == value) {
                Some((_, stored)) => Ok(Expr::val(*stored)),
                None => Err(FieldError::BadEnumValue {
                    field: self.name.to_owned(),
                    allowed: names.iter().map(|(name, _)| *name).collect(),
                }),
            },
        }
    }

    fn boolean(&self, value: &str) -> Result<bool, FieldError> {
        value.parse().map_err(|_| FieldError::BadBoolean { field: self.name.to_owned() })
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
