//! Starts what a test needs and stops it again: servers, databases, devices, and the few requests that most tests begin with.
//! Nothing here sleeps to synchronise: waiting is `eventually`, bounded, for a condition that is named.

mod answer;
mod balancer;
mod client;
mod cluster;
mod device;
mod eventually;
mod fixtures;
mod gateway;
mod keeper;
mod launch;
mod link;
mod postgres;
mod rabbitmq;
mod raw;
mod redis;
mod server;
mod store;
mod stored_files;

pub use answer::Answer;
pub use balancer::{Balancer, NODE};
pub use client::{Client, basic};
pub use cluster::{Cluster, Node, Plan};
pub use device::Device;
pub use eventually::{eventually, eventually_within, linger, timed};
pub use fixtures::{Set, bytes_of, seeded};
pub use gateway::{DEAD_LETTERS, Gateway, Message, RECEIVER, table};
pub use launch::{Process, free_port, kettle_binary, kettle_command, signal, workspace};
pub use link::Link;
pub use postgres::{Database, psql, psql_binary, shared_postgres};
pub use rabbitmq::{Broker, VirtualHost, on_each_engine_with_gateway};
pub use raw::{Connection, RawAnswer};
pub use redis::Redis;
pub use server::{Engine, Server, on_each_engine};
pub use store::{Store, on_each_store};
pub use stored_files::stored_files;

use std::io::Write as _;

/// Says on the real standard error (the test runner captures only macros) that a check did not run, and why.
pub fn skip_visibly(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {what}: {why}");
}
