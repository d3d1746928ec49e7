//! `/{tenant}/controller/v1/{controllerId}`: what shared/reference/device_clients.md says that devices rely on.

mod artifacts;
mod cancel_action;
mod cbor;
mod config_data;
mod confirmation_base;
mod controller;
mod deployment_base;
mod feedback;
mod installed_base;
