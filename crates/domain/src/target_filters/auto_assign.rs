//! Which set a filter assigns by itself, and how (semantics.md A7). All that the later assignment needs is stored here:
//! in whose name it is made too.

use sea_orm::{ActiveModelTrait, ConnectionTrait, PaginatorTrait, Set};

use super::{Model, Shown, changed, entity, find, not_found, show_one, store};
use crate::{
    access::Permission,
    actions::{self, ActionType},
    announcements::{self, Entity as Told},
    audit::touched,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Kind, Result, check_quota},
    search, targets, tenants,
};

/// What a filter is to assign.
#[derive(Clone, Debug)]
pub struct AutoAssign {
    pub set: i64,
    /// Forced if absent; time-forced is refused.
    pub action_type: Option<ActionType>,
    /// 0 to 1000; the server's default if absent.
    pub weight: Option<i32>,
    /// The tenant's confirmation flow if absent.
    pub confirmation_required: Option<bool>,
}

/// The set that a filter assigns.
pub async fn auto_assigned_set(ctx: &Ctx, id: i64) -> Result<Option<distribution_sets::Full>> {
    let filter = find(ctx, id).await?;
    let Some(set) = filter.auto_assign_distribution_set else { return Ok(None) };
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let Some(set) = distribution_sets::store::get(ctx.db().read(), ctx.tenant_id(), &scope, set).await? else {
        return Ok(None);
    };
    Ok(distribution_sets::load(ctx.db().read(), ctx.tenant_id(), vec![set]).await?.pop())
}

/// Makes the filter assign a valid and complete set, which is locked by that as by an assignment. At the moment it may
/// not have too many targets to assign it to.
pub async fn auto_assign(ctx: &Ctx, id: i64, new: AutoAssign) -> Result<Shown> {
    ctx.require(Permission::UpdateTarget)?;
    actions::check_weight(new.weight)?;
    let confirmation_flow = tenants::settings(ctx.services(), &ctx.tenant).await?.is_some_and(|s| s.confirmation_flow);
    let mut tx = ctx.begin().await?;
    let found = store::find(&*tx, ctx.tenant_id(), id).await?.ok_or_else(|| not_found(id))?;
    check_targets_quota(ctx, &*tx, &found.query, new.set).await?;
    // The set before the filter: who deletes or invalidates a set takes them in this order too.
    let full = distribution_sets::deployable(ctx, &tx, new.set).await?;
    if distribution_sets::is_locked_implicitly(ctx, &tx, &full).await? {
        ctx.require(Permission::UpdateDistributionSet)?;
        distribution_sets::lock_implicitly(ctx, &tx, &full).await?;
    }
    let action_type = new.action_type.unwrap_or(ActionType::Forced);
    if action_type == ActionType::TimeForced {
        let message = "The given action type for auto-assignment is invalid: allowed values are ['forced', 'soft', 'downloadonly']";
        return Err(Error::new(Kind::InvalidAutoAssignActionType, message));
    }
    let found = store::lock(&*tx, ctx.tenant_id(), id).await?.ok_or_else(|| not_found(id))?;
    let mut row = touched!(ctx, &found);
    row.auto_assign_distribution_set = Set(Some(new.set));
    row.auto_assign_action_type = Set(Some(action_type.code()));
    row.auto_assign_weight = Set(new.weight.unwrap_or(ctx.settings().action_weight_if_absent));
    row.auto_assign_initiated_by = Set(Some(ctx.actor_name()));
    row.confirmation_required = Set(Some(new.confirmation_required.unwrap_or(confirmation_flow)));
    row.access_control_context = Set(Some(ctx.access_context()?));
    let updated = row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::TargetFilter, [id]);
    changed(ctx, &mut tx, Some(id));
    tx.commit().await?;
    show_one(ctx, updated).await
}

/// Makes the filter assign nothing; what it has assigned stays.
pub async fn stop_auto_assign(ctx: &Ctx, id: i64) -> Result<Shown> {
    ctx.require(Permission::UpdateTarget)?;
    let mut tx = ctx.begin().await?;
    let found = store::lock(&*tx, ctx.tenant_id(), id).await?.ok_or_else(|| not_found(id))?;
    if found.auto_assign_distribution_set.is_none() && found.auto_assign_initiated_by.is_none() {
        return show_one(ctx, found).await;
    }
    let updated = cleared(ctx, &found).update(&*tx).await?;
    announcements::updated(ctx, &tx, Told::TargetFilter, [id]);
    changed(ctx, &mut tx, None);
    tx.commit().await?;
    show_one(ctx, updated).await
}

fn cleared(ctx: &Ctx, found: &Model) -> entity::ActiveModel {
    let mut row = touched!(ctx, found);
    row.auto_assign_distribution_set = Set(None);
    row.auto_assign_action_type = Set(None);
    row.auto_assign_weight = Set(0);
    row.auto_assign_initiated_by = Set(None);
    row.confirmation_required = Set(Some(false));
    row.access_control_context = Set(None);
    row
}

/// Fails if the query matches more targets that the set would be assigned to than one filter may have.
pub(super) async fn check_targets_quota(ctx: &Ctx, db: &impl ConnectionTrait, query: &str, set: i64) -> Result<()> {
    ctx.require(Permission::ReadDistributionSet)?;
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let found = distribution_sets::store::get(db, ctx.tenant_id(), &scope, set).await?;
    let found = found.ok_or_else(|| Error::not_found("DistributionSet", set))?;
    let limit = ctx.settings().quotas.targets_per_auto_assignment;
    if limit <= 0 {
        return Ok(());
    }
    let which = search::condition(ctx, &targets::fields::ENTITY, query).await?;
    let targets =
        store::eligible(ctx.tenant_id(), &targets::updatable(ctx).await?, set, found.ds_type, which).count(db).await?;
    check_quota(limit, 0, i64::try_from(targets).unwrap_or(i64::MAX), "an auto-assignment")
}
