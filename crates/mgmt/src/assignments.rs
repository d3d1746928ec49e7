//! Assigning distribution sets to targets, and the sets of a target, the targets of a set.

use std::{borrow::Cow, fmt, marker::PhantomData};

use axum::response::Response;
use kettle_domain::{
    actions::{self, ActionType, Outcome, Request, WindowText},
    targets as domain,
};
use kettle_rest::{
    Accept, ApiError, AppState, Base, Body, Links, ListQuery, Paged, Params, Path, Result, User, no_content,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ArrayBuilder, OneOfBuilder, RefOr, Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{actions::href, distribution_sets::DistributionSet, targets::Target};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(assigned_set, assign_to_target))
        .routes(routes!(installed_set))
        .routes(routes!(assigned_targets, assign_set))
        .routes(routes!(installed_targets))
}

/// The distribution set that is assigned to a target. Nothing if none is.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/assignedDS",
    responses((status = 200, body = DistributionSet), (status = 204))
)]
async fn assigned_set(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<String>) -> Result<Response> {
    let set = actions::set_of_target(&ctx, &id, false).await?;
    Ok(set.map_or_else(no_content, |set| media.ok(&DistributionSet::full(set, &base))))
}

/// The distribution set that a target has installed. Nothing if none is known.
#[utoipa::path(
    get, path = "/rest/v1/targets/{targetId}/installedDS",
    responses((status = 200, body = DistributionSet), (status = 204))
)]
async fn installed_set(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<String>) -> Result<Response> {
    let set = actions::set_of_target(&ctx, &id, true).await?;
    Ok(set.map_or_else(no_content, |set| media.ok(&DistributionSet::full(set, &base))))
}

/// A page of the targets that a distribution set is assigned to.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/assignedTargets",
    params(ListQuery), responses((status = 200, body = Paged<Target>))
)]
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

/// A page of the targets that have installed a distribution set.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/installedTargets",
    params(ListQuery), responses((status = 200, body = Paged<Target>))
)]
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

/// Assigns distribution sets to a target.
#[utoipa::path(
    post, path = "/rest/v1/targets/{targetId}/assignedDS",
    params(("offline" = Option<bool>, Query)),
    request_body = SetsToAssign,
    responses((status = 200, body = Assignment))
)]
async fn assign_to_target(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<String>,
    params: Params,
    Body(OneOrMany(sets)): Body<SetsToAssign>,
) -> Result<Response> {
    let offline = params.flag("offline")?.unwrap_or(false);
    // hawkBit: offline, an unknown target is left out silently.
    if !offline {
        domain::find(&ctx, &id).await?;
    }
    let requests = sets.into_iter().map(|set| set.request(|set| (id.clone(), set))).collect::<Result<_>>()?;
    let outcome = actions::assign(&ctx, requests, offline).await?;
    Ok(media.ok(&Assignment::new(outcome, &base)))
}

/// Assigns a distribution set to targets.
#[utoipa::path(
    post, path = "/rest/v1/distributionsets/{distributionSetId}/assignedTargets",
    params(("offline" = Option<bool>, Query)),
    request_body = Vec<TargetToAssign>,
    responses((status = 200, body = Assignment))
)]
async fn assign_set(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(set): Path<i64>,
    params: Params,
    Body(targets): Body<Vec<TargetToAssign>>,
) -> Result<Response> {
    let requests = targets.into_iter().map(|target| target.request(|id| (id, set))).collect::<Result<_>>()?;
    let outcome = actions::assign(&ctx, requests, params.flag("offline")?.unwrap_or(false)).await?;
    Ok(media.ok(&Assignment::new(outcome, &base)))
}

type SetsToAssign = OneOrMany<AssignBody<i64>>;
type TargetToAssign = AssignBody<String>;

/// A list, or one without the brackets.
struct OneOrMany<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object or a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
            }
        }

        deserializer.deserialize_any(Either(PhantomData)).map(OneOrMany)
    }
}

impl<T: ToSchema> PartialSchema for OneOrMany<T> {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new().item(T::schema()).item(ArrayBuilder::new().items(T::schema())).into()
    }
}

impl<T: ToSchema> ToSchema for OneOrMany<T> {
    fn name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// One end of an assignment, the set's id or the target's, and how the set is assigned.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AssignBody<Id> {
    #[schema(inline, required, nullable = false)]
    id: Option<Id>,
    r#type: Option<Urgency>,
    forcetime: Option<i64>,
    weight: Option<i32>,
    confirmation_required: Option<bool>,
    maintenance_window: Option<WindowBody>,
}

#[derive(Deserialize, ToSchema)]
struct WindowBody {
    #[schema(max_length = 40)]
    schedule: Option<String>,
    #[schema(max_length = 40)]
    duration: Option<String>,
    #[schema(max_length = 40)]
    timezone: Option<String>,
}

/// An action's type on the wire.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    Soft,
    Forced,
    TimeForced,
    DownloadOnly,
}

impl From<Urgency> for ActionType {
    fn from(urgency: Urgency) -> ActionType {
        match urgency {
            Urgency::Soft => ActionType::Soft,
            Urgency::Forced => ActionType::Forced,
            Urgency::TimeForced => ActionType::TimeForced,
            Urgency::DownloadOnly => ActionType::DownloadOnly,
        }
    }
}

impl<Id> AssignBody<Id> {
    /// `ends` makes target and set of the end that is named here.
    fn request(self, ends: impl FnOnce(Id) -> (String, i64)) -> Result<Request> {
        let (controller_id, set) = ends(self.id.ok_or_else(|| ApiError::not_readable("id is required."))?);
        let window = self.maintenance_window.and_then(|w| WindowText::new(w.schedule, w.duration, w.timezone));
        Ok(Request {
            controller_id,
            set,
            action_type: self.r#type.map_or(ActionType::Forced, ActionType::from),
            forced_time: self.forcetime.unwrap_or(0),
            weight: self.weight,
            confirmation_required: self.confirmation_required,
            window,
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    already_assigned: u64,
    assigned: u64,
    assigned_actions: Vec<ActionId>,
    total: u64,
}

#[derive(Serialize, ToSchema)]
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
