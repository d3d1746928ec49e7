//! What makes several nodes one server: events, the outbox they are written to, service events, leases and the jobs that
//! run under them.
//!
//! Every part works in one process on SQLite and, unchanged for its callers, between processes on PostgreSQL. Knows
//! `kt_outbox`, `kt_service_event` and `kt_lease`; must not know a table of hawkBit's or a rule of the product.

mod clock;
mod events;
mod jobs;
mod lease;
pub mod outbox;
pub mod service;
mod tx;

pub use clock::Clock;
pub use events::{Event, Events, Gossip, Origin};
pub use jobs::JobContext;
pub use jobs::{Job, Jobs, LEASE_TTL};
pub use lease::{Lease, LeaseError};
pub use service::ServiceEvent;
pub use tx::Tx;
