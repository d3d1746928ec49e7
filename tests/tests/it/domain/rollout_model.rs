//! Random sequences of calls, by operators, devices and time, with looks of the scheduler in between, against a reference of
//! the state machines of rollouts and their groups: after each call all that can be observed is compared, after a look at
//! rest. A failure is shrunk to the fewest calls that show it.

mod reference;
mod scheduler;
mod steps;

use std::sync::atomic::{AtomicU32, Ordering};

use kettle_domain::{
    Kind, Listing,
    actions::{self, ActionStatus, ActionType, Confirmation, Execution, Feedback, Request},
    distribution_sets,
    rollouts::{self, Counters, GroupStatus, RolloutStatus},
    settings,
    targets::UpdateStatus,
};
use proptest::test_runner::TestCaseError;

use self::{
    reference::Reference,
    steps::{Call, Conditions, Groups, LETTERS, New, Pick, SETS, Step, TARGETS, What, sequences},
};
use super::{
    model::{holds, kind, same, set, update_status},
    *,
};

const LENGTH: usize = 130;
/// Looks after which a fleet of this size rests.
const LOOKS: usize = 8;
/// One look takes milliseconds.
const PASSES: Duration = Duration::from_secs(20);
/// Rounds after which all rollouts are over, if operators and devices do what they are asked for.
const ROUNDS: usize = 40;

#[test]
fn rollouts_go_as_the_reference_says_on_sqlite() {
    check(Engine::Sqlite, 8);
}

#[test]
fn rollouts_go_as_the_reference_says_on_postgres() {
    check(Engine::Postgres, 2);
}

/// One sequence per seed, each in a tenant of its own, and one of a seed that `KETTLE_TEST_SEED` repeats.
fn check(engine: Engine, seeds: u64) {
    let seed = std::env::var("KETTLE_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("on {engine:?}, KETTLE_TEST_SEED={seed}:");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(Store::migrated(engine));
    let tenants = AtomicU32::new(0);
    model::each((0..seeds).chain([seed]), &sequences(LENGTH), |_, sequence| {
        let tenant = format!("CASE{}", tenants.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(async {
            let result = follow(&store, &tenant, sequence).await;
            // The next case's looks leave them alone.
            store.execute(&format!("UPDATE sp_rollout SET status = {}", RolloutStatus::Stopped.code())).await;
            result.err()
        })
    });
}

/// Runs a sequence, then has all that was begun done.
async fn follow(store: &Store, tenant: &str, sequence: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::start(store, tenant).await;
    for step in sequence {
        world.step(step).await?;
    }
    world.way_out().await
}

/// The reference beside a node of ours.
struct World<'s> {
    store: &'s Store,
    node: Node,
    device: Ctx,
    sets: Vec<i64>,
    targets: Vec<i64>,
    rollouts: Vec<i64>,
    /// The ids of each target's actions, oldest first.
    actions: Vec<Vec<i64>>,
    reference: Reference,
}

/// What can be observed, with all that has an id by its number.
#[derive(Debug, PartialEq)]
struct State {
    targets: Vec<Option<TargetState>>,
    actions: Vec<ActionState>,
    rollouts: Vec<Option<RolloutState>>,
}

#[derive(Debug, PartialEq)]
struct TargetState {
    status: UpdateStatus,
    assigned: Option<usize>,
    installed: Option<usize>,
}

#[derive(Debug, PartialEq)]
struct ActionState {
    target: usize,
    set: usize,
    /// Rollout and group.
    of: Option<(usize, usize)>,
    status: ActionStatus,
    active: bool,
    rows: usize,
}

#[derive(Debug, PartialEq)]
struct RolloutState {
    status: RolloutStatus,
    deleted: bool,
    total: i64,
    counters: Counters,
    groups: Vec<GroupState>,
}

#[derive(Debug, PartialEq)]
struct GroupState {
    status: GroupStatus,
    dynamic: bool,
    total: i64,
    counters: Counters,
    members: Vec<usize>,
}

impl From<&Reference> for State {
    fn from(reference: &Reference) -> State {
        let targets = reference.targets.iter().map(|target| {
            let state = TargetState { status: target.status, assigned: target.assigned, installed: target.installed };
            target.exists.then_some(state)
        });
        let actions = reference.actions.iter().map(|action| ActionState {
            target: action.target,
            set: action.set,
            of: action.of,
            status: action.status,
            active: action.active,
            rows: action.rows,
        });
        let mut actions: Vec<ActionState> = actions.collect();
        actions.sort_by_key(|action| action.target);
        let rollouts = reference.rollouts.iter().enumerate().map(|(number, rollout)| {
            let groups = rollout.groups.iter().enumerate().map(|(group, of)| GroupState {
                status: of.status,
                dynamic: of.dynamic,
                total: of.total,
                counters: reference.counters(number, Some(group)),
                members: of.members.clone(),
            });
            let state = RolloutState {
                status: rollout.status,
                deleted: rollout.status == RolloutStatus::Deleted,
                total: rollout.total,
                counters: reference.counters(number, None),
                groups: groups.collect(),
            };
            rollout.exists.then_some(state)
        });
        State { targets: targets.collect(), actions, rollouts: rollouts.collect() }
    }
}

impl<'s> World<'s> {
    async fn start(store: &'s Store, tenant: &str) -> World<'s> {
        // Batches of two, so that there are several.
        let rollouts = settings::Rollouts { actions_per_transaction: 2, ..Default::default() };
        let node = Node::start_with(&store.db, Settings { rollouts, ..settings() }).await;
        let node = Node { ctx: Ctx::system(&node.services, Tenant::new(tenant)), ..node };
        tenants::ensure(&node.services, &node.ctx.tenant).await.unwrap();
        let created = (0..TARGETS).map(|n| named(&controller_id(n))).collect();
        let created = targets::create(&node.ctx, created).await.unwrap();
        let mut sets = Vec::new();
        for number in 0..SETS {
            sets.push(set(&node.ctx, number, false).await);
        }
        World {
            store,
            device: Ctx::device(&node.services, node.ctx.tenant.clone()),
            targets: created.iter().map(|shown| shown.target.id).collect(),
            rollouts: Vec::new(),
            actions: vec![Vec::new(); TARGETS],
            sets,
            node,
            reference: Reference::new(),
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.reference.now += 1000;
        self.node.clock.advance(1000);
        let answer = self.run(step).await;
        let mut seen = self.state().await;
        if let Step::Tick = step {
            seen = self.rest(seen).await?;
        }
        let expected = self.reference.run(step);
        for number in self.sets.len()..self.reference.sets.len() {
            self.sets.push(set(&self.node.ctx, number, false).await);
        }
        let now = State::from(&self.reference);
        same(step, "the answer", &answer, &expected)?;
        all_same(step, "target", &seen.targets, &now.targets)?;
        all_same(step, "rollout", &seen.rollouts, &now.rollouts)?;
        all_same(step, "action", &seen.actions, &now.actions)?;
        invariants(step, &seen)
    }

    /// Looks until a look changes nothing.
    async fn rest(&mut self, mut seen: State) -> Result<State, TestCaseError> {
        for _ in 0..LOOKS {
            let before = seen;
            self.look().await?;
            seen = self.state().await;
            if seen == before {
                return Ok(seen);
            }
        }
        holds(&Step::Tick, false, "rollouts rest after some looks", &seen).map(|()| seen)
    }

    async fn look(&self) -> Result<(), TestCaseError> {
        let look = tokio::time::timeout(PASSES, rollouts::work_on_all(&self.node.services)).await;
        let ended = look.map_err(|_| TestCaseError::fail("a pass over a rollout does not end"))?;
        ended.map_err(|error| TestCaseError::fail(format!("a pass failed: {error:?}")))
    }

    /// From wherever the sequence ended, all rollouts but dynamic ones end once operators and devices have done what they
    /// are asked for.
    async fn way_out(&mut self) -> Result<(), TestCaseError> {
        use RolloutStatus::*;
        let ended = |status| matches!(status, Finished | Stopped | Deleted | ApprovalDenied);
        for _ in 0..ROUNDS {
            self.step(&Step::Tick).await?;
            let last = self.reference.rollouts.len();
            let left = |number: &usize| {
                let rollout = &self.reference.rollouts[*number];
                rollout.exists && !ended(rollout.status) && !(rollout.dynamic && rollout.status == Running)
            };
            let left: Vec<usize> = (0..last).filter(left).collect();
            if left.is_empty() {
                return Ok(());
            }
            for number in left {
                let call = match self.reference.rollouts[number].status {
                    WaitingForApproval => Call::Approve,
                    Ready => Call::Start,
                    Paused => Call::Resume,
                    _ => continue,
                };
                self.step(&Step::Operate { rollout: Pick(last - 1 - number), call }).await?;
            }
            for target in 0..self.reference.targets.len() {
                let next = self.reference.nth_target(target).and_then(|target| self.reference.next(target));
                if next.is_some() {
                    self.step(&Step::Report { target, what: What::Yes }).await?;
                }
            }
        }
        holds(&Step::Tick, false, "all rollouts end", &State::from(&self.reference).rollouts)
    }

    /// The step on our side.
    async fn run(&mut self, step: &Step) -> Result<(), Kind> {
        let Node { ctx, clock, .. } = &self.node.clone();
        match *step {
            // Looked at below.
            Step::Tick => Ok(()),
            Step::Create(ref new) => {
                let created = kind(rollouts::create(ctx, self.create(new)).await)?;
                self.rollouts.push(created.rollout.id);
                Ok(())
            }
            Step::Operate { rollout, call } => self.operate(ctx, rollout, call).await,
            Step::Report { target, what } => match self.offered(target) {
                Some((target, id, status)) => self.report(&controller_id(target), id, status, what).await,
                None => Ok(()),
            },
            Step::Assign { target, set } => {
                let target = self.reference.nth_target(target);
                let request = Request {
                    controller_id: target.map_or_else(|| "nobody".into(), controller_id),
                    set: self.sets[self.reference.places[set]],
                    action_type: ActionType::Forced,
                    forced_time: 0,
                    weight: None,
                    confirmation_required: None,
                    window: None,
                };
                kind(actions::assign(ctx, vec![request], false).await).map(|_| ())
            }
            Step::Cancel { target } => match self.offered(target) {
                Some((target, id, ActionStatus::Canceling)) => {
                    kind(actions::force_quit(ctx, &controller_id(target), id).await)
                }
                Some((target, id, _)) => kind(actions::cancel(ctx, &controller_id(target), id).await),
                None => Ok(()),
            },
            Step::Join => {
                let new = named(&controller_id(self.targets.len()));
                let created = targets::create(ctx, vec![new]).await.unwrap();
                self.targets.push(created[0].target.id);
                Ok(())
            }
            Step::Leave { target } => match self.reference.nth_target(target) {
                Some(target) => kind(targets::delete(ctx, &controller_id(target)).await),
                None => Ok(()),
            },
            Step::Invalidate { set, cancelation } => {
                let set = self.sets[self.reference.places[set]];
                kind(distribution_sets::invalidate(ctx, set, cancelation).await)
            }
            Step::Pass { ms } => {
                clock.advance(ms);
                Ok(())
            }
            Step::Flow(on) => self.configure("user.confirmation.flow.enabled", on).await,
            Step::Autoclose(on) => self.configure("repository.actions.autoclose.enabled", on).await,
            Step::Approval(on) => self.configure("rollout.approval.enabled", on).await,
        }
    }

    fn create(&self, new: &New) -> rollouts::Create {
        let conditions = |of: &Conditions| rollouts::Conditions {
            success: Some(of.success.to_string()),
            success_action: of.success_action,
            error: Some(of.error.to_string()),
            ..rollouts::Conditions::by_default()
        };
        let (amount_groups, template) = match &new.groups {
            Groups::Amount(amount) => (Some(*amount), None),
            Groups::Dynamic(amount, template) => (Some(*amount), *template),
            Groups::Explicit(..) => (None, None),
        };
        let groups = match &new.groups {
            Groups::Explicit(filter, groups) => {
                let group = |number: usize, filter, percentage, of| rollouts::CreateGroup {
                    name: Some(format!("g{number}")),
                    description: None,
                    filter,
                    percentage,
                    confirmation_required: None,
                    conditions: conditions(of),
                };
                let explicit = groups.iter().enumerate();
                let explicit =
                    explicit.map(|(n, (own, share, of))| group(n, own.then(|| filter.text()), Some(*share), of));
                Some(explicit.chain([group(groups.len(), None, None, &new.conditions)]).collect())
            }
            _ => None,
        };
        let template = template.map(|target_count| rollouts::Template { name_suffix: "-more".into(), target_count });
        rollouts::Create {
            name: Some(format!("wave {}", self.rollouts.len())),
            description: None,
            filter: Some(new.filter.text()),
            set: self.sets[self.reference.places[new.set]],
            action_type: if new.download_only { ActionType::DownloadOnly } else { ActionType::Forced },
            forced_time: None,
            weight: Some(new.weight),
            start_at: new.start_in.map(|start_in| self.node.ctx.now() + start_in),
            dynamic: matches!(new.groups, Groups::Dynamic(..)),
            confirmation_required: new.confirm,
            conditions: conditions(&new.conditions),
            amount_groups,
            template,
            groups,
        }
    }

    async fn operate(&mut self, ctx: &Ctx, rollout: Pick, call: Call) -> Result<(), Kind> {
        let Some(number) = self.reference.pick(rollout) else { return Ok(()) };
        let id = self.rollouts[number];
        kind(match call {
            Call::Start => rollouts::start(ctx, id).await,
            Call::Pause => rollouts::pause(ctx, id).await,
            Call::Resume => rollouts::resume(ctx, id).await,
            Call::TriggerNext => rollouts::trigger_next_group(ctx, id).await,
            Call::Stop => rollouts::stop(ctx, id).await,
            // What deleting again what is deleted does is no matter of this test.
            Call::Delete if self.reference.rollouts[number].status == RolloutStatus::Deleted => Ok(()),
            Call::Delete => rollouts::delete(ctx, id).await,
            Call::Approve => rollouts::decide(ctx, id, true, None).await,
            Call::Deny => rollouts::decide(ctx, id, false, None).await,
            Call::Retry => match rollouts::retry(ctx, id).await {
                Ok(created) => {
                    self.rollouts.push(created.rollout.id);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        })
    }

    /// The target that a step means, and the action that its device is offered.
    fn offered(&self, target: usize) -> Option<(usize, i64, ActionStatus)> {
        let target = self.reference.nth_target(target)?;
        let next = self.reference.next(target)?;
        let nth = self.reference.actions[..next].iter().filter(|action| action.target == target).count();
        Some((target, self.actions[target][nth], self.reference.actions[next].status))
    }

    async fn report(&self, target: &str, id: i64, status: ActionStatus, what: What) -> Result<(), Kind> {
        let device = &self.device;
        let execution = match (status, what) {
            (ActionStatus::Canceling, What::No) => Execution::Rejected,
            (_, What::Yes | What::No) => Execution::Closed,
            (_, What::Proceeding) => Execution::Proceeding,
            (_, What::Downloaded) => Execution::Downloaded,
        };
        let failed = what == What::No;
        let feedback = Feedback { execution, failed, code: None, details: vec![], timestamp: None };
        kind(match status {
            ActionStatus::WaitForConfirmation => {
                let answer = Confirmation { confirmed: !failed, code: None, details: vec![] };
                actions::confirmation_feedback(device, target, id, answer).await
            }
            ActionStatus::Canceling => actions::cancel_feedback(device, target, id, feedback).await,
            _ => actions::update_feedback(device, target, id, feedback).await,
        })
    }

    async fn configure(&self, key: &str, on: bool) -> Result<(), Kind> {
        kind(configuration::put(&self.node.ctx, vec![(key.into(), configuration::Value::Boolean(on))]).await)
    }

    async fn state(&mut self) -> State {
        let number = |ids: &[i64], id: i64| ids.iter().position(|known| *known == id).unwrap();
        let tenant = self.node.ctx.tenant_id().to_owned();
        let sql = "SELECT id, update_status, assigned_distribution_set, installed_distribution_set FROM sp_target \
                   WHERE tenant = $1";
        let mut targets: Vec<Option<TargetState>> = self.targets.iter().map(|_| None).collect();
        for row in self.store.rows(sql, [tenant.as_str().into()]).await {
            let set = |column| row.try_get::<Option<i64>>("", column).unwrap().map(|id| number(&self.sets, id));
            targets[number(&self.targets, row.try_get("", "id").unwrap())] = Some(TargetState {
                status: update_status(row.try_get("", "update_status").unwrap()),
                assigned: set("assigned_distribution_set"),
                installed: set("installed_distribution_set"),
            });
        }
        let sql = "SELECT m.rollout_group, m.target FROM sp_rollout_target_group m \
                   JOIN sp_target t ON t.id = m.target WHERE t.tenant = $1 ORDER BY m.target";
        let members = self.store.rows(sql, [tenant.as_str().into()]).await;
        let (mut rollouts, mut groups) = (Vec::new(), Vec::new());
        for (at, id) in self.rollouts.iter().enumerate() {
            let ctx = &self.node.ctx;
            let shown = match rollouts::get(ctx, *id).await {
                Ok(shown) => shown,
                Err(error) => {
                    assert_eq!(error.kind, Kind::EntityNotFound, "{error}");
                    rollouts.push(None);
                    continue;
                }
            };
            let listing = Listing::new(0, 500, None, None);
            let listed = rollouts::groups::list(ctx, *id, &listing, true).await.unwrap().content;
            groups.extend(listed.iter().enumerate().map(|(group, shown)| (shown.group.id, (at, group))));
            let of_group = |group: i64| {
                let of_group = members.iter().filter(|row| row.try_get::<i64>("", "rollout_group").unwrap() == group);
                of_group.map(|row| number(&self.targets, row.try_get("", "target").unwrap())).collect()
            };
            assert_eq!(shown.rollout.rollout_groups_created, Some(listed.len() as i64), "groups of rollout {at}");
            rollouts.push(Some(RolloutState {
                status: shown.rollout.status(),
                deleted: shown.rollout.deleted == Some(true),
                total: shown.rollout.total(),
                counters: shown.details.unwrap().counters,
                groups: listed
                    .iter()
                    .map(|shown| GroupState {
                        status: shown.group.status(),
                        dynamic: shown.group.is_dynamic,
                        total: shown.group.total(),
                        counters: shown.counters.unwrap(),
                        members: of_group(shown.group.id),
                    })
                    .collect(),
            }));
        }
        let sql = "SELECT a.id, a.target, a.distribution_set, a.rollout, a.rollout_group, a.status, a.active, \
                   (SELECT count(*) FROM sp_action_status s WHERE s.action = a.id) AS n \
                   FROM sp_action a WHERE a.tenant = $1 ORDER BY a.target, a.id";
        self.actions = vec![Vec::new(); self.targets.len()];
        let mut actions = Vec::new();
        for row in self.store.rows(sql, [tenant.into()]).await {
            let target = number(&self.targets, row.try_get("", "target").unwrap());
            self.actions[target].push(row.try_get("", "id").unwrap());
            let group: Option<i64> = row.try_get("", "rollout_group").unwrap();
            let of = group.map(|id| groups.iter().find(|(known, _)| *known == id).unwrap().1);
            let rollout: Option<i64> = row.try_get("", "rollout").unwrap();
            assert_eq!(rollout.map(|id| number(&self.rollouts, id)), of.map(|(rollout, _)| rollout));
            actions.push(ActionState {
                target,
                set: number(&self.sets, row.try_get("", "distribution_set").unwrap()),
                of,
                status: ActionStatus::from_code(row.try_get("", "status").unwrap()),
                active: row.try_get("", "active").unwrap(),
                rows: row.try_get::<i64>("", "n").unwrap() as usize,
            });
        }
        State { targets, actions, rollouts }
    }
}

/// What holds whatever the reference says.
fn invariants(step: &Step, seen: &State) -> Result<(), TestCaseError> {
    for (number, rollout) in seen.rollouts.iter().enumerate() {
        let Some(rollout) = rollout else { continue };
        let counted = [(&rollout.counters, rollout.total)].into_iter();
        for (counters, total) in counted.chain(rollout.groups.iter().map(|group| (&group.counters, group.total))) {
            let Counters { scheduled, running, error, finished, cancelled, not_started } = *counters;
            let sum = scheduled + running + error + finished + cancelled + not_started;
            holds(step, sum == total && not_started >= 0, "all targets of a rollout are counted", rollout)?;
        }
        let mut members: Vec<usize> = rollout.groups.iter().flat_map(|group| group.members.clone()).collect();
        members.sort_unstable();
        holds(step, members.windows(2).all(|two| two[0] < two[1]), "a target is in one group", rollout)?;
        let of_rollout = |action: &&ActionState| action.of.is_some_and(|(of, _)| of == number);
        let targets: Vec<usize> = seen.actions.iter().filter(of_rollout).map(|action| action.target).collect();
        holds(step, targets.windows(2).all(|two| two[0] < two[1]), "a target has one action", rollout)?;
    }
    Ok(())
}

fn all_same<T: std::fmt::Debug + PartialEq>(
    step: &Step,
    what: &str,
    found: &[T],
    expected: &[T],
) -> Result<(), TestCaseError> {
    for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
        same(step, &format!("{what} {number}"), found, expected)?;
    }
    same(step, &format!("the number of {what}s"), &found.len(), &expected.len())
}

fn controller_id(target: usize) -> String {
    format!("{}{target}", LETTERS[target % LETTERS.len()])
}
