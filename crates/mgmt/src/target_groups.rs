//! `/rest/v1/targetgroups`: the groups that targets are in.

use std::borrow::Cow;

use axum::{http::StatusCode, response::Response};
use kettle_domain::targets::groups;
use kettle_rest::{
    Accept, ApiError, AppState, Base, Body, BodyOfDelete, ListQuery, Paged, Paging, Params, Path, Result, User,
    no_content,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::targets::Target;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, assign_matching, unassign_matching))
        .routes(routes!(assigned, assign, unassign))
        .routes(routes!(assign_matching_to))
        .routes(routes!(assigned_to, assign_to))
}

/// The groups that targets are in.
#[utoipa::path(get, path = "/rest/v1/targetgroups", responses((status = 200, body = Vec<String>)))]
async fn list(User(ctx): User, Accept(media): Accept) -> Result<Response> {
    Ok(media.ok(&groups::list(&ctx).await?))
}

/// A page of the targets in a group, or in its subgroups too.
#[utoipa::path(
    get, path = "/rest/v1/targetgroups/assigned",
    params(("group" = String, Query), ("subgroups" = Option<bool>, Query), Paging),
    responses((status = 200, body = Paged<Target>))
)]
async fn assigned(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    params: Params,
    query: ListQuery,
) -> Result<Response> {
    let subgroups = params.flag("subgroups")?.unwrap_or(false);
    let page = groups::targets(&ctx, &required(&params, "group")?, subgroups, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

/// A page of the targets in a group.
#[utoipa::path(
    get, path = "/rest/v1/targetgroups/{group}/assigned",
    params(Paging), responses((status = 200, body = Paged<Target>))
)]
async fn assigned_to(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(group): Path<String>,
    query: ListQuery,
) -> Result<Response> {
    let page = groups::targets(&ctx, &group, false, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

/// Puts targets into a group, which may have slashes in its name.
#[utoipa::path(
    put, path = "/rest/v1/targetgroups/assigned",
    params(("group" = String, Query)), request_body = Vec<String>, responses((status = 204))
)]
async fn assign(User(ctx): User, params: Params, Body(ids): Body<Vec<Option<String>>>) -> Result<Response> {
    groups::assign(&ctx, Some(&required(&params, "group")?), ids).await?;
    Ok(no_content())
}

/// Puts targets into a group.
#[utoipa::path(
    put, path = "/rest/v1/targetgroups/{group}/assigned",
    request_body = Vec<String>, responses((status = 204))
)]
async fn assign_to(
    User(ctx): User,
    Path(group): Path<String>,
    Body(ids): Body<Vec<Option<String>>>,
) -> Result<Response> {
    groups::assign(&ctx, Some(&group), ids).await?;
    Ok(no_content())
}

/// Takes targets out of their groups.
#[utoipa::path(delete, path = "/rest/v1/targetgroups/assigned", request_body = Vec<String>, responses((status = 204)))]
async fn unassign(User(ctx): User, BodyOfDelete(ids): BodyOfDelete<Option<Vec<Option<String>>>>) -> Result<Response> {
    groups::assign(&ctx, None, ids.flatten().unwrap_or_default()).await?;
    Ok(no_content())
}

/// Puts the targets that a search finds into a group, which may have slashes in its name.
#[utoipa::path(
    put, path = "/rest/v1/targetgroups",
    params(("group" = String, Query), ("q" = String, Query)), responses((status = 204))
)]
async fn assign_matching(User(ctx): User, params: Params) -> Result<Response> {
    groups::assign_matching(&ctx, Some(&required(&params, "group")?), Some(&required(&params, "q")?)).await?;
    Ok(no_content())
}

/// Puts the targets that a search finds into a group.
#[utoipa::path(put, path = "/rest/v1/targetgroups/{group}", params(("q" = String, Query)), responses((status = 204)))]
async fn assign_matching_to(User(ctx): User, Path(group): Path<String>, params: Params) -> Result<Response> {
    groups::assign_matching(&ctx, Some(&group), Some(&required(&params, "q")?)).await?;
    Ok(no_content())
}

/// Takes the targets that a search finds out of their groups.
#[utoipa::path(delete, path = "/rest/v1/targetgroups", params(("q" = String, Query)), responses((status = 204)))]
async fn unassign_matching(User(ctx): User, params: Params) -> Result<Response> {
    groups::assign_matching(&ctx, None, params.text("q").as_deref()).await?;
    Ok(no_content())
}

fn required<'a>(params: &'a Params, name: &str) -> Result<Cow<'a, str>> {
    params.text(name).ok_or_else(|| ApiError::plain(StatusCode::BAD_REQUEST))
}
