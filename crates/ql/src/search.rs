//! A query checked against an entity: fields found, values read, macros replaced. Both back ends, the SQL condition
//! ([`crate::sql`]) and the match in memory ([`crate::memory`]), start from it, so what one refuses the other does too.

use thiserror::Error;

use crate::fields::{Entity, Field, Kind, Path};
use crate::macros::Macros;
use crate::tree::{Comparison, Node, Order, Test};
use crate::wildcard::Pattern;

/// A query that fits an entity.
#[derive(Debug, Clone)]
pub struct Search {
    pub(crate) table: &'static str,
    pub(crate) root: Branch,
}

#[derive(Debug, Clone)]
pub(crate) enum Branch {
    All(Vec<Branch>),
    Any(Vec<Branch>),
    Ask(Ask),
}

/// One comparison.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub field: &'static Field,
    /// Of a map; else empty.
    pub key: String,
    pub negated: bool,
    pub check: Check,
}

/// What is asked of a value. None of these holds for null, except by negation.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    Present,
    Equal(Operand),
    In(Vec<Operand>),
    Like(Pattern),
    Ordered(Order, Operand),
    /// Only of [`Path::Exists`], and nothing else of it.
    Exists(bool),
}

/// The value of a comparison as the field's kind; that of an enum is the integer stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operand {
    Text(String),
    Long(i64),
    Bool(bool),
}

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

impl Search {
    pub fn new(node: &Node, entity: &Entity, macros: &Macros) -> Result<Self, FieldError> {
        Ok(Self { table: entity.table, root: branch(node, entity, macros)? })
    }

    /// The fields whose values decide, some more than once: what has to be loaded to match in memory.
    pub fn fields(&self) -> Vec<&'static Field> {
        let mut fields = Vec::new();
        let mut open = vec![&self.root];
        while let Some(branch) = open.pop() {
            match branch {
                Branch::All(children) | Branch::Any(children) => open.extend(children),
                Branch::Ask(ask) => fields.push(ask.field),
            }
        }
        fields
    }
}

fn branch(node: &Node, entity: &Entity, macros: &Macros) -> Result<Branch, FieldError> {
    let children =
        |nodes: &[Node]| nodes.iter().map(|node| branch(node, entity, macros)).collect::<Result<Vec<_>, _>>();
    Ok(match node {
        Node::And(nodes) => Branch::All(children(nodes)?),
        Node::Or(nodes) => Branch::Any(children(nodes)?),
        Node::Comparison(comparison) => Branch::Ask(ask(comparison, entity, macros)?),
    })
}

fn ask(comparison: &Comparison, entity: &Entity, macros: &Macros) -> Result<Ask, FieldError> {
    let name = comparison.field.as_str();
    let (field, key) = entity.resolve(name).ok_or_else(|| FieldError::UnknownField { field: name.to_owned() })?;
    let reader = Reader { name, kind: field.kind, macros };
    let check = match field.path {
        Path::Exists { .. } => reader.existence(&comparison.test)?,
        _ => reader.check(&comparison.test)?,
    };
    Ok(Ask { field, key: key.to_owned(), negated: comparison.negated, check })
}

/// Reads what a field is compared with.
struct Reader<'a> {
    name: &'a str,
    kind: Kind,
    macros: &'a Macros,
}

impl Reader<'_> {
    fn check(&self, test: &Test) -> Result<Check, FieldError> {
        Ok(match test {
            Test::Present => Check::Present,
            Test::Equal(value) => Check::Equal(self.operand(value)?),
            Test::In(values) => Check::In(values.iter().map(|value| self.operand(value)).collect::<Result<_, _>>()?),
            Test::Like(pattern) => match self.kind {
                Kind::Text => Check::Like(Pattern::new(&self.macros.expand(pattern))),
                Kind::Long if pattern == "*" => Check::Present,
                // No number, boolean or name has a star: this tells which of them the peer misses.
                Kind::Long | Kind::Bool | Kind::Enum(_) => Check::Equal(self.operand(pattern)?),
            },
            Test::Ordered(order, value) => match self.kind {
                Kind::Text | Kind::Long => Check::Ordered(*order, self.operand(value)?),
                Kind::Bool | Kind::Enum(_) => {
                    self.operand(value)?;
                    return Err(FieldError::NoOrder { field: self.name.to_owned() });
                }
            },
        })
    }

    fn existence(&self, test: &Test) -> Result<Check, FieldError> {
        match test {
            Test::Equal(value) => Ok(Check::Exists(self.boolean(&self.macros.expand(value))?)),
            Test::Ordered(_, value) => {
                self.boolean(&self.macros.expand(value))?;
                Err(FieldError::NoOrder { field: self.name.to_owned() })
            }
            Test::Present | Test::Like(_) | Test::In(_) => Err(FieldError::BadBoolean { field: self.name.to_owned() }),
        }
    }

    fn operand(&self, value: &str) -> Result<Operand, FieldError> {
        let value = self.macros.expand(value);
        match self.kind {
            Kind::Text => Ok(Operand::Text(value)),
            Kind::Long => match value.parse() {
                Ok(number) => Ok(Operand::Long(number)),
                Err(_) => Err(FieldError::BadNumber { field: self.name.to_owned() }),
            },
            Kind::Bool => Ok(Operand::Bool(self.boolean(&value)?)),
            Kind::Enum(names) => match names.iter().find(|(name, _)| *name == value) {
                Some((_, stored)) => Ok(Operand::Long(*stored)),
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
