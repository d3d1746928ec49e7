//! One filter's set for some targets, in one transaction (semantics.md A7): the last word on whether each is to have it.
//!
//! Whoever asks, a reaction or a pass, on this node or another, may have looked a while ago. So all is looked at again
//! here under the locks of the set, the filter and the targets, and asking twice assigns once.

use kettle_cluster::Lease;
use sea_orm::{Condition, Select};

use super::{Model, store};
use crate::{
    access::{Permission, Scope},
    actions::{self, ActionType, Cause, Request},
    ctx::{Ctx, HawkbitLock, Services, Tenant},
    distribution_sets,
    error::{Error, Result},
    search, targets, tenants,
};

/// Targets of one transaction.
pub(super) const AT_ONCE: usize = 999;
/// How often an assignment is tried when other transactions are in the way.
const TRIES: u32 = 10;

/// hawkBit's lock of the tenant's auto-assignments, where its nodes work on the same database; `None`: one of them is at it.
pub(super) async fn hawkbit_lock(services: &Services, tenant: &Tenant) -> Result<Option<HawkbitLock>> {
    services.hawkbit_lock(&format!("{}-auto-assign", tenant.id())).await
}

/// A filter, and the work in its name.
pub(super) struct Assigner {
    ctx: Ctx,
    filter: Model,
    set: i64,
    ds_type: i64,
    scope: Scope,
    matching: Condition,
}

impl Assigner {
    /// `None` if the filter assigns nothing, or is gone. Fails if who has set it may not assign.
    pub async fn of(system: &Ctx, filter: i64) -> Result<Option<Assigner>> {
        let db = system.db().read();
        let Some(filter) = store::find(db, system.tenant_id(), filter).await? else { return Ok(None) };
        let Some(set) = filter.auto_assign_distribution_set else { return Ok(None) };
        let initiator = filter.auto_assign_initiated_by.clone().filter(|name| !name.trim().is_empty());
        let initiator = initiator.or_else(|| filter.created_by.clone()).unwrap_or_else(|| "system".into());
        let access = filter.access_control_context.as_deref();
        let ctx = Ctx::stored(system.services(), system.tenant.clone(), access, &initiator)?.named(&initiator);
        ctx.require(Permission::UpdateTarget)?;
        ctx.require(Permission::ReadDistributionSet)?;
        let found = distribution_sets::store::get(db, ctx.tenant_id(), &Scope::ALL, set).await?;
        let found = found.ok_or_else(|| Error::not_found("DistributionSet", set))?;
        let scope = targets::updatable(&ctx).await?;
        let matching = search::condition(&ctx, &targets::fields::ENTITY, &filter.query).await?;
        Ok(Some(Assigner { ctx, set, ds_type: found.ds_type, scope, matching, filter }))
    }

    /// The first targets above `after` that are to have the set.
    pub async fn next(&self, after: i64) -> Result<Vec<i64>> {
        let limit = AT_ONCE as u64;
        Ok(store::eligible_after(self.ctx.db().read(), self.eligible(), after, limit).await?)
    }

    fn eligible(&self) -> Select<targets::entity::Entity> {
        store::eligible(self.ctx.tenant_id(), &self.scope, self.set, self.ds_type, self.matching.clone())
    }

    /// Assigns the set to those of `ids`, at most [`AT_ONCE`], that are to have it, and gives how many that were; `None` if
    /// the filter was changed since [`Assigner::of`]. Fails if `lease` has passed on.
    pub async fn assign(&self, ids: &[i64], lease: Option<&Lease>) -> Result<Option<usize>> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(ids, lease).await {
                Err(error) if error.is_conflict() && tries < TRIES => {
                    tracing::debug!(%error, tries, "an auto-assignment met another transaction; trying again");
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, ids: &[i64], lease: Option<&Lease>) -> Result<Option<usize>> {
        let (ctx, tenant) = (&self.ctx, self.ctx.tenant_id());
        let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
        let settings = settings.ok_or_else(|| Error::not_found("Tenant", tenant))?;
        let mut tx = ctx.begin().await?;
        if let Some(lease) = lease {
            lease.fence(&tx).await?;
        }
        // The set before the filter, and both before targets, as all who write them take them.
        let full = distribution_sets::deployable(ctx, &tx, self.set).await?;
        let held = store::hold(&*tx, tenant, self.filter.id).await?;
        if held.as_ref() != Some(&self.filter) {
            return Ok(None);
        }
        let mut found = store::lock_eligible(&*tx, self.eligible(), ids).await?;
        let locked: Vec<i64> = found.iter().map(|target| target.id).collect();
        // The condition above is of the time before the locks: another node may have assigned while this one waited.
        let having = actions::store::having(&*tx, ctx.engine(), tenant, self.set, &locked).await?;
        // hawkBit: a target that has the set assigned gets no action, even if none of the set is left.
        found.retain(|t| !having.contains(&t.id) && t.assigned_distribution_set != Some(self.set));
        let named: Vec<_> = found.iter().map(|target| (target.id, target.controller_id.as_str())).collect();
        let full_targets = actions::make_room(ctx, &mut tx, &settings, &named).await?;
        if !full_targets.is_empty() {
            found.retain(|t| full_targets.iter().all(|(id, _)| *id != t.id));
            tracing::warn!(
                tenant,
                filter.id = self.filter.id,
                filter.name = self.filter.name,
                targets = ?full_targets,
                "targets have as many actions as they may have: their filter assigns nothing to them until some are deleted"
            );
        }
        let requests: Vec<Request> = found.iter().map(|target| self.request(&target.controller_id)).collect();
        let cause = Cause::Filter(&self.filter.name);
        let assigned = actions::carry_out(ctx, &mut tx, &settings, &full, found, &requests, cause).await?;
        if !assigned.is_empty() {
            tx.commit().await?;
        }
        Ok(Some(assigned.len()))
    }

    fn request(&self, controller_id: &str) -> Request {
        Request {
            controller_id: controller_id.into(),
            set: self.set,
            action_type: self.filter.auto_assign_action_type.map_or(ActionType::Forced, ActionType::from_code),
            forced_time: 0,
            weight: Some(self.filter.auto_assign_weight),
            confirmation_required: Some(self.filter.confirmation_required.unwrap_or(false)),
            window: None,
        }
    }
}

/// Says in the log what keeps a filter from assigning. That of one filter is no matter of the others.
pub(super) fn warn(tenant: &str, filter: i64, name: &str, error: &Error) {
    tracing::warn!(
        tenant,
        filter.id = filter,
        filter.name = name,
        cause = ?error.cause,
        "a target filter could not assign its set: {error}"
    );
}
