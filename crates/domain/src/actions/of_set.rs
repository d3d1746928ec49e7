//! Cancelling all that is under way of a set that is invalidated (semantics.md A2), in a number of statements that does
//! not grow with its targets.

use std::collections::{HashMap, HashSet};

use kettle_cluster::Tx;

use super::{ActionStatus, SERVER_PREFIX, store};
use crate::{
    announcements::{self, Entity},
    commands,
    ctx::Ctx,
    error::Result,
    targets,
};

/// How many targets one event names, and how many status rows one statement inserts.
const AT_ONCE: usize = 1000;

/// Asks the devices to cancel the set's active actions; with `force` the actions are closed without waiting for them.
/// The caller holds the set's row, so that no assignment adds an action meanwhile.
pub(crate) async fn cancel_of_set(ctx: &Ctx, tx: &mut Tx, set: i64, force: bool) -> Result<()> {
    let (engine, tenant) = (ctx.engine(), ctx.tenant_id());
    let targets = store::lock_targets_with_active(&**tx, engine, tenant, set).await?;
    if targets.is_empty() {
        return Ok(());
    }
    let by = ctx.actor_name();
    let canceling = store::cancel_active_of_set(&**tx, engine, tenant, set, &by, ctx.now()).await?;
    let gateways: HashMap<i64, &str> = targets
        .iter()
        .filter(|t| targets::has_gateway(t.address.as_deref()))
        .map(|t| (t.id, &*t.controller_id))
        .collect();
    let told = canceling.iter().filter_map(|(action, target)| Some((*action, (*gateways.get(target)?).to_owned())));
    // hawkBit: with `force` too, though the actions are closed by then.
    commands::note_canceled(ctx, tx, &told.collect::<Vec<_>>());
    let canceling: Vec<i64> = canceling.into_iter().map(|(action, _)| action).collect();
    note_each(ctx, tx, &canceling, ActionStatus::Canceling, "manual cancelation requested").await?;
    let mut quit = Vec::new();
    if force {
        quit = store::quit_active_of_set(&**tx, engine, tenant, set, &by, ctx.now()).await?;
        note_each(ctx, tx, &quit, ActionStatus::Canceled, "A force quit has been performed.").await?;
        let ids: Vec<i64> = targets.iter().map(|t| t.id).collect();
        store::fall_back(&**tx, engine, tenant, &ids, &by, ctx.now()).await?;
        announcements::updated(ctx, tx, Entity::Target, ids);
    }
    announcements::all_canceled(ctx, tx, &canceling).await?;
    let told: HashSet<i64> = canceling.into_iter().collect();
    quit.retain(|action| !told.contains(action));
    announcements::all_updated(ctx, tx, &quit).await?;
    for chunk in targets.chunks(AT_ONCE) {
        targets::changed(ctx, tx, chunk.iter().map(|t| t.controller_id.clone()).collect());
    }
    Ok(())
}

async fn note_each(ctx: &Ctx, tx: &Tx, actions: &[i64], status: ActionStatus, message: &str) -> Result<()> {
    let messages = [format!("{SERVER_PREFIX}{message}")];
    for actions in actions.chunks(AT_ONCE) {
        super::note_all(ctx, tx, actions, status, &messages).await?;
    }
    Ok(())
}
