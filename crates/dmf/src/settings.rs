//! What the configuration says of the broker and of DMF.

use std::{fmt, time::Duration};

use kettle_domain::commands::queue::Tenants;

/// A broker, and how this server uses it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nodes of one broker, tried in turn.
    pub brokers: Vec<Broker>,
    /// Empty: the client certificate says who this server is.
    pub username: String,
    pub password: Password,
    /// Where the messages of all tenants go that have no virtual host of their own.
    pub virtual_host: String,
    /// Tenants with a virtual host of their own.
    pub virtual_hosts: Vec<(String, String)>,
    /// Seconds; 0 for none.
    pub heartbeat: u16,
    /// Zero: as long as it takes.
    pub connection_timeout: Duration,
    /// `None`: plain AMQP.
    pub tls: Option<Tls>,
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

/// Where a node of the broker listens: a name or an address, and a port.
#[derive(Clone, Debug)]
pub struct Broker {
    pub host: String,
    pub port: u16,
}

/// Not shown in logs.
#[derive(Clone)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Certificates as PEM; of the system's authorities where none is given.
#[derive(Clone, Default)]
pub struct Tls {
    pub authorities: Option<String>,
    /// The client certificate with its chain, and its private key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls {{ authorities: {}, identity: {} }}", self.authorities.is_some(), self.identity.is_some())
    }
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
        own.chain([Host { name: self.virtual_host.clone(), tenants: others }]).collect()
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
