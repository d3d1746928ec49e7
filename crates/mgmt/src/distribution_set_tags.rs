//! `/rest/v1/distributionsettags`, and which sets have which.

use axum::{Router, response::Response, routing::get};
use kettle_domain::{
    distribution_set_tags::{self, KIND},
    tags,
};
use kettle_rest::{Accept, AppState, Base, Body, ListQuery, Paged, Path, Result, User, no_content};

use crate::{
    distribution_sets::DistributionSet,
    tags::{Tag, TagBody},
};

pub fn routes() -> Router<AppState> {
    let assigned = "/rest/v1/distributionsettags/{distributionsetTagId}/assigned";
    Router::new()
        .route("/rest/v1/distributionsettags", get(list).post(create))
        .route("/rest/v1/distributionsettags/{distributionsetTagId}", get(one).put(update).delete(delete))
        .route(assigned, get(sets).post(assign).delete(unassign))
        .route(&format!("{assigned}/{{distributionsetId}}"), axum::routing::post(assign_one).delete(unassign_one))
}

async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = tags::list(&ctx, KIND, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|tag| compact(tag, &base)))))
}

async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&full(tags::get(&ctx, KIND, id).await?, &base)))
}

async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<TagBody>>) -> Result<Response> {
    let created = tags::create(&ctx, KIND, new.into_iter().map(Into::into).collect()).await?;
    Ok(media.created(&created.into_iter().map(|tag| compact(tag, &base)).collect::<Vec<_>>()))
}

async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<TagBody>,
) -> Result<Response> {
    Ok(media.ok(&full(tags::update(&ctx, KIND, id, changes.into()).await?, &base)))
}

async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    tags::delete(&ctx, KIND, id).await?;
    Ok(no_content())
}

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

async fn assign(User(ctx): User, _: Accept, Path(id): Path<i64>, Body(sets): Body<Vec<i64>>) -> Result<Response> {
    distribution_set_tags::assign(&ctx, id, &sets).await?;
    Ok(no_content())
}

async fn unassign(User(ctx): User, Path(id): Path<i64>, Body(sets): Body<Vec<i64>>) -> Result<Response> {
    distribution_set_tags::unassign(&ctx, id, &sets).await?;
    Ok(no_content())
}

async fn assign_one(User(ctx): User, Path((id, set)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_tags::assign(&ctx, id, &[set]).await?;
    Ok(no_content())
}

async fn unassign_one(User(ctx): User, Path((id, set)): Path<(i64, i64)>) -> Result<Response> {
    distribution_set_tags::unassign(&ctx, id, &[set]).await?;
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
