//! Tags of distribution sets: which sets have which (semantics.md A1). What holds for tags of any kind is in `tags`.

mod fields;

use std::collections::HashSet;

use crate::{
    access::Permission,
    announcements::Entity as Told,
    ctx::Ctx,
    distribution_sets::{self, Full},
    error::{Error, Result},
    listing::{Listing, Page},
    search,
    tags::{self, TagKind},
};

pub const KIND: &TagKind = &TagKind {
    name: "DistributionSetTag",
    entity: fields::ENTITY,
    tagged: "sp_distribution_set",
    links: ("sp_ds_tag", "ds"),
    told_as: Told::DistributionSetTag,
    tagged_told_as: Told::DistributionSet,
    of_targets: false,
    create: Permission::CreateDistributionSet,
    read: Permission::ReadDistributionSet,
    update: Permission::UpdateDistributionSet,
    delete: Permission::DeleteDistributionSet,
};

/// The sets that have the tag.
pub async fn sets(ctx: &Ctx, id: i64, listing: &Listing) -> Result<Page<Full>> {
    let tag = tags::get(ctx, KIND, id).await?;
    distribution_sets::list_of(ctx, tags::store::tagged(KIND, tag.id), listing).await
}

/// Puts the tag on sets, all or none. Those that have it already stay as they are.
pub async fn assign(ctx: &Ctx, id: i64, sets: &[Option<i64>]) -> Result<()> {
    set(ctx, id, sets, true).await
}

/// Takes the tag off sets, all or none. Those that lack it stay as they are.
pub async fn unassign(ctx: &Ctx, id: i64, sets: &[Option<i64>]) -> Result<()> {
    set(ctx, id, sets, false).await
}

async fn set(ctx: &Ctx, id: i64, sets: &[Option<i64>], on: bool) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSet)?;
    if sets.is_empty() {
        return Err(Error::constraint("ids must not be empty."));
    }
    // hawkBit: the tag is read as a user reads it.
    ctx.require(Permission::ReadDistributionSet)?;
    let tx = ctx.begin().await?;
    tags::hold(ctx, &tx, KIND, id).await?;
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let wanted: Vec<i64> = sets.iter().copied().flatten().collect();
    let found = distribution_sets::store::lock_many(&*tx, ctx.tenant_id(), &scope, &wanted).await?;
    // hawkBit: a set that is named twice is found once, so one seems to be missing, though none is named.
    if found.len() < sets.len() {
        let known: HashSet<i64> = found.into_iter().collect();
        let missing = sets.iter().copied().filter(|id| id.is_none_or(|id| !known.contains(&id))).collect::<Vec<_>>();
        return Err(Error::not_found("DistributionSet", missing));
    }
    search::permit(ctx, &*tx, Permission::UpdateDistributionSet, &found).await?;
    tags::set(ctx, &tx, KIND, id, &found, on).await?;
    Ok(tx.commit().await?)
}
