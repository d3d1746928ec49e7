//! A file by its download id, as hawkBit's older releases served it: who knows the id needs no other login. Not in the
//! API's document, as its address comes with the id.

use axum::{extract::State, response::Response};
use http::{HeaderMap, Method, StatusCode};
use kettle_domain::{Ctx, Tenant, download_ids};
use kettle_rest::{ApiError, AppState, FileMeta, Path, Result, file_response_then};

/// Where it lies.
pub const BY_DOWNLOAD_ID: &str = "/api/v1/downloadserver/downloadId/{tenant}/{downloadId}";

/// Serves the file, whole or in ranges. The id is used up with the last byte; one that is broken off can be resumed.
pub async fn by_download_id(
    State(state): State<AppState>,
    Path((tenant, id)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    let ctx = Ctx::device(&state.services, Tenant::new(&tenant));
    let Some((artifact, file)) = download_ids::open(&ctx, &id).await? else {
        return Err(ApiError::empty(StatusCode::NOT_FOUND));
    };
    let meta = FileMeta { filename: id.clone(), ..FileMeta::from(artifact) };
    let used_up = move || {
        tokio::spawn(async move {
            if let Err(error) = download_ids::use_up(&ctx, &id).await {
                tracing::warn!(%error, cause = ?error.cause, "a used download id stays until its time is over");
            }
        });
    };
    Ok(file_response_then(&method, &headers, file, &meta, used_up).await)
}
