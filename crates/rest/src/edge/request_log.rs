//! One line per request, for those that the configuration wants.

use std::{borrow::Cow, net::IpAddr, time::Instant};

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::AUTHORIZATION};
use tracing::Level;

use super::api::Api;
use crate::{HttpSettings, auth, peer};

/// Which requests get a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLog {
    Off,
    /// Those that fail.
    Errors,
    /// All but the devices'.
    #[default]
    Management,
    All,
}

/// What the line will say, taken before the request is used up.
pub(super) struct Line {
    method: Method,
    uri: Uri,
    authorization: Option<HeaderValue>,
    client: Option<IpAddr>,
    started: Instant,
    errors_only: bool,
}

impl Line {
    /// `None` if there will be no line, whatever the answer.
    pub(super) fn begin(log: RequestLog, request: &Request, http: &HttpSettings) -> Option<Line> {
        if !log.may_want(request.uri().path()) || !tracing::enabled!(Level::INFO) {
            return None;
        }
        let peer = peer::peer(request.extensions());
        Some(Line {
            method: request.method().clone(),
            uri: request.uri().clone(),
            authorization: request.headers().get(AUTHORIZATION).cloned(),
            client: if http.track_remote_ip { peer::client(peer, request.headers(), http) } else { None },
            started: Instant::now(),
            errors_only: log == RequestLog::Errors,
        })
    }

    pub(super) fn end(self, status: StatusCode) {
        if self.errors_only && !status.is_client_error() && !status.is_server_error() {
            return;
        }
        // The name that was claimed; the status says whether it was proven.
        let headers: HeaderMap = self.authorization.into_iter().map(|value| (AUTHORIZATION, value)).collect();
        let user = auth::basic(&headers).map(|(name, _)| name);
        tracing::info!(
            http.status = status.as_u16(),
            http.duration_ms = (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3,
            user.name = user,
            client.address = self.client.map(tracing::field::display),
            "{} {}",
            self.method,
            shown(self.uri.path()),
        );
    }
}

impl RequestLog {
    fn may_want(self, path: &str) -> bool {
        match self {
            RequestLog::Off => false,
            RequestLog::Errors | RequestLog::All => true,
            RequestLog::Management => !is_device(path),
        }
    }
}

/// `/{tenant}/controller/…`, or a file that one is sent for.
fn is_device(path: &str) -> bool {
    path.split('/').nth(2) == Some("controller") || Api::of(path) == Api::DownloadId
}

/// A download id is a secret while it can be used.
fn shown(path: &str) -> Cow<'_, str> {
    match path.rsplit_once('/') {
        Some((above, _)) if Api::of(path) == Api::DownloadId => format!("{above}/…").into(),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn download_ids_are_not_shown() {
        assert_eq!(shown("/api/v1/downloadserver/downloadId/T/0a1b"), "/api/v1/downloadserver/downloadId/T/…");
        assert_eq!(shown("/rest/v1/targets/d1"), "/rest/v1/targets/d1");
    }

    #[test]
    fn polls_get_no_line_unless_asked_for() {
        let poll = "/DEFAULT/controller/v1/d1";
        let list = "/rest/v1/targets";
        let wants = |log: RequestLog| (log.may_want(poll), log.may_want(list));
        assert_eq!(wants(RequestLog::Off), (false, false));
        assert_eq!(wants(RequestLog::Management), (false, true));
        assert_eq!(wants(RequestLog::Errors), (true, true));
        assert_eq!(wants(RequestLog::All), (true, true));
    }
}
