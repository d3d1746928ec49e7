//! Who asks: the device that a request's path names, proven by its credentials.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::{StatusCode, request::Parts};
use kettle_domain::{Ctx, Tenant, artifacts::urls::DeviceUrls, targets, tenants::TenantSettings};
use kettle_rest::{ApiError, AppState, Base, KnownDevice, device_credentials};

/// An authenticated device. `tenant` is as the path has it: links echo that form.
pub struct Device {
    pub ctx: Ctx,
    pub settings: Arc<TenantSettings>,
    pub tenant: String,
    pub controller_id: String,
}

impl Device {
    /// Where files are offered to it.
    pub fn artifact_urls<'a>(&'a self, base: &'a Base) -> DeviceUrls<'a> {
        self.ctx.settings().artifact_urls.of_device(base.as_str(), &self.tenant, &self.controller_id)
    }
}

impl FromRequestParts<AppState> for Device {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Device, ApiError> {
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|e| ApiError::not_readable(e.body_text()))?;
        let param =
            |name| params.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned()).unwrap_or_default();
        let (tenant, controller_id) = (param("tenant"), param("controllerId"));
        if let Some(KnownDevice { ctx, settings }) = parts.extensions.remove() {
            return Ok(Device { ctx, settings, tenant, controller_id });
        }
        let credentials = device_credentials(&parts.headers, &parts.extensions, &state.http);
        let known = Tenant::new(&tenant);
        match targets::authenticate(&state.services, known, &controller_id, &credentials.as_domain()).await? {
            Some((ctx, settings)) => Ok(Device { ctx, settings, tenant, controller_id }),
            None => Err(ApiError::empty(StatusCode::UNAUTHORIZED)),
        }
    }
}
