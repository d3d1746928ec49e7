//! Taking a set out of use for good (semantics.md A2, "Invalidate").

use sea_orm::{ActiveModelTrait, Set};

use super::{leave_target_filters, load_one, lock, not_found, told, touched};
use crate::{
    access::Permission,
    actions,
    ctx::Ctx,
    error::{Kind, Result},
    rollouts::{self, RolloutStatus},
};

/// What becomes of the rollouts and actions of an invalidated set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelation {
    /// They go on.
    None,
    /// Rollouts are stopped, and devices asked to cancel.
    Soft,
    /// Rollouts are deleted, and actions closed at once.
    Force,
}

/// Makes a complete set invalid: it can't be assigned, edited or rolled out any more, and no filter assigns it by itself.
/// Rollouts are only marked here; what follows for their actions is their machine's business.
pub async fn invalidate(ctx: &Ctx, id: i64, cancelation: Cancelation) -> Result<()> {
    ctx.require(Permission::UpdateDistributionSet)?;
    ctx.require(Permission::ReadDistributionSet)?;
    if cancelation != Cancelation::None {
        ctx.require(Permission::UpdateRollout)?;
        ctx.require(Permission::UpdateTarget)?;
    }
    let mut tx = ctx.begin().await?;
    // Assignments hold this row while they run: those before are seen below, those after find the set invalid.
    let found = lock(ctx, &*tx, Permission::UpdateDistributionSet, id).await?.ok_or_else(|| not_found(id))?;
    if !load_one(ctx, &*tx, found.clone()).await?.complete {
        return Err(lock::refused(Kind::DistributionSetIncomplete, ctx, &*tx, &found).await);
    }
    if found.valid != Some(false) {
        let mut row = touched(ctx, &found);
        row.valid = Set(Some(false));
        row.update(&*tx).await?;
        told(ctx, &tx, &found);
    }
    let end_rollouts = match cancelation {
        Cancelation::None => None,
        Cancelation::Soft => Some(RolloutStatus::Stopping),
        Cancelation::Force => Some(RolloutStatus::Deleting),
    };
    if let Some(status) = end_rollouts {
        rollouts::end_all_of_set(ctx, &mut tx, id, status).await?;
        actions::cancel_of_set(ctx, &mut tx, id, cancelation == Cancelation::Force).await?;
    }
    leave_target_filters(ctx, &mut tx, id).await?;
    Ok(tx.commit().await?)
}
