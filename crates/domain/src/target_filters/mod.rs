//! Target filters: searches over targets that are kept under a name (semantics.md A7).
//!
//! A filter may have a set that is assigned to every target it matches, now and later: `auto_assign.rs` says which. What
//! then assigns it are `reaction.rs`, for targets that change, and `sweep.rs`, for all of them, both through `assigner.rs`;
//! see docs/decisions/010-auto-assignment-reacts-to-changes.md.

mod assigner;
mod assigning;
mod auto_assign;
pub mod entity;
mod fields;
mod reaction;
mod scheduler;
pub(crate) mod store;
mod sweep;
mod waiting;

pub use auto_assign::{AutoAssign, auto_assign, auto_assigned_set, stop_auto_assign};
pub use entity::Model;
pub use reaction::react;
pub use scheduler::Scheduler;
pub use sweep::{Rounds, sweep};
pub use waiting::Waiting;

use std::collections::HashMap;

use kettle_cluster::{Event, Tx};
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, Order, PaginatorTrait, QueryFilter, Set};

use crate::{
    access::Permission,
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Result},
    listing::{Listing, Page},
    search, tenants, text,
};

const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);
const MAX_NAME: usize = 128;
const MAX_QUERY: usize = 1024;

/// A filter as the Management API shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub filter: Model,
    /// The set that it assigns.
    pub set: Option<distribution_sets::Model>,
    /// Whether the actions of its assignments wait for a confirmation; told while the tenant's confirmation flow is on.
    pub confirmation_required: Option<bool>,
}

pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Shown>> {
    ctx.require(Permission::ReadTarget)?;
    let all = store::of_tenant(ctx.tenant_id());
    let page = search::page(ctx, all.clone(), &fields::ENTITY, listing, DEFAULT_SORT, None).await?;
    // hawkBit: the total is that of all filters, whatever was searched for.
    let total = if listing.q.is_some() { all.count(ctx.db().read()).await? } else { page.total };
    Ok(Page { content: show(ctx, page.content).await?, total })
}

/// The filters that assign a set by themselves.
pub async fn list_of_set(ctx: &Ctx, set: i64, listing: &Listing) -> Result<Page<Shown>> {
    ctx.require(Permission::ReadTarget)?;
    let set = distribution_sets::find(ctx, set).await?;
    let select = store::of_tenant(ctx.tenant_id()).filter(entity::Column::AutoAssignDistributionSet.eq(set.id));
    // hawkBit: unlike in other lists, an empty search is none.
    let listing = Listing { q: listing.q.clone().filter(|q| !q.is_empty()), ..listing.clone() };
    // hawkBit: sorted by the names of a set's fields; all that a filter has too are a filter's as well.
    let page = search::page(ctx, select, &fields::ENTITY, &listing, DEFAULT_SORT, None).await?;
    Ok(Page { content: show(ctx, page.content).await?, total: page.total })
}

pub async fn get(ctx: &Ctx, id: i64) -> Result<Shown> {
    show_one(ctx, find(ctx, id).await?).await
}

pub async fn create(ctx: &Ctx, name: &str, query: &str) -> Result<Shown> {
    ctx.require(Permission::CreateTarget)?;
    text::filled("name", name, MAX_NAME)?;
    text::required("query", query, MAX_QUERY)?;
    search::targets(query)?;
    let row = entity::ActiveModel {
        id: NotSet,
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        tenant: Set(ctx.tenant_id().into()),
        name: Set(text::trim(name.into())),
        query: Set(text::trim(query.into())),
        auto_assign_distribution_set: Set(None),
        auto_assign_action_type: Set(None),
        auto_assign_weight: Set(0),
        auto_assign_initiated_by: Set(None),
        confirmation_required: Set(Some(false)),
        access_control_context: Set(None),
    };
    let tx = ctx.begin().await?;
    let created = row.insert(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    announcements::created(ctx, &tx, Told::TargetFilter, [created.id]);
    tx.commit().await?;
    show_one(ctx, created).await
}

/// Changes name and query; `None` leaves them. A filter that assigns a set may not come to match too many targets.
pub async fn update(ctx: &Ctx, id: i64, name: Option<String>, query: Option<String>) -> Result<Shown> {
    ctx.require(Permission::UpdateTarget)?;
    if let Some(name) = &name {
        text::filled("name", name, MAX_NAME)?;
    }
    if let Some(query) = &query {
        text::required("query", query, MAX_QUERY)?;
    }
    let mut tx = ctx.begin().await?;
    let found = store::lock(&*tx, ctx.tenant_id(), id).await?.ok_or_else(|| not_found(id))?;
    if let Some(query) = &query {
        search::targets(query)?;
        if let Some(set) = found.auto_assign_distribution_set.filter(|_| *query != found.query) {
            auto_assign::check_targets_quota(ctx, &*tx, query, set).await?;
        }
    }
    // hawkBit: blanks around a query are dropped where a filter is created, and stay where it is changed.
    let (name, query) =
        (name.map_or_else(|| found.name.clone(), text::trim), query.unwrap_or_else(|| found.query.clone()));
    if name == found.name && query == found.query {
        return show_one(ctx, found).await;
    }
    let mut row = touched!(ctx, &found);
    row.name = Set(name);
    row.query = Set(query);
    let updated = row.update(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    announcements::updated(ctx, &tx, Told::TargetFilter, [id]);
    if updated.auto_assign_distribution_set.is_some() {
        changed(ctx, &mut tx, Some(id).filter(|_| updated.query != found.query));
    }
    tx.commit().await?;
    show_one(ctx, updated).await
}

/// Deletes the filter; what it has assigned stays.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    ctx.require(Permission::DeleteTarget)?;
    let mut tx = ctx.begin().await?;
    if store::delete(&*tx, ctx.tenant_id(), id).await? == 0 {
        return Err(Error::not_found_all("TargetFilterQuery", &[id]));
    }
    announcements::deleted(ctx, &tx, Told::TargetFilter, [id]);
    changed(ctx, &mut tx, None);
    Ok(tx.commit().await?)
}

/// Notes that what filters assign by themselves has changed; of `filter`, also what it is to be assigned to.
pub(crate) fn changed(ctx: &Ctx, tx: &mut Tx, filter: Option<i64>) {
    tx.emit(Event::TargetFiltersChanged { tenant: ctx.tenant_id().into(), filter });
}

/// Notes that the filters which assign this set may have it to assign, though no target has changed: actions of it are
/// gone, or it was not complete.
pub(crate) async fn set_changed(ctx: &Ctx, tx: &mut Tx, set: i64) -> Result<()> {
    for filter in store::assigning_set(&**tx, ctx.tenant_id(), set).await? {
        changed(ctx, tx, Some(filter));
    }
    Ok(())
}

async fn find(ctx: &Ctx, id: i64) -> Result<Model> {
    ctx.require(Permission::ReadTarget)?;
    store::find(ctx.db().read(), ctx.tenant_id(), id).await?.ok_or_else(|| not_found(id))
}

fn not_found(id: i64) -> Error {
    Error::not_found("TargetFilterQuery", id)
}

async fn show_one(ctx: &Ctx, filter: Model) -> Result<Shown> {
    show(ctx, vec![filter]).await?.pop().ok_or_else(|| Error::internal("one filter in, none out"))
}

/// Adds what is told with filters, in a number of queries that does not grow with a page.
async fn show(ctx: &Ctx, filters: Vec<Model>) -> Result<Vec<Shown>> {
    let sets: Vec<i64> = filters.iter().filter_map(|f| f.auto_assign_distribution_set).collect();
    let mut by_id = HashMap::new();
    let mut confirmation_flow = false;
    if !sets.is_empty() {
        let sets = distribution_sets::store::get_all(ctx.db().read(), ctx.tenant_id(), &sets).await?;
        by_id.extend(sets.into_iter().map(|set| (set.id, set)));
        confirmation_flow = tenants::settings(ctx.services(), &ctx.tenant).await?.is_some_and(|s| s.confirmation_flow);
    }
    let show = |filter: Model| {
        let set = filter.auto_assign_distribution_set.and_then(|id| by_id.get(&id).cloned());
        let confirm = filter.confirmation_required.unwrap_or(false);
        let confirmation_required = set.as_ref().filter(|_| confirmation_flow).map(|_| confirm);
        Shown { filter, set, confirmation_required }
    };
    Ok(filters.into_iter().map(show).collect())
}
