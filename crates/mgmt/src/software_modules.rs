//! `/rest/v1/softwaremodules`: modules and their metadata. Their files are in `artifacts.rs`.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kettle_domain::software_modules::{
    self, Create, Full, Update,
    entity::metadata::Model,
    metadata::{self, Entry},
};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    software_module_types::{self, required},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(list_metadata, create_metadata))
        .routes(routes!(one_metadata, put_metadata, delete_metadata))
}

/// A page of the software modules.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules",
    params(ListQuery), responses((status = 200, body = Paged<SoftwareModule>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = software_modules::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|module| SoftwareModule::compact(module, &base)))))
}

/// One software module.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules/{softwareModuleId}",
    responses((status = 200, body = SoftwareModule))
)]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&SoftwareModule::full(software_modules::get(&ctx, id).await?, &base)))
}

/// Creates software modules.
#[utoipa::path(
    post, path = "/rest/v1/softwaremodules",
    request_body = Vec<NewModule>, responses((status = 201, body = Vec<SoftwareModule>))
)]
async fn create(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Body(new): Body<Vec<NewModule>>,
) -> Result<Response> {
    let new = new.into_iter().map(NewModule::read).collect::<Result<_>>()?;
    let created = software_modules::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|m| SoftwareModule::compact(m, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a software module.
#[utoipa::path(
    put, path = "/rest/v1/softwaremodules/{softwareModuleId}",
    request_body = ModuleChanges, responses((status = 200, body = SoftwareModule))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<ModuleChanges>,
) -> Result<Response> {
    let update = Update { vendor: changes.vendor, description: changes.description, locked: changes.locked };
    Ok(media.ok(&SoftwareModule::full(software_modules::update(&ctx, id, update).await?, &base)))
}

/// Deletes a software module.
#[utoipa::path(delete, path = "/rest/v1/softwaremodules/{softwareModuleId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    software_modules::delete(&ctx, id).await?;
    Ok(no_content())
}

/// A software module's metadata.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules/{softwareModuleId}/metadata",
    responses((status = 200, body = Paged<ModuleMetadata>))
)]
async fn list_metadata(User(ctx): User, Accept(media): Accept, Path(id): Path<i64>) -> Result<Response> {
    let entries = metadata::list(&ctx, id).await?;
    Ok(media.ok(&Paged::all(entries.into_iter().map(ModuleMetadata::from).collect())))
}

/// One entry of a software module's metadata.
#[utoipa::path(
    get, path = "/rest/v1/softwaremodules/{softwareModuleId}/metadata/{metadataKey}",
    responses((status = 200, body = ModuleMetadata))
)]
async fn one_metadata(
    User(ctx): User,
    Accept(media): Accept,
    Path((id, key)): Path<(i64, String)>,
) -> Result<Response> {
    Ok(media.ok(&ModuleMetadata::from(metadata::get(&ctx, id, &key).await?)))
}

/// Adds to a software module's metadata.
#[utoipa::path(
    post, path = "/rest/v1/softwaremodules/{softwareModuleId}/metadata",
    request_body = Vec<NewMetadata>, responses((status = 201))
)]
async fn create_metadata(User(ctx): User, Path(id): Path<i64>, Body(new): Body<Vec<NewMetadata>>) -> Result<Response> {
    let entries = new.into_iter().map(NewMetadata::read).collect::<Result<_>>()?;
    metadata::create(&ctx, id, entries).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Writes one entry of a software module's metadata.
#[utoipa::path(
    put, path = "/rest/v1/softwaremodules/{softwareModuleId}/metadata/{metadataKey}",
    request_body = MetadataChanges, responses((status = 204))
)]
async fn put_metadata(
    User(ctx): User,
    Path((id, key)): Path<(i64, String)>,
    Body(changes): Body<MetadataChanges>,
) -> Result<Response> {
    let update = metadata::Update { value: changes.value, target_visible: changes.target_visible };
    metadata::put(&ctx, id, &key, update).await?;
    Ok(no_content())
}

/// Deletes one entry of a software module's metadata.
#[utoipa::path(
    delete, path = "/rest/v1/softwaremodules/{softwareModuleId}/metadata/{metadataKey}",
    responses((status = 204))
)]
async fn delete_metadata(User(ctx): User, Path((id, key)): Path<(i64, String)>) -> Result<Response> {
    metadata::delete(&ctx, id, &key).await?;
    Ok(no_content())
}

#[derive(Deserialize, ToSchema)]
struct NewModule {
    #[schema(required, nullable = false, max_length = 128)]
    name: Option<String>,
    #[schema(required, nullable = false, max_length = 64)]
    version: Option<String>,
    #[schema(required, nullable = false)]
    r#type: Option<String>,
    #[schema(max_length = 256)]
    vendor: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    encrypted: Option<bool>,
}

impl NewModule {
    fn read(self) -> Result<Create> {
        Ok(Create {
            name: required("name", self.name)?,
            version: required("version", self.version)?,
            module_type: required("type", self.r#type)?,
            vendor: self.vendor,
            description: self.description,
            encrypted: self.encrypted.unwrap_or(false),
        })
    }
}

#[derive(Deserialize, ToSchema)]
struct ModuleChanges {
    #[schema(max_length = 256)]
    vendor: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    locked: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewModuleMetadata)]
struct NewMetadata {
    #[schema(required, nullable = false, max_length = 128)]
    key: Option<String>,
    #[schema(max_length = 4000)]
    value: Option<String>,
    target_visible: Option<bool>,
}

impl NewMetadata {
    fn read(self) -> Result<Entry> {
        let target_visible = self.target_visible.unwrap_or(false);
        Ok(Entry { key: required("key", self.key)?, value: self.value, target_visible })
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ModuleMetadataChanges)]
struct MetadataChanges {
    #[schema(max_length = 4000)]
    value: Option<String>,
    target_visible: Option<bool>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModuleMetadata {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    target_visible: bool,
}

impl From<Model> for ModuleMetadata {
    fn from(row: Model) -> ModuleMetadata {
        let target_visible = row.target_visible.unwrap_or(false);
        ModuleMetadata { key: row.meta_key, value: row.meta_value, target_visible }
    }
}

/// A module as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareModule {
    #[serde(flatten)]
    audit: Audit,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    version: String,
    r#type: String,
    type_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    deleted: bool,
    encrypted: bool,
    locked: bool,
    complete: bool,
    id: i64,
    #[serde(rename = "_links")]
    links: Links,
}

impl SoftwareModule {
    /// As in a list: with the link to itself only.
    pub fn compact(full: Full, base: &Base) -> SoftwareModule {
        let links = Links::this(href(base, full.module.id));
        SoftwareModule::new(full, links)
    }

    /// As on its own: with the links to all that belongs to it.
    pub fn full(full: Full, base: &Base) -> SoftwareModule {
        let this = href(base, full.module.id);
        let links = Links::this(this.as_str())
            .with("artifacts", format!("{this}/artifacts"))
            .with("type", software_module_types::href(base, full.module.sm_type))
            .with("metadata", format!("{this}/metadata"));
        SoftwareModule::new(full, links)
    }

    fn new(full: Full, links: Links) -> SoftwareModule {
        let Full { module, type_key, type_name, complete } = full;
        SoftwareModule {
            audit: audit_of!(module),
            name: module.name,
            description: module.description,
            version: module.version,
            r#type: type_key,
            type_name,
            vendor: module.vendor,
            deleted: module.deleted.unwrap_or(false),
            encrypted: module.encrypted.unwrap_or(false),
            locked: module.locked,
            complete,
            id: module.id,
            links,
        }
    }
}

pub fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/softwaremodules/{id}"))
}
