//! Assigning distribution sets to targets, and the sets of a target, the targets of a set.

use axum::{Router, response::Response, routing::get};
use kettle_domain::{
    Error,
    actions::{self, ActionType, Outcome, Request, WindowText},
    targets as domain,
};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Params, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};

use crate::{actions::href, distribution_sets::DistributionSet, targets::Target};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/rest/v1/targets/{controllerId}/assignedDS", get(assigned_set).post(assign_to_target))
        .route("/rest/v1/targets/{controllerId}/installedDS", get(installed_set))
        .route("/rest/v1/distributionsets/{distributionSetId}/assignedTargets", get(assigned_targets).post(assign_set))
        .route("/rest/v1/distributionsets/{distributionSetId}/installedTargets", get(installed_targets))
}

async fn assigned_set(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<String>) -> Result<Response> {
    let set = actions::set_of_target(&ctx, &id, false).await?;
    Ok(set.map_or_else(no_content, |set| media.ok(&DistributionSet::full(set, &base))))
}

async fn installed_set(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<String>) -> Result<Response> {
    let set = actions::set_of_target(&ctx, &id, true).await?;
    Ok(set.map_or_else(no_content, |set| media.ok(&DistributionSet::full(set, &base))))
}

async fn assigned_targets(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = actions::targets_of_set(&ctx, id, false, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

async fn installed_targets(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = actions::targets_of_set(&ctx, id, true, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|target| Target::compact(target, &base)))))
}

async fn assign_to_target(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<String>,
    params: Params,
    Body(sets): Body<OneOrMany<SetBody>>,
) -> Result<Response> {
    domain::find(&ctx, &id).await?;
    let requests = sets.into_vec().into_iter().map(|set| set.request(&id)).collect::<Result<_>>()?;
    let outcome = actions::assign(&ctx, requests, params.flag("offline")?.unwrap_or(false)).await?;
    Ok(media.ok(&Assignment::new(outcome, &base)))
}

async fn assign_set(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(set): Path<i64>,
    params: Params,
    Body(targets): Body<Vec<TargetBody>>,
) -> Result<Response> {
    let requests = targets.into_iter().map(|target| target.request(set)).collect::<Result<_>>()?;
    let outcome = actions::assign(&ctx, requests, params.flag("offline")?.unwrap_or(false)).await?;
    Ok(media.ok(&Assignment::new(outcome, &base)))
}

/// A list, or one without the brackets.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::Many(many) => many,
            OneOrMany::One(one) => vec![one],
        }
    }
}

/// How a set is assigned, whichever of the two ends names it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct How {
    #[serde(default)]
    r#type: Option<Urgency>,
    #[serde(default)]
    forcetime: Option<i64>,
    weight: Option<i32>,
    confirmation_required: Option<bool>,
    maintenance_window: Option<WindowBody>,
}

#[derive(Deserialize)]
struct WindowBody {
    schedule: Option<String>,
    duration: Option<String>,
    timezone: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Urgency {
    Soft,
    Forced,
    TimeForced,
    DownloadOnly,
}

#[derive(Deserialize)]
struct SetBody {
    id: Option<i64>,
    #[serde(flatten)]
    how: How,
}

#[derive(Deserialize)]
struct TargetBody {
    id: Option<String>,
    #[serde(flatten)]
    how: How,
}

impl SetBody {
    fn request(self, controller_id: &str) -> Result<Request> {
        let set = self.id.ok_or_else(|| Error::constraint("id must not be null."))?;
        self.how.request(controller_id.to_owned(), set)
    }
}

impl TargetBody {
    fn request(self, set: i64) -> Result<Request> {
        let controller_id = self.id.ok_or_else(|| Error::constraint("id must not be null."))?;
        self.how.request(controller_id, set)
    }
}

impl How {
    fn request(self, controller_id: String, set: i64) -> Result<Request> {
        let window = self.maintenance_window.and_then(|w| WindowText::new(w.schedule, w.duration, w.timezone));
        let action_type = match self.r#type {
            None | Some(Urgency::Forced) => ActionType::Forced,
            Some(Urgency::Soft) => ActionType::Soft,
            Some(Urgency::TimeForced) => ActionType::TimeForced,
            Some(Urgency::DownloadOnly) => ActionType::DownloadOnly,
        };
        Ok(Request {
            controller_id,
            set,
            action_type,
            forced_time: self.forcetime.unwrap_or(0),
            weight: self.weight,
            confirmation_required: self.confirmation_required,
            window,
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    already_assigned: u64,
    assigned: u64,
    assigned_actions: Vec<ActionId>,
    total: u64,
}

#[derive(Serialize)]
struct ActionId {
    id: i64,
    #[serde(rename = "_links")]
    links: Links,
}

impl Assignment {
    fn new(outcome: Outcome, base: &Base) -> Assignment {
        let action = |a: actions::Assigned| ActionId {
            id: a.action,
            links: Links::this(href(base, &a.controller_id, a.action)),
        };
        Assignment {
            already_assigned: outcome.already_assigned,
            assigned: outcome.assigned,
            total: outcome.assigned + outcome.already_assigned,
            assigned_actions: outcome.actions.into_iter().map(action).collect(),
        }
    }
}
