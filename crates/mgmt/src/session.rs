//! `/session`: logging in for as long as a browser is used, with a cookie that every node takes. Ours; hawkBit's sessions are
//! its web interface's.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::SET_COOKIE};
use kettle_domain::access::{Login, Outcome, sessions};
use kettle_rest::{
    Accept, ApiError, AppState, Body, ClientAddress, InSession, NotFromElsewhere, OverSecureConnection, Result, cookie,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(open, get, close)).routes(routes!(close_all))
}

/// Logs in. The answer sets the cookie `kettle_session`, which the Management API then takes in place of a password.
#[utoipa::path(post, path = "/session", request_body = SessionBody, responses((status = 200, body = Session)))]
async fn open(
    _: NotFromElsewhere,
    ClientAddress(client): ClientAddress,
    OverSecureConnection(secure): OverSecureConnection,
    State(state): State<AppState>,
    Accept(media): Accept,
    Body(body): Body<SessionBody>,
) -> Result<Response> {
    let login = match state.logins.log_in(&body.username, &body.password, client).await? {
        Outcome::In(login) => login,
        Outcome::Wrong => return Err(ApiError::plain(StatusCode::UNAUTHORIZED)),
        Outcome::Delayed(time) => return Err(ApiError::delayed(time)),
    };
    let (secret, session) = state.sessions.open(&login).await?;
    let cookie = [(SET_COOKIE, cookie(Some(&secret), secure))];
    Ok((cookie, media.ok(&Session::new(&login, &session))).into_response())
}

/// Whose session it is, and until when.
#[utoipa::path(get, path = "/session", responses((status = 200, body = Session)))]
async fn get(InSession { login, session, .. }: InSession, Accept(media): Accept) -> Result<Response> {
    Ok(media.ok(&Session::new(&login, &session)))
}

/// Logs out.
#[utoipa::path(delete, path = "/session", responses((status = 204)))]
async fn close(
    InSession { secret, .. }: InSession,
    OverSecureConnection(secure): OverSecureConnection,
    State(state): State<AppState>,
) -> Result<Response> {
    state.sessions.close(&secret).await?;
    Ok(without_cookie(secure))
}

/// Logs the user out everywhere.
#[utoipa::path(delete, path = "/session/all", responses((status = 204)))]
async fn close_all(
    InSession { login, .. }: InSession,
    OverSecureConnection(secure): OverSecureConnection,
    State(state): State<AppState>,
) -> Result<Response> {
    state.sessions.close_all(&login.name).await?;
    Ok(without_cookie(secure))
}

fn without_cookie(secure: bool) -> Response {
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie(None, secure))]).into_response()
}

#[derive(Deserialize, ToSchema)]
struct SessionBody {
    username: String,
    password: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    created_at: i64,
    /// When it ends if it is not used until then.
    expires_at: i64,
}

impl<'a> Session<'a> {
    fn new(login: &'a Login, session: &sessions::Session) -> Session<'a> {
        Session {
            username: &login.name,
            tenant: login.tenant.as_deref(),
            created_at: session.created_at,
            expires_at: session.expires_at,
        }
    }
}
