//! The files of an action: a list of them, each file with ranges, and its MD5 sum as text.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{CONTENT_DISPOSITION, CONTENT_TYPE, RANGE},
};
use kettle_domain::{Kind, actions, artifacts};
use kettle_rest::{ApiError, Base, DeviceAccept, FileMeta, Path, Result, attachment_as_is, file_response, matches};
use utoipa::{Path as _, openapi::OpenApi};

use crate::{deployment::Artifact, device::Device};

const MD5_SUFFIX: &str = ".MD5SUM";

/// A software module's files.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts",
    responses((status = 200, body = Vec<Artifact>))
)]
pub async fn list(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    base: Base,
    Path((_tenant, _controller, module)): Path<(String, String, i64)>,
) -> Result<Response> {
    let found = actions::artifacts(&device.ctx, &device.controller_id, module).await?;
    let urls = device.artifact_urls(&base);
    Ok(media.ok(&found.into_iter().map(|artifact| Artifact::new(artifact, &urls)).collect::<Vec<_>>()))
}

/// A file's content, whole or in ranges.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts/{fileName}",
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 410),
        (status = 416)
    )
)]
pub async fn download(
    device: Device,
    Path((_tenant, _controller, module, filename)): Path<(String, String, i64, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    if let Some(filename) = filename.strip_suffix(MD5_SUFFIX) {
        return md5(device, module, filename, uri.path()).await;
    }
    let artifact = find(&device, module, &filename).await?;
    let file = artifacts::open(&device.ctx, &artifact).await?;
    if matches(&headers, &artifact.sha1_hash) {
        let action = actions::check_download(&device.ctx, &device.controller_id, module).await?;
        // A look at the headers alone (HEAD) is no download, and a range is a part of one.
        if method == Method::GET && !headers.contains_key(RANGE) {
            actions::note_download(&device.ctx, action, uri.path()).await?;
        }
    }
    Ok(file_response(&method, &headers, file, &FileMeta::from(artifact)).await)
}

/// Adds the operation that shares a file's route: its sum.
pub fn document_md5(document: &mut OpenApi) {
    document.paths.add_path_operation(__path_md5::path(), __path_md5::methods(), __path_md5::operation());
}

/// Links write a blank as `+`, and a path that is decoded keeps a `+` as it is: so both are looked for.
async fn find(device: &Device, module: i64, filename: &str) -> Result<artifacts::Model> {
    let named = async |name: &str| actions::find_download(&device.ctx, &device.controller_id, module, name).await;
    match named(filename).await {
        Err(error) if error.kind == Kind::Absent && filename.contains('+') => {
            Ok(named(&filename.replace('+', " ")).await?)
        }
        found => Ok(found?),
    }
}

/// A file's MD5 sum, as `md5sum` writes it.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts/{fileName}.MD5SUM",
    params(("softwareModuleId" = i64, Path)), responses((status = 200, body = String, content_type = "text/plain"))
)]
async fn md5(device: Device, module: i64, filename: &str, path: &str) -> Result<Response> {
    let artifact = find(&device, module, filename).await?;
    let action = actions::check_download(&device.ctx, &device.controller_id, module).await?;
    actions::note_download(&device.ctx, action, path).await?;
    let Some(sum) = artifact.md5_hash else { return Err(ApiError::empty(StatusCode::NOT_FOUND)) };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
        (CONTENT_DISPOSITION, attachment_as_is(&format!("{filename}{MD5_SUFFIX}"))),
    ];
    // hawkBit: the name in ASCII, whatever it holds.
    let ascii: String = filename.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    Ok((headers, format!("{sum}  {ascii}")).into_response())
}
