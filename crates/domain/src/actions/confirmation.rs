//! Confirming and denying actions that wait for it, by a device or an operator (semantics.md A5).

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, Set};

use super::{
    ActionStatus, Model, SERVER_PREFIX, cancel, check_messages, check_status_quota, feedback, note, store, touched,
};
use crate::{
    access::Permission,
    announcements,
    ctx::Ctx,
    error::{Error, Kind, Result},
    targets, text,
};

/// The answer to an action that waits for confirmation.
#[derive(Clone, Debug)]
pub struct Confirmation {
    pub confirmed: bool,
    pub code: Option<i32>,
    pub details: Vec<String>,
}

/// An operator's answer. Closed actions answer [`Kind::Gone`], those that do not wait [`Kind::Absent`].
pub async fn confirm(ctx: &Ctx, controller_id: &str, id: i64, answer: Confirmation) -> Result<()> {
    ctx.require(Permission::ReadTarget)?;
    ctx.require(Permission::UpdateTarget)?;
    let tx = ctx.begin().await?;
    let (_, action) = cancel::lock(ctx, &tx, controller_id, id).await?;
    take(ctx, tx, controller_id, action, answer, true).await
}

/// As [`confirm`], from the device itself.
pub async fn confirmation_feedback(ctx: &Ctx, controller_id: &str, id: i64, answer: Confirmation) -> Result<()> {
    let tx = ctx.begin().await?;
    let (_, action) = feedback::lock(ctx, &tx, controller_id, id).await?;
    take(ctx, tx, controller_id, action, answer, false).await
}

pub(super) async fn take(
    ctx: &Ctx,
    mut tx: Tx,
    controller_id: &str,
    action: Model,
    answer: Confirmation,
    by_operator: bool,
) -> Result<()> {
    if !action.is_active() {
        return Err(Error::new(Kind::Gone, format!("Action {} is closed.", action.id)));
    }
    if action.status() != ActionStatus::WaitForConfirmation {
        return Err(Error::new(Kind::Absent, format!("Action {} does not wait for confirmation.", action.id)));
    }
    // hawkBit: unlike in other reports, markup is taken here.
    answer.details.iter().try_for_each(|detail| text::no_nul("details", detail))?;
    check_status_quota(ctx, &*tx, action.id).await?;
    let (status, text) = if answer.confirmed {
        let text =
            "Target confirmed action. Therefore, it will be set to the running state to proceed with the deployment.";
        (ActionStatus::Running, text)
    } else {
        let text = "Target rejected action. Action will stay in confirmation pending state.";
        (ActionStatus::WaitForConfirmation, text)
    };
    let mut messages = answer.details;
    messages.push(format!("{SERVER_PREFIX}{text}"));
    messages.extend(answer.code.map(|code| format!("Confirmation status code: {code}")));
    check_messages(ctx, &messages)?;
    let new = store::NewStatus { action: action.id, status, occurred_at: ctx.now(), code: answer.code, messages };
    store::add_status(&*tx, ctx.engine(), ctx.tenant_id(), new, &ctx.actor_name(), ctx.now()).await?;
    if answer.confirmed || answer.code != action.last_action_status_code {
        let mut row = touched(ctx, &action, by_operator);
        row.status = Set(status.code());
        row.last_action_status_code = Set(answer.code);
        announcements::actions_updated(ctx, &tx, [&row.update(&*tx).await?]);
    }
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

/// Lets all actions of a target go on that wait for confirmation, whatever their quota of statuses.
pub(crate) async fn confirm_all(ctx: &Ctx, tx: &Tx, target: i64, message: &str, by_operator: bool) -> Result<()> {
    let active = store::active(&**tx, ctx.tenant_id(), &[target]).await?;
    for action in active.iter().filter(|a| a.status() == ActionStatus::WaitForConfirmation) {
        let mut row = touched(ctx, action, by_operator);
        row.status = Set(ActionStatus::Running.code());
        announcements::actions_updated(ctx, tx, [&row.update(&**tx).await?]);
        note(ctx, tx, action.id, ActionStatus::Running, message).await?;
    }
    Ok(())
}
