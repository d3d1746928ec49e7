//! The net below the reactions: passes that ask the database which targets a filter's set is still to be assigned to.
//!
//! A filter has its pass when it is set or its query changed, when what its search refers to has changed, after events
//! may have been missed, every so often if its search is about time, and seldom if it is not. Each tenant's passes run
//! under a lease, on one node at a time.

use std::{sync::Arc, time::Duration};

use kettle_cluster::{LEASE_TTL, Lease};
use tokio::sync::watch;

use super::{
    assigner::{self, Assigner},
    assigning::{self, Assigning},
    reaction::AFTER_FAULT_MS,
    store,
    waiting::Wanted,
};
use crate::{
    ctx::{Ctx, Services, Tenant},
    error::Result,
    settings::AutoAssign,
};

/// The rounds that a node makes.
pub struct Rounds {
    /// Until when, in epoch milliseconds, there is none to make, by kind.
    timed: (i64, Duration),
    all: (i64, Duration),
}

impl Rounds {
    /// The first ones come when a whole interval is over: a node that starts has a pass over everything.
    pub fn new(settings: &AutoAssign, now: i64) -> Rounds {
        let first = |every: Duration| (now.saturating_add(millis(every)), every);
        Rounds { timed: first(settings.timed_every), all: first(settings.all_every) }
    }
}

/// Makes the passes that are due, until `stopped` says so.
pub async fn sweep(services: &Arc<Services>, rounds: &mut Rounds, stopped: &watch::Receiver<bool>) -> Result<()> {
    let waiting = &services.auto_assign;
    if waiting.take_everything()
        && let Err(error) = want_of_all(services, &Wanted::all()).await
    {
        waiting.lose_track();
        return Err(error);
    }
    let now = services.clock.now_ms();
    let kinds = [
        ("auto-assign:timed", &mut rounds.timed, Wanted { timed: true, ..Wanted::default() }),
        ("auto-assign:all", &mut rounds.all, Wanted::all()),
    ];
    for (name, (next, every), wanted) in kinds {
        if every.is_zero() || *next > now {
            continue;
        }
        *next = now.saturating_add(millis(*every));
        // Never handed back: until it runs out, no other node makes this round.
        if Lease::acquire(&services.db, name, services.events.node(), *every / 10 * 9).await?.is_some() {
            want_of_all(services, &wanted).await?;
        }
    }
    for (tenant, wanted) in waiting.take_passes() {
        pass(services, &tenant, wanted, stopped).await?;
    }
    Ok(())
}

async fn want_of_all(services: &Services, wanted: &Wanted) -> Result<()> {
    for tenant in store::tenants(services.db.read()).await? {
        services.auto_assign.want(&Tenant::new(&tenant), wanted.clone(), services.clock.now_ms());
    }
    Ok(())
}

/// The wanted passes of one tenant's filters; those that could not be made are made later.
async fn pass(
    services: &Arc<Services>,
    tenant: &Tenant,
    wanted: Wanted,
    stopped: &watch::Receiver<bool>,
) -> Result<()> {
    let again = |wanted: Wanted| services.auto_assign.want(tenant, wanted, services.clock.now_ms() + AFTER_FAULT_MS);
    let ctx = Ctx::system(services, tenant.clone());
    let name = format!("auto-assign:{}", tenant.id());
    let lease = match Lease::acquire(&services.db, &name, services.events.node(), LEASE_TTL).await {
        Ok(Some(lease)) => lease,
        Ok(None) => {
            // Another node is at it, maybe since before the change that this one heard of.
            again(wanted);
            return Ok(());
        }
        Err(error) => {
            again(wanted);
            return Err(error.into());
        }
    };
    match assigning::of_tenant(&ctx).await {
        Ok(filters) => {
            for filter in filters.iter().filter(|filter| wanted.covers(filter)) {
                if *stopped.borrow() {
                    break;
                }
                match pass_one(&ctx, filter, &lease, stopped).await {
                    Ok(true) => {}
                    Ok(false) => again(Wanted::filter(filter.filter)),
                    Err(error) => {
                        assigner::warn(tenant.id(), filter.filter, &filter.name, &error);
                        if error.is_internal() {
                            again(Wanted::filter(filter.filter));
                        }
                    }
                }
            }
        }
        Err(error) => {
            again(wanted);
            tracing::warn!(tenant = tenant.id(), cause = ?error.cause, "the target filters could not be read: {error}");
        }
    }
    Ok(lease.release(&services.db).await?)
}

/// `false` if the filter was changed meanwhile.
async fn pass_one(ctx: &Ctx, filter: &Assigning, lease: &Lease, stopped: &watch::Receiver<bool>) -> Result<bool> {
    let Some(assigner) = Assigner::of(ctx, filter.filter).await? else { return Ok(true) };
    let (mut after, mut assigned) = (0, 0);
    loop {
        lease.refresh(ctx.db(), LEASE_TTL).await?;
        let ids = assigner.next(after).await?;
        let Some(last) = ids.last() else { break };
        after = *last;
        match assigner.assign(&ids, Some(lease)).await? {
            Some(count) => assigned += count,
            None => return Ok(false),
        }
        if ids.len() < assigner::AT_ONCE || *stopped.borrow() {
            break;
        }
    }
    tracing::debug!(tenant = ctx.tenant_id(), filter.id = filter.filter, assigned, "a pass over all targets");
    Ok(true)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
