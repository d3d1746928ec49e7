//! `installedBase`, the other way: a device tells which set it runs.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use kettle_domain::actions;
use kettle_rest::{DeviceBody, Result};
use serde::Deserialize;

use crate::device::Device;

pub async fn put(device: Device, DeviceBody(body): DeviceBody<AssignedVersion>) -> Result<Response> {
    let new = actions::report_installed(&device.ctx, &device.controller_id, &body.name, &body.version).await?;
    Ok(if new { StatusCode::CREATED } else { StatusCode::OK }.into_response())
}

/// Name and version of a distribution set.
#[derive(Deserialize)]
pub struct AssignedVersion {
    name: String,
    version: String,
}
