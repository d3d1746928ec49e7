//! `/rest/v1/distributionsettags`, and which sets have which.

use axum::response::Response;
use kettle_domain::{
    distribution_set_tags::{self, KIND},
    tags,
};
use kettle_rest::{
    Accept, ApiError, AppState, Base, Body, BodyOfDelete, ListQuery, Paged, Path, Result, User, no_content,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    distribution_sets::DistributionSet,
    tags::{Tag, TagBody},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(sets, assign, unassign))
        .routes(routes!(assign_one, unassign_one))
}

/// A page of the tags of distribution sets.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettags",
    params(ListQuery), responses((status = 200, body = Paged<Tag>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = tags::list(&ctx, KIND, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|tag| compact(tag, &base)))))
}

/// One tag of distribution sets.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettags/{distributionsetTagId}",
    responses((status = 200, body = Tag))
)]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&full(tags::get(&ctx, KIND, id).await?, &base)))
}

/// Creates tags of distribution sets.
#[utoipa::path(
    post, path = "/rest/v1/distributionsettags",
    request_body = Vec<TagBody>, responses((status = 201, body = Vec<Tag>))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<TagBody>>) -> Result<Response> {
    let created = tags::create(&ctx, KIND, new.into_iter().map(Into::into).collect()).await?;
    Ok(media.created(&created.into_iter().map(|tag| compact(tag, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a tag.
#[utoipa::path(
    put, path = "/rest/v1/distributionsettags/{distributionsetTagId}",
    request_body = TagBody, responses((status = 200, body = Tag))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<TagBody>,
) -> Result<Response> {
    Ok(media.ok(&full(tags::update(&ctx, KIND, id, changes.into()).await?, &base)))
}

/// Deletes a tag, and takes it off all distribution sets.
#[utoipa::path(delete, path = "/rest/v1/distributionsettags/{distributionsetTagId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    tags::delete(&ctx, KIND, id).await?;
    Ok(no_content())
}

/// A page of the distribution sets that have a tag.
#[utoipa::path(
    get, path = "/rest/v1/distributionsettags/{distributionsetTagId}/assigned",
    params(ListQuery), responses((status = 200, body = Paged<DistributionSet>))
)]
async fn sets(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = distribution_set_tags::sets(&ctx, id, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|set| DistributionSet::compact(set, &base)))))
}

/// Puts a tag on distribution sets.
#[utoipa::path(
    post, path = "/rest/v1/distributionsettags/{distributionsetTagId}/assigned",
    request_body = Vec<i64>, responses((status = 204), (status = 406))
)]
async fn assign(
    User(ctx): User,
    _: Accept,
    Path(id): Path<i64>,
    Body(sets): Body<Vec<Option<i64>>>,
) -> Result<Response> {
    distribution_set_tags::assign(&ctx, id, &sets).await?;
    Ok(no_content())
}

/// Takes a tag off distribution sets.
#[utoipa::path(
    delete, path = "/rest/v1/distributionsettags/{distributionsetTagId}/assigned",
    request_body = Vec<i64>, responses((status = 204))
)]
async fn unassign(
    User(ctx): User,
    Path(id): Path<i64>,
    BodyOfDelete(sets): BodyOfDelete<Vec<Option<i64>>>,
) -> Result<Response> {
    let sets = sets.ok_or_else(|| ApiError::not_readable("Give a list of ids in the body, as application/json."))?;
    distribution_set_tags::unassign(&ctx, id, &sets).await?;
    Ok(no_content())
}

/// Puts a tag on a distribution set.
#[utoipa::path(
    post, path = "/rest/v1/distributionsettags/{distributionsetTagId}/assigned/{distributionsetId}",
    responses((status = 204))
)]
async fn assign_one(User(ctx): User, Path((id, set)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_tags::assign(&ctx, id, &[Some(set)]).await?;
    Ok(no_content())
}

/// Takes a tag off a distribution set.
#[utoipa::path(
    delete, path = "/rest/v1/distributionsettags/{distributionsetTagId}/assigned/{distributionsetId}",
    responses((status = 204))
)]
async fn unassign_one(User(ctx): User, Path((id, set)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_tags::unassign(&ctx, id, &[Some(set)]).await?;
    Ok(no_content())
}

fn compact(tag: tags::Tag, base: &Base) -> Tag {
    let href = href(base, tag.id);
    Tag::compact(tag, href)
}

fn full(tag: tags::Tag, base: &Base) -> Tag {
    let href = href(base, tag.id);
    Tag::full(tag, href, "assignedDistributionSets")
}

fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/distributionsettags/{id}"))
}
