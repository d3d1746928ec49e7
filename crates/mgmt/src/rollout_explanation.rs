//! `/rest/v1/rollouts/{rolloutId}/explanation`: why a rollout waits. Ours; hawkBit has no such resource.

use axum::response::Response;
use kettle_domain::rollouts::{
    RolloutStatus,
    explain::{self, Explanation, Failure, Running, Threshold, WaitingFor},
};
use kettle_rest::{Accept, AppState, Base, Links, Path, Result, User, one_of};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::rollouts::href;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(explanation))
}

/// Why a rollout waits, for what, and since when.
#[utoipa::path(
    get, path = "/rest/v1/rollouts/{rolloutId}/explanation",
    responses((status = 200, body = RolloutExplanation))
)]
async fn explanation(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&RolloutExplanation::new(explain::get(&ctx, id).await?, &base)))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RolloutExplanation {
    #[schema(schema_with = statuses)]
    status: &'static str,
    #[schema(schema_with = codes)]
    waiting_for: &'static str,
    /// Epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    /// The same and more, in sentences.
    message: String,
    /// While that time is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_at: Option<i64>,
    /// Those that run.
    groups: Vec<RunningGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<RolloutFailure>,
    /// Whether this node works on rollouts; others may.
    scheduler: bool,
    #[serde(rename = "_links")]
    links: Links,
}

fn statuses() -> Object {
    one_of(RolloutStatus::NAMES)
}

fn codes() -> Object {
    one_of(WaitingFor::CODES)
}

/// A group that runs: how far it is, and what it takes to get further.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RunningGroup {
    id: i64,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    /// What the thresholds are shares of.
    total_targets: i64,
    finished: i64,
    error: i64,
    /// Actions that something may still happen to.
    open: i64,
    /// Of the open ones, those that wait to be confirmed.
    waiting_for_confirmation: i64,
    success_threshold: RolloutThreshold,
    error_threshold: RolloutThreshold,
    /// The group that starts when this one succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_group: Option<NextGroup>,
    /// Of the last group of a dynamic rollout: how many more targets may join it.
    #[serde(skip_serializing_if = "Option::is_none")]
    free_places: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct RolloutThreshold {
    /// Percent, as it was given.
    expression: String,
    reached: bool,
    /// How many more it takes. Absent if it is reached, or can't be.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct NextGroup {
    id: i64,
    name: String,
}

/// Why going on fails.
#[derive(Serialize, ToSchema)]
struct RolloutFailure {
    message: String,
    since: i64,
    attempts: i32,
}

impl RolloutExplanation {
    fn new(explanation: Explanation, base: &Base) -> RolloutExplanation {
        let Explanation { rollout, status, waiting_for, since, message, start_at, groups, failure, scheduler } =
            explanation;
        let rollout = href(base, rollout);
        RolloutExplanation {
            status: status.name(),
            waiting_for: waiting_for.code(),
            since,
            message,
            start_at,
            groups: groups.into_iter().map(RunningGroup::from).collect(),
            failure: failure.map(|Failure { message, since, attempts }| RolloutFailure { message, since, attempts }),
            scheduler,
            links: Links::this(format!("{rollout}/explanation")).with("rollout", rollout),
        }
    }
}

impl From<Running> for RunningGroup {
    fn from(group: Running) -> RunningGroup {
        RunningGroup {
            id: group.id,
            name: group.name,
            since: group.since,
            total_targets: group.total,
            finished: group.finished,
            error: group.errors,
            open: group.open,
            waiting_for_confirmation: group.unconfirmed,
            success_threshold: group.success.into(),
            error_threshold: group.error.into(),
            next_group: group.next.map(|(id, name)| NextGroup { id, name }),
            free_places: group.free,
        }
    }
}

impl From<Threshold> for RolloutThreshold {
    fn from(Threshold { expression, reached, missing }: Threshold) -> RolloutThreshold {
        RolloutThreshold { expression, reached, missing }
    }
}
