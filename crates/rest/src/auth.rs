//! Who calls the Management API: HTTP Basic (semantics.md E1, E2), or a session's cookie where there is no such header.

use std::{convert::Infallible, net::IpAddr};

use axum::extract::FromRequestParts;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use kettle_domain::{
    Ctx, Error, Kind, Tenant,
    access::{Login, Outcome},
    tenants,
};

use crate::{ApiError, AppState, InSession, peer, session};

/// The context of a logged-in user, whose tenant exists.
pub struct User(pub Ctx);

/// A user who proved its name, of whatever tenant.
pub struct LoggedIn(pub Login);

impl FromRequestParts<AppState> for LoggedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<LoggedIn, ApiError> {
        if !parts.headers.contains_key(AUTHORIZATION) && session::secret(&parts.headers).is_some() {
            let InSession { login, .. } = InSession::from_request_parts(parts, state).await?;
            return Ok(LoggedIn(login));
        }
        let refused = || ApiError::unauthorized(&state.http.basic_realm);
        let (name, password) = basic(&parts.headers).ok_or_else(refused)?;
        let client = peer::client(peer::peer(&parts.extensions), &parts.headers, &state.http);
        match state.logins.log_in(&name, &password, client).await? {
            Outcome::In(login) => Ok(LoggedIn(login)),
            Outcome::Wrong => Err(refused()),
            Outcome::Delayed(time) => Err(ApiError::delayed(time)),
        }
    }
}

/// The address that a request came from, as far as it is known.
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<ClientAddress, Infallible> {
        Ok(ClientAddress(peer::client(peer::peer(&parts.extensions), &parts.headers, &state.http)))
    }
}

impl FromRequestParts<AppState> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<User, ApiError> {
        let LoggedIn(login) = LoggedIn::from_request_parts(parts, state).await?;
        let Some(tenant) = login.tenant.as_deref().map(Tenant::new) else {
            let message = format!("User {} belongs to no tenant; give it one in the configuration.", login.name);
            return Err(Error::new(Kind::InsufficientPermission, message).into());
        };
        tenants::ensure(&state.services, &tenant).await?;
        Ok(User(Ctx::user(&state.services, tenant, &login)))
    }
}

/// Name and password of `Authorization: Basic`, as claimed.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            basic(&headers)
        };
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read(&format!("Basic {}", encoded("admin:a:b"))), pair("admin", "a:b"));
        assert_eq!(read(&format!("basic {}", encoded("jürgen:ß"))), pair("jürgen", "ß"));
        assert_eq!(read(&format!("Basic {}", encoded("admin:"))), pair("admin", ""));
        for wrong in ["Basic", "Basic !!!", "Bearer abc", "TargetToken abc", &format!("Basic {}", encoded("admin"))] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(basic(&HeaderMap::new()), None);
    }
}
