//! What the product does. One folder per aggregate: its rules in `mod.rs` and files named for behaviour, its queries in
//! `store.rs`, its tables in `entity.rs`.
//!
//! Every function takes `ctx: &Ctx` first: the tenant, the actor, the clock and the database come from there alone.
//! Knows no HTTP and no AMQP; the three APIs call it and convert.

pub mod access;
pub mod actions;
mod announcements;
pub mod artifacts;
mod audit;
mod cached;
mod coded;
pub mod commands;
mod ctx;
pub mod distribution_set_tags;
pub mod distribution_set_types;
pub mod distribution_sets;
pub mod download_ids;
pub mod error;
pub mod limits;
mod listing;
pub mod nodes;
pub mod rollouts;
pub mod search;
pub mod settings;
pub mod software_module_types;
pub mod software_modules;
pub mod tags;
pub mod target_filters;
pub mod target_tags;
pub mod target_types;
pub mod targets;
pub mod tenants;
mod text;
pub mod totals;

pub use ctx::{Actor, CONTROLLER, Ctx, Services, Tenant};
pub use error::{EntityId, Error, Kind, Result};
pub use listing::{Listing, Page};
