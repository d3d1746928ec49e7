//! What a device is to do with an action: carry it out, cancel it, or look at what is installed.

use axum::response::Response;
use kettle_domain::{
    actions::{self, ActionType, Chunk, Deployment, History},
    artifacts::{
        self,
        urls::{DeviceUrls, File},
    },
};
use kettle_rest::{Base, DeviceAccept, Links, Params, Path, Result, one_of};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Object};

use crate::device::Device;

/// What a device is to install.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/deploymentBase/{actionId}",
    params(("c" = Option<i32>, Query), ("actionHistory" = Option<i32>, Query)),
    responses((status = 200, body = DeploymentBase))
)]
pub async fn deployment_base(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    base: Base,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
    params: Params,
) -> Result<Response> {
    // hawkBit: `c` must be a number, and means nothing.
    params.int("c")?;
    let history = i64::from(params.int("actionHistory")?.unwrap_or(0));
    let found = actions::deployment(&device.ctx, &device.controller_id, id, history).await?;
    Ok(media.ok(&DeploymentBase::new(found, &device.artifact_urls(&base))))
}

/// What a device was told to install when it last succeeded.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/installedBase/{actionId}",
    params(("actionHistory" = Option<i32>, Query)),
    responses((status = 200, body = DeploymentBase))
)]
pub async fn installed_base(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    base: Base,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
    params: Params,
) -> Result<Response> {
    let history = i64::from(params.int("actionHistory")?.unwrap_or(0));
    let found = actions::installed(&device.ctx, &device.controller_id, id, history).await?;
    Ok(media.ok(&DeploymentBase::new(found, &device.artifact_urls(&base))))
}

/// Which action a device is to cancel.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/cancelAction/{actionId}",
    responses((status = 200, body = Cancel))
)]
pub async fn cancel_action(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
) -> Result<Response> {
    actions::canceling(&device.ctx, &device.controller_id, id).await?;
    let id = id.to_string();
    Ok(media.ok(&Cancel { cancel_action: CancelAction { stop_id: id.clone() }, id }))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Cancel {
    id: String,
    cancel_action: CancelAction,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CancelAction {
    stop_id: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeploymentBase {
    id: String,
    deployment: DeploymentBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_history: Option<ActionHistory>,
}

#[derive(Serialize, ToSchema)]
pub struct DeploymentBody {
    #[schema(schema_with = handling)]
    download: &'static str,
    #[schema(schema_with = handling)]
    update: &'static str,
    #[schema(schema_with = windows)]
    #[serde(rename = "maintenanceWindow", skip_serializing_if = "Option::is_none")]
    maintenance_window: Option<&'static str>,
    chunks: Vec<ChunkBody>,
}

fn handling() -> Object {
    one_of(&["skip", "attempt", "forced"])
}

fn windows() -> Object {
    one_of(&["available", "unavailable"])
}

#[derive(Serialize, ToSchema)]
pub struct ActionHistory {
    status: String,
    messages: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct ChunkBody {
    part: String,
    version: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<bool>,
    artifacts: Vec<Artifact>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<Metadata>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DdiMetadata)]
struct Metadata {
    key: String,
    value: String,
}

/// A file to download.
#[derive(Serialize, ToSchema)]
#[schema(as = DdiArtifact)]
pub struct Artifact {
    filename: String,
    hashes: Hashes,
    size: i64,
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DdiHashes)]
struct Hashes {
    sha1: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl DeploymentBase {
    fn new(mut found: Deployment, urls: &DeviceUrls<'_>) -> DeploymentBase {
        let action_history = found.history.take().map(ActionHistory::from);
        DeploymentBase { id: found.action.id.to_string(), deployment: DeploymentBody::new(found, urls), action_history }
    }
}

impl DeploymentBody {
    pub fn new(found: Deployment, urls: &DeviceUrls<'_>) -> DeploymentBody {
        let download_only = found.action.action_type() == ActionType::DownloadOnly;
        let download = if download_only || found.forced { "forced" } else { "attempt" };
        let shut = found.window_available == Some(false);
        DeploymentBody {
            download,
            update: if download_only || shut { "skip" } else { download },
            maintenance_window: found.window_available.map(|open| if open { "available" } else { "unavailable" }),
            chunks: found.chunks.into_iter().map(|chunk| ChunkBody::new(chunk, urls)).collect(),
        }
    }
}

impl From<History> for ActionHistory {
    fn from(history: History) -> ActionHistory {
        ActionHistory { status: history.status.name().to_uppercase(), messages: history.messages }
    }
}

impl ChunkBody {
    fn new(chunk: Chunk, urls: &DeviceUrls<'_>) -> ChunkBody {
        // hawkBit: two type keys have other names on the device API.
        let part = match chunk.type_key.as_str() {
            "application" => "bApp".to_owned(),
            "runtime" => "jvm".to_owned(),
            _ => chunk.type_key,
        };
        ChunkBody {
            part,
            version: chunk.module.version,
            name: chunk.module.name,
            encrypted: chunk.module.encrypted.filter(|e| *e),
            artifacts: chunk.artifacts.into_iter().map(|a| Artifact::new(a, urls)).collect(),
            metadata: chunk.metadata.into_iter().map(|(key, value)| Metadata { key, value }).collect(),
        }
    }
}

impl Artifact {
    pub fn new(artifact: artifacts::Model, urls: &DeviceUrls<'_>) -> Artifact {
        let filename = artifact.provided_file_name.unwrap_or_default();
        let file = File { module: artifact.software_module, filename: &filename, sha1: &artifact.sha1_hash };
        Artifact {
            links: urls
                .links(&file)
                .into_iter()
                .fold(Links::new(), |links, (rel, url)| links.with(rel.to_string(), url)),
            filename,
            hashes: Hashes { sha1: artifact.sha1_hash, md5: artifact.md5_hash, sha256: artifact.sha256_hash },
            size: artifact.file_size.unwrap_or(0),
        }
    }
}
