//! Parameters behind the question mark.

use std::{borrow::Cow, convert::Infallible};

use axum::extract::FromRequestParts;
use http::request::Parts;
use kettle_domain::Listing;
use percent_encoding::percent_decode;
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{ApiError, AppState};

/// All parameters, decoded as forms are: `+` is a blank.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

/// A request for a page of a list, and whether its entries are wanted in `full` rather than `compact`.
#[derive(Debug)]
pub struct ListQuery {
    pub listing: Listing,
    pub full: bool,
}

impl Params {
    fn parse(query: Option<&str>) -> Params {
        let pairs = query.unwrap_or_default().split('&').filter(|p| !p.is_empty());
        Params(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect(),
        )
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A text; given several times, joined by commas as the peer does.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let first = values.next()?;
        let mut rest = values.peekable();
        if rest.peek().is_none() {
            return Some(first.into());
        }
        Some(rest.fold(first.to_owned(), |joined, next| joined + "," + next).into())
    }

    /// An integer of 32 bits, as nearly all of the peer's are; the first if given several times. Empty is absent.
    pub fn int(&self, name: &str) -> Result<Option<i32>, ApiError> {
        self.parsed(name, "an integer", |v| v.parse().ok())
    }

    /// An id.
    pub fn id(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.parsed(name, "an integer", |v| v.parse().ok())
    }

    /// `true`, `on`, `yes`, `1`, or their opposites.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.parsed(name, "true or false", |v| match v.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Some(true),
            "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        })
    }

    /// One of the `known` names, as they are written here.
    pub fn choice<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let find = |v: &str| known.iter().find(|(name, _)| *name == v).map(|(_, value)| *value);
        self.parsed(name, &format!("one of {}", names.join(", ")), find)
    }

    fn parsed<T>(&self, name: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ApiError> {
        let Some(value) = self.values(name).next().map(str::trim).filter(|v| !v.is_empty()) else { return Ok(None) };
        let parsed =
            parse(value).ok_or_else(|| ApiError::not_readable(format!("The parameter {name} must be {what}.")));
        parsed.map(Some)
    }
}

/// Names what [`ListQuery`] reads, but for `q`, in the API's document: for lists that can't be searched.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many entries to leave out.
    #[param(default = 0)]
    pub offset: Option<i32>,
    /// How many entries to give at most; 500 if more are asked for.
    #[param(default = 50)]
    pub limit: Option<i32>,
    /// Fields and directions: `name:ASC,id:DESC`.
    pub sort: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its name and type are wanted")]
struct Search {
    /// A search: `name==lamp*;updatestatus==error`.
    q: Option<String>,
}

/// Names `representation`, which [`ListQuery`] reads and few lists heed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Representation {
    /// `full` for entries with all their links.
    #[param(default = "compact")]
    pub representation: Option<String>,
}

impl IntoParams for ListQuery {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        [Search::into_params(&place), Paging::into_params(&place)].concat()
    }
}

impl ListQuery {
    fn read(params: &Params) -> Result<ListQuery, ApiError> {
        let number = |name| params.int(name).map(|n| n.map(i64::from));
        let listing = Listing::new(
            number("offset")?.unwrap_or(0),
            number("limit")?.unwrap_or(Listing::DEFAULT_LIMIT.cast_signed()),
            params.text("sort").map(Cow::into_owned),
            params.text("q").map(Cow::into_owned),
        );
        Ok(ListQuery { listing, full: params.text("representation").is_some_and(|r| r.eq_ignore_ascii_case("full")) })
    }
}

impl FromRequestParts<AppState> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Params, Infallible> {
        Ok(Params::parse(parts.uri.query()))
    }
}

impl FromRequestParts<AppState> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<ListQuery, ApiError> {
        ListQuery::read(&Params::parse(parts.uri.query()))
    }
}

fn decode(text: &str) -> String {
    let blanks = text.replace('+', " ");
    percent_decode(blanks.as_bytes()).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Option<(u64, u64, String, String, bool)> {
        let ListQuery { listing: l, full } = ListQuery::read(&Params::parse(Some(query))).ok()?;
        Some((l.offset, l.limit, l.sort.unwrap_or_default(), l.q.unwrap_or_default(), full))
    }

    #[test]
    fn a_list_is_asked_for_as_the_peer_reads_it() {
        let some =
            |offset, limit, sort: &str, q: &str, full| Some((offset, limit, sort.to_owned(), q.to_owned(), full));
        for (query, expected) in [
            ("", some(0, 50, "", "", false)),
            ("offset=-1&limit=0", some(0, 50, "", "", false)),
            ("offset=5&limit=501&representation=full", some(5, 500, "", "", true)),
            ("limit=&offset=", some(0, 50, "", "", false)),
            ("limit=1&limit=x", some(0, 1, "", "", false)),
            ("sort=name:ASC&sort=id:DESC", some(0, 50, "name:ASC,id:DESC", "", false)),
            ("q=name%3D%3Da+b%2Bc;id==1", some(0, 50, "", "name==a b+c;id==1", false)),
            ("q=name==%C3%BC", some(0, 50, "", "name==ü", false)),
            ("representation=FULL", some(0, 50, "", "", true)),
            ("representation=other", some(0, 50, "", "", false)),
            ("limit=x", None),
            ("offset=1.5", None),
            ("limit=3000000000", None),
        ] {
            assert_eq!(list(query), expected, "{query}");
        }
    }

    #[test]
    fn flags_and_ids_are_read_or_refused() {
        let params = Params::parse(Some("a=true&b=FALSE&c=maybe&d&id=7&e=%20"));
        assert_eq!(params.flag("a").unwrap(), Some(true));
        assert_eq!(params.flag("b").unwrap(), Some(false));
        assert!(params.flag("c").is_err());
        assert_eq!(params.flag("d").unwrap(), None);
        assert_eq!(params.id("e").unwrap(), None);
        assert_eq!(params.id("id").unwrap(), Some(7));
        assert_eq!(params.choice("a", &[("yes", 1), ("true", 2)]).unwrap(), Some(2));
        assert!(params.choice("b", &[("false", 1)]).is_err(), "another case is another name");
        assert_eq!(params.text("d").as_deref(), Some(""));
        assert_eq!(params.text("none"), None);
    }
}
