//! The address that links start with. It goes into bodies, so nothing that a client sends gets there unchecked.

use axum::extract::FromRequestParts;
use http::{Extensions, HeaderMap, StatusCode, Uri, header::HOST, request::Parts};

use crate::{
    ApiError, AppState, HttpSettings,
    peer::{peer, within},
};

/// `http://host:port/prefix`, without a slash at its end: as configured, as a trusted proxy says, or as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(String);

const LONGEST: usize = 255;

impl Base {
    pub fn new(url: impl Into<String>) -> Base {
        Base(url.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `path` starts with a slash and is encoded.
    pub fn href(&self, path: &str) -> String {
        let mut href = String::with_capacity(self.0.len() + path.len());
        href.push_str(&self.0);
        href.push_str(path);
        href
    }
}

impl FromRequestParts<AppState> for Base {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Base, ApiError> {
        if let Some(url) = &state.http.public_url {
            return Ok(Base(url.clone()));
        }
        let asked = Asked::new(&parts.uri, &parts.headers, &parts.extensions, &state.http);
        asked.map(|asked| asked.base()).ok_or_else(|| ApiError::plain(StatusCode::BAD_REQUEST))
    }
}

/// An extension of requests that came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// The address that a request was sent to: as a trusted proxy says, or as it says itself.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) secure: bool,
    /// A host name, or an address with IPv6 in brackets.
    pub(crate) name: &'a str,
    /// Absent if it is the scheme's own.
    pub(crate) port: Option<&'a str>,
    prefix: &'a str,
}

impl<'a> Asked<'a> {
    /// `None`: the request's own host is none.
    pub(crate) fn new(
        uri: &'a Uri,
        headers: &'a HeaderMap,
        extensions: &Extensions,
        http: &HttpSettings,
    ) -> Option<Asked<'a>> {
        let trusted = !http.trusted_proxies.is_empty() && within(&http.trusted_proxies, peer(extensions));
        Asked::read(uri, headers, trusted, extensions.get::<OverTls>().is_some())
    }

    fn read(uri: &'a Uri, headers: &'a HeaderMap, trusted: bool, over_tls: bool) -> Option<Asked<'a>> {
        let host = match (uri.authority(), headers.get(HOST)) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().ok()?,
            (None, None) => "localhost",
        };
        let host = if host.is_empty() { "localhost" } else { host };
        let forwarded = if trusted { Forwarded::read(headers) } else { Forwarded::default() };
        let secure = forwarded.scheme.map_or(over_tls, |scheme| scheme == "https");
        let host = forwarded.host.unwrap_or(host);
        if !valid_host(host) {
            return None;
        }
        let (name, port) = split_port(host);
        // A proxy that tells the scheme or the host, and no port, serves on the scheme's own.
        let port = forwarded.port.or(if forwarded.host.is_some() || forwarded.scheme.is_none() { port } else { None });
        let own_port = if secure { "443" } else { "80" };
        let port = port.filter(|port| *port != own_port);
        Some(Asked { secure, name, port, prefix: forwarded.prefix.unwrap_or_default().trim_end_matches('/') })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    fn base(&self) -> Base {
        let mut url = format!("{}://{}", self.scheme(), self.name);
        if let Some(port) = self.port {
            url.push(':');
            url.push_str(port);
        }
        url.push_str(self.prefix);
        Base(url)
    }
}

/// What a proxy says of the request it got. Values that can't be part of an address are as good as absent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded<'a> {
    scheme: Option<&'static str>,
    host: Option<&'a str>,
    port: Option<&'a str>,
    prefix: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// `Forwarded` outweighs its `X-` ancestors, except for the prefix, which only they have.
    fn read(headers: &'a HeaderMap) -> Forwarded<'a> {
        let first = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.split(',').next().unwrap_or(value).trim())
        };
        let prefix = first("x-forwarded-prefix").filter(|p| valid_prefix(p));
        if let Some(element) = first("forwarded") {
            let mut found = Forwarded { prefix, ..Forwarded::default() };
            for pair in element.split(';') {
                let Some((name, value)) = pair.trim().split_once('=') else { continue };
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "proto" => found.scheme = scheme(value),
                    "host" => found.host = Some(value).filter(|h| valid_host(h)),
                    _ => {}
                }
            }
            return found;
        }
        let over_tls = || first("x-forwarded-ssl").filter(|v| v.eq_ignore_ascii_case("on")).map(|_| "https");
        Forwarded {
            scheme: first("x-forwarded-proto").and_then(scheme).or_else(over_tls),
            host: first("x-forwarded-host").filter(|h| valid_host(h)),
            port: first("x-forwarded-port").filter(|p| valid_port(p)),
            prefix,
        }
    }
}

fn scheme(text: &str) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|s| text.eq_ignore_ascii_case(s))
}

/// A name or an address, with or without a port.
fn valid_host(host: &str) -> bool {
    let (name, port) = split_port(host);
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let letters = match inner {
        Some(ip) => !ip.is_empty() && ip.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.'),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')),
    };
    host.len() <= LONGEST && letters && port.is_none_or(valid_port)
}

fn valid_port(port: &str) -> bool {
    port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

fn valid_prefix(prefix: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'~' | b'%');
    prefix.starts_with('/') && !prefix.starts_with("//") && prefix.len() <= LONGEST && prefix.bytes().all(letter)
}

pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], trusted: bool, expected: Option<&str>) {
        check_over(false, headers, trusted, expected);
    }

    #[track_caller]
    fn check_over(tls: bool, headers: &[(&'static str, &str)], trusted: bool, expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let uri = Uri::from_static("/x");
        let base = Asked::read(&uri, &map, trusted, tls).map(|asked| asked.base());
        assert_eq!(base.as_ref().map(Base::as_str), expected, "{headers:?}");
    }

    #[test]
    fn links_start_with_the_host_that_was_asked() {
        check(&[("host", "127.0.0.1:8080")], false, Some("http://127.0.0.1:8080"));
        check(&[("host", "updates.example.com:80")], false, Some("http://updates.example.com"));
        check(&[("host", "[2001:db8::1]:8080")], false, Some("http://[2001:db8::1]:8080"));
        check(&[("host", "[2001:db8::1]")], false, Some("http://[2001:db8::1]"));
        check(&[], false, Some("http://localhost"));
        let (uri, none) = (Uri::from_static("http://h2.example:81/x"), HeaderMap::new());
        assert_eq!(Asked::read(&uri, &none, false, false).unwrap().base(), Base::new("http://h2.example:81"));
    }

    #[test]
    fn a_host_that_could_inject_is_refused() {
        for host in [
            "a\"b", "a/b", "a b", "a,b", "a<b", "a@b", "a:b", "a:99999", "a:0", ":80", "a?b", "a#b", "a\\b", "[a]b",
            "[]",
        ] {
            check(&[("host", host)], false, None);
            let first = host.split(',').next().unwrap();
            let expected = if first == host { "http://h" } else { "http://a" };
            check(&[("host", "h"), ("x-forwarded-host", host)], true, Some(expected));
        }
        check(&[("host", &"a".repeat(256))], false, None);
    }

    #[test]
    fn a_trusted_proxy_says_where_it_was_asked() {
        let host = ("host", "inner:8080");
        let check = |headers: &[(&'static str, &str)], expected| check(headers, true, Some(expected));
        check(&[host], "http://inner:8080");
        check(&[host, ("x-forwarded-proto", "https")], "https://inner");
        check(&[host, ("x-forwarded-ssl", "on")], "https://inner");
        check(&[host, ("x-forwarded-proto", "HTTPS"), ("x-forwarded-host", "o.example")], "https://o.example");
        check(
            &[host, ("x-forwarded-proto", "https,http"), ("x-forwarded-host", "o.example, inner")],
            "https://o.example",
        );
        check(
            &[host, ("x-forwarded-host", "o.example:8443"), ("x-forwarded-proto", "https")],
            "https://o.example:8443",
        );
        check(&[host, ("x-forwarded-host", "o.example"), ("x-forwarded-port", "8443")], "http://o.example:8443");
        let standard = [host, ("x-forwarded-proto", "https"), ("x-forwarded-port", "443"), ("x-forwarded-host", "o")];
        check(&standard, "https://o");
        check(&[host, ("x-forwarded-prefix", "/kettle/")], "http://inner:8080/kettle");
        check(&[host, ("x-forwarded-prefix", "/a\"b")], "http://inner:8080");
        check(&[host, ("x-forwarded-prefix", "//evil")], "http://inner:8080");
        check(&[host, ("x-forwarded-proto", "javascript")], "http://inner:8080");
        check(
            &[host, ("forwarded", "for=192.0.2.1;proto=https;host=\"o.example:8443\", for=10.0.0.1")],
            "https://o.example:8443",
        );
        check(&[host, ("forwarded", "Proto=https"), ("x-forwarded-host", "ignored")], "https://inner");
    }

    #[test]
    fn over_tls_links_are_secure() {
        check_over(true, &[("host", "h:8443")], false, Some("https://h:8443"));
        check_over(true, &[("host", "h:443")], false, Some("https://h"));
        check_over(true, &[("host", "h:80")], false, Some("https://h:80"));
        check_over(true, &[("host", "h:8443"), ("x-forwarded-proto", "http")], true, Some("http://h"));
        check_over(true, &[("host", "h:8443"), ("x-forwarded-proto", "http")], false, Some("https://h:8443"));
    }

    #[test]
    fn others_are_not_believed() {
        let headers = [
            ("host", "h:8080"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "host=evil"),
        ];
        check(&headers, false, Some("http://h:8080"));
    }

    #[test]
    fn an_href_is_base_and_path() {
        assert_eq!(Base::new("http://h").href("/rest/v1/targets"), "http://h/rest/v1/targets");
    }
}
