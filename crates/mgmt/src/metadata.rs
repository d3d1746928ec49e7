//! Metadata of targets and distribution sets on the wire.

use kettle_domain::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Metadata {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct NewMetadata {
    #[schema(required, nullable = false, max_length = 128)]
    pub key: Option<String>,
    #[schema(max_length = 4000)]
    pub value: Option<String>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct MetadataUpdate {
    #[schema(max_length = 4000)]
    pub value: Option<String>,
}

impl NewMetadata {
    /// Key and value; a key must be there.
    pub fn pair(self) -> Result<(String, Option<String>)> {
        let key = self.key.ok_or_else(|| Error::new(Kind::ConstraintViolation, "key must not be null."))?;
        Ok((key, self.value))
    }
}
