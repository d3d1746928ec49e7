//! `/rest/v1/targetgroups`: the groups that targets are in.

use std::borrow::Cow;

use axum::{
    Router,
    http::StatusCode,
    response::Response,
    routing::{get, put},
};
use kettle_domain::targets::groups;
use kettle_rest::{Accept, ApiError, AppState, Base, Body, ListQuery, Paged, Params, Path, Result, User, no_content};

use crate::targets::Target;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/rest/v1/targetgroups", get(list).put(assign_matching).delete(unassign_matching))
        .route("/rest/v1/targetgroups/assigned", get(assigned).put(assign).delete(unassign))
        .route("/rest/v1/targetgroups/{group}", put(assign_matching_to))
        .route("/rest/v1/targetgroups/{group}/assigned", get(assigned_to).put(assign_to))
}

async fn list(User(ctx): User, Accept(media): Accept) -> Result<Response> {
    Ok(media.ok(&groups::list(&ctx).await?))
}

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

async fn assign(User(ctx): User, params: Params, Body(ids): Body<Vec<String>>) -> Result<Response> {
    groups::assign(&ctx, Some(&required(&params, "group")?), ids).await?;
    Ok(no_content())
}

async fn assign_to(User(ctx): User, Path(group): Path<String>, Body(ids): Body<Vec<String>>) -> Result<Response> {
    groups::assign(&ctx, Some(&group), ids).await?;
    Ok(no_content())
}

async fn unassign(User(ctx): User, Body(ids): Body<Vec<String>>) -> Result<Response> {
    groups::assign(&ctx, None, ids).await?;
    Ok(no_content())
}

async fn assign_matching(User(ctx): User, params: Params) -> Result<Response> {
    groups::assign_matching(&ctx, Some(&required(&params, "group")?), &required(&params, "q")?).await?;
    Ok(no_content())
}

async fn assign_matching_to(User(ctx): User, Path(group): Path<String>, params: Params) -> Result<Response> {
    groups::assign_matching(&ctx, Some(&group), &required(&params, "q")?).await?;
    Ok(no_content())
}

async fn unassign_matching(User(ctx): User, params: Params) -> Result<Response> {
    groups::assign_matching(&ctx, None, &required(&params, "q")?).await?;
    Ok(no_content())
}

fn required<'a>(params: &'a Params, name: &str) -> Result<Cow<'a, str>> {
    params.text(name).ok_or_else(|| ApiError::plain(StatusCode::BAD_REQUEST))
}
