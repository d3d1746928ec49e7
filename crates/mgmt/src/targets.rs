//! `/rest/v1/targets`: targets with their attributes and metadata. This file is the example for all others.

use axum::response::Response;
use kettle_domain::{
    target_tags,
    targets::{self, Create, Shown, Update, UpdateStatus, entity::metadata},
};
use kettle_rest::{
    Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content, one_of, segment,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{ToSchema, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    distribution_set_types::IdBody,
    metadata::{Metadata, MetadataUpdate, NewMetadata},
    target_types,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(attributes))
        .routes(routes!(list_metadata, create_metadata))
        .routes(routes!(one_metadata, put_metadata, delete_metadata))
        .routes(routes!(tags))
        .routes(routes!(assign_type, unassign_type))
}

/// A page of the targets.
#[utoipa::path(get, path = "/rest/v1/targets", params(ListQuery), responses((status = 200, body = Paged<Target>)))]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = targets::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

/// One target.
#[utoipa::path(get, path = "/rest/v1/targets/{targetId}", responses((status = 200, body = Target)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<String>) -> Result<Response> {
    Ok(media.ok(&Target::full(targets::get(&ctx, &id).await?, &base)))
}

/// Creates targets.
#[utoipa::path(
    post, path = "/rest/v1/targets",
    request_body = Vec<TargetBody>, responses((status = 201, body = Vec<Target>))
)]
async fn create(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Body(new): Body<Vec<TargetBody>>,
) -> Result<Response> {
    let created = targets::create(&ctx, new.into_iter().map(Create::from).collect()).await?;
    let created: Vec<_> = created.into_iter().map(|target| Target::compact(target, &base)).collect();
    Ok(media.created(&created))
}

/// Changes what the body names of a target.
#[utoipa::path(
    put, path = "/rest/v1/targets/{targetId}",
    request_body = TargetBody,
    responses((status = 200, body = Target), (status = 400, description = "No body, if requestAttributes is false."))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<String>,
    Body(changes): Body<TargetBody>,
) -> Result<Response> {
    Ok(media.ok(&Target::full(targets::update(&ctx, &id, changes.into()).await?, &base)))
}

/// Deletes a target.
#[utoipa::path(delete, path = "/rest/v1/targets/{targetId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<String>) -> Result<Response> {
    targets::delete(&ctx, &id).await?;
    Ok(no_content())
}

/// What a target says of itself. Nothing if it has said nothing.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/attributes",
    responses((status = 200, body = Attributes), (status = 204))
)]
async fn attributes(User(ctx): User, Accept(media): Accept, Path(id): Path<String>) -> Result<Response> {
    let attributes = targets::attributes::list(&ctx, &id).await?;
    if attributes.is_empty() {
        return Ok(no_content());
    }
    Ok(media.ok(&Attributes(attributes.into_iter().map(|a| (a.attribute_key, a.attribute_value.into())).collect())))
}

/// A target's metadata.
#[utoipa::path(get, path = "/rest/v1/targets/{targetId}/metadata", responses((status = 200, body = Paged<Metadata>)))]
async fn list_metadata(User(ctx): User, Accept(media): Accept, Path(id): Path<String>) -> Result<Response> {
    let entries = targets::metadata::list(&ctx, &id).await?;
    Ok(media.ok(&Paged::all(entries.into_iter().map(Metadata::from).collect())))
}

/// One entry of a target's metadata.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/metadata/{metadataKey}",
    responses((status = 200, body = Metadata))
)]
async fn one_metadata(
    User(ctx): User,
    Accept(media): Accept,
    Path((id, key)): Path<(String, String)>,
) -> Result<Response> {
    Ok(media.ok(&Metadata::from(targets::metadata::get(&ctx, &id, &key).await?)))
}

/// Adds to a target's metadata.
#[utoipa::path(
    post, path = "/rest/v1/targets/{targetId}/metadata",
    request_body = Vec<NewMetadata>, responses((status = 201))
)]
async fn create_metadata(
    User(ctx): User,
    Path(id): Path<String>,
    Body(new): Body<Vec<NewMetadata>>,
) -> Result<Response> {
    let entries = new.into_iter().map(NewMetadata::pair).collect::<kettle_domain::Result<_>>()?;
    targets::metadata::create(&ctx, &id, entries).await?;
    Ok(axum::response::IntoResponse::into_response(axum::http::StatusCode::CREATED))
}

/// Writes one entry of a target's metadata.
#[utoipa::path(
    put, path = "/rest/v1/targets/{targetId}/metadata/{metadataKey}",
    request_body = MetadataUpdate, responses((status = 204))
)]
async fn put_metadata(
    User(ctx): User,
    Path((id, key)): Path<(String, String)>,
    Body(update): Body<MetadataUpdate>,
) -> Result<Response> {
    targets::metadata::put(&ctx, &id, &key, update.value).await?;
    Ok(no_content())
}

/// Deletes one entry of a target's metadata.
#[utoipa::path(delete, path = "/rest/v1/targets/{targetId}/metadata/{metadataKey}", responses((status = 204)))]
async fn delete_metadata(User(ctx): User, Path((id, key)): Path<(String, String)>) -> Result<Response> {
    targets::metadata::delete(&ctx, &id, &key).await?;
    Ok(no_content())
}

/// A target's tags.
#[utoipa::path(get, path = "/rest/v1/targets/{targetId}/tags", responses((status = 200, body = Vec<crate::tags::Tag>)))]
async fn tags(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<String>) -> Result<Response> {
    let found = target_tags::of_target(&ctx, &id).await?;
    Ok(media.ok(&found.into_iter().map(|tag| crate::target_tags::compact(tag, &base)).collect::<Vec<_>>()))
}

/// Gives a target a type.
#[utoipa::path(
    post, path = "/rest/v1/targets/{targetId}/targettype",
    request_body = IdBody, responses((status = 204))
)]
async fn assign_type(User(ctx): User, Path(id): Path<String>, Body(target_type): Body<IdBody>) -> Result<Response> {
    targets::target_type::assign(&ctx, &id, target_type.read()?).await?;
    Ok(no_content())
}

/// Takes the type from a target.
#[utoipa::path(delete, path = "/rest/v1/targets/{targetId}/targettype", responses((status = 204)))]
async fn unassign_type(User(ctx): User, Path(id): Path<String>) -> Result<Response> {
    targets::target_type::unassign(&ctx, &id).await?;
    Ok(no_content())
}

/// A target to create or to change. Unknown members are ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TargetBody {
    #[schema(max_length = 256)]
    controller_id: Option<String>,
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    #[schema(max_length = 128)]
    security_token: Option<String>,
    #[schema(max_length = 512)]
    address: Option<String>,
    #[schema(max_length = 256)]
    group: Option<String>,
    request_attributes: Option<bool>,
    target_type: Option<i64>,
}

impl From<TargetBody> for Create {
    fn from(body: TargetBody) -> Create {
        Create {
            controller_id: body.controller_id,
            name: body.name,
            description: body.description,
            security_token: body.security_token,
            address: body.address,
            group: body.group,
            target_type: body.target_type,
        }
    }
}

impl From<TargetBody> for Update {
    fn from(body: TargetBody) -> Update {
        Update {
            name: body.name,
            description: body.description,
            security_token: body.security_token,
            address: body.address,
            request_attributes: body.request_attributes,
            target_type: body.target_type,
        }
    }
}

/// A target as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    #[serde(flatten)]
    audit: Audit,
    controller_id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[schema(schema_with = update_statuses)]
    update_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_controller_request_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    installed_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_status: Option<PollStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security_token: Option<String>,
    request_attributes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_type: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_type_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_confirm_active: Option<bool>,
    #[serde(rename = "_links")]
    links: Links,
}

fn update_statuses() -> Object {
    one_of(UpdateStatus::NAMES)
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PollStatus {
    last_request_at: i64,
    next_expected_request_at: i64,
    overdue: bool,
}

impl Target {
    /// As in a list: with the link to itself only.
    pub fn compact(shown: Shown, base: &Base) -> Target {
        let links = Links::this(href(base, &shown.target.controller_id));
        Target::new(shown, links)
    }

    /// As on its own: with the links to all that belongs to it.
    pub fn full(shown: Shown, base: &Base) -> Target {
        let this = href(base, &shown.target.controller_id);
        let mut links = Links::this(this.as_str())
            .with("assignedDS", format!("{this}/assignedDS"))
            .with("installedDS", format!("{this}/installedDS"))
            .with("attributes", format!("{this}/attributes"))
            .with("actions", format!("{this}/actions?offset=0&limit=50&sort=id%3ADESC"))
            .with("metadata", format!("{this}/metadata"));
        if let Some(id) = shown.target.target_type {
            links = links.with("targetType", target_types::href(base, id));
        }
        if shown.auto_confirm_active.is_some() {
            links = links.with("autoConfirm", format!("{this}/autoConfirm"));
        }
        Target::new(shown, links)
    }

    fn new(shown: Shown, links: Links) -> Target {
        let Shown { target, poll_status, type_name, auto_confirm_active, token_visible } = shown;
        Target {
            audit: audit_of!(target),
            ip_address: target.address.as_deref().and_then(ip_address),
            update_status: UpdateStatus::name(target.update_status),
            controller_id: target.controller_id,
            name: target.name,
            description: target.description,
            group: target.target_group,
            last_controller_request_at: target.last_target_query,
            installed_at: target.install_date,
            address: target.address,
            poll_status: poll_status.map(|p| PollStatus {
                last_request_at: p.last_request_at,
                next_expected_request_at: p.next_expected_request_at,
                overdue: p.overdue,
            }),
            security_token: token_visible.then_some(target.sec_token),
            request_attributes: target.request_controller_attributes,
            target_type: target.target_type,
            target_type_name: type_name,
            auto_confirm_active,
            links,
        }
    }
}

/// The address of a target. Its id may hold any character but whitespace.
pub fn href(base: &Base, controller_id: &str) -> String {
    base.href(&format!("/rest/v1/targets/{}", segment(controller_id)))
}

/// The host of an address, unless it is hidden or a broker's.
fn ip_address(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    if scheme.eq_ignore_ascii_case("amqp") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(inner, _)| format!("[{inner}]"))?,
        None => host.split_once(':').map_or(host, |(h, _)| h).to_owned(),
    };
    (!host.is_empty() && host != "***").then_some(host)
}

/// In the order they are kept.
#[derive(Serialize, ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
struct Attributes(Map<String, Value>);

impl From<metadata::Model> for Metadata {
    fn from(row: metadata::Model) -> Metadata {
        Metadata { key: row.meta_key, value: row.meta_value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_shown_unless_it_is_hidden() {
        for (address, host) in [
            ("http://10.0.0.1:80", Some("10.0.0.1")),
            ("http://[::1]:8080/x", Some("[::1]")),
            ("coap://user@device.example/path", Some("device.example")),
            ("http://***", None),
            ("amqp://vhost/exchange", None),
            ("no uri", None),
        ] {
            assert_eq!(ip_address(address).as_deref(), host, "{address}");
        }
    }
}
