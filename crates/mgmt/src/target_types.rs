//! `/rest/v1/targettypes`, and the types of distribution sets that each one is compatible with.

use axum::{
    Router,
    response::Response,
    routing::{delete as remove, get},
};
use kettle_domain::target_types::{self, Create, Model, Update};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};

use crate::{
    audit::{Audit, audit_of},
    distribution_set_types::{DistributionSetType, IdBody},
};

const COMPATIBLE: &str = "/rest/v1/targettypes/{targetTypeId}/compatibledistributionsettypes";

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/rest/v1/targettypes", get(list).post(create))
        .route("/rest/v1/targettypes/{targetTypeId}", get(one).put(update).delete(delete))
        .route(COMPATIBLE, get(compatible).post(add_compatible))
        .route(&format!("{COMPATIBLE}/{{distributionSetTypeId}}"), remove(remove_compatible))
}

async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = target_types::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|found| TargetType::compact(found, &base)))))
}

async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&TargetType::full(target_types::get(&ctx, id).await?, &base)))
}

async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<NewType>>) -> Result<Response> {
    let new = new.into_iter().map(NewType::read).collect::<Result<_>>()?;
    let created = target_types::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|t| TargetType::compact(t, &base)).collect::<Vec<_>>()))
}

async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<TypeChanges>,
) -> Result<Response> {
    Ok(media.ok(&TargetType::full(target_types::update(&ctx, id, changes.into()).await?, &base)))
}

async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    target_types::delete(&ctx, id).await?;
    Ok(no_content())
}

async fn compatible(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    let found = target_types::compatible(&ctx, id).await?;
    Ok(media.ok(&found.into_iter().map(|t| DistributionSetType::compact(t, &base)).collect::<Vec<_>>()))
}

async fn add_compatible(User(ctx): User, Path(id): Path<i64>, Body(new): Body<Vec<IdBody>>) -> Result<Response> {
    target_types::add_compatible(&ctx, id, &IdBody::read_all(Some(new))?).await?;
    Ok(no_content())
}

async fn remove_compatible(User(ctx): User, Path((id, set_type)): Path<(i64, i64)>) -> Result<Response> {
    target_types::remove_compatible(&ctx, id, set_type).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
struct NewType {
    key: Option<String>,
    name: Option<String>,
    description: Option<String>,
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

#[derive(Deserialize)]
struct TypeChanges {
    name: Option<String>,
    description: Option<String>,
    colour: Option<String>,
}

impl From<TypeChanges> for Update {
    fn from(body: TypeChanges) -> Update {
        Update { name: body.name, description: body.description, colour: body.colour }
    }
}

#[derive(Clone, Debug, Serialize)]
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
