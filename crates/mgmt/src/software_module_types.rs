//! `/rest/v1/softwaremoduletypes`.

use axum::response::Response;
use kettle_domain::{
    Error,
    software_module_types::{self, Create, Model, Update},
};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::audit::{Audit, audit_of};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(one, update, delete))
}

/// A page of the types of software modules.
#[utoipa::path(
    get, path = "/rest/v1/softwaremoduletypes",
    params(ListQuery), responses((status = 200, body = Paged<SoftwareModuleType>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = software_module_types::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|found| SoftwareModuleType::new(found, &base)))))
}

/// One type of software modules.
#[utoipa::path(
    get, path = "/rest/v1/softwaremoduletypes/{softwareModuleTypeId}",
    responses((status = 200, body = SoftwareModuleType))
)]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&SoftwareModuleType::new(software_module_types::get(&ctx, id).await?, &base)))
}

/// Creates types of software modules.
#[utoipa::path(
    post, path = "/rest/v1/softwaremoduletypes",
    request_body = Vec<NewType>, responses((status = 201, body = Vec<SoftwareModuleType>))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<NewType>>) -> Result<Response> {
    let new = new.into_iter().map(NewType::read).collect::<Result<_>>()?;
    let created = software_module_types::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|t| SoftwareModuleType::new(t, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a type.
#[utoipa::path(
    put, path = "/rest/v1/softwaremoduletypes/{softwareModuleTypeId}",
    request_body = TypeChanges, responses((status = 200, body = SoftwareModuleType))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<TypeChanges>,
) -> Result<Response> {
    let update = Update { description: changes.description, colour: changes.colour };
    Ok(media.ok(&SoftwareModuleType::new(software_module_types::update(&ctx, id, update).await?, &base)))
}

/// Deletes a type.
#[utoipa::path(delete, path = "/rest/v1/softwaremoduletypes/{softwareModuleTypeId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    software_module_types::delete(&ctx, id).await?;
    Ok(no_content())
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewSoftwareModuleType)]
struct NewType {
    #[schema(required, nullable = false, max_length = 64)]
    key: Option<String>,
    #[schema(required, nullable = false, max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    #[schema(max_length = 16)]
    colour: Option<String>,
    max_assignments: Option<i32>,
    min_artifacts: Option<i32>,
}

impl NewType {
    fn read(self) -> Result<Create> {
        Ok(Create {
            key: required("key", self.key)?,
            name: required("name", self.name)?,
            description: self.description,
            colour: self.colour,
            max_assignments: self.max_assignments.unwrap_or(0),
            min_artifacts: self.min_artifacts.unwrap_or(0),
        })
    }
}

/// What can be changed of a type, of modules or of sets.
#[derive(Deserialize, ToSchema)]
pub struct TypeChanges {
    #[schema(max_length = 512)]
    pub description: Option<String>,
    #[schema(max_length = 16)]
    pub colour: Option<String>,
}

/// A member of a body that must be there.
pub fn required<T>(name: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::constraint(format!("{name} must not be null.")).into())
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SoftwareModuleType {
    #[serde(flatten)]
    audit: Audit,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    key: String,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    colour: Option<String>,
    id: i64,
    min_artifacts: i32,
    max_assignments: i32,
    #[serde(rename = "_links")]
    links: Links,
}

impl SoftwareModuleType {
    /// The same alone and in a list.
    pub fn new(found: Model, base: &Base) -> SoftwareModuleType {
        SoftwareModuleType {
            audit: audit_of!(found),
            links: Links::this(href(base, found.id)),
            name: found.name,
            description: found.description,
            key: found.type_key,
            deleted: found.deleted.unwrap_or(false),
            colour: found.colour,
            id: found.id,
            min_artifacts: found.min_artifacts,
            max_assignments: found.max_ds_assignments,
        }
    }
}

pub fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/softwaremoduletypes/{id}"))
}
