//! The search language of `q=`, target filters and access scopes: RSQL text to a tree, and the tree to a condition for SQL
//! or to a match in memory.
//!
//! [`parse`] knows the language only; [`Search`] gives the tree a meaning over an [`Entity`], the caller's table of
//! fields. Its two back ends, [`Search::condition`] and [`Search::matches`], answer alike. This crate does no IO and sees
//! no other crate of ours. The peer's rules are semantics.md section E4.

mod fields;
mod lex;
mod macros;
mod memory;
mod parse;
mod search;
mod sql;
mod tree;
mod wildcard;

pub use fields::{Entity, Field, Kind, Path, Step};
pub use macros::Macros;
pub use memory::{Datum, Folding, Values};
pub use parse::{MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, MAX_PATTERN, MAX_VALUES, ParseError, parse};
pub use search::{FieldError, Search};
pub use sql::condition;
pub use tree::{Comparison, Node, Order, Test};
