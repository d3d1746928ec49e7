//! The Management API, `/rest/v1/…`: wire types, links and handlers, one file per resource. A handler extracts, makes one
//! call of the domain and converts; what is more belongs in the domain.

mod actions;
mod artifacts;
mod assignments;
mod audit;
mod configs;
mod confirmation;
mod distribution_set_tags;
mod distribution_set_types;
mod distribution_sets;
mod failed_logins;
mod metadata;
mod nodes;
mod openapi;
mod rollout_explanation;
mod rollout_groups;
mod rollouts;
mod session;
mod software_module_types;
mod software_modules;
mod tags;
mod target_filters;
mod target_groups;
mod target_tags;
mod target_types;
mod targets;
mod userinfo;

use kettle_rest::AppState;
use utoipa_axum::router::OpenApiRouter;

pub use openapi::about;

/// Every route of the Management API, with what each says of itself.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(actions::routes())
        .merge(artifacts::routes())
        .merge(assignments::routes())
        .merge(configs::routes())
        .merge(confirmation::routes())
        .merge(distribution_set_tags::routes())
        .merge(distribution_set_types::routes())
        .merge(distribution_sets::routes())
        .merge(failed_logins::routes())
        .merge(nodes::routes())
        .merge(rollouts::routes())
        .merge(rollout_groups::routes())
        .merge(rollout_explanation::routes())
        .merge(session::routes())
        .merge(software_module_types::routes())
        .merge(software_modules::routes())
        .merge(target_filters::routes())
        .merge(target_groups::routes())
        .merge(target_types::routes())
        .merge(target_tags::routes())
        .merge(targets::routes())
        .merge(userinfo::routes())
}
