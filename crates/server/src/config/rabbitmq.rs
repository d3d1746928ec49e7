//! The broker, in Spring's terms: one host and port, or a list of addresses that may carry all there is to know. As with
//! Spring, what the first address says of user, password, virtual host and TLS holds for all, and its text is taken to the
//! letter: nothing in it is percent-encoded.

use std::{path::PathBuf, time::Duration};

use super::value::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rabbitmq {
    /// Nodes of one broker, tried in turn. Never empty.
    pub nodes: Vec<Node>,
    pub username: String,
    pub password: Secret,
    pub virtual_host: String,
    /// `None`: plain AMQP.
    pub tls: Option<Tls>,
    /// Seconds; 0: none.
    pub heartbeat: u16,
    /// Zero: as long as it takes.
    pub connection_timeout: Duration,
    /// How many messages may be here for each worker and not be acknowledged.
    pub prefetch: u16,
    /// How many batches of them are worked on at the same time.
    pub workers: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A name or an address, IPv6 in brackets.
    pub host: String,
    pub port: u16,
}

/// TLS to the broker, whose certificate and name are verified; all files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Who may vouch for the broker; `None`: who the system trusts.
    pub ca: Option<PathBuf>,
    pub client: Option<ClientCertificate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// One of `spring.rabbitmq.addresses`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    /// Of `amqp:` and `amqps:`, which it is.
    pub secure: Option<bool>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub host: String,
    pub port: Option<u16>,
    pub virtual_host: Option<String>,
}

/// `[amqp[s]://][USER[:PASSWORD]@]HOST[:PORT][/VIRTUAL-HOST]`
pub(super) fn address(text: &str) -> Result<Address, String> {
    let expected = || "expected addresses such as h1:5672 or amqps://USER:PASSWORD@h1:5671/VIRTUAL-HOST".to_owned();
    let mut address = Address::default();
    let rest = match text.split_once("://") {
        Some(("amqp", rest)) => {
            address.secure = Some(false);
            rest
        }
        Some(("amqps", rest)) => {
            address.secure = Some(true);
            rest
        }
        Some(_) => return Err(expected()),
        None => text,
    };
    let rest = match rest.rsplit_once('@') {
        Some((credentials, rest)) => {
            let (username, password) = credentials.split_once(':').map_or((credentials, None), |(u, p)| (u, Some(p)));
            address.username = Some(username.to_owned());
            address.password = password.map(Secret::new);
            rest
        }
        None => rest,
    };
    let host = match rest.split_once('/') {
        Some((host, "")) => {
            address.virtual_host = Some("/".to_owned());
            host
        }
        Some((host, virtual_host)) => {
            address.virtual_host = Some(virtual_host.to_owned());
            host
        }
        None => rest,
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host, None),
    };
    address.port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or_else(expected)).transpose()?;
    address.host = Some(host).filter(|host| usable(host)).ok_or_else(expected)?.to_owned();
    Ok(address)
}

fn usable(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_as_much_as_they_like() {
        let host = |host: &str, port| Address { host: host.to_owned(), port, ..Address::default() };
        let login = |address| Address {
            username: Some("u".to_owned()),
            password: Some(Secret::new("p:w")),
            virtual_host: Some("v".to_owned()),
            ..address
        };
        for (text, expected) in [
            ("h", host("h", None)),
            ("h.example:5673", host("h.example", Some(5673))),
            ("[::1]:5673", host("[::1]", Some(5673))),
            ("[::1]", host("[::1]", None)),
            ("amqp://h", Address { secure: Some(false), ..host("h", None) }),
            ("amqp://h/", Address { secure: Some(false), virtual_host: Some("/".to_owned()), ..host("h", None) }),
            ("amqps://u:p:w@h:1/v", Address { secure: Some(true), ..login(host("h", Some(1))) }),
            ("u:p:w@h/v", login(host("h", None))),
            ("u@h", Address { username: Some("u".to_owned()), ..host("h", None) }),
            (
                "u:p@w@h",
                Address { username: Some("u".to_owned()), password: Some(Secret::new("p@w")), ..host("h", None) },
            ),
            ("h/%2F", Address { virtual_host: Some("%2F".to_owned()), ..host("h", None) }),
        ] {
            assert_eq!(address(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "http://h", "amqp://", "h:0", "h:port", "h:99999", "u:p@", "::1", "h:1?heartbeat=1", "[h]"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
