//! Target tags: which targets have which (semantics.md A1). What holds for tags of any kind is in `tags`.

mod fields;

use std::collections::{HashMap, HashSet};

use crate::{
    access::Permission,
    announcements::Entity as Told,
    ctx::Ctx,
    error::{Error, Result},
    listing::{Listing, Page},
    search,
    tags::{self, Tag, TagKind},
    targets::{self, Shown},
};

pub const KIND: &TagKind = &TagKind {
    name: "TargetTag",
    entity: fields::ENTITY,
    tagged: "sp_target",
    links: ("sp_target_target_tag", "target"),
    told_as: Told::TargetTag,
    tagged_told_as: Told::Target,
    of_targets: true,
    create: Permission::CreateTarget,
    read: Permission::ReadTarget,
    update: Permission::UpdateTarget,
    delete: Permission::DeleteTarget,
};

/// What becomes of the others if some targets to tag are unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFoundPolicy {
    /// They stay as they are, and the unknown are named.
    Fail,
    /// They are changed, and the unknown are named.
    ChangeFoundAndFail,
    /// They are changed, and nothing is said.
    ChangeFound,
}

/// The tags of one target.
pub async fn of_target(ctx: &Ctx, controller_id: &str) -> Result<Vec<Tag>> {
    let target = targets::find(ctx, controller_id).await?;
    Ok(tags::store::of(ctx.db().read(), ctx.engine(), ctx.tenant_id(), KIND, target.id).await?)
}

/// The targets that have the tag.
pub async fn targets(ctx: &Ctx, id: i64, listing: &Listing) -> Result<Page<Shown>> {
    let tag = tags::get(ctx, KIND, id).await?;
    targets::list_of(ctx, tags::store::tagged(KIND, tag.id), listing).await
}

pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    // hawkBit: reads the tag before it looks at the permission to delete it, unlike for tags of sets.
    let tag = tags::get(ctx, KIND, id).await?;
    tags::delete(ctx, KIND, tag.id).await
}

/// Puts the tag on targets. Those that have it already stay as they are.
pub async fn assign(ctx: &Ctx, id: i64, controller_ids: &[Option<String>], policy: NotFoundPolicy) -> Result<()> {
    set(ctx, id, controller_ids, policy, true).await
}

/// Takes the tag off targets. Those that lack it stay as they are.
pub async fn unassign(ctx: &Ctx, id: i64, controller_ids: &[Option<String>], policy: NotFoundPolicy) -> Result<()> {
    set(ctx, id, controller_ids, policy, false).await
}

async fn set(ctx: &Ctx, id: i64, controller_ids: &[Option<String>], policy: NotFoundPolicy, on: bool) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    if controller_ids.is_empty() {
        return Err(Error::constraint("controllerIds must not be empty."));
    }
    let mut tx = ctx.begin().await?;
    tags::hold(ctx, &tx, KIND, id).await?;
    let wanted: HashSet<&String> = controller_ids.iter().flatten().collect();
    let wanted: Vec<String> = wanted.into_iter().cloned().collect();
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let found = targets::store::lock_many(&*tx, ctx.tenant_id(), &scope, &wanted).await?;
    let rows: Vec<i64> = found.iter().map(|target| target.id).collect();
    search::permit(ctx, &*tx, Permission::UpdateTarget, &rows).await?;
    let mut found: HashMap<i64, String> = found.into_iter().map(|t| (t.id, t.controller_id)).collect();
    let all_known = check_known(controller_ids, &found);
    if policy == NotFoundPolicy::Fail && all_known.is_err() {
        return all_known;
    }
    let changed = tags::set(ctx, &tx, KIND, id, &rows, on).await?;
    let changed = changed.iter().filter_map(|row| found.remove(row)).collect();
    targets::changed(ctx, &mut tx, changed);
    tx.commit().await?;
    if policy == NotFoundPolicy::ChangeFound { Ok(()) } else { all_known }
}

fn check_known(controller_ids: &[Option<String>], found: &HashMap<i64, String>) -> Result<()> {
    // hawkBit: a target that is named twice is found once, so one seems to be missing, though none is named.
    if found.len() >= controller_ids.len() {
        return Ok(());
    }
    let known: HashSet<&String> = found.values().collect();
    let missing = controller_ids.iter().filter(|id| id.as_ref().is_none_or(|id| !known.contains(id)));
    let missing: Vec<Option<String>> = missing.cloned().collect();
    Err(Error::not_found("Target", missing))
}
