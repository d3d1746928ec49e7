//! The tree matched against the values of one entity, with the answer that [`crate::sql`] gives on the database which
//! they come from: nulls, negation, maps and relations alike, text folded as its engine folds it, and ordered by bytes as
//! under the collation "C".
//!
//! A match allocates nothing: one entity's values, loaded once, can be held against a thousand stored queries.

use std::collections::HashMap;

use crate::fields::Path;
use crate::search::{Ask, Branch, Check, Operand, Search};
use crate::tree::Order;

/// How the engine's `upper()` folds case, one character to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// SQLite.
    Ascii,
    /// PostgreSQL under C.UTF-8: the simple mappings of Unicode.
    Unicode,
}

/// A value as it is stored; that of an enum is its integer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    Null,
    Text(String),
    Long(i64),
    Bool(bool),
}

/// What is known of one entity, by where it is stored. What was not put in is absent: a null, no rows, no such key.
#[derive(Debug, Clone)]
pub struct Values {
    folding: Folding,
    rows: HashMap<Path, Vec<Row>>,
}

#[derive(Debug, Clone)]
struct Row {
    /// Of a map; else empty.
    key: String,
    value: Datum,
}

impl Values {
    pub fn new(folding: Folding) -> Self {
        Self { folding, rows: HashMap::new() }
    }

    /// Puts in the value of a column, or of one of the related rows. That a row exists is put in as any value.
    pub fn put(&mut self, path: Path, value: Datum) {
        self.put_entry(path, String::new(), value);
    }

    /// Puts in a map's value under its key.
    pub fn put_entry(&mut self, path: Path, key: String, value: Datum) {
        self.rows.entry(path).or_default().push(Row { key, value });
    }

    fn rows(&self, path: &Path) -> &[Row] {
        self.rows.get(path).map_or(&[], Vec::as_slice)
    }
}

impl Search {
    /// Whether the entity with these values is among those asked for. The values are to hold what [`Search::fields`]
    /// names.
    pub fn matches(&self, values: &Values) -> bool {
        holds(&self.root, values)
    }
}

fn holds(branch: &Branch, values: &Values) -> bool {
    match branch {
        Branch::All(children) => children.iter().all(|child| holds(child, values)),
        Branch::Any(children) => children.iter().any(|child| holds(child, values)),
        Branch::Ask(ask) => answer(ask, values),
    }
}

fn answer(ask: &Ask, values: &Values) -> bool {
    let folding = values.folding;
    let rows = values.rows(&ask.field.path);
    let passes = |row: &Row| test(&row.value, &ask.check, folding);
    match ask.field.path {
        Path::Column(_) => rows.first().is_some_and(passes) != ask.negated,
        Path::Related { .. } => rows.iter().any(passes) != ask.negated,
        Path::Map { .. } => {
            // More than one: keys that differ by case alone are different keys where they are stored.
            let mut entries = rows.iter().filter(|row| folding.same(&row.key, &ask.key));
            match ask.check {
                Check::Present => entries.any(passes) != ask.negated,
                _ => entries.any(|row| passes(row) != ask.negated),
            }
        }
        Path::Exists { .. } => {
            let wanted = matches!(ask.check, Check::Exists(true));
            rows.is_empty() != (wanted != ask.negated)
        }
    }
}

/// The plain test, which null does not pass, so that its negation holds for null.
fn test(value: &Datum, check: &Check, folding: Folding) -> bool {
    match check {
        Check::Present | Check::Exists(_) => *value != Datum::Null,
        Check::Equal(operand) => equal(value, operand, folding),
        Check::In(operands) => operands.iter().any(|operand| equal(value, operand, folding)),
        Check::Like(pattern) => match value {
            Datum::Text(text) => pattern.matches(text, |char| folding.upper(char)),
            _ => false,
        },
        Check::Ordered(order, operand) => {
            let compared = match (value, operand) {
                (Datum::Text(value), Operand::Text(operand)) => value.as_bytes().cmp(operand.as_bytes()),
                (Datum::Long(value), Operand::Long(operand)) => value.cmp(operand),
                _ => return false,
            };
            match order {
                Order::Less => compared.is_lt(),
                Order::LessOrEqual => compared.is_le(),
                Order::Greater => compared.is_gt(),
                Order::GreaterOrEqual => compared.is_ge(),
            }
        }
    }
}

fn equal(value: &Datum, operand: &Operand, folding: Folding) -> bool {
    match (value, operand) {
        (Datum::Text(value), Operand::Text(operand)) => folding.same(value, operand),
        (Datum::Long(value), Operand::Long(operand)) => value == operand,
        (Datum::Bool(value), Operand::Bool(operand)) => value == operand,
        _ => false,
    }
}

impl Folding {
    fn same(self, one: &str, other: &str) -> bool {
        one.chars().map(|char| self.upper(char)).eq(other.chars().map(|char| self.upper(char)))
    }

    fn upper(self, char: char) -> char {
        match self {
            Folding::Unicode if !char.is_ascii() => simple_upper(char),
            _ => char.to_ascii_uppercase(),
        }
    }
}

/// Unicode's simple mapping. The standard library has the full one only, in which some characters become two or three.
fn simple_upper(char: char) -> char {
    let mut full = char.to_uppercase();
    if let (Some(one), None) = (full.next(), full.next()) {
        return one;
    }
    let distance = match char {
        // Greek letters with an iota below have a capital with an iota beside it.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(char) + distance).unwrap_or(char)
}
