//! Sessions over HTTP: the cookie, and what keeps other sites' pages from using it.

use axum::extract::FromRequestParts;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{COOKIE, ORIGIN},
    request::Parts,
};
use kettle_domain::access::{Login, sessions::Session};

use crate::{ApiError, AppState, base::Asked, edge::same_origin};

const NAME: &str = "kettle_session";
/// As the secret of a session is written.
const SECRET: usize = 64;

/// The session of a request: it has the cookie of one, and comes from a page of this server where it changes something.
pub struct InSession {
    pub secret: String,
    pub login: Login,
    pub session: Session,
}

/// A request that no page of another site has sent, as far as the client tells: for logging in, which has no cookie yet.
pub struct NotFromElsewhere;

impl FromRequestParts<AppState> for InSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<InSession, ApiError> {
        // Not with a challenge: a browser would ask for a password by itself.
        let refused = || ApiError::plain(StatusCode::UNAUTHORIZED);
        let secret = secret(&parts.headers).ok_or_else(refused)?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads && origin(parts, state) != Origin::Same {
            return Err(ApiError::plain(StatusCode::FORBIDDEN));
        }
        let (login, session) = state.sessions.find(&secret).await?.ok_or_else(refused)?;
        Ok(InSession { secret, login, session })
    }
}

impl FromRequestParts<AppState> for NotFromElsewhere {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<NotFromElsewhere, ApiError> {
        match origin(parts, state) {
            Origin::Same | Origin::Untold => Ok(NotFromElsewhere),
            Origin::Other => Err(ApiError::plain(StatusCode::FORBIDDEN)),
        }
    }
}

/// Where a request comes from, as browsers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Same,
    Other,
    Untold,
}

fn origin(parts: &Parts, state: &AppState) -> Origin {
    if let Some(site) = parts.headers.get("sec-fetch-site") {
        return if site == "same-origin" { Origin::Same } else { Origin::Other };
    }
    let Some(origin) = parts.headers.get(ORIGIN) else { return Origin::Untold };
    let public = state.http.public_url.as_deref().and_then(origin_of);
    let same = match public {
        Some(public) => origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(public)),
        None => same_origin(origin, Asked::new(&parts.uri, &parts.headers, &parts.extensions, &state.http).as_ref()),
    };
    if same { Origin::Same } else { Origin::Other }
}

/// `https://host:port` of `https://host:port/path`.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url.get(host..)?.find('/').map_or(url.len(), |path| host + path);
    url.get(..end)
}

/// The secret of the session that a request claims to be of.
pub(crate) fn secret(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ours = cookies.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == NAME).then_some(value)
    });
    let secret = ours.next()?;
    let usual = secret.len() == SECRET && secret.bytes().all(|b| b.is_ascii_hexdigit());
    usual.then(|| secret.to_owned())
}

/// The cookie that a browser is given. `None`: it is to forget the one it has.
pub fn cookie(secret: Option<&str>, secure: bool) -> HeaderValue {
    let rest = if secure { "Path=/; HttpOnly; SameSite=Strict; Secure" } else { "Path=/; HttpOnly; SameSite=Strict" };
    let text = match secret {
        Some(secret) => format!("{NAME}={secret}; {rest}"),
        None => format!("{NAME}=; Max-Age=0; {rest}"),
    };
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Whether the client reached this server over TLS, or is to: its cookies then must not go without.
pub struct OverSecureConnection(pub bool);

impl FromRequestParts<AppState> for OverSecureConnection {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<OverSecureConnection, ApiError> {
        let public = state.http.public_url.as_deref().is_some_and(|url| url.starts_with("https:"));
        let asked = Asked::new(&parts.uri, &parts.headers, &parts.extensions, &state.http);
        Ok(OverSecureConnection(public || asked.is_some_and(|asked| asked.secure)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_read_from_any_cookie_header() {
        let digits = "0a".repeat(32);
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(COOKIE, value.parse().unwrap());
            }
            secret(&headers)
        };
        let ours = format!("kettle_session={digits}");
        assert_eq!(read(&[&ours]), Some(digits.clone()));
        assert_eq!(read(&["a=b; c", &format!("x=y;{ours} ; z=1")]), Some(digits.clone()));
        for wrong in ["", "kettle_session=", "kettle_session=abc", &format!("kettle_session={digits}0"), &digits] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(read(&[&format!("other_{ours}")]), None);
    }

    #[test]
    fn cookies_say_what_browsers_may_do_with_them() {
        let rest = "Path=/; HttpOnly; SameSite=Strict";
        assert_eq!(cookie(Some("ab"), false), format!("kettle_session=ab; {rest}"));
        assert_eq!(cookie(Some("ab"), true), format!("kettle_session=ab; {rest}; Secure"));
        assert_eq!(cookie(None, false), format!("kettle_session=; Max-Age=0; {rest}"));
        assert!(!format!("{:?}", cookie(Some("ab"), true)).contains("ab"), "it is shown in no log");
    }

    #[test]
    fn the_origin_of_an_address_is_without_its_path() {
        assert_eq!(origin_of("https://a:1/b/c"), Some("https://a:1"));
        assert_eq!(origin_of("https://a"), Some("https://a"));
        assert_eq!(origin_of("a"), None);
    }
}
