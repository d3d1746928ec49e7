//! The bodies of DMF messages as JSON (semantics.md D3, D5): names and shapes are hawkBit's, nothing else is here.
//!
//! What is absent is left out. What devices send may have members that nobody knows, and numbers as texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// THING_CREATED: what a device says of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateThing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name of a target type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub target_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute_update: Option<AttributeUpdate>,
}

/// UPDATE_ATTRIBUTES.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct AttributeUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, Option<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<UpdateMode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UpdateMode {
    Merge,
    Replace,
    Remove,
}

/// UPDATE_ACTION_STATUS. `timestamp` and `softwareModuleId` of older clients are read and mean nothing.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionUpdateStatus {
    pub action_id: i64,
    pub action_status: ActionStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_module_id: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Vec<Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ActionStatus {
    Download,
    Retrieved,
    Running,
    Finished,
    Error,
    Warning,
    Canceled,
    CancelRejected,
    Downloaded,
    Confirmed,
    Denied,
}

/// UPDATE_AUTO_CONFIRM.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct AutoConfirmation {
    #[serde(default)]
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// DOWNLOAD, DOWNLOAD_AND_INSTALL and CONFIRM.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRequest {
    pub action_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_security_token: Option<String>,
    #[serde(default)]
    pub software_modules: Vec<SoftwareModule>,
}

/// BATCH_DOWNLOAD and BATCH_DOWNLOAD_AND_INSTALL. The time is epoch milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchUpdateRequest {
    pub timestamp: i64,
    pub targets: Vec<BatchTarget>,
    #[serde(default)]
    pub software_modules: Vec<SoftwareModule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchTarget {
    pub action_id: i64,
    pub controller_id: String,
    pub target_security_token: String,
}

/// CANCEL_DOWNLOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionRequest {
    pub action_id: i64,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareModule {
    pub module_id: i64,
    pub module_type: String,
    pub module_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Vec<Metadata>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    pub filename: String,
    pub hashes: Hashes,
    /// Bytes.
    pub size: i64,
    /// Epoch milliseconds.
    pub last_modified: i64,
    /// By protocol, upper case.
    pub urls: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Hashes {
    pub sha1: String,
    pub md5: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Metadata {
    pub key: String,
    pub value: String,
}
