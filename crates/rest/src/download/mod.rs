//! Downloads: a file, whole or in ranges, with the conditions and headers that devices resume by (semantics.md C3).

mod content;
mod range;

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, LAST_MODIFIED,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use kettle_domain::artifacts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use content::Plan;
use range::Requested;

/// What an answer says of a file.
#[derive(Clone, Debug)]
pub struct FileMeta {
    /// Bytes.
    pub len: u64,
    /// Lower-case hex; it is the ETag.
    pub sha1: String,
    pub last_modified_ms: i64,
    pub filename: String,
}

impl From<artifacts::Model> for FileMeta {
    fn from(artifact: artifacts::Model) -> FileMeta {
        FileMeta {
            len: artifact.file_size.map_or(0, i64::unsigned_abs),
            last_modified_ms: artifact.created_at.unwrap_or(0),
            filename: artifact.provided_file_name.unwrap_or_default(),
            sha1: artifact.sha1_hash,
        }
    }
}

/// Answers a GET or HEAD of `file`, which is read from disk as the client takes it.
pub async fn file_response(method: &Method, headers: &HeaderMap, file: tokio::fs::File, meta: &FileMeta) -> Response {
    file_response_then(method, headers, file, meta, || {}).await
}

/// The same; `at_end` is called when the connection has taken the file's last byte. An answer that breaks off before, or
/// whose ranges don't reach the end, doesn't call it.
pub async fn file_response_then(
    method: &Method,
    headers: &HeaderMap,
    file: tokio::fs::File,
    meta: &FileMeta,
    at_end: impl FnOnce() + Send + 'static,
) -> Response {
    if !matches(headers, &meta.sha1) {
        return with_status(StatusCode::PRECONDITION_FAILED);
    }
    let requested = if method == Method::GET { range::requested(headers, meta) } else { Requested::Whole };
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), meta);
    let mut reaches_end = true;
    let plan = match requested {
        Requested::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(response.headers_mut(), CONTENT_RANGE, format!("bytes */{}", meta.len));
            return response;
        }
        Requested::Whole => Plan::whole(meta.len),
        Requested::One(range) => {
            reaches_end = range.last + 1 == meta.len;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(response.headers_mut(), CONTENT_RANGE, range.content_range(meta.len));
            Plan::one(range)
        }
        Requested::Several(ranges) => {
            reaches_end = ranges.iter().any(|range| range.last + 1 == meta.len);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content::MULTIPART));
            Plan::several(ranges, meta.len)
        }
    };
    response.headers_mut().insert(CONTENT_LENGTH, plan.len().into());
    if method != Method::HEAD {
        let at_end = reaches_end.then_some(at_end);
        *response.body_mut() = Body::from_stream(content::stream(file.into_std().await, plan, at_end));
    }
    response
}

/// Whether `If-Match` is absent, is `*`, or names the file's SHA-1, in quotes or not. The peer asks this before it asks
/// whether the device may have the file.
pub fn matches(headers: &HeaderMap, sha1: &str) -> bool {
    let mut asked = headers.get_all(IF_MATCH).iter().peekable();
    asked.peek().is_none()
        || asked
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_matches('"'))
            .any(|tag| tag == "*" || tag == sha1)
}

/// `Content-Disposition` of a file that is to be saved under `filename`.
pub fn attachment(filename: &str) -> HeaderValue {
    // RFC 5987, attr-char.
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'!')
        .remove(b'#')
        .remove(b'$')
        .remove(b'&')
        .remove(b'+')
        .remove(b'-')
        .remove(b'.')
        .remove(b'^')
        .remove(b'_')
        .remove(b'`')
        .remove(b'|')
        .remove(b'~');
    // RFC 2183 has longer values cut off.
    let cut: String = filename.chars().take(78).collect();
    let special = cut.contains(['(', ')', '<', '>', '@', ',', ';', ':', '\\', '"', '/', '[', ']', '?', '=']);
    let quoted = || format!("\"{}\"", cut.replace('\\', "\\\\").replace('"', "\\\""));
    latin1(&format!("attachment;filename={}", if special { quoted() } else { cut.clone() })).unwrap_or_else(|| {
        // The peer sends no header then.
        let ascii: String = quoted().chars().map(|c| if (' '..='~').contains(&c) { c } else { '_' }).collect();
        let text = format!("attachment;filename={ascii};filename*=UTF-8''{}", utf8_percent_encode(filename, ENCODED));
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("attachment"))
    })
}

/// The same for a name that is written as it is, whatever it holds.
pub fn attachment_as_is(filename: &str) -> HeaderValue {
    latin1(&format!("attachment;filename={filename}")).unwrap_or_else(|| attachment(filename))
}

/// A header's value in the characters that headers have; control characters become blanks.
fn latin1(text: &str) -> Option<HeaderValue> {
    let byte = |c: char| u8::try_from(c).ok().map(|b| if b < b' ' || b == 0x7f { b' ' } else { b });
    HeaderValue::from_bytes(&text.chars().map(byte).collect::<Option<Vec<u8>>>()?).ok()
}

fn describe(headers: &mut HeaderMap, meta: &FileMeta) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_DISPOSITION, attachment(&meta.filename));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set(headers, ETAG, format!("\"{}\"", meta.sha1));
    let date = Timestamp::from_millisecond(meta.last_modified_ms).ok();
    if let Some(date) = date.and_then(|d| DateTimePrinter::new().timestamp_to_rfc9110_string(&d).ok()) {
        set(headers, LAST_MODIFIED, date);
    }
}

fn set(headers: &mut HeaderMap, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn with_status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
