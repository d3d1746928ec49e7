//! `/rest/v1/targettags`, and which targets have which.

use axum::response::Response;
use kettle_domain::{
    tags,
    target_tags::{self, KIND, NotFoundPolicy},
};
use kettle_rest::{Accept, AppState, Base, Body, ListQuery, Paged, Params, Path, Result, User, no_content, one_of};
use utoipa::{IntoParams, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    tags::{Tag, TagBody},
    targets::Target,
};

const POLICIES: [(&str, NotFoundPolicy); 3] = [
    ("FAIL", NotFoundPolicy::Fail),
    ("ON_WHAT_FOUND_AND_FAIL", NotFoundPolicy::ChangeFoundAndFail),
    ("ON_WHAT_FOUND_AND_SUCCESS", NotFoundPolicy::ChangeFound),
];

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(targets, assign, unassign))
        .routes(routes!(assign_one, unassign_one))
}

/// A page of the tags of targets.
#[utoipa::path(get, path = "/rest/v1/targettags", params(ListQuery), responses((status = 200, body = Paged<Tag>)))]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = tags::list(&ctx, KIND, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|tag| compact(tag, &base)))))
}

/// One tag of targets.
#[utoipa::path(get, path = "/rest/v1/targettags/{targetTagId}", responses((status = 200, body = Tag)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&full(tags::get(&ctx, KIND, id).await?, &base)))
}

/// Creates tags of targets.
#[utoipa::path(
    post, path = "/rest/v1/targettags",
    request_body = Vec<TagBody>, responses((status = 201, body = Vec<Tag>))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<TagBody>>) -> Result<Response> {
    let created = tags::create(&ctx, KIND, new.into_iter().map(Into::into).collect()).await?;
    Ok(media.created(&created.into_iter().map(|tag| compact(tag, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a tag.
#[utoipa::path(
    put, path = "/rest/v1/targettags/{targetTagId}",
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

/// Deletes a tag, and takes it off all targets.
#[utoipa::path(delete, path = "/rest/v1/targettags/{targetTagId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    target_tags::delete(&ctx, id).await?;
    Ok(no_content())
}

/// A page of the targets that have a tag.
#[utoipa::path(
    get, path = "/rest/v1/targettags/{targetTagId}/assigned",
    params(ListQuery), responses((status = 200, body = Paged<Target>))
)]
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

/// Puts a tag on targets.
#[utoipa::path(
    post, path = "/rest/v1/targettags/{targetTagId}/assigned",
    params(OnUnknown), request_body = Vec<String>, responses((status = 204))
)]
async fn assign(
    User(ctx): User,
    Path(id): Path<i64>,
    params: Params,
    Body(controller_ids): Body<Vec<Option<String>>>,
) -> Result<Response> {
    target_tags::assign(&ctx, id, &controller_ids, policy(&params)?).await?;
    Ok(no_content())
}

/// Takes a tag off targets.
#[utoipa::path(
    delete, path = "/rest/v1/targettags/{targetTagId}/assigned",
    params(OnUnknown), request_body = Vec<String>, responses((status = 204))
)]
async fn unassign(
    User(ctx): User,
    Path(id): Path<i64>,
    params: Params,
    Body(controller_ids): Body<Vec<Option<String>>>,
) -> Result<Response> {
    target_tags::unassign(&ctx, id, &controller_ids, policy(&params)?).await?;
    Ok(no_content())
}

/// Puts a tag on a target.
#[utoipa::path(post, path = "/rest/v1/targettags/{targetTagId}/assigned/{controllerId}", responses((status = 204)))]
async fn assign_one(User(ctx): User, Path((id, controller_id)): Path<(i64, String)>) -> Result<Response> {
    target_tags::assign(&ctx, id, &[Some(controller_id)], NotFoundPolicy::Fail).await?;
    Ok(no_content())
}

/// Takes a tag off a target.
#[utoipa::path(delete, path = "/rest/v1/targettags/{targetTagId}/assigned/{controllerId}", responses((status = 204)))]
async fn unassign_one(User(ctx): User, Path((id, controller_id)): Path<(i64, String)>) -> Result<Response> {
    target_tags::unassign(&ctx, id, &[Some(controller_id)], NotFoundPolicy::Fail).await?;
    Ok(no_content())
}

/// Names what [`policy`] reads in the API's document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "only its name and type are wanted")]
struct OnUnknown {
    /// What becomes of the others if some targets are unknown.
    #[param(schema_with = policies, required = false)]
    on_not_found_policy: Option<String>,
}

fn policies() -> Object {
    one_of(&POLICIES.map(|(name, _)| name))
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
