//! What operators do to an action under way: cancel it, quit it by force, make it forced (semantics.md A4).

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, Set};

use super::{ActionStatus, ActionType, Model, SERVER_PREFIX, Shown, ended, note, show_one, store, touched};
use crate::{
    access::Permission,
    announcements::{self, Entity},
    commands,
    ctx::Ctx,
    error::{Error, Kind, Result},
    search,
    targets::{self, UpdateStatus},
};

/// Asks the device to cancel. The action stays active until the device answers, or until [`force_quit`].
pub async fn cancel(ctx: &Ctx, controller_id: &str, id: i64) -> Result<()> {
    ctx.require(Permission::ReadTarget)?;
    ctx.require(Permission::UpdateTarget)?;
    let mut tx = ctx.begin().await?;
    let (target, action) = lock(ctx, &tx, controller_id, id).await?;
    if !action.is_active() || action.is_canceling_or_canceled() {
        return Err(Error::new(Kind::ActionNotCancelable, "Actions in canceling or canceled state cannot be canceled"));
    }
    let mut row = touched(ctx, &action, true);
    row.status = Set(ActionStatus::Canceling.code());
    let action = row.update(&*tx).await?;
    note(ctx, &tx, id, ActionStatus::Canceling, &format!("{SERVER_PREFIX}manual cancelation requested")).await?;
    commands::note_canceled_of(ctx, &mut tx, &target, &action);
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

/// Asks the device to cancel an action whose maintenance window has lapsed. One that is closed or under cancellation
/// stays as it is.
pub(crate) async fn cancel_lapsed(ctx: &Ctx, controller_id: &str, id: i64) -> Result<()> {
    let mut tx = ctx.begin().await?;
    let (target, action) = lock(ctx, &tx, controller_id, id).await?;
    let lapsed = action.window().is_some_and(|window| window.lapsed(ctx.now()));
    if !lapsed || !action.is_active() || action.is_canceling_or_canceled() {
        return Ok(());
    }
    let mut row = touched(ctx, &action, false);
    row.status = Set(ActionStatus::Canceling.code());
    let action = row.update(&*tx).await?;
    // hawkBit: this message has no prefix, so that the device's history shows it.
    note(ctx, &tx, id, ActionStatus::Canceling, "manual cancelation requested").await?;
    commands::note_canceled_of(ctx, &mut tx, &target, &action);
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

/// Closes an action that the device was asked to cancel, without waiting for its answer.
pub async fn force_quit(ctx: &Ctx, controller_id: &str, id: i64) -> Result<()> {
    ctx.require(Permission::ReadTarget)?;
    ctx.require(Permission::UpdateTarget)?;
    let mut tx = ctx.begin().await?;
    let (target, action) = lock(ctx, &tx, controller_id, id).await?;
    if !action.is_active() || !action.is_canceling_or_canceled() {
        let message = format!("{id} is not canceled yet and cannot be force quit");
        return Err(Error::new(Kind::ActionNotForceQuitable, message));
    }
    note(ctx, &tx, id, ActionStatus::Canceled, &format!("{SERVER_PREFIX}A force quit has been performed.")).await?;
    close_canceled(ctx, &tx, target, &action, true).await?;
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    tx.commit().await?;
    ended(ctx, &action);
    Ok(())
}

/// Makes a soft, time-forced or download-only action forced. One that is forced already stays as it is. Nothing else
/// than `forced` can be asked for.
pub async fn force(ctx: &Ctx, controller_id: &str, id: i64, forced: bool) -> Result<Shown> {
    ctx.require(Permission::ReadTarget)?;
    ctx.require(Permission::UpdateTarget)?;
    let mut tx = ctx.begin().await?;
    let (_, mut action) = lock(ctx, &tx, controller_id, id).await?;
    if !forced {
        return Err(Error::constraint("forceType can be set to forced only."));
    }
    if !action.is_forced(ctx.now()) {
        let mut row = touched(ctx, &action, true);
        row.action_type = Set(ActionType::Forced.code());
        action = row.update(&*tx).await?;
        announcements::actions_updated(ctx, &tx, [&action]);
        targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    }
    tx.commit().await?;
    show_one(ctx, action).await
}

/// The target and one of its actions. An action of another target answers 404 without a body, as the peer does.
pub(super) async fn lock(ctx: &Ctx, tx: &Tx, controller_id: &str, id: i64) -> Result<(targets::Model, Model)> {
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let target = targets::store::lock(&**tx, ctx.tenant_id(), &scope, controller_id).await?;
    let action = super::find(ctx, &**tx, id).await?;
    match target {
        Some(target) if target.id == action.target => {
            search::permit(ctx, &**tx, Permission::UpdateTarget, &[target.id]).await?;
            Ok((target, action))
        }
        _ => Err(Error::new(Kind::Absent, format!("Action {id} is not one of target {controller_id}."))),
    }
}

/// A cancelled action is over: the target falls back to the oldest action still active, or to what is installed.
pub(super) async fn close_canceled(
    ctx: &Ctx,
    tx: &Tx,
    target: targets::Model,
    action: &Model,
    by_operator: bool,
) -> Result<()> {
    let mut row = touched(ctx, action, by_operator);
    row.status = Set(ActionStatus::Canceled.code());
    row.active = Set(Some(false));
    let action = row.update(&**tx).await?;
    let active = store::active(&**tx, ctx.tenant_id(), &[target.id]).await?;
    let revision = target.optlock_revision.unwrap_or(0);
    let installed = target.installed_distribution_set;
    let before = (target.assigned_distribution_set, target.update_status);
    let mut row: targets::entity::ActiveModel = target.into();
    row.optlock_revision = Set(Some(revision + 1));
    match active.first() {
        Some(next) => row.assigned_distribution_set = Set(Some(next.distribution_set)),
        None => {
            row.assigned_distribution_set = Set(installed);
            row.update_status = Set(UpdateStatus::InSync as i32);
        }
    }
    if by_operator {
        row.last_modified_at = Set(Some(ctx.now()));
        row.last_modified_by = Set(Some(ctx.actor_name()));
    }
    let target = row.update(&**tx).await?;
    let told = (target.assigned_distribution_set, target.update_status) != before;
    announcements::updated(ctx, tx, Entity::Target, told.then_some(target.id));
    announcements::actions_updated(ctx, tx, [&action]);
    Ok(())
}
