//! Connections to the broker: the first of its addresses that answers, again and again, with growing pauses.

use std::time::Duration;

use lapin::{
    Channel, Connection, ConnectionProperties, DefaultConnectionBuilder, ErrorKind,
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism},
};

use super::settings::{Address, Broker};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How often a connection is looked at while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses between tries: each twice the one before, up to a limit, and anywhere between half of that and all of it, so
/// that nodes which lost the same broker don't come back in step.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    pub fn tries(&self) -> u32 {
        self.tries
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// How long to wait now.
    pub fn next_pause(&mut self) -> Duration {
        self.next(rand::random())
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }

    /// `jitter` is 0 to 1.
    fn next(&mut self, jitter: f64) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(16)).min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        pause.mul_f64(0.5 + jitter / 2.0)
    }
}

/// Connects to a virtual host; `purpose` is what the broker's own tools show.
pub async fn connect(broker: &Broker, virtual_host: &str, purpose: &str) -> Result<Connection, Unreachable> {
    let mut last = Unreachable("no broker is configured".into());
    let limit = Some(broker.connection_timeout).filter(|limit| !limit.is_zero()).unwrap_or(Duration::MAX);
    for address in &broker.addresses {
        let Address { host, port } = address;
        let connecting = attempt(broker, address, virtual_host, purpose);
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = Unreachable(format!("{host}:{port}: {error}")),
            Err(_) => last = Unreachable(format!("{host}:{port} does not answer in {limit:?}")),
        }
    }
    Err(last)
}

/// No address of the broker answers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the broker can't be reached: {0}")]
pub struct Unreachable(String);

async fn attempt(broker: &Broker, address: &Address, virtual_host: &str, purpose: &str) -> lapin::Result<Connection> {
    // Without a name to log in with, the client certificate says who it is.
    let mechanism = if broker.username.is_empty() { SASLMechanism::External } else { SASLMechanism::Plain };
    let uri = AMQPUri {
        scheme: if broker.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: broker.username.clone(), password: broker.password.0.clone() },
            host: address.host.clone(),
            port: address.port,
        },
        vhost: virtual_host.to_owned(),
        query: AMQPQueryString {
            heartbeat: Some(broker.heartbeat),
            auth_mechanism: Some(mechanism),
            ..AMQPQueryString::default()
        },
    };
    let tls = broker.tls.clone().unwrap_or_default();
    let identity = tls.identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key });
    let tls = OwnedTLSConfig { identity, cert_chain: tls.authorities };
    let properties = ConnectionProperties::default()
        .with_connection_name(format!("Kettle, {purpose}").into())
        .with_client_property("product".into(), "Kettle".into());
    DefaultConnectionBuilder::new()?.with_uri(uri).with_properties(properties).with_tls_config(tls).connect().await
}

/// What `work` gives, unless its connection ends before. The client does not tell all who wait for an answer that none
/// will come.
pub async fn while_open<T>(connection: &Connection, work: impl Future<Output = lapin::Result<T>>) -> Result<T, Broken> {
    tokio::select! {
        result = work => Ok(result?),
        () = ended(connection) => Err(Broken::Ended),
    }
}

/// Returns when a connection is no more.
pub async fn ended(connection: &Connection) {
    while connection.status().connected() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The broker refused, or is gone.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Broker(#[from] lapin::Error),
    #[error("the connection to the broker was lost")]
    Ended,
}

/// Whether the broker refused something for this reason; the connection lives on then, the channel does not.
pub fn refused(error: &lapin::Error, reason: AMQPSoftError) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => *error.kind() == AMQPErrorKind::Soft(reason),
        _ => false,
    }
}

/// Whether a channel still takes requests.
pub fn is_open(channel: &Channel) -> bool {
    channel.status().connected()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_come_in_step() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(1.0), Duration::from_millis(200));
        assert_eq!(backoff.next(0.0), Duration::from_millis(200));
        assert_eq!(backoff.next(0.5), Duration::from_millis(600));
        for _ in 0..100 {
            assert!(backoff.next(1.0) <= LONGEST_PAUSE);
        }
        assert_eq!(backoff.next(1.0), LONGEST_PAUSE);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST_PAUSE);
    }
}
