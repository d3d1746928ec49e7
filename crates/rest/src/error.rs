//! Errors as clients see them: the one table from the domain's kinds to the peer's keys, classes and statuses
//! (semantics.md E6), and the plain errors that the peer's framework answers by itself.

use std::{error::Error as _, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, RETRY_AFTER, WWW_AUTHENTICATE},
};
use kettle_domain::{EntityId, Error, Kind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::media::json;

pub type Result<T, E = ApiError> = std::result::Result<T, E>;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub struct ApiError(Cause);

#[derive(Debug)]
enum Cause {
    Domain(Box<Error>),
    /// May be tried again after this time.
    Later(Box<Error>, Duration),
    /// What the peer's framework answers before or after its handlers; the body is added by [`crate::finish`].
    Plain(StatusCode, Option<(HeaderName, HeaderValue)>),
    Empty(StatusCode),
}

/// Marks an answer whose body is still to be written, with the time of the answer.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

const PREFIX: &str = "hawkbit.server.error.";
const REPOSITORY: &str = "org.eclipse.hawkbit.repository.exception.";

/// Key without [`PREFIX`], exception class (without [`REPOSITORY`] if it has no dot), status. Without a key the answer
/// has no body.
fn row(kind: Kind) -> (&'static str, &'static str, u16) {
    match kind {
        Kind::EntityNotFound => ("repo.entityNotFound", "EntityNotFoundException", 404),
        Kind::EntityAlreadyExists => ("repo.entityAlreadyExists", "EntityAlreadyExistsException", 409),
        Kind::EntityReadOnly => ("entityReadOnly", "EntityReadOnlyException", 403),
        Kind::ConstraintViolation => {
            ("repo.constraintViolation", "jakarta.validation.ConstraintViolationException", 400)
        }
        Kind::ConfigKeyInvalid => ("configKeyInvalid", "InvalidTenantConfigurationKeyException", 400),
        Kind::ConfigValueInvalid => ("configValueInvalid", "TenantConfigurationValidatorException", 400),
        Kind::InvalidTargetAddress => ("repo.invalidTargetAddress", "InvalidTargetAddressException", 400),
        Kind::InvalidTargetAttributes => ("repo.invalidTargetAttributes", "InvalidTargetAttributeException", 400),
        Kind::SortSyntax => (
            "rest.param.sortParamSyntax",
            "org.eclipse.hawkbit.mgmt.rest.resource.exception.SortParameterSyntaxErrorException",
            400,
        ),
        Kind::SortField => (
            "rest.param.invalidField",
            "org.eclipse.hawkbit.mgmt.rest.resource.exception.SortParameterUnsupportedFieldException",
            400,
        ),
        Kind::SortDirection => (
            "rest.param.invalidDirection",
            "org.eclipse.hawkbit.mgmt.rest.resource.exception.SortParameterUnsupportedDirectionException",
            400,
        ),
        Kind::InvalidAutoAssignActionType => {
            ("repo.invalidAutoAssignActionType", "InvalidAutoAssignActionTypeException", 400)
        }
        Kind::SearchSyntax => ("rest.param.rsqlParamSyntax", "RSQLParameterSyntaxException", 400),
        Kind::SearchField => ("rest.param.rsqlInvalidField", "RSQLParameterUnsupportedFieldException", 400),
        Kind::BodyNotReadable => {
            ("rest.body.notReadable", "org.eclipse.hawkbit.rest.exception.MessageNotReadableException", 400)
        }
        Kind::BodyTooLarge => {
            ("rest.body.notReadable", "org.eclipse.hawkbit.rest.exception.MessageNotReadableException", 413)
        }
        Kind::InsufficientPermission => ("insufficientPermission", "InsufficientPermissionException", 403),
        Kind::UploadFailed => ("artifact.uploadFailed", "ArtifactUploadFailedException", 500),
        Kind::LoadFailed => ("artifact.loadFailed", "ArtifactBinaryNotFoundException", 500),
        Kind::EncryptionNotSupported => {
            ("artifact.encryptionNotSupported", "ArtifactEncryptionUnsupportedException", 400)
        }
        Kind::Md5Mismatch => ("artifact.uploadFailed.checksum.md5.match", "InvalidMd5HashException", 400),
        Kind::Sha1Mismatch => ("artifact.uploadFailed.checksum.sha1.match", "InvalidSha1HashException", 400),
        Kind::Sha256Mismatch => ("artifact.uploadFailed.checksum.sha256.match", "InvalidSha256HashException", 400),
        Kind::BinaryDeleted => ("artifact.binaryDeleted", "ArtifactBinaryNoLongerExistsException", 410),
        Kind::TooManyEntries => ("quota.tooManyEntries", "AssignmentQuotaExceededException", 429),
        Kind::FileSizeExceeded => ("quota.fileSizeExceeded", "FileSizeQuotaExceededException", 429),
        Kind::StorageExceeded => ("quota.storageExceeded", "StorageQuotaExceededException", 429),
        Kind::AutoConfirmationAlreadyActive => {
            ("repo.autoConfAlreadyActive", "AutoConfirmationAlreadyActiveException", 409)
        }
        Kind::ActionNotCancelable => ("action.notCancelable", "CancelActionNotAllowedException", 405),
        Kind::ActionNotForceQuitable => ("action.notForceQuitable", "ForceQuitActionNotAllowedException", 405),
        Kind::DistributionSetIncomplete => ("distributionset.incomplete", "IncompleteDistributionSetException", 400),
        Kind::DistributionSetInvalid => ("distributionset.invalid", "InvalidDistributionSetException", 400),
        Kind::ModuleUnsupported => {
            ("distributionset.modules.unsupported", "UnsupportedSoftwareModuleForThisDistributionSetException", 400)
        }
        Kind::Locked => ("locked", "LockedException", 423),
        Kind::Deleted => ("deleted", "DeletedException", 404),
        Kind::TargetTypeUsed => ("target.type.used", "TargetTypeInUseException", 409),
        Kind::TargetTypeKeyOrNameRequired => {
            ("target.type.keyOrNameRequired", "TargetTypeKeyOrNameRequiredException", 400)
        }
        Kind::TargetTypeIncompatible => ("target.type.incompatible", "IncompatibleTargetTypeException", 400),
        Kind::MultiAssignment => ("multiAssignmentNotEnabled", "MultiAssignmentException", 400),
        Kind::RolloutIllegalState => ("rollout.illegalState", "RolloutIllegalStateException", 400),
        Kind::MaintenanceScheduleInvalid => ("maintenanceScheduleInvalid", "InvalidMaintenanceScheduleException", 400),
        Kind::TenantNotExists => ("repo.tenantNotExists", "TenantNotExistException", 400),
        Kind::TooManyFailedLogins => ("tooManyFailedLogins", "kettle.TooManyFailedLoginsException", 429),
        Kind::Internal => ("repo.genericError", "org.eclipse.hawkbit.exception.GenericSpServerException", 500),
        Kind::Absent => ("", "", 404),
        Kind::Gone => ("", "", 410),
        Kind::Refused => ("", "", 400),
    }
}

impl ApiError {
    /// The request can't be read: its body, or an id or a parameter in its address.
    pub fn not_readable(message: impl Into<String>) -> ApiError {
        Error::new(Kind::BodyNotReadable, message).into()
    }

    /// An error of the framework: `{"timestamp", "status", "error"}`.
    pub fn plain(status: StatusCode) -> ApiError {
        ApiError(Cause::Plain(status, None))
    }

    /// A status alone, without a body.
    pub fn empty(status: StatusCode) -> ApiError {
        ApiError(Cause::Empty(status))
    }

    /// 401 of the Management API. Devices get an empty one.
    pub fn unauthorized(realm: &str) -> ApiError {
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{}\"", realm.replace(['"', '\\'], "")));
        let challenge = challenge.unwrap_or(HeaderValue::from_static("Basic"));
        ApiError(Cause::Plain(StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, challenge))))
    }

    /// 429: too many logins failed, and the next is looked at after this time.
    pub fn delayed(time: Duration) -> ApiError {
        let seconds = time.as_millis().div_ceil(1_000);
        let message = format!(
            "Too many logins of this user, or from this address, failed. Try again in {seconds} seconds, or have an \
             administrator unlock it."
        );
        ApiError(Cause::Later(Box::new(Error::new(Kind::TooManyFailedLogins, message)), time))
    }

    /// 415, naming what is taken.
    pub(crate) fn unsupported_media_type(taken: &'static str) -> ApiError {
        let taken = HeaderValue::from_static(taken);
        ApiError(Cause::Plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some((ACCEPT, taken))))
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        ApiError(Cause::Domain(Box::new(error)))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self.0 {
            Cause::Domain(error) => domain_response(*error),
            Cause::Later(error, time) => {
                let mut response = domain_response(*error);
                let seconds = u64::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
                response
            }
            Cause::Empty(status) => status.into_response(),
            Cause::Plain(status, header) => {
                let mut response = status.into_response();
                if let Some((name, value)) = header {
                    response.headers_mut().insert(name, value);
                }
                response.extensions_mut().insert(Plain);
                response
            }
        }
    }
}

/// The body of an error.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExceptionInfo<'a> {
    exception_class: String,
    error_code: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    info: Option<EntityInfo<'a>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EntityInfo<'a> {
    r#type: &'a str,
    entity_id: serde_json::Value,
}

fn domain_response(error: Error) -> Response {
    let (key, class, status) = row(error.kind);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if key.is_empty() {
        return status.into_response();
    }
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error.code = key, error.cause = chain(&error), "A request failed: {}", error.message);
    }
    let class = if class.contains('.') { class.to_owned() } else { format!("{REPOSITORY}{class}") };
    let info = error.entity.as_ref().map(|(entity, id)| EntityInfo { r#type: entity, entity_id: entity_id(id) });
    let body =
        ExceptionInfo { exception_class: class, error_code: format!("{PREFIX}{key}"), message: &error.message, info };
    json(status, &body)
}

fn entity_id(id: &EntityId) -> serde_json::Value {
    match id {
        EntityId::Text(id) => id.as_str().into(),
        EntityId::Number(id) => (*id).into(),
        EntityId::Texts(ids) => ids.as_slice().into(),
        EntityId::Versioned(name, version) => serde_json::json!({ name.as_str(): version }),
        EntityId::Numbers(ids) => ids.as_slice().into(),
    }
}

/// The causes of an error, outermost first.
fn chain(error: &Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The body of a plain error.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlainError {
    timestamp: i64,
    status: u16,
    error: &'static str,
}

impl PlainError {
    pub(crate) fn new(status: StatusCode, now_ms: i64) -> PlainError {
        PlainError { timestamp: now_ms, status: status.as_u16(), error: status.canonical_reason().unwrap_or("Error") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{body_of, json_of};

    #[tokio::test]
    async fn a_missing_entity_names_its_type_and_id() {
        let response = ApiError::from(Error::not_found("Target", "nope")).into_response();
        assert_eq!(response.status(), 404);
        let expected = serde_json::json!({
            "exceptionClass": "org.eclipse.hawkbit.repository.exception.EntityNotFoundException",
            "errorCode": "hawkbit.server.error.repo.entityNotFound",
            "message": "Target with given identifier {nope} does not exist.",
            "info": {"type": "Target", "entityId": "nope"},
        });
        assert_eq!(json_of(response).await, expected);
    }

    #[tokio::test]
    async fn empty_members_are_omitted() {
        let response = ApiError::from(Error::new(Kind::SearchField, "")).into_response();
        assert_eq!(response.headers()["content-type"], "application/json");
        let expected = serde_json::json!({
            "exceptionClass": "org.eclipse.hawkbit.repository.exception.RSQLParameterUnsupportedFieldException",
            "errorCode": "hawkbit.server.error.rest.param.rsqlInvalidField",
        });
        assert_eq!(json_of(response).await, expected);
    }

    #[tokio::test]
    async fn some_kinds_answer_without_a_body() {
        for (kind, status) in [(Kind::Absent, 404), (Kind::Gone, 410), (Kind::Refused, 400)] {
            let response = ApiError::from(Error::new(kind, "not shown")).into_response();
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key("content-type"));
            assert_eq!(body_of(response).await, "");
        }
    }

    #[tokio::test]
    async fn an_internal_error_shows_no_cause() {
        let response = ApiError::from(Error::internal("disk on fire")).into_response();
        assert_eq!(response.status(), 500);
        let body = json_of(response).await;
        assert_eq!(body["errorCode"], "hawkbit.server.error.repo.genericError");
        assert!(!body.to_string().contains("fire"), "{body}");
    }

    #[test]
    fn the_challenge_names_the_realm() {
        let response = ApiError::unauthorized("haw\"kBit").into_response();
        assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"hawkBit\"");
    }
}
