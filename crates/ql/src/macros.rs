//! `${now_ts}` and `${overdue_ts}`: values known only when the query runs.

/// What the macros stand for, in epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macros {
    pub now_ts: i64,
    /// Before this moment a poll is overdue, by the tenant's default interval (E4).
    pub overdue_ts: i64,
}

impl Macros {
    /// Replaces the macros in a value. Unknown names stay as they are; `$${now_ts}` stands for the text `${now_ts}`.
    pub fn expand(&self, value: &str) -> String {
        let mut expanded = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            match (before.strip_suffix('$'), after.split_once('}')) {
                (Some(before), _) => {
                    expanded.push_str(before);
                    expanded.push_str("${");
                    rest = after;
                }
                (None, Some((name, after))) => {
                    expanded.push_str(before);
                    match self.value(name) {
                        Some(value) => expanded.push_str(&value.to_string()),
                        None => expanded.extend(["${", name, "}"]),
                    }
                    rest = after;
                }
                (None, None) => break,
            }
        }
        expanded.push_str(rest);
        expanded
    }

    fn value(&self, name: &str) -> Option<i64> {
        match name {
            "now_ts" => Some(self.now_ts),
            "overdue_ts" => Some(self.overdue_ts),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Macros;

    #[test]
    fn macros_are_replaced_unless_unknown_or_escaped() {
        let macros = Macros { now_ts: 2000, overdue_ts: 1000 };
        for (value, expanded) in [
            ("${now_ts}", "2000"),
            ("a${overdue_ts}b${now_ts}", "a1000b2000"),
            ("${other}${now_ts}", "${other}2000"),
            ("$${now_ts}", "${now_ts}"),
            ("${now_ts", "${now_ts"),
            ("$", "$"),
            ("", ""),
        ] {
            assert_eq!(macros.expand(value), expanded, "{value}");
        }
    }
}
