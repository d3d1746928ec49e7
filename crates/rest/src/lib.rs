//! HTTP as both APIs speak it: who calls, what was sent, which address links start with, how answers and errors look,
//! downloads and uploads.
//!
//! Handlers of `mgmt` and `ddi` are written with the extractors and answers here; `finish` puts around their router what
//! holds for every request. Knows no resource of either API and decides nothing that the domain decides.
//!
//! Extractors run in the order of a handler's arguments, and the first that fails answers. Keep the peer's order: who
//! calls (`User`), then what answer the caller takes (`Accept`), then path and query, and the body last.

mod auth;
mod base;
mod body;
mod device;
mod download;
mod edge;
mod error;
mod hal;
mod lenient;
mod media;
mod openapi;
mod path;
mod peer;
mod query;
mod session;
mod strict;
#[cfg(test)]
mod testing;
mod upload;

use std::sync::Arc;

use ipnet::IpNet;
use kettle_domain::{
    Services,
    access::{Logins, Sessions},
    targets::ProxyHeaders,
};

pub use auth::{ClientAddress, LoggedIn, User};
pub use base::{Base, OverTls};
pub use body::{Body, BodyOfDelete, BodyOptional, DeviceBody, DeviceBodyOptional, discard, json_from_slice};
pub use device::device_credentials;
pub use download::{FileMeta, attachment_as_is, file_response, file_response_then, matches};
pub use edge::{AddressRules, Cors, KnownDevice, RequestLimits, RequestLog, finish};
pub use error::{ApiError, Result};
pub use hal::{Link, Links, ListedLink, Paged};
pub use media::{Accept, DeviceAccept, Media, json, no_content};
pub use openapi::{About, Tag, document, merge, one_of};
pub use path::{Path, query_value, segment};
pub use peer::RemoteAddress;
pub use query::{ListQuery, Paging, Params, Representation};
pub use session::{InSession, NotFromElsewhere, OverSecureConnection, cookie};
pub use upload::{Upload, multipart_file};

/// What every handler may use. A clone costs a few reference counts.
#[derive(Clone)]
pub struct AppState {
    pub services: Arc<Services>,
    pub logins: Arc<Logins>,
    pub sessions: Arc<Sessions>,
    pub limits: Arc<RequestLimits>,
    pub http: Arc<HttpSettings>,
}

/// What the configuration says of HTTP.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Without a slash at its end. Links start with it, whatever a request says.
    pub public_url: Option<String>,
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub basic_realm: String,
    /// Bytes of a JSON or CBOR body at most; artifacts have their quota in the domain.
    pub max_body: usize,
    pub remote_ip_header: String,
    /// Off: the request log names no addresses. Addresses of targets are the domain's.
    pub track_remote_ip: bool,
    pub proxy_headers: ProxyHeaders,
    /// Not empty: devices of other addresses have no credentials (semantics.md C1).
    pub ddi_trusted_ips: Vec<IpNet>,
    /// Requests of both APIs that don't come over TLS are sent there.
    pub require_ssl: bool,
    /// Names that requests may ask for, without a port. Empty: any.
    pub allowed_hosts: Vec<String>,
    /// Paths that `edge::firewall` lets pass, as they are asked for.
    pub firewall_ignored_paths: Vec<String>,
    /// `None`: off.
    pub cors: Option<Cors>,
}
