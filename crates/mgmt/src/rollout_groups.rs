//! `/rest/v1/rollouts/{rolloutId}/deploygroups`: the groups of rollouts and their targets; and what rollouts and groups
//! have in common.

use axum::response::Response;
use kettle_domain::rollouts::{Conditions, Counters, CreateGroup, GroupStatus, SuccessAction, groups};
use kettle_rest::{
    Accept, ApiError, AppState, Base, Links, ListQuery, Paged, Path, Representation, Result, User, one_of,
};
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    rollouts::href,
    targets::Target,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(targets))
}

/// A page of the groups of a rollout.
#[utoipa::path(
    get, path = "/rest/v1/rollouts/{rolloutId}/deploygroups",
    params(ListQuery, Representation), responses((status = 200, body = Paged<RolloutGroup>))
)]
async fn list(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(rollout): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = groups::list(&ctx, rollout, &query.listing, query.full).await?;
    Ok(media.ok(&Paged::from(page.map(|group| RolloutGroup::new(group, &base)))))
}

/// One group of a rollout.
#[utoipa::path(
    get, path = "/rest/v1/rollouts/{rolloutId}/deploygroups/{groupId}",
    responses((status = 200, body = RolloutGroup))
)]
async fn one(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((rollout, id)): Path<(i64, i64)>,
) -> Result<Response> {
    Ok(media.ok(&RolloutGroup::new(groups::get(&ctx, rollout, id).await?, &base)))
}

/// A page of the targets of a group.
#[utoipa::path(
    get, path = "/rest/v1/rollouts/{rolloutId}/deploygroups/{groupId}/targets",
    params(ListQuery), responses((status = 200, body = Paged<Target>))
)]
async fn targets(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path((rollout, id)): Path<(i64, i64)>,
    query: ListQuery,
) -> Result<Response> {
    let page = groups::targets(&ctx, rollout, id, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

/// A group to create.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewRolloutGroup)]
pub struct GroupBody {
    #[schema(max_length = 128, required, nullable = false)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    /// A search among the rollout's targets; all of them if absent.
    #[schema(max_length = 1024)]
    target_filter_query: Option<String>,
    /// How many of the targets that it finds are in the group.
    #[schema(minimum = 1, maximum = 100, default = 100)]
    target_percentage: Option<f64>,
    confirmation_required: Option<bool>,
    success_condition: Option<ConditionBody>,
    success_action: Option<SuccessActionBody>,
    error_condition: Option<ConditionBody>,
    error_action: Option<ErrorActionBody>,
}

/// When a group has succeeded or failed, and what happens then, as rollouts and groups name it.
pub struct ConditionsBody {
    pub success_condition: Option<ConditionBody>,
    pub success_action: Option<SuccessActionBody>,
    pub error_condition: Option<ConditionBody>,
    pub error_action: Option<ErrorActionBody>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewRolloutCondition)]
pub struct ConditionBody {
    #[serde(default = "of_threshold")]
    condition: Option<Threshold>,
    /// Percent of the group's targets.
    #[serde(default = "of_all")]
    #[schema(max_length = 512, default = "100")]
    expression: Option<String>,
}

fn of_threshold() -> Option<Threshold> {
    Some(Threshold::Threshold)
}

fn of_all() -> Option<String> {
    Some("100".into())
}

/// The one kind of condition there is.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = RolloutConditionKind)]
enum Threshold {
    Threshold,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewRolloutSuccessAction)]
pub struct SuccessActionBody {
    #[serde(default = "to_next_group")]
    action: Option<OnSuccess>,
    #[schema(max_length = 512)]
    expression: Option<String>,
}

fn to_next_group() -> Option<OnSuccess> {
    Some(OnSuccess::NextGroup)
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = RolloutSuccessActionKind)]
enum OnSuccess {
    NextGroup,
    Pause,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewRolloutErrorAction)]
pub struct ErrorActionBody {
    #[serde(default = "to_pause")]
    action: Option<OnError>,
    #[schema(max_length = 512)]
    expression: Option<String>,
}

fn to_pause() -> Option<OnError> {
    Some(OnError::Pause)
}

/// The one action on errors there is.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = RolloutErrorActionKind)]
enum OnError {
    Pause,
}

impl GroupBody {
    pub fn read(self) -> Result<CreateGroup> {
        // What a group leaves open, its rollout says.
        let open = Conditions {
            success: None,
            success_action: SuccessAction::NextGroup,
            success_action_exp: None,
            error: None,
            error_action_exp: None,
        };
        #[expect(clippy::cast_possible_truncation, reason = "percentages are in single precision, as the peer's are")]
        let percentage = self.target_percentage.map(|percentage| percentage as f32);
        let conditions = ConditionsBody {
            success_condition: self.success_condition,
            success_action: self.success_action,
            error_condition: self.error_condition,
            error_action: self.error_action,
        };
        Ok(CreateGroup {
            name: self.name,
            description: self.description,
            filter: self.target_filter_query,
            percentage,
            confirmation_required: self.confirmation_required,
            conditions: conditions.read(open)?,
        })
    }
}

impl ConditionsBody {
    /// These, and `open` where there is none.
    pub fn read(self, open: Conditions) -> Result<Conditions> {
        let mut conditions = open;
        if let Some(ConditionBody { condition, expression }) = self.success_condition {
            named("successCondition.condition", condition)?;
            conditions.success = expression;
        }
        if let Some(SuccessActionBody { action, expression }) = self.success_action {
            conditions.success_action = match named("successAction.action", action)? {
                OnSuccess::NextGroup => SuccessAction::NextGroup,
                OnSuccess::Pause => SuccessAction::Pause,
            };
            conditions.success_action_exp = expression;
        }
        if let Some(ConditionBody { condition, expression }) = self.error_condition {
            named("errorCondition.condition", condition)?;
            conditions.error = expression;
        }
        if let Some(ErrorActionBody { action, expression }) = self.error_action {
            named("errorAction.action", action)?;
            conditions.error_action_exp = expression;
        }
        Ok(conditions)
    }
}

/// Absent, a kind is the usual one; `null` is none.
fn named<T>(member: &str, kind: Option<T>) -> Result<T> {
    kind.ok_or_else(|| ApiError::not_readable(format!("{member} must not be null.")))
}

/// A group as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RolloutGroup {
    #[serde(flatten)]
    audit: Audit,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    success_condition: Condition,
    success_action: Action,
    error_condition: Condition,
    error_action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_filter_query: Option<String>,
    /// Of a dynamic group, how many targets it takes.
    target_percentage: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_required: Option<bool>,
    id: i64,
    dynamic: bool,
    #[schema(schema_with = statuses)]
    status: &'static str,
    total_targets: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_targets_per_status: Option<TargetsPerStatus>,
    #[serde(rename = "_links")]
    links: Links,
}

fn statuses() -> Object {
    one_of(GroupStatus::NAMES)
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RolloutCondition)]
struct Condition {
    condition: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RolloutAction)]
struct Action {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<String>,
}

/// Targets by what became of their actions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TargetsPerStatus {
    running: i64,
    notstarted: i64,
    scheduled: i64,
    cancelled: i64,
    finished: i64,
    error: i64,
}

impl From<Counters> for TargetsPerStatus {
    fn from(counters: Counters) -> TargetsPerStatus {
        let Counters { scheduled, running, error, finished, cancelled, not_started: notstarted } = counters;
        TargetsPerStatus { running, notstarted, scheduled, cancelled, finished, error }
    }
}

impl RolloutGroup {
    fn new(shown: groups::ShownGroup, base: &Base) -> RolloutGroup {
        let groups::ShownGroup { group, counters, confirmation_required } = shown;
        let threshold = |expression| Condition { condition: "THRESHOLD", expression };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "kept in double precision, shown in single as the peer does"
        )]
        let target_percentage = group.percentage() as f32;
        RolloutGroup {
            audit: audit_of!(group),
            status: group.status().name(),
            total_targets: group.total(),
            target_percentage,
            success_action: Action { action: group.success_action().name(), expression: group.success_action_exp },
            success_condition: threshold(Some(group.success_condition_exp)),
            error_condition: threshold(group.error_condition_exp),
            error_action: Action { action: "PAUSE", expression: group.error_action_exp },
            target_filter_query: group.target_filter,
            confirmation_required,
            dynamic: group.is_dynamic,
            total_targets_per_status: counters.map(TargetsPerStatus::from),
            links: Links::this(format!("{}/deploygroups/{}", href(base, group.rollout), group.id)),
            id: group.id,
            name: group.name,
            description: group.description,
        }
    }
}
