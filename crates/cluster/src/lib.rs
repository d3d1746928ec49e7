//! What makes several nodes one server: membership, events, the outbox they are written to, announcements to hawkBit nodes,
//! service events, leases and the jobs that run under them, counts that hold for all nodes, and Redis.
//!
//! Every part works in one process on SQLite and, unchanged for its callers, between processes on PostgreSQL. Knows
//! `kt_outbox`, `kt_service_event`, `kt_lease`, `kt_node`, `kt_told` and `kt_taken_event`; must not know a rule of the product,
//! nor a table of hawkBit's but that of its locks.

pub mod announcements;
mod clock;
mod events;
mod heard;
mod jobs;
mod lease;
mod limits;
pub mod membership;
mod metrics;
pub mod outbox;
mod own;
mod peer_lock;
pub mod rabbitmq;
mod redis;
pub mod service;
mod tx;

pub use announcements::{Announcement, Fact};
pub use clock::Clock;
pub use events::{Event, Events, Gossip, Origin};
pub use jobs::{Job, JobContext, Jobs};
pub use lease::{Lease, LeaseError};
pub use limits::{Key, Limits};
pub use membership::Membership;
pub use peer_lock::{PeerLock, PeerLocks};
pub use redis::{Away, Redis, RedisSettings, Script};
pub use service::ServiceEvent;
pub use tx::Tx;
