//! Groups: free text on a target, with `/` between a group and those below it (semantics.md A1).

use sea_orm::{ColumnTrait, Condition};

use super::{MAX_GROUP, Shown, entity::Column, fields, store};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::{Error, Result},
    listing::{Listing, Page},
    search, text,
};

/// Every group that a target is in.
pub async fn list(ctx: &Ctx) -> Result<Vec<String>> {
    ctx.require(Permission::ReadTarget)?;
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    Ok(store::groups(ctx.db().read(), ctx.tenant_id(), &scope).await?)
}

/// The targets in a group, and with `subgroups` those in groups below it.
pub async fn targets(ctx: &Ctx, group: &str, subgroups: bool, listing: &Listing) -> Result<Page<Shown>> {
    ctx.require(Permission::ReadTarget)?;
    if group.is_empty() {
        return Err(Error::constraint("group must not be empty."));
    }
    // hawkBit: these lists can't be searched; `q` is ignored.
    let listing = Listing { q: None, ..listing.clone() };
    super::list_where(ctx, store::in_group(group, subgroups), &listing).await
}

/// Puts targets into a group, or takes them out of theirs with `None`. Those that do not exist (`None` among them), or
/// that the caller may not change, are left out silently.
pub async fn assign(ctx: &Ctx, group: Option<&str>, controller_ids: Vec<Option<String>>) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    if controller_ids.is_empty() {
        return Err(Error::constraint("controllerIds must not be empty."));
    }
    check(group)?;
    let controller_ids: Vec<String> = controller_ids.into_iter().flatten().collect();
    let scope = super::updatable(ctx).await?;
    let mut tx = ctx.begin().await?;
    let found = store::lock_many(&*tx, ctx.tenant_id(), &scope, &controller_ids).await?;
    for chunk in found.chunks(999) {
        let which = Condition::all().add(Column::Id.is_in(chunk.iter().map(|t| t.id)));
        let ids = store::set_group(&tx, ctx.tenant_id(), &scope, which, group).await?;
        super::changed(ctx, &mut tx, ids);
    }
    Ok(tx.commit().await?)
}

/// Puts every target that a search finds into a group, or out of theirs with `None`.
pub async fn assign_matching(ctx: &Ctx, group: Option<&str>, q: Option<&str>) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    let q = q.ok_or_else(|| Error::constraint("q must not be null."))?;
    check(group)?;
    let which = search::condition(ctx, &fields::ENTITY, q).await?;
    let scope = super::updatable(ctx).await?;
    let mut tx = ctx.begin().await?;
    let ids = store::set_group(&tx, ctx.tenant_id(), &scope, which, group).await?;
    super::changed(ctx, &mut tx, ids);
    Ok(tx.commit().await?)
}

/// hawkBit: markup in a group's name is refused where a target is created, and taken here.
fn check(group: Option<&str>) -> Result<()> {
    group.map_or(Ok(()), |group| text::fits("group", group, MAX_GROUP))
}
