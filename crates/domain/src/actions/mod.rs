//! Actions: one distribution set assigned to one target, and what becomes of it (semantics.md A3, A4).
//!
//! `assign.rs` makes them, `confirmation.rs` lets them go on, `cancel.rs` takes them back, `feedback.rs` takes what
//! devices report, `deployment.rs` and `chunks.rs` are what a device reads, `delete.rs` and `cleanup.rs` forget. All of them lock the
//! target's row first, so that a target's state has one writer at a time.
//! `window.rs` and `cron.rs` say when a device may install.

mod assign;
mod cancel;
pub(crate) mod chunks;
mod cleanup;
mod confirmation;
mod cron;
mod delete;
mod deployment;
pub mod entity;
mod feedback;
pub mod fields;
mod installed_base;
pub(crate) mod of_rollout;
mod of_set;
mod report;
pub(crate) mod store;
mod window;

pub(crate) use assign::check_weight;
pub use assign::{Assigned, Outcome, Request, assign};
pub(crate) use assign::{Cause, carry_out, make_room};
pub(crate) use cancel::cancel_lapsed;
pub use cancel::{cancel, force, force_quit};
pub use chunks::Chunk;
pub use cleanup::clean_up;
pub(crate) use confirmation::confirm_all;
pub use confirmation::{Confirmation, confirm, confirmation_feedback};
pub use delete::{Selected, SelectedOfTarget, delete, delete_of_target, delete_selected};
pub use deployment::{
    Deployment, History, artifacts, canceling, check_download, confirmation, deployment, find_download, installed,
    note_download,
};
pub use entity::{ActionStatus, ActionType, Model};
pub use feedback::{Execution, Feedback, cancel_feedback, update_feedback};
pub use installed_base::report as report_installed;
pub(crate) use of_set::cancel_of_set;
pub use report::{Answer, Report, Taken, answer, report};
pub use window::{Window, WindowText};

use std::collections::HashMap;

use kettle_cluster::Tx;
use sea_orm::{ColumnTrait, ConnectionTrait, Order, PaginatorTrait, QueryFilter, Set};

use crate::{
    access::{Permission, Scope},
    ctx::Ctx,
    distribution_sets,
    error::{Error, Kind, Result, check_quota},
    listing::{Listing, Page},
    search, targets,
};

/// Marks status messages that the server wrote itself; a device's history leaves them out.
pub const SERVER_PREFIX: &str = "Update Server: ";
const DEFAULT_SORT: (&str, Order) = ("id", Order::Desc);

/// An action as the Management API shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub action: Model,
    pub controller_id: String,
    pub target_name: String,
    pub set_name: String,
    pub set_version: String,
    pub rollout_name: Option<String>,
    /// When the maintenance window opens next, or has opened; epoch milliseconds.
    pub window_next_start: Option<i64>,
}

/// One report about an action.
#[derive(Clone, Debug)]
pub struct StatusShown {
    pub status: entity::status::Model,
    pub messages: Vec<String>,
}

/// All actions of the tenant.
pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Shown>> {
    ctx.require(Permission::ReadTarget)?;
    let scope = scope(ctx, Permission::ReadTarget).await?;
    let select = store::of_tenant(ctx.tenant_id(), &scope);
    let page = search::page(ctx, select, &fields::ENTITY, listing, DEFAULT_SORT, None).await?;
    Ok(Page { content: show(ctx, page.content).await?, total: page.total })
}

/// The actions of one target.
pub async fn list_of_target(ctx: &Ctx, controller_id: &str, listing: &Listing) -> Result<Page<Shown>> {
    let target = targets::find(ctx, controller_id).await?;
    let scope = scope(ctx, Permission::ReadTarget).await?;
    let select = store::of_tenant(ctx.tenant_id(), &scope).filter(entity::Column::Target.eq(target.id));
    let page = search::page(ctx, select, &fields::ENTITY, listing, DEFAULT_SORT, None).await?;
    Ok(Page { content: show(ctx, page.content).await?, total: page.total })
}

/// One action of the tenant.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Shown> {
    ctx.require(Permission::ReadTarget)?;
    let action = find(ctx, ctx.db().read(), id).await?;
    show_one(ctx, action).await
}

/// The row of an action that the caller may read.
pub(crate) async fn find(ctx: &Ctx, db: &impl ConnectionTrait, id: i64) -> Result<Model> {
    let scope = scope(ctx, Permission::ReadTarget).await?;
    let found = store::find(db, ctx.tenant_id(), &scope, id).await?;
    found.ok_or_else(|| Error::not_found("Action", id))
}

/// The actions whose targets are in the scope of `permission`, one of those over targets.
pub(crate) async fn scope(ctx: &Ctx, permission: Permission) -> Result<Scope> {
    if !ctx.limits_actions() {
        return Ok(Scope::ALL);
    }
    Ok(store::scope_of_targets(ctx.tenant_id(), &search::scope(ctx, permission).await?))
}

/// One action of one target. `None`: the action is another target's.
pub async fn get_of_target(ctx: &Ctx, controller_id: &str, id: i64) -> Result<Option<Shown>> {
    let shown = get(ctx, id).await?;
    Ok((shown.controller_id == controller_id).then_some(shown))
}

/// The reports about an action, with their messages.
pub async fn statuses(ctx: &Ctx, controller_id: &str, id: i64, listing: &Listing) -> Result<Page<StatusShown>> {
    let target = targets::find(ctx, controller_id).await?;
    let action = find(ctx, ctx.db().read(), id).await?;
    if action.target != target.id {
        return Err(Error::new(Kind::Absent, format!("Action {id} is not one of target {controller_id}.")));
    }
    let select = store::statuses_of(ctx.tenant_id(), id);
    // hawkBit: this list can't be searched; `q` is ignored.
    let listing = &Listing { q: None, ..listing.clone() };
    let page = search::page(ctx, select, &fields::STATUS_ENTITY, listing, DEFAULT_SORT, None).await?;
    let ids: Vec<i64> = page.content.iter().map(|s| s.id).collect();
    let mut messages: HashMap<i64, Vec<String>> = HashMap::new();
    for (status, message) in store::messages(ctx.db().read(), ctx.engine(), &ids).await? {
        messages.entry(status).or_default().push(message);
    }
    Ok(page.map(|status| StatusShown { messages: messages.remove(&status.id).unwrap_or_default(), status }))
}

/// The set that is assigned to, or installed on, a target. An unknown target has none.
pub async fn set_of_target(ctx: &Ctx, controller_id: &str, installed: bool) -> Result<Option<distribution_sets::Full>> {
    ctx.require(Permission::ReadTarget)?;
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let target = targets::store::find(ctx.db().read(), ctx.tenant_id(), &scope, controller_id).await?;
    // hawkBit: these two reads don't tell an unknown target from one without a set.
    let Some(target) = target else { return Ok(None) };
    let id = if installed { target.installed_distribution_set } else { target.assigned_distribution_set };
    let Some(id) = id else { return Ok(None) };
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let set = distribution_sets::store::get(ctx.db().read(), ctx.tenant_id(), &scope, id).await?;
    let Some(set) = set else { return Ok(None) };
    Ok(distribution_sets::load(ctx.db().read(), ctx.tenant_id(), vec![set]).await?.pop())
}

/// The targets that a set is assigned to, or installed on.
pub async fn targets_of_set(ctx: &Ctx, set: i64, installed: bool, listing: &Listing) -> Result<Page<targets::Shown>> {
    ctx.require(Permission::ReadTarget)?;
    ctx.require(Permission::ReadDistributionSet)?;
    distribution_sets::find(ctx, set).await?;
    use targets::entity::Column;
    let column = if installed { Column::InstalledDistributionSet } else { Column::AssignedDistributionSet };
    targets::list_of(ctx, sea_orm::Condition::all().add(column.eq(set)), listing).await
}

async fn show_one(ctx: &Ctx, action: Model) -> Result<Shown> {
    show(ctx, vec![action]).await?.pop().ok_or_else(|| Error::internal("one action in, none out"))
}

/// Adds the names shown beside actions, with a constant number of queries.
async fn show(ctx: &Ctx, actions: Vec<Model>) -> Result<Vec<Shown>> {
    let db = ctx.db().read();
    let unique = |ids: Vec<i64>| {
        let mut ids = ids;
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let target_ids = unique(actions.iter().map(|a| a.target).collect());
    let targets = targets::store::of_tenant(ctx.tenant_id(), &Scope::ALL);
    let targets = targets.filter(targets::entity::Column::Id.is_in(target_ids)).all(db).await?;
    let targets: HashMap<i64, _> = targets.into_iter().map(|t| (t.id, (t.controller_id, t.name))).collect();
    let set_ids = unique(actions.iter().map(|a| a.distribution_set).collect());
    let sets = distribution_sets::store::of_tenant(ctx.tenant_id(), &Scope::ALL);
    let sets = sets.filter(distribution_sets::entity::Column::Id.is_in(set_ids)).all(db).await?;
    let sets: HashMap<i64, _> = sets.into_iter().map(|s| (s.id, (s.name, s.version))).collect();
    let rollouts = rollout_names(ctx, unique(actions.iter().filter_map(|a| a.rollout).collect())).await?;
    let show = |action: Model| {
        let (controller_id, target_name) = targets.get(&action.target).cloned().unwrap_or_default();
        let (set_name, set_version) = sets.get(&action.distribution_set).cloned().unwrap_or_default();
        let rollout_name = action.rollout.and_then(|id| rollouts.get(&id).cloned());
        let window_next_start = action.window().and_then(|window| window.next_start(ctx.now()));
        Shown { action, controller_id, target_name, set_name, set_version, rollout_name, window_next_start }
    };
    Ok(actions.into_iter().map(show).collect())
}

async fn rollout_names(ctx: &Ctx, ids: Vec<i64>) -> Result<HashMap<i64, String>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT id, name FROM sp_rollout WHERE tenant = $1 AND id IN {}",
        ctx.engine().json_values(2, "bigint")
    );
    let ids = serde_json::to_string(&ids).map_err(Error::internal)?;
    let rows =
        ctx.db().read().query_all_raw(ctx.engine().statement(&sql, [ctx.tenant_id().into(), ids.into()])).await?;
    Ok(rows
        .iter()
        .map(|r| Ok((r.try_get("", "id")?, r.try_get("", "name")?)))
        .collect::<Result<_, sea_orm::DbErr>>()?)
}

/// An action has ended: its rollout may move on.
fn ended(ctx: &Ctx, action: &Model) {
    if let Some(rollout) = action.rollout {
        ctx.services().rollouts.report(&ctx.tenant, rollout);
    }
}

/// The row with its revision counted up; with `by_operator`, also its audit columns: devices leave those alone.
fn touched(ctx: &Ctx, action: &Model, by_operator: bool) -> entity::ActiveModel {
    let mut row: entity::ActiveModel = action.clone().into();
    row.optlock_revision = Set(Some(action.optlock_revision.unwrap_or(0) + 1));
    if by_operator {
        row.last_modified_at = Set(Some(ctx.now()));
        row.last_modified_by = Set(Some(ctx.actor_name()));
    }
    row
}

/// Fails when an action has as many statuses as it may.
async fn check_status_quota(ctx: &Ctx, db: &impl ConnectionTrait, action: i64) -> Result<()> {
    let rows = store::statuses_of(ctx.tenant_id(), action).count(db).await?;
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    check_quota(ctx.settings().quotas.status_entries_per_action, rows, 1, "the statuses of an action")
}

/// Fails when a status has more messages than it may. A long one counts as often as it is cut.
fn check_messages(ctx: &Ctx, messages: &[String]) -> Result<()> {
    let count = messages.iter().map(|m| store::pieces(m).len()).sum::<usize>();
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    check_quota(ctx.settings().quotas.messages_per_action_status, 0, count, "the messages of a status")
}

/// The action, if it is one of this target's: to a device, those of others are unknown.
fn of_target(action: Option<Model>, id: i64, target: &targets::Model) -> Result<Model> {
    let action = action.ok_or_else(|| Error::not_found("Action", id))?;
    if action.target == target.id {
        return Ok(action);
    }
    let message = format!("Not a valid action ({id}) for target: {}", target.controller_id);
    Err(Error::new(Kind::EntityNotFound, message))
}

/// Adds a status row written by the server itself, now.
async fn note(ctx: &Ctx, tx: &Tx, action: i64, status: ActionStatus, message: &str) -> Result<()> {
    let new = store::NewStatus { action, status, occurred_at: ctx.now(), code: None, messages: vec![message.into()] };
    store::add_status(&**tx, ctx.engine(), ctx.tenant_id(), new, &ctx.actor_name(), ctx.now()).await?;
    Ok(())
}

/// The same for many actions.
async fn note_all(ctx: &Ctx, tx: &Tx, actions: &[i64], status: ActionStatus, messages: &[String]) -> Result<()> {
    let new = store::NewStatuses { actions, status, messages };
    let (engine, tenant, now) = (ctx.engine(), ctx.tenant_id(), ctx.now());
    Ok(store::add_status_to_all(&**tx, engine, tenant, new, now, &ctx.actor_name(), now).await?)
}
