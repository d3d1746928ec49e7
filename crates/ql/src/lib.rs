//! The search language of `q=`, target filters and access scopes: RSQL text to a tree, and the tree to a condition for SQL.
//!
//! [`parse`] knows the language only; [`condition`] gives the tree a meaning over an [`Entity`], the caller's table of
//! fields. The tree holds no SQL, so that it can also be matched in memory. This crate does no IO and sees no other crate
//! of ours. The peer's rules are semantics.md section E4.

mod fields;
mod lex;
mod macros;
mod parse;
mod sql;
mod tree;
mod wildcard;

pub use fields::{Entity, Field, Kind, Path, Step};
pub use macros::Macros;
pub use parse::{MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, MAX_PATTERN, MAX_VALUES, ParseError, parse};
pub use sql::{FieldError, condition};
pub use tree::{Comparison, Node, Order, Test};
