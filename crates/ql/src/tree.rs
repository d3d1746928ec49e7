//! The parsed query. It says what is compared with what and nothing about where a field is stored.
//!
//! A negated test holds where the plain test does not, absent values included (E4: null rows match `!=` and `=out=`).
//! Only map fields deviate: see [`crate::Path::Map`].

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
