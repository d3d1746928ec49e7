//! What the configuration says of the broker.

use std::{fmt, time::Duration};

use crate::announcements::Payload;

/// A broker, and how to connect to it.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its nodes, tried in turn.
    pub addresses: Vec<Address>,
    /// Empty: the client certificate says who this server is.
    pub username: String,
    pub password: Password,
    pub virtual_host: String,
    /// Seconds; 0 for none.
    pub heartbeat: u16,
    /// Zero: as long as it takes.
    pub connection_timeout: Duration,
    /// `None`: plain AMQP.
    pub tls: Option<Tls>,
}

/// Where a node of the broker listens: a name or an address, and a port.
#[derive(Clone, Debug)]
pub struct Address {
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

/// How events go over a broker.
#[derive(Clone, Debug)]
pub struct Settings {
    pub broker: Broker,
    /// `None`: only Kettle's own exchange is used.
    pub channels: Option<Channels>,
    pub payload: Payload,
    /// Whether this node takes what is for services that speak to gateways.
    pub serves_dmf: bool,
}

/// hawkBit's exchanges.
#[derive(Clone, Debug)]
pub struct Channels {
    pub fan_out: String,
    /// `None`: nothing is told to services, nor heard.
    pub service: Option<String>,
}
