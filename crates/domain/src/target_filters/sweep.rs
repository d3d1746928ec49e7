//! The net below the reactions: passes that ask the database which targets a filter's set is still to be assigned to.
//!
//! A filter has its pass when it is set or its query changed, when what its search refers to has changed, after events
//! may have been missed, every so often if its search is about time, and seldom if it is not. Each tenant's passes run
//! under a lease, on one node at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use kettle_cluster::Lease;
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

/// When to ask again for a lease that another node has.
pub(super) const BUSY_MS: i64 = 1000;
/// How long a tenant's passes may keep those of others waiting, but for the one under way.
const TURN: Duration = Duration::from_millis(500);

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
    let mut due = VecDeque::from(waiting.take_passes());
    while let Some((tenant, wanted)) = due.pop_front() {
        let rest = pass(services, &tenant, wanted, stopped).await;
        // What was asked for meanwhile comes before the rest of what takes long.
        due.extend(waiting.take_passes());
        match rest {
            Ok(rest) => due.extend(rest.map(|rest| (tenant, rest))),
            Err(error) => tracing::warn!(
                tenant = tenant.id(),
                cause = ?error.cause,
                "the passes of a tenant's target filters are tried again: {error}"
            ),
        }
    }
    Ok(())
}

async fn want_of_all(services: &Services, wanted: &Wanted) -> Result<()> {
    for tenant in store::tenants(services.db.read()).await? {
        services.auto_assign.want(&Tenant::new(&tenant), wanted.clone(), services.clock.now_ms());
    }
    Ok(())
}

/// The wanted passes of one tenant's filters, as many as fit in a turn; gives those that are left. What can't be done now
/// is wanted again later.
async fn pass(
    services: &Arc<Services>,
    tenant: &Tenant,
    wanted: Wanted,
    stopped: &watch::Receiver<bool>,
) -> Result<Option<Wanted>> {
    let again = |wanted: Wanted| services.auto_assign.want(tenant, wanted, services.clock.now_ms() + AFTER_FAULT_MS);
    let ctx = Ctx::system(services, tenant.clone());
    let filters = assigning::of_tenant(&ctx).await.inspect_err(|_| again(wanted.clone()))?;
    let mut left: VecDeque<&Assigning> = filters.iter().filter(|filter| wanted.covers(filter)).collect();
    if left.is_empty() {
        return Ok(None);
    }
    let name = format!("auto-assign:{}", tenant.id());
    let lease = Lease::acquire(&services.db, &name, services.events.node(), services.settings.lease_time).await;
    let Some(lease) = lease.inspect_err(|_| again(wanted.clone()))? else {
        // Another node is at it, maybe since before the change that this one heard of; or it died in a pass.
        services.auto_assign.want(tenant, wanted, services.clock.now_ms() + BUSY_MS);
        return Ok(None);
    };
    let lock = assigner::hawkbit_lock(services, tenant).await;
    let Some(lock) = lock.inspect_err(|_| again(wanted.clone()))? else {
        services.auto_assign.want(tenant, wanted, services.clock.now_ms() + BUSY_MS);
        lease.release(&services.db).await?;
        return Ok(None);
    };
    let begun = Instant::now();
    while begun.elapsed() < TURN
        && !*stopped.borrow()
        && let Some(filter) = left.pop_front()
    {
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
    lock.release().await;
    if let Err(error) = lease.release(&services.db).await {
        tracing::warn!(tenant = tenant.id(), %error, "a lease could not be handed over; it runs out");
    }
    let left: BTreeSet<i64> = left.into_iter().map(|filter| filter.filter).collect();
    let rest = (!left.is_empty() && !*stopped.borrow()).then(|| Wanted { filters: left, ..Wanted::default() });
    Ok(rest)
}

/// `false` if the filter was changed meanwhile.
async fn pass_one(ctx: &Ctx, filter: &Assigning, lease: &Lease, stopped: &watch::Receiver<bool>) -> Result<bool> {
    let Some(assigner) = Assigner::of(ctx, filter.filter).await? else { return Ok(true) };
    let (mut after, mut assigned) = (0, 0);
    loop {
        lease.refresh(ctx.db()).await?;
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
