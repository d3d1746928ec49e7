//! What actions and targets do, written from semantics.md A1, A3, A4 and A5 alone. Plain and slow: it is there to be read.

use kettle_domain::{
    Kind,
    actions::{ActionStatus, ActionType, Execution},
    targets::{NextKind, UpdateStatus},
};

use super::steps::{By, Pick, Step, When, Work};
use crate::domain::NOW;

/// How long after the start the maintenance windows of all actions lapse.
pub const LAPSE: i64 = 8_200_000;
const DEFAULT_WEIGHT: i32 = 1000;

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub status: UpdateStatus,
    pub assigned: Option<usize>,
    pub installed: Option<usize>,
    pub installed_at: Option<i64>,
    pub request_attributes: bool,
    pub auto_confirm: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Action {
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
    pub actions: Vec<Action>,
    /// Whether each set is a required migration step.
    pub sets: Vec<bool>,
}

impl Reference {
    pub fn new(targets: usize, sets: &[bool]) -> Reference {
        let target = Target {
            status: UpdateStatus::Unknown,
            assigned: None,
            installed: None,
            installed_at: None,
            request_attributes: true,
            auto_confirm: false,
        };
        Reference {
            now: NOW,
            flow: false,
            autoclose: false,
            targets: vec![target; targets],
            actions: Vec::new(),
            sets: sets.to_vec(),
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
                let (done, selected): (Vec<usize>, Vec<usize>) =
                    targets.iter().partition(|target| self.targets[**target].assigned == Some(set));
                for target in &selected {
                    self.supersede(*target);
                    self.targets[*target].assigned = Some(set);
                    self.targets[*target].status = UpdateStatus::Pending;
                    let auto = self.targets[*target].auto_confirm;
                    let waits = self.flow && confirmation.unwrap_or(true) && !auto;
                    self.actions.push(Action {
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
                    });
                }
                Ok(Answer::Assigned { assigned: selected.len() as u64, already: done.len() as u64 })
            }
            Step::AssignOffline { target: index, set } => {
                let target = &mut self.targets[index];
                if target.assigned == Some(set) || target.status == UpdateStatus::Pending {
                    return Ok(Answer::Assigned { assigned: 0, already: 1 });
                }
                target.assigned = Some(set);
                target.installed = Some(set);
                target.installed_at = Some(self.now);
                target.status = UpdateStatus::InSync;
                self.actions.push(Action {
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
                });
                Ok(Answer::Assigned { assigned: 1, already: 0 })
            }
            Step::Flow(on) => Ok(self.set(|reference| reference.flow = on)),
            Step::Autoclose(on) => Ok(self.set(|reference| reference.autoclose = on)),
            Step::Lapse => Ok(self.set(|reference| reference.now = reference.now.max(NOW + LAPSE))),
            Step::AutoConfirm { target, on, .. } => self.auto_confirm(target, on),
            Step::Poll { target } => Ok(self.poll(target)),
            Step::Work { target, pick, ref work } => {
                let found = self.pick(target, pick).ok_or(Kind::EntityNotFound)?;
                if self.actions[found].target != target {
                    return Err(if work.by() == By::Operator { Kind::Absent } else { Kind::EntityNotFound });
                }
                self.work(found, work).map(|()| Answer::Done)
            }
        }
    }

    fn set(&mut self, set: impl FnOnce(&mut Reference)) -> Answer {
        set(self);
        Answer::Done
    }

    fn lapsed(&self) -> bool {
        self.now >= NOW + LAPSE
    }

    /// A3: a new assignment puts aside what is under way, but for required migration steps.
    fn supersede(&mut self, target: usize) {
        for action in self.actions.iter_mut().filter(|action| action.target == target && action.active) {
            if self.sets[action.set] {
                continue;
            }
            if self.autoclose {
                action.active = false;
                action.note(ActionStatus::Canceled);
            } else if action.status != ActionStatus::Canceling {
                action.note(ActionStatus::Canceling);
            }
        }
    }

    fn auto_confirm(&mut self, target: usize, on: bool) -> Result<Answer, Kind> {
        if on && self.targets[target].auto_confirm {
            return Err(Kind::AutoConfirmationAlreadyActive);
        }
        self.targets[target].auto_confirm = on;
        for action in self.actions.iter_mut().filter(|action| on && action.target == target && action.active) {
            if action.status == ActionStatus::WaitForConfirmation {
                action.note(ActionStatus::Running);
            }
        }
        Ok(Answer::Done)
    }

    fn poll(&mut self, target: usize) -> Answer {
        if self.targets[target].status == UpdateStatus::Unknown {
            self.targets[target].status = UpdateStatus::Registered;
        }
        let of_target = |action: &Action| action.target == target;
        let active = |index: &usize| of_target(&self.actions[*index]) && self.actions[*index].active;
        let first = |index: &usize| (-self.actions[*index].weight, *index);
        let next = (0..self.actions.len()).filter(active).min_by_key(first);
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
            Work::Cancel => action.note(ActionStatus::Canceling),
            Work::ForceQuit if !action.active || !action.is_canceled() => return Err(Kind::ActionNotForceQuitable),
            Work::ForceQuit => self.close_canceled(index),
            Work::Force => {
                let reached = action.action_type == ActionType::TimeForced && now >= action.forced_time;
                if !reached {
                    action.action_type = ActionType::Forced;
                }
            }
            Work::Confirm { .. } if !action.active => return Err(Kind::Gone),
            Work::Confirm { .. } if !waits => return Err(Kind::Absent),
            Work::Confirm { confirmed, code, .. } => {
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
        let target = &mut self.targets[action.target];
        match status {
            ActionStatus::Error => {
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
