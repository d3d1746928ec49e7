//! Rules for text that clients send: lengths in characters, and no markup (semantics.md E6).

use crate::error::{Error, Result};

/// A value that must be there, has at most `max` characters, and holds no markup.
pub fn required(field: &str, value: &str, max: usize) -> Result<()> {
    if value.is_empty() {
        return Err(Error::constraint(format!("{field} size must be between 1 and {max}.")));
    }
    optional(field, Some(value), max)
}

/// A value that may be absent or empty, has at most `max` characters, and holds no markup.
pub fn optional(field: &str, value: Option<&str>, max: usize) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    fits(field, value, max)?;
    no_markup(field, value)
}

/// A value that has at most `max` characters, and may hold markup.
pub fn fits(field: &str, value: &str, max: usize) -> Result<()> {
    if value.chars().count() > max {
        return Err(Error::constraint(format!("{field} size must be between 0 and {max}.")));
    }
    no_nul(field, value)
}

/// As the peer stores text: without the blanks and control characters around it.
pub fn trim(value: String) -> String {
    let trimmed = value.trim_matches(|c| c <= ' ');
    if trimmed.len() == value.len() { value } else { trimmed.to_owned() }
}

/// A value of which [`trim`] leaves something, with at most `max` characters as it was sent, and no markup.
pub fn filled(field: &str, value: &str, max: usize) -> Result<()> {
    required(field, value, max)?;
    if value.chars().all(|c| c <= ' ') {
        return Err(Error::constraint(format!("{field} must not be blank.")));
    }
    Ok(())
}

/// What an update makes of a value that is `old`; `None` where it stays.
pub fn change(new: Option<String>, old: Option<&str>) -> Option<String> {
    new.map(trim).filter(|new| Some(new.as_str()) != old)
}

/// PostgreSQL can't hold a NUL; so it is refused on both engines.
pub fn no_nul(field: &str, value: &str) -> Result<()> {
    if value.contains('\0') {
        return Err(Error::constraint(format!("{field} must not contain the character NUL.")));
    }
    Ok(())
}

/// As the peer's text check: no `<tag`, `</tag`, `<!--` or `<?`. A lone `<` or `a < b` is plain text. Nor a NUL.
pub fn no_markup(field: &str, value: &str) -> Result<()> {
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let opens = c == '<' && chars.peek().is_some_and(|n| n.is_ascii_alphabetic() || matches!(n, '/' | '!' | '?'));
        if opens {
            return Err(Error::constraint(format!("{field} must not contain HTML or XML markup.")));
        }
    }
    no_nul(field, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_refused_and_comparison_signs_are_not() {
        for (text, good) in
            [("a < b > c", true), ("1<2", true), ("<b>x", false), ("x</i>", false), ("<!-- -->", false), ("a\0", false)]
        {
            assert_eq!(no_markup("f", text).is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn lengths_are_in_characters() {
        assert!(optional("f", Some(&"é".repeat(8)), 8).is_ok());
        assert!(optional("f", Some(&"é".repeat(9)), 8).is_err());
        assert!(required("f", "", 8).is_err());
    }

    #[test]
    fn what_an_update_leaves_as_it_is_is_no_change() {
        for (new, old, changed) in [
            (Some(" a\t"), Some("a"), None),
            (Some(" a b "), Some("a"), Some("a b")),
            (Some(""), Some("a"), Some("")),
            (Some("a"), None, Some("a")),
            (None, Some("a"), None),
        ] {
            assert_eq!(change(new.map(str::to_owned), old).as_deref(), changed, "{new:?} on {old:?}");
        }
    }
}
