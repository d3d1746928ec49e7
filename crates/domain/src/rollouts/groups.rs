//! The groups of rollouts, and who is in them.

use sea_orm::{FromQueryResult, Order};

use super::{Counters, Group, RolloutStatus, SORT, counters, fields, find_any, store};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::{Error, Result},
    listing::{Listing, Page},
    search, targets, tenants,
};

/// A group as the Management API shows it.
#[derive(Clone, Debug)]
pub struct ShownGroup {
    pub group: Group,
    pub counters: Option<Counters>,
    /// Whether its actions wait for a confirmation; told while the tenant's confirmation flow is on.
    pub confirmation_required: Option<bool>,
}

/// One page of the groups of a rollout, with their counters if they are wanted in `full`.
pub async fn list(ctx: &Ctx, rollout: i64, listing: &Listing, full: bool) -> Result<Page<ShownGroup>> {
    ctx.require(Permission::ReadRollout)?;
    // hawkBit: groups are searched by their own fields, and sorted by those of rollouts.
    let order = search::order(&fields::GROUPS_AS_ROLLOUTS, listing.sort.as_deref(), SORT)?;
    let rollout = find_any(ctx, rollout).await?;
    let select = store::groups_of(ctx.tenant_id(), rollout.id);
    let decode = |row: &_| Group::from_query_result(row, "");
    let page = search::ordered_page(ctx, select, &fields::GROUPS, listing, order, None, decode).await?;
    let counters = match full {
        true => counters::of_groups(ctx, rollout.action_type(), &page.content).await?,
        false => Default::default(),
    };
    // hawkBit: behind the last page of groups in full, there is nothing at all.
    let total = if full && page.content.is_empty() { 0 } else { page.total };
    let confirmation_flow = confirmation_flow(ctx).await?;
    let show = |group: Group| show(confirmation_flow, counters.get(&group.id).copied(), group);
    Ok(Page { content: page.content.into_iter().map(show).collect(), total })
}

/// One group of a rollout, with its counters.
pub async fn get(ctx: &Ctx, rollout: i64, id: i64) -> Result<ShownGroup> {
    ctx.require(Permission::ReadRollout)?;
    let rollout = find_any(ctx, rollout).await?;
    let group = find(ctx, id).await?;
    if group.rollout != rollout.id {
        return Err(not_found(id));
    }
    let counters = counters::of_groups(ctx, rollout.action_type(), std::slice::from_ref(&group)).await?;
    Ok(show(confirmation_flow(ctx).await?, counters.get(&id).copied(), group))
}

/// One page of the targets of a group: those that were put into it until actions are made for them, and those actions'
/// targets from then on.
pub async fn targets(ctx: &Ctx, rollout: i64, id: i64, listing: &Listing) -> Result<Page<targets::Shown>> {
    ctx.require(Permission::ReadRollout)?;
    find_any(ctx, rollout).await?;
    // The sort is checked before the group is looked for; of what is searched for, a wrong search comes last.
    search::order(&targets::fields::AS_OF_ANOTHER, listing.sort.as_deref(), ("id", Order::Asc))?;
    ctx.require(Permission::ReadTarget)?;
    // hawkBit: the group may be another rollout's.
    let group = find(ctx, id).await?;
    let of = find_any(ctx, group.rollout).await?;
    // hawkBit: a search is always one among those that were put into the group; a dynamic group has none.
    let put = listing.q.is_some() || of.status() == RolloutStatus::Ready;
    let which = if put { store::members_of(group.id) } else { store::acted_on_in(ctx.tenant_id(), group.id) };
    targets::list_of(ctx, which, listing).await
}

async fn find(ctx: &Ctx, id: i64) -> Result<Group> {
    store::group(ctx.db().read(), ctx.tenant_id(), id).await?.ok_or_else(|| not_found(id))
}

fn not_found(id: i64) -> Error {
    Error::not_found("RolloutGroup", id)
}

async fn confirmation_flow(ctx: &Ctx) -> Result<bool> {
    Ok(tenants::settings(ctx.services(), &ctx.tenant).await?.is_some_and(|s| s.confirmation_flow))
}

fn show(confirmation_flow: bool, counters: Option<Counters>, group: Group) -> ShownGroup {
    let confirm = group.confirmation_required.unwrap_or(false);
    ShownGroup { confirmation_required: confirmation_flow.then_some(confirm), counters, group }
}
