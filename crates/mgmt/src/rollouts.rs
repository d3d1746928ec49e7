//! `/rest/v1/rollouts`: assignments to many targets, group by group.

use axum::response::Response;
use kettle_domain::{
    actions::ActionType,
    rollouts::{self, Conditions, Create, RolloutStatus, Shown, Template},
};
use kettle_rest::{
    Accept, ApiError, AppState, Base, Body, Links, ListQuery, Paged, Params, Path, Representation, Result, User,
    no_content, one_of,
};
use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    assignments::Urgency,
    audit::{Audit, audit_of},
    rollout_groups::{ConditionBody, ConditionsBody, ErrorActionBody, GroupBody, SuccessActionBody, TargetsPerStatus},
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(approve))
        .routes(routes!(deny))
        .routes(routes!(start))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(stop))
        .routes(routes!(trigger_next_group))
        .routes(routes!(retry))
}

/// A page of the rollouts that are not deleted.
#[utoipa::path(
    get, path = "/rest/v1/rollouts",
    params(ListQuery, Representation), responses((status = 200, body = Paged<Rollout>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = rollouts::list(&ctx, &query.listing, query.full).await?;
    Ok(media.ok(&Paged::from(page.map(|rollout| Rollout::new(rollout, &base)))))
}

/// One rollout, also one that is deleted but kept.
#[utoipa::path(get, path = "/rest/v1/rollouts/{rolloutId}", responses((status = 200, body = Rollout)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&Rollout::new(rollouts::get(&ctx, id).await?, &base)))
}

/// Creates a rollout.
#[utoipa::path(
    post, path = "/rest/v1/rollouts",
    request_body = RolloutBody, responses((status = 201, body = Rollout))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<RolloutBody>) -> Result<Response> {
    Ok(media.created(&Rollout::new(rollouts::create(&ctx, new.read()?).await?, &base)))
}

/// Changes name and description of a rollout, as far as the body names them.
#[utoipa::path(
    put, path = "/rest/v1/rollouts/{rolloutId}",
    request_body = RolloutChanges, responses((status = 200, body = Rollout))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<RolloutChanges>,
) -> Result<Response> {
    let updated = rollouts::update(&ctx, id, changes.name, changes.description).await?;
    Ok(media.ok(&Rollout::new(updated, &base)))
}

/// Deletes a rollout. One that devices have had to do with stays readable as deleted.
#[utoipa::path(delete, path = "/rest/v1/rollouts/{rolloutId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    rollouts::delete(&ctx, id).await?;
    Ok(no_content())
}

/// Lets a rollout that waits for an approval become ready.
#[utoipa::path(
    post, path = "/rest/v1/rollouts/{rolloutId}/approve",
    params(("remark" = Option<String>, Query)), responses((status = 204))
)]
async fn approve(User(ctx): User, Path(id): Path<i64>, params: Params) -> Result<Response> {
    rollouts::decide(&ctx, id, true, remark(&params)).await?;
    Ok(no_content())
}

/// Refuses a rollout that waits for an approval.
#[utoipa::path(
    post, path = "/rest/v1/rollouts/{rolloutId}/deny",
    params(("remark" = Option<String>, Query)), responses((status = 204))
)]
async fn deny(User(ctx): User, Path(id): Path<i64>, params: Params) -> Result<Response> {
    rollouts::decide(&ctx, id, false, remark(&params)).await?;
    Ok(no_content())
}

fn remark(params: &Params) -> Option<String> {
    params.text("remark").map(Into::into)
}

/// Starts a rollout that is ready.
#[utoipa::path(post, path = "/rest/v1/rollouts/{rolloutId}/start", responses((status = 204)))]
async fn start(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    rollouts::start(&ctx, id).await?;
    Ok(no_content())
}

/// Holds a running rollout: what is under way goes on, no further group starts.
#[utoipa::path(post, path = "/rest/v1/rollouts/{rolloutId}/pause", responses((status = 204)))]
async fn pause(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    rollouts::pause(&ctx, id).await?;
    Ok(no_content())
}

/// Lets a paused rollout go on.
#[utoipa::path(post, path = "/rest/v1/rollouts/{rolloutId}/resume", responses((status = 204)))]
async fn resume(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    rollouts::resume(&ctx, id).await?;
    Ok(no_content())
}

/// Ends a rollout for good: devices are asked to cancel what is under way.
#[utoipa::path(post, path = "/rest/v1/rollouts/{rolloutId}/stop", responses((status = 204)))]
async fn stop(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    rollouts::stop(&ctx, id).await?;
    Ok(no_content())
}

/// Starts the next group of a running rollout, whatever its conditions say.
#[utoipa::path(post, path = "/rest/v1/rollouts/{rolloutId}/triggerNextGroup", responses((status = 204)))]
async fn trigger_next_group(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    rollouts::trigger_next_group(&ctx, id).await?;
    Ok(no_content())
}

/// Creates a rollout for the targets that failed in a finished one.
#[utoipa::path(post, path = "/rest/v1/rollouts/{rolloutId}/retry", responses((status = 201, body = Rollout)))]
async fn retry(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.created(&Rollout::new(rollouts::retry(&ctx, id).await?, &base)))
}

/// A rollout to create. Unknown members are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewRollout)]
struct RolloutBody {
    #[schema(max_length = 128, required, nullable = false)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    /// The search for its targets.
    #[schema(max_length = 1024, required, nullable = false)]
    target_filter_query: Option<String>,
    #[schema(required, nullable = false)]
    distribution_set_id: Option<i64>,
    /// One if neither this nor groups is there.
    amount_groups: Option<i32>,
    r#type: Option<Urgency>,
    /// Epoch milliseconds, of the type timeforced.
    forcetime: Option<i64>,
    /// Epoch milliseconds; started by an operator if absent.
    start_at: Option<i64>,
    #[schema(minimum = 0, maximum = 1000)]
    weight: Option<i32>,
    /// Whether targets that come to match later join too.
    dynamic: Option<bool>,
    dynamic_group_template: Option<TemplateBody>,
    confirmation_required: Option<bool>,
    groups: Option<Vec<GroupBody>>,
    success_condition: Option<ConditionBody>,
    success_action: Option<SuccessActionBody>,
    error_condition: Option<ConditionBody>,
    error_action: Option<ErrorActionBody>,
}

/// What groups are like that a dynamic rollout adds.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TemplateBody {
    name_suffix: Option<String>,
    #[schema(required, nullable = false)]
    target_count: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
struct RolloutChanges {
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
}

impl RolloutBody {
    fn read(self) -> Result<Create> {
        let groups = self.groups.map(|groups| groups.into_iter().map(GroupBody::read).collect::<Result<_>>());
        let conditions = ConditionsBody {
            success_condition: self.success_condition,
            success_action: self.success_action,
            error_condition: self.error_condition,
            error_action: self.error_action,
        };
        Ok(Create {
            name: self.name,
            description: self.description,
            filter: self.target_filter_query,
            // hawkBit: none is the set 0, which no tenant has.
            set: self.distribution_set_id.unwrap_or(0),
            action_type: self.r#type.map_or(ActionType::Forced, ActionType::from),
            forced_time: self.forcetime,
            weight: self.weight,
            start_at: self.start_at,
            dynamic: self.dynamic.unwrap_or(false),
            confirmation_required: self.confirmation_required,
            conditions: conditions.read(Conditions::by_default())?,
            amount_groups: self.amount_groups,
            template: self.dynamic_group_template.map(TemplateBody::read).transpose()?,
            groups: groups.transpose()?,
        })
    }
}

impl TemplateBody {
    fn read(self) -> Result<Template> {
        let target_count = self.target_count;
        let target_count = target_count.ok_or_else(|| ApiError::not_readable("targetCount is required."))?;
        Ok(Template { name_suffix: self.name_suffix.unwrap_or_default(), target_count })
    }
}

/// A rollout as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Rollout {
    #[serde(flatten)]
    audit: Audit,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_filter_query: Option<String>,
    distribution_set_id: i64,
    #[schema(schema_with = statuses)]
    status: &'static str,
    total_targets: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_targets_per_status: Option<TargetsPerStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_groups: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_at: Option<i64>,
    forcetime: i64,
    deleted: bool,
    #[schema(schema_with = types)]
    r#type: &'static str,
    weight: i32,
    dynamic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_remark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approve_decided_by: Option<String>,
    #[serde(rename = "_links")]
    links: Links,
}

fn statuses() -> Object {
    one_of(RolloutStatus::NAMES)
}

fn types() -> Object {
    one_of(ActionType::NAMES)
}

impl Rollout {
    fn new(shown: Shown, base: &Base) -> Rollout {
        let Shown { rollout, details } = shown;
        let this = href(base, rollout.id);
        let links = match &details {
            None => Links::new(),
            Some(details) => links(&this, base, &details.set.name, &details.set.version, details.set.id),
        };
        let full = details.is_some();
        Rollout {
            audit: audit_of!(rollout),
            status: rollout.status().name(),
            total_targets: rollout.total(),
            total_targets_per_status: details.map(|details| details.counters.into()),
            total_groups: full.then(|| rollout.rollout_groups_created.unwrap_or(0)),
            start_at: rollout.start_at.filter(|_| full),
            forcetime: rollout.forced_time.unwrap_or(0),
            deleted: rollout.deleted.unwrap_or(false),
            r#type: rollout.action_type().name(),
            weight: rollout.weight,
            dynamic: rollout.is_dynamic(),
            approval_remark: rollout.approval_remark.filter(|_| full),
            approve_decided_by: rollout.approval_decided_by.filter(|_| full),
            links: links.with("self", this),
            id: rollout.id,
            name: rollout.name,
            description: rollout.description,
            target_filter_query: rollout.target_filter,
            distribution_set_id: rollout.distribution_set,
        }
    }
}

fn links(this: &str, base: &Base, name: &str, version: &str, set: i64) -> Links {
    let moves = ["start", "pause", "resume", "triggerNextGroup", "approve", "deny"];
    let links = moves.into_iter().fold(Links::new(), |links, rel| links.with(rel, format!("{this}/{rel}")));
    let set = base.href(&format!("/rest/v1/distributionsets/{set}"));
    let links = links.with("groups", format!("{this}/deploygroups?offset=0&limit=50"));
    links.with_name("distributionset", set, format!("{name}:{version}"))
}

/// The address of a rollout.
pub fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/rollouts/{id}"))
}
