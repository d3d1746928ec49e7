//! How many requests a client may make in a second (semantics.md F5): an address, or a device that has proven who it is,
//! so that a fleet behind one address is not slowed down as one. Counted over all nodes.

use std::net::IpAddr;

use kettle_cluster::Key;
pub use kettle_cluster::Limits as Counts;

use crate::ctx::Tenant;

/// What a request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

/// Which part of the server it is for: hawkBit has a filter for each, and each counts for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Management,
    System,
    Device,
    Download,
}

/// Who makes it.
#[derive(Clone, Copy, Debug)]
pub enum Client<'a> {
    Address(IpAddr),
    Device(&'a Tenant, &'a str),
}

/// Requests in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub reads: u32,
    pub writes: u32,
}

/// The limits of this node's configuration.
#[derive(Clone)]
pub struct Limits {
    pub of_address: Limit,
    pub of_device: Limit,
    pub counts: Counts,
}

impl Limits {
    /// Counts a request; whether it may go on.
    pub async fn admit(&self, client: Client<'_>, part: Part, kind: Kind) -> bool {
        let limit = match client {
            Client::Address(_) => self.of_address,
            Client::Device(..) => self.of_device,
        };
        let limit = match kind {
            Kind::Read => limit.reads,
            Kind::Write => limit.writes,
        };
        self.counts.admit(key(client, part, kind), limit).await
    }
}

/// The same on every node and in every version.
fn key(client: Client<'_>, part: Part, kind: Kind) -> Key {
    let mut text = match part {
        Part::Management => b"mgmt ".to_vec(),
        Part::System => b"system ".to_vec(),
        Part::Device => b"ddi ".to_vec(),
        Part::Download => b"download ".to_vec(),
    };
    text.extend_from_slice(match kind {
        Kind::Read => b"read ",
        Kind::Write => b"write ",
    });
    match client {
        Client::Address(IpAddr::V4(ip)) => text.extend(ip.octets()),
        // One client has all addresses of a /64.
        Client::Address(IpAddr::V6(ip)) => text.extend(ip.octets().iter().take(8)),
        Client::Device(tenant, controller_id) => {
            text.extend_from_slice(b"device ");
            text.extend_from_slice(tenant.id().as_bytes());
            text.push(0);
            text.extend_from_slice(controller_id.as_bytes());
        }
    }
    Key::new(&text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_client_part_and_kind_is_counted_for_itself() {
        let tenants = [Tenant::new("A"), Tenant::new("AB")];
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|ip| Client::Address(ip.parse().unwrap()));
        let devices = [(&tenants[0], "d"), (&tenants[0], "Bd"), (&tenants[1], "d")];
        let devices = devices.map(|(tenant, id)| Client::Device(tenant, id));
        let mut keys = HashSet::new();
        for client in addresses.into_iter().chain(devices) {
            for part in [Part::Management, Part::System, Part::Device, Part::Download] {
                for kind in [Kind::Read, Kind::Write] {
                    assert!(keys.insert(key(client, part, kind)), "{client:?} {part:?} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |ip: &str| key(Client::Address(ip.parse().unwrap()), Part::Device, Kind::Read);
        assert!(of("2001:db8::1") == of("2001:db8::ffff:0:0:2"));
        assert!(of("2001:db8::1") != of("2001:db8:0:1::1"));
    }
}
