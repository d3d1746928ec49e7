//! What a query may ask of an entity: names, kinds and places of its fields. Stores own such tables, as constants.

/// An entity that can be searched.
#[derive(Debug, Clone, Copy)]
pub struct Entity {
    /// The root table, by the name or alias under which the caller's query has it. Its key is the column `id`.
    pub table: &'static str,
    pub fields: &'static [Field],
}

/// A field under one of its names. A field with several names, or a default sub-field (`type` for `type.key`), has
/// several entries.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// In lower case; with the sub-field for related entities (`assignedds.name`), without the key for maps.
    pub name: &'static str,
    pub kind: Kind,
    pub path: Path,
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Compared without regard to case, except for order.
    Text,
    /// Numbers, and times in epoch milliseconds.
    Long,
    Bool,
    /// Names in lower case, in the order in which an error lists them, with their stored integers.
    Enum(&'static [(&'static str, i64)]),
}

/// Where a field is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// A column of the root table; the only kind that can be sorted by.
    Column(&'static str),
    /// A column of rows reached from the root. Of one row (`assignedds.name`) or of many (`tag`): a negated test holds
    /// if none of them passes the plain one.
    Related { steps: &'static [Step], column: &'static str },
    /// The value under a key: the part of the field's name after the first dot. Negated tests hold only where the key
    /// is, except `=is=null`.
    Map { table: &'static str, owner: &'static str, key: &'static str, value: &'static str },
    /// Whether such rows exist; takes `==` and `!=` with `true` and `false` only.
    Exists { steps: &'static [Step] },
}

/// From one table to the next: to the rows of `table` whose `column` equals the column `from` of the table before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    pub table: &'static str,
    pub column: &'static str,
    pub from: &'static str,
}

impl Step {
    pub const fn new(table: &'static str, column: &'static str, from: &'static str) -> Self {
        Self { table, column, from }
    }
}

impl Field {
    pub const fn column(name: &'static str, kind: Kind, column: &'static str) -> Self {
        Self { name, kind, path: Path::Column(column) }
    }

    pub const fn related(name: &'static str, kind: Kind, steps: &'static [Step], column: &'static str) -> Self {
        Self { name, kind, path: Path::Related { steps, column } }
    }

    /// A map of texts whose `owner` column holds the root's id.
    pub const fn map(
        name: &'static str,
        table: &'static str,
        owner: &'static str,
        key: &'static str,
        value: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Text, path: Path::Map { table, owner, key, value } }
    }

    pub const fn exists(name: &'static str, steps: &'static [Step]) -> Self {
        Self { name, kind: Kind::Bool, path: Path::Exists { steps } }
    }
}

impl Entity {
    /// The column to sort by for a field of `sort=`, in any case. Sub-fields, maps and `autoconfirm` have none.
    pub fn sort_column(&self, field: &str) -> Option<&'static str> {
        self.fields.iter().find(|known| known.name.eq_ignore_ascii_case(field)).and_then(|known| match known.path {
            Path::Column(column) => Some(column),
            _ => None,
        })
    }

    /// The field of a comparison, and the key if it is a map.
    pub(crate) fn resolve<'a>(&self, name: &'a str) -> Option<(&'static Field, &'a str)> {
        let find = |name: &str, map: bool| {
            self.fields.iter().find(|field| field.name == name && matches!(field.path, Path::Map { .. }) == map)
        };
        if let Some(field) = find(name, false) {
            return Some((field, ""));
        }
        let (name, key) = name.split_once('.').filter(|(_, key)| !key.is_empty())?;
        Some((find(name, true)?, key))
    }
}
