//! The device API over HTTP (DDI), `/{tenant}/controller/v1/{controllerId}/…`: what devices poll, read, download and
//! report (semantics.md C).

mod config_data;
mod deployment;
mod device;
mod downloads;
mod feedback;
mod installed_base;
mod poll;

use axum::{
    Router,
    routing::{get, post, put},
};
use kettle_rest::AppState;

/// Every route of the device API.
pub fn routes() -> Router<AppState> {
    let below = |path: &str| format!("/{{tenant}}/controller/v1/{{controllerId}}{path}");
    Router::new()
        .route(&below(""), get(poll::poll))
        .route(&below("/configData"), put(config_data::put))
        .route(&below("/deploymentBase/{actionId}"), get(deployment::deployment_base))
        .route(&below("/deploymentBase/{actionId}/feedback"), post(feedback::deployment))
        .route(&below("/installedBase"), put(installed_base::put))
        .route(&below("/installedBase/{actionId}"), get(deployment::installed_base))
        .route(&below("/cancelAction/{actionId}"), get(deployment::cancel_action))
        .route(&below("/cancelAction/{actionId}/feedback"), post(feedback::cancel))
        .route(&below("/softwaremodules/{softwareModuleId}/artifacts"), get(downloads::list))
        .route(&below("/softwaremodules/{softwareModuleId}/artifacts/{fileName}"), get(downloads::download))
}
