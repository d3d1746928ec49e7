//! Ids and names in the address, read and written.

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::de::DeserializeOwned;

use crate::{ApiError, AppState};

/// A name as a path segment of a link: in answers as in messages.
pub use kettle_domain::artifacts::urls::segment;

/// What the route's placeholders hold, percent-decoded. An id that is no number is 400 `rest.body.notReadable`, as the
/// peer has it; so is what decodes to no UTF-8.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequestParts<AppState> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Path<T>, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(rejection) => Err(ApiError::not_readable(rejection.body_text())),
        }
    }
}

/// What the value of a parameter in a link holds as it is: letters, digits and these.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as the value of a parameter in a link.
pub fn query_value(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, VALUE)
}
