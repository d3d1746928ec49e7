//! What a device's request shows to prove itself (semantics.md C1). Whether it suffices is the domain's decision.

use std::net::IpAddr;

use http::{Extensions, HeaderMap};
use kettle_domain::targets::HeaderCredentials;

use crate::{
    HttpSettings,
    peer::{peer, within},
};

/// Reads them. A request from outside the trusted addresses, if there are any, has none.
pub fn device_credentials<'h>(
    headers: &'h HeaderMap,
    extensions: &Extensions,
    http: &HttpSettings,
) -> HeaderCredentials<'h> {
    credentials(headers, peer(extensions), http)
}

fn credentials<'h>(headers: &'h HeaderMap, peer: Option<IpAddr>, http: &HttpSettings) -> HeaderCredentials<'h> {
    if !http.ddi_trusted_ips.is_empty() && !within(&http.ddi_trusted_ips, peer) {
        return HeaderCredentials::default();
    }
    HeaderCredentials::read(|name| headers.get(name).and_then(|v| v.to_str().ok()), &http.proxy_headers)
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::testing::http_settings;

    #[test]
    fn other_addresses_have_no_credentials() {
        let mut http = http_settings();
        http.ddi_trusted_ips = vec!["10.0.0.0/8".parse().unwrap()];
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "TargetToken abc".parse().unwrap())]);
        let token = |peer: Option<&str>| {
            credentials(&headers, peer.map(|p| p.parse().unwrap()), &http).as_domain().target_token.map(str::to_owned)
        };
        assert_eq!(token(Some("10.1.2.3")).as_deref(), Some("abc"));
        assert_eq!(token(Some("192.0.2.1")), None);
        assert_eq!(token(None), None);
    }
}
