//! Text to tokens, with the places they stand at. The rules are those of jirutka's rsql-parser, which the peer uses.

use std::borrow::Cow;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token<'a> {
    /// A selector or a value without quotes. A backslash in it is an ordinary character.
    Word(&'a str),
    /// The content of a quoted value, its escapes resolved.
    Quoted(Cow<'a, str>),
    /// `==`, `!=`, `<`, `=in=` and whatever else looks like a comparison operator.
    Operator(&'a str),
    And,
    Or,
    Open,
    Close,
    End,
}

/// Text that no token starts with, e.g. a quote without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub found: String,
}

pub struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// How many bytes are still to be read, of which the first is that of the next token.
    pub fn remaining(&mut self) -> usize {
        while let Some(rest) = self.rest.strip_prefix(' ') {
            if self.rest.starts_with(" and ") || self.rest.starts_with(" or ") {
                break;
            }
            self.rest = rest;
        }
        self.rest.len()
    }

    pub fn next(&mut self) -> Result<Token<'a>, Unreadable> {
        self.remaining();
        for (text, token) in [
            (";", Token::And),
            (" and ", Token::And),
            (",", Token::Or),
            (" or ", Token::Or),
            ("(", Token::Open),
            (")", Token::Close),
        ] {
            if let Some(rest) = self.rest.strip_prefix(text) {
                self.rest = rest;
                return Ok(token);
            }
        }
        match self.rest.chars().next() {
            None => Ok(Token::End),
            Some('=' | '!' | '<' | '>' | '~') => self.operator(),
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some(_) => Ok(Token::Word(self.take(self.rest.find(is_reserved).unwrap_or(self.rest.len())))),
        }
    }

    fn operator(&mut self) -> Result<Token<'a>, Unreadable> {
        let length = match self.rest.as_bytes() {
            [b'!', b'=', ..] | [b'<' | b'>', b'=', ..] => Some(2),
            [b'<' | b'>', ..] => Some(1),
            [b'=', rest @ ..] => {
                let letters = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
                (rest.get(letters) == Some(&b'=')).then_some(letters + 2)
            }
            _ => None,
        };
        match length {
            Some(length) => Ok(Token::Operator(self.take(length))),
            None => Err(Unreadable { found: self.rest.chars().take(1).collect() }),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token<'a>, Unreadable> {
        let mut content = Cow::Borrowed("");
        let inner = self.rest.get(1..).unwrap_or_default();
        let mut chars = inner.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                _ if char == quote => {
                    if let Cow::Borrowed(_) = content {
                        content = Cow::Borrowed(inner.get(..at).unwrap_or_default());
                    }
                    self.rest = inner.get(at + 1..).unwrap_or_default();
                    return Ok(Token::Quoted(content));
                }
                '\\' => {
                    if let Cow::Borrowed(_) = content {
                        content = Cow::Owned(inner.get(..at).unwrap_or_default().to_owned());
                    }
                    if let (Cow::Owned(content), Some((_, escaped))) = (&mut content, chars.next()) {
                        content.push(escaped);
                    }
                }
                _ => {
                    if let Cow::Owned(content) = &mut content {
                        content.push(char);
                    }
                }
            }
        }
        Err(Unreadable { found: format!("{quote} without its closing {quote}") })
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}

fn is_reserved(char: char) -> bool {
    matches!(char, '"' | '\'' | '(' | ')' | ';' | ',' | '=' | '<' | '>' | '!' | '~' | ' ')
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Operator(text) => write!(f, "{text}"),
            Token::Quoted(text) => write!(f, "'{text}'"),
            Token::And => f.write_str("and"),
            Token::Or => f.write_str("or"),
            Token::Open => f.write_str("("),
            Token::Close => f.write_str(")"),
            Token::End => f.write_str("the end"),
        }
    }
}
