//! Requests that are refused unseen, with 400, as the peer's framework has it (`StrictHttpFirewall`): hosts that are not
//! ours, methods that no API has, and paths that proxies and servers could read differently.

use http::{Method, Uri};

use crate::{HttpSettings, base::Asked};

const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];

/// NUL, line feed, carriage return, `%`, `.`, `/`, `;` and `\`.
const NEVER_ENCODED: [u8; 8] = [0, b'\n', b'\r', b'%', b'.', b'/', b';', b'\\'];

/// The line and the paragraph separator.
const SEPARATORS: [&str; 2] = ["%e2%80%a8", "%e2%80%a9"];

pub(super) fn refuses(method: &Method, uri: &Uri, asked: Option<&Asked<'_>>, http: &HttpSettings) -> bool {
    let path = uri.path();
    let refused = !METHODS.contains(method) || !usual(path) || !ours(asked, &http.allowed_hosts);
    refused && !http.firewall_ignored_paths.iter().any(|ignored| ignored == path)
}

fn ours(asked: Option<&Asked<'_>>, allowed: &[String]) -> bool {
    allowed.is_empty() || asked.is_some_and(|asked| allowed.iter().any(|host| host.eq_ignore_ascii_case(asked.name)))
}

fn usual(path: &str) -> bool {
    let harmless = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b';' | b'\\' | b'%');
    let plain = path.bytes().all(harmless);
    (plain || escapes_are_usual(path))
        && !path.contains("//")
        && (!path.contains("/.") || !path.split('/').any(|segment| matches!(segment, "." | "..")))
}

/// For paths that hold more than plain letters.
fn escapes_are_usual(path: &str) -> bool {
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if code.is_none_or(|byte| NEVER_ENCODED.contains(&byte)) || !letters(before) {
            return false;
        }
        rest = after.get(2..).unwrap_or_default();
    }
    let lower = path.to_ascii_lowercase();
    letters(rest) && !SEPARATORS.iter().any(|separator| lower.contains(separator))
}

fn letters(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b';' | b'\\'))
}

#[cfg(test)]
mod tests {
    use http::{Extensions, HeaderMap};

    use super::*;
    use crate::testing::http_settings;

    #[test]
    fn paths_that_could_be_read_in_two_ways_are_refused() {
        for path in [
            "/",
            "/rest/v1/targets",
            "/T/controller/v1/a.b",
            "/T/controller/v1/..a",
            "/T/controller/v1/a..",
            "/T/controller/v1/a%20b",
            "/T/controller/v1/%C3%A4",
            "/a+b,c=d@e:f",
            "/T/controller/v1/a%7Eb",
        ] {
            assert!(usual(path), "{path}");
        }
        for path in [
            "//",
            "/rest//v1",
            "/a;b",
            "/a%3Bb",
            "/a%3bb",
            "/a\\b",
            "/a%5Cb",
            "/a%2Fb",
            "/a%2f",
            "/a%25",
            "/%2e%2e/a",
            "/a%2E",
            "/./a",
            "/a/.",
            "/../a",
            "/a/..",
            "/a%00",
            "/a%0A",
            "/a%0d",
            "/a%",
            "/a%4",
            "/a%zz",
            "/ä",
            "/a\u{7f}",
            "/a%E2%80%A8",
            "/a%e2%80%A9",
        ] {
            assert!(!usual(path), "{path}");
        }
    }

    #[test]
    fn only_known_hosts_and_methods_pass() {
        let mut http = http_settings();
        let uri = Uri::from_static("/rest/v1/targets");
        let refused = |method: Method, host: &'static str, http: &HttpSettings| {
            let headers = HeaderMap::from_iter([(http::header::HOST, host.parse().unwrap())]);
            let extensions = Extensions::new();
            refuses(&method, &uri, Asked::new(&uri, &headers, &extensions, http).as_ref(), http)
        };
        assert!(!refused(Method::GET, "any", &http));
        assert!(refused(Method::TRACE, "any", &http));
        assert!(refused(Method::from_bytes(b"get").unwrap(), "any", &http));
        http.allowed_hosts = vec!["updates.example.com".into(), "[::1]".into()];
        for (host, expected) in [
            ("updates.example.com", false),
            ("Updates.Example.com:8443", false),
            ("[::1]:80", false),
            ("evil.example.com", true),
            ("updates.example.com.evil", true),
            ("updates.example.com/", true),
        ] {
            assert_eq!(refused(Method::GET, host, &http), expected, "{host}");
        }
        http.firewall_ignored_paths = vec!["/rest/v1/targets".into()];
        assert!(!refused(Method::GET, "evil.example.com", &http));
    }
}
