//! What rollouts do with actions: schedule them, start them, take them back; a batch of one group at a time, in a number
//! of statements that does not grow with it (semantics.md B6).
//!
//! As everywhere, the targets' rows are held before their actions are written. The caller holds the rollout's row.

mod store;

use std::collections::{BTreeMap, HashMap};

use kettle_cluster::Tx;

use self::store::Due;
use super::{ActionStatus, SERVER_PREFIX, assign, store as actions};
use crate::{
    announcements, commands,
    ctx::Ctx,
    error::{Result, check_quota},
    targets,
    tenants::TenantSettings,
};

/// What the actions of one group have in common.
#[derive(Clone, Debug)]
pub(crate) struct Wave {
    pub rollout: i64,
    pub group: i64,
    pub set: i64,
    pub action_type: i32,
    pub forced_time: i64,
    pub weight: i32,
    pub initiated_by: String,
    pub confirmation_required: bool,
    /// The first message of each action.
    pub message: String,
}

/// A share of a group's actions that is worked on beside the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub share: usize,
    pub of: usize,
}

impl Share {
    pub(crate) const ALL: Share = Share { share: 0, of: 1 };
}

/// Adds a scheduled action for each of `targets`, which are held, in place of what else is scheduled for them.
pub(crate) async fn schedule(
    ctx: &Ctx,
    tx: &mut Tx,
    settings: &TenantSettings,
    wave: &Wave,
    targets: &[(i64, String)],
) -> Result<()> {
    let ids: Vec<i64> = targets.iter().map(|(id, _)| *id).collect();
    store::plan_anew(&**tx, ctx.engine(), true).await?;
    assign::cancel_scheduled(ctx, tx, &ids).await?;
    let named: Vec<_> = targets.iter().map(|(id, controller_id)| (*id, controller_id.as_str())).collect();
    if let Some((_, total)) = assign::make_room(ctx, tx, settings, &named).await?.first() {
        check_quota(ctx.settings().quotas.actions_per_target, *total, 1, "the actions of a target")?;
    }
    let (engine, tenant, by) = (ctx.engine(), ctx.tenant_id(), ctx.actor_name());
    store::plan_anew(&**tx, engine, false).await?;
    let told = tx.announces();
    let created = store::insert_scheduled(&**tx, engine, tenant, wave, &ids, told, &by, ctx.now()).await?;
    announcements::actions_scheduled(ctx, tx, wave.rollout, wave.group, created);
    Ok(())
}

/// Starts up to `limit` scheduled actions of a share of a group; returns how many there were.
pub(crate) async fn start(
    ctx: &Ctx,
    tx: &mut Tx,
    settings: &TenantSettings,
    wave: &Wave,
    share: Share,
    limit: u64,
) -> Result<usize> {
    let (engine, tenant, by, now) = (ctx.engine(), ctx.tenant_id(), ctx.actor_name(), ctx.now());
    store::plan_anew(&**tx, engine, true).await?;
    let due = store::hold_scheduled(&**tx, engine, tenant, wave.group, share, limit).await?;
    store::plan_anew(&**tx, engine, false).await?;
    let found = due.len();
    let (done, due): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|due| due.assigned == Some(wave.set));
    skip(ctx, tx, &done).await?;
    if due.is_empty() {
        return Ok(found);
    }
    let targets: Vec<i64> = due.iter().map(|due| due.target).collect();
    let told: Vec<&Due> = due.iter().filter(|due| targets::has_gateway(due.address.as_deref())).collect();
    let gateways: HashMap<i64, &str> = told.iter().map(|due| (due.target, &*due.controller_id)).collect();
    let names = due.iter().map(|due| (due.target, &*due.controller_id)).collect();
    assign::supersede(ctx, tx, settings, &targets, &gateways, &names).await?;
    let auto_confirming = match settings.confirmation_flow && wave.confirmation_required {
        true => targets::auto_confirm::messages(ctx, tx, &targets).await?,
        false => Default::default(),
    };
    let waits = |due: &&Due| {
        settings.confirmation_flow && wave.confirmation_required && !auto_confirming.contains_key(&due.target)
    };
    let (waiting, running): (Vec<&Due>, Vec<&Due>) = due.iter().partition(waits);
    for (due, status) in [(&waiting, ActionStatus::WaitForConfirmation), (&running, ActionStatus::Running)] {
        let actions: Vec<i64> = due.iter().map(|due| due.action).collect();
        store::set_status(&**tx, engine, tenant, &actions, (status, true), &by, now).await?;
    }
    let mut by_message: BTreeMap<Option<String>, Vec<i64>> = BTreeMap::new();
    for due in &due {
        let message = match settings.confirmation_flow {
            false => None,
            true if !wave.confirmation_required => {
                Some(format!("Assignment confirmed by initiator [{}].", wave.initiated_by))
            }
            true => Some(auto_confirming.get(&due.target).cloned().unwrap_or_else(|| assign::WAITING.to_owned())),
        };
        by_message.entry(message).or_default().push(due.action);
    }
    // hawkBit: with the confirmation flow on, the first row says so even of an action that does not wait.
    let first = if settings.confirmation_flow { ActionStatus::WaitForConfirmation } else { ActionStatus::Running };
    for (message, actions) in by_message {
        let messages: Vec<String> = [wave.message.clone()].into_iter().chain(message).collect();
        super::note_all(ctx, tx, &actions, first, &messages).await?;
    }
    assign::take_over(ctx, tx, wave.set, &targets, false).await?;
    let told = told.into_iter().map(|due| (due.action, due.controller_id.clone())).collect();
    commands::note_assigned(ctx, tx, wave.set, told);
    let started: Vec<i64> = due.iter().map(|due| due.action).collect();
    announcements::all_started(ctx, tx, wave.set, &started).await?;
    targets::changed(ctx, tx, due.into_iter().map(|due| due.controller_id).collect());
    Ok(found)
}

/// Targets that have the set already have nothing to do.
async fn skip(ctx: &Ctx, tx: &Tx, done: &[Due]) -> Result<()> {
    let (engine, tenant, by, now) = (ctx.engine(), ctx.tenant_id(), ctx.actor_name(), ctx.now());
    let actions: Vec<i64> = done.iter().map(|due| due.action).collect();
    store::set_status(&**tx, engine, tenant, &actions, (ActionStatus::Finished, false), &by, now).await?;
    let messages = [format!("{SERVER_PREFIX}Distribution Set is already assigned. Skipping this action.")];
    let mut by_time: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for due in done {
        by_time.entry(due.created_at).or_default().push(due.action);
    }
    for (occurred_at, actions) in by_time {
        let new = actions::NewStatuses { actions: &actions, status: ActionStatus::Running, messages: &messages };
        actions::add_status_to_all(&**tx, engine, tenant, new, occurred_at, &by, now).await?;
    }
    announcements::all_updated(ctx, tx, &done.iter().map(|due| due.action).collect::<Vec<_>>()).await
}

/// Takes back up to `limit` active actions of groups: asks the devices to cancel, or with `force` closes the actions
/// without waiting for them. Returns how many there were.
pub(crate) async fn cancel(ctx: &Ctx, tx: &mut Tx, groups: &[i64], force: bool, limit: u64) -> Result<usize> {
    let (engine, tenant, by, now) = (ctx.engine(), ctx.tenant_id(), ctx.actor_name(), ctx.now());
    store::plan_anew(&**tx, engine, true).await?;
    let found = store::hold_active(&**tx, engine, tenant, groups, force, limit).await?;
    store::plan_anew(&**tx, engine, false).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let actions: Vec<i64> = found.iter().map(|active| active.action).collect();
    let (status, what) = match force {
        true => (ActionStatus::Canceled, "force quit"),
        false => (ActionStatus::Canceling, "cancellation"),
    };
    store::set_status(&**tx, engine, tenant, &actions, (status, !force), &by, now).await?;
    let messages = [format!("{SERVER_PREFIX}A {what} has been performed by server.")];
    super::note_all(ctx, tx, &actions, status, &messages).await?;
    if force {
        let targets: Vec<i64> = found.iter().map(|active| active.target).collect();
        actions::fall_back(&**tx, engine, tenant, &targets, &by, now).await?;
        announcements::all_updated(ctx, tx, &actions).await?;
    } else {
        let told = found.iter().filter(|active| targets::has_gateway(active.address.as_deref()));
        let told: Vec<_> = told.map(|active| (active.action, active.controller_id.clone())).collect();
        commands::note_canceled(ctx, tx, &told);
        announcements::all_canceled(ctx, tx, &actions).await?;
    }
    let found_here = found.len();
    targets::changed(ctx, tx, found.into_iter().map(|active| active.controller_id).collect());
    Ok(found_here)
}

/// Deletes up to `limit` actions of groups that were never started; returns how many there were.
pub(crate) async fn drop_scheduled(ctx: &Ctx, tx: &Tx, groups: &[i64], limit: u64) -> Result<u64> {
    Ok(store::delete_scheduled(&**tx, ctx.engine(), ctx.tenant_id(), groups, limit).await?)
}
