//! The device API over HTTP (DDI), `/{tenant}/controller/v1/{controllerId}/…`: what devices poll, read, download and
//! report (semantics.md C).

mod config_data;
mod confirmation;
mod deployment;
mod device;
mod download_id;
mod downloads;
mod feedback;
mod installed_base;
mod openapi;
mod poll;

use axum::routing::MethodRouter;
use kettle_rest::AppState;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

pub use download_id::{BY_DOWNLOAD_ID, by_download_id};
pub use openapi::about;

/// Every route of the device API, with what each says of itself.
pub fn routes() -> OpenApiRouter<AppState> {
    let mut router = OpenApiRouter::new()
        .routes(routes!(poll::poll))
        .routes(routes!(config_data::put))
        .routes(routes!(deployment::deployment_base))
        .routes(routes!(feedback::deployment))
        .routes(routes!(installed_base::put))
        .routes(routes!(deployment::installed_base))
        .routes(routes!(deployment::cancel_action))
        .routes(routes!(feedback::cancel))
        .routes(routes!(downloads::list))
        .routes(routes!(downloads::download))
        .routes(routes!(confirmation::base))
        .routes(routes!(confirmation::activate).map(or_no_action))
        .routes(routes!(confirmation::deactivate).map(or_no_action))
        .routes(routes!(confirmation::action))
        .routes(routes!(confirmation::feedback));
    downloads::document_md5(router.get_openapi_mut());
    router
}

/// Read rather than written to, the address is that of an action whose id is a word. The document says nothing of it.
fn or_no_action(methods: MethodRouter<AppState>) -> MethodRouter<AppState> {
    methods.get(confirmation::no_action)
}
