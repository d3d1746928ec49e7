//! `/rest/v1/targetfilters`: kept searches over targets, and the sets they assign by themselves.

use axum::response::Response;
use kettle_domain::{
    actions::ActionType,
    target_filters::{self, AutoAssign, Shown},
};
use kettle_rest::{
    Accept, AppState, Base, Body, Links, ListQuery, Paged, Path, Representation, Result, User, no_content, one_of,
    query_value,
};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, OneOfBuilder, Schema, Type},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    assignments::Urgency,
    audit::{Audit, audit_of},
    distribution_sets::DistributionSet,
    software_module_types::required,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(auto_assigned_set, auto_assign, stop_auto_assign))
        .routes(routes!(list_of_set))
}

/// A page of the target filters.
#[utoipa::path(
    get, path = "/rest/v1/targetfilters",
    params(ListQuery, Representation), responses((status = 200, body = Paged<TargetFilter>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = target_filters::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|filter| TargetFilter::listed(filter, query.full, &base)))))
}

/// A page of the target filters that assign a distribution set.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/autoAssignTargetFilters",
    params(ListQuery), responses((status = 200, body = Paged<TargetFilter>))
)]
async fn list_of_set(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(set): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = target_filters::list_of_set(&ctx, set, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|filter| TargetFilter::listed(filter, false, &base)))))
}

/// One target filter.
#[utoipa::path(get, path = "/rest/v1/targetfilters/{filterId}", responses((status = 200, body = TargetFilter)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&TargetFilter::full(target_filters::get(&ctx, id).await?, &base)))
}

/// Creates a target filter.
#[utoipa::path(
    post, path = "/rest/v1/targetfilters",
    request_body = FilterBody, responses((status = 201, body = TargetFilter))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<FilterBody>) -> Result<Response> {
    let (name, query) = (required("name", new.name)?, required("query", new.query)?);
    Ok(media.created(&TargetFilter::changed(target_filters::create(&ctx, &name, &query).await?, &base)))
}

/// Changes name and query of a target filter, as far as the body names them.
#[utoipa::path(
    put, path = "/rest/v1/targetfilters/{filterId}",
    request_body = FilterBody, responses((status = 200, body = TargetFilter))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<FilterBody>,
) -> Result<Response> {
    let updated = target_filters::update(&ctx, id, changes.name, changes.query).await?;
    Ok(media.ok(&TargetFilter::changed(updated, &base)))
}

/// Deletes a target filter; what it has assigned stays.
#[utoipa::path(delete, path = "/rest/v1/targetfilters/{filterId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    target_filters::delete(&ctx, id).await?;
    Ok(no_content())
}

/// The distribution set that a target filter assigns. Nothing if it assigns none.
#[utoipa::path(
    get, path = "/rest/v1/targetfilters/{filterId}/autoAssignDS",
    responses((status = 200, body = DistributionSet), (status = 204))
)]
async fn auto_assigned_set(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
) -> Result<Response> {
    let set = target_filters::auto_assigned_set(&ctx, id).await?;
    Ok(set.map_or_else(no_content, |set| media.ok(&DistributionSet::full(set, &base))))
}

/// Makes a target filter assign a distribution set to all that it matches, now and later.
#[utoipa::path(
    post, path = "/rest/v1/targetfilters/{filterId}/autoAssignDS",
    request_body = AutoAssignBody, responses((status = 200, body = TargetFilter))
)]
async fn auto_assign(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(body): Body<AutoAssignBody>,
) -> Result<Response> {
    let changed = match body.read() {
        Some(new) => target_filters::auto_assign(&ctx, id, new).await?,
        // hawkBit: without a set, this is as DELETE.
        None => target_filters::stop_auto_assign(&ctx, id).await?,
    };
    Ok(media.ok(&TargetFilter::changed(changed, &base)))
}

/// Makes a target filter assign nothing; what it has assigned stays.
#[utoipa::path(delete, path = "/rest/v1/targetfilters/{filterId}/autoAssignDS", responses((status = 204)))]
async fn stop_auto_assign(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    target_filters::stop_auto_assign(&ctx, id).await?;
    Ok(no_content())
}

/// A filter to create or to change. Unknown members are ignored.
#[derive(Deserialize, ToSchema)]
struct FilterBody {
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 1024)]
    query: Option<String>,
}

/// The set to assign, and how.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AutoAssignBody {
    id: Option<i64>,
    r#type: Option<Urgency>,
    #[schema(minimum = 0, maximum = 1000)]
    weight: Option<i32>,
    confirmation_required: Option<bool>,
}

impl AutoAssignBody {
    fn read(self) -> Option<AutoAssign> {
        self.id.map(|set| AutoAssign {
            set,
            action_type: self.r#type.map(ActionType::from),
            weight: self.weight,
            confirmation_required: self.confirmation_required,
        })
    }
}

/// A filter as clients see it: what it does not have is there as `null`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TargetFilter {
    #[serde(flatten)]
    audit: Audit,
    id: i64,
    name: String,
    query: String,
    #[schema(required)]
    auto_assign_distribution_set: Option<i64>,
    #[schema(required, schema_with = action_types)]
    auto_assign_action_type: Option<&'static str>,
    #[schema(required)]
    auto_assign_weight: Option<i32>,
    #[schema(required)]
    confirmation_required: Option<bool>,
    #[serde(rename = "_links")]
    links: Links,
}

fn action_types() -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    OneOfBuilder::new().item(null).item(one_of(ActionType::NAMES)).into()
}

impl TargetFilter {
    /// As in a list: in full, with a link to its set.
    fn listed(shown: Shown, full: bool, base: &Base) -> TargetFilter {
        let links = if full { links_with_set(&shown, base) } else { Links::this(href(base, shown.filter.id)) };
        TargetFilter::new(shown, links)
    }

    /// As on its own.
    fn full(shown: Shown, base: &Base) -> TargetFilter {
        let links = links_with_set(&shown, base).with("autoAssignDS", auto_assign_href(base, shown.filter.id));
        TargetFilter::new(shown, links)
    }

    /// As after a change.
    fn changed(shown: Shown, base: &Base) -> TargetFilter {
        let links = Links::this(href(base, shown.filter.id));
        let links = links.with("autoAssignDS", auto_assign_href(base, shown.filter.id));
        TargetFilter::new(shown, links)
    }

    fn new(shown: Shown, links: Links) -> TargetFilter {
        let Shown { filter, set, confirmation_required } = shown;
        let action_type = filter.auto_assign_action_type.map(|code| ActionType::from_code(code).name());
        let (action_type, weight) = match &set {
            Some(_) => (action_type, Some(filter.auto_assign_weight)),
            None => (None, None),
        };
        TargetFilter {
            audit: audit_of!(filter),
            id: filter.id,
            name: filter.name,
            query: filter.query,
            auto_assign_distribution_set: set.map(|set| set.id),
            auto_assign_action_type: action_type,
            auto_assign_weight: weight,
            confirmation_required,
            links,
        }
    }
}

fn links_with_set(shown: &Shown, base: &Base) -> Links {
    let links = Links::this(href(base, shown.filter.id));
    let Some(set) = &shown.set else { return links };
    // hawkBit: the link is a search for the set, not the set's own address.
    let q = format!("name=={};version=={}", set.name, set.version);
    links.with("DS", base.href(&format!("/rest/v1/distributionsets?q={}&offset=0&limit=50", query_value(&q))))
}

fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/targetfilters/{id}"))
}

fn auto_assign_href(base: &Base, id: i64) -> String {
    format!("{}/autoAssignDS", href(base, id))
}
