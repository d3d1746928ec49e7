//! Messages to devices (semantics.md D2, D5): from a command of the domain to headers and bytes. Pure.

use kettle_domain::{
    Ctx,
    actions::Chunk,
    artifacts::{self, urls::ArtifactUrls},
    commands::{Addressed, Command, Recipient, UpdateKind},
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    incoming::{PingAnswer, TENANT, THING_ID, TOPIC, TYPE},
    publish::Outgoing,
    wire::{ActionRequest, Artifact, BatchTarget, BatchUpdateRequest, Hashes, Metadata, SoftwareModule, UpdateRequest},
};

const JSON: &str = "application/json";
const PERSISTENT: u8 = 2;
/// hawkBit: its converter names a Java class, and converters of gateways in Java go by it.
const CLASSES: &str = "org.eclipse.hawkbit.dmf.json.model.";

/// The message of a command, for a tenant at `now` (epoch milliseconds).
fn message(
    tenant: &str,
    addressed: &Addressed,
    correlation_id: Uuid,
    urls: &ArtifactUrls,
    now: i64,
) -> Result<Outgoing, serde_json::Error> {
    let controller_id = addressed.controller_id.as_str();
    let event = |topic: &str, class: Option<&str>, thing: Option<&str>| {
        let headers = [(TYPE, Some("EVENT")), (TOPIC, Some(topic)), (THING_ID, thing), (TENANT, Some(tenant))];
        properties(&headers, class, correlation_id)
    };
    let thing = Some(controller_id);
    let (properties, body) = match &addressed.command {
        Command::Update { kind, action, security_token, modules } => {
            let (topic, class) = match kind {
                UpdateKind::Confirm => ("CONFIRM", "DmfConfirmRequest"),
                UpdateKind::Download => ("DOWNLOAD", "DmfDownloadAndUpdateRequest"),
                UpdateKind::DownloadAndInstall => ("DOWNLOAD_AND_INSTALL", "DmfDownloadAndUpdateRequest"),
            };
            let body = UpdateRequest {
                action_id: *action,
                target_security_token: Some(security_token.clone()),
                software_modules: software_modules(tenant, controller_id, modules, urls),
            };
            (event(topic, Some(class), thing), json(&body)?)
        }
        Command::Batch { install, recipients, modules } => {
            let topic = if *install { "BATCH_DOWNLOAD_AND_INSTALL" } else { "BATCH_DOWNLOAD" };
            let body = BatchUpdateRequest {
                timestamp: now,
                targets: recipients.iter().map(BatchTarget::from).collect(),
                software_modules: software_modules(tenant, controller_id, modules, urls),
            };
            (event(topic, Some("DmfBatchDownloadAndUpdateRequest"), None), json(&body)?)
        }
        Command::Cancel { action } => {
            let body = json(&ActionRequest { action_id: *action })?;
            (event("CANCEL_DOWNLOAD", Some("DmfActionRequest"), thing), body)
        }
        Command::RequestAttributes => (event("REQUEST_ATTRIBUTES_UPDATE", None, thing), Vec::new()),
        Command::Deleted => {
            let headers = [(TYPE, Some("THING_DELETED")), (THING_ID, thing), (TENANT, Some(tenant))];
            (properties(&headers, None, correlation_id), Vec::new())
        }
    };
    Ok(Outgoing {
        exchange: exchange(&addressed.address),
        routing_key: String::new(),
        or_queue: None,
        properties,
        body,
    })
}

/// As [`message`], of a tenant as it is now. `None`, with a line in the log, if it can't be written.
pub fn of_command(ctx: &Ctx, addressed: &Addressed, correlation_id: Uuid) -> Option<Outgoing> {
    match message(ctx.tenant_id(), addressed, correlation_id, &ctx.settings().artifact_urls, ctx.now()) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::error!(%error, target.controller_id = addressed.controller_id, "a command can't be written");
            None
        }
    }
}

/// The correlation id that an update has whenever it is sent without having been asked for: an action is assigned once.
/// The target's token makes it another one for a target that was deleted and comes back.
pub fn own_id(command: &Command) -> Option<Uuid> {
    let Command::Update { kind, action, security_token, .. } = command else { return None };
    Some(repeatable(&format!("{security_token} {action} {kind:?}")))
}

/// A correlation id that is the same for the same `cause`.
pub fn repeatable(cause: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("kettle:dmf:{cause}").as_bytes())
}

/// The answer to a PING.
pub fn ping_response(tenant: &str, answer: &PingAnswer, now: i64) -> Outgoing {
    let mut headers = FieldTable::default();
    headers.insert(TYPE.into(), AMQPValue::LongString("PING_RESPONSE".into()));
    headers.insert(TENANT.into(), AMQPValue::LongString(tenant.into()));
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_correlation_id(answer.correlation_id.as_str().into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers);
    let (exchange, body) = (answer.reply_to.clone(), now.to_string().into_bytes());
    Outgoing { exchange, routing_key: String::new(), or_queue: None, properties, body }
}

/// What sort of command it is: a cause makes one of each sort for a target at most.
pub fn sort(command: &Command) -> &'static str {
    match command {
        Command::Update { .. } => "update",
        Command::Batch { .. } => "batch",
        Command::Cancel { .. } => "cancel",
        Command::RequestAttributes => "attributes",
        Command::Deleted => "deleted",
    }
}

/// Where a device gets its messages, as it is kept: an exchange of a virtual host (semantics.md D2).
pub fn address(virtual_host: &str, exchange: &str) -> String {
    // hawkBit: the default virtual host leaves no authority.
    match virtual_host {
        "/" => format!("amqp:/{exchange}"),
        host => format!("amqp://{host}/{exchange}"),
    }
}

/// The exchange of an address; hawkBit's nodes and ours write the same form.
fn exchange(address: &str) -> String {
    let rest = address.strip_prefix("amqp:").unwrap_or(address);
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => rest.strip_prefix('/').unwrap_or(rest),
    };
    percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
}

fn properties(headers: &[(&str, Option<&str>)], class: Option<&str>, correlation_id: Uuid) -> BasicProperties {
    let mut table = FieldTable::default();
    table.insert("content-type".into(), AMQPValue::LongString(JSON.into()));
    for (name, value) in headers {
        if let Some(value) = value {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
    }
    if let Some(class) = class {
        table.insert("__TypeId__".into(), AMQPValue::LongString(format!("{CLASSES}{class}").into()));
    }
    BasicProperties::default()
        .with_content_type(JSON.into())
        .with_correlation_id(correlation_id.to_string().into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(table)
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(body)
}

fn software_modules(tenant: &str, controller_id: &str, modules: &[Chunk], urls: &ArtifactUrls) -> Vec<SoftwareModule> {
    let metadata = |chunk: &Chunk| {
        let entry = |(key, value): &(String, String)| Metadata { key: key.clone(), value: value.clone() };
        chunk.metadata.iter().map(entry).collect::<Vec<_>>()
    };
    let artifact = |artifact: &artifacts::Model| {
        let filename = artifact.provided_file_name.clone().unwrap_or_default();
        let urls = urls.dmf(tenant, controller_id, artifact.software_module, &filename, &artifact.sha1_hash);
        Artifact {
            filename,
            urls: urls.into_iter().collect(),
            hashes: Hashes { sha1: artifact.sha1_hash.clone(), md5: artifact.md5_hash.clone() },
            size: artifact.file_size.unwrap_or(0),
            last_modified: artifact.last_modified_at.unwrap_or(0),
        }
    };
    let module = |chunk: &Chunk| SoftwareModule {
        module_id: chunk.module.id,
        module_type: chunk.type_key.clone(),
        module_version: chunk.module.version.clone(),
        encrypted: chunk.module.encrypted.filter(|encrypted| *encrypted),
        artifacts: chunk.artifacts.iter().map(artifact).collect(),
        metadata: Some(metadata(chunk)).filter(|metadata| !metadata.is_empty()),
    };
    modules.iter().map(module).collect()
}

impl From<&Recipient> for BatchTarget {
    fn from(recipient: &Recipient) -> BatchTarget {
        BatchTarget {
            action_id: recipient.action,
            controller_id: recipient.controller_id.clone(),
            target_security_token: recipient.security_token.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_the_virtual_host_and_the_exchange() {
        for (host, to, kept) in [("/", "conn.ex", "amqp:/conn.ex"), ("vh", "a/b", "amqp://vh/a/b")] {
            assert_eq!(address(host, to), kept);
            assert_eq!(exchange(kept), to);
        }
        assert_eq!(exchange("amqp://vh/with%20blank"), "with blank");
        assert_eq!(exchange("amqp://vh"), "");
    }
}
