//! Notes, in the transaction of a change, what hawkBit would tell of it on its event channels (semantics.md F1). Where nobody
//! is told, nothing is read or kept.
//!
//! hawkBit tells of entities that it saves and that differ from before, not of what it changes with a statement of its own:
//! the groups of targets, sets and modules and types that are only marked as deleted, filters that lose their set, scheduled actions
//! that another assignment cancels. The order here is hawkBit's within a transaction, as far as it is known.

use std::collections::HashMap;

pub(crate) use kettle_cluster::announcements::{Change, Entity};
use kettle_cluster::{
    Fact, Tx,
    announcements::{ActionName, Assignment, TargetName},
};

use crate::{
    actions::{self, ActionType},
    ctx::Ctx,
    error::Result,
    targets,
};

/// hawkBit looks up so many targets with one statement, and tells of each such part by itself.
pub(crate) const AT_ONCE: usize = 999;

pub(crate) fn created(ctx: &Ctx, tx: &Tx, entity: Entity, ids: impl IntoIterator<Item = i64>) {
    entities(ctx, tx, entity, Change::Created, ids);
}

pub(crate) fn updated(ctx: &Ctx, tx: &Tx, entity: Entity, ids: impl IntoIterator<Item = i64>) {
    entities(ctx, tx, entity, Change::Updated, ids);
}

/// Targets: see [`target_deleted`].
pub(crate) fn deleted(ctx: &Ctx, tx: &Tx, entity: Entity, ids: impl IntoIterator<Item = i64>) {
    entities(ctx, tx, entity, Change::Deleted, ids);
}

fn entities(ctx: &Ctx, tx: &Tx, entity: Entity, change: Change, ids: impl IntoIterator<Item = i64>) {
    if !tx.announces() {
        return;
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    if !ids.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::Entities { entity, change, ids });
    }
}

/// A device has polled, or registered, in a way that is written at once.
pub(crate) fn polled(ctx: &Ctx, tx: &Tx, controller_id: &str, address: &str) {
    if tx.announces() {
        let (controller_ids, address) = (vec![controller_id.to_owned()], Some(address.to_owned()));
        tx.announce(ctx.tenant_id(), Fact::Polled { controller_ids, address, at_ms: ctx.now() });
    }
}

pub(crate) fn target_deleted(ctx: &Ctx, tx: &Tx, target: &targets::Model) {
    if tx.announces() {
        tx.announce(ctx.tenant_id(), Fact::TargetsDeleted { targets: vec![target_name(target)] });
    }
}

/// Targets that have ended an update are to report their attributes, whoever speaks for them.
pub(crate) fn attributes_requested<'a>(ctx: &Ctx, tx: &Tx, targets: impl IntoIterator<Item = &'a targets::Model>) {
    let targets: Vec<TargetName> = targets.into_iter().filter(|_| tx.announces()).map(target_name).collect();
    if !targets.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::AttributesRequested { targets });
    }
}

fn target_name(target: &targets::Model) -> TargetName {
    let targets::Model { id, controller_id, address, .. } = target;
    TargetName { id: *id, controller_id: controller_id.clone(), address: address.clone() }
}

pub(crate) fn actions_created<'a>(ctx: &Ctx, tx: &Tx, actions: impl IntoIterator<Item = &'a actions::Model>) {
    let actions: Vec<ActionName> = actions.into_iter().filter(|_| tx.announces()).map(action_name).collect();
    if !actions.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::ActionsCreated { actions });
    }
}

/// Actions of a group were added, as (action, target).
pub(crate) fn actions_scheduled(ctx: &Ctx, tx: &Tx, rollout: i64, group: i64, actions: Vec<(i64, i64)>) {
    let of = |(id, target)| ActionName { id, target, rollout: Some(rollout), rollout_group: Some(group) };
    let actions: Vec<ActionName> = actions.into_iter().map(of).collect();
    if !actions.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::ActionsCreated { actions });
    }
}

pub(crate) fn actions_updated<'a>(ctx: &Ctx, tx: &Tx, actions: impl IntoIterator<Item = &'a actions::Model>) {
    let actions: Vec<ActionName> = actions.into_iter().filter(|_| tx.announces()).map(action_name).collect();
    if !actions.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::ActionsUpdated { actions });
    }
}

fn action_name(action: &actions::Model) -> ActionName {
    let actions::Model { id, target, rollout, rollout_group, .. } = action;
    ActionName { id: *id, target: *target, rollout: *rollout, rollout_group: *rollout_group }
}

/// Targets were given these actions of `set`, which are as they are after that; `names` has their controllerIds.
pub(crate) fn assigned(ctx: &Ctx, tx: &Tx, set: i64, actions: &[actions::Model], names: &HashMap<i64, &str>) {
    let actions: Vec<Assignment> = assignments(ctx, tx, actions, names);
    // hawkBit: what the first one may do now is said of all.
    if let Some(first) = actions.first() {
        tx.announce(ctx.tenant_id(), Fact::Assigned { set, window_open: first.window_open, actions });
    }
}

/// An assignment has taken the place of these actions; `names` has the controllerIds of their targets. What was closed
/// without asking the device is no cancellation.
pub(crate) fn superseded(ctx: &Ctx, tx: &Tx, actions: &[actions::Model], names: &HashMap<i64, &str>) {
    for part in actions.chunks(AT_ONCE) {
        let asked: Vec<Assignment> = assignments(ctx, tx, part.iter().filter(|action| action.is_active()), names);
        if !asked.is_empty() {
            tx.announce(ctx.tenant_id(), Fact::Canceled { actions: asked });
        }
    }
    actions_updated(ctx, tx, actions);
}

/// A device is asked to cancel this action of its target.
pub(crate) fn canceled(ctx: &Ctx, tx: &Tx, target: &targets::Model, action: &actions::Model) {
    if tx.announces() {
        let actions = vec![assignment(ctx, action, &target.controller_id)];
        tx.announce(ctx.tenant_id(), Fact::Canceled { actions });
    }
    actions_updated(ctx, tx, [action]);
}

/// As [`canceled`], of many actions by their ids. The transaction holds them and their targets.
pub(crate) async fn all_canceled(ctx: &Ctx, tx: &Tx, ids: &[i64]) -> Result<()> {
    let found = read(ctx, tx, ids).await?;
    for (target, action) in &found {
        let actions = vec![assignment(ctx, action, &target.controller_id)];
        tx.announce(ctx.tenant_id(), Fact::Canceled { actions });
    }
    actions_updated(ctx, tx, found.iter().map(|(_, action)| action));
    Ok(())
}

/// As [`actions_updated`], by their ids. The transaction holds them and their targets.
pub(crate) async fn all_updated(ctx: &Ctx, tx: &Tx, ids: &[i64]) -> Result<()> {
    let found = read(ctx, tx, ids).await?;
    actions_updated(ctx, tx, found.iter().map(|(_, action)| action));
    Ok(())
}

/// As [`assigned`], of actions that were there before. The transaction holds them and their targets.
pub(crate) async fn all_started(ctx: &Ctx, tx: &Tx, set: i64, ids: &[i64]) -> Result<()> {
    let (targets, actions): (Vec<targets::Model>, Vec<actions::Model>) = read(ctx, tx, ids).await?.into_iter().unzip();
    let names = targets.iter().map(|target| (target.id, target.controller_id.as_str())).collect();
    assigned(ctx, tx, set, &actions, &names);
    actions_updated(ctx, tx, &actions);
    Ok(())
}

async fn read(ctx: &Ctx, tx: &Tx, ids: &[i64]) -> Result<Vec<(targets::Model, actions::Model)>> {
    if !tx.announces() || ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(actions::store::lock_with_targets(&**tx, ctx.engine(), ctx.tenant_id(), ids).await?)
}

pub(crate) fn groups_created(ctx: &Ctx, tx: &Tx, rollout: i64, ids: Vec<i64>) {
    if !ids.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::RolloutGroupsCreated { rollout, ids });
    }
}

pub(crate) fn groups_updated(ctx: &Ctx, tx: &Tx, rollout: i64, ids: Vec<i64>) {
    if !ids.is_empty() {
        tx.announce(ctx.tenant_id(), Fact::RolloutGroupsUpdated { rollout, ids });
    }
}

pub(crate) fn rollout_stopped(ctx: &Ctx, tx: &Tx, rollout: i64, groups: Vec<i64>) {
    tx.announce(ctx.tenant_id(), Fact::RolloutStopped { rollout, groups });
}

fn assignments<'a>(
    ctx: &Ctx,
    tx: &Tx,
    actions: impl IntoIterator<Item = &'a actions::Model>,
    names: &HashMap<i64, &str>,
) -> Vec<Assignment> {
    let named = |action: &actions::Model| Some(assignment(ctx, action, names.get(&action.target)?));
    actions.into_iter().filter(|_| tx.announces()).filter_map(named).collect()
}

fn assignment(ctx: &Ctx, action: &actions::Model, controller_id: &str) -> Assignment {
    Assignment {
        id: action.id,
        controller_id: controller_id.to_owned(),
        action_type: match action.action_type() {
            ActionType::DownloadOnly => "DOWNLOAD_ONLY".to_owned(),
            other => other.name().to_ascii_uppercase(),
        },
        status: action.status().name().to_ascii_uppercase(),
        window_open: action.window().is_none_or(|window| window.available(ctx.now())),
    }
}
