//! `/rest/v1/distributionsettypes`, and the types of modules that each one holds.

use axum::{
    Router,
    response::Response,
    routing::{delete as remove, get},
};
use kettle_domain::distribution_set_types::{self, Create, Model, Update};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{Audit, audit_of},
    software_module_types::{SoftwareModuleType, TypeChanges, required},
};

const MANDATORY: &str = "/rest/v1/distributionsettypes/{distributionSetTypeId}/mandatorymoduletypes";
const OPTIONAL: &str = "/rest/v1/distributionsettypes/{distributionSetTypeId}/optionalmoduletypes";

pub fn routes() -> Router<AppState> {
    let one_module_type = "{softwareModuleTypeId}";
    Router::new()
        .route("/rest/v1/distributionsettypes", get(list).post(create))
        .route("/rest/v1/distributionsettypes/{distributionSetTypeId}", get(one).put(update).delete(delete))
        .route(MANDATORY, get(module_types::<true>).post(add_module_type::<true>))
        .route(OPTIONAL, get(module_types::<false>).post(add_module_type::<false>))
        .route(&format!("{MANDATORY}/{one_module_type}"), remove(remove_module_type).get(module_type::<true>))
        .route(&format!("{OPTIONAL}/{one_module_type}"), remove(remove_module_type).get(module_type::<false>))
}

async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = distribution_set_types::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|found| DistributionSetType::compact(found, &base)))))
}

async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&DistributionSetType::full(distribution_set_types::get(&ctx, id).await?, &base)))
}

async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<NewType>>) -> Result<Response> {
    let new = new.into_iter().map(NewType::read).collect::<Result<_>>()?;
    let created = distribution_set_types::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|t| DistributionSetType::compact(t, &base)).collect::<Vec<_>>()))
}

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

async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    distribution_set_types::delete(&ctx, id).await?;
    Ok(no_content())
}

async fn module_types<const MANDATORY: bool>(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
) -> Result<Response> {
    let found = distribution_set_types::module_types(&ctx, id, MANDATORY).await?;
    Ok(media.ok(&found.into_iter().map(|t| SoftwareModuleType::new(t, &base)).collect::<Vec<_>>()))
}

async fn module_type<const MANDATORY: bool>(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((id, module_type)): Path<(i64, i64)>,
) -> Result<Response> {
    let found = distribution_set_types::module_type(&ctx, id, module_type, MANDATORY).await?;
    Ok(media.ok(&SoftwareModuleType::new(found, &base)))
}

async fn add_module_type<const MANDATORY: bool>(
    User(ctx): User,
    Path(id): Path<i64>,
    Body(module_type): Body<IdBody>,
) -> Result<Response> {
    distribution_set_types::add_module_type(&ctx, id, module_type.read()?, MANDATORY).await?;
    Ok(no_content())
}

async fn remove_module_type(User(ctx): User, Path((id, module_type)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_types::remove_module_type(&ctx, id, module_type).await?;
    Ok(no_content())
}

/// A reference to another entity.
#[derive(Deserialize)]
pub struct IdBody {
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

#[derive(Deserialize)]
struct NewType {
    key: Option<String>,
    name: Option<String>,
    description: Option<String>,
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

#[derive(Clone, Debug, Serialize)]
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
