//! `/rest/v1/distributionsets`: sets, their modules, metadata and statistics. Their targets are in `assignments.rs`.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use kettle_domain::distribution_sets::{
    self, Cancelation, Create, Full, Update, entity::metadata::Model, metadata, modules, statistics, statistics::Counts,
};
use kettle_rest::{Accept, AppState, Base, Body, Links, ListQuery, Paged, Paging, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    audit::{Audit, audit_of},
    distribution_set_types::{self, IdBody},
    metadata::{Metadata, MetadataUpdate, NewMetadata},
    software_module_types::required,
    software_modules::SoftwareModule,
};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, update, delete))
        .routes(routes!(list_modules, add_modules))
        .routes(routes!(remove_module))
        .routes(routes!(list_metadata, create_metadata))
        .routes(routes!(one_metadata, put_metadata, delete_metadata))
        .routes(routes!(all_statistics))
        .routes(routes!(action_statistics))
        .routes(routes!(rollout_statistics))
        .routes(routes!(auto_assign_statistics))
        .routes(routes!(invalidate))
}

/// A page of the distribution sets.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets",
    params(ListQuery), responses((status = 200, body = Paged<DistributionSet>))
)]
async fn list(User(ctx): User, Accept(media): Accept, base: Base, query: ListQuery) -> Result<Response> {
    let page = distribution_sets::list(&ctx, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|set| DistributionSet::compact(set, &base)))))
}

/// One distribution set.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}",
    responses((status = 200, body = DistributionSet))
)]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(id): Path<i64>) -> Result<Response> {
    Ok(media.ok(&DistributionSet::full(distribution_sets::get(&ctx, id).await?, &base)))
}

/// Creates distribution sets.
#[utoipa::path(
    post, path = "/rest/v1/distributionsets",
    request_body = Vec<NewSet>, responses((status = 201, body = Vec<DistributionSet>))
)]
async fn create(User(ctx): User, Accept(media): Accept, base: Base, Body(new): Body<Vec<NewSet>>) -> Result<Response> {
    let new = new.into_iter().map(NewSet::read).collect::<Result<_>>()?;
    let created = distribution_sets::create(&ctx, new).await?;
    Ok(media.created(&created.into_iter().map(|set| DistributionSet::compact(set, &base)).collect::<Vec<_>>()))
}

/// Changes what the body names of a distribution set.
#[utoipa::path(
    put, path = "/rest/v1/distributionsets/{distributionSetId}",
    request_body = SetChanges, responses((status = 200, body = DistributionSet))
)]
async fn update(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    Body(changes): Body<SetChanges>,
) -> Result<Response> {
    Ok(media.ok(&DistributionSet::full(distribution_sets::update(&ctx, id, changes.into()).await?, &base)))
}

/// Deletes a distribution set.
#[utoipa::path(delete, path = "/rest/v1/distributionsets/{distributionSetId}", responses((status = 204)))]
async fn delete(User(ctx): User, Path(id): Path<i64>) -> Result<Response> {
    distribution_sets::delete(&ctx, id).await?;
    Ok(no_content())
}

/// Makes a set invalid for good, and ends its actions as the body says.
#[utoipa::path(
    post, path = "/rest/v1/distributionsets/{distributionSetId}/invalidate",
    request_body = InvalidateBody, responses((status = 204))
)]
async fn invalidate(User(ctx): User, Path(id): Path<i64>, Body(body): Body<InvalidateBody>) -> Result<Response> {
    distribution_sets::invalidate(&ctx, id, body.action_cancelation_type.into()).await?;
    Ok(no_content())
}

/// A page of a distribution set's modules.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/assignedSM",
    params(Paging), responses((status = 200, body = Paged<SoftwareModule>))
)]
async fn list_modules(
    User(ctx): User,
    Accept(media): Accept,
    base: Base,
    Path(id): Path<i64>,
    query: ListQuery,
) -> Result<Response> {
    let page = modules::list(&ctx, id, &query.listing).await?;
    Ok(media.ok(&Paged::from(page.map(|module| SoftwareModule::compact(module, &base)))))
}

/// Adds modules to a distribution set.
#[utoipa::path(
    post, path = "/rest/v1/distributionsets/{distributionSetId}/assignedSM",
    request_body = Vec<IdBody>, responses((status = 204), (status = 423))
)]
async fn add_modules(User(ctx): User, Path(id): Path<i64>, Body(new): Body<Vec<IdBody>>) -> Result<Response> {
    modules::add(&ctx, id, &IdBody::read_all(Some(new))?).await?;
    Ok(no_content())
}

/// Takes a module from a distribution set.
#[utoipa::path(
    delete, path = "/rest/v1/distributionsets/{distributionSetId}/assignedSM/{softwareModuleId}",
    responses((status = 204), (status = 423))
)]
async fn remove_module(User(ctx): User, Path((id, module)): Path<(i64, i64)>) -> Result<Response> {
    modules::remove(&ctx, id, module).await?;
    Ok(no_content())
}

/// A distribution set's metadata.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/metadata",
    responses((status = 200, body = Paged<Metadata>))
)]
async fn list_metadata(User(ctx): User, Accept(media): Accept, Path(id): Path<i64>) -> Result<Response> {
    let entries = metadata::list(&ctx, id).await?;
    Ok(media.ok(&Paged::all(entries.into_iter().map(Metadata::from).collect())))
}

/// One entry of a distribution set's metadata.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/metadata/{metadataKey}",
    responses((status = 200, body = Metadata))
)]
async fn one_metadata(
    User(ctx): User,
    Accept(media): Accept,
    Path((id, key)): Path<(i64, String)>,
) -> Result<Response> {
    Ok(media.ok(&Metadata::from(metadata::get(&ctx, id, &key).await?)))
}

/// Adds to a distribution set's metadata.
#[utoipa::path(
    post, path = "/rest/v1/distributionsets/{distributionSetId}/metadata",
    request_body = Vec<NewMetadata>, responses((status = 201))
)]
async fn create_metadata(User(ctx): User, Path(id): Path<i64>, Body(new): Body<Vec<NewMetadata>>) -> Result<Response> {
    let entries = new.into_iter().map(NewMetadata::pair).collect::<kettle_domain::Result<_>>()?;
    metadata::create(&ctx, id, entries).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Writes one entry of a distribution set's metadata.
#[utoipa::path(
    put, path = "/rest/v1/distributionsets/{distributionSetId}/metadata/{metadataKey}",
    request_body = MetadataUpdate, responses((status = 204))
)]
async fn put_metadata(
    User(ctx): User,
    Path((id, key)): Path<(i64, String)>,
    Body(update): Body<MetadataUpdate>,
) -> Result<Response> {
    metadata::put(&ctx, id, &key, update.value).await?;
    Ok(no_content())
}

/// Deletes one entry of a distribution set's metadata.
#[utoipa::path(
    delete, path = "/rest/v1/distributionsets/{distributionSetId}/metadata/{metadataKey}",
    responses((status = 204))
)]
async fn delete_metadata(User(ctx): User, Path((id, key)): Path<(i64, String)>) -> Result<Response> {
    metadata::delete(&ctx, id, &key).await?;
    Ok(no_content())
}

/// How many actions, rollouts and automatic assignments a distribution set has.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/statistics",
    responses((status = 200, body = Statistics))
)]
async fn all_statistics(User(ctx): User, Accept(media): Accept, Path(id): Path<i64>) -> Result<Response> {
    let statistics = Statistics {
        actions: Some(with_total(statistics::actions(&ctx, id).await?)),
        rollouts: Some(with_total(statistics::rollouts(&ctx, id).await?)),
        total_auto_assignments: Some(statistics::auto_assignments(&ctx, id).await?),
    };
    Ok(media.ok(&statistics))
}

/// How many actions a distribution set has, by status.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/statistics/actions",
    responses((status = 200, body = Statistics))
)]
async fn action_statistics(User(ctx): User, Accept(media): Accept, Path(id): Path<i64>) -> Result<Response> {
    let actions = some_with_total(statistics::actions(&ctx, id).await?);
    Ok(media.ok(&Statistics { actions, ..Statistics::default() }))
}

/// How many rollouts a distribution set has, by status.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/statistics/rollouts",
    responses((status = 200, body = Statistics))
)]
async fn rollout_statistics(User(ctx): User, Accept(media): Accept, Path(id): Path<i64>) -> Result<Response> {
    let rollouts = some_with_total(statistics::rollouts(&ctx, id).await?);
    Ok(media.ok(&Statistics { rollouts, ..Statistics::default() }))
}

/// How many target filters assign a distribution set.
#[utoipa::path(
    get, path = "/rest/v1/distributionsets/{distributionSetId}/statistics/autoassignments",
    responses((status = 200, body = Statistics))
)]
async fn auto_assign_statistics(User(ctx): User, Accept(media): Accept, Path(id): Path<i64>) -> Result<Response> {
    let total_auto_assignments = Some(statistics::auto_assignments(&ctx, id).await?).filter(|n| *n > 0);
    Ok(media.ok(&Statistics { total_auto_assignments, ..Statistics::default() }))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewSet {
    #[schema(required, nullable = false, max_length = 128)]
    name: Option<String>,
    #[schema(required, nullable = false, max_length = 64)]
    version: Option<String>,
    r#type: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    required_migration_step: Option<bool>,
    modules: Option<Vec<IdBody>>,
}

impl NewSet {
    fn read(self) -> Result<Create> {
        Ok(Create {
            name: required("name", self.name)?,
            version: required("version", self.version)?,
            set_type: self.r#type,
            description: self.description,
            required_migration_step: self.required_migration_step.unwrap_or(false),
            modules: IdBody::read_all(self.modules)?,
        })
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SetChanges {
    #[schema(max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 64)]
    version: Option<String>,
    #[schema(max_length = 512)]
    description: Option<String>,
    required_migration_step: Option<bool>,
    locked: Option<bool>,
}

impl From<SetChanges> for Update {
    fn from(changes: SetChanges) -> Update {
        Update {
            name: changes.name,
            version: changes.version,
            description: changes.description,
            required_migration_step: changes.required_migration_step,
            locked: changes.locked,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvalidateBody {
    action_cancelation_type: CancelationBody,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CancelationBody {
    None,
    Soft,
    Force,
}

impl From<CancelationBody> for Cancelation {
    fn from(cancelation: CancelationBody) -> Cancelation {
        match cancelation {
            CancelationBody::None => Cancelation::None,
            CancelationBody::Soft => Cancelation::Soft,
            CancelationBody::Force => Cancelation::Force,
        }
    }
}

impl From<Model> for Metadata {
    fn from(row: Model) -> Metadata {
        Metadata { key: row.meta_key, value: row.meta_value }
    }
}

#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    #[serde(skip_serializing_if = "Option::is_none")]
    actions: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollouts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_auto_assignments: Option<i64>,
}

fn with_total(mut counts: Counts) -> Counts {
    counts.insert("total".into(), counts.values().sum());
    counts
}

/// One kind of statistics on its own is left out where there is nothing to count.
fn some_with_total(counts: Counts) -> Option<Counts> {
    (!counts.is_empty()).then(|| with_total(counts))
}

/// A set as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DistributionSet {
    #[serde(flatten)]
    audit: Audit,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    version: String,
    modules: Vec<SoftwareModule>,
    required_migration_step: bool,
    r#type: String,
    type_name: String,
    complete: bool,
    locked: bool,
    deleted: bool,
    valid: bool,
    id: i64,
    #[serde(rename = "_links")]
    links: Links,
}

impl DistributionSet {
    /// As in a list: with the link to itself only.
    pub fn compact(full: Full, base: &Base) -> DistributionSet {
        let links = Links::this(href(base, full.set.id));
        DistributionSet::new(full, links, base)
    }

    /// As on its own: with the links to all that belongs to it.
    pub fn full(full: Full, base: &Base) -> DistributionSet {
        let this = href(base, full.set.id);
        let links = Links::this(this.as_str())
            .with("modules", format!("{this}/assignedSM?offset=0&limit=50"))
            .with("type", distribution_set_types::href(base, full.set.ds_type))
            .with("metadata", format!("{this}/metadata"));
        DistributionSet::new(full, links, base)
    }

    fn new(full: Full, links: Links, base: &Base) -> DistributionSet {
        let Full { set, type_key, type_name, modules, complete } = full;
        DistributionSet {
            audit: audit_of!(set),
            name: set.name,
            description: set.description,
            version: set.version,
            modules: modules.into_iter().map(|module| SoftwareModule::compact(module, base)).collect(),
            required_migration_step: set.required_migration_step.unwrap_or(false),
            r#type: type_key,
            type_name,
            complete,
            locked: set.locked,
            deleted: set.deleted.unwrap_or(false),
            valid: set.valid.unwrap_or(true),
            id: set.id,
            links,
        }
    }
}

pub fn href(base: &Base, id: i64) -> String {
    base.href(&format!("/rest/v1/distributionsets/{id}"))
}
