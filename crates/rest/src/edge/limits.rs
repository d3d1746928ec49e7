//! Requests above a client's limit are refused with 429, those of denied addresses with 403, both without a body
//! (semantics.md F5). What an allowed address asks costs one look at what is remembered of it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header::RETRY_AFTER};
use kettle_domain::{
    Ctx,
    limits::{Client, Kind, Limits, Part},
    tenants::TenantSettings,
};

use super::{
    addresses::{AddressRules, Addresses, Verdict},
    api::{self, Api},
    authenticated,
};
use crate::{AppState, peer};

/// hawkBit's name of the log that a watching program follows.
const SECURITY_LOG: &str = "server-security";

/// Whose requests are counted, and how many may go on.
pub struct RequestLimits {
    addresses: Addresses,
    /// `None`: nothing is counted.
    limits: Option<Limits>,
    started: Instant,
    /// The second, after `started`, in which a refusal was last told: a flood must not flood the log.
    told: AtomicU64,
}

impl RequestLimits {
    /// Fails on a rule that can't be read.
    pub fn new(rules: &AddressRules, limits: Option<Limits>) -> Result<RequestLimits, String> {
        let told = AtomicU64::new(u64::MAX);
        Ok(RequestLimits { addresses: Addresses::new(rules)?, limits, started: Instant::now(), told })
    }

    fn is_to_be_told(&self) -> bool {
        let second = self.started.elapsed().as_secs();
        self.told.swap(second, Ordering::Relaxed) != second
    }
}

/// The device that was found to ask, so that nobody has to look again.
#[derive(Clone)]
pub struct KnownDevice {
    pub ctx: Ctx,
    pub settings: Arc<TenantSettings>,
}

/// The answer to a request that may not go on.
pub(super) async fn refuse(request: &mut Request, state: &AppState) -> Option<Response> {
    let part = part(request.uri().path())?;
    let client = peer::client(peer::peer(request.extensions()), request.headers(), &state.http);
    let Some(ip) = client else { return Some(StatusCode::INTERNAL_SERVER_ERROR.into_response()) };
    let rules = &state.limits;
    match rules.addresses.verdict(ip) {
        Verdict::Allowed => return None,
        Verdict::Denied => {
            if rules.is_to_be_told() {
                let message = "requests of a denied address are refused";
                tracing::info!(target: SECURITY_LOG, { client.address = %ip }, "{message}");
            }
            return Some(StatusCode::FORBIDDEN.into_response());
        }
        Verdict::Counted => {}
    }
    let limits = rules.limits.as_ref()?;
    count(request, state, limits, part, ip).await
}

/// Of a device that proves who it is, the requests are its own; all others are of the address.
async fn count(request: &mut Request, state: &AppState, limits: &Limits, part: Part, ip: IpAddr) -> Option<Response> {
    let kind = if request.method() == Method::GET { Kind::Read } else { Kind::Write };
    let by_token = matches!(Api::of(request.uri().path()), Api::Device | Api::Download);
    // What can't be found out now is told by the route.
    let device = if by_token {
        let (uri, headers) = (request.uri(), request.headers());
        authenticated(uri, headers, request.extensions(), state).await.ok().flatten()
    } else {
        None
    };
    let admitted = match &device {
        Some((known, controller_id)) => {
            limits.admit(Client::Device(&known.ctx.tenant, controller_id), part, kind).await
        }
        None => limits.admit(Client::Address(ip), part, kind).await,
    };
    if admitted {
        if let Some((known, _)) = device {
            request.extensions_mut().insert(known);
        }
        return None;
    }
    if state.limits.is_to_be_told() {
        let device = device.as_ref().map(|(_, controller_id)| controller_id.as_str());
        tracing::info!(
            target: SECURITY_LOG,
            { client.address = %ip, target.controller_id = device },
            "requests above the limit are refused"
        );
    }
    let mut refused = StatusCode::TOO_MANY_REQUESTS.into_response();
    refused.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Some(refused)
}

fn part(path: &str) -> Option<Part> {
    match Api::of(path) {
        Api::Management => Some(Part::Management),
        Api::Device => Some(Part::Device),
        Api::Download | Api::DownloadId => Some(Part::Download),
        Api::Other => api::is_system(path).then_some(Part::System),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_part_of_the_apis_is_not_counted() {
        for (path, expected) in [
            ("/rest/v1/targets", Some(Part::Management)),
            ("/session", Some(Part::Management)),
            ("/session/all", Some(Part::Management)),
            ("/session/controller/v1/d1", Some(Part::Device)),
            ("/T/controller/v1/d1", Some(Part::Device)),
            ("/T/controller/v1/d1/softwaremodules/3/artifacts/a.bin", Some(Part::Download)),
            ("/api/v1/downloadserver/downloadId/T/x", Some(Part::Download)),
            ("/system/admin/caches", Some(Part::System)),
            ("/systems", None),
            ("/", None),
            ("/health/ready", None),
            ("/metrics", None),
            ("/swagger-ui/index.html", None),
        ] {
            assert_eq!(part(path), expected, "{path}");
        }
    }
}
