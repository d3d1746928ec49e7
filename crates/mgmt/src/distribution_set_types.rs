//! `/rest/v1/distributionsettypes`, and the types of modules that each one holds.

use axum::response::Response;
use kettle_domain::distribution_set_types::{self, Create, Model, Update};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    software_module_types::{SoftwareModuleType, TypeChanges, required},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(mandatory_module_types, add_mandatory_module_type))
        .routes(routes!(mandatory_module_type, remove_mandatory_module_type))
        .routes(routes!(optional_module_types, add_optional_module_type))
        .routes(routes!(optional_module_type, remove_optional_module_type))
}

/// A page of the types of distribution sets.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettypes",
    params(ListQuery), responses((status = 200, body = Paged<DistributionSetType>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = distribution_set_types::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|found| DistributionSetType::compact(found, &base)))))
}

/// One type of distribution sets.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}",
    responses((status = 200, body = DistributionSetType))
)]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&DistributionSetType::full(distribution_set_types::get(&ctx, id).await?, &base)))
}

/// Creates types of distribution sets.
#[utoipa::path(
    post, path = "/rest/v1/distributionsettypes",
    request_body = Vec<NewType>, responses((status = 201, body = Vec<DistributionSetType>))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<NewType>>) -> Result<Response> {
    let new = new.into_iter().map(NewType::read).collect::<Result<_>>()?;
    let created = distribution_set_types::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|t| DistributionSetType::compact(t, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a type.
#[utoipa::path(
    put, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}",
    request_body = TypeChanges, responses((status = 200, body = DistributionSetType))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<TypeChanges>,
) -> Result<Response> {
    let update = Update { description: changes.description, colour: changes.colour };
    Ok(media.ok(&DistributionSetType::full(distribution_set_types::update(&ctx, id, update).await?, &base)))
}

/// Deletes a type.
#[utoipa::path(delete, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    distribution_set_types::delete(&ctx, id).await?;
    Ok(no_content())
}

/// The types of modules that sets of a type must have.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes",
    responses((status = 200, body = Vec<SoftwareModuleType>))
)]
async fn mandatory_module_types(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
) -> Result<Response> {
    let found = distribution_set_types::module_types(&ctx, id, true).await?;
    Ok(media.ok(&found.into_iter().map(|t| SoftwareModuleType::new(t, &base)).collect::<Vec<_>>()))
}

/// One type of modules that sets of a type must have.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes/{softwareModuleTypeId}",
    responses((status = 200, body = SoftwareModuleType))
)]
async fn mandatory_module_type(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((id, module_type)): Path<(i64, i64)>,
) -> Result<Response> {
    let found = distribution_set_types::module_type(&ctx, id, module_type, true).await?;
    Ok(media.ok(&SoftwareModuleType::new(found, &base)))
}

/// Makes a type of modules one that sets of a type must have.
#[utoipa::path(
    post, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes",
    request_body = IdBody, responses((status = 204))
)]
async fn add_mandatory_module_type(
    User(ctx): User,
    Path(id): Path<i64>,
    Body(module_type): Body<IdBody>,
) -> Result<Response> {
    distribution_set_types::add_module_type(&ctx, id, module_type.read()?, true).await?;
    Ok(no_content())
}

/// Takes a type of modules that sets must have from a type.
#[utoipa::path(
    delete, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes/{softwareModuleTypeId}",
    responses((status = 204))
)]
async fn remove_mandatory_module_type(User(ctx): User, Path((id, module_type)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_types::remove_module_type(&ctx, id, module_type).await?;
    Ok(no_content())
}

/// The types of modules that sets of a type may have.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes",
    responses((status = 200, body = Vec<SoftwareModuleType>))
)]
async fn optional_module_types(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
) -> Result<Response> {
    let found = distribution_set_types::module_types(&ctx, id, false).await?;
    Ok(media.ok(&found.into_iter().map(|t| SoftwareModuleType::new(t, &base)).collect::<Vec<_>>()))
}

/// One type of modules that sets of a type may have.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes/{softwareModuleTypeId}",
    responses((status = 200, body = SoftwareModuleType))
)]
async fn optional_module_type(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((id, module_type)): Path<(i64, i64)>,
) -> Result<Response> {
    let found = distribution_set_types::module_type(&ctx, id, module_type, false).await?;
    Ok(media.ok(&SoftwareModuleType::new(found, &base)))
}

/// Makes a type of modules one that sets of a type may have.
#[utoipa::path(
    post, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes",
    request_body = IdBody, responses((status = 204))
)]
async fn add_optional_module_type(
    User(ctx): User,
    Path(id): Path<i64>,
    Body(module_type): Body<IdBody>,
) -> Result<Response> {
    distribution_set_types::add_module_type(&ctx, id, module_type.read()?, false).await?;
    Ok(no_content())
}

/// Takes a type of modules that sets may have from a type.
#[utoipa::path(
    delete, path = "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes/{softwareModuleTypeId}",
    responses((status = 204))
)]
async fn remove_optional_module_type(User(ctx): User, Path((id, module_type)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_types::remove_module_type(&ctx, id, module_type).await?;
    Ok(no_content())
}

/// A reference to another entity.
#[derive(Deserialize, ToSchema)]
pub struct IdBody {
    #[schema(required, nullable = false)]
    id: Option<i64>,
}

impl IdBody {
    pub fn read(self) -> Result<i64> {
        required("id", self.id)
    }

    pub fn read_all(ids: Option<Vec<IdBody>>) -> Result<Vec<i64>> {
        ids.unwrap_or_default().into_iter().map(IdBody::read).collect()
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewDistributionSetType)]
struct NewType {
    #[schema(required, nullable = false, max_length = 64)]
    key: Option<String>,
    #[schema(required, nullable = false, max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    #[schema(max_length = 16)]
    colour: Option<String>,
    mandatorymodules: Option<Vec<IdBody>>,
    optionalmodules: Option<Vec<IdBody>>,
}

impl NewType {
    fn read(self) -> Result<Create> {
        Ok(Create {
            key: required("key", self.key)?,
            name: required("name", self.name)?,
            description: self.description,
            colour: self.colour,
            mandatory: IdBody::read_all(self.mandatorymodules)?,
            optional: IdBody::read_all(self.optionalmodules)?,
        })
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributionSetType {
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
    #[serde(rename = "_links")]
    links: Links,
}

impl DistributionSetType {
    /// As in a list: with the link to itself only.
    pub fn compact(found: Model, base: &Base) -> DistributionSetType {
        let links = Links::this(href(base, found.id));
        DistributionSetType::new(found, links)
    }

    /// As on its own: with the links to its module types.
    pub fn full(found: Model, base: &Base) -> DistributionSetType {
        let this = href(base, found.id);
        let links = Links::this(this.as_str())
            .with("mandatorymodules", format!("{this}/mandatorymoduletypes"))
            .with("optionalmodules", format!("{this}/optionalmoduletypes"));
        DistributionSetType::new(found, links)
    }

    fn new(found: Model, links: Links) -> DistributionSetType {
        DistributionSetType {
            audit: audit_of!(found),
            name: found.name,
            description: found.description,
            key: found.type_key,
            deleted: found.deleted.unwrap_or(false),
            colour: found.colour,
            id: found.id,
            links,
        }
    }
}

pub fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/distributionsettypes/{id}"))
}
