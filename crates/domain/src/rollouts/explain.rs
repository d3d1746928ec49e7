//! Why a rollout waits, for what, and since when: ours, the peer has no such thing. [`of`] is a plain function of what the
//! database says, so that every state can be tested without one.

#[cfg(test)]
mod tests;

use super::{
    Group, GroupStatus, Model, RolloutStatus, SuccessAction,
    advance::{self, Counted, Counts},
    find_any, store,
};
use crate::{access::Permission, actions::ActionStatus, ctx::Ctx, error::Result};

pub use super::store::Failure;

/// What a rollout waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// Someone to start it.
    Start,
    /// The time to start it.
    StartAt,
    Approval,
    /// The server: there is something to do, and a node with a scheduler does it.
    Scheduler,
    /// Enough devices to finish, before the next group starts.
    SuccessThreshold,
    /// The devices of the last groups.
    Finish,
    /// Targets that join a dynamic rollout.
    NewTargets,
    /// Someone to let it go on.
    Resume,
    /// Nothing any more.
    Nothing,
}

impl WaitingFor {
    pub const CODES: &'static [&'static str] = &[
        "operator.start",
        "time.startAt",
        "approval",
        "scheduler",
        "devices.successThreshold",
        "devices.finish",
        "targets.new",
        "operator.resume",
        "nothing",
    ];

    pub fn code(self) -> &'static str {
        match self {
            WaitingFor::Start => "operator.start",
            WaitingFor::StartAt => "time.startAt",
            WaitingFor::Approval => "approval",
            WaitingFor::Scheduler => "scheduler",
            WaitingFor::SuccessThreshold => "devices.successThreshold",
            WaitingFor::Finish => "devices.finish",
            WaitingFor::NewTargets => "targets.new",
            WaitingFor::Resume => "operator.resume",
            WaitingFor::Nothing => "nothing",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub rollout: i64,
    pub status: RolloutStatus,
    pub waiting_for: WaitingFor,
    /// Epoch milliseconds.
    pub since: Option<i64>,
    /// In sentences for people.
    pub message: String,
    /// Epoch milliseconds; while that time is waited for.
    pub start_at: Option<i64>,
    /// Those that run.
    pub groups: Vec<Running>,
    /// Why going on fails, while it does.
    pub failure: Option<Failure>,
    /// Whether this node works on rollouts; others may.
    pub scheduler: bool,
}

/// A group that runs: how far it is, and what it takes to get further.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    pub id: i64,
    pub name: String,
    pub since: Option<i64>,
    /// What the thresholds are shares of; of the last dynamic group, the targets it can take.
    pub total: i64,
    pub finished: i64,
    pub errors: i64,
    /// Actions that something may still happen to.
    pub open: i64,
    /// Of the open ones, those that wait for someone to confirm them.
    pub unconfirmed: i64,
    pub success: Threshold,
    pub error: Threshold,
    /// The group that starts when this one succeeds.
    pub next: Option<(i64, String)>,
    /// Of the last dynamic group: how many more targets may join it.
    pub free: Option<i64>,
    pauses: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Percent, as it was given.
    pub expression: String,
    pub reached: bool,
    /// How many more it takes; `None` if it is reached, or if all targets together would not reach it.
    pub missing: Option<i64>,
}

/// Why a rollout waits.
pub async fn get(ctx: &Ctx, id: i64) -> Result<Explanation> {
    ctx.require(Permission::ReadRollout)?;
    let (db, engine, tenant) = (ctx.db().read(), ctx.engine(), ctx.tenant_id());
    let rollout = find_any(ctx, id).await?;
    let groups = store::groups(db, tenant, id).await?;
    // A sum over all groups of a large rollout is worth it only where the answer depends on it.
    let last = last_started(&groups).map(|group| group.id);
    let all = rollout.status() == RolloutStatus::Stopping;
    let counted = |g: &&Group| all || g.status() == GroupStatus::Running || Some(g.id) == last;
    let ids: Vec<i64> = groups.iter().filter(counted).map(|group| group.id).collect();
    let counts = store::counts(db, engine, tenant, &ids).await?;
    let count = |group: Group| Counted { counts: Counts::of(&counts, group.id), total: group.total(), group };
    let groups: Vec<Counted> = groups.into_iter().map(count).collect();
    let failure = store::failure(db, engine, tenant, id).await?;
    Ok(of(&rollout, &groups, failure, ctx.now(), ctx.settings().rollouts.scheduler))
}

/// The explanation of a rollout whose groups, in the order of their ids, are counted as far as they run.
pub(super) fn of(
    rollout: &Model,
    groups: &[Counted],
    failure: Option<Failure>,
    now: i64,
    scheduler: bool,
) -> Explanation {
    use RolloutStatus::*;
    let running = if rollout.status() == Running { running(rollout, groups) } else { Vec::new() };
    let (waiting_for, mut message) = match rollout.status() {
        Creating => (WaitingFor::Scheduler, progress(groups, GroupStatus::Creating, "have their targets")),
        Ready => ready(rollout, now),
        WaitingForApproval => (WaitingFor::Approval, "Someone has to approve it, or to deny it.".into()),
        ApprovalDenied => (WaitingFor::Nothing, denied(rollout)),
        Starting => (WaitingFor::Scheduler, progress(groups, GroupStatus::Ready, "have actions for their targets")),
        Running => runs(rollout, groups, &running),
        Paused => (WaitingFor::Resume, paused(rollout, groups)),
        Stopping => (WaitingFor::Scheduler, stopping(rollout, groups)),
        Stopped => (WaitingFor::Nothing, "It was stopped before its end.".into()),
        Finished => (WaitingFor::Nothing, "It has ended: no group of it runs any more.".into()),
        Deleting => (WaitingFor::Scheduler, "What devices have not done of it is being cancelled and deleted.".into()),
        Deleted => (WaitingFor::Nothing, "It is deleted, and kept for what devices have done of it.".into()),
    };
    let mut since = rollout.last_modified_at;
    if matches!(waiting_for, WaitingFor::SuccessThreshold | WaitingFor::Finish) {
        since = running.iter().filter_map(|group| group.since).max().or(since);
    }
    if waiting_for == WaitingFor::Scheduler && !scheduler {
        message += " This node does not work on rollouts; another one has to.";
    }
    if let Some(failure) = &failure {
        message +=
            &format!(" Going on fails, and is tried again (attempts: {}): {}", failure.attempts, failure.message);
        since = Some(failure.since);
    }
    let start_at = rollout.start_at.filter(|_| waiting_for == WaitingFor::StartAt);
    let (rollout, status) = (rollout.id, rollout.status());
    Explanation { rollout, status, waiting_for, since, message, start_at, groups: running, failure, scheduler }
}

/// How many groups have left the status `behind`.
fn progress(groups: &[Counted], behind: GroupStatus, done: &str) -> String {
    let ready = groups.iter().filter(|g| g.group.status() != behind).count();
    format!("The server works on it; groups that {done}: {ready} of {}.", groups.len())
}

fn ready(rollout: &Model, now: i64) -> (WaitingFor, String) {
    match rollout.start_at {
        None | Some(i64::MAX) => (WaitingFor::Start, "Someone has to start it.".into()),
        Some(at) if at > now => (WaitingFor::StartAt, "It starts by itself when its time has come.".into()),
        Some(_) => (WaitingFor::Scheduler, "Its time has come: it is about to start.".into()),
    }
}

fn denied(rollout: &Model) -> String {
    let by = rollout.approval_decided_by.as_deref().unwrap_or("Someone");
    let remark = rollout.approval_remark.as_deref().map(|remark| format!(" ({remark})")).unwrap_or_default();
    format!("{by} has denied its approval{remark}; it can be deleted.")
}

fn paused(rollout: &Model, groups: &[Counted]) -> String {
    let why = match last_counted(groups) {
        Some(Counted { group, .. }) if group.status() == GroupStatus::Error => {
            format!("Group {} has failed: more of its devices than allowed reported errors.", group.name)
        }
        Some(Counted { group, total, counts })
            if group.success_action() == SuccessAction::Pause && advance::succeeded(rollout, group, *total, counts) =>
        {
            format!("Group {} has succeeded, and its success action is to pause.", group.name)
        }
        _ => format!("{} has paused it.", rollout.last_modified_by.as_deref().unwrap_or("Someone")),
    };
    format!("{why} What was started goes on; someone has to resume it before another group starts.")
}

fn stopping(rollout: &Model, groups: &[Counted]) -> String {
    let open = |g: &Counted| g.counts.open(rollout.action_type()) - g.counts.get(ActionStatus::Canceling);
    format!("Its actions are being cancelled; left: {}.", groups.iter().map(open).sum::<i64>())
}

fn runs(rollout: &Model, groups: &[Counted], running: &[Running]) -> (WaitingFor, String) {
    if let Some(message) = due(rollout, groups) {
        return (WaitingFor::Scheduler, message);
    }
    if let Some(front) = running.iter().find(|group| group.next.is_some()) {
        return (WaitingFor::SuccessThreshold, front.message());
    }
    let open: i64 = running.iter().map(|group| group.open).sum();
    let joining = running.iter().find_map(|group| Some((group, group.free?)));
    let joining = joining.map_or_else(String::new, |(group, free)| {
        format!(" Targets that come to match join it; free places in {}: {free}.", group.name)
    });
    if open == 0 && !joining.is_empty() {
        return (WaitingFor::NewTargets, format!("All its devices have reported.{joining}"));
    }
    let unconfirmed: i64 = running.iter().map(|group| group.unconfirmed).sum();
    let unconfirmed = match unconfirmed {
        0 => String::new(),
        some => format!(" Waiting to be confirmed: {some}."),
    };
    (WaitingFor::Finish, format!("No group is left to start. Actions still open: {open}.{unconfirmed}{joining}"))
}

/// What the scheduler is about to do.
fn due(rollout: &Model, groups: &[Counted]) -> Option<String> {
    let name = |id: &i64| groups.iter().find(|g| g.group.id == *id).map_or("", |g| g.group.name.as_str());
    let starting = |g: &&Counted| g.group.status() == GroupStatus::Running && scheduled(g) > 0;
    if let Some(starting) = groups.iter().find(starting) {
        let left = scheduled(starting);
        return Some(format!("Group {} is being started; actions left to start: {left}.", starting.group.name));
    }
    let moves = advance::moves(rollout, groups);
    if moves.none() {
        return None;
    }
    let about = match () {
        () if moves.over => "its groups have ended, and so does it".to_owned(),
        () if !moves.failed.is_empty() => {
            format!("group {} has failed", moves.failed.iter().map(name).collect::<String>())
        }
        () if moves.pause => "it is about to pause".to_owned(),
        () => match moves.started.first().map(name) {
            Some(next) => format!("group {next} is about to start"),
            None => "groups have ended".to_owned(),
        },
    };
    Some(format!("The server is about to go on: {about}."))
}

fn scheduled(group: &Counted) -> i64 {
    group.counts.get(ActionStatus::Scheduled)
}

fn running(rollout: &Model, groups: &[Counted]) -> Vec<Running> {
    let running = groups.iter().filter(|g| g.group.status() == GroupStatus::Running);
    running.map(|counted| Running::of(rollout, groups, counted)).collect()
}

impl Running {
    fn of(rollout: &Model, groups: &[Counted], counted: &Counted) -> Running {
        let Counted { group, counts, .. } = counted;
        let filling = group.is_dynamic && groups.last().is_some_and(|last| last.group.id == group.id);
        let total = if filling { group.capacity() } else { counted.total };
        let (finished, errors) = (advance::finished(rollout, counts), counts.get(ActionStatus::Error));
        let next =
            groups.iter().find(|g| g.group.parent == Some(group.id) && g.group.status() == GroupStatus::Scheduled);
        let success = group.success_condition_exp.as_str();
        let error = group.error_condition_exp.as_deref().unwrap_or_default();
        Running {
            id: group.id,
            name: group.name.clone(),
            since: group.last_modified_at,
            total,
            finished,
            errors,
            open: counts.open(rollout.action_type()),
            unconfirmed: counts.get(ActionStatus::WaitForConfirmation),
            success: Threshold::of(success, finished, total, |n| advance::reaches(success, n, total)),
            error: Threshold::of(error, errors, total, |n| advance::exceeds(error, n, total)),
            next: next.map(|next| (next.group.id, next.group.name.clone())),
            free: filling.then(|| (total - group.total()).max(0)),
            pauses: group.success_action() == SuccessAction::Pause,
        }
    }

    /// What this group has to come to for the next one to start.
    fn message(&self) -> String {
        let Running { name, total, finished, errors, open, .. } = self;
        let next = self.next.as_ref().map_or("", |(_, name)| name);
        let then = if self.pauses { "the rollout pauses".to_owned() } else { format!("group {next} starts") };
        let needs = match self.success.missing {
            Some(missing) if missing <= *open => format!("After {missing} more finished, {then}."),
            _ => {
                let expression = &self.success.expression;
                format!(
                    "Its success threshold ({expression}%) is out of reach; group {next} starts when all have reported."
                )
            }
        };
        let fails = match self.error.missing {
            Some(missing) if missing <= *open => {
                format!(" After {missing} more failed, it fails itself, and the rollout pauses.")
            }
            _ => String::new(),
        };
        let unconfirmed = match self.unconfirmed {
            0 => String::new(),
            some => format!(" Waiting to be confirmed: {some}."),
        };
        format!("Group {name}: finished {finished} of {total} targets, failed {errors}. {needs}{fails}{unconfirmed}")
    }
}

impl Threshold {
    /// `holds` says of a count whether it reaches the threshold; what reaches it is reached by all larger counts too.
    fn of(expression: &str, count: i64, total: i64, holds: impl Fn(i64) -> bool) -> Threshold {
        let expression = expression.to_owned();
        if holds(count) {
            return Threshold { expression, reached: true, missing: None };
        }
        let (mut below, mut above) = (count, total);
        if above <= below || !holds(above) {
            return Threshold { expression, reached: false, missing: None };
        }
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if holds(middle) { above = middle } else { below = middle }
        }
        Threshold { expression, reached: false, missing: Some(above - count) }
    }
}

fn last_started(groups: &[Group]) -> Option<&Group> {
    groups.iter().rfind(|group| group.status() != GroupStatus::Scheduled)
}

fn last_counted(groups: &[Counted]) -> Option<&Counted> {
    groups.iter().rfind(|g| g.group.status() != GroupStatus::Scheduled)
}
