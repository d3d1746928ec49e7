//! Bodies that clients send, in JSON or CBOR. What is too long is never held in memory.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use kettle_domain::{Error, Kind};
use serde::de::DeserializeOwned;

use crate::{ApiError, AppState, lenient, strict};

/// A JSON body of the Management API.
pub struct Body<T>(pub T);

/// A JSON body that may be left out.
pub struct BodyOptional<T>(pub Option<T>);

/// A JSON body of a DELETE that asks for no media type: of another one, and without any, it counts as left out.
pub struct BodyOfDelete<T>(pub Option<T>);

/// A JSON or CBOR body of the device API.
pub struct DeviceBody<T>(pub T);

/// A JSON or CBOR body that may be left out.
pub struct DeviceBodyOptional<T>(pub Option<T>);

const MANAGEMENT: &str = "application/json, application/hal+json";
const DEVICE: &str = "application/json, application/cbor";

/// How much of a refused body is still read and thrown away, so that its sender reads the refusal.
const DISCARDED: usize = 64 << 20;
const DISCARDING: Duration = Duration::from_secs(10);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Body<T>, ApiError> {
        read(request, MANAGEMENT, state.http.max_body).await.map(Body)
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for DeviceBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<DeviceBody<T>, ApiError> {
        read(request, DEVICE, state.http.max_body).await.map(DeviceBody)
    }
}

impl<T: DeserializeOwned> DeviceBody<T> {
    /// Reads a body that has arrived.
    pub fn parse(bytes: &[u8], cbor: bool) -> Result<T, ApiError> {
        parse(bytes, cbor)
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for BodyOptional<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<BodyOptional<T>, ApiError> {
        if is_empty(request.headers()) {
            return Ok(BodyOptional(None));
        }
        read(request, MANAGEMENT, state.http.max_body).await.map(|body| BodyOptional(Some(body)))
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for BodyOfDelete<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<BodyOfDelete<T>, ApiError> {
        // hawkBit: such a body is not refused with 415, as it is under other methods.
        if is_cbor(request.headers(), MANAGEMENT).is_none() {
            discard(request.into_body());
            return Ok(BodyOfDelete(None));
        }
        BodyOptional::from_request(request, state).await.map(|BodyOptional(body)| BodyOfDelete(body))
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for DeviceBodyOptional<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<DeviceBodyOptional<T>, ApiError> {
        if is_empty(request.headers()) {
            return Ok(DeviceBodyOptional(None));
        }
        read(request, DEVICE, state.http.max_body).await.map(|body| DeviceBodyOptional(Some(body)))
    }
}

async fn read<T: DeserializeOwned>(request: Request, taken: &'static str, limit: usize) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    let Some(cbor) = is_cbor(&parts.headers, taken) else {
        discard(body);
        return Err(ApiError::unsupported_media_type(taken));
    };
    let bytes = collect(&parts.headers, body, limit).await?;
    parse(&bytes, cbor)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], cbor: bool) -> Result<T, ApiError> {
    let parsed = if cbor {
        ciborium::from_reader(bytes).or_else(|e| lenient::from_cbor(bytes).ok_or_else(|| e.to_string()))
    } else {
        json_from_slice(bytes)
    };
    parsed.map_err(|e| ApiError::not_readable(format!("The request body can't be read: {e}")))
}

/// JSON as the peer reads it.
pub fn json_from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // Nearly every body needs no conversion, and pays for none.
    strict::from_slice(bytes).or_else(|e| lenient::from_slice(bytes).map_err(|_| e.to_string()))
}

/// Whether the body is CBOR rather than JSON; `None` if it is neither, says nothing, or is not `taken` here.
fn is_cbor(headers: &HeaderMap, taken: &str) -> Option<bool> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let name = value.split(';').next().unwrap_or(value).trim();
    let known = taken.split(", ").find(|t| t.eq_ignore_ascii_case(name))?;
    Some(known == "application/cbor")
}

fn is_empty(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    length.is_none_or(|l| l.as_bytes() == b"0") && !headers.contains_key(TRANSFER_ENCODING)
}

fn too_large(limit: usize) -> ApiError {
    Error::new(Kind::BodyTooLarge, format!("The request body is too large: {limit} bytes are taken at most.")).into()
}

/// The whole body, if it has no more than `limit` bytes.
async fn collect(headers: &HeaderMap, body: axum::body::Body, limit: usize) -> Result<Bytes, ApiError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()).and_then(|l| l.parse::<u64>().ok());
    let mut stream = body.into_data_stream();
    if declared.is_some_and(|d| d > limit as u64) {
        discard(axum::body::Body::from_stream(stream));
        return Err(too_large(limit));
    }
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::plain(StatusCode::BAD_REQUEST))?;
        if whole.len() + joined.len() + chunk.len() > limit {
            discard(axum::body::Body::from_stream(stream));
            return Err(too_large(limit));
        }
        if whole.is_empty() && joined.is_empty() {
            whole = chunk;
            continue;
        }
        if !whole.is_empty() {
            joined.reserve(declared.and_then(|d| usize::try_from(d).ok()).unwrap_or(whole.len() + chunk.len()));
            joined.extend_from_slice(&std::mem::take(&mut whole));
        }
        joined.extend_from_slice(&chunk);
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

/// Reads the rest of a refused body in the background, some megabytes and seconds at most. A connection closed while its
/// client still sends is reset, and the client never sees why it was refused.
pub fn discard(body: axum::body::Body) {
    tokio::spawn(tokio::time::timeout(DISCARDING, async move {
        let mut left = DISCARDED;
        let mut stream = body.into_data_stream();
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn request(content_type: Option<&str>, body: impl Into<axum::body::Body>) -> Request {
        let mut request = Request::new(body.into());
        if let Some(content_type) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        request
    }

    async fn status(request: Request, taken: &'static str) -> u16 {
        match read::<Value>(request, taken, 20).await {
            Ok(_) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[tokio::test]
    async fn only_the_apis_media_types_are_read() {
        for (content_type, management, device) in [
            (Some("application/json"), 200, 200),
            (Some("application/json;charset=UTF-8"), 200, 200),
            (Some("Application/Json ; charset=utf-8"), 200, 200),
            (Some("application/hal+json"), 200, 415),
            (Some("application/cbor"), 415, 400),
            (Some("text/plain"), 415, 415),
            (Some("application/jsonx"), 415, 415),
            (None, 415, 415),
        ] {
            assert_eq!(status(request(content_type, "{}"), MANAGEMENT).await, management, "{content_type:?}");
            let device_body = if content_type == Some("application/cbor") { "\u{1f}" } else { "{}" };
            assert_eq!(status(request(content_type, device_body), DEVICE).await, device, "{content_type:?}");
        }
    }

    #[tokio::test]
    async fn cbor_is_read_as_json_is() {
        let mut bytes = Vec::new();
        ciborium::into_writer(&json!({"id": 5}), &mut bytes).unwrap();
        let value: Value = read(request(Some("application/cbor"), bytes), DEVICE, 100).await.unwrap();
        assert_eq!(value, json!({"id": 5}));
        let text: Vec<String> =
            read(request(Some("application/cbor"), &b"\x82\x05\xf5"[..]), DEVICE, 100).await.unwrap();
        assert_eq!(text, ["5", "true"], "as JSON, so with texts that are no texts");
    }

    #[tokio::test]
    async fn hostile_cbor_is_refused() {
        let deep = [0x81; 5000];
        for body in [&b""[..], b"\xff", b"\xbf", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\xa1\x01\x02", &deep] {
            let read = read::<Value>(request(Some("application/cbor"), body.to_vec()), DEVICE, 10_000).await;
            assert_eq!(read.unwrap_err().into_response().status(), 400, "{:x?}", body.get(..10));
        }
    }

    #[tokio::test]
    async fn what_is_malformed_or_too_long_is_refused() {
        let json = Some("application/json");
        for (body, expected) in [("", 400), ("{", 400), ("[1,]", 400), ("[1,2]", 200), ("[1,2,3,4,5,6,7,8,9]", 200)] {
            assert_eq!(status(request(json, body), MANAGEMENT).await, expected, "{body}");
        }
        assert_eq!(status(request(json, "[1,2,3,4,5,6,7,8,9,0]"), MANAGEMENT).await, 413);
        let mut declared = request(json, "[]");
        declared.headers_mut().insert(CONTENT_LENGTH, "21".parse().unwrap());
        assert_eq!(status(declared, MANAGEMENT).await, 413);
        let chunks = |n| (0..n).map(|_| Ok::<_, std::io::Error>("         "));
        let spread = |n| axum::body::Body::from_stream(futures_util::stream::iter(chunks(n).chain([Ok("1")])));
        assert_eq!(status(request(json, spread(2)), MANAGEMENT).await, 200);
        assert_eq!(status(request(json, spread(3)), MANAGEMENT).await, 413);
    }

    #[test]
    fn a_body_may_be_left_out() {
        let mut headers = HeaderMap::new();
        assert!(is_empty(&headers));
        headers.insert(CONTENT_LENGTH, "0".parse().unwrap());
        assert!(is_empty(&headers));
        headers.insert(CONTENT_LENGTH, "2".parse().unwrap());
        assert!(!is_empty(&headers));
    }
    /// What a body may be read as, with a member of every kind.
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Anything {
        text: Option<String>,
        number: Option<i64>,
        small: Option<i32>,
        flag: Option<bool>,
        list: Option<Vec<Option<String>>>,
        nested: Option<Box<Anything>>,
        other: Option<serde_json::Map<String, Value>>,
    }

    fn near_json() -> impl Strategy<Value = Vec<u8>> {
        let pieces = vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"text\"",
            "\"number\"",
            "\"small\"",
            "\"flag\"",
            "\"list\"",
            "\"nested\"",
            "\"other\"",
            "null",
            "true",
            "1",
            "-0.5",
            "1e400",
            "99999999999999999999",
            "\"\\u00",
            "\"\\ud800\"",
            "\"7\"",
            " ",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..20).prop_map(|pieces| pieces.concat().into_bytes())
    }

    /// A value in CBOR with some bytes changed.
    fn near_cbor() -> impl Strategy<Value = Vec<u8>> {
        let value = json!({"text": "x", "number": 5, "flag": true, "list": ["a", null], "nested": {"small": 1}, "other": {"a": 1.5}});
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).unwrap();
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        changes.prop_map(move |changes| {
            let mut changed = bytes.clone();
            for (place, byte) in changes {
                *place.get_mut(&mut changed) = byte;
            }
            changed
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_a_bad_request(
            bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), near_json(), near_cbor()],
            cbor in any::<bool>(),
        ) {
            let refused = [parse::<Value>(&bytes, cbor).err(), parse::<Anything>(&bytes, cbor).err()];
            for refused in refused.into_iter().flatten() {
                prop_assert_eq!(refused.into_response().status(), StatusCode::BAD_REQUEST);
            }
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_a_bad_request() {
        // 0x81 opens a list of one in CBOR.
        let deep = [(b"[".as_slice(), false), (b"{\"nested\":", false), (&[0x81], true)];
        for (open, cbor) in deep {
            let bytes = open.repeat(100_000);
            assert!(parse::<Value>(&bytes, cbor).is_err());
            assert!(parse::<Anything>(&bytes, cbor).is_err());
        }
    }
}
