//! What the scheduler does to the reference, written from semantics.md B2 to B6 alone.
//!
//! One rollout goes on until it rests, then the next one, until all rest. Two rules are ours to choose: a group that has
//! failed, or pauses the rollout, lets no later group of the same look start another; and with no group running, the first
//! that is scheduled starts if none follows the last one that was started.

use kettle_domain::{
    actions::ActionStatus,
    rollouts::{GroupStatus, RolloutStatus, SuccessAction},
    targets::UpdateStatus,
};

use super::reference::{Action, Group, Reference, Source};

const PERIOD: i64 = 60_000;

impl Reference {
    pub fn tick(&mut self) {
        loop {
            let mut changed = false;
            for rollout in 0..self.rollouts.len() {
                while self.rollouts[rollout].exists && self.work_on(rollout) {
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Whether it did something.
    fn work_on(&mut self, rollout: usize) -> bool {
        match self.rollouts[rollout].status {
            RolloutStatus::Creating => self.fill(rollout),
            RolloutStatus::Ready if self.rollouts[rollout].start_at.is_some_and(|at| at <= self.now) => {
                self.rollouts[rollout].status = RolloutStatus::Starting;
            }
            RolloutStatus::Starting => self.start(rollout),
            RolloutStatus::Running => return self.involve(rollout) || self.evaluate(rollout),
            RolloutStatus::Stopping => {
                self.wind_up(rollout);
                for action in self.actions.iter_mut().filter(|action| action.is_of(rollout) && action.active) {
                    if action.status != ActionStatus::Canceling {
                        action.note(ActionStatus::Canceling);
                    }
                }
                self.rollouts[rollout].status = RolloutStatus::Stopped;
            }
            RolloutStatus::Deleting => {
                self.wind_up(rollout);
                if !self.actions.iter().any(|action| action.is_of(rollout)) {
                    self.rollouts[rollout].exists = false;
                    return true;
                }
                for index in 0..self.actions.len() {
                    if self.actions[index].is_of(rollout) && self.actions[index].active {
                        self.close_canceled(index);
                    }
                }
                self.rollouts[rollout].status = RolloutStatus::Deleted;
            }
            _ => return false,
        }
        true
    }

    /// B6: drops what is scheduled and ends the groups.
    fn wind_up(&mut self, rollout: usize) {
        self.actions.retain(|action| !action.is_of(rollout) || action.status != ActionStatus::Scheduled);
        for group in &mut self.rollouts[rollout].groups {
            if group.status != GroupStatus::Error {
                group.status = GroupStatus::Finished;
            }
        }
    }

    /// B2.
    fn fill(&mut self, rollout: usize) {
        for group in 0..self.rollouts[rollout].groups.len() {
            if self.rollouts[rollout].groups[group].status == GroupStatus::Ready {
                continue;
            }
            let of = &self.rollouts[rollout];
            let candidates: Vec<usize> = (0..self.targets.len())
                .filter(|target| self.is_candidate(rollout, group, *target))
                .filter(|target| !of.groups.iter().any(|group| group.members.contains(target)))
                .collect();
            let own = &of.groups[group];
            let mut to_serve = 100.0;
            for earlier in of.groups[..group].iter().filter(|earlier| earlier.filter == own.filter) {
                to_serve -= f64::from(earlier.share);
            }
            let percent = if to_serve <= 1.0 { 100.0 } else { (f64::from(own.share * 100.0) / to_serve).min(100.0) };
            let wanted = (percent * candidates.len() as f64 / 100.0 + 0.5).floor() as usize;
            let own = &mut self.rollouts[rollout].groups[group];
            own.members = candidates.into_iter().take(wanted).collect();
            own.total = own.members.len() as i64;
            own.status = GroupStatus::Ready;
        }
        let of = &mut self.rollouts[rollout];
        if of.dynamic && of.groups.last().is_some_and(|last| !last.dynamic) {
            of.add_group(GroupStatus::Ready);
        }
        of.status = if self.approval { RolloutStatus::WaitingForApproval } else { RolloutStatus::Ready };
        of.total = of.groups.iter().map(|group| group.total).sum();
        of.looked_at = 0;
    }

    fn is_candidate(&self, rollout: usize, group: usize, target: usize) -> bool {
        let of = &self.rollouts[rollout];
        let target_of = &self.targets[target];
        match of.source {
            Source::Retry(retried) => target_of.exists && self.failed_in(retried, target),
            Source::Filter(filter) => {
                self.finds(filter, target)
                    && of.groups[group].filter.is_none_or(|filter| self.finds(filter, target))
                    && target_of.created_at <= of.created_at
            }
        }
    }

    /// B3, STARTING.
    fn start(&mut self, rollout: usize) {
        for group in 0..self.rollouts[rollout].groups.len() {
            for target in self.rollouts[rollout].groups[group].members.clone() {
                self.schedule(rollout, group, target);
            }
            self.rollouts[rollout].groups[group].status = GroupStatus::Scheduled;
        }
        self.start_group(rollout, 0);
        self.rollouts[rollout].status = RolloutStatus::Running;
        self.rollouts[rollout].looked_at = 0;
    }

    fn schedule(&mut self, rollout: usize, group: usize, target: usize) {
        self.cancel_scheduled(target);
        let of = &self.rollouts[rollout];
        self.actions.push(Action {
            target,
            set: of.set,
            of: Some((rollout, group)),
            download_only: of.download_only,
            weight: of.weight,
            status: ActionStatus::Scheduled,
            active: false,
            rows: 0,
        });
    }

    pub fn start_child(&mut self, rollout: usize, parent: usize) {
        let child = self.rollouts[rollout].groups.get(parent + 1);
        if child.is_some_and(|child| child.status == GroupStatus::Scheduled) {
            self.start_group(rollout, parent + 1);
        }
    }

    fn start_group(&mut self, rollout: usize, group: usize) {
        for index in 0..self.actions.len() {
            let action = &self.actions[index];
            if action.of == Some((rollout, group)) && action.status == ActionStatus::Scheduled {
                self.start_action(index, self.rollouts[rollout].groups[group].confirm);
            }
        }
        self.rollouts[rollout].groups[group].status = GroupStatus::Running;
    }

    /// B6, start of a group.
    fn start_action(&mut self, index: usize, confirm: bool) {
        let (target, set) = (self.actions[index].target, self.actions[index].set);
        if self.targets[target].assigned == Some(set) {
            self.actions[index].note(ActionStatus::Finished);
            return;
        }
        self.supersede(target);
        let waits = self.flow && confirm;
        self.actions[index].note(if waits { ActionStatus::WaitForConfirmation } else { ActionStatus::Running });
        self.actions[index].active = true;
        self.targets[target].assigned = Some(set);
        self.targets[target].status = UpdateStatus::Pending;
    }

    /// B5. Whether it found targets, or made room for some.
    fn involve(&mut self, rollout: usize) -> bool {
        let of = &mut self.rollouts[rollout];
        if !of.dynamic || self.now - of.looked_at < PERIOD {
            return false;
        }
        let group = of.groups.len() - 1;
        let last = &of.groups[group];
        let free = last.capacity() - last.total;
        if free <= 0 || last.status == GroupStatus::Finished {
            of.add_group(GroupStatus::Scheduled);
            return true;
        }
        let Source::Filter(filter) = of.source else { unreachable!("retries are not dynamic") };
        let joins = |target: &usize| {
            let is_later = |action: &Action| action.of.is_some_and(|(of, _)| of >= rollout);
            let involved = self.actions.iter().any(|action| action.target == *target && is_later(action));
            self.finds(filter, *target) && !involved
        };
        let found: Vec<usize> = (0..self.targets.len()).filter(joins).take(free as usize).collect();
        let of = &mut self.rollouts[rollout];
        if found.is_empty() {
            of.looked_at = self.now;
            return false;
        }
        of.total += found.len() as i64;
        let last = &mut of.groups[group];
        last.total += found.len() as i64;
        let (confirm, runs) = (last.confirm, last.status == GroupStatus::Running);
        for target in found {
            self.schedule(rollout, group, target);
            if runs {
                self.start_action(self.actions.len() - 1, confirm);
            }
        }
        true
    }

    /// B4. Whether it changed something.
    fn evaluate(&mut self, rollout: usize) -> bool {
        let running = |group: &usize| self.rollouts[rollout].groups[*group].status == GroupStatus::Running;
        let running: Vec<usize> = (0..self.rollouts[rollout].groups.len()).filter(running).collect();
        let before = self.fingerprint(rollout);
        if running.is_empty() && self.trigger_next(rollout).is_ok() && self.fingerprint(rollout) == before {
            // None follows the last one that was started.
            let first = self.rollouts[rollout].groups.iter().position(|group| group.status == GroupStatus::Scheduled);
            first.into_iter().for_each(|first| self.start_group(rollout, first));
        }
        let mut pauses = false;
        for (place, group) in running.iter().copied().enumerate() {
            self.recount(rollout, group);
            let last_running = place + 1 == running.len();
            pauses |= self.evaluate_group(rollout, group, last_running, pauses);
        }
        let of = &mut self.rollouts[rollout];
        let open = |group: &Group| matches!(group.status, GroupStatus::Running | GroupStatus::Scheduled);
        if !of.groups.iter().any(open) {
            of.status = RolloutStatus::Finished;
        } else if pauses {
            of.status = RolloutStatus::Paused;
        }
        self.fingerprint(rollout) != before
    }

    fn fingerprint(&self, rollout: usize) -> (RolloutStatus, i64, Vec<(GroupStatus, i64)>) {
        let of = &self.rollouts[rollout];
        (of.status, of.total, of.groups.iter().map(|group| (group.status, group.total)).collect())
    }

    fn recount(&mut self, rollout: usize, group: usize) {
        let acted_on = self.statuses(rollout, Some(group)).len();
        let of = &mut self.rollouts[rollout];
        let own = &mut of.groups[group];
        let total = if own.dynamic { acted_on } else { own.members.len() } as i64;
        of.total -= own.total - total;
        own.total = total;
    }

    /// Whether it pauses the rollout.
    fn evaluate_group(&mut self, rollout: usize, group: usize, last_running: bool, paused: bool) -> bool {
        use ActionStatus::{Canceled, Downloaded, Error, Finished};
        let own = &self.rollouts[rollout].groups[group];
        let is_last = group + 1 == self.rollouts[rollout].groups.len();
        let total = if own.dynamic && last_running { own.capacity() } else { own.total };
        let statuses = self.statuses(rollout, Some(group));
        let errors = statuses.iter().filter(|status| **status == Error).count() as i64;
        if total > 0 && errors * 100 > own.conditions.error * total {
            self.rollouts[rollout].groups[group].status = GroupStatus::Error;
            return true;
        }
        let mut pauses = false;
        if self.succeeded(rollout, group, total) && !paused {
            let next = self.rollouts[rollout].groups.get(group + 1);
            match own.conditions.success_action {
                SuccessAction::NextGroup => self.start_child(rollout, group),
                SuccessAction::Pause => pauses = next.is_some_and(|next| next.status == GroupStatus::Scheduled),
            }
        }
        let of = &mut self.rollouts[rollout];
        let over = |status: &ActionStatus| {
            matches!(status, Error | Finished | Canceled) || (of.download_only && *status == Downloaded)
        };
        if !(is_last && of.groups[group].dynamic) && statuses.iter().all(over) {
            of.groups[group].status = GroupStatus::Finished;
        }
        pauses
    }

    /// B4, 3: whether as many of `total` targets as the group needs have it.
    pub fn succeeded(&self, rollout: usize, group: usize, total: i64) -> bool {
        let of = &self.rollouts[rollout];
        let wanted = if of.download_only { ActionStatus::Downloaded } else { ActionStatus::Finished };
        let done = self.statuses(rollout, Some(group)).iter().filter(|status| **status == wanted).count() as i64;
        total == 0 || done * 100 >= of.groups[group].conditions.success * total
    }
}

impl super::reference::Rollout {
    /// Another dynamic group like the last one.
    fn add_group(&mut self, status: GroupStatus) {
        let last = &self.groups[self.groups.len() - 1];
        let group = Group {
            status,
            total: 0,
            share: if last.dynamic { last.share } else { last.total as f32 },
            filter: last.filter,
            dynamic: true,
            conditions: last.conditions,
            confirm: last.confirm,
            members: Vec::new(),
        };
        self.groups.push(group);
    }
}

impl Group {
    fn capacity(&self) -> i64 {
        (self.share as i64).max(1)
    }
}

impl Action {
    fn is_of(&self, rollout: usize) -> bool {
        self.of.is_some_and(|(of, _)| of == rollout)
    }
}
