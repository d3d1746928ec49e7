//! The limit on this machine: an axum handler that checks the header and returns a canned poll answer, in a process of
//! its own like Kettle. It must not do anything cleverer or slower than a handler without a product behind it.

use std::net::Ipv4Addr;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

use crate::server::GATEWAY_AUTHORIZATION;

/// Serves until the process is stopped.
pub async fn serve(port: u16) -> Result<()> {
    let body = Bytes::from(format!(
        r#"{{"config":{{"polling":{{"sleep":"00:05:00"}}}},"_links":{{"configData":{{"href":"http://127.0.0.1:{port}/DEFAULT/controller/v1/dev-00001/configData"}}}}}}"#
    ));
    let router = Router::new().route("/{tenant}/controller/v1/{controller_id}", get(poll)).with_state(body);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?.tap_io(|stream| {
        // Answers are single writes, so this changes nothing measurable; a failure may be passed over.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn poll(State(body): State<Bytes>, headers: HeaderMap) -> Response {
    match headers.get(AUTHORIZATION) {
        Some(value) if value == GATEWAY_AUTHORIZATION => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}
