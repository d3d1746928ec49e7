//! The reaction to changed targets: each is held in memory against all filters of its tenant that assign a set, and
//! assigned the sets of those that it matches.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    assigner::{self, AT_ONCE, Assigner},
    assigning::{self, Assigning},
    store::{self, Match},
    sweep::BUSY_MS,
    waiting::Wanted,
};
use crate::{
    ctx::{Ctx, Services, Tenant},
    error::Result,
    search, targets,
};

/// Changed targets whose values are read together.
const BATCH: usize = 500;
/// Matches that one statement looks at.
const MATCHES: usize = 5000;
/// After a fault, passes over all targets make up for what was not done here, when the fault may be over.
pub(super) const AFTER_FAULT_MS: i64 = 5000;

/// Takes up some of the changed targets of one tenant that wait on this node; `false` if there were none.
pub async fn react(services: &Arc<Services>) -> bool {
    let Some((tenant, controller_ids)) = services.auto_assign.take_targets(BATCH) else { return false };
    if let Err(error) = react_to(services, &tenant, &controller_ids).await {
        tracing::warn!(
            tenant = tenant.id(),
            cause = ?error.cause,
            "changed targets could not be held against the target filters: all are looked at again soon: {error}"
        );
        services.auto_assign.want(&tenant, Wanted::all(), services.clock.now_ms() + AFTER_FAULT_MS);
    }
    true
}

async fn react_to(services: &Arc<Services>, tenant: &Tenant, controller_ids: &[String]) -> Result<()> {
    let ctx = Ctx::system(services, tenant.clone());
    let filters = assigning::of_tenant(&ctx).await?;
    if filters.is_empty() {
        return Ok(());
    }
    let ids = targets::store::ids(ctx.db().read(), ctx.tenant_id(), controller_ids).await?;
    let mut to_assign: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for matches in matches(&ctx, &filters, &ids).await?.chunks(MATCHES) {
        let found = store::still_to_assign(ctx.db().read(), ctx.engine(), ctx.tenant_id(), matches).await?;
        for Match { filter, target } in found {
            to_assign.entry(filter).or_default().push(target);
        }
    }
    if to_assign.is_empty() {
        return Ok(());
    }
    let Some(lock) = assigner::hawkbit_lock(services, tenant).await? else {
        let wanted = Wanted { filters: to_assign.into_keys().collect(), ..Wanted::default() };
        services.auto_assign.want(tenant, wanted, ctx.now() + BUSY_MS);
        return Ok(());
    };
    for (filter, targets) in to_assign {
        match assign(&ctx, filter, &targets).await {
            Ok(true) => {}
            Ok(false) => services.auto_assign.want(tenant, Wanted::filter(filter), ctx.now()),
            Err(error) => {
                let name = filters.iter().find(|known| known.filter == filter).map_or("", |known| &known.name);
                assigner::warn(ctx.tenant_id(), filter, name, &error);
                if error.is_internal() {
                    services.auto_assign.want(tenant, Wanted::filter(filter), ctx.now() + AFTER_FAULT_MS);
                }
            }
        }
    }
    lock.release().await;
    Ok(())
}

/// Which targets match which filters, by the values that they have now.
async fn matches(ctx: &Ctx, filters: &[Assigning], ids: &[i64]) -> Result<Vec<Match>> {
    let now = search::macros(ctx).await?;
    let mut searches = Vec::with_capacity(filters.len());
    for known in filters {
        searches.push((known.filter, known.search(&now)?));
    }
    let asked = searches.iter().map(|(_, search)| &**search);
    let values = search::values(ctx, &targets::fields::ENTITY, asked, ids).await?;
    let mut matches = Vec::new();
    for (filter, search) in &searches {
        // A thousand filters and hundreds of targets take a while.
        tokio::task::consume_budget().await;
        let matching = values.iter().filter(|(_, values)| search.matches(values));
        matches.extend(matching.map(|(target, _)| Match { filter: *filter, target: *target }));
    }
    Ok(matches)
}

/// `false` if the filter was changed meanwhile.
async fn assign(ctx: &Ctx, filter: i64, targets: &[i64]) -> Result<bool> {
    let Some(assigner) = Assigner::of(ctx, filter).await? else { return Ok(true) };
    for ids in targets.chunks(AT_ONCE) {
        if assigner.assign(ids, None).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
