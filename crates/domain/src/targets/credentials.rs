//! How a device's request shows who it is: the headers of HTTP, which messages carry too (semantics.md C1). Whether it
//! suffices is [`authenticate`](super::authenticate)'s decision.

use super::Credentials;

/// By which headers a reverse proxy passes on whom it has verified.
#[derive(Clone, Debug)]
pub struct ProxyHeaders {
    pub controller_id: String,
    pub authority: String,
}

/// Credentials as headers hold them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeaderCredentials<'h> {
    target_token: Option<&'h str>,
    gateway_token: Option<&'h str>,
    controller_id: Option<&'h str>,
    authorities: Vec<&'h str>,
}

impl<'h> HeaderCredentials<'h> {
    /// `header` finds a header by its name, in any case.
    pub fn read(header: impl Fn(&str) -> Option<&'h str>, proxy: &ProxyHeaders) -> HeaderCredentials<'h> {
        let authorization = header("authorization").unwrap_or_default();
        let controller_id = header(&proxy.controller_id);
        HeaderCredentials {
            target_token: authorization.strip_prefix("TargetToken "),
            gateway_token: authorization.strip_prefix("GatewayToken "),
            controller_id,
            authorities: if controller_id.is_some() { authorities(header, &proxy.authority) } else { Vec::new() },
        }
    }

    pub fn as_domain(&self) -> Credentials<'_> {
        Credentials {
            target_token: self.target_token,
            gateway_token: self.gateway_token,
            header_controller_id: self.controller_id,
            header_authorities: &self.authorities,
        }
    }
}

/// The header itself, or its numbered forms from 0 or 1 up to the first that is missing; each may hold several.
fn authorities<'h>(header: impl Fn(&str) -> Option<&'h str>, name: &str) -> Vec<&'h str> {
    let mut found: Vec<&str> = header(name).into_iter().collect();
    if found.is_empty() {
        let first = if header(&format!("{name}-0")).is_some() { 0 } else { 1 };
        found.extend((first..).map_while(|n: u32| header(&format!("{name}-{n}"))));
    }
    found.into_iter().flat_map(|value| value.split([';', ','])).map(str::trim).filter(|a| !a.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &'static str)], expected: HeaderCredentials<'_>) {
        let proxy = ProxyHeaders { controller_id: "X-Controller-Id".into(), authority: "X-Authority".into() };
        let header = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        assert_eq!(HeaderCredentials::read(header, &proxy), expected, "{headers:?}");
    }

    #[test]
    fn tokens_are_read_by_their_exact_scheme() {
        let none = HeaderCredentials::default;
        check(&[("authorization", "TargetToken abc")], HeaderCredentials { target_token: Some("abc"), ..none() });
        check(&[("authorization", "GatewayToken a b")], HeaderCredentials { gateway_token: Some("a b"), ..none() });
        for other in ["targettoken abc", "TargetToken", "GATEWAYTOKEN abc", "Basic abc", "TargetToken\tabc"] {
            check(&[("authorization", other)], none());
        }
        check(&[("authorization", "TargetToken  abc")], HeaderCredentials { target_token: Some(" abc"), ..none() });
    }

    #[test]
    fn authorities_are_read_plain_or_numbered() {
        let id = ("x-controller-id", "d1");
        let with = |authorities: &[&'static str]| HeaderCredentials {
            controller_id: Some("d1"),
            authorities: authorities.to_vec(),
            ..HeaderCredentials::default()
        };
        check(&[id], with(&[]));
        check(&[id, ("x-authority", "A; b,c")], with(&["A", "b", "c"]));
        check(&[id, ("x-authority-0", "a"), ("x-authority-1", "b"), ("x-authority-3", "d")], with(&["a", "b"]));
        check(&[id, ("x-authority-1", "a"), ("x-authority-2", "b")], with(&["a", "b"]));
        check(&[id, ("x-authority-2", "b")], with(&[]));
        check(&[("x-authority", "a")], HeaderCredentials::default());
    }
}
