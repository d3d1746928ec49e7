//! When a target is due, and the other things shown with it that its row does not hold.

use std::collections::{HashMap, HashSet};

use kettle_ql::Search;

use super::{Model, Shown, fields, store};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::Result,
    search, target_types,
    tenants::{self, TenantSettings, polling::Interval},
};

/// Times in epoch milliseconds (semantics.md A1, "Poll status / overdue").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollStatus {
    pub last_request_at: i64,
    pub next_expected_request_at: i64,
    pub overdue: bool,
}

/// Adds to rows what is shown beside them, with a constant number of queries.
pub(super) async fn show(ctx: &Ctx, targets: Vec<Model>) -> Result<Vec<Shown>> {
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    let overrides = overrides(ctx, settings.as_deref(), &targets).await?;
    let types = type_names(ctx, &targets).await?;
    let auto_confirm = match settings.as_deref() {
        Some(settings) if settings.confirmation_flow => Some(auto_confirming(ctx, &targets).await?),
        _ => None,
    };
    let now = ctx.now();
    let token_visible = ctx.may(Permission::ReadTargetSecurityToken);
    let show = |target: Model| {
        let poll_status = target.last_target_query.zip(settings.as_deref()).map(|(last, settings)| {
            let interval = overrides.get(&target.id).unwrap_or(&settings.polling.default);
            let next = last.saturating_add(interval.latest_ms());
            PollStatus {
                last_request_at: last,
                next_expected_request_at: next,
                overdue: now > next.saturating_add(settings.polling_overdue_ms),
            }
        });
        Shown {
            poll_status,
            type_name: target.target_type.and_then(|id| types.get(&id).cloned()),
            auto_confirm_active: auto_confirm.as_ref().map(|active| active.contains(&target.id)),
            token_visible,
            target,
        }
    };
    Ok(targets.into_iter().map(show).collect())
}

/// The polling interval of those targets that an override of the tenant's polling time names.
async fn overrides(ctx: &Ctx, settings: Option<&TenantSettings>, targets: &[Model]) -> Result<HashMap<i64, Interval>> {
    let Some(settings) = settings else { return Ok(HashMap::new()) };
    let polled: Vec<i64> = targets.iter().filter(|t| t.last_target_query.is_some()).map(|t| t.id).collect();
    overriding(ctx, settings, &polled).await
}

/// The polling interval of one target.
pub(super) async fn interval(ctx: &Ctx, settings: &TenantSettings, target: i64) -> Result<Interval> {
    let found = overriding(ctx, settings, &[target]).await?.remove(&target);
    Ok(found.unwrap_or_else(|| settings.polling.default.clone()))
}

/// The first matching override of each target. Without overrides nothing is read; else what all of them ask for is
/// read once, in a number of statements that does not grow with the overrides or the targets.
async fn overriding(ctx: &Ctx, settings: &TenantSettings, targets: &[i64]) -> Result<HashMap<i64, Interval>> {
    let (searches, intervals): (Vec<Search>, Vec<&Interval>) = settings
        .polling
        .overrides
        .iter()
        .filter_map(|(q, interval)| match search::stored(ctx, settings, &fields::ENTITY, q) {
            Ok(search) => Some((search, interval)),
            Err(error) => {
                // One bad override must not stop devices.
                tracing::warn!(tenant = ctx.tenant_id(), search = q, %error, "a polling time's override can't be evaluated; it is skipped");
                None
            }
        })
        .unzip();
    if searches.is_empty() || targets.is_empty() {
        return Ok(HashMap::new());
    }
    let values = search::values(ctx, &fields::ENTITY, &searches, targets).await?;
    let mut found = HashMap::new();
    for (id, values) in &values {
        let first = searches.iter().zip(&intervals).find(|(search, _)| search.matches(values));
        found.extend(first.map(|(_, interval)| (*id, (*interval).clone())));
    }
    Ok(found)
}

async fn type_names(ctx: &Ctx, targets: &[Model]) -> Result<HashMap<i64, String>> {
    let mut ids: Vec<i64> = targets.iter().filter_map(|t| t.target_type).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(target_types::store::names(ctx.db().read(), ctx.tenant_id(), &ids).await?)
}

async fn auto_confirming(ctx: &Ctx, targets: &[Model]) -> Result<HashSet<i64>> {
    let ids: Vec<i64> = targets.iter().map(|t| t.id).collect();
    Ok(store::auto_confirming(ctx.db().read(), ctx.engine(), ctx.tenant_id(), &ids).await?)
}
