//! `/rest/v1/userinfo`: who is logged in.

use axum::response::Response;
use kettle_rest::{Accept, AppState, LoggedIn, Result};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(one))
}

/// Who is logged in.
#[utoipa::path(get, path = "/rest/v1/userinfo", responses((status = 200, body = UserInfo)))]
async fn one(LoggedIn(login): LoggedIn, Accept(media): Accept) -> Result<Response> {
    Ok(media.ok(&UserInfo {
        tenant: login.tenant.as_deref(),
        username: &login.name,
        permissions: login.authorities.raw(),
    }))
}

/// Permissions as configured, roles not expanded.
#[derive(Serialize, ToSchema)]
struct UserInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    username: &'a str,
    permissions: &'a [String],
}
