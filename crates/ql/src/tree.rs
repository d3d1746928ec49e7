//! The parsed query. It says what is compared with what and nothing about where a field is stored.
//!
//! A negated test holds where the plain test does not, absent values included (E4: null rows match `!=` and `=out=`).
//! Only map fields deviate: see [`crate::Path::Map`].

use std::fmt;

/// A query or a part of it. `And` and `Or` hold two children or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Comparison(Comparison),
}

/// One test of one field, e.g. `name!=alpha*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The field as written, in lower case, with its sub-field or map key: `name`, `assignedds.version`, `attribute.hw`.
    pub field: String,
    pub negated: bool,
    pub test: Test,
}

/// What is asked of a field. Values are text in lower case (ASCII), their macros still unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Has a value; negated by `=is=null`.
    Present,
    Equal(String),
    /// Matches a pattern: `*` stands for any text, `\*` for a star, all else for itself.
    Like(String),
    In(Vec<String>),
    Ordered(Order, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Node {
    /// Takes the comparisons of `field` out of a query that is only them, or a top-level `And` with them, and returns
    /// them with what is left. For fields that are no part of the SQL, as `complete` of distribution sets (E4): what
    /// remains of them elsewhere in the query becomes an unknown field.
    pub fn split_off(self, field: &str) -> (Vec<Comparison>, Option<Node>) {
        let children = match self {
            Node::And(children) => children,
            other => vec![other],
        };
        let mut taken = Vec::new();
        let mut kept = Vec::new();
        for child in children {
            match child {
                Node::Comparison(comparison) if comparison.field == field => taken.push(comparison),
                other => kept.push(other),
            }
        }
        (taken, Node::all(kept))
    }

    fn all(mut nodes: Vec<Node>) -> Option<Node> {
        if nodes.len() > 1 { Some(Node::And(nodes)) } else { nodes.pop() }
    }
}

/// As text that [`crate::parse`] reads as the same tree, provided that the tree came from there or could have.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::And(children) => fmt_group(f, children, ";"),
            Node::Or(children) => fmt_group(f, children, ","),
            Node::Comparison(comparison) => write!(f, "{comparison}"),
        }
    }
}

fn fmt_group(f: &mut fmt::Formatter<'_>, children: &[Node], separator: &str) -> fmt::Result {
    for (number, child) in children.iter().enumerate() {
        if number > 0 {
            f.write_str(separator)?;
        }
        match child {
            Node::Comparison(comparison) => write!(f, "{comparison}")?,
            group => write!(f, "({group})")?,
        }
    }
    Ok(())
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)?;
        match &self.test {
            Test::Present => f.write_str(if self.negated { "=is=null" } else { "=not=null" }),
            // `==''` asks for null too.
            Test::Equal(value) if value.is_empty() => f.write_str(if self.negated { "=out=('')" } else { "=in=('')" }),
            Test::Equal(value) | Test::Like(value) => {
                write!(f, "{}{}", if self.negated { "!=" } else { "==" }, Quoted(value))
            }
            Test::In(values) => {
                f.write_str(if self.negated { "=out=(" } else { "=in=(" })?;
                for (number, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if number > 0 { "," } else { "" }, Quoted(value))?;
                }
                f.write_str(")")
            }
            Test::Ordered(order, value) => {
                let operator = match order {
                    Order::Less => "<",
                    Order::LessOrEqual => "<=",
                    Order::Greater => ">",
                    Order::GreaterOrEqual => ">=",
                };
                write!(f, "{operator}{}", Quoted(value))
            }
        }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = self.0.replace('\\', r"\\").replace('\'', r"\'");
        write!(f, "'{escaped}'")
    }
}
