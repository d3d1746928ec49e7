//! What devices behind gateways report of their actions: any number of reports at once (semantics.md A4, D4).
//!
//! Unlike on the device API over HTTP, a report names its action alone, and one about a closed action is no error.

mod store;

use std::collections::{BTreeSet, HashMap};

use super::{
    ActionStatus, ActionType, Confirmation, Model, SERVER_PREFIX, check_messages, confirmation, ended,
    feedback::{outcome, take_of_cancellation, told, with_code},
    store as actions,
};
use crate::{
    announcements::{self, Entity},
    commands,
    ctx::Ctx,
    error::{Error, Kind, Result, check_quota},
    targets, text,
};

/// A report. `correlation_id` is that of the message which brought it, and noted with it.
#[derive(Clone, Debug)]
pub struct Report<What> {
    pub action: i64,
    pub what: What,
    pub code: Option<i32>,
    pub messages: Vec<String>,
    pub correlation_id: Option<String>,
}

/// The answer to an action that waits for confirmation, or to the wish to cancel one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Confirmed,
    Denied,
    Canceled,
    CancelRejected,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub controller_id: String,
    /// Whether the target is to be told what to do next.
    pub proceeds: bool,
}

/// Takes the answer of a device. Fails unless it was asked.
pub async fn answer(ctx: &Ctx, report: Report<Answer>) -> Result<Taken> {
    let messages = messages(&report);
    let mut tx = ctx.begin().await?;
    let found = actions::lock_with_targets(&*tx, ctx.engine(), ctx.tenant_id(), &[report.action]).await?.pop();
    let (target, action) = found.ok_or_else(|| Error::not_found("Action", report.action))?;
    let controller_id = target.controller_id.clone();
    let status = match report.what {
        Answer::Confirmed | Answer::Denied => {
            let confirmed = report.what == Answer::Confirmed;
            let answer = Confirmation { confirmed, code: report.code, details: messages };
            confirmation::take(ctx, tx, &controller_id, action, answer, false).await?;
            return Ok(Taken { controller_id, proceeds: confirmed });
        }
        Answer::Canceled => ActionStatus::Canceled,
        Answer::CancelRejected => ActionStatus::CancelRejected,
    };
    if !action.is_canceling_or_canceled() {
        return Err(Error::new(Kind::ActionNotCancelable, "The action is not under cancellation."));
    }
    let messages = with_code(messages, report.code);
    messages.iter().try_for_each(|message| text::no_markup("message", message))?;
    let new = actions::NewStatus { action: action.id, status, occurred_at: ctx.now(), code: report.code, messages };
    let closed = status == ActionStatus::Canceled;
    let proceeds = closed || proceeds(ctx, &action);
    take_of_cancellation(ctx, &tx, target, &action, new).await?;
    targets::changed(ctx, &mut tx, vec![controller_id.clone()]);
    tx.commit().await?;
    if closed {
        ended(ctx, &action);
    }
    Ok(Taken { controller_id, proceeds })
}

/// Takes reports about updates, in their order and in a number of statements that does not grow with them. Each has its
/// own result; where the whole fails, none is taken.
pub async fn report(ctx: &Ctx, reports: &[Report<ActionStatus>]) -> Result<Vec<Result<Taken>>> {
    let mut tx = ctx.begin().await?;
    let mut batch = Batch::of(ctx, &tx, reports).await?;
    let results: Vec<Result<Taken>> = reports.iter().map(|report| batch.take(ctx, report)).collect();
    if batch.statuses.is_empty() {
        return Ok(results);
    }
    let actions: Vec<&Model> = batch.actions.values().filter(|a| batch.changed_actions.contains(&a.id)).collect();
    let targets: Vec<&targets::Model> =
        batch.targets.values().filter(|t| batch.changed_targets.contains(&t.id)).collect();
    let written = store::Reports { statuses: &batch.statuses, actions: &actions, targets: &targets };
    store::report_all(&*tx, ctx.engine(), ctx.tenant_id(), written, &ctx.actor_name(), ctx.now()).await?;
    let finished = targets.iter().copied().filter(|target| batch.finished_targets.contains(&target.id));
    commands::request_attributes(ctx, &mut tx, finished);
    announcements::updated(ctx, &tx, Entity::Target, batch.changed_targets.iter().copied());
    let told = actions.iter().copied().filter(|action| batch.told_actions.contains(&action.id));
    announcements::actions_updated(ctx, &tx, told);
    let of_changed = actions.iter().filter_map(|action| batch.targets.get(&action.target));
    let controller_ids: BTreeSet<String> = of_changed.map(|target| target.controller_id.clone()).collect();
    targets::changed(ctx, &mut tx, controller_ids.into_iter().collect());
    tx.commit().await?;
    actions.iter().filter(|action| !action.is_active()).for_each(|action| ended(ctx, action));
    Ok(results)
}

/// What the device says, with what the server adds.
fn messages<What>(report: &Report<What>) -> Vec<String> {
    let mut messages = report.messages.clone();
    let id = report.correlation_id.as_ref();
    messages.extend(id.map(|id| format!("{SERVER_PREFIX}DMF message correlation-id {id}")));
    messages
}

/// Whether the device is to be told again what to do.
fn proceeds(ctx: &Ctx, action: &Model) -> bool {
    !action.is_active() || action.window().is_some_and(|window| window.available(ctx.now()))
}

/// Whether a report still counts. A closed action takes what is not final, if the server is set to; a download-only one
/// that is downloaded also takes how the installation went, once.
fn counts(ctx: &Ctx, action: &Model, status: ActionStatus) -> bool {
    if action.is_active() {
        return true;
    }
    match is_final(status) {
        true => action.action_type() == ActionType::DownloadOnly && action.status() == ActionStatus::Downloaded,
        false => !ctx.settings().reject_action_status_for_closed_action,
    }
}

fn is_final(status: ActionStatus) -> bool {
    matches!(status, ActionStatus::Finished | ActionStatus::Error)
}

/// What reports make of actions and targets, which are held, before it is written.
#[derive(Default)]
struct Batch {
    actions: HashMap<i64, Model>,
    targets: HashMap<i64, targets::Model>,
    /// How many statuses each action has.
    counts: HashMap<i64, i64>,
    statuses: Vec<actions::NewStatus>,
    changed_actions: BTreeSet<i64>,
    /// Those among them that differ from before.
    told_actions: BTreeSet<i64>,
    changed_targets: BTreeSet<i64>,
    /// Those that ended an update well: they are to report their attributes.
    finished_targets: BTreeSet<i64>,
}

impl Batch {
    async fn of(ctx: &Ctx, tx: &kettle_cluster::Tx, reports: &[Report<ActionStatus>]) -> Result<Batch> {
        let (engine, tenant) = (ctx.engine(), ctx.tenant_id());
        let ids: Vec<i64> = reports.iter().map(|report| report.action).collect();
        let found = actions::lock_with_targets(&**tx, engine, tenant, &ids).await?;
        // A quota must not keep an action open.
        let counted: Vec<i64> = reports.iter().filter(|r| !is_final(r.what)).map(|r| r.action).collect();
        let counts = match ctx.settings().quotas.status_entries_per_action {
            limit if limit > 0 && !counted.is_empty() => store::count_statuses(&**tx, engine, tenant, &counted).await?,
            _ => HashMap::new(),
        };
        let (mut actions, mut targets) = (HashMap::new(), HashMap::new());
        for (target, action) in found {
            targets.insert(target.id, target);
            actions.insert(action.id, action);
        }
        Ok(Batch { actions, targets, counts, ..Batch::default() })
    }

    /// Takes one report, after those before it.
    fn take(&mut self, ctx: &Ctx, report: &Report<ActionStatus>) -> Result<Taken> {
        let unknown = || Error::not_found("Action", report.action);
        let action = self.actions.get(&report.action).ok_or_else(unknown)?;
        let target = self.targets.get(&action.target).ok_or_else(unknown)?;
        let controller_id = target.controller_id.clone();
        if !counts(ctx, action, report.what) {
            return Ok(Taken { controller_id, proceeds: proceeds(ctx, action) });
        }
        let messages = with_code(messages(report), report.code);
        messages.iter().try_for_each(|message| text::no_markup("message", message))?;
        let count = self.counts.get(&action.id).copied().unwrap_or(0);
        if !is_final(report.what) {
            let limit = ctx.settings().quotas.status_entries_per_action;
            check_quota(limit, count, 1, "the statuses of an action")?;
        }
        check_messages(ctx, &messages)?;
        let now = ctx.now();
        let before = told(action);
        let (action, changed) = outcome(target.clone(), action.clone(), report.what, report.code, now);
        let proceeds = proceeds(ctx, &action);
        let new = actions::NewStatus {
            action: action.id,
            status: report.what,
            occurred_at: now,
            code: report.code,
            messages,
        };
        self.statuses.push(new);
        self.counts.insert(action.id, count + 1);
        self.changed_actions.insert(action.id);
        if told(&action) != before {
            self.told_actions.insert(action.id);
        }
        self.actions.insert(action.id, action);
        if let Some(target) = changed {
            self.changed_targets.insert(target.id);
            if report.what != ActionStatus::Error {
                self.finished_targets.insert(target.id);
            }
            self.targets.insert(target.id, target);
        }
        Ok(Taken { controller_id, proceeds })
    }
}
