//! Which addresses are served without counting, counted, or refused: hawkBit's regular expressions (semantics.md F5), and
//! networks. It is asked for every request, so what an address turned out to be is remembered.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
};

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};

use crate::peer::Host;

/// How many addresses are remembered, at eight bytes each.
const REMEMBERED: usize = 8_192;
/// A pattern that takes more than this is no list of addresses.
const LARGEST_PATTERN: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Counted,
    Allowed,
    Denied,
}

/// What the configuration says of clients' addresses. Patterns may match anywhere in an address, as hawkBit's do.
#[derive(Clone, Debug, Default)]
pub struct AddressRules {
    /// Empty: none.
    pub allowed_pattern: String,
    pub denied_pattern: String,
    pub allowed: Vec<IpNet>,
    pub denied: Vec<IpNet>,
}

pub(super) struct Addresses {
    allowed_pattern: Option<Regex>,
    denied_pattern: Option<Regex>,
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
    /// Digests of addresses, each with its verdict in the last two bits: no lock, no room beyond this.
    remembered: Box<[AtomicU64]>,
    digest: RandomState,
}

impl Addresses {
    /// Fails on a pattern that is none here, saying which.
    pub(super) fn new(rules: &AddressRules) -> Result<Addresses, String> {
        Ok(Addresses {
            allowed_pattern: pattern(&rules.allowed_pattern)?,
            denied_pattern: pattern(&rules.denied_pattern)?,
            allowed: rules.allowed.clone(),
            denied: rules.denied.clone(),
            remembered: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect(),
            digest: RandomState::new(),
        })
    }

    pub(super) fn verdict(&self, ip: IpAddr) -> Verdict {
        let digest = self.digest.hash_one(ip);
        let Some(slot) = self.remembered.get(digest as usize % REMEMBERED) else { return self.judge(ip) };
        let known = slot.load(Ordering::Relaxed);
        if known & !3 == digest & !3 {
            match known & 3 {
                1 => return Verdict::Counted,
                2 => return Verdict::Allowed,
                3 => return Verdict::Denied,
                _ => {}
            }
        }
        let verdict = self.judge(ip);
        let code = match verdict {
            Verdict::Counted => 1,
            Verdict::Allowed => 2,
            Verdict::Denied => 3,
        };
        slot.store(digest & !3 | code, Ordering::Relaxed);
        verdict
    }

    fn judge(&self, ip: IpAddr) -> Verdict {
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
        let names = names(ip);
        let matches = |pattern: &Option<Regex>| {
            pattern.as_ref().is_some_and(|pattern| names.iter().any(|name| pattern.is_match(name.as_bytes())))
        };
        if within(&self.denied) || matches(&self.denied_pattern) {
            Verdict::Denied
        } else if within(&self.allowed) || matches(&self.allowed_pattern) {
            Verdict::Allowed
        } else {
            Verdict::Counted
        }
    }
}

/// An address as patterns may have it: hawkBit's runtime writes all of an IPv6 address's parts, without leaving out any.
fn names(ip: IpAddr) -> Vec<String> {
    match ip {
        IpAddr::V4(ip) => vec![ip.to_string()],
        IpAddr::V6(v6) => vec![format!("[{}]", in_full(v6)), Host(ip).to_string()],
    }
}

fn in_full(ip: Ipv6Addr) -> String {
    ip.segments().map(|segment| format!("{segment:x}")).join(":")
}

/// Classes such as `\d` mean ASCII, as in the peer's expressions.
fn pattern(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let regex = RegexBuilder::new(text).unicode(false).size_limit(LARGEST_PATTERN).build();
    regex.map(Some).map_err(|error| {
        format!("the regular expression {text} can't be used here (there is no looking ahead or back): {error}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hawkBit's own.
    const PRIVATE: &str = r"10\.\d{1,3}\.\d{1,3}\.\d{1,3}|192\.168\.\d{1,3}\.\d{1,3}|169\.254\.\d{1,3}\.\d{1,3}|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|172\.1[6-9]{1}\.\d{1,3}\.\d{1,3}|172\.2[0-9]{1}\.\d{1,3}\.\d{1,3}|172\.3[0-1]{1}\.\d{1,3}\.\d{1,3}";

    #[track_caller]
    fn check(rules: &AddressRules, ip: &str, expected: Verdict) {
        let addresses = Addresses::new(rules).unwrap();
        // The second answer is from memory.
        for _ in 0..2 {
            assert_eq!(addresses.verdict(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn patterns_and_networks_say_who_is_counted() {
        let rules = AddressRules {
            allowed_pattern: PRIVATE.into(),
            denied_pattern: r"(^192\.168\.66\.)|^203\.0\.113\.7$".into(),
            allowed: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            denied: vec!["198.51.100.66/32".parse().unwrap()],
        };
        for (ip, expected) in [
            ("10.1.2.3", Verdict::Allowed),
            ("172.16.0.1", Verdict::Allowed),
            ("172.32.0.1", Verdict::Counted),
            ("127.0.0.1", Verdict::Allowed),
            // hawkBit: a pattern matches anywhere in an address.
            ("110.1.2.3", Verdict::Allowed),
            ("192.168.66.1", Verdict::Denied),
            ("203.0.113.7", Verdict::Denied),
            ("203.0.113.77", Verdict::Counted),
            ("198.51.100.1", Verdict::Allowed),
            ("198.51.100.66", Verdict::Denied),
            ("2001:db8::1", Verdict::Allowed),
            ("::1", Verdict::Counted),
        ] {
            check(&rules, ip, expected);
        }
    }

    #[test]
    fn ipv6_addresses_are_matched_as_the_peer_writes_them() {
        for text in [r"127\.0\.0\.1|\[0:0:0:0:0:0:0:1\]", r"\[::1\]"] {
            let rules = AddressRules { allowed_pattern: text.into(), ..AddressRules::default() };
            check(&rules, "::1", Verdict::Allowed);
            check(&rules, "::2", Verdict::Counted);
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_is_named() {
        for text in ["(", "(?=10)", r"(a)\1", "x{1000}{1000}"] {
            let rules = AddressRules { denied_pattern: text.into(), ..AddressRules::default() };
            let error = Addresses::new(&rules).err().unwrap();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn many_addresses_are_judged_right_though_few_are_remembered() {
        let rules = AddressRules { denied: vec!["10.0.0.0/9".parse().unwrap()], ..AddressRules::default() };
        let addresses = Addresses::new(&rules).unwrap();
        for n in 0..100_000_u32 {
            let ip = IpAddr::from((0x0A00_0000 | n.wrapping_mul(2_654_435_761) & 0xFF_FFFF).to_be_bytes());
            let IpAddr::V4(v4) = ip else { continue };
            let expected = if v4.octets()[1] < 128 { Verdict::Denied } else { Verdict::Counted };
            assert_eq!(addresses.verdict(ip), expected, "{ip}");
        }
    }
}
