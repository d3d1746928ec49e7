//! What a device says it runs, although no action brought it: an offline assignment in its own name (semantics.md C2).

use super::{ActionType, Request, assign};
use crate::{
    ctx::Ctx,
    distribution_sets,
    error::{EntityId, Error, Result},
    targets,
};

/// Notes the set of this name and version, in any case, as installed. Whether that is news.
pub async fn report(ctx: &Ctx, controller_id: &str, name: &str, version: &str) -> Result<bool> {
    let ctx = &Ctx::system_as(ctx.services(), ctx.tenant.clone(), controller_id);
    targets::find(ctx, controller_id).await?;
    let set = distribution_sets::store::find_by_name_version(ctx.db().read(), ctx.tenant_id(), name, version).await?;
    let unknown = || Error::not_found("DistributionSet", EntityId::Versioned(name.into(), version.into()));
    let request = Request {
        controller_id: controller_id.into(),
        set: set.ok_or_else(unknown)?.id,
        action_type: ActionType::Forced,
        forced_time: 0,
        weight: None,
        confirmation_required: None,
        window: None,
    };
    Ok(assign(ctx, vec![request], true).await?.already_assigned == 0)
}
