//! What holds for every request, around the routers of both APIs: ETags, download-attack headers, the bodies of plain
//! errors, and the request log.
//!
//! It runs on every poll, so a poll that needs nothing of it pays for a few comparisons and one hash.

mod etag;
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
    HeaderValue, Method, StatusCode, Uri,
    header::{ALLOW, CONTENT_LENGTH, IF_NONE_MATCH},
};
use kettle_domain::Error;

use crate::{
    ApiError, AppState, LoggedIn,
    error::{Plain, PlainError},
    media::json,
};

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

async fn run(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let line = request_log::Line::begin(edge.log, &request, &edge.state.http);
    let risky = rfd::risky(request.uri().path());
    let get = request.method() == Method::GET;
    let options = request.method() == Method::OPTIONS;
    let if_none_match = if get { request.headers().get(IF_NONE_MATCH).cloned() } else { None };

    let mut response = if holds_nul(request.uri()) {
        ApiError::not_readable("The address holds a NUL character.").into_response()
    } else {
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => ApiError::from(Error::internal(message(panic.as_ref()))).into_response(),
        }
    };
    if options && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = methods(&response);
    } else if response.extensions().get::<Plain>().is_some() {
        response = plain(response, edge.state.services.clock.now_ms());
    } else if risky {
        rfd::mark(&mut response);
    }
    if get && response.status() == StatusCode::OK {
        response = etag::apply(response, if_none_match.as_ref()).await;
    }
    if let Some(line) = line {
        line.end(response.status());
    }
    response
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

/// Who isn't logged in learns nothing of what the Management API has and hasn't.
async fn refuse(status: StatusCode, state: &AppState, request: Request) -> ApiError {
    let (mut parts, _) = request.into_parts();
    if !parts.uri.path().starts_with("/rest/") {
        return ApiError::plain(status);
    }
    match LoggedIn::from_request_parts(&mut parts, state).await {
        Ok(_) => ApiError::plain(status),
        Err(error) => error,
    }
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
        if name == ALLOW && status != StatusCode::METHOD_NOT_ALLOWED {
            // A refused caller learns nothing of the route.
            continue;
        }
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
    fn a_challenge_keeps_its_realm_and_hides_the_route() {
        let mut response = ApiError::unauthorized("hawkBit").into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
        let response = plain(response, 1);
        assert!(!response.headers().contains_key("allow"));
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"hawkBit\"");
    }
}
