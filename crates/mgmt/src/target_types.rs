//! `/rest/v1/targettypes`, and the types of distribution sets that each one is compatible with.

use axum::response::Response;
use kettle_domain::target_types::{self, Create, Model, Update};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    distribution_set_types::{DistributionSetType, IdBody},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(compatible, add_compatible))
        .routes(routes!(remove_compatible))
}

/// A page of the types of targets.
#[utoipa::path(
    get, path = "/rest/v1/targettypes",
    params(ListQuery), responses((status = 200, body = Paged<TargetType>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = target_types::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|found| TargetType::compact(found, &base)))))
}

/// One type of targets.
#[utoipa::path(get, path = "/rest/v1/targettypes/{targetTypeId}", responses((status = 200, body = TargetType)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&TargetType::full(target_types::get(&ctx, id).await?, &base)))
}

/// Creates types of targets.
#[utoipa::path(
    post, path = "/rest/v1/targettypes",
    request_body = Vec<NewType>, responses((status = 201, body = Vec<TargetType>))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<NewType>>) -> Result<Response> {
    let new = new.into_iter().map(NewType::read).collect::<Result<_>>()?;
    let created = target_types::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|t| TargetType::compact(t, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a type.
#[utoipa::path(
    put, path = "/rest/v1/targettypes/{targetTypeId}",
    request_body = TypeChanges, responses((status = 200, body = TargetType))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<TypeChanges>,
) -> Result<Response> {
    Ok(media.ok(&TargetType::full(target_types::update(&ctx, id, changes.into()).await?, &base)))
}

/// Deletes a type that no target has.
#[utoipa::path(delete, path = "/rest/v1/targettypes/{targetTypeId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    target_types::delete(&ctx, id).await?;
    Ok(no_content())
}

/// The types of distribution sets that targets of a type take.
#[utoipa::path(
    get, path = "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes",
    responses((status = 200, body = Vec<DistributionSetType>))
)]
async fn compatible(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    let found = target_types::compatible(&ctx, id).await?;
    Ok(media.ok(&found.into_iter().map(|t| DistributionSetType::compact(t, &base)).collect::<Vec<_>>()))
}

/// Lets targets of a type take sets of more types.
#[utoipa::path(
    post, path = "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes",
    request_body = Vec<IdBody>, responses((status = 204))
)]
async fn add_compatible(User(ctx): User, Path(id): Path<i64>, Body(new): Body<Vec<IdBody>>) -> Result<Response> {
    target_types::add_compatible(&ctx, id, &IdBody::read_all(Some(new))?).await?;
    Ok(no_content())
}

/// Lets targets of a type take sets of one type no more.
#[utoipa::path(
    delete, path = "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes/{distributionSetTypeId}",
    responses((status = 204))
)]
async fn remove_compatible(User(ctx): User, Path((id, set_type)): Path<(i64, i64)>) -> Result<Response> {
    target_types::remove_compatible(&ctx, id, set_type).await?;
    Ok(no_content())
}

/// Of key and name, one stands for both.
#[derive(Deserialize, ToSchema)]
#[schema(as = NewTargetType)]
struct NewType {
    #[schema(max_length = 64)]
    key: Option<String>,
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    #[schema(max_length = 16)]
    colour: Option<String>,
    compatibledistributionsettypes: Option<Vec<IdBody>>,
}

impl NewType {
    fn read(self) -> Result<Create> {
        Ok(Create {
            key: self.key,
            name: self.name,
            description: self.description,
            colour: self.colour,
            compatible: IdBody::read_all(self.compatibledistributionsettypes)?,
        })
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = TargetTypeChanges)]
struct TypeChanges {
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    #[schema(max_length = 16)]
    colour: Option<String>,
}

impl From<TypeChanges> for Update {
    fn from(body: TypeChanges) -> Update {
        Update { name: body.name, description: body.description, colour: body.colour }
    }
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct TargetType {
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

impl TargetType {
    /// As in a list: with the link to itself only.
    fn compact(found: Model, base: &Base) -> TargetType {
        let links = Links::this(href(base, found.id));
        TargetType::new(found, links)
    }

    /// As on its own: with the link to what it is compatible with.
    fn full(found: Model, base: &Base) -> TargetType {
        let this = href(base, found.id);
        let compatible = format!("{this}/compatibledistributionsettypes");
        TargetType::new(found, Links::this(this).with("compatibledistributionsettypes", compatible))
    }

    fn new(found: Model, links: Links) -> TargetType {
        TargetType {
            audit: audit_of!(found),
            name: found.name,
            description: found.description,
            key: found.type_key,
            // They are deleted for good.
            deleted: false,
            colour: found.colour,
            id: found.id,
            links,
        }
    }
}

pub fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/targettypes/{id}"))
}
