//! `installedBase`, the other way: a device tells which set it runs.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use kettle_domain::actions;
use kettle_rest::{DeviceBody, Result};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::device::Device;

/// Which distribution set a device runs, by its own account. 201 if that is news.
#[utoipa::path(
    put, path = "/{tenant}/controller/v1/{controllerId}/installedBase",
    request_body = AssignedVersion, responses((status = 200), (status = 201))
)]
pub async fn put(device: Device, DeviceBody(body): DeviceBody<AssignedVersion>) -> Result<Response> {
    let new = actions::report_installed(&device.ctx, &device.controller_id, &body.name, &body.version).await?;
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK }.into_response())
}

/// Name and version of a distribution set.
#[derive(Deserialize, ToSchema)]
pub struct AssignedVersion {
    name: String,
    version: String,
}
