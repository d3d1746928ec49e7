//! Artifact uploads: the field `file` of a `multipart/form-data` body, streamed.

use std::{io, pin::Pin};

use axum::extract::Request;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{StatusCode, header::CONTENT_TYPE};
use multer::{Field, Multipart};

use crate::ApiError;

/// A file that is being uploaded.
pub struct Upload {
    /// As the client names it; `None` if it doesn't.
    pub filename: Option<String>,
    /// Ends with an error if the client stops before the end of the body.
    pub content: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
}

const FIELD: &str = "file";

/// Reads up to the content of the field `file`. 415 if the body is no form, 400 if the form has no such field.
pub async fn multipart_file(request: Request) -> Result<Upload, ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let boundary =
        multer::parse_boundary(content_type).map_err(|_| ApiError::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE))?;
    let mut form = Multipart::new(request.into_body().into_data_stream(), boundary);
    loop {
        let field = form.next_field().await.map_err(|_| ApiError::plain(StatusCode::BAD_REQUEST))?;
        let Some(field) = field else { return Err(ApiError::plain(StatusCode::BAD_REQUEST)) };
        if field.name() == Some(FIELD) {
            let filename = field.file_name().map(str::to_owned);
            return Ok(Upload { filename, content: Box::pin(content(form, field)) });
        }
    }
}

/// The field's content; then the rest of the body, unread fields too, so that the connection can go on.
fn content(form: Multipart<'static>, field: Field<'static>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((form, Some(field)), |(mut form, field)| async move {
        let Some(mut field) = field else { return Ok(None) };
        if let Some(chunk) = field.chunk().await.map_err(io::Error::other)? {
            return Ok(Some((chunk, (form, Some(field)))));
        }
        drop(field);
        while form.next_field().await.map_err(io::Error::other)?.is_some() {}
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use futures_util::TryStreamExt;

    use super::*;

    fn request(content_type: &str, body: &str) -> Request {
        // One byte per chunk: a boundary may be cut anywhere.
        let bytes: Vec<_> = body.bytes().map(|b| Ok::<_, io::Error>(Bytes::from(vec![b]))).collect();
        let mut request = Request::new(axum::body::Body::from_stream(stream::iter(bytes)));
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        request
    }

    async fn read(body: &str) -> Result<(Option<String>, io::Result<String>), u16> {
        let upload = multipart_file(request("multipart/form-data; boundary=B", body)).await;
        let upload = upload.map_err(|e| e.into_response().status().as_u16())?;
        let chunks: io::Result<Vec<Bytes>> = upload.content.try_collect().await;
        Ok((upload.filename, chunks.map(|c| String::from_utf8(c.concat()).unwrap())))
    }

    fn part(disposition: &str, content: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    }

    #[tokio::test]
    async fn the_file_is_found_among_other_fields() {
        let other = part("name=\"note\"", "--B is not a boundary here");
        let file = part("name=\"file\"; filename=\"fw v1.bin\"", "line\r\n--A\r\nend");
        let (filename, content) = read(&format!("{other}{file}{other}--B--\r\n")).await.unwrap();
        assert_eq!(filename.as_deref(), Some("fw v1.bin"));
        assert_eq!(content.unwrap(), "line\r\n--A\r\nend");
    }

    #[tokio::test]
    async fn a_name_may_be_missing_and_a_file_empty() {
        let (filename, content) = read(&(part("name=\"file\"", "") + "--B--\r\n")).await.unwrap();
        assert_eq!((filename, content.unwrap().as_str()), (None, ""));
    }

    #[tokio::test]
    async fn a_form_without_the_file_is_refused() {
        assert_eq!(read(&(part("name=\"other\"", "x") + "--B--\r\n")).await.unwrap_err(), 400);
        assert_eq!(read("").await.unwrap_err(), 400);
        let error = multipart_file(request("application/json", "{}")).await.err().unwrap();
        assert_eq!(error.into_response().status(), 415);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let (_, content) = read(&part("name=\"file\"", "half")).await.unwrap();
        content.unwrap_err();
    }
}
