//! What a device's request shows to prove itself (semantics.md C1). Whether it suffices is the domain's decision.

use std::net::IpAddr;

use http::{Extensions, HeaderMap, header::AUTHORIZATION};
use kettle_domain::targets::Credentials;

use crate::{
    HttpSettings,
    peer::{peer, within},
};

/// Credentials as the request's headers hold them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeviceCredentials<'h> {
    target_token: Option<&'h str>,
    gateway_token: Option<&'h str>,
    controller_id: Option<&'h str>,
    authorities: Vec<&'h str>,
}

impl DeviceCredentials<'_> {
    pub fn as_domain(&self) -> Credentials<'_> {
        Credentials {
            target_token: self.target_token,
            gateway_token: self.gateway_token,
            header_controller_id: self.controller_id,
            header_authorities: &self.authorities,
        }
    }
}

/// Reads them. A request from outside the trusted addresses, if there are any, has none.
pub fn device_credentials<'h>(
    headers: &'h HeaderMap,
    extensions: &Extensions,
    http: &HttpSettings,
) -> DeviceCredentials<'h> {
    credentials(headers, peer(extensions), http)
}

fn credentials<'h>(headers: &'h HeaderMap, peer: Option<IpAddr>, http: &HttpSettings) -> DeviceCredentials<'h> {
    if !http.ddi_trusted_ips.is_empty() && !within(&http.ddi_trusted_ips, peer) {
        return DeviceCredentials::default();
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let authorization = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let controller_id = text(&http.controller_id_header);
    DeviceCredentials {
        target_token: authorization.strip_prefix("TargetToken "),
        gateway_token: authorization.strip_prefix("GatewayToken "),
        controller_id,
        authorities: if controller_id.is_some() { authorities(headers, &http.authority_header) } else { Vec::new() },
    }
}

/// The header itself, or its numbered forms from 0 or 1 up to the first that is missing; each may hold several.
fn authorities<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let mut found: Vec<&str> = text(name).into_iter().collect();
    if found.is_empty() {
        let first = if headers.contains_key(format!("{name}-0")) { 0 } else { 1 };
        found.extend((first..).map_while(|n: u32| text(&format!("{name}-{n}"))));
    }
    found.into_iter().flat_map(|value| value.split([';', ','])).map(str::trim).filter(|a| !a.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::http_settings;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: DeviceCredentials<'_>) {
        let map = headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        assert_eq!(credentials(&map, None, &http_settings()), expected, "{headers:?}");
    }

    #[test]
    fn tokens_are_read_by_their_exact_scheme() {
        let none = DeviceCredentials::default;
        check(&[("authorization", "TargetToken abc")], DeviceCredentials { target_token: Some("abc"), ..none() });
        check(&[("authorization", "GatewayToken a b")], DeviceCredentials { gateway_token: Some("a b"), ..none() });
        for other in ["targettoken abc", "TargetToken", "GATEWAYTOKEN abc", "Basic abc", "TargetToken\tabc"] {
            check(&[("authorization", other)], none());
        }
        check(&[("authorization", "TargetToken  abc")], DeviceCredentials { target_token: Some(" abc"), ..none() });
    }

    #[test]
    fn authorities_are_read_plain_or_numbered() {
        let id = ("x-controller-id", "d1");
        let with = |authorities: &[&'static str]| DeviceCredentials {
            controller_id: Some("d1"),
            authorities: authorities.to_vec(),
            ..DeviceCredentials::default()
        };
        check(&[id], with(&[]));
        check(&[id, ("x-authority", "A; b,c")], with(&["A", "b", "c"]));
        check(&[id, ("x-authority-0", "a"), ("x-authority-1", "b"), ("x-authority-3", "d")], with(&["a", "b"]));
        check(&[id, ("x-authority-1", "a"), ("x-authority-2", "b")], with(&["a", "b"]));
        check(&[id, ("x-authority-2", "b")], with(&[]));
    }

    #[test]
    fn other_addresses_have_no_credentials() {
        let mut http = http_settings();
        http.ddi_trusted_ips = vec!["10.0.0.0/8".parse().unwrap()];
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "TargetToken abc".parse().unwrap())]);
        let token = |peer: Option<&str>| credentials(&headers, peer.map(|p| p.parse().unwrap()), &http).target_token;
        assert_eq!(token(Some("10.1.2.3")), Some("abc"));
        assert_eq!(token(Some("192.0.2.1")), None);
        assert_eq!(token(None), None);
    }
}
