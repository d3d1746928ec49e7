//! `/rest/v1/actions` and `/rest/v1/targets/{targetId}/actions`: what is under way, and what was.

use axum::response::Response;
use kettle_domain::actions::{self, ActionStatus, ActionType, Selected, SelectedOfTarget, Shown, StatusShown};
use kettle_rest::{
    Accept, ApiError, AppState, Base, Body, BodyOfDelete, Links, ListQuery, Paged, Paging, Params, Path,
    Representation, Result, User, no_content, one_of,
};
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    assignments::Urgency,
    audit::{Audit, audit_of},
    targets,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, delete_selected))
        .routes(routes!(one, delete))
        .routes(routes!(list_of_target, delete_of_target))
        .routes(routes!(one_of_target, update, cancel))
        .routes(routes!(statuses))
}

/// A page of the actions.
#[utoipa::path(
    get, path = "/rest/v1/actions",
    params(ListQuery, Representation), responses((status = 200, body = Paged<Action>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = actions::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|action| Action::listed(action, query.full, &base)))))
}

/// One action.
#[utoipa::path(get, path = "/rest/v1/actions/{actionId}", responses((status = 200, body = Action)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&Action::full(actions::get(&ctx, id).await?, &base)))
}

/// Deletes an action with its statuses, whatever its state.
#[utoipa::path(delete, path = "/rest/v1/actions/{actionId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    actions::delete(&ctx, id).await?;
    Ok(no_content())
}

/// Deletes the actions that a search finds, or those of a list of ids: one of the two.
#[utoipa::path(
    delete, path = "/rest/v1/actions",
    params(("q" = Option<String>, Query)), request_body = Option<Vec<i64>>, responses((status = 204))
)]
async fn delete_selected(
    User(ctx): User,
    params: Params,
    BodyOfDelete(ids): BodyOfDelete<Option<Vec<i64>>>,
) -> Result<Response> {
    let search = params.text("q").filter(|q| !q.is_empty());
    let selected = match (search, ids.flatten().filter(|ids| !ids.is_empty())) {
        (Some(q), None) => Selected::Search(q.into_owned()),
        (None, Some(ids)) => Selected::Ids(ids),
        _ => return Err(ApiError::not_readable("Give either q or a list of ids in the body.")),
    };
    actions::delete_selected(&ctx, selected).await?;
    Ok(no_content())
}

/// Deletes a target's actions: all but the newest, or those of a list of ids.
#[utoipa::path(
    delete, path = "/rest/v1/targets/{targetId}/actions",
    params(("keepLast" = Option<i32>, Query)), request_body = Option<Vec<i64>>, responses((status = 204))
)]
async fn delete_of_target(
    User(ctx): User,
    Path(target): Path<String>,
    params: Params,
    BodyOfDelete(ids): BodyOfDelete<Option<Vec<Option<i64>>>>,
) -> Result<Response> {
    // hawkBit: a negative number is none.
    let keep_last = params.int("keepLast")?.and_then(|n| u64::try_from(n).ok());
    let selected = match (keep_last, ids.flatten().filter(|ids| !ids.is_empty())) {
        (Some(keep), None) => SelectedOfTarget::AllButNewest(keep),
        (None, Some(ids)) => SelectedOfTarget::Ids(ids.into_iter().flatten().collect()),
        _ => return Err(ApiError::not_readable("Give either keepLast or a list of ids in the body.")),
    };
    actions::delete_of_target(&ctx, &target, selected).await?;
    Ok(no_content())
}

/// A page of a target's actions.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/actions",
    params(ListQuery), responses((status = 200, body = Paged<Action>))
)]
async fn list_of_target(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(target): Path<String>,
    query: ListQuery,
) -> Result<Response> {
    let page = actions::list_of_target(&ctx, &target, &query.listing).await?;
    // hawkBit: this list, unlike that of all actions, is never in full.
    Ok(media.ok(&Paged::from(page.map(|action| Action::compact(action, &base)))))
}

/// One of a target's actions.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/actions/{actionId}",
    responses(
        (status = 200, body = Action),
        (status = 404, description = "No body, if the action is another target's.")
    )
)]
async fn one_of_target(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((target, id)): Path<(String, i64)>,
) -> Result<Response> {
    match actions::get_of_target(&ctx, &target, id).await? {
        Some(action) => Ok(media.ok(&Action::full(action, &base))),
        None => Err(ApiError::empty(axum::http::StatusCode::NOT_FOUND)),
    }
}

/// Makes an action a forced one.
#[utoipa::path(
    put, path = "/rest/v1/targets/{targetId}/actions/{actionId}",
    request_body = ActionBody,
    responses(
        (status = 200, body = Action),
        (status = 404, description = "No body, if the action is another target's.")
    )
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((target, id)): Path<(String, i64)>,
    Body(update): Body<ActionBody>,
) -> Result<Response> {
    let forced = update.force_type.is_some_and(|urgency| ActionType::from(urgency) == ActionType::Forced);
    Ok(media.ok(&Action::full(actions::force(&ctx, &target, id, forced).await?, &base)))
}

/// Cancels an action, or ends one that the device does not cancel.
#[utoipa::path(
    delete, path = "/rest/v1/targets/{targetId}/actions/{actionId}",
    params(("force" = Option<bool>, Query)),
    responses(
        (status = 204),
        (status = 404, description = "No body, if the action is another target's."),
        (status = 405)
    )
)]
async fn cancel(User(ctx): User, Path((target, id)): Path<(String, i64)>, params: Params) -> Result<Response> {
    if params.flag("force")?.unwrap_or(false) {
        actions::force_quit(&ctx, &target, id).await?;
    } else {
        actions::cancel(&ctx, &target, id).await?;
    }
    Ok(no_content())
}

/// A page of what became of an action.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/actions/{actionId}/status",
    params(Paging),
    responses(
        (status = 200, body = Paged<ActionStatusShown>),
        (status = 404, description = "No body, if the action is another target's.")
    )
)]
async fn statuses(
    User(ctx): User,
    Accept(media): Accept,
    Path((target, id)): Path<(String, i64)>,
    query: ListQuery,
) -> Result<Response> {
    let page = actions::statuses(&ctx, &target, id, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(ActionStatusShown::from))))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActionBody {
    force_type: Option<Urgency>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Action {
    #[serde(flatten)]
    audit: Audit,
    id: i64,
    #[schema(schema_with = types)]
    r#type: &'static str,
    #[schema(schema_with = status_names)]
    status: &'static str,
    active: bool,
    #[schema(schema_with = force_types)]
    force_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    force_time: Option<i64>,
    weight: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance_window: Option<MaintenanceWindow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_ref: Option<String>,
    #[serde(rename = "_links")]
    links: Links,
}

fn types() -> Object {
    one_of(&["update", "cancel"])
}

fn status_names() -> Object {
    one_of(ActionStatus::NAMES)
}

fn force_types() -> Object {
    one_of(ActionType::NAMES)
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MaintenanceWindow {
    schedule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_start_at: Option<i64>,
}

impl Action {
    fn listed(shown: Shown, full: bool, base: &Base) -> Action {
        if full { Action::full(shown, base) } else { Action::compact(shown, base) }
    }

    fn compact(shown: Shown, base: &Base) -> Action {
        let links = Links::this(href(base, &shown.controller_id, shown.action.id));
        Action::new(shown, links)
    }

    fn full(shown: Shown, base: &Base) -> Action {
        let this = href(base, &shown.controller_id, shown.action.id);
        let set = base.href(&format!("/rest/v1/distributionsets/{}", shown.action.distribution_set));
        let mut links = Links::this(this.as_str())
            .with_name("target", targets::href(base, &shown.controller_id), shown.target_name.as_str())
            .with_name("distributionset", set, format!("{}:{}", shown.set_name, shown.set_version))
            .with("status", format!("{this}/status?offset=0&limit=50&sort=id%3ADESC"));
        if shown.action.is_canceling_or_canceled() {
            links = links.with("canceledaction", this);
        }
        if let (Some(id), Some(name)) = (shown.action.rollout, &shown.rollout_name) {
            links = links.with_name("rollout", base.href(&format!("/rest/v1/rollouts/{id}")), name.as_str());
        }
        Action::new(shown, links)
    }

    fn new(shown: Shown, links: Links) -> Action {
        let action = shown.action;
        let time_forced = action.action_type() == ActionType::TimeForced;
        Action {
            audit: audit_of!(action),
            id: action.id,
            r#type: if action.is_canceling_or_canceled() { "cancel" } else { "update" },
            status: action.status().name(),
            active: action.is_active(),
            force_type: action.action_type().name(),
            force_time: action.forced_time.filter(|_| time_forced),
            weight: action.weight,
            maintenance_window: action.maintenance_cron_schedule.map(|schedule| MaintenanceWindow {
                schedule,
                duration: action.maintenance_duration,
                timezone: action.maintenance_time_zone,
                next_start_at: shown.window_next_start,
            }),
            last_status_code: action.last_action_status_code,
            rollout: action.rollout,
            rollout_name: shown.rollout_name,
            external_ref: action.external_ref,
            links,
        }
    }
}

/// The address of an action.
pub fn href(base: &Base, controller_id: &str, id: i64) -> String {
    format!("{}/actions/{id}", targets::href(base, controller_id))
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActionStatusShown {
    id: i64,
    #[schema(schema_with = status_names)]
    r#type: &'static str,
    messages: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_at: Option<i64>,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
}

impl From<StatusShown> for ActionStatusShown {
    fn from(shown: StatusShown) -> ActionStatusShown {
        ActionStatusShown {
            id: shown.status.id,
            r#type: ActionStatus::from_code(shown.status.status).name(),
            messages: shown.messages,
            reported_at: shown.status.created_at,
            timestamp: shown.status.target_occurred_at,
            code: shown.status.code,
        }
    }
}
