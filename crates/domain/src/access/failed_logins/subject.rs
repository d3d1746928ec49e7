//! Of whom failures are counted: a user name as claimed, or where a client comes from.

use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest, Sha256};

/// A name beyond this is kept as its beginning and a digest. No user's name has to be this long.
const LONGEST: usize = 128;
const BEGINNING: usize = 40;

/// In the order in which counts are written, so that two writers can't wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Address,
    User,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Address => "address",
            Kind::User => "user",
        }
    }

    pub fn parse(text: &str) -> Option<Kind> {
        [Kind::Address, Kind::User].into_iter().find(|kind| kind.name() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub kind: Kind,
    pub text: String,
}

impl Subject {
    /// A user name as claimed; it may be anyone's text.
    pub fn user(name: &str) -> Subject {
        let plain = name.len() <= LONGEST && !name.contains(char::is_control);
        let text = if plain {
            name.to_owned()
        } else {
            let beginning: String = name.chars().filter(|c| !c.is_control()).take(BEGINNING).collect();
            format!("{beginning}…{}", hex::encode(Sha256::digest(name)))
        };
        Subject { kind: Kind::User, text }
    }

    /// Of IPv6, the network: one client has all addresses of a /64.
    pub fn address(ip: IpAddr) -> Subject {
        let text = match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        };
        Subject { kind: Kind::Address, text }
    }

    /// As a person writes it, or a list of ours has it. `None`: that is no address.
    pub fn parse(kind: Kind, text: &str) -> Option<Subject> {
        match kind {
            // The form in which a list has a name that is kept as a digest is taken as it is.
            Kind::User if text.len() <= 255 && text.contains('…') => Some(Subject { kind, text: text.to_owned() }),
            Kind::User => Some(Subject::user(text)),
            Kind::Address => text.strip_suffix("/64").unwrap_or(text).parse().ok().map(Subject::address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_short_and_without_control_characters() {
        for (name, expected) in [("admin", Some("admin")), ("", Some("")), ("jürgen ß", Some("jürgen ß"))] {
            assert_eq!(Subject::user(name).text, expected.unwrap());
        }
        for name in ["a\0b", "a\nb", &"x".repeat(129), &"ß".repeat(100), &"\u{1F600}".repeat(5_000)] {
            let subject = Subject::user(name);
            assert!(subject.text.len() <= 255 && subject.text.contains('…'), "{subject:?}");
            assert!(!subject.text.contains(char::is_control), "{subject:?}");
            assert_eq!(Subject::parse(Kind::User, &subject.text), Some(subject));
        }
        assert_ne!(Subject::user(&"x".repeat(129)), Subject::user(&"x".repeat(130)));
    }

    #[test]
    fn an_address_of_ipv6_stands_for_its_network() {
        for (ip, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            let subject = Subject::address(ip.parse().unwrap());
            assert_eq!(subject.text, expected);
            assert_eq!(Subject::parse(Kind::Address, ip).as_ref(), Some(&subject));
            assert_eq!(Subject::parse(Kind::Address, expected), Some(subject));
        }
        assert_eq!(Subject::parse(Kind::Address, "nonsense"), None);
    }
}
