//! `/rest/v1/userinfo`: who is logged in.

use axum::{Router, response::Response, routing::get};
use kettle_rest::{Accept, AppState, LoggedIn, Result};
use serde::Serialize;

pub fn routes() -> Router<AppState> {
    Router::new().route("/rest/v1/userinfo", get(one))
}

async fn one(LoggedIn(login): LoggedIn, Accept(media): Accept) -> Result<Response> {
    Ok(media.ok(&UserInfo {
        tenant: login.tenant.as_deref(),
        username: &login.name,
        permissions: login.authorities.raw(),
    }))
}

/// Permissions as configured, roles not expanded.
#[derive(Serialize)]
struct UserInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    username: &'a str,
    permissions: &'a [String],
}
