//! What devices report about their actions (semantics.md A4, C4).

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, Set};

use super::{
    ActionStatus, ActionType, Model, SERVER_PREFIX, cancel::close_canceled, check_messages, check_status_quota, ended,
    store, touched,
};
use crate::{
    access::Scope,
    announcements::{self, Entity},
    commands,
    ctx::Ctx,
    error::{Error, Kind, Result},
    targets::{self, UpdateStatus},
    text,
};

/// What a device says it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    Closed,
    Proceeding,
    Canceled,
    Scheduled,
    Rejected,
    Resumed,
    Download,
    Downloaded,
}

/// A report: `failed` is the result `failure`. `timestamp` is epoch milliseconds, as the device has them.
#[derive(Clone, Debug)]
pub struct Feedback {
    pub execution: Execution,
    pub failed: bool,
    pub code: Option<i32>,
    pub details: Vec<String>,
    pub timestamp: Option<i64>,
}

/// A report about an update. Closed actions answer [`Kind::Gone`], those waiting for confirmation [`Kind::Absent`].
pub async fn update_feedback(ctx: &Ctx, controller_id: &str, id: i64, feedback: Feedback) -> Result<()> {
    let mut tx = ctx.begin().await?;
    let (target, action) = lock(ctx, &tx, controller_id, id).await?;
    if action.status() == ActionStatus::WaitForConfirmation {
        return Err(Error::new(Kind::Absent, format!("Action {id} waits for its confirmation.")));
    }
    if !action.is_active() {
        return Err(Error::new(Kind::Gone, format!("Action {id} is closed.")));
    }
    check(&feedback)?;
    let (status, fallback) = meaning(&feedback);
    let mut messages = with_code(feedback.details, feedback.code);
    if messages.is_empty() {
        messages.push(format!("{SERVER_PREFIX}{fallback}."));
    }
    let occurred_at = feedback.timestamp.unwrap_or_else(|| ctx.now());
    let new = store::NewStatus { action: id, status, occurred_at, code: feedback.code, messages };
    // A quota must not keep an action open.
    if !matches!(status, ActionStatus::Finished | ActionStatus::Error) {
        check_status_quota(ctx, &*tx, id).await?;
    }
    check_messages(ctx, &new.messages)?;
    let before = told(&action);
    let (action, target) = outcome(target, action, status, feedback.code, occurred_at);
    let by = ctx.actor_name();
    store::report(&*tx, ctx.engine(), new, &action, target.as_ref(), &by, ctx.now()).await?;
    commands::request_attributes(ctx, &mut tx, target.iter().filter(|_| status != ActionStatus::Error));
    announcements::updated(ctx, &tx, Entity::Target, target.as_ref().map(|target| target.id));
    announcements::actions_updated(ctx, &tx, Some(&action).filter(|action| told(action) != before));
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    tx.commit().await?;
    if !action.is_active() {
        ended(ctx, &action);
    }
    Ok(())
}

/// A report about a cancellation; the action must be under cancellation.
pub async fn cancel_feedback(ctx: &Ctx, controller_id: &str, id: i64, feedback: Feedback) -> Result<()> {
    let mut tx = ctx.begin().await?;
    let (target, action) = lock(ctx, &tx, controller_id, id).await?;
    check(&feedback)?;
    if !action.is_canceling_or_canceled() {
        let message = "The action is not under cancellation.";
        return Err(Error::new(Kind::ActionNotCancelable, message));
    }
    let (status, first) = match (feedback.execution, feedback.failed) {
        (Execution::Canceled, _) => {
            (ActionStatus::Warning, Some("Target reported cancel for a cancel which is not supported by the server."))
        }
        (Execution::Rejected, _) => (ActionStatus::CancelRejected, Some("Target rejected the cancellation request.")),
        (Execution::Closed, true) => (ActionStatus::Error, Some("Target was not able to complete cancellation.")),
        (Execution::Closed, false) => (ActionStatus::Canceled, Some("Cancellation confirmed.")),
        _ => (ActionStatus::Running, None),
    };
    let mut messages: Vec<String> = first.map(|m| format!("{SERVER_PREFIX}{m}")).into_iter().collect();
    messages.extend(with_code(feedback.details, feedback.code));
    let occurred_at = feedback.timestamp.unwrap_or_else(|| ctx.now());
    let new = store::NewStatus { action: id, status, occurred_at, code: feedback.code, messages };
    take_of_cancellation(ctx, &tx, target, &action, new).await?;
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    tx.commit().await?;
    if status == ActionStatus::Canceled {
        ended(ctx, &action);
    }
    Ok(())
}

/// What a report about a cancellation makes of an action that is under it. The caller holds both rows.
pub(super) async fn take_of_cancellation(
    ctx: &Ctx,
    tx: &Tx,
    target: targets::Model,
    action: &Model,
    mut new: store::NewStatus,
) -> Result<()> {
    match new.status {
        ActionStatus::Canceled => {
            new.messages.push(format!("{SERVER_PREFIX}Cancellation completion is finished successfully."));
            close_canceled(ctx, tx, target, action, false).await?;
        }
        ActionStatus::Error | ActionStatus::CancelRejected => {
            // hawkBit: an action that is closed already says *running* now, and stays closed.
            let mut row = touched(ctx, action, false);
            row.status = Set(ActionStatus::Running.code());
            row.update(&**tx).await?;
            let changed = action.status() != ActionStatus::Running;
            announcements::actions_updated(ctx, tx, Some(action).filter(|_| changed));
        }
        _ => {
            check_status_quota(ctx, &**tx, action.id).await?;
            check_messages(ctx, &new.messages)?;
        }
    }
    store::add_status(&**tx, ctx.engine(), ctx.tenant_id(), new, &ctx.actor_name(), ctx.now()).await?;
    Ok(())
}

/// What reports change of an action: hawkBit tells of one only if some of this differs after it.
pub(super) fn told(action: &Model) -> (i32, bool, Option<i32>) {
    (action.status, action.is_active(), action.last_action_status_code)
}

fn check(feedback: &Feedback) -> Result<()> {
    feedback.details.iter().try_for_each(|detail| text::no_markup("details", detail))
}

/// The target and its action. An action of another target is as unknown as one that does not exist.
pub(super) async fn lock(ctx: &Ctx, tx: &Tx, controller_id: &str, id: i64) -> Result<(targets::Model, Model)> {
    let found = store::lock_with_target(&**tx, ctx.engine(), ctx.tenant_id(), controller_id, id).await?;
    if let Some(found) = found {
        return Ok(found);
    }
    // One after the other, for the error that says which of them is missing.
    let target = targets::lock(ctx, tx, controller_id).await?;
    let action = super::of_target(store::find(&**tx, ctx.tenant_id(), &Scope::ALL, id).await?, id, &target)?;
    Ok((target, action))
}

fn meaning(feedback: &Feedback) -> (ActionStatus, &'static str) {
    match (feedback.execution, feedback.failed) {
        (Execution::Closed, true) => (ActionStatus::Error, "Target reported CLOSED with ERROR!"),
        (Execution::Closed, false) => (ActionStatus::Finished, "Target reported CLOSED with OK!"),
        (Execution::Canceled, _) => (ActionStatus::Canceled, "Target confirmed cancellation."),
        (Execution::Rejected, _) => (ActionStatus::Warning, "Target REJECTED update"),
        (Execution::Download, _) => (ActionStatus::Download, "Target confirmed download start"),
        (Execution::Downloaded, _) => (ActionStatus::Downloaded, "Target confirmed download finished"),
        (Execution::Proceeding, _) => (ActionStatus::Running, "Target reported PROCEEDING"),
        (Execution::Scheduled, _) => (ActionStatus::Running, "Target reported SCHEDULED"),
        (Execution::Resumed, _) => (ActionStatus::Running, "Target reported RESUMED"),
    }
}

pub(super) fn with_code(mut details: Vec<String>, code: Option<i32>) -> Vec<String> {
    details.extend(code.map(|code| format!("Device reported status code: {code}")));
    details
}

/// What a reported status makes of the action, and of its target if that changes.
pub(super) fn outcome(
    mut target: targets::Model,
    mut action: Model,
    status: ActionStatus,
    code: Option<i32>,
    occurred_at: i64,
) -> (Model, Option<targets::Model>) {
    let download_only = action.action_type() == ActionType::DownloadOnly;
    let closes = match status {
        ActionStatus::Finished | ActionStatus::Error => true,
        ActionStatus::Downloaded => download_only,
        _ => false,
    };
    action.last_action_status_code = code;
    if !closes {
        return (action, None);
    }
    action.status = status.code();
    action.active = Some(false);
    match status {
        ActionStatus::Error => {
            target.update_status = UpdateStatus::Error as i32;
            target.assigned_distribution_set = None;
        }
        ActionStatus::Downloaded => {
            target.update_status = UpdateStatus::InSync as i32;
            target.request_controller_attributes = true;
        }
        _ => {
            target.request_controller_attributes = true;
            // An older report than that of what is installed changes nothing.
            if target.install_date.is_none_or(|installed| installed < occurred_at) {
                if download_only {
                    target.assigned_distribution_set = Some(action.distribution_set);
                }
                target.installed_distribution_set = Some(action.distribution_set);
                target.install_date = Some(occurred_at);
                if target.assigned_distribution_set == Some(action.distribution_set) {
                    target.update_status = UpdateStatus::InSync as i32;
                }
            }
        }
    }
    (action, Some(target))
}
