//! `configData`: what a device says of itself.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use kettle_domain::targets::attributes::{self, Mode};
use kettle_rest::{ApiError, DeviceBody, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::device::Device;

/// What a device says of itself.
#[utoipa::path(
    put, path = "/{tenant}/controller/v1/{controllerId}/configData",
    request_body = ConfigData, responses((status = 200))
)]
pub async fn put(device: Device, DeviceBody(body): DeviceBody<ConfigData>) -> Result<Response> {
    let mode = body.mode.map_or(Mode::Merge, Mode::from);
    attributes::report(&device.ctx, &device.controller_id, mode, body.attributes()?).await?;
    Ok(StatusCode::OK.into_response())
}

/// Older clients send `id`, `time` and `status` too; they are ignored.
#[derive(Deserialize, ToSchema)]
pub struct ConfigData {
    mode: Option<UpdateMode>,
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    data: Map<String, Value>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum UpdateMode {
    Merge,
    Replace,
    Remove,
}

impl From<UpdateMode> for Mode {
    fn from(mode: UpdateMode) -> Mode {
        match mode {
            UpdateMode::Merge => Mode::Merge,
            UpdateMode::Replace => Mode::Replace,
            UpdateMode::Remove => Mode::Remove,
        }
    }
}

impl ConfigData {
    /// Numbers and booleans count as the text they are written with.
    pub fn attributes(self) -> Result<Vec<(String, Option<String>)>> {
        if self.data.is_empty() {
            return Err(ApiError::not_readable("data must hold at least one attribute."));
        }
        let text = |value| match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
            Value::Array(_) | Value::Object(_) => Err(ApiError::not_readable("The value of an attribute is a text.")),
        };
        self.data.into_iter().map(|(key, value)| Ok((key, text(value)?))).collect()
    }
}
