//! What operators' calls and devices' reports do to rollouts and to what they are made of, written from semantics.md A2 to
//! A4 and B alone. Plain and slow: it is there to be read. What the scheduler makes of it is in `scheduler.rs`.

use kettle_domain::{
    Kind,
    actions::ActionStatus,
    distribution_sets::Cancelation,
    rollouts::{Counters, GroupStatus, RolloutStatus, SuccessAction},
    targets::UpdateStatus,
};

use super::steps::{Call, Conditions, Filter, Groups, LETTERS, New, Pick, SETS, Step, TARGETS, What};
use crate::domain::NOW;

/// The name of a retry: those that retry the same rollout would have the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Filter(Filter),
    Retry(usize),
}

pub struct Target {
    pub exists: bool,
    pub created_at: i64,
    pub status: UpdateStatus,
    pub assigned: Option<usize>,
    pub installed: Option<usize>,
}

pub struct Action {
    pub target: usize,
    pub set: usize,
    /// Rollout and group.
    pub of: Option<(usize, usize)>,
    pub download_only: bool,
    pub weight: i32,
    pub status: ActionStatus,
    pub active: bool,
    /// How many statuses were reported.
    pub rows: usize,
}

pub struct Rollout {
    pub exists: bool,
    pub set: usize,
    pub source: Source,
    pub created_at: i64,
    pub start_at: Option<i64>,
    pub download_only: bool,
    pub weight: i32,
    pub dynamic: bool,
    pub status: RolloutStatus,
    pub total: i64,
    /// When new targets were last looked for.
    pub looked_at: i64,
    pub groups: Vec<Group>,
}

pub struct Group {
    pub status: GroupStatus,
    pub total: i64,
    /// In percent; of a dynamic group, how many targets it takes.
    pub share: f32,
    pub filter: Option<Filter>,
    pub dynamic: bool,
    pub conditions: Conditions,
    pub confirm: bool,
    pub members: Vec<usize>,
}

pub struct Reference {
    pub now: i64,
    pub flow: bool,
    pub autoclose: bool,
    pub approval: bool,
    pub targets: Vec<Target>,
    pub actions: Vec<Action>,
    pub rollouts: Vec<Rollout>,
    /// Which sets are valid.
    pub sets: Vec<bool>,
    /// The set that steps mean by a number.
    pub places: Vec<usize>,
}

impl Reference {
    pub fn new() -> Reference {
        let target = |_| Target::new(NOW);
        Reference {
            now: NOW,
            flow: false,
            autoclose: false,
            approval: false,
            targets: (0..TARGETS).map(target).collect(),
            actions: Vec::new(),
            rollouts: Vec::new(),
            sets: vec![true; SETS],
            places: (0..SETS).collect(),
        }
    }

    /// The rollout that a step means.
    pub fn pick(&self, Pick(nth): Pick) -> Option<usize> {
        self.rollouts.len().checked_sub(1 + nth % self.rollouts.len().max(1))
    }

    /// The target that a step means.
    pub fn nth_target(&self, nth: usize) -> Option<usize> {
        let left: Vec<usize> = (0..self.targets.len()).filter(|target| self.targets[*target].exists).collect();
        left.get(nth % left.len().max(1)).copied()
    }

    /// What a device is offered: of the active actions the one of the highest weight, of these the oldest.
    pub fn next(&self, target: usize) -> Option<usize> {
        let active = |index: &usize| self.actions[*index].target == target && self.actions[*index].active;
        (0..self.actions.len()).filter(active).min_by_key(|index| (-self.actions[*index].weight, *index))
    }

    pub fn run(&mut self, step: &Step) -> Result<(), Kind> {
        match *step {
            Step::Tick => self.tick(),
            Step::Create(ref new) => return self.create(new),
            Step::Operate { rollout, call } => {
                return self.pick(rollout).map_or(Ok(()), |rollout| self.operate(rollout, call));
            }
            Step::Report { target, what } => {
                if let Some(next) = self.nth_target(target).and_then(|target| self.next(target)) {
                    self.report(next, what);
                }
            }
            Step::Assign { target, set } => return self.assign(target, self.places[set]),
            Step::Cancel { target } => {
                let next = self.nth_target(target).and_then(|target| self.next(target));
                match next {
                    Some(next) if self.actions[next].status == ActionStatus::Canceling => self.close_canceled(next),
                    Some(next) => self.actions[next].note(ActionStatus::Canceling),
                    None => {}
                }
            }
            Step::Join => self.targets.push(Target::new(self.now)),
            Step::Leave { target } => {
                if let Some(target) = self.nth_target(target) {
                    self.leave(target);
                }
            }
            Step::Invalidate { set, cancelation } => self.invalidate(self.places[set], cancelation),
            Step::Pass { ms } => self.now += ms,
            Step::Flow(on) => self.flow = on,
            Step::Autoclose(on) => self.autoclose = on,
            Step::Approval(on) => self.approval = on,
        }
        Ok(())
    }

    /// Fails for an invalid set, which a new one takes the place of.
    fn check_set(&mut self, set: usize) -> Result<(), Kind> {
        if self.sets[set] {
            return Ok(());
        }
        if let Some(place) = self.places.iter().position(|known| *known == set) {
            self.places[place] = self.sets.len();
            self.sets.push(true);
        }
        Err(Kind::DistributionSetInvalid)
    }

    /// B1.
    fn create(&mut self, new: &New) -> Result<(), Kind> {
        let set = self.places[new.set];
        self.check_set(set)?;
        let found = (0..self.targets.len()).filter(|target| self.finds(new.filter, *target)).count() as i64;
        let (dynamic, pure) = match new.groups {
            Groups::Dynamic(amount, _) => (true, amount == 0),
            _ => (false, false),
        };
        if found == 0 && !pure {
            return Err(Kind::ConstraintViolation);
        }
        let confirm = new.confirm.unwrap_or(self.flow);
        let group = |filter, share, conditions| Group {
            status: GroupStatus::Creating,
            total: 0,
            share,
            filter,
            dynamic: false,
            conditions,
            confirm,
            members: Vec::new(),
        };
        let by_amount =
            |amount: i32| (0..amount).map(|_| group(None, 100.0 / amount as f32, new.conditions)).collect::<Vec<_>>();
        let groups = match &new.groups {
            Groups::Amount(amount) => by_amount(*amount),
            Groups::Explicit(filter, groups) => {
                let explicit = groups.iter();
                let explicit = explicit.map(|(own, share, of)| group(own.then_some(*filter), *share, *of));
                explicit.chain([group(None, 100.0, new.conditions)]).collect()
            }
            Groups::Dynamic(amount, template) => {
                let mut groups = by_amount(*amount);
                let template = template.map(|count| group(None, count as f32, new.conditions));
                groups.extend(template.map(|group| Group { dynamic: true, status: GroupStatus::Ready, ..group }));
                groups
            }
        };
        self.rollouts.push(Rollout {
            exists: true,
            set,
            source: Source::Filter(new.filter),
            created_at: self.now,
            start_at: new.start_in.map(|start_in| self.now + start_in),
            download_only: new.download_only,
            weight: new.weight,
            dynamic,
            status: RolloutStatus::Creating,
            total: if pure { 0 } else { found },
            looked_at: 0,
            groups,
        });
        Ok(())
    }

    pub fn finds(&self, filter: Filter, target: usize) -> bool {
        self.targets[target].exists && filter.finds(LETTERS[target % LETTERS.len()])
    }

    /// B3.
    fn operate(&mut self, rollout: usize, call: Call) -> Result<(), Kind> {
        use RolloutStatus::*;
        if !self.rollouts[rollout].exists {
            return Err(Kind::EntityNotFound);
        }
        let status = self.rollouts[rollout].status;
        let next = match (call, status) {
            (Call::Start, Ready) => Starting,
            (Call::Pause, Running) => Paused,
            (Call::Resume, Paused) => {
                self.start_next_on_resume(rollout);
                Running
            }
            (Call::TriggerNext, Running) => return self.trigger_next(rollout),
            (Call::Stop, Creating | Ready | WaitingForApproval | Starting | Running | Paused | ApprovalDenied) => {
                Stopping
            }
            (Call::Delete, Deleted) => return Ok(()),
            (Call::Delete, _) => Deleting,
            (Call::Approve, WaitingForApproval) => Ready,
            (Call::Deny, WaitingForApproval) => ApprovalDenied,
            (Call::Retry, _) => return self.retry(rollout),
            _ => return Err(Kind::RolloutIllegalState),
        };
        self.rollouts[rollout].status = next;
        Ok(())
    }

    fn last_started(&self, rollout: usize) -> Option<usize> {
        self.rollouts[rollout].groups.iter().rposition(|group| group.status != GroupStatus::Scheduled)
    }

    fn start_next_on_resume(&mut self, rollout: usize) {
        let Some(last) = self.last_started(rollout) else { return };
        let group = &self.rollouts[rollout].groups[last];
        let paused = group.conditions.success_action == SuccessAction::Pause;
        let succeeded = self.succeeded(rollout, last, group.total);
        if group.status == GroupStatus::Error || (paused && succeeded) {
            self.start_child(rollout, last);
        }
    }

    pub fn trigger_next(&mut self, rollout: usize) -> Result<(), Kind> {
        let scheduled = self.rollouts[rollout].groups.iter().any(|group| group.status == GroupStatus::Scheduled);
        match self.last_started(rollout) {
            Some(last) if scheduled => self.start_child(rollout, last),
            _ => return Err(Kind::RolloutIllegalState),
        }
        Ok(())
    }

    fn retry(&mut self, rollout: usize) -> Result<(), Kind> {
        let retried = &self.rollouts[rollout];
        match retried.status {
            RolloutStatus::Deleted => return Err(Kind::EntityNotFound),
            RolloutStatus::Finished => {}
            _ => return Err(Kind::ConstraintViolation),
        }
        let set = retried.set;
        if !self.sets[set] {
            return Err(Kind::DistributionSetInvalid);
        }
        let failed = (0..self.targets.len()).filter(|target| self.failed_in(rollout, *target)).count() as i64;
        if failed == 0 {
            return Err(Kind::ConstraintViolation);
        }
        // Its name is made of the other's.
        if self.rollouts.iter().any(|other| other.exists && other.source == Source::Retry(rollout)) {
            return Err(Kind::EntityAlreadyExists);
        }
        let retried = &self.rollouts[rollout];
        self.rollouts.push(Rollout {
            exists: true,
            set,
            source: Source::Retry(rollout),
            created_at: self.now,
            start_at: retried.start_at,
            download_only: retried.download_only,
            weight: 1000,
            dynamic: false,
            status: RolloutStatus::Creating,
            total: failed,
            looked_at: 0,
            groups: vec![Group {
                status: GroupStatus::Creating,
                total: 0,
                share: 100.0,
                filter: None,
                dynamic: false,
                conditions: Conditions { success: 50, success_action: SuccessAction::NextGroup, error: 50 },
                confirm: false,
                members: Vec::new(),
            }],
        });
        Ok(())
    }

    pub fn failed_in(&self, rollout: usize, target: usize) -> bool {
        let failed = |action: &Action| {
            action.target == target
                && action.of.is_some_and(|(of, _)| of == rollout)
                && action.status == ActionStatus::Error
        };
        self.actions.iter().any(failed)
    }

    /// A4, of the reports that devices make sense of.
    fn report(&mut self, index: usize, what: What) {
        use ActionStatus::*;
        let action = &mut self.actions[index];
        match (action.status, what) {
            (WaitForConfirmation, What::No) => action.note(WaitForConfirmation),
            (WaitForConfirmation, _) => action.note(Running),
            (Canceling, What::Yes) => self.close_canceled(index),
            (Canceling, What::No) => {
                action.status = Running;
                action.rows += 1;
            }
            (Canceling, _) => action.rows += 1,
            (_, What::Proceeding) => action.rows += 1,
            (_, What::Downloaded) if !action.download_only => action.rows += 1,
            (_, What::Yes) => self.close(index, Finished),
            (_, What::No) => self.close(index, Error),
            (_, What::Downloaded) => self.close(index, Downloaded),
        }
    }

    fn close(&mut self, index: usize, status: ActionStatus) {
        let action = &mut self.actions[index];
        action.note(status);
        action.active = false;
        let target = &mut self.targets[action.target];
        match status {
            ActionStatus::Error => {
                target.status = UpdateStatus::Error;
                target.assigned = None;
            }
            ActionStatus::Downloaded => target.status = UpdateStatus::InSync,
            _ => {
                target.installed = Some(action.set);
                if action.download_only {
                    target.assigned = Some(action.set);
                }
                if target.assigned == target.installed {
                    target.status = UpdateStatus::InSync;
                }
            }
        }
    }

    pub fn close_canceled(&mut self, index: usize) {
        self.actions[index].note(ActionStatus::Canceled);
        self.actions[index].active = false;
        let index = self.actions[index].target;
        let oldest = self.actions.iter().find(|action| action.target == index && action.active);
        let target = &mut self.targets[index];
        target.assigned = oldest.map_or(target.installed, |oldest| Some(oldest.set));
        if oldest.is_none() {
            target.status = UpdateStatus::InSync;
        }
    }

    /// A3.
    fn assign(&mut self, target: usize, set: usize) -> Result<(), Kind> {
        self.check_set(set)?;
        let Some(target) = self.nth_target(target) else { return Ok(()) };
        if self.targets[target].assigned == Some(set) {
            return Ok(());
        }
        self.supersede(target);
        self.cancel_scheduled(target);
        self.actions.push(Action {
            target,
            set,
            of: None,
            download_only: false,
            weight: 1000,
            status: if self.flow { ActionStatus::WaitForConfirmation } else { ActionStatus::Running },
            active: true,
            rows: 1,
        });
        self.targets[target].assigned = Some(set);
        self.targets[target].status = UpdateStatus::Pending;
        Ok(())
    }

    /// What is under way gives way to another set.
    pub fn supersede(&mut self, target: usize) {
        for action in self.actions.iter_mut().filter(|action| action.target == target && action.active) {
            if self.autoclose {
                action.note(ActionStatus::Canceled);
                action.active = false;
            } else if action.status != ActionStatus::Canceling {
                action.note(ActionStatus::Canceling);
            }
        }
    }

    /// What is scheduled gives way to another set, without a word.
    pub fn cancel_scheduled(&mut self, target: usize) {
        for action in self.actions.iter_mut().filter(|action| action.target == target) {
            if action.status == ActionStatus::Scheduled {
                action.status = ActionStatus::Canceled;
            }
        }
    }

    fn leave(&mut self, target: usize) {
        self.targets[target].exists = false;
        self.actions.retain(|action| action.target != target);
        for group in self.rollouts.iter_mut().flat_map(|rollout| &mut rollout.groups) {
            group.members.retain(|member| *member != target);
        }
    }

    /// A2.
    fn invalidate(&mut self, set: usize, cancelation: Cancelation) {
        use RolloutStatus::*;
        self.sets[set] = false;
        if cancelation == Cancelation::None {
            return;
        }
        let force = cancelation == Cancelation::Force;
        for rollout in self.rollouts.iter_mut().filter(|rollout| rollout.set == set) {
            if matches!(
                rollout.status,
                Creating | Ready | Paused | Starting | Running | WaitingForApproval | ApprovalDenied
            ) {
                rollout.status = if force { Deleting } else { Stopping };
            }
        }
        for index in 0..self.actions.len() {
            let action = &mut self.actions[index];
            if action.set != set || !action.active {
                continue;
            }
            if action.status != ActionStatus::Canceling {
                action.note(ActionStatus::Canceling);
            }
            if force {
                self.close_canceled(index);
            }
        }
    }

    pub fn statuses(&self, rollout: usize, group: Option<usize>) -> Vec<ActionStatus> {
        let wanted = |action: &&Action| {
            action.of.is_some_and(|(of, in_group)| of == rollout && group.is_none_or(|group| group == in_group))
        };
        self.actions.iter().filter(wanted).map(|action| action.status).collect()
    }

    /// B7, of the whole rollout or one of its groups.
    pub fn counters(&self, rollout: usize, group: Option<usize>) -> Counters {
        use ActionStatus::*;
        let of = &self.rollouts[rollout];
        let total = group.map_or(of.total, |group| of.groups[group].total);
        let statuses = self.statuses(rollout, group);
        let mut counters = Counters { not_started: total - statuses.len() as i64, ..Counters::default() };
        for status in statuses {
            *match status {
                Scheduled => &mut counters.scheduled,
                Error => &mut counters.error,
                Finished => &mut counters.finished,
                Canceled => &mut counters.cancelled,
                Downloaded if of.download_only => &mut counters.finished,
                _ => &mut counters.running,
            } += 1;
        }
        counters
    }
}

impl Target {
    fn new(created_at: i64) -> Target {
        Target { exists: true, created_at, status: UpdateStatus::Unknown, assigned: None, installed: None }
    }
}

impl Action {
    /// Takes a status and reports it.
    pub fn note(&mut self, status: ActionStatus) {
        self.status = status;
        self.rows += 1;
    }
}
