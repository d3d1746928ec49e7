//! Where a request comes from: the socket's other end, and the client that a trusted proxy names.

use std::{
    convert::Infallible,
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::{Extensions, HeaderMap, request::Parts};
use ipnet::IpNet;

use crate::{AppState, HttpSettings};

/// The client's address as a target's address has it: `http://192.0.2.1`, `http://[2001:db8::1]`; empty if unknown.
pub struct RemoteAddress(pub String);

impl FromRequestParts<AppState> for RemoteAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<RemoteAddress, Infallible> {
        let client = client(peer(&parts.extensions), &parts.headers, &state.http);
        Ok(RemoteAddress(client.map_or_else(String::new, |ip| format!("http://{}", Host(ip)))))
    }
}

/// An address as URLs write it.
pub(crate) struct Host(pub(crate) IpAddr);

impl Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// The socket's other end. An IPv4 address that came over an IPv6 socket is shown as IPv4.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}

pub(crate) fn within(nets: &[IpNet], ip: Option<IpAddr>) -> bool {
    ip.is_some_and(|ip| nets.iter().any(|net| net.contains(&ip)))
}

/// The client: whom the peer names in its header, if it is a trusted proxy, and so on from proxy to proxy. They append: what is
/// left of the first that is not trusted, anybody may have written.
pub(crate) fn client(peer: Option<IpAddr>, headers: &HeaderMap, http: &HttpSettings) -> Option<IpAddr> {
    let lines = headers.get_all(http.remote_ip_header.as_str()).iter().rev();
    let mut named = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(address);
    let mut client = peer;
    while within(&http.trusted_proxies, client)
        && let Some(Some(before)) = named.next()
    {
        client = Some(before);
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::http_settings;

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let mut http = http_settings();
        http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, header, expected) in [
            ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
            ("10.1.1.1", "198.51.100.1", "198.51.100.1"),
            ("10.1.1.1", "192.0.2.7, 198.51.100.1", "198.51.100.1"),
            ("10.1.1.1", "192.0.2.7, 198.51.100.1, 10.2.2.2, fd00::2", "198.51.100.1"),
            ("10.1.1.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
            ("10.1.1.1", "192.0.2.7, unknown, 10.2.2.2", "10.2.2.2"),
            ("10.1.1.1", "198.51.100.1:4711", "198.51.100.1"),
            ("10.1.1.1", "[2001:db8::1]:4711", "[2001:db8::1]"),
            ("10.1.1.1", "2001:db8::1", "[2001:db8::1]"),
            ("fd00::1", "::ffff:192.0.2.1", "192.0.2.1"),
            ("10.1.1.1", "nonsense", "10.1.1.1"),
            ("10.1.1.1", "", "10.1.1.1"),
        ] {
            let in_lines = header.split(", ").map(|part| part.parse().unwrap());
            for lines in [vec![header.parse().unwrap()], in_lines.collect()] {
                let mut headers = HeaderMap::new();
                for line in lines {
                    headers.append("x-forwarded-for", line);
                }
                let client = client(Some(peer.parse().unwrap()), &headers, &http).unwrap();
                assert_eq!(Host(client).to_string(), expected, "{peer} with {header:?}");
            }
        }
    }
}
