//! What makes a set fit for deployment, and the lock that a deployment puts on it (semantics.md A2, "Lock").

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ConnectionTrait, Set};

use super::{Full, Model, load_one, not_found, store, touched};
use crate::{
    access::{Permission, Scope},
    announcements::{self, Entity},
    ctx::Ctx,
    distribution_set_tags, distribution_set_types,
    error::{Error, Kind, Result},
    search, tags, tenants,
};

/// The set, if it can be deployed by the caller: there and not deleted, valid, complete. It stays so until the
/// transaction ends.
pub async fn deployable(ctx: &Ctx, tx: &Tx, id: i64) -> Result<Full> {
    let scope = search::scope(ctx, Permission::ReadDistributionSet).await?;
    let found = store::get(&**tx, ctx.tenant_id(), &scope, id).await?.ok_or_else(|| not_found(id))?;
    // One that is not locked yet will be written: two that share it and then both want to write would block each other.
    let held = match found.locked {
        true => store::hold(&**tx, ctx.tenant_id(), &scope, id).await?,
        false => store::lock(&**tx, ctx.tenant_id(), &scope, id).await?,
    };
    let held = held.ok_or_else(|| not_found(id))?;
    let full = load_one(ctx, &**tx, held).await?;
    if full.set.valid == Some(false) {
        return Err(unfit(Kind::DistributionSetInvalid, &full.type_key, id));
    }
    if !full.complete {
        return Err(unfit(Kind::DistributionSetIncomplete, &full.type_key, id));
    }
    if full.set.deleted == Some(true) {
        let message = format!("DistributionSet with given identifier {{{id}}} is deleted.");
        return Err(Error::new(Kind::Deleted, message));
    }
    Ok(full)
}

/// Whether deploying the set locks it: it is not locked yet, and neither the tenant nor a tag of the set says not to.
pub async fn is_locked_implicitly(ctx: &Ctx, tx: &Tx, full: &Full) -> Result<bool> {
    if full.set.locked {
        return Ok(false);
    }
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    if !settings.is_some_and(|s| s.implicit_lock) {
        return Ok(false);
    }
    let kind = distribution_set_tags::KIND;
    let tags = tags::store::of(&**tx, ctx.engine(), ctx.tenant_id(), kind, full.set.id).await?;
    Ok(!tags.iter().any(|tag| ctx.settings().skip_implicit_lock_for_tags.contains(&tag.name)))
}

/// Locks a set and its modules because it is being deployed, if [`is_locked_implicitly`]. Part of the caller's
/// transaction, and no matter of its user's permissions.
pub async fn lock_implicitly(ctx: &Ctx, tx: &Tx, full: &Full) -> Result<()> {
    if !is_locked_implicitly(ctx, tx, full).await? {
        return Ok(());
    }
    // `deployable` holds the row for writing, so it is still as `full` has it.
    let mut row = touched(ctx, &full.set);
    row.locked = Set(true);
    row.update(&**tx).await?;
    announcements::updated(ctx, tx, Entity::DistributionSet, [full.set.id]);
    lock_all_modules(ctx, tx, full).await
}

/// Locks the modules of a set that an operator locks.
pub(super) async fn lock_modules(ctx: &Ctx, tx: &Tx, set: &Model) -> Result<()> {
    let full = load_one(ctx, &**tx, set.clone()).await?;
    lock_all_modules(ctx, tx, &full).await
}

async fn lock_all_modules(ctx: &Ctx, tx: &Tx, full: &Full) -> Result<()> {
    let ids: Vec<i64> = full.modules.iter().map(|m| m.module.id).collect();
    store::lock_modules(&**tx, ctx.tenant_id(), &ids, &ctx.actor_name(), ctx.now()).await?;
    let changed = full.modules.iter().filter(|m| !m.module.locked).map(|m| m.module.id);
    announcements::updated(ctx, tx, Entity::SoftwareModule, changed);
    Ok(())
}

/// Why nothing is done with a set, in the peer's words.
pub(super) async fn refused(kind: Kind, ctx: &Ctx, db: &impl ConnectionTrait, set: &Model) -> Error {
    match distribution_set_types::store::get(db, ctx.tenant_id(), &Scope::ALL, set.ds_type).await {
        Ok(found) => unfit(kind, &found.map(|t| t.type_key).unwrap_or_default(), set.id),
        Err(error) => error.into(),
    }
}

fn unfit(kind: Kind, type_key: &str, id: i64) -> Error {
    let state = if kind == Kind::DistributionSetInvalid { "invalid" } else { "incomplete" };
    Error::new(kind, format!("Distribution set of type {type_key} is {state}: {id}"))
}
