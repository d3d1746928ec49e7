//! ETags of answers that were made in memory: a hash of the body, as the peer does (semantics.md C2, E5).

use axum::{
    body::{Body, HttpBody, to_bytes},
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
};
use kettle_domain::Error;
use md5::{Digest, Md5};

use crate::ApiError;

/// Adds the ETag to a 200 answer, or makes it a 304 without a body if the client has it already.
pub(super) async fn apply(response: Response, if_none_match: Option<&HeaderValue>) -> Response {
    if !eligible(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return ApiError::from(Error::internal(error)).into_response(),
    };
    let etag = format!("\"0{}\"", hex::encode(Md5::digest(&bytes)));
    let known = if_none_match.is_some_and(|asked| matches(asked, &etag));
    if let Ok(value) = HeaderValue::try_from(etag) {
        parts.headers.insert(ETAG, value);
    }
    if known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        // The length stays: it is that of the answer which the client has.
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| bytes.len().into());
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// A whole body of text, and no download.
fn eligible(response: &Response) -> bool {
    let headers = response.headers();
    let text = headers.get(CONTENT_TYPE).is_some_and(|t| {
        let t = t.as_bytes();
        [&b"application/json"[..], b"application/hal+json", b"application/cbor", b"text/"]
            .iter()
            .any(|p| t.starts_with(p))
    });
    let download = headers.get(CONTENT_DISPOSITION).is_some_and(|d| d.as_bytes().starts_with(b"attachment"));
    text && !download && !headers.contains_key(ETAG) && response.body().size_hint().exact().is_some()
}

/// `If-None-Match`: a list, weak or not, or `*`.
fn matches(asked: &HeaderValue, etag: &str) -> bool {
    let asked = asked.to_str().unwrap_or_default();
    asked.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{media::json, testing::body_of};

    const ETAG_OF_BODY: &str = "\"099914b932bd37a50b983c5e7c90ae93b\"";

    fn answer() -> Response {
        json(StatusCode::OK, &serde_json::json!({}))
    }

    #[tokio::test]
    async fn a_known_answer_is_not_sent_again() {
        let weak = format!("W/{ETAG_OF_BODY}");
        let list = format!("\"other\", {ETAG_OF_BODY}");
        for (asked, status) in [
            (None, 200),
            (Some("\"other\""), 200),
            (Some(""), 200),
            (Some(ETAG_OF_BODY.trim_matches('"')), 200),
            (Some(ETAG_OF_BODY), 304),
            (Some(weak.as_str()), 304),
            (Some(list.as_str()), 304),
            (Some("*"), 304),
        ] {
            let asked_value = asked.map(|a| a.parse().unwrap());
            let response = apply(answer(), asked_value.as_ref()).await;
            assert_eq!(response.status(), status, "{asked:?}");
            assert_eq!(response.headers()[ETAG], ETAG_OF_BODY);
            assert_eq!(body_of(response).await, if status == 200 { "{}" } else { "" }, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn downloads_have_no_such_etag() {
        let mut sum = answer();
        sum.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        sum.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment;filename=f.MD5SUM"));
        let mut file = answer();
        file.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        for response in [sum, file] {
            let response = apply(response, Some(&HeaderValue::from_static("*"))).await;
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key(ETAG));
        }
    }
}
