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

/// A value with wildcards: characters, and `None` for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Option<char>>);

impl Pattern {
    pub fn new(value: &str) -> Self {
        let mut parts = Vec::with_capacity(value.len());
        let mut chars = value.chars().peekable();
        while let Some(char) = chars.next() {
            parts.push(match char {
                '*' => None,
                '\\' if chars.next_if_eq(&'*').is_some() => Some('*'),
                _ => Some(char),
            });
        }
        Self(parts)
    }

    /// As `LIKE … ESCAPE '!'` wants it.
    pub fn to_like(&self) -> String {
        let mut like = String::with_capacity(self.0.len());
        for part in &self.0 {
            match part {
                None => like.push('%'),
                Some(char @ ('%' | '_' | LIKE_ESCAPE)) => like.extend([LIKE_ESCAPE, *char]),
                Some(char) => like.push(*char),
            }
        }
        like
    }

    /// Whether all of `text` matches where characters that `fold` makes equal are equal.
    pub fn matches(&self, text: &str, fold: impl Fn(char) -> char) -> bool {
        let mut text = text.chars();
        let mut place = 0;
        // After the last star so far, and from where what follows it was tried. That star takes one character more
        // where this fails; earlier ones need not, so the work is bounded by the product of the lengths.
        let mut retry = None;
        loop {
            match self.0.get(place) {
                Some(None) => {
                    place += 1;
                    retry = Some((place, text.clone()));
                    continue;
                }
                Some(Some(char)) => {
                    let mut ahead = text.clone();
                    if ahead.next().is_some_and(|found| fold(found) == fold(*char)) {
                        text = ahead;
                        place += 1;
                        continue;
                    }
                }
                None if text.as_str().is_empty() => return true,
                None => {}
            }
            let Some((after, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            place = *after;
            text = from.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, is_pattern};

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
            assert_eq!(Pattern::new(pattern).to_like(), like, "{pattern}");
        }
    }
    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "aba", true),
            ("*a", "ab", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXcXb", false),
            ("a*a", "a", false),
            ("**", "x", true),
            (r"\*a*", "*ab", true),
            (r"\*a*", "xab", false),
            ("é*", "éa", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text, |char| char), matches, "{pattern} {text}");
        }
    }
}
