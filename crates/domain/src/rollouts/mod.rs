//! Rollouts: a distribution set for all targets that a search finds, group after group (semantics.md B).
//!
//! Operators create rollouts and move them on (`operate.rs`); the work in between is done by the scheduler, in passes
//! that are idempotent and go by bounded batches, so that any node can go on where another one died (`pass`). What a look
//! at a running rollout decides is `advance.rs`.

mod advance;
mod counters;
mod cover;
mod create;
pub mod entity;
pub mod explain;
mod fields;
mod filter;
pub mod groups;
mod operate;
mod pass;
mod scheduler;
pub(crate) mod store;
#[cfg(test)]
mod testing;
mod wakes;

pub use counters::Counters;
pub use create::{Conditions, Create, CreateGroup, Template, create, retry};
pub use entity::{GroupStatus, Model, RolloutStatus, SuccessAction, group::Model as Group};
pub(crate) use operate::end_all_of_set;
pub use operate::{decide, delete, pause, resume, start, stop, trigger_next_group};
pub use scheduler::{Scheduler, work_on_all};
pub use wakes::Wakes;

use std::collections::HashMap;

use sea_orm::{ActiveModelTrait, ColumnTrait, Order, QueryFilter, Set};

use crate::{
    access::Permission,
    actions::of_rollout::Wave,
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Kind, Result},
    listing::{Listing, Page},
    search, text,
};

const SORT: (&str, Order) = ("id", Order::Asc);
const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 512;

/// A rollout as the Management API shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub rollout: Model,
    /// Told of single rollouts, and in lists where it is asked for.
    pub details: Option<Details>,
}

#[derive(Clone, Debug)]
pub struct Details {
    pub set: distribution_sets::Model,
    pub counters: Counters,
}

/// One page of the rollouts that are not deleted, with their details if they are wanted in `full`.
pub async fn list(ctx: &Ctx, listing: &Listing, full: bool) -> Result<Page<Shown>> {
    ctx.require(Permission::ReadRollout)?;
    let select = store::of_tenant(ctx.tenant_id()).filter(entity::Column::Deleted.eq(false));
    let page = search::page(ctx, select, &fields::ENTITY, listing, SORT, None).await?;
    if !full {
        return Ok(page.map(|rollout| Shown { rollout, details: None }));
    }
    let counters = counters::of_rollouts(ctx, &page.content).await?;
    Ok(Page { content: detail(ctx, page.content, &counters).await?, total: page.total })
}

/// One rollout, deleted ones too, or `Rollout` not found.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Shown> {
    ctx.require(Permission::ReadRollout)?;
    let found = vec![find_any(ctx, id).await?];
    let counters = counters::of_rollouts(ctx, &found).await?;
    show_one(ctx, found, &counters).await
}

/// Changes name and description; `None` leaves them.
pub async fn update(ctx: &Ctx, id: i64, name: Option<String>, description: Option<String>) -> Result<Shown> {
    ctx.require(Permission::UpdateRollout)?;
    if let Some(name) = &name {
        text::filled("name", name, MAX_NAME)?;
    }
    text::optional("description", description.as_deref(), MAX_DESCRIPTION)?;
    let tx = ctx.begin().await?;
    let found = store::lock(&*tx, ctx.tenant_id(), id).await?.ok_or_else(|| Error::not_found("Rollout", id))?;
    if matches!(found.status(), RolloutStatus::Deleting | RolloutStatus::Deleted) {
        let message = format!("Rollout {id} is soft deleted and cannot be changed");
        return Err(Error::new(Kind::EntityReadOnly, message));
    }
    let name = text::change(name, Some(&found.name));
    let description = text::change(description, found.description.as_deref());
    let updated = if name.is_some() || description.is_some() {
        let mut row = touched!(ctx, &found);
        row.name = Set(name.unwrap_or_else(|| found.name.clone()));
        row.description = Set(description.or_else(|| found.description.clone()));
        let updated = row.update(&*tx).await.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
        announcements::updated(ctx, &tx, Told::Rollout, [id]);
        tx.commit().await?;
        updated
    } else {
        found
    };
    // hawkBit: the answer to a change counts all targets as not started.
    let counters = HashMap::from([(id, Counters::not_started(updated.total()))]);
    show_one(ctx, vec![updated], &counters).await
}

/// A rollout of the tenant, deleted ones too.
async fn find_any(ctx: &Ctx, id: i64) -> Result<Model> {
    store::find(ctx.db().read(), ctx.tenant_id(), id).await?.ok_or_else(|| Error::not_found("Rollout", id))
}

async fn show_one(ctx: &Ctx, rollout: Vec<Model>, counters: &HashMap<i64, Counters>) -> Result<Shown> {
    detail(ctx, rollout, counters).await?.pop().ok_or_else(|| Error::internal("one rollout in, none out"))
}

/// Adds what is told of rollouts in full, in a number of queries that does not grow with a page.
async fn detail(ctx: &Ctx, rollouts: Vec<Model>, counters: &HashMap<i64, Counters>) -> Result<Vec<Shown>> {
    let ids: Vec<i64> = rollouts.iter().map(|rollout| rollout.distribution_set).collect();
    let sets = distribution_sets::store::get_all(ctx.db().read(), ctx.tenant_id(), &ids).await?;
    let sets: HashMap<i64, _> = sets.into_iter().map(|set| (set.id, set)).collect();
    let detailed = |rollout: Model| {
        let counters = counters.get(&rollout.id).copied().unwrap_or_default();
        let set = sets.get(&rollout.distribution_set).cloned();
        Shown { details: set.map(|set| Details { set, counters }), rollout }
    };
    Ok(rollouts.into_iter().map(detailed).collect())
}

/// What the actions of a group are to be.
fn wave(rollout: &Model, group: &Group) -> Wave {
    Wave {
        rollout: rollout.id,
        group: group.id,
        set: rollout.distribution_set,
        action_type: rollout.action_type,
        forced_time: rollout.forced_time.unwrap_or(0),
        weight: rollout.weight,
        initiated_by: rollout.created_by.clone().unwrap_or_default(),
        confirmation_required: group.confirmation_required.unwrap_or(false),
        message: format!("Initiated by Rollout Group '{}' [Rollout {}:{}]", group.name, rollout.name, rollout.id),
    }
}
