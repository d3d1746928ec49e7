//! Assigning distribution sets to targets (semantics.md A3).

use std::collections::{BTreeMap, HashMap, HashSet};

use kettle_cluster::Tx;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};

use super::{
    ActionStatus, ActionType, Model, SERVER_PREFIX, Window, WindowText,
    entity::{self, Column},
    store,
};
use crate::{
    access::{Permission, Scope},
    announcements, commands,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Kind, Result, check_quota},
    target_types,
    targets::{self, UpdateStatus},
    tenants::{self, TenantSettings},
};

const MAX_WEIGHT: i32 = 1000;
/// What the first status of an action says that is not confirmed yet.
pub(super) const WAITING: &str = "Waiting for the confirmation by the device before processing with the deployment";
/// How often an assignment is tried when other transactions are in the way.
const TRIES: u32 = 10;

/// One set for one target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    pub controller_id: String,
    pub set: i64,
    pub action_type: ActionType,
    /// Epoch milliseconds; meant for [`ActionType::TimeForced`] only.
    pub forced_time: i64,
    /// 0 to 1000; the server's default if absent.
    pub weight: Option<i32>,
    /// The tenant's confirmation flow if absent.
    pub confirmation_required: Option<bool>,
    /// When devices may install; at any time if absent.
    pub window: Option<WindowText>,
}

/// A new action, and whose it is.
#[derive(Clone, Debug)]
pub struct Assigned {
    pub action: i64,
    pub controller_id: String,
}

/// How an assignment comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause<'a> {
    /// A user wants it.
    User,
    /// A user reports what was installed by other means.
    Offline,
    /// The target filter of this name assigns its set by itself.
    Filter(&'a str),
}

impl Cause<'_> {
    fn is_offline(self) -> bool {
        self == Cause::Offline
    }

    /// What the first report of a new action says.
    fn message(self, ctx: &Ctx) -> String {
        match self {
            Cause::User | Cause::Offline => format!("Assignment initiated by user '{}'", ctx.actor_name()),
            Cause::Filter(name) => format!("Auto assignment by target filter: {name}"),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub assigned: u64,
    pub already_assigned: u64,
    pub actions: Vec<Assigned>,
}

/// Assigns, all or nothing. Targets that do not exist, or that the caller may not change, are left out silently; targets
/// that have the set count as already assigned. `offline` reports sets that were installed by other means: the actions are
/// finished at once.
pub async fn assign(ctx: &Ctx, requests: Vec<Request>, offline: bool) -> Result<Outcome> {
    ctx.require(Permission::UpdateTarget)?;
    ctx.require(Permission::ReadDistributionSet)?;
    let by_set = check(ctx, requests, offline)?;
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    let settings = settings.ok_or_else(|| Error::not_found("Tenant", ctx.tenant_id()))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(ctx, &settings, &by_set, offline).await {
            Err(error) if error.is_conflict() && tries < TRIES => {
                tracing::debug!(%error, tries, "an assignment met another transaction; trying again");
            }
            result => return result,
        }
    }
}

/// The requests by set, without repetitions.
fn check(ctx: &Ctx, requests: Vec<Request>, offline: bool) -> Result<BTreeMap<i64, Vec<Request>>> {
    let mut seen = HashSet::new();
    let requests: Vec<Request> = requests.into_iter().filter(|r| seen.insert(r.clone())).collect();
    for request in &requests {
        check_weight(request.weight)?;
        if let Some(window) = request.window.as_ref().filter(|_| !offline)
            && Window::parse(window)?.lapsed(ctx.now())
        {
            let message = "The maintenance window will not open again: its schedule has no time after now.";
            return Err(Error::new(Kind::MaintenanceScheduleInvalid, message));
        }
    }
    let targets: HashSet<_> = requests.iter().map(|r| &r.controller_id).collect();
    if targets.len() < requests.len() {
        let message = "One target can't be assigned twice in one request; multi-assignments do not exist.";
        return Err(Error::new(Kind::MultiAssignment, message));
    }
    let wanted = i64::try_from(requests.len()).unwrap_or(i64::MAX);
    check_quota(ctx.settings().quotas.assignments_per_request, 0, wanted, "one assignment request")?;
    let mut by_set: BTreeMap<i64, Vec<Request>> = BTreeMap::new();
    for request in requests {
        by_set.entry(request.set).or_default().push(request);
    }
    Ok(by_set)
}

/// A weight is 0 to 1000.
pub(crate) fn check_weight(weight: Option<i32>) -> Result<()> {
    if weight.is_some_and(|w| !(0..=MAX_WEIGHT).contains(&w)) {
        return Err(Error::constraint(format!("weight must be between 0 and {MAX_WEIGHT}.")));
    }
    Ok(())
}

async fn attempt(
    ctx: &Ctx,
    settings: &TenantSettings,
    by_set: &BTreeMap<i64, Vec<Request>>,
    offline: bool,
) -> Result<Outcome> {
    let mut tx = ctx.begin().await?;
    let mut outcome = Outcome::default();
    for (set, requests) in by_set {
        assign_set(ctx, &mut tx, settings, *set, requests, offline, &mut outcome).await?;
    }
    tx.commit().await?;
    Ok(outcome)
}

async fn assign_set(
    ctx: &Ctx,
    tx: &mut Tx,
    settings: &TenantSettings,
    set: i64,
    requests: &[Request],
    offline: bool,
    outcome: &mut Outcome,
) -> Result<()> {
    let full = match distribution_sets::deployable(ctx, tx, set).await {
        // After a fault of the database the transaction is over.
        Err(error) if error.kind == Kind::Internal => return Err(error),
        full => full,
    };
    let ids: Vec<String> = requests.iter().map(|r| r.controller_id.clone()).collect();
    let scope = targets::updatable(ctx).await?;
    let found = targets::store::lock_many(&**tx, ctx.tenant_id(), &scope, &ids).await?;
    // hawkBit: the quota comes before what is wrong with the set, and holds for targets that have the set already, too.
    let named: Vec<_> = found.iter().map(|target| (target.id, target.controller_id.as_str())).collect();
    if let Some((_, total)) = make_room(ctx, tx, settings, &named).await?.first() {
        check_quota(ctx.settings().quotas.actions_per_target, *total, 1, "the actions of a target")?;
    }
    let full = full?;
    check_types(tx, full.set.ds_type, &found).await?;
    let (done, selected): (Vec<_>, Vec<_>) = found.into_iter().partition(|t| t.assigned_distribution_set == Some(set));
    outcome.already_assigned += done.len() as u64;
    // hawkBit: offline, a target with an update under way is passed over, and counts as if it had the set.
    let (busy, selected): (Vec<_>, Vec<_>) = selected.into_iter().partition(|t| offline && t.is(UpdateStatus::Pending));
    outcome.already_assigned += busy.len() as u64;
    let cause = if offline { Cause::Offline } else { Cause::User };
    let assigned = carry_out(ctx, tx, settings, &full, selected, requests, cause).await?;
    outcome.assigned += assigned.len() as u64;
    outcome.actions.extend(assigned);
    Ok(())
}

/// Gives `selected`, which the caller has locked and found fit, the set; `requests` say how, by controllerId.
pub(crate) async fn carry_out(
    ctx: &Ctx,
    tx: &mut Tx,
    settings: &TenantSettings,
    full: &distribution_sets::Full,
    selected: Vec<targets::Model>,
    requests: &[Request],
    cause: Cause<'_>,
) -> Result<Vec<Assigned>> {
    if selected.is_empty() {
        return Ok(Vec::new());
    }
    let (set, offline) = (full.set.id, cause.is_offline());
    distribution_sets::lock_implicitly(ctx, tx, full).await?;
    let selected_ids: Vec<i64> = selected.iter().map(|t| t.id).collect();
    let told = selected.iter().filter(|t| targets::has_gateway(t.address.as_deref()));
    let gateways: HashMap<i64, &str> = told.map(|t| (t.id, t.controller_id.as_str())).collect();
    let names: HashMap<i64, &str> = selected.iter().map(|t| (t.id, t.controller_id.as_str())).collect();
    if !offline {
        supersede(ctx, tx, settings, &selected_ids, &gateways, &names).await?;
    }
    cancel_scheduled(ctx, tx, &selected_ids).await?;
    take_over(ctx, tx, set, &selected_ids, offline).await?;
    let auto_confirming = if settings.confirmation_flow && !offline {
        targets::auto_confirm::messages(ctx, tx, &selected_ids).await?
    } else {
        HashMap::new()
    };
    let by_controller: HashMap<&str, &Request> = requests.iter().map(|r| (r.controller_id.as_str(), r)).collect();
    let mut rows = Vec::with_capacity(selected.len());
    let mut confirmed = HashMap::new();
    for target in &selected {
        let Some(request) = by_controller.get(target.controller_id.as_str()) else { continue };
        let required = request.confirmation_required.unwrap_or(true);
        let auto_confirmation = auto_confirming.get(&target.id);
        rows.push(new_action(ctx, settings, request, target.id, required && auto_confirmation.is_none(), offline));
        if !required {
            confirmed.insert(target.id, format!("Assignment confirmed by initiator [{}].", ctx.actor_name()));
        } else if let Some(message) = auto_confirmation {
            confirmed.insert(target.id, message.clone());
        }
    }
    let actions =
        store::insert_all(&**tx, ctx.engine(), ctx.tenant_id(), set, &rows, &ctx.actor_name(), ctx.now()).await?;
    first_statuses(ctx, tx, settings, &actions, &confirmed, cause).await?;
    if !offline {
        let told = actions.iter().filter_map(|a| Some((a.id, (*gateways.get(&a.target)?).to_owned()))).collect();
        commands::note_assigned(ctx, tx, set, told);
        announcements::assigned(ctx, tx, set, &actions, &names);
    }
    announcements::actions_created(ctx, tx, &actions);
    let assigned = |a: &Model| {
        let controller_id = names.get(&a.target)?;
        Some(Assigned { action: a.id, controller_id: (*controller_id).to_owned() })
    };
    let assigned = actions.iter().filter_map(assigned).collect();
    targets::changed(ctx, tx, selected.into_iter().map(|t| t.controller_id).collect());
    Ok(assigned)
}

fn new_action(
    ctx: &Ctx,
    settings: &TenantSettings,
    request: &Request,
    target: i64,
    confirm: bool,
    offline: bool,
) -> store::NewAction {
    let weight = request.weight.unwrap_or(ctx.settings().action_weight_if_absent);
    let plain = store::NewAction {
        target,
        active: false,
        status: ActionStatus::Finished.code(),
        action_type: ActionType::Forced.code(),
        forced_time: 0,
        weight: ctx.settings().action_weight_if_absent,
        maintenance_cron_schedule: None,
        maintenance_duration: None,
        maintenance_time_zone: None,
    };
    if offline {
        return plain;
    }
    let waits = settings.confirmation_flow && confirm;
    let status = if waits { ActionStatus::WaitForConfirmation } else { ActionStatus::Running };
    let time_forced = request.action_type == ActionType::TimeForced;
    let window = request.window.as_ref();
    store::NewAction {
        active: true,
        status: status.code(),
        action_type: request.action_type.code(),
        forced_time: if time_forced { request.forced_time } else { 0 },
        weight,
        maintenance_cron_schedule: window.map(|w| w.schedule.clone()),
        maintenance_duration: window.map(|w| w.duration.clone()),
        maintenance_time_zone: window.map(|w| w.timezone.clone()),
        ..plain
    }
}

/// The first report about each new action. `confirmed` says, by target, how those that do not wait were confirmed.
async fn first_statuses(
    ctx: &Ctx,
    tx: &Tx,
    settings: &TenantSettings,
    actions: &[Model],
    confirmed: &HashMap<i64, String>,
    cause: Cause<'_>,
) -> Result<()> {
    let assigned = cause.message(ctx);
    let ids: Vec<i64> = actions.iter().map(|action| action.id).collect();
    if cause.is_offline() {
        let reported = vec![assigned, format!("{SERVER_PREFIX}Action reported as offline deployment")];
        return super::note_all(ctx, tx, &ids, ActionStatus::Finished, &reported).await;
    }
    if !settings.confirmation_flow {
        return super::note_all(ctx, tx, &ids, ActionStatus::Running, &[assigned]).await;
    }
    // hawkBit: with the confirmation flow on, the first row says so even of an action that does not wait.
    let mut by_message: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for action in actions {
        by_message.entry(confirmed.get(&action.target).map_or(WAITING, String::as_str)).or_default().push(action.id);
    }
    for (message, ids) in by_message {
        let messages = [assigned.clone(), message.to_owned()];
        super::note_all(ctx, tx, &ids, ActionStatus::WaitForConfirmation, &messages).await?;
    }
    Ok(())
}

/// A target with a type takes only sets of the types listed on it.
async fn check_types(tx: &Tx, ds_type: i64, targets: &[targets::Model]) -> Result<()> {
    let mut types: Vec<i64> = targets.iter().filter_map(|t| t.target_type).collect();
    types.sort_unstable();
    types.dedup();
    target_types::check_taking(&**tx, &types, ds_type).await
}

/// Each target may have so many actions; where the tenant wants it, the oldest make room (semantics.md A6). `targets` are
/// held, as (id, controllerId). Gives those that stay full, with how many they have.
pub(crate) async fn make_room(
    ctx: &Ctx,
    tx: &mut Tx,
    settings: &TenantSettings,
    targets: &[(i64, &str)],
) -> Result<Vec<(i64, i64)>> {
    let quota = ctx.settings().quotas.actions_per_target;
    if quota <= 0 {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = targets.iter().map(|(id, _)| *id).collect();
    let full = store::count_by_target(&**tx, ctx.engine(), ctx.tenant_id(), &ids, quota).await?;
    let percent = settings.quota_hit_percent;
    let room = if (1..100).contains(&percent) { percent * quota / 100 } else { 0 };
    if room < 1 || full.is_empty() {
        return Ok(full);
    }
    for (target, _) in &full {
        store::delete_oldest(&**tx, ctx.engine(), ctx.tenant_id(), *target, room).await?;
    }
    let purged: HashSet<i64> = full.into_iter().map(|(target, _)| target).collect();
    let purged = targets.iter().filter(|(id, _)| purged.contains(id)).map(|(_, name)| (*name).to_owned()).collect();
    targets::changed(ctx, tx, purged);
    Ok(Vec::new())
}

/// What was under way on the targets gives way: cancelled, or closed where the tenant wants that. Sets with a required
/// migration step stay. `names` has the controllerIds of the targets, `gateways` of those that a gateway speaks for.
pub(super) async fn supersede(
    ctx: &Ctx,
    tx: &mut Tx,
    settings: &TenantSettings,
    targets: &[i64],
    gateways: &HashMap<i64, &str>,
    names: &HashMap<i64, &str>,
) -> Result<()> {
    let mut told = Vec::new();
    let migration_steps = Expr::col(Column::DistributionSet).in_subquery(store::migration_steps(ctx.tenant_id()));
    for chunk in targets.chunks(999) {
        let active = store::of_tenant(ctx.tenant_id(), &Scope::ALL)
            .filter(Column::Target.is_in(chunk.iter().copied()))
            .filter(Column::Active.eq(true))
            .filter(migration_steps.clone().not())
            .all(&**tx)
            .await?;
        let (status, message) = if settings.autoclose {
            (ActionStatus::Canceled, "close obsolete action due to new update")
        } else {
            (ActionStatus::Canceling, "cancel obsolete action due to new update")
        };
        let mut superseded: Vec<Model> =
            active.into_iter().filter(|a| settings.autoclose || !a.is_canceling_or_canceled()).collect();
        let update = entity::Entity::update_many()
            .col_expr(Column::Status, Expr::val(status.code()))
            .col_expr(Column::Active, Expr::val(!settings.autoclose))
            .col_expr(Column::LastModifiedAt, Expr::val(ctx.now()))
            .col_expr(Column::LastModifiedBy, Expr::val(ctx.actor_name()))
            .col_expr(Column::OptlockRevision, Expr::col(Column::OptlockRevision).add(1))
            .filter(Column::Tenant.eq(ctx.tenant_id()));
        let ids: Vec<i64> = superseded.iter().map(|action| action.id).collect();
        update.filter(Column::Id.is_in(ids.iter().copied())).exec(&**tx).await?;
        super::note_all(ctx, tx, &ids, status, &[format!("{SERVER_PREFIX}{message}")]).await?;
        for action in &mut superseded {
            (action.status, action.active) = (status.code(), Some(!settings.autoclose));
        }
        announcements::superseded(ctx, tx, &superseded, names);
        // hawkBit: a device hears of what it is to cancel, not of what was closed.
        if !settings.autoclose {
            told.extend(superseded.iter().filter_map(|a| Some((a.id, (*gateways.get(&a.target)?).to_owned()))));
        }
    }
    commands::note_canceled(ctx, tx, &told);
    Ok(())
}

/// What was scheduled for the targets will not start. Sets with a required migration step stay.
pub(super) async fn cancel_scheduled(ctx: &Ctx, tx: &Tx, targets: &[i64]) -> Result<()> {
    Ok(store::cancel_scheduled(&**tx, ctx.engine(), ctx.tenant_id(), targets).await?)
}

/// The targets now have the set assigned; offline, also installed.
pub(super) async fn take_over(ctx: &Ctx, tx: &Tx, set: i64, targets: &[i64], offline: bool) -> Result<()> {
    use targets::entity::{Column, Entity};
    let status = if offline { UpdateStatus::InSync } else { UpdateStatus::Pending };
    for chunk in targets.chunks(999) {
        let mut update = Entity::update_many()
            .col_expr(Column::AssignedDistributionSet, Expr::val(set))
            .col_expr(Column::UpdateStatus, Expr::val(status as i32))
            .col_expr(Column::LastModifiedAt, Expr::val(ctx.now()))
            .col_expr(Column::LastModifiedBy, Expr::val(ctx.actor_name()))
            .col_expr(Column::OptlockRevision, Expr::col(Column::OptlockRevision).add(1));
        if offline {
            update = update
                .col_expr(Column::InstalledDistributionSet, Expr::val(set))
                .col_expr(Column::InstallDate, Expr::val(ctx.now()));
        }
        let update = update.filter(Column::Tenant.eq(ctx.tenant_id()));
        update.filter(Column::Id.is_in(chunk.iter().copied())).exec(&**tx).await?;
    }
    announcements::updated(ctx, tx, announcements::Entity::Target, targets.iter().copied());
    Ok(())
}
