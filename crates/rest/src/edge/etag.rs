//! ETags of answers that were made in memory: a hash of the body, as the peer does (semantics.md C2, E5).

use axum::{
    body::{Body, HttpBody, to_bytes},
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG},
};
use kettle_domain::Error;
use md5::{Digest, Md5};

use super::api::{artifacts, device};
use crate::ApiError;

/// Whether answers to GET have an ETag here: all but downloads.
pub(super) fn covers(path: &str) -> bool {
    // hawkBit: the list of a device's artifacts counts as a download too.
    let to_device = || device(path).is_some_and(|(_, _, below)| artifacts(below).is_some());
    !path.contains("/artifacts") || !(path.ends_with("/download") || to_device())
}

/// Adds the ETag to the answer to a GET that went well. A 200 becomes a 304 without a body if the client has it already.
pub(super) async fn apply(response: Response, if_none_match: &[HeaderValue]) -> Response {
    let whole = response.body().size_hint().exact().is_some();
    if !response.status().is_success() || response.headers().contains_key(ETAG) || !whole {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return ApiError::from(Error::internal(error)).into_response(),
    };
    let etag = format!("\"0{}\"", hex::encode(Md5::digest(&bytes)));
    let known = parts.status == StatusCode::OK && if_none_match.iter().any(|asked| names(asked, &etag));
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

/// `If-None-Match`: a list, weak or not. hawkBit: `*` matches nothing.
fn names(asked: &HeaderValue, etag: &str) -> bool {
    let asked = asked.to_str().unwrap_or_default();
    asked.split(',').map(str::trim).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
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
            (Some("*"), 200),
        ] {
            let headers: Vec<HeaderValue> = asked.iter().map(|a| a.parse().unwrap()).collect();
            let response = apply(answer(), &headers).await;
            assert_eq!(response.status(), status, "{asked:?}");
            assert_eq!(response.headers()[ETAG], ETAG_OF_BODY);
            assert_eq!(body_of(response).await, if status == 200 { "{}" } else { "" }, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn several_headers_are_one_list() {
        let headers = ["\"other\"", ETAG_OF_BODY].map(HeaderValue::from_static);
        assert_eq!(apply(answer(), &headers).await.status(), 304);
    }

    #[tokio::test]
    async fn only_what_went_well_has_an_etag() {
        let of_nothing = "\"0d41d8cd98f00b204e9800998ecf8427e\"";
        let headers = [HeaderValue::from_static(of_nothing), HeaderValue::from_static(ETAG_OF_BODY)];
        let nothing = apply(crate::no_content(), &headers).await;
        assert_eq!((nothing.status(), &nothing.headers()[ETAG]), (StatusCode::NO_CONTENT, &headers[0]));
        let error = apply(json(StatusCode::NOT_FOUND, &serde_json::json!({})), &headers).await;
        assert_eq!((error.status(), error.headers().get(ETAG)), (StatusCode::NOT_FOUND, None));
    }

    #[test]
    fn downloads_have_no_such_etag() {
        for (path, expected) in [
            ("/rest/v1/targets", true),
            ("/rest/v1/softwaremodules/1/artifacts", true),
            ("/rest/v1/softwaremodules/1/artifacts/2", true),
            ("/rest/v1/softwaremodules/1/artifacts/2/download", false),
            ("/DEFAULT/controller/v1/d1", true),
            ("/DEFAULT/controller/v1/d1/deploymentBase/1", true),
            ("/DEFAULT/controller/v1/d1/softwaremodules/1/artifacts", false),
            ("/DEFAULT/controller/v1/d1/softwaremodules/1/artifacts/a.bin", false),
            ("/DEFAULT/controller/v1/d1/softwaremodules/1/artifacts/a.bin.MD5SUM", false),
        ] {
            assert_eq!(covers(path), expected, "{path}");
        }
    }
}
