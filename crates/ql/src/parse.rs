//! Tokens to the tree, in one pass and within fixed limits, whatever the text.
//!
//! The shorthands of the peer are resolved here: stars make a pattern of a value, `==''` asks for null or empty, `!=''`
//! for present and not empty, and the word `null` means absence after `=is=`, `=eq=`, `=not=` and `=ne=` only.

use thiserror::Error;

use crate::lex::{Lexer, Token};
use crate::tree::{Comparison, Node, Order, Test};
use crate::wildcard::is_pattern;

/// Longest query, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;
/// Deepest nesting of parentheses.
pub const MAX_DEPTH: usize = 64;
/// Most comparisons of a query. SQLite takes expressions 1000 levels deep, and a chain of `and` is one level for each.
pub const MAX_COMPARISONS: usize = 500;
/// Most values of a query, those of `=in=` and `=out=` included. SQLite binds 32766 at most.
pub const MAX_VALUES: usize = 10_000;
/// Longest value with wildcards, in bytes. Columns are not longer, and engines match long patterns slowly.
pub const MAX_PATTERN: usize = 4096;

/// The text is no query.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at character {position}: {message}")]
pub struct ParseError {
    /// Characters before the place where reading failed.
    pub position: usize,
    /// What was expected and what was found instead.
    pub message: String,
}

/// Reads a query. Its ASCII letters are taken in lower case, as the peer does with `hawkbit.ql.ignore-case`; the others
/// keep their case, since SQLite folds ASCII only and would not find `É` by `é`. Where text is compared the engine folds
/// both sides.
pub fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > MAX_LENGTH {
        return Err(ParseError { position: 0, message: format!("the query is longer than {MAX_LENGTH} bytes") });
    }
    let text = text.to_ascii_lowercase();
    if let Some(position) = text.chars().position(|char| char == '\0') {
        return Err(ParseError { position, message: "a query holds no NUL".to_owned() });
    }
    let mut parser = Parser::new(&text)?;
    let node = parser.any(0)?;
    match parser.token {
        Token::End => Ok(node),
        _ => Err(parser.expected("and, or, or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Offset of `token` in bytes.
    at: usize,
    comparisons: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, ParseError> {
        let mut parser = Self { text, lexer: Lexer::new(text), token: Token::End, at: 0, comparisons: 0, values: 0 };
        parser.advance()?;
        Ok(parser)
    }

    /// Moves to the next token and returns the one before.
    fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        self.at = self.text.len().saturating_sub(self.lexer.remaining());
        match self.lexer.next() {
            Ok(token) => Ok(std::mem::replace(&mut self.token, token)),
            Err(unreadable) => Err(self.error(format!("unexpected {}", unreadable.found))),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Node, ParseError> {
        let mut nodes = vec![self.all(depth)?];
        while self.token == Token::Or {
            self.advance()?;
            nodes.push(self.all(depth)?);
        }
        Ok(group(nodes, Node::Or))
    }

    fn all(&mut self, depth: usize) -> Result<Node, ParseError> {
        let mut nodes = vec![self.constraint(depth)?];
        while self.token == Token::And {
            self.advance()?;
            nodes.push(self.constraint(depth)?);
        }
        Ok(group(nodes, Node::And))
    }

    fn constraint(&mut self, depth: usize) -> Result<Node, ParseError> {
        match self.token {
            Token::Open if depth == MAX_DEPTH => {
                Err(self.error(format!("parentheses are nested more than {MAX_DEPTH} deep")))
            }
            Token::Open => {
                self.advance()?;
                let node = self.any(depth + 1)?;
                self.close("and, or, or )")?;
                Ok(node)
            }
            Token::Word(field) => {
                self.comparisons += 1;
                if self.comparisons > MAX_COMPARISONS {
                    return Err(self.error(format!("there are more than {MAX_COMPARISONS} comparisons")));
                }
                self.advance()?;
                self.comparison(field)
            }
            _ => Err(self.expected("a field or (")),
        }
    }

    fn comparison(&mut self, field: &str) -> Result<Node, ParseError> {
        let Token::Operator(operator) = self.token else {
            return Err(self.expected("a comparison operator"));
        };
        let set = matches!(operator, "=in=" | "=out=");
        let order = match operator {
            "<" | "=lt=" => Some(Order::Less),
            "<=" | "=le=" => Some(Order::LessOrEqual),
            ">" | "=gt=" => Some(Order::Greater),
            ">=" | "=ge=" => Some(Order::GreaterOrEqual),
            _ => None,
        };
        let equality = matches!(operator, "==" | "=is=" | "=eq=" | "!=" | "=not=" | "=ne=");
        if !(set || equality || order.is_some()) {
            return Err(self.error(format!("there is no comparison operator {operator}")));
        }
        let negated = matches!(operator, "!=" | "=not=" | "=ne=" | "=out=");
        let node = |test, negated| Node::Comparison(Comparison { field: field.to_owned(), negated, test });
        self.advance()?;
        if set {
            return Ok(node(Test::In(self.values()?), negated));
        }
        let value = self.single_value()?;
        if let Some(order) = order {
            return Ok(node(Test::Ordered(order, value), false));
        }
        let nullable = !matches!(operator, "==" | "!=");
        Ok(if nullable && value == "null" {
            node(Test::Present, !negated)
        } else if value.is_empty() && negated {
            Node::And(vec![node(Test::Like("*".to_owned()), false), node(Test::Equal(value), true)])
        } else if value.is_empty() {
            Node::Or(vec![node(Test::Present, true), node(Test::Equal(value), false)])
        } else if is_pattern(&value) {
            node(Test::Like(value), negated)
        } else {
            node(Test::Equal(value), negated)
        })
    }

    /// One value, which may stand in parentheses.
    fn single_value(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        if self.token != Token::Open {
            let value = self.value()?;
            return self.within_pattern_limit(start, value);
        }
        self.advance()?;
        let value = self.value()?;
        self.close(") after the only value this operator takes")?;
        self.within_pattern_limit(start, value)
    }

    /// One value, or several in parentheses.
    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        if self.token != Token::Open {
            return Ok(vec![self.value()?]);
        }
        self.advance()?;
        let mut values = vec![self.value()?];
        while self.token == Token::Or {
            self.advance()?;
            values.push(self.value()?);
        }
        self.close("a comma or )")?;
        Ok(values)
    }

    fn value(&mut self) -> Result<String, ParseError> {
        if !matches!(self.token, Token::Word(_) | Token::Quoted(_)) {
            return Err(self.expected("a value"));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error(format!("there are more than {MAX_VALUES} values")));
        }
        Ok(match self.advance()? {
            Token::Word(text) => text.to_owned(),
            Token::Quoted(text) => text.into_owned(),
            other => other.to_string(),
        })
    }

    fn close(&mut self, expected: &str) -> Result<(), ParseError> {
        if self.token != Token::Close {
            return Err(self.expected(expected));
        }
        self.advance()?;
        Ok(())
    }

    fn within_pattern_limit(&self, start: usize, value: String) -> Result<String, ParseError> {
        if value.len() > MAX_PATTERN && is_pattern(&value) {
            return Err(self.error_at(start, format!("a value with * is longer than {MAX_PATTERN} bytes")));
        }
        Ok(value)
    }

    fn expected(&self, expected: &str) -> ParseError {
        self.error(format!("expected {expected}, found {}", self.token))
    }

    fn error(&self, message: String) -> ParseError {
        self.error_at(self.at, message)
    }

    fn error_at(&self, at: usize, message: String) -> ParseError {
        let position = self.text.get(..at).unwrap_or(self.text).chars().count();
        ParseError { position, message }
    }
}

fn group(mut nodes: Vec<Node>, several: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        last => {
            nodes.extend(last);
            several(nodes)
        }
    }
}
