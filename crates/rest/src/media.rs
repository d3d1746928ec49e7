//! Which media type an answer has, and answers with a body.
//!
//! The answer is chosen before the handler runs, so that a request whose answer nobody takes (406) changes nothing.

use std::borrow::Cow;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
    request::Parts,
};
use kettle_domain::Error;
use serde::Serialize;

use crate::{ApiError, AppState};

/// A media type that answers may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    HalJson,
    Json,
    Cbor,
}

/// The media type of a Management API answer, by the `Accept` header; 406 if there is none that fits.
#[derive(Clone, Copy)]
pub struct Accept(pub Media);

/// The same for the device API, which also has CBOR.
#[derive(Clone, Copy)]
pub struct DeviceAccept(pub Media);

/// In the order the peer prefers them when a client takes several alike.
const MANAGEMENT: &[Media] = &[Media::HalJson, Media::Json];
const DEVICE: &[Media] = &[Media::HalJson, Media::Json, Media::Cbor];

impl Media {
    /// 200 with a body.
    pub fn ok<T: Serialize + ?Sized>(self, body: &T) -> Response {
        self.answer(StatusCode::OK, body)
    }

    /// 201 with a body.
    pub fn created<T: Serialize + ?Sized>(self, body: &T) -> Response {
        self.answer(StatusCode::CREATED, body)
    }

    pub fn answer<T: Serialize + ?Sized>(self, status: StatusCode, body: &T) -> Response {
        let bytes = match self {
            Media::HalJson | Media::Json => serde_json::to_vec(body).map_err(Error::internal),
            Media::Cbor => {
                let mut bytes = Vec::new();
                ciborium::into_writer(body, &mut bytes).map(|()| bytes).map_err(|e| Error::internal(e.to_string()))
            }
        };
        match bytes {
            Ok(bytes) => (status, [(CONTENT_TYPE, self.content_type())], bytes).into_response(),
            Err(error) => ApiError::from(error).into_response(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Media::HalJson => "application/hal+json",
            Media::Json => "application/json",
            Media::Cbor => "application/cbor",
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// How exactly `range` names this type: 0 not at all, 1 `*/*`, 2 `application/*`, 3 `application/*+json`, 4 itself.
    fn matched_by(self, range: &str) -> u8 {
        if range == self.name() {
            return 4;
        }
        match range {
            "*/*" => 1,
            "application/*" => 2,
            "application/*+json" if self == Media::HalJson => 3,
            _ => 0,
        }
    }
}

/// An answer in `application/json`, whatever the client takes. Handlers use [`Accept`] instead.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    Media::Json.answer(status, body)
}

/// 204.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// The offered type of the highest quality; among equals the one named more exactly, then named first, then offered
/// first.
fn choose(headers: &HeaderMap, offered: &[Media]) -> Option<Media> {
    let values = headers.get_all(ACCEPT);
    let mut iter = values.iter();
    let Some(first) = iter.next() else { return offered.first().copied() };
    if iter.next().is_none() {
        // What nearly every client sends needs no parsing.
        match first.as_bytes() {
            b"" | b"*/*" => return offered.first().copied(),
            b"application/json" => return Some(Media::Json),
            b"application/hal+json" => return Some(Media::HalJson),
            _ => {}
        }
    }
    let mut best: Option<((u16, u8), Media)> = None;
    for range in values.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')) {
        let (name, quality) = quality(range);
        for media in offered {
            let rank = (quality, media.matched_by(&name));
            if rank.0 > 0 && rank.1 > 0 && best.is_none_or(|(best, _)| rank > best) {
                best = Some((rank, *media));
            }
        }
    }
    best.map(|(_, media)| media)
}

/// Name in lower case, and quality in thousandths. A quality that can't be read is 1, as if it were not there.
fn quality(range: &str) -> (Cow<'_, str>, u16) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let name: Cow<str> =
        if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() };
    let given = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    let thousandths = given.and_then(|q| q.trim().parse::<f32>().ok()).filter(|q| (0.0..=1.0).contains(q));
    (name, thousandths.map_or(1000, |q| (q * 1000.0).round() as u16))
}

fn accepted(parts: &Parts, offered: &[Media]) -> Result<Media, ApiError> {
    choose(&parts.headers, offered).ok_or_else(|| ApiError::empty(StatusCode::NOT_ACCEPTABLE))
}

impl FromRequestParts<AppState> for Accept {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Accept, ApiError> {
        accepted(parts, MANAGEMENT).map(Accept)
    }
}

impl FromRequestParts<AppState> for DeviceAccept {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<DeviceAccept, ApiError> {
        accepted(parts, DEVICE).map(DeviceAccept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::body_of;

    #[test]
    fn the_answer_is_what_the_client_prefers() {
        use Media::{Cbor, HalJson, Json};
        for (accept, management, device) in [
            (None, Some(HalJson), Some(HalJson)),
            (Some(""), Some(HalJson), Some(HalJson)),
            (Some("*/*"), Some(HalJson), Some(HalJson)),
            (Some("application/*"), Some(HalJson), Some(HalJson)),
            (Some("application/*+json"), Some(HalJson), Some(HalJson)),
            (Some("application/json"), Some(Json), Some(Json)),
            (Some("Application/JSON"), Some(Json), Some(Json)),
            (Some("application/hal+json"), Some(HalJson), Some(HalJson)),
            (Some("application/json, application/hal+json;q=0.9, */*;q=0.1"), Some(Json), Some(Json)),
            (Some("application/json;q=0.5, application/hal+json"), Some(HalJson), Some(HalJson)),
            (Some("application/json, application/hal+json"), Some(Json), Some(Json)),
            (Some("*/*, application/json"), Some(Json), Some(Json)),
            (Some("text/html, */*;q=0.8"), Some(HalJson), Some(HalJson)),
            (Some("application/cbor"), None, Some(Cbor)),
            (Some("application/cbor, application/json;q=0.9"), Some(Json), Some(Cbor)),
            (Some("application/json;charset=utf-8"), Some(Json), Some(Json)),
            (Some("application/json;q=0"), None, None),
            (Some("text/html"), None, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(choose(&headers, MANAGEMENT), management, "{accept:?}");
            assert_eq!(choose(&headers, DEVICE), device, "{accept:?}");
        }
    }

    #[test]
    fn several_accept_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("text/html"));
        headers.append(ACCEPT, HeaderValue::from_static("application/json"));
        assert_eq!(choose(&headers, MANAGEMENT), Some(Media::Json));
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("application/json;q=0.1"));
        headers.append(ACCEPT, HeaderValue::from_static("application/hal+json"));
        assert_eq!(choose(&headers, MANAGEMENT), Some(Media::HalJson));
    }

    #[tokio::test]
    async fn every_media_type_carries_the_same_content() {
        let value = serde_json::json!({"id": "5", "n": 1});
        for media in [Media::HalJson, Media::Json] {
            let response = media.ok(&value);
            assert_eq!(response.headers()[CONTENT_TYPE], media.name());
            assert_eq!(body_of(response).await, r#"{"id":"5","n":1}"#);
        }
        let response = Media::Cbor.created(&value);
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::CREATED, &"application/cbor".parse().unwrap())
        );
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(ciborium::from_reader::<serde_json::Value, _>(&bytes[..]).unwrap(), value);
    }
}
