//! Random sequences of calls, by operators and devices, against a reference of the state machine of actions: after each
//! call the whole state that can be observed is compared. A failure is shrunk to the fewest calls that show it.

mod reference;
mod steps;

use std::sync::atomic::{AtomicU32, Ordering};

use kettle_db::sea_orm::QueryResult;
use kettle_domain::{
    Kind,
    actions::{
        self, ActionStatus, ActionType, Confirmation, Feedback, Request, Selected, SelectedOfTarget, WindowText,
    },
    distribution_sets::{self, Cancelation},
    targets::{UpdateStatus, auto_confirm},
};
use proptest::test_runner::TestCaseError;

use self::{
    reference::{Action, Answer, QUOTA, Reference, Target},
    steps::{By, SETS, Step, TARGETS, Urgency, Work, sequences},
};
use super::{
    model::{holds, kind, same, set, update_status},
    *,
};

const LENGTH: usize = 140;
/// The id of no action.
const NOBODY: i64 = 1 << 40;

#[test]
fn actions_go_as_the_reference_says_on_sqlite() {
    check(Engine::Sqlite, 10);
}

#[test]
fn actions_go_as_the_reference_says_on_postgres() {
    check(Engine::Postgres, 3);
}

/// One sequence per seed, each in a tenant of its own.
fn check(engine: Engine, seeds: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(Store::migrated(engine));
    let tenants = AtomicU32::new(0);
    model::each(0..seeds, &sequences(LENGTH), |seed, sequence| {
        let tenant = format!("CASE{}", tenants.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(follow(&store, &tenant, sequence, seed % 2 == 0)).err()
    });
}

/// Runs a sequence, then closes all that is still active.
async fn follow(store: &Store, tenant: &str, sequence: &[Step], by_operator: bool) -> Result<(), TestCaseError> {
    let mut world = World::start(store, tenant).await;
    for step in sequence {
        world.step(step).await?;
    }
    world.way_out(by_operator).await
}

/// The reference beside a node of ours.
struct World<'s> {
    store: &'s Store,
    node: Node,
    device: Ctx,
    sets: Vec<i64>,
    /// The ids of the targets; 0 for one that is deleted.
    targets: Vec<i64>,
    /// The ids of the actions that are there, oldest first.
    actions: Vec<i64>,
    /// The ids of all actions there ever were, by number.
    made: Vec<i64>,
    reference: Reference,
    seen: State,
}

/// What can be observed, with targets, sets and actions by number.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    targets: Vec<Target>,
    actions: Vec<ActionState>,
}

#[derive(Clone, Debug, PartialEq)]
struct ActionState {
    number: usize,
    target: usize,
    set: usize,
    action_type: ActionType,
    status: ActionStatus,
    active: bool,
    last_code: Option<i32>,
    rows: usize,
    newest: ActionStatus,
}

impl From<&Action> for ActionState {
    fn from(action: &Action) -> ActionState {
        ActionState {
            number: action.number,
            target: action.target,
            set: action.set,
            action_type: action.action_type,
            status: action.status,
            active: action.active,
            last_code: action.last_code,
            rows: action.rows.len(),
            newest: action.rows[action.rows.len() - 1],
        }
    }
}

impl<'s> World<'s> {
    async fn start(store: &'s Store, tenant: &str) -> World<'s> {
        let mut settings = settings();
        settings.quotas.actions_per_target = QUOTA as i64;
        let node = Node::start_with(&store.db, settings).await;
        let node = Node { ctx: Ctx::system(&node.services, Tenant::new(tenant)), ..node };
        tenants::ensure(&node.services, &node.ctx.tenant).await.unwrap();
        let created = (0..TARGETS).map(|n| named(&controller_id(n))).collect();
        let created = targets::create(&node.ctx, created).await.unwrap();
        let mut sets = Vec::new();
        for (n, migration_step) in SETS.into_iter().enumerate() {
            sets.push(set(&node.ctx, n, migration_step).await);
        }
        let reference = Reference::new(TARGETS, &SETS);
        World {
            store,
            device: Ctx::device(&node.services, node.ctx.tenant.clone()),
            targets: created.iter().map(|shown| shown.target.id).collect(),
            seen: State { targets: reference.targets.clone(), actions: Vec::new() },
            actions: Vec::new(),
            made: Vec::new(),
            sets,
            node,
            reference,
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.reference.now += 1000;
        self.node.clock.advance(1000);
        let answer = self.run(step).await;
        let seen = self.state().await;
        let valid: Vec<bool> = self.reference.sets.iter().map(|set| set.valid).collect();
        let expected = self.reference.run(step);
        for number in self.sets.len()..self.reference.sets.len() {
            let new = set(&self.node.ctx, number, self.reference.sets[number].migration_step).await;
            self.sets.push(new);
        }
        self.node.clock.advance(self.reference.now - self.node.ctx.now());
        let answer = answer.map(|answer| match answer {
            Answer::Offer { next, installed, request_attributes } => {
                let number =
                    |id: usize| self.actions.iter().position(|known| *known == id as i64).unwrap_or(usize::MAX);
                let next = next.map(|(id, kind)| (number(id), kind));
                Answer::Offer { next, installed: installed.map(number), request_attributes }
            }
            other => other,
        });
        let before = std::mem::replace(&mut self.seen, seen);
        let now = State {
            targets: self.reference.targets.clone(),
            actions: self.reference.actions.iter().map(ActionState::from).collect(),
        };
        same(step, "the answer", &answer, &expected)?;
        same(step, "the targets", &self.seen.targets, &now.targets)?;
        same(step, "the actions", &self.seen.actions, &now.actions)?;
        self.invariants(step, &before)?;
        self.invariants_of_ends(step, &before, &valid)
    }

    /// What holds whatever the reference says.
    fn invariants(&self, step: &Step, before: &State) -> Result<(), TestCaseError> {
        use ActionStatus::*;
        for action in &self.seen.actions {
            let open = matches!(action.status, Running | Retrieved | Canceling | WaitForConfirmation);
            holds(step, !action.active || open, "an active action is in an open state", action)?;
            let reopened = action.active && before.actions.iter().any(|b| b.number == action.number && !b.active);
            holds(step, !reopened, "a closed action stays closed", action)?;
            let failed = self.reference.past[action.target].failed;
            let assigned = self.seen.targets[action.target].assigned.is_some();
            let excused = failed || assigned || !action.active;
            holds(step, excused, "without a failure, a target with an active action has an assignment", action)?;
        }
        let under_way = |state: &State, target: usize| {
            let counts =
                |a: &&ActionState| a.target == target && a.active && a.status != Canceling && !self.is_step(a.set);
            state.actions.iter().filter(counts).count()
        };
        if let Step::Assign { targets, set, .. } = step {
            let new = self.new_actions(before);
            for target in targets.iter().copied().filter(|target| new.iter().any(|a| a.target == *target)) {
                let (count, expected) = (under_way(&self.seen, target), usize::from(!SETS[*set]));
                holds(step, count == expected, "an assignment puts aside all but migration steps", &count)?;
            }
        }
        Ok(())
    }

    /// What holds of deleted actions, invalid sets and targets that nothing is done with any more.
    fn invariants_of_ends(&self, step: &Step, before: &State, valid: &[bool]) -> Result<(), TestCaseError> {
        if step.forgets() {
            holds(step, self.seen.targets == before.targets, "deleting actions changes no target", &self.seen)?;
            let untouched = self.seen.actions.iter().all(|action| before.actions.contains(action));
            holds(step, untouched, "deleting actions changes no other action", &self.seen)?;
        }
        for new in self.new_actions(before) {
            holds(step, valid[new.set], "an invalid set is not assigned", new)?;
        }
        if let Step::Invalidate { set, cancelation } = step {
            let set = self.reference.places[*set];
            for action in self.seen.actions.iter().filter(|action| action.set == set && action.active) {
                let canceling = *cancelation == Cancelation::Soft && action.status == ActionStatus::Canceling;
                let goes_on = *cancelation == Cancelation::None;
                holds(step, goes_on || canceling, "what is invalidated is cancelled, or closed by force", action)?;
            }
        }
        for (number, target) in self.seen.targets.iter().enumerate() {
            let of_target = || self.seen.actions.iter().filter(|action| action.target == number);
            holds(step, of_target().count() <= QUOTA, "a target has no more actions than it may", &number)?;
            let busy = of_target().any(|action| action.active);
            let excused = busy || self.reference.past[number].left_pending;
            let pending = target.status == UpdateStatus::Pending;
            holds(step, !pending || excused, "a pending target has an active action, or it was deleted", target)?;
        }
        Ok(())
    }

    fn new_actions<'a>(&'a self, before: &'a State) -> Vec<&'a ActionState> {
        let known = |action: &ActionState| before.actions.iter().any(|b| b.number == action.number);
        self.seen.actions.iter().filter(|action| !known(action)).collect()
    }

    fn is_step(&self, set: usize) -> bool {
        self.reference.sets[set].migration_step
    }

    /// From wherever the sequence ended, nothing is left to do once the device has done what it is offered, poll by poll,
    /// or the operator has cancelled that. An action takes two polls at most: to be confirmed, and to be closed.
    async fn way_out(&mut self, by_operator: bool) -> Result<(), TestCaseError> {
        for target in 0..TARGETS {
            let poll = Step::Poll { target };
            for polls in 0.. {
                self.step(&poll).await?;
                let Some(next) = self.reference.next(target) else { break };
                holds(&poll, polls < 2 * QUOTA, "there is an end to what is offered", &self.seen)?;
                let nth = self.reference.actions[next + 1..].iter().filter(|a| a.target == target).count();
                let closed = actions::Execution::Closed;
                let work = match (by_operator, self.reference.actions[next].status) {
                    (true, ActionStatus::Canceling) => Work::ForceQuit,
                    (true, _) => Work::Cancel,
                    (false, ActionStatus::WaitForConfirmation) => {
                        Work::Confirm { by: By::Device, confirmed: true, code: None }
                    }
                    (false, ActionStatus::Canceling) => Work::CancelFeedback { execution: closed, failed: false },
                    (false, _) => {
                        Work::Feedback { execution: closed, failed: false, code: None, when: steps::When::NotSaid }
                    }
                };
                self.step(&Step::Work { target, pick: steps::Pick { own: true, nth }, work }).await?;
            }
        }
        holds(&Step::Lapse, !self.seen.actions.iter().any(|a| a.active), "all can be closed", &self.seen)
    }

    /// The step on our side. An offer names actions by id.
    async fn run(&self, step: &Step) -> Result<Answer, Kind> {
        let Node { ctx, clock, .. } = &self.node;
        match step {
            Step::Assign { targets, set, urgency, weight, confirmation, windowed } => {
                let window = || WindowText {
                    schedule: "0 30 0 15 11 ? 2023".into(),
                    duration: "01:00:00".into(),
                    timezone: "+01:00".into(),
                };
                let request = |target: &usize| Request {
                    weight: *weight,
                    confirmation_required: *confirmation,
                    window: windowed.then(window),
                    ..self.request(*target, *set, *urgency)
                };
                self.assign(targets.iter().map(request).collect(), false).await
            }
            Step::AssignOffline { target, set } => {
                self.assign(vec![self.request(*target, *set, Urgency::Forced)], true).await
            }
            Step::Flow(on) => self.configure("user.confirmation.flow.enabled", *on).await,
            Step::Autoclose(on) => self.configure("repository.actions.autoclose.enabled", *on).await,
            Step::Lapse => {
                clock.advance((NOW + reference::LAPSE - ctx.now()).max(0));
                Ok(Answer::Done)
            }
            Step::AutoConfirm { by, target, on } => {
                let id = controller_id(*target);
                let wanted = auto_confirm::Activate::default();
                done(match (by, on) {
                    (By::Operator, true) => auto_confirm::activate(ctx, &id, wanted).await,
                    (By::Operator, false) => auto_confirm::deactivate(ctx, &id).await,
                    (By::Device, true) => auto_confirm::activate_by_device(&self.device, &id, wanted).await,
                    (By::Device, false) => auto_confirm::deactivate_by_device(&self.device, &id).await,
                })
            }
            Step::Poll { target } => {
                let view = self.node.poll(&controller_id(*target)).await.view;
                Ok(Answer::Offer {
                    next: view.next.as_ref().map(|next| (next.id as usize, next.kind)),
                    installed: view.installed_action.map(|id| id as usize),
                    request_attributes: view.request_attributes,
                })
            }
            Step::Work { target, pick, work } => {
                let id = self.picked(*target, *pick);
                self.work(&controller_id(*target), id, work).await
            }
            Step::Delete { target, pick } => done(actions::delete(ctx, self.picked(*target, *pick)).await),
            Step::DeleteFound { active } => {
                done(actions::delete_selected(ctx, Selected::Search(format!("active=={active}"))).await)
            }
            Step::DeleteOfTarget { target, pick } => {
                let selected = SelectedOfTarget::Ids(vec![self.picked(*target, *pick)]);
                done(actions::delete_of_target(ctx, &controller_id(*target), selected).await)
            }
            Step::KeepNewest { target, keep } => {
                let selected = SelectedOfTarget::AllButNewest(*keep);
                done(actions::delete_of_target(ctx, &controller_id(*target), selected).await)
            }
            Step::DeleteTarget { target } => done(targets::delete(ctx, &controller_id(*target)).await),
            Step::Invalidate { set, cancelation } => {
                let set = self.sets[self.reference.places[*set]];
                done(distribution_sets::invalidate(ctx, set, *cancelation).await)
            }
            Step::Percent(percent) => {
                self.node.configure("action.cleanup.onQuotaHit.percent", &percent.to_string()).await;
                Ok(Answer::Done)
            }
            Step::CleanUp { expiry, statuses } => {
                let names: Vec<String> = statuses.iter().map(|status| status.name().to_ascii_uppercase()).collect();
                self.node.configure("action.cleanup.auto.status", &names.join(",")).await;
                self.node.configure("action.cleanup.auto.expiry", &expiry.to_string()).await;
                self.node.clean_up().await;
                // Not again when the next sequence cleans up.
                self.node.configure("action.cleanup.auto.expiry", "-1").await;
                Ok(Answer::Done)
            }
        }
    }

    fn picked(&self, target: usize, pick: steps::Pick) -> i64 {
        self.reference.pick(target, pick).map_or(NOBODY, |index| self.actions[index])
    }

    async fn work(&self, target: &str, id: i64, work: &Work) -> Result<Answer, Kind> {
        let (ctx, device) = (&self.node.ctx, &self.device);
        let report =
            |execution, failed, code, timestamp| Feedback { execution, failed, code, details: vec![], timestamp };
        done(match *work {
            Work::Cancel => actions::cancel(ctx, target, id).await,
            Work::ForceQuit => actions::force_quit(ctx, target, id).await,
            Work::Force => actions::force(ctx, target, id, true).await.map(|_| ()),
            Work::Confirm { by, confirmed, code } => {
                let answer = Confirmation { confirmed, code, details: vec![] };
                match by {
                    By::Operator => actions::confirm(ctx, target, id, answer).await,
                    By::Device => actions::confirmation_feedback(device, target, id, answer).await,
                }
            }
            Work::ReadDeployment => actions::deployment(device, target, id, 0).await.map(|_| ()),
            Work::ReadConfirmation => actions::confirmation(device, target, id, 0).await.map(|_| ()),
            Work::ReadCancel => actions::canceling(device, target, id).await,
            Work::ReadInstalled => actions::installed(device, target, id, 0).await.map(|_| ()),
            Work::Feedback { execution, failed, code, when } => {
                let feedback = report(execution, failed, code, when.at(ctx.now()));
                actions::update_feedback(device, target, id, feedback).await
            }
            Work::CancelFeedback { execution, failed } => {
                actions::cancel_feedback(device, target, id, report(execution, failed, Some(7), None)).await
            }
        })
    }

    fn request(&self, target: usize, set: usize, urgency: Urgency) -> Request {
        Request {
            controller_id: controller_id(target),
            set: self.sets[self.reference.places[set]],
            action_type: urgency.action_type(),
            forced_time: urgency.forced_time(),
            weight: None,
            confirmation_required: None,
            window: None,
        }
    }

    async fn assign(&self, requests: Vec<Request>, offline: bool) -> Result<Answer, Kind> {
        let outcome = actions::assign(&self.node.ctx, requests, offline).await.map_err(|error| error.kind)?;
        Ok(Answer::Assigned { assigned: outcome.assigned, already: outcome.already_assigned })
    }

    async fn configure(&self, key: &str, on: bool) -> Result<Answer, Kind> {
        done(configuration::put(&self.node.ctx, vec![(key.into(), configuration::Value::Boolean(on))]).await)
    }

    async fn state(&mut self) -> State {
        let number = |ids: &[i64], id: i64| ids.iter().position(|known| *known == id).unwrap();
        let tenant = self.node.ctx.tenant_id().to_owned();
        let sql = "SELECT t.id, t.controller_id, t.update_status, t.assigned_distribution_set, t.installed_distribution_set, t.install_date, \
                   t.request_controller_attributes, \
                   (SELECT count(*) FROM sp_target_conf_status c WHERE c.target = t.id) AS auto_confirm \
                   FROM sp_target t WHERE t.tenant = $1 ORDER BY t.id";
        let rows = self.store.rows(sql, [tenant.as_str().into()]).await;
        let set = |id: Option<i64>| id.map(|id| number(&self.sets, id));
        let shown = |row: &QueryResult| Target {
            exists: true,
            status: update_status(row.try_get("", "update_status").unwrap()),
            assigned: set(row.try_get("", "assigned_distribution_set").unwrap()),
            installed: set(row.try_get("", "installed_distribution_set").unwrap()),
            installed_at: row.try_get("", "install_date").unwrap(),
            request_attributes: row.try_get("", "request_controller_attributes").unwrap(),
            auto_confirm: row.try_get::<i64>("", "auto_confirm").unwrap() == 1,
        };
        let mut targets = vec![Target::absent(); TARGETS];
        self.targets = vec![0; TARGETS];
        for row in &rows {
            let controller: String = row.try_get("", "controller_id").unwrap();
            let place = (0..TARGETS).find(|n| controller_id(*n) == controller).unwrap();
            targets[place] = shown(row);
            self.targets[place] = row.try_get("", "id").unwrap();
        }
        let sql = "SELECT a.id, a.target, a.distribution_set, a.action_type, a.status, a.active, a.last_action_status_code, \
                   (SELECT count(*) FROM sp_action_status s WHERE s.action = a.id) AS n, \
                   (SELECT s.status FROM sp_action_status s WHERE s.action = a.id ORDER BY s.id DESC LIMIT 1) AS newest \
                   FROM sp_action a WHERE a.tenant = $1 ORDER BY a.id";
        let rows = self.store.rows(sql, [tenant.into()]).await;
        self.actions = rows.iter().map(|row| row.try_get("", "id").unwrap()).collect();
        for id in &self.actions {
            if !self.made.contains(id) {
                assert!(self.made.iter().all(|made| made < id), "ids of actions grow, also after a deletion");
                self.made.push(*id);
            }
        }
        let actions = rows.iter().map(|row| ActionState {
            number: number(&self.made, row.try_get("", "id").unwrap()),
            target: number(&self.targets, row.try_get("", "target").unwrap()),
            set: number(&self.sets, row.try_get("", "distribution_set").unwrap()),
            action_type: ActionType::from_code(row.try_get("", "action_type").unwrap()),
            status: ActionStatus::from_code(row.try_get("", "status").unwrap()),
            active: row.try_get("", "active").unwrap(),
            last_code: row.try_get("", "last_action_status_code").unwrap(),
            rows: row.try_get::<i64>("", "n").unwrap() as usize,
            newest: ActionStatus::from_code(row.try_get("", "newest").unwrap()),
        });
        State { targets, actions: actions.collect() }
    }
}

fn controller_id(target: usize) -> String {
    format!("d{target}")
}

fn done(result: kettle_domain::Result<()>) -> Result<Answer, Kind> {
    kind(result).map(|()| Answer::Done)
}
