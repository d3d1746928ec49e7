//! When a target is due, and the other things shown with it that its row does not hold.

use std::collections::{HashMap, HashSet};

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
            let next = last + interval.latest_ms();
            PollStatus {
                last_request_at: last,
                next_expected_request_at: next,
                overdue: now > next + settings.polling_overdue_ms,
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
    let mut found = HashMap::new();
    let Some(settings) = settings.filter(|s| !s.polling.overrides.is_empty()) else { return Ok(found) };
    let polled: Vec<i64> = targets.iter().filter(|t| t.last_target_query.is_some()).map(|t| t.id).collect();
    for (q, interval) in &settings.polling.overrides {
        for id in matching(ctx, q, &polled).await {
            found.entry(id).or_insert_with(|| interval.clone());
        }
    }
    Ok(found)
}

/// The polling interval of one target.
pub(super) async fn interval(ctx: &Ctx, settings: &TenantSettings, target: i64) -> Interval {
    for (q, interval) in &settings.polling.overrides {
        if !matching(ctx, q, &[target]).await.is_empty() {
            return interval.clone();
        }
    }
    settings.polling.default.clone()
}

/// Which of `targets` match; a search that fails matches nothing, as one bad override must not stop devices.
async fn matching(ctx: &Ctx, q: &str, targets: &[i64]) -> Vec<i64> {
    let run = async {
        let condition = search::condition(ctx, &fields::ENTITY, q).await?;
        Ok::<_, crate::Error>(store::matching(ctx.db().read(), ctx.tenant_id(), targets, condition).await?)
    };
    run.await.unwrap_or_else(|error| {
        tracing::warn!(tenant = ctx.tenant_id(), search = q, %error, "a polling time's override can't be evaluated; it is skipped");
        Vec::new()
    })
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
