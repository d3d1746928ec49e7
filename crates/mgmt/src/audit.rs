//! Who made and changed an entity, as every resource shows it.

use serde::Serialize;
use utoipa::ToSchema;

/// Times are epoch milliseconds.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_at: Option<i64>,
}

/// Takes the audit columns out of a row.
macro_rules! audit_of {
    ($row:expr) => {
        $crate::audit::Audit {
            created_by: $row.created_by.clone(),
            created_at: $row.created_at,
            last_modified_by: $row.last_modified_by.clone(),
            last_modified_at: $row.last_modified_at,
        }
    };
}
pub(crate) use audit_of;
