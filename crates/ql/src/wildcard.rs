//! Patterns with `*`: which values are patterns, and their form for SQL `LIKE`.

/// Escapes the characters special to `LIKE`. Not a backslash: engines disagree on how to write one in a literal.
pub const LIKE_ESCAPE: char = '!';

/// Whether a value holds a star that is not escaped. A value with only escaped stars is an ordinary value, and keeps its
/// backslashes: `name==gamma\*` does not find `gamma*` (recorded so).
pub fn is_pattern(value: &str) -> bool {
    let mut escaped = false;
    value.chars().any(|char| {
        let wildcard = char == '*' && !escaped;
        escaped = char == '\\';
        wildcard
    })
}

/// The pattern as `LIKE … ESCAPE '!'` wants it.
pub fn to_like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' => like.push('%'),
            '\\' if chars.next_if_eq(&'*').is_some() => like.push('*'),
            '%' | '_' | LIKE_ESCAPE => like.extend([LIKE_ESCAPE, char]),
            _ => like.push(char),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::{is_pattern, to_like};

    #[test]
    fn an_escaped_star_is_no_wildcard() {
        for (value, pattern) in
            [("a*", true), ("*", true), (r"a\*", false), (r"\**", true), (r"\*\*", false), (r"a\b*", true), ("", false)]
        {
            assert_eq!(is_pattern(value), pattern, "{value}");
        }
    }

    #[test]
    fn only_stars_are_special_in_a_pattern() {
        for (pattern, like) in [
            ("*", "%"),
            ("a*b", "a%b"),
            ("50%_*", "50!%!_%"),
            ("wow!*", "wow!!%"),
            (r"\**", "*%"),
            (r"a\b*", r"a\b%"),
            (r"*\", r"%\"),
        ] {
            assert_eq!(to_like(pattern), like, "{pattern}");
        }
    }
}
