//! `/rest/v1/targettags`, and which targets have which.

use axum::{Router, response::Response, routing::get};
use kettle_domain::{
    tags,
    target_tags::{self, KIND, NotFoundPolicy},
};
use kettle_rest::{Accept, AppState, Base, Body, ListQuery, Paged, Params, Path, Result, User, no_content};

use crate::{
    tags::{Tag, TagBody},
    targets::Target,
};

const POLICIES: [(&str, NotFoundPolicy); 3] = [
    ("FAIL", NotFoundPolicy::Fail),
    ("ON_WHAT_FOUND_AND_FAIL", NotFoundPolicy::ChangeFoundAndFail),
    ("ON_WHAT_FOUND_AND_SUCCESS", NotFoundPolicy::ChangeFound),
];

pub fn routes() -> Router<AppState> {
    let assigned = "/rest/v1/targettags/{targetTagId}/assigned";
    Router::new()
        .route("/rest/v1/targettags", get(list).post(create))
        .route("/rest/v1/targettags/{targetTagId}", get(one).put(update).delete(delete))
        .route(assigned, get(targets).post(assign).delete(unassign))
        .route(&format!("{assigned}/{{controllerId}}"), axum::routing::post(assign_one).delete(unassign_one))
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
    target_tags::delete(&ctx, id).await?;
    Ok(no_content())
}

async fn targets(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = target_tags::targets(&ctx, id, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

async fn assign(
    User(ctx): User,
    Path(id): Path<i64>,
    params: Params,
    Body(controller_ids): Body<Vec<String>>,
) -> Result<Response> {
    target_tags::assign(&ctx, id, &controller_ids, policy(&params)?).await?;
    Ok(no_content())
}

async fn unassign(
    User(ctx): User,
    Path(id): Path<i64>,
    params: Params,
    Body(controller_ids): Body<Vec<String>>,
) -> Result<Response> {
    target_tags::unassign(&ctx, id, &controller_ids, policy(&params)?).await?;
    Ok(no_content())
}

async fn assign_one(User(ctx): User, Path((id, controller_id)): Path<(i64, String)>) -> Result<Response> {
    target_tags::assign(&ctx, id, &[controller_id], NotFoundPolicy::Fail).await?;
    Ok(no_content())
}

async fn unassign_one(User(ctx): User, Path((id, controller_id)): Path<(i64, String)>) -> Result<Response> {
    target_tags::unassign(&ctx, id, &[controller_id], NotFoundPolicy::Fail).await?;
    Ok(no_content())
}

fn policy(params: &Params) -> Result<NotFoundPolicy> {
    Ok(params.choice("onNotFoundPolicy", &POLICIES)?.unwrap_or(NotFoundPolicy::Fail))
}

/// A tag with the link to itself only.
pub fn compact(tag: tags::Tag, base: &Base) -> Tag {
    let href = href(base, tag.id);
    Tag::compact(tag, href)
}

fn full(tag: tags::Tag, base: &Base) -> Tag {
    let href = href(base, tag.id);
    Tag::full(tag, href, "assignedTargets")
}

fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/targettags/{id}"))
}
