//! The one error of the domain: what went wrong as the peer names it, a sentence for the client, a cause for the log.

use std::fmt::Display;

use kettle_cluster::LeaseError;
use kettle_db::Failure;
use sea_orm::DbErr;

/// What went wrong, in the peer's terms (semantics.md E6). `rest` maps each to its key, class and status in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    EntityNotFound,
    EntityAlreadyExists,
    EntityReadOnly,
    ConstraintViolation,
    ConfigKeyInvalid,
    ConfigValueInvalid,
    InvalidTargetAddress,
    InvalidTargetAttributes,
    InvalidAutoAssignActionType,
    SortSyntax,
    SortField,
    SortDirection,
    SearchSyntax,
    SearchField,
    BodyNotReadable,
    BodyTooLarge,
    InsufficientPermission,
    UploadFailed,
    /// 400 without a body: a file without content, a flag that can't be taken back.
    Refused,
    LoadFailed,
    EncryptionNotSupported,
    Md5Mismatch,
    Sha1Mismatch,
    Sha256Mismatch,
    BinaryDeleted,
    TooManyEntries,
    FileSizeExceeded,
    StorageExceeded,
    AutoConfirmationAlreadyActive,
    ActionNotCancelable,
    ActionNotForceQuitable,
    DistributionSetIncomplete,
    DistributionSetInvalid,
    ModuleUnsupported,
    Locked,
    Deleted,
    TargetTypeUsed,
    TargetTypeIncompatible,
    TargetTypeKeyOrNameRequired,
    MultiAssignment,
    MaintenanceScheduleInvalid,
    RolloutIllegalState,
    /// The tenant is unknown and not created implicitly.
    TenantNotExists,
    /// Too many logins failed before; nobody looked at this one.
    TooManyFailedLogins,
    /// The state to act on is gone, or not the caller's: 404, 410 without a body.
    Absent,
    Gone,
    /// A fault that the client can't mend. The cause goes to the log.
    Internal,
}

/// The id or ids of an entity that was not found, as the peer writes them into `info.entityId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityId {
    Text(String),
    Number(i64),
    /// `None` is one that was sent as `null`; so below.
    Texts(Vec<Option<String>>),
    /// A name and a version, as a member and its value.
    Versioned(String, String),
    Numbers(Vec<Option<i64>>),
}

/// An error of the domain. `message` is for the client; `cause` is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    /// Type and id of the missing entity, for [`Kind::EntityNotFound`].
    pub entity: Option<(&'static str, EntityId)>,
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), entity: None, cause: None }
    }

    /// `entity` is the peer's name of the type: `Target`, `SoftwareModule`, `Target metadata`, …
    pub fn not_found(entity: &'static str, id: impl Into<EntityId>) -> Error {
        let id = id.into();
        let message = match &id {
            EntityId::Text(id) => format!("{entity} with given identifier {{{id}}} does not exist."),
            EntityId::Number(id) => format!("{entity} with given identifier {{{id}}} does not exist."),
            EntityId::Texts(ids) => several(entity, ids),
            EntityId::Versioned(name, version) => {
                format!("{entity} with given identifier {{{name}={version}}} does not exist.")
            }
            EntityId::Numbers(ids) => several(entity, ids),
        };
        Error { kind: Kind::EntityNotFound, message, entity: Some((entity, id)), cause: None }
    }

    /// Of several asked for by id, these are missing. The peer lists them as texts, also a single one.
    pub fn not_found_all(entity: &'static str, ids: &[i64]) -> Error {
        Error::not_found(entity, ids.iter().map(i64::to_string).collect::<Vec<_>>())
    }

    pub fn constraint(message: impl Into<String>) -> Error {
        Error::new(Kind::ConstraintViolation, message)
    }

    pub fn already_exists() -> Error {
        Error::new(Kind::EntityAlreadyExists, "The given entity already exists in database")
    }

    /// A fault that is ours to mend: logged with `cause`, shown without it.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error {
            kind: Kind::Internal,
            message: "The server could not do this now. Try again; if it stays so, its log says why.".into(),
            entity: None,
            cause: Some(cause.into()),
        }
    }

    /// Whether it is a fault of ours or of the database, and none of what was asked for.
    pub fn is_internal(&self) -> bool {
        self.kind == Kind::Internal
    }

    /// Whether trying the same work again may succeed: another transaction was in the way.
    pub fn is_conflict(&self) -> bool {
        let cause = self.cause.as_ref().and_then(|c| c.downcast_ref::<DbErr>());
        cause.is_some_and(|e| kettle_db::failure(e) == Failure::Conflict)
    }

    /// A uniqueness or reference error of a statement, told as `duplicate` and as internal otherwise.
    pub fn duplicate_as(error: DbErr, duplicate: impl FnOnce() -> Error) -> Error {
        if kettle_db::failure(&error) == Failure::Duplicate { duplicate() } else { error.into() }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Error {
        match kettle_db::failure(&error) {
            Failure::Text => Error::new(Kind::BodyNotReadable, "The request holds text with a NUL character."),
            _ => Error::internal(error),
        }
    }
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Error {
        Error::internal(error)
    }
}

impl From<i64> for EntityId {
    fn from(id: i64) -> EntityId {
        EntityId::Number(id)
    }
}

impl From<&str> for EntityId {
    fn from(id: &str) -> EntityId {
        EntityId::Text(id.into())
    }
}

impl From<String> for EntityId {
    fn from(id: String) -> EntityId {
        EntityId::Text(id)
    }
}

impl From<Vec<i64>> for EntityId {
    fn from(ids: Vec<i64>) -> EntityId {
        EntityId::Numbers(ids.into_iter().map(Some).collect())
    }
}

impl From<Vec<String>> for EntityId {
    fn from(ids: Vec<String>) -> EntityId {
        EntityId::Texts(ids.into_iter().map(Some).collect())
    }
}

impl From<Vec<Option<i64>>> for EntityId {
    fn from(ids: Vec<Option<i64>>) -> EntityId {
        EntityId::Numbers(ids)
    }
}

impl From<Vec<Option<String>>> for EntityId {
    fn from(ids: Vec<Option<String>>) -> EntityId {
        EntityId::Texts(ids)
    }
}

fn several<T: Display>(entity: &str, ids: &[Option<T>]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| id.as_ref().map_or_else(|| "null".into(), T::to_string)).collect();
    format!("{entity}s with given identifiers {{{}}} do not exist.", ids.join(","))
}

/// Fails with 429 when `wanted` more on top of `current` pass `limit`; a limit of 0 or less is none (semantics.md E8).
pub fn check_quota(limit: i64, current: i64, wanted: i64, of: impl Display) -> Result<()> {
    if limit > 0 && (wanted > limit || current.saturating_add(wanted) > limit) {
        return Err(Error::new(
            Kind::TooManyEntries,
            format!("Quota exceeded: {of} may hold {limit} entries, has {current}, and {wanted} more were asked for."),
        ));
    }
    Ok(())
}
