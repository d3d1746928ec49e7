//! Requests of pages from elsewhere (CORS), answered as the peer's framework does: a foreign origin is refused with 403
//! before anyone logs in, and an allowed one is named in every answer.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use super::api::Api;
use crate::base::Asked;

/// Who may call from other pages, and what. `*` in a list of methods or headers means any. Credentials are allowed
/// always, so `origins` has no `*`.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Without a slash at their ends.
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub exposed: Vec<String>,
    /// Whether the device API takes part.
    pub devices: bool,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It comes from no page, or from one of ours.
    Ours,
    /// It is served, and the answer gets these headers.
    Allowed(HeaderMap),
    /// It is only a question, and these headers are the answer.
    Preflight(HeaderMap),
    Refused,
}

impl Cors {
    pub(super) fn covers(&self, api: Api) -> bool {
        api == Api::Management || api == Api::Device && self.devices
    }

    pub(super) fn judge(&self, method: &Method, headers: &HeaderMap, asked: Option<&Asked<'_>>) -> Verdict {
        let Some(origin) = headers.get(ORIGIN) else { return Verdict::Ours };
        if same_origin(origin, asked) {
            return Verdict::Ours;
        }
        let preflight = is_preflight(method, headers);
        let wanted = if preflight { text(headers, &ACCESS_CONTROL_REQUEST_METHOD) } else { Some(method.as_str()) };
        let named = origin.to_str().unwrap_or_default().trim_end_matches('/');
        let known = self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(named));
        let Some(wanted) = wanted.filter(|wanted| known && holds(&self.methods, wanted)) else {
            return Verdict::Refused;
        };
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        insert(&mut answer, ACCESS_CONTROL_EXPOSE_HEADERS, &self.exposed.join(", "));
        if !preflight {
            return Verdict::Allowed(answer);
        }
        let asked_for = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|v| v.to_str().ok());
        let asked_for: Vec<_> =
            asked_for.flat_map(|v| v.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect();
        let granted: Vec<_> = asked_for.iter().copied().filter(|name| holds_header(&self.headers, name)).collect();
        if granted.is_empty() && !asked_for.is_empty() {
            return Verdict::Refused;
        }
        insert(&mut answer, ACCESS_CONTROL_ALLOW_HEADERS, &granted.join(", "));
        let any = self.methods.iter().any(|method| method == "*");
        let methods = if any { wanted.to_owned() } else { self.methods.join(",") };
        insert(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, &methods);
        Verdict::Preflight(answer)
    }
}

impl Verdict {
    /// The answer, if the request is not to be served.
    pub(super) fn answer(&self) -> Option<Response> {
        match self {
            Verdict::Ours | Verdict::Allowed(_) => None,
            Verdict::Preflight(_) => Some(StatusCode::OK.into_response()),
            Verdict::Refused => Some(refusal()),
        }
    }

    pub(super) fn mark(self, response: &mut Response) {
        vary(response);
        if let Verdict::Allowed(headers) | Verdict::Preflight(headers) = self {
            response.headers_mut().extend(headers);
        }
    }
}

/// Whether a browser asks if it may ask.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight where CORS is off, or does not apply.
pub(super) fn refuse_preflight() -> Response {
    let mut response = refusal();
    vary(&mut response);
    response
}

fn refusal() -> Response {
    (StatusCode::FORBIDDEN, axum::body::Body::from("Invalid CORS request")).into_response()
}

fn vary(response: &mut Response) {
    for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
        response.headers_mut().append(VARY, HeaderValue::from_static(name));
    }
}

pub(crate) fn same_origin(origin: &HeaderValue, asked: Option<&Asked<'_>>) -> bool {
    let (Ok(origin), Some(asked)) = (origin.to_str(), asked) else { return false };
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let (name, port) = crate::base::split_port(rest);
    let own_port = if scheme == "https" { "443" } else { "80" };
    scheme == asked.scheme() && name == asked.name && port.filter(|port| *port != own_port) == asked.port
}

fn holds(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn holds_header(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item.eq_ignore_ascii_case(wanted))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let (false, Ok(value)) = (value.is_empty(), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::{Extensions, Uri};

    use super::*;
    use crate::testing::http_settings;

    fn cors() -> Cors {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Cors {
            origins: list(&["http://a.example", "https://b.example:8443"]),
            methods: list(&["DELETE", "GET", "POST"]),
            headers: list(&["Authorization", "Content-Type"]),
            exposed: list(&["ETag", "Allow"]),
            devices: true,
        }
    }

    fn judge(cors: &Cors, method: &str, sent: &[(&'static str, &str)]) -> Verdict {
        let mut headers: HeaderMap = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("updates.example:8080"));
        for (name, value) in sent {
            headers.insert(*name, value.parse().unwrap());
        }
        let (uri, extensions, http) = (Uri::from_static("/rest/v1/targets"), Extensions::new(), http_settings());
        let asked = Asked::new(&uri, &headers, &extensions, &http);
        cors.judge(&method.parse().unwrap(), &headers, asked.as_ref())
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn an_allowed_origin_is_named_with_what_it_may_read() {
        for origin in ["http://a.example", "HTTP://A.example", "https://b.example:8443/"] {
            let Verdict::Allowed(headers) = judge(&cors(), "GET", &[("origin", origin)]) else { panic!("{origin}") };
            assert_eq!(
                shown(&headers),
                [
                    format!("access-control-allow-origin: {origin}").as_str(),
                    "access-control-allow-credentials: true",
                    "access-control-expose-headers: ETag, Allow",
                ]
            );
        }
    }

    #[test]
    fn requests_of_our_own_pages_and_of_programs_are_served() {
        for sent in [&[][..], &[("origin", "http://updates.example:8080")]] {
            assert_eq!(judge(&cors(), "PATCH", sent), Verdict::Ours, "{sent:?}");
        }
    }

    #[test]
    fn others_are_refused() {
        for (method, origin) in [
            ("GET", "http://evil.example"),
            ("GET", "https://a.example"),
            ("GET", "http://a.example:81"),
            ("GET", "https://updates.example:8080"),
            ("GET", "null"),
            ("PATCH", "http://a.example"),
            ("HEAD", "http://a.example"),
            ("OPTIONS", "http://a.example"),
        ] {
            assert_eq!(judge(&cors(), method, &[("origin", origin)]), Verdict::Refused, "{method} of {origin}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_is_allowed() {
        let ask = |method: &str, headers: &str, cors: &Cors| {
            let sent = [
                ("origin", "http://a.example"),
                ("access-control-request-method", method),
                ("access-control-request-headers", headers),
            ];
            match judge(cors, "OPTIONS", &sent) {
                Verdict::Preflight(headers) => Some(shown(&headers).split_off(3)),
                verdict => {
                    assert_eq!(verdict, Verdict::Refused);
                    None
                }
            }
        };
        let methods = "access-control-allow-methods: DELETE,GET,POST".to_owned();
        let headers = |names: &str| format!("access-control-allow-headers: {names}");
        let cors = cors();
        assert_eq!(ask("POST", "", &cors), Some(vec![methods.clone()]));
        let both = Some(vec![headers("authorization, content-type"), methods.clone()]);
        assert_eq!(ask("POST", "authorization,content-type", &cors), both);
        assert_eq!(ask("GET", "authorization, x-other", &cors), Some(vec![headers("authorization"), methods]));
        assert_eq!(ask("GET", "x-other", &cors), None);
        assert_eq!(ask("PATCH", "", &cors), None);
        assert_eq!(ask("get", "", &cors), None);
        let any = Cors { methods: vec!["*".into()], headers: vec!["*".into()], ..cors };
        let told = Some(vec![headers("x-other"), "access-control-allow-methods: PATCH".to_owned()]);
        assert_eq!(ask("PATCH", "x-other", &any), told);
    }
}
