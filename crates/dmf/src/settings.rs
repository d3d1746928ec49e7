//! What the configuration says of DMF.

use std::time::Duration;

use kettle_cluster::rabbitmq::Broker;
use kettle_domain::commands::queue::Tenants;

/// A broker, and how DMF uses it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its virtual host takes the messages of all tenants that have none of their own.
    pub broker: Broker,
    /// Tenants with a virtual host of their own.
    pub virtual_hosts: Vec<(String, String)>,
    pub queues: Queues,
    /// How many messages are taken for each worker that are not acknowledged.
    pub prefetch: u16,
    /// How many batches of messages are worked on at the same time.
    pub workers: u16,
    /// One node at a time receives, so that messages of one thing keep their order.
    pub exclusive: bool,
    /// How long a download id is good for.
    pub download_id_ttl: Duration,
}

/// Names on the broker (semantics.md D1).
#[derive(Clone, Debug)]
pub struct Queues {
    /// Whether this server declares them.
    pub declare: bool,
    pub receiver: String,
    pub authentication: String,
    pub dead_letter_exchange: String,
    pub dead_letter: String,
    pub dead_letter_ttl: Duration,
}

impl Settings {
    /// How many messages a node takes that it has not acknowledged.
    pub fn taken(&self) -> u16 {
        self.prefetch.saturating_mul(self.workers.max(1)).max(1)
    }

    /// The virtual hosts, and whose messages each carries.
    pub fn hosts(&self) -> Vec<Host> {
        let own = self.virtual_hosts.iter();
        let own = own.map(|(tenant, host)| Host { name: host.clone(), tenants: Tenants::Only(tenant.clone()) });
        let others = Tenants::AllBut(self.virtual_hosts.iter().map(|(tenant, _)| tenant.clone()).collect());
        own.chain([Host { name: self.broker.virtual_host.clone(), tenants: others }]).collect()
    }
}

/// A virtual host of the broker.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub tenants: Tenants,
}

impl Host {
    /// Whether messages of this tenant belong here.
    pub fn carries(&self, tenant: &str) -> bool {
        match &self.tenants {
            Tenants::Only(only) => only == tenant,
            Tenants::AllBut(others) => !others.iter().any(|other| other == tenant),
        }
    }
}
