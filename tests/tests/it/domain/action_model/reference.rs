//! What actions and targets do, written from semantics.md A1 to A6 alone. Plain and slow: it is there to be read.

use kettle_domain::{
    Kind,
    actions::{ActionStatus, ActionType, Execution},
    distribution_sets::Cancelation,
    targets::{NextKind, UpdateStatus},
};

use super::steps::{By, Pick, Step, When, Work};
use crate::domain::NOW;

/// How long after the start the maintenance windows of all actions lapse.
pub const LAPSE: i64 = 8_200_000;
/// How many actions a target may have.
pub const QUOTA: usize = 6;
const DEFAULT_WEIGHT: i32 = 1000;

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// A target that is deleted comes back with its device's next poll.
    pub exists: bool,
    pub status: UpdateStatus,
    pub assigned: Option<usize>,
    pub installed: Option<usize>,
    pub installed_at: Option<i64>,
    pub request_attributes: bool,
    pub auto_confirm: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// It is the nth that was ever made.
    pub number: usize,
    pub target: usize,
    pub set: usize,
    pub action_type: ActionType,
    pub status: ActionStatus,
    pub active: bool,
    pub last_code: Option<i32>,
    /// The statuses reported, oldest first.
    pub rows: Vec<ActionStatus>,
    weight: i32,
    forced_time: i64,
    windowed: bool,
    /// By an operator or the server; what devices report is no such change.
    changed_at: i64,
}

#[derive(Clone, Copy, Debug)]
pub struct Set {
    pub migration_step: bool,
    pub valid: bool,
}

/// What happened to a target that its state doesn't tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// An action ended in an error, which takes the assignment away.
    pub failed: bool,
    /// Since it was last assigned a set, an active action was deleted, or its device reported an end that is older than
    /// what is installed: both leave a target pending.
    pub left_pending: bool,
}

/// What a step answers when it is not refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Done,
    Assigned { assigned: u64, already: u64 },
    Offer { next: Option<(usize, NextKind)>, installed: Option<usize>, request_attributes: bool },
}

pub struct Reference {
    pub now: i64,
    pub flow: bool,
    pub autoclose: bool,
    pub targets: Vec<Target>,
    pub past: Vec<Past>,
    /// The targets, the oldest first: the order in which an assignment makes their actions.
    by_age: Vec<usize>,
    /// Those that are not deleted.
    pub actions: Vec<Action>,
    made: usize,
    pub sets: Vec<Set>,
    /// The set that steps mean by a number.
    pub places: Vec<usize>,
    percent: i64,
}

impl Reference {
    pub fn new(targets: usize, sets: &[bool]) -> Reference {
        Reference {
            now: NOW,
            flow: false,
            autoclose: false,
            targets: vec![Target { exists: true, ..Target::absent() }; targets],
            past: vec![Past::default(); targets],
            by_age: (0..targets).collect(),
            actions: Vec::new(),
            made: 0,
            sets: sets.iter().map(|step| Set { migration_step: *step, valid: true }).collect(),
            places: (0..sets.len()).collect(),
            percent: 0,
        }
    }

    /// The action that a step means: one of the target's, or of all. `None`: there is none at all.
    pub fn pick(&self, target: usize, pick: Pick) -> Option<usize> {
        let own = |index: &usize| !pick.own || self.actions[*index].target == target;
        let mut candidates: Vec<usize> = (0..self.actions.len()).rev().filter(own).collect();
        if candidates.is_empty() {
            candidates = (0..self.actions.len()).rev().collect();
        }
        candidates.get(pick.nth % candidates.len().max(1)).copied()
    }

    pub fn run(&mut self, step: &Step) -> Result<Answer, Kind> {
        match *step {
            Step::Assign { ref targets, set, urgency, weight, confirmation, windowed } => {
                if windowed && self.lapsed() {
                    return Err(Kind::MaintenanceScheduleInvalid);
                }
                let set = self.places[set];
                let chosen = |target: &usize| targets.contains(target) && self.targets[*target].exists;
                let targets: Vec<usize> = self.by_age.iter().copied().filter(chosen).collect();
                self.make_room(&targets, set)?;
                let (done, selected): (Vec<usize>, Vec<usize>) =
                    targets.iter().partition(|target| self.targets[**target].assigned == Some(set));
                for target in &selected {
                    self.past[*target].left_pending = false;
                    self.supersede(*target);
                    self.targets[*target].assigned = Some(set);
                    self.targets[*target].status = UpdateStatus::Pending;
                    let auto = self.targets[*target].auto_confirm;
                    let waits = self.flow && confirmation.unwrap_or(true) && !auto;
                    self.actions.push(Action {
                        number: self.made,
                        target: *target,
                        set,
                        action_type: urgency.action_type(),
                        status: if waits { ActionStatus::WaitForConfirmation } else { ActionStatus::Running },
                        active: true,
                        last_code: None,
                        rows: vec![if self.flow { ActionStatus::WaitForConfirmation } else { ActionStatus::Running }],
                        weight: weight.unwrap_or(DEFAULT_WEIGHT),
                        forced_time: urgency.forced_time(),
                        windowed,
                        changed_at: self.now,
                    });
                    self.made += 1;
                }
                Ok(Answer::Assigned { assigned: selected.len() as u64, already: done.len() as u64 })
            }
            Step::AssignOffline { target: index, set } => {
                let set = self.places[set];
                if !self.targets[index].exists {
                    self.make_room(&[], set)?;
                    return Ok(Answer::Assigned { assigned: 0, already: 0 });
                }
                self.make_room(&[index], set)?;
                let target = &mut self.targets[index];
                if target.assigned == Some(set) || target.status == UpdateStatus::Pending {
                    return Ok(Answer::Assigned { assigned: 0, already: 1 });
                }
                target.assigned = Some(set);
                target.installed = Some(set);
                target.installed_at = Some(self.now);
                target.status = UpdateStatus::InSync;
                self.actions.push(Action {
                    number: self.made,
                    target: index,
                    set,
                    action_type: ActionType::Forced,
                    status: ActionStatus::Finished,
                    active: false,
                    last_code: None,
                    rows: vec![ActionStatus::Finished],
                    weight: DEFAULT_WEIGHT,
                    forced_time: 0,
                    windowed: false,
                    changed_at: self.now,
                });
                self.made += 1;
                Ok(Answer::Assigned { assigned: 1, already: 0 })
            }
            Step::Flow(on) => Ok(self.set(|reference| reference.flow = on)),
            Step::Autoclose(on) => Ok(self.set(|reference| reference.autoclose = on)),
            Step::Lapse => Ok(self.set(|reference| reference.now = reference.now.max(NOW + LAPSE))),
            Step::AutoConfirm { target, .. } if !self.targets[target].exists => Err(Kind::EntityNotFound),
            Step::AutoConfirm { target, on, by } => self.auto_confirm(target, on, by),
            Step::Poll { target } => Ok(self.poll(target)),
            Step::Work { target, pick, ref work } => {
                let found = self.pick(target, pick).ok_or(Kind::EntityNotFound)?;
                if self.actions[found].target != target {
                    return Err(if work.by() == By::Operator { Kind::Absent } else { Kind::EntityNotFound });
                }
                self.work(found, work).map(|()| Answer::Done)
            }
            Step::Delete { target, pick } => {
                let found = self.pick(target, pick).map(|index| self.actions[index].number);
                Ok(self.forget(|action| Some(action.number) == found))
            }
            Step::DeleteFound { active } => Ok(self.forget(|action| action.active == active)),
            Step::DeleteOfTarget { target, pick } => {
                let found = self.pick(target, pick).map(|index| self.actions[index].number);
                Ok(self.forget(|action| action.target == target && Some(action.number) == found))
            }
            Step::KeepNewest { target, .. } if !self.targets[target].exists => Err(Kind::EntityNotFound),
            Step::KeepNewest { target, keep } => {
                let old = self.of_target(target).len().saturating_sub(keep as usize);
                Ok(self.forget_oldest(target, old))
            }
            Step::DeleteTarget { target } if !self.targets[target].exists => Err(Kind::EntityNotFound),
            Step::DeleteTarget { target } => {
                self.actions.retain(|action| action.target != target);
                self.targets[target] = Target::absent();
                self.past[target] = Past::default();
                Ok(Answer::Done)
            }
            Step::Invalidate { set, cancelation } => Ok(self.invalidate(self.places[set], cancelation)),
            Step::Percent(percent) => Ok(self.set(|reference| reference.percent = percent)),
            Step::CleanUp { expiry, .. } if expiry < 0 => Ok(Answer::Done),
            Step::CleanUp { expiry, statuses } => {
                let before = self.now - expiry;
                Ok(self.forget(|action| statuses.contains(&action.status) && action.changed_at < before))
            }
        }
    }

    fn set(&mut self, set: impl FnOnce(&mut Reference)) -> Answer {
        set(self);
        Answer::Done
    }

    fn of_target(&self, target: usize) -> Vec<&Action> {
        self.actions.iter().filter(|action| action.target == target).collect()
    }

    /// A6, COMPAT.md: deleting actions leaves their targets as they are.
    fn forget(&mut self, which: impl Fn(&Action) -> bool) -> Answer {
        for action in self.actions.iter().filter(|action| action.active && which(action)) {
            self.past[action.target].left_pending = true;
        }
        self.actions.retain(|action| !which(action));
        Answer::Done
    }

    fn forget_oldest(&mut self, target: usize, count: usize) -> Answer {
        let oldest: Vec<usize> = self.of_target(target).iter().take(count).map(|action| action.number).collect();
        self.forget(|action| oldest.contains(&action.number))
    }

    /// A6: a full target takes no more actions, or loses its oldest. COMPAT.md: that comes before what is wrong with the
    /// set, and also where the target has the set.
    fn make_room(&mut self, targets: &[usize], set: usize) -> Result<(), Kind> {
        let full = |target: &usize| self.of_target(*target).len() >= QUOTA;
        let full: Vec<usize> = targets.iter().copied().filter(full).collect();
        let effective = if (1..100).contains(&self.percent) { self.percent as usize } else { 0 };
        let room = effective * QUOTA / 100;
        if !full.is_empty() && room == 0 {
            return Err(Kind::TooManyEntries);
        }
        if !self.sets[set].valid {
            let place = self.places.iter().position(|known| *known == set);
            self.places[place.unwrap_or_default()] = self.sets.len();
            self.sets.push(Set { valid: true, ..self.sets[set] });
            return Err(Kind::DistributionSetInvalid);
        }
        for target in full {
            self.forget_oldest(target, room);
        }
        Ok(())
    }

    /// A2.
    fn invalidate(&mut self, set: usize, cancelation: Cancelation) -> Answer {
        self.sets[set].valid = false;
        if cancelation == Cancelation::None {
            return Answer::Done;
        }
        for index in 0..self.actions.len() {
            let action = &mut self.actions[index];
            if action.set != set || !action.active {
                continue;
            }
            if !action.is_canceled() {
                action.note(ActionStatus::Canceling);
                action.changed_at = self.now;
            }
            if cancelation == Cancelation::Force {
                action.changed_at = self.now;
                self.close_canceled(index);
            }
        }
        Answer::Done
    }

    fn lapsed(&self) -> bool {
        self.now >= NOW + LAPSE
    }

    /// A3: a new assignment puts aside what is under way, but for required migration steps.
    fn supersede(&mut self, target: usize) {
        for action in self.actions.iter_mut().filter(|action| action.target == target && action.active) {
            if self.sets[action.set].migration_step {
                continue;
            }
            if self.autoclose || action.status != ActionStatus::Canceling {
                action.changed_at = self.now;
            }
            if self.autoclose {
                action.active = false;
                action.note(ActionStatus::Canceled);
            } else if action.status != ActionStatus::Canceling {
                action.note(ActionStatus::Canceling);
            }
        }
    }

    fn auto_confirm(&mut self, target: usize, on: bool, by: By) -> Result<Answer, Kind> {
        if on && self.targets[target].auto_confirm {
            return Err(Kind::AutoConfirmationAlreadyActive);
        }
        self.targets[target].auto_confirm = on;
        for action in self.actions.iter_mut().filter(|action| on && action.target == target && action.active) {
            if action.status == ActionStatus::WaitForConfirmation {
                action.note(ActionStatus::Running);
                if by == By::Operator {
                    action.changed_at = self.now;
                }
            }
        }
        Ok(Answer::Done)
    }

    /// What a device is offered: of the active actions the one of the highest weight, of these the oldest.
    pub fn next(&self, target: usize) -> Option<usize> {
        let active = |index: &usize| self.actions[*index].target == target && self.actions[*index].active;
        (0..self.actions.len()).filter(active).min_by_key(|index| (-self.actions[*index].weight, *index))
    }

    fn poll(&mut self, target: usize) -> Answer {
        if !self.targets[target].exists {
            self.targets[target].exists = true;
            self.by_age.retain(|older| *older != target);
            self.by_age.push(target);
        }
        if self.targets[target].status == UpdateStatus::Unknown {
            self.targets[target].status = UpdateStatus::Registered;
        }
        let of_target = |action: &Action| action.target == target;
        let next = self.next(target);
        if let Some(next) = next {
            self.cancel_lapsed(next);
        }
        let next = next.map(|index| match self.actions[index].status {
            ActionStatus::WaitForConfirmation => (index, NextKind::Confirmation),
            ActionStatus::Canceling => (index, NextKind::Cancel),
            _ => (index, NextKind::Deployment),
        });
        let Target { installed, request_attributes, .. } = self.targets[target];
        let brought = |action: &Action| {
            of_target(action) && action.status == ActionStatus::Finished && Some(action.set) == installed
        };
        Answer::Offer { next, installed: self.actions.iter().rposition(brought), request_attributes }
    }

    fn cancel_lapsed(&mut self, index: usize) {
        let lapsed = self.lapsed();
        let action = &mut self.actions[index];
        if lapsed && action.windowed && action.active && !action.is_canceled() {
            action.note(ActionStatus::Canceling);
        }
    }

    fn work(&mut self, index: usize, work: &Work) -> Result<(), Kind> {
        if matches!(work, Work::ReadDeployment | Work::ReadConfirmation) {
            self.cancel_lapsed(index);
        }
        let now = self.now;
        let action = &mut self.actions[index];
        let waits = action.status == ActionStatus::WaitForConfirmation;
        match *work {
            Work::Cancel if !action.active || action.is_canceled() => return Err(Kind::ActionNotCancelable),
            Work::Cancel => {
                action.note(ActionStatus::Canceling);
                action.changed_at = now;
            }
            Work::ForceQuit if !action.active || !action.is_canceled() => return Err(Kind::ActionNotForceQuitable),
            Work::ForceQuit => {
                action.changed_at = now;
                self.close_canceled(index);
            }
            Work::Force => {
                let reached = action.action_type == ActionType::TimeForced && now >= action.forced_time;
                if !reached && action.action_type != ActionType::Forced {
                    action.action_type = ActionType::Forced;
                    action.changed_at = now;
                }
            }
            Work::Confirm { .. } if !action.active => return Err(Kind::Gone),
            Work::Confirm { .. } if !waits => return Err(Kind::Absent),
            Work::Confirm { confirmed, code, by } => {
                // A denial that changes nothing is no change.
                if by == By::Operator && (confirmed || code != action.last_code) {
                    action.changed_at = now;
                }
                action.note(if confirmed { ActionStatus::Running } else { ActionStatus::WaitForConfirmation });
                action.last_code = code;
            }
            Work::ReadDeployment if waits || action.is_canceled() => return Err(Kind::Absent),
            // COMPAT.md: a closed action stays as it is.
            Work::ReadDeployment if action.active && action.newest() != ActionStatus::Retrieved => {
                action.note(ActionStatus::Retrieved);
            }
            Work::ReadDeployment => {}
            Work::ReadConfirmation if !waits => return Err(Kind::Absent),
            Work::ReadConfirmation => {}
            Work::ReadCancel if !action.is_canceled() => return Err(Kind::Absent),
            Work::ReadCancel if action.newest() != ActionStatus::Retrieved => action.rows.push(ActionStatus::Retrieved),
            Work::ReadCancel => {}
            Work::ReadInstalled if action.active || action.is_canceled() => return Err(Kind::Absent),
            Work::ReadInstalled => {}
            Work::Feedback { .. } if waits => return Err(Kind::Absent),
            Work::Feedback { .. } if !action.active => return Err(Kind::Gone),
            Work::Feedback { execution, failed, code, when } => self.feedback(index, execution, failed, code, when),
            Work::CancelFeedback { .. } if !action.is_canceled() => return Err(Kind::ActionNotCancelable),
            Work::CancelFeedback { execution: Execution::Closed, failed: false } => self.close_canceled(index),
            Work::CancelFeedback { execution, .. } => {
                action.rows.push(match execution {
                    Execution::Closed => ActionStatus::Error,
                    Execution::Rejected => ActionStatus::CancelRejected,
                    Execution::Canceled => ActionStatus::Warning,
                    _ => ActionStatus::Running,
                });
                if matches!(execution, Execution::Closed | Execution::Rejected) {
                    action.status = ActionStatus::Running;
                }
            }
        }
        Ok(())
    }

    fn feedback(&mut self, index: usize, execution: Execution, failed: bool, code: Option<i32>, when: When) {
        let status = match (execution, failed) {
            (Execution::Closed, true) => ActionStatus::Error,
            (Execution::Closed, false) => ActionStatus::Finished,
            (Execution::Canceled, _) => ActionStatus::Canceled,
            (Execution::Rejected, _) => ActionStatus::Warning,
            (Execution::Download, _) => ActionStatus::Download,
            (Execution::Downloaded, _) => ActionStatus::Downloaded,
            (Execution::Proceeding | Execution::Scheduled | Execution::Resumed, _) => ActionStatus::Running,
        };
        let at = when.at(self.now).unwrap_or(self.now);
        let action = &mut self.actions[index];
        action.last_code = code;
        action.rows.push(status);
        let download_only = action.action_type == ActionType::DownloadOnly;
        let closes = matches!(status, ActionStatus::Finished | ActionStatus::Error)
            || (status == ActionStatus::Downloaded && download_only);
        if !closes {
            return;
        }
        action.status = status;
        action.active = false;
        let set = action.set;
        let past = &mut self.past[action.target];
        let target = &mut self.targets[action.target];
        match status {
            ActionStatus::Error => {
                past.failed = true;
                target.status = UpdateStatus::Error;
                target.assigned = None;
            }
            ActionStatus::Downloaded => {
                target.status = UpdateStatus::InSync;
                target.request_attributes = true;
            }
            _ => {
                target.request_attributes = true;
                if target.installed_at.is_some_and(|installed| installed >= at) {
                    past.left_pending = true;
                    return;
                }
                target.installed = Some(set);
                target.installed_at = Some(at);
                if download_only {
                    target.assigned = Some(set);
                }
                if target.assigned == target.installed {
                    target.status = UpdateStatus::InSync;
                }
            }
        }
    }

    fn close_canceled(&mut self, index: usize) {
        self.actions[index].active = false;
        self.actions[index].note(ActionStatus::Canceled);
        let index = self.actions[index].target;
        let oldest = self.actions.iter().find(|action| action.target == index && action.active);
        let target = &mut self.targets[index];
        match oldest {
            Some(oldest) => target.assigned = Some(oldest.set),
            None => {
                target.assigned = target.installed;
                target.status = UpdateStatus::InSync;
            }
        }
    }
}

impl Target {
    /// No target, and what a new one starts with.
    pub fn absent() -> Target {
        Target {
            exists: false,
            status: UpdateStatus::Unknown,
            assigned: None,
            installed: None,
            installed_at: None,
            request_attributes: true,
            auto_confirm: false,
        }
    }
}

impl Action {
    fn is_canceled(&self) -> bool {
        matches!(self.status, ActionStatus::Canceling | ActionStatus::Canceled)
    }

    fn newest(&self) -> ActionStatus {
        self.rows[self.rows.len() - 1]
    }

    /// Takes a status and reports it.
    fn note(&mut self, status: ActionStatus) {
        self.status = status;
        self.rows.push(status);
    }
}
