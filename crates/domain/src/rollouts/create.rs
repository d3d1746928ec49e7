//! Creating rollouts: by a number of groups, with explicit groups, dynamic, as a retry (semantics.md B1). The scheduler
//! fills the groups afterwards; here and in `cover.rs` it is made sure that it can.

use kettle_cluster::{Event, Tx};
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, Set};

use super::{
    Counters, Details, GroupStatus, MAX_DESCRIPTION, MAX_NAME, RolloutStatus, Shown, SuccessAction, cover,
    entity::ActiveModel,
    filter,
    store::{self, NewGroup},
};
use crate::{
    access::Permission,
    actions::{ActionType, check_weight},
    announcements::{self, Entity as Told},
    ctx::Ctx,
    distribution_sets::{self, Full},
    error::{Error, Kind, Result, check_quota},
    search, tenants, text,
};

const MAX_FILTER: usize = 1024;
const MAX_EXPRESSION: usize = 512;
/// A start time that means: not by itself.
const NEVER: i64 = i64::MAX;

/// What an operator gives to create a rollout.
#[derive(Clone, Debug)]
pub struct Create {
    pub name: Option<String>,
    pub description: Option<String>,
    /// The search for its targets.
    pub filter: Option<String>,
    pub set: i64,
    pub action_type: ActionType,
    pub forced_time: Option<i64>,
    /// 0 to 1000; the server's default if absent.
    pub weight: Option<i32>,
    /// Epoch milliseconds; started by an operator if absent.
    pub start_at: Option<i64>,
    pub dynamic: bool,
    /// Of groups that don't say; the tenant's confirmation flow if absent.
    pub confirmation_required: Option<bool>,
    pub conditions: Conditions,
    /// One if neither this nor `groups` is there.
    pub amount_groups: Option<i32>,
    pub template: Option<Template>,
    pub groups: Option<Vec<CreateGroup>>,
}

/// A group that an operator describes.
#[derive(Clone, Debug)]
pub struct CreateGroup {
    pub name: Option<String>,
    pub description: Option<String>,
    /// A search among the rollout's targets; absent: all of them.
    pub filter: Option<String>,
    /// 100 if absent.
    pub percentage: Option<f32>,
    pub confirmation_required: Option<bool>,
    pub conditions: Conditions,
}

/// When a group has succeeded or failed, in percent, and what happens then. A failed group always pauses the rollout.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub success: Option<String>,
    pub success_action: SuccessAction,
    pub success_action_exp: Option<String>,
    pub error: Option<String>,
    pub error_action_exp: Option<String>,
}

/// What the groups that a dynamic rollout adds are like.
#[derive(Clone, Debug)]
pub struct Template {
    pub name_suffix: String,
    pub target_count: i64,
}

/// What the groups are made of, once it is clear.
enum Plan {
    Amount(i32, Option<Template>),
    Explicit(Vec<CreateGroup>),
}

impl Conditions {
    /// Of groups that don't say anything, in rollouts that don't either.
    pub fn by_default() -> Conditions {
        Conditions {
            success: Some("50".into()),
            success_action: SuccessAction::NextGroup,
            success_action_exp: Some(String::new()),
            error: Some("50".into()),
            error_action_exp: Some(String::new()),
        }
    }

    /// These of a group, with what they leave open taken from the rollout's.
    fn or(self, rollout: &Conditions) -> Conditions {
        let or = |own: Option<String>, rollout: &Option<String>| own.map(text::trim).or_else(|| rollout.clone());
        Conditions {
            success: or(self.success, &rollout.success),
            // hawkBit: a group that names no success action starts the next one, whatever the rollout says.
            success_action: self.success_action,
            success_action_exp: or(self.success_action_exp, &rollout.success_action_exp),
            error: or(self.error, &rollout.error),
            error_action_exp: or(self.error_action_exp, &rollout.error_action_exp),
        }
    }
}

/// Creates a rollout, which the scheduler fills with targets at once.
pub async fn create(ctx: &Ctx, new: Create) -> Result<Shown> {
    require(ctx)?;
    let Some(filter) = new.filter.clone() else {
        return Err(Error::new(Kind::SearchSyntax, "A rollout needs a targetFilterQuery, the search for its targets."));
    };
    search::targets(&filter)?;
    let tx = ctx.begin().await?;
    let set = distribution_sets::deployable(ctx, &tx, new.set).await?;
    let plan = plan(&new)?;
    make(ctx, tx, &set, new, filter, plan).await
}

/// Creates a rollout of the same set for the targets whose actions of a finished rollout ended in errors.
pub async fn retry(ctx: &Ctx, id: i64) -> Result<Shown> {
    ctx.require(Permission::ReadRollout)?;
    require(ctx)?;
    let retried = store::find(ctx.db().read(), ctx.tenant_id(), id).await?;
    let retried = retried.filter(|rollout| rollout.deleted != Some(true));
    let retried = retried.ok_or_else(|| Error::not_found("Rollout", id))?;
    if retried.status() != RolloutStatus::Finished {
        return Err(Error::constraint("Rollout must be finished in order to be retried!"));
    }
    let new = Create {
        action_type: retried.action_type(),
        name: Some(format!("{}_retry", retried.name)),
        description: retried.description,
        filter: None,
        set: retried.distribution_set,
        forced_time: retried.forced_time,
        weight: None,
        start_at: retried.start_at,
        dynamic: false,
        confirmation_required: Some(false),
        conditions: Conditions::by_default(),
        amount_groups: None,
        template: None,
        groups: None,
    };
    let tx = ctx.begin().await?;
    let set = distribution_sets::deployable(ctx, &tx, new.set).await?;
    make(ctx, tx, &set, new, filter::retry_of(id), Plan::Amount(1, None)).await
}

fn require(ctx: &Ctx) -> Result<()> {
    ctx.require(Permission::CreateRollout)?;
    ctx.require(Permission::ReadDistributionSet)?;
    ctx.require(Permission::ReadTarget)
}

fn plan(new: &Create) -> Result<Plan> {
    let Some(groups) = &new.groups else {
        return Ok(Plan::Amount(new.amount_groups.unwrap_or(1), new.template.clone()));
    };
    if new.dynamic {
        return Err(Error::constraint("Dynamic rollouts are not supported with groups"));
    }
    if new.amount_groups.is_some() {
        return Err(Error::constraint("Give either groups or amountGroups, not both."));
    }
    Ok(Plan::Explicit(groups.clone()))
}

async fn make(ctx: &Ctx, mut tx: Tx, set: &Full, new: Create, filter: String, plan: Plan) -> Result<Shown> {
    let filter = text::trim(filter);
    check_texts(&new, &filter, &plan)?;
    check_plan(ctx, &new, &plan)?;
    let now = ctx.now();
    let total = match plan {
        Plan::Amount(0, _) => 0,
        _ => cover::count_all(ctx, &*tx, &filter, set.set.ds_type).await?,
    };
    if distribution_sets::is_locked_implicitly(ctx, &tx, set).await? {
        ctx.require(Permission::UpdateDistributionSet)?;
        distribution_sets::lock_implicitly(ctx, &tx, set).await?;
    }
    let confirm = match new.confirmation_required {
        Some(confirm) => confirm,
        None => tenants::settings(ctx.services(), &ctx.tenant).await?.is_some_and(|s| s.confirmation_flow),
    };
    let groups = match plan {
        Plan::Amount(amount, template) => {
            if amount > 0 {
                cover::check_group_quota(ctx, total / i64::from(amount))?;
            }
            by_amount(amount, template, &new.conditions, confirm)?
        }
        Plan::Explicit(groups) => {
            let groups = explicit(groups, &new.conditions, confirm)?;
            cover::check_cover(ctx, &*tx, &groups, &filter::as_of(&filter, Some(now)), set.set.ds_type).await?;
            groups
        }
    };
    let created = row(ctx, new, filter, total, groups.len())?.insert(&*tx).await;
    let created = created.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    let by = ctx.actor_name();
    let inserted = store::insert_groups(&*tx, ctx.engine(), ctx.tenant_id(), created.id, &groups, &by, now).await;
    inserted.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    if tx.announces() {
        let groups = store::group_ids(&*tx, ctx.tenant_id(), created.id).await?;
        announcements::groups_created(ctx, &tx, created.id, groups);
    }
    announcements::created(ctx, &tx, Told::Rollout, [created.id]);
    tx.emit(Event::RolloutChanged { tenant: ctx.tenant_id().into(), rollout: created.id });
    tx.commit().await?;
    let details = Details { set: set.set.clone(), counters: Counters::not_started(total) };
    Ok(Shown { rollout: created, details: Some(details) })
}

/// Lengths and markup, of the rollout and then of its groups.
fn check_texts(new: &Create, filter: &str, plan: &Plan) -> Result<()> {
    check_names(new.name.as_deref(), new.description.as_deref())?;
    text::required("targetFilterQuery", filter, MAX_FILTER)?;
    check_weight(new.weight)?;
    let Plan::Explicit(groups) = plan else { return Ok(()) };
    for group in groups {
        check_names(group.name.as_deref(), group.description.as_deref())?;
        if let Some(filter) = &group.filter {
            text::required("targetFilterQuery", filter, MAX_FILTER)?;
        }
    }
    Ok(())
}

fn check_names(name: Option<&str>, description: Option<&str>) -> Result<()> {
    let name = name.ok_or_else(|| Error::constraint("name must not be null."))?;
    text::filled("name", name, MAX_NAME)?;
    text::optional("description", description, MAX_DESCRIPTION)
}

/// How many groups there may be, and who may have them start by themselves.
fn check_plan(ctx: &Ctx, new: &Create, plan: &Plan) -> Result<()> {
    let quota = |groups: i64| check_quota(ctx.settings().quotas.groups_per_rollout, 0, groups, "a rollout");
    let (amount, template) = match plan {
        Plan::Explicit(groups) if groups.is_empty() => {
            return Err(Error::constraint("The amount of groups cannot be 0"));
        }
        // hawkBit: whoever describes the groups may also have them start by themselves.
        Plan::Explicit(groups) => return quota(i64::try_from(groups.len()).unwrap_or(i64::MAX)),
        Plan::Amount(amount, template) => (*amount, template),
    };
    if amount < 0 {
        return Err(Error::constraint("amountGroups must not be negative."));
    }
    if amount == 0 && template.is_none() {
        let message =
            "When amount of groups is 0, the rollouts shall be dynamic and a dynamic group template must be provided";
        return Err(Error::constraint(message));
    }
    quota(amount.into())?;
    if template.is_some() && !new.dynamic {
        return Err(Error::constraint("Dynamic group template is only allowed for dynamic rollouts"));
    }
    match new.start_at {
        None | Some(NEVER) => Ok(()),
        Some(_) => ctx.require(Permission::HandleRollout),
    }
}

fn by_amount(amount: i32, template: Option<Template>, conditions: &Conditions, confirm: bool) -> Result<Vec<NewGroup>> {
    let named = |name: String, status, percentage, dynamic| {
        let (description, conditions) = (Some(name.clone()), conditions.clone());
        group(name, description, String::new(), status, percentage, conditions, confirm, dynamic)
    };
    let mut groups = Vec::new();
    for number in 1..=amount {
        #[expect(clippy::cast_precision_loss, reason = "in single precision, as the peer reckons")]
        let percentage = 100.0 / amount as f32;
        groups.push(named(format!("group-{number}"), GroupStatus::Creating, percentage, false)?);
    }
    if let Some(Template { name_suffix, target_count }) = template {
        let name = format!("group-{}{name_suffix}", amount + 1);
        text::fits("name", &name, MAX_NAME)?;
        #[expect(clippy::cast_precision_loss, reason = "the peer keeps this count in single precision")]
        let count = target_count as f32;
        groups.push(named(name, GroupStatus::Ready, count, true)?);
    }
    Ok(groups)
}

fn explicit(groups: Vec<CreateGroup>, conditions: &Conditions, confirm: bool) -> Result<Vec<NewGroup>> {
    let new = |new: CreateGroup| {
        let percentage = new.percentage.unwrap_or(100.0);
        if !(1.0..=100.0).contains(&percentage) {
            return Err(Error::constraint("Target percentage has to be between 1 and 100"));
        }
        let name = text::trim(new.name.unwrap_or_default());
        let filter = text::trim(new.filter.unwrap_or_default());
        let confirm = new.confirmation_required.unwrap_or(confirm);
        let conditions = new.conditions.or(conditions);
        let description = new.description.map(text::trim);
        group(name, description, filter, GroupStatus::Creating, percentage, conditions, confirm, false)
    };
    groups.into_iter().map(new).collect()
}

#[expect(clippy::too_many_arguments, reason = "each is a column, and both callers have them all")]
fn group(
    name: String,
    description: Option<String>,
    filter: String,
    status: GroupStatus,
    percentage: f32,
    conditions: Conditions,
    confirm: bool,
    dynamic: bool,
) -> Result<NewGroup> {
    let success = conditions.success.ok_or_else(|| Error::constraint("successCondition needs an expression."))?;
    text::fits("successCondition", &success, MAX_EXPRESSION)?;
    for (field, expression) in [
        ("successAction", &conditions.success_action_exp),
        ("errorCondition", &conditions.error),
        ("errorAction", &conditions.error_action_exp),
    ] {
        text::fits(field, expression.as_deref().unwrap_or_default(), MAX_EXPRESSION)?;
    }
    Ok(NewGroup {
        name,
        description,
        status: status.code(),
        error_condition_exp: conditions.error,
        error_action_exp: conditions.error_action_exp,
        success_condition_exp: success,
        success_action: conditions.success_action.code(),
        success_action_exp: conditions.success_action_exp,
        target_percentage: percentage.into(),
        target_filter: filter,
        confirmation_required: confirm,
        is_dynamic: dynamic,
    })
}

fn row(ctx: &Ctx, new: Create, filter: String, total: i64, groups: usize) -> Result<ActiveModel> {
    Ok(ActiveModel {
        id: NotSet,
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        tenant: Set(ctx.tenant_id().into()),
        description: Set(new.description.map(text::trim)),
        name: Set(text::trim(new.name.unwrap_or_default())),
        last_check: Set(Some(0)),
        status: Set(RolloutStatus::Creating.code()),
        distribution_set: Set(new.set),
        target_filter: Set(Some(filter)),
        forced_time: Set(Some(new.forced_time.unwrap_or(0))),
        total_targets: Set(Some(total)),
        rollout_groups_created: Set(i64::try_from(groups).ok()),
        start_at: Set(new.start_at),
        deleted: Set(Some(false)),
        action_type: Set(new.action_type.code()),
        approval_decided_by: Set(None),
        approval_remark: Set(None),
        weight: Set(new.weight.unwrap_or(ctx.settings().action_weight_if_absent)),
        access_control_context: Set(Some(ctx.access_context()?)),
        is_dynamic: Set(Some(new.dynamic)),
    })
}
