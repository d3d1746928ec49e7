//! Black-box tests: the `kettle` binary (`KETTLE_BIN`, else the workspace's debug or release build) over HTTP, on SQLite
//! and on PostgreSQL. They know no crate of ours. Modules are laid out like the URL tree; `harness` starts and stops
//! servers, databases and devices.
//!
//! `dmf_codec`, `domain`, `download_ids`, `events_rabbitmq`, `lease`, `outbox`, `schema` and `service_events` call our crates for what can't be
//! seen from outside; `tidy` reads the source.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]
#![expect(clippy::disallowed_methods, reason = "tests read their own environment and block their own threads")]

mod harness;
mod hawkbit_locks;

mod adopted;
mod bad_input;
mod clients;
mod cluster;
mod contract;
mod cors;
mod ddi;
mod deploy;
mod dmf;
mod dmf_codec;
mod domain;
mod download_ids;
mod etag;
mod events_rabbitmq;
mod failed_logins;
mod firewall;
mod kill;
mod kill_rollouts;
mod lease;
mod lifecycle;
mod links;
mod mgmt;
mod model;
mod openapi;
mod operations;
mod outbox;
mod request_limits;
mod roles;
mod schema;
mod scopes;
mod service_events;
mod sessions;
mod shared_views;
mod tidy;
mod tls;
mod users;
