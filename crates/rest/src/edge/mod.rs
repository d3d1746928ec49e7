//! What holds for every request, around the routers of both APIs: limits, what is refused unseen, CORS, ETags, download-attack
//! headers, the bodies of plain errors, and the request log.
//!
//! It runs on every poll, so a poll that needs nothing of it pays for a few comparisons and one hash.

mod addresses;
mod api;
mod cors;
mod etag;
mod firewall;
mod limits;
mod request_log;
mod rfd;

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{ALLOW, CONTENT_LENGTH, IF_NONE_MATCH, LOCATION},
    uri::PathAndQuery,
};
use kettle_domain::{Error, Tenant, targets};
use percent_encoding::percent_decode_str;

use crate::{
    ApiError, AppState, HttpSettings, LoggedIn,
    base::Asked,
    device_credentials,
    error::{Plain, PlainError},
    media::json,
};

use api::Api;
use cors::Verdict;

pub use addresses::AddressRules;
pub use cors::Cors;
pub(crate) use cors::same_origin;
pub use limits::{KnownDevice, RequestLimits};
pub use request_log::RequestLog;

struct Edge {
    state: AppState,
    log: RequestLog,
}

/// The service of both APIs: `router`'s routes with what holds for all of them. `router` has no fallback of its own.
pub fn finish(router: Router<AppState>, state: AppState, log: RequestLog) -> Router {
    let routes: Router =
        router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).with_state(state.clone());
    // Around the routes, not on each of them: the `Allow` header of a 405 is added outside a route's own layers.
    let edge = Arc::new(Edge { state, log });
    Router::new().fallback_service(routes).layer(from_fn_with_state(edge, run))
}

async fn run(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let http = &edge.state.http;
    let line = request_log::Line::begin(edge.log, &request, http);
    let mut verdict = None;
    let mut response = match limits::refuse(&mut request, &edge.state).await {
        Some(refused) => refused,
        None => match admit(&request, http, &mut verdict) {
            Some(refused) => finished(refused, &edge),
            None => serve(&edge, request, next).await,
        },
    };
    if let Some(verdict) = verdict {
        verdict.mark(&mut response);
    }
    if let Some(line) = line {
        line.end(response.status());
    }
    response
}

/// The answer to a request that no route gets to see. `verdict`: what CORS says of it, where that is on.
fn admit(request: &Request, http: &HttpSettings, verdict: &mut Option<Verdict>) -> Option<Response> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    // Most servers need it for links only.
    let needed = http.require_ssl || http.cors.is_some() || !http.allowed_hosts.is_empty();
    let asked = if needed { Asked::new(uri, headers, request.extensions(), http) } else { None };
    if firewall::refuses(method, uri, asked.as_ref(), http) {
        return Some(ApiError::plain(StatusCode::BAD_REQUEST).into_response());
    }
    if holds_nul(uri) {
        return Some(ApiError::not_readable("The address holds a NUL character.").into_response());
    }
    if http.require_ssl && Api::of(uri.path()) != Api::Other && asked.as_ref().is_none_or(|asked| !asked.secure) {
        return Some(to_tls(uri, asked.as_ref(), http));
    }
    let cors = http.cors.as_ref().filter(|cors| cors.covers(Api::of(uri.path())))?;
    verdict.insert(cors.judge(method, headers, asked.as_ref())).answer()
}

async fn serve(edge: &Edge, request: Request, next: Next) -> Response {
    let risky = rfd::risky(request.uri().path());
    let etag = request.method() == Method::GET && etag::covers(request.uri().path());
    let options = request.method() == Method::OPTIONS;
    let preflight = cors::is_preflight(request.method(), request.headers());
    let none: Vec<_> =
        if etag { request.headers().get_all(IF_NONE_MATCH).iter().cloned().collect() } else { Vec::new() };

    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => ApiError::from(Error::internal(message(panic.as_ref()))).into_response(),
    };
    if preflight && matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND) {
        return cors::refuse_preflight();
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        // A refused caller learns nothing of the route.
        response.headers_mut().remove(ALLOW);
    }
    if options && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = methods(&response);
    } else if response.extensions().get::<Plain>().is_some() {
        response = finished(response, edge);
    } else if risky {
        rfd::mark(&mut response);
    }
    if etag { etag::apply(response, &none).await } else { response }
}

/// Writes what a plain error leaves open.
fn finished(response: Response, edge: &Edge) -> Response {
    if response.extensions().get::<Plain>().is_none() {
        return response;
    }
    plain(response, edge.state.services.clock.now_ms())
}

/// Sends a client to the same address over TLS, on the port that the peer's framework takes for the other's counterpart.
fn to_tls(uri: &Uri, asked: Option<&Asked<'_>>, http: &HttpSettings) -> Response {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let location = match (http.public_url.as_deref().filter(|url| url.starts_with("https:")), asked) {
        (Some(url), _) => format!("{url}{path}"),
        (None, Some(asked)) => {
            let port = if asked.port == Some("8080") { ":8443" } else { "" };
            format!("https://{}{port}{path}", asked.name)
        }
        (None, None) => return ApiError::plain(StatusCode::BAD_REQUEST).into_response(),
    };
    (StatusCode::FOUND, [(LOCATION, location)]).into_response()
}

/// No name or search of the peer's holds NUL, and PostgreSQL's text can't.
fn holds_nul(uri: &Uri) -> bool {
    uri.path().contains("%00") || uri.query().is_some_and(|query| query.contains("%00"))
}

async fn not_found(State(state): State<AppState>, request: Request) -> ApiError {
    refuse(StatusCode::NOT_FOUND, &state, request).await
}

async fn method_not_allowed(State(state): State<AppState>, request: Request) -> ApiError {
    refuse(StatusCode::METHOD_NOT_ALLOWED, &state, request).await
}

/// Who isn't logged in learns nothing of what the APIs have and haven't.
async fn refuse(status: StatusCode, state: &AppState, request: Request) -> ApiError {
    let (mut parts, _) = request.into_parts();
    match Api::of(parts.uri.path()) {
        Api::Other | Api::DownloadId => ApiError::plain(status),
        Api::Management => match LoggedIn::from_request_parts(&mut parts, state).await {
            Ok(_) => ApiError::plain(status),
            Err(error) => error,
        },
        Api::Device | Api::Download => {
            let (uri, headers, extensions) = (&parts.uri, &parts.headers, &parts.extensions);
            match authenticated(uri, headers, extensions, state).await {
                Ok(Some(_)) => ApiError::plain(status),
                Ok(None) => ApiError::empty(StatusCode::UNAUTHORIZED),
                Err(error) => error.into(),
            }
        }
    }
}

/// The device that a request's path names, if it proves to be it, and its controllerId.
async fn authenticated(
    uri: &Uri,
    headers: &HeaderMap,
    extensions: &Extensions,
    state: &AppState,
) -> Result<Option<(KnownDevice, String)>, Error> {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
    let Some((tenant, controller_id, _)) = api::device(uri.path()) else { return Ok(None) };
    let credentials = device_credentials(headers, extensions, &state.http);
    let (known, controller_id) = (Tenant::new(&decoded(tenant)), decoded(controller_id));
    let device = targets::authenticate(&state.services, known, &controller_id, &credentials.as_domain()).await?;
    Ok(device.map(|(ctx, settings)| (KnownDevice { ctx, settings }, controller_id.into_owned())))
}

/// Answers OPTIONS on a path that there is: what it takes, and nothing else.
fn methods(refused: &Response) -> Response {
    let allowed = refused.headers().get(ALLOW).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let allowed = HeaderValue::try_from(format!("{allowed},OPTIONS")).unwrap_or(HeaderValue::from_static("OPTIONS"));
    ([(ALLOW, allowed)], ()).into_response()
}

/// Writes the body of a plain error. Its other headers stay; `Allow` is written as the peer does, without HEAD.
fn plain(response: Response, now_ms: i64) -> Response {
    let status = response.status();
    let mut whole = json(status, &PlainError::new(status, now_ms));
    for (name, value) in response.headers() {
        if name == ALLOW {
            let methods = value.to_str().unwrap_or_default().split(',').map(str::trim);
            let methods: Vec<_> = methods.filter(|m| !m.is_empty() && *m != "HEAD").collect();
            if let Ok(value) = HeaderValue::try_from(methods.join(", ")) {
                whole.headers_mut().insert(ALLOW, value);
            }
        } else if name != CONTENT_LENGTH {
            whole.headers_mut().insert(name, value.clone());
        }
    }
    whole
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json_of;

    #[tokio::test]
    async fn a_plain_error_tells_time_status_and_name() {
        let mut response = ApiError::plain(StatusCode::METHOD_NOT_ALLOWED).into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD,POST"));
        let response = plain(response, 1_700_000_000_000);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, POST");
        assert_eq!(response.headers()["content-type"], "application/json");
        let expected =
            serde_json::json!({"timestamp": 1_700_000_000_000_i64, "status": 405, "error": "Method Not Allowed"});
        assert_eq!(json_of(response).await, expected);
    }

    #[tokio::test]
    async fn the_names_of_plain_errors_are_the_peers() {
        for (status, name) in
            [(401, "Unauthorized"), (404, "Not Found"), (413, "Payload Too Large"), (415, "Unsupported Media Type")]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let body = json_of(plain(ApiError::plain(status).into_response(), 1)).await;
            assert_eq!(body["error"], name);
        }
    }

    #[test]
    fn a_challenge_keeps_its_realm() {
        let response = plain(ApiError::unauthorized("hawkBit").into_response(), 1);
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"hawkBit\"");
    }
}
