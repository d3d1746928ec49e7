//! Lists: what a client asks for, and one page of the answer (semantics.md E3).

/// A client's request for a page of a list. `sort` and `q` are as sent (an empty `q` is a wrong one); the store resolves them by its entity's fields.
#[derive(Clone, Debug)]
pub struct Listing {
    pub offset: u64,
    pub limit: u64,
    pub sort: Option<String>,
    pub q: Option<String>,
}

impl Listing {
    pub const DEFAULT_LIMIT: u64 = 50;
    pub const MAX_LIMIT: u64 = 500;

    /// As the peer reads them: a negative offset is 0, a limit below 1 is 50, one above 500 is 500.
    pub fn new(offset: i64, limit: i64, sort: Option<String>, q: Option<String>) -> Listing {
        let limit = if limit < 1 { Self::DEFAULT_LIMIT } else { limit.unsigned_abs().min(Self::MAX_LIMIT) };
        let offset = u64::try_from(offset).unwrap_or(0);
        Listing { offset, limit, sort: sort.filter(|s| !s.is_empty()), q }
    }
}

/// One page, and how many there are over all pages.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub content: Vec<T>,
    pub total: u64,
}

impl<T> Page<T> {
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { content: self.content.into_iter().map(f).collect(), total: self.total }
    }
}
