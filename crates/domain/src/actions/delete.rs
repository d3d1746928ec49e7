//! Deleting actions, whatever their state (semantics.md A6). Their targets stay as they are: a target whose active action
//! is deleted keeps the set as assigned, and its device finds nothing to do.

use kettle_cluster::Tx;
use sea_orm::{ColumnTrait, Condition};

use super::{entity::Column, fields, store};
use crate::{
    access::Permission,
    ctx::Ctx,
    error::{Error, Kind, Result},
    search, targets,
};

/// How many actions one transaction deletes.
const BATCH: u64 = 500;

/// Some actions of a tenant.
#[derive(Clone, Debug)]
pub enum Selected {
    /// Those of these ids; unknown ids are left out.
    Ids(Vec<i64>),
    /// Those that a search finds.
    Search(String),
}

/// Some actions of a target.
#[derive(Clone, Debug)]
pub enum SelectedOfTarget {
    /// Those of these ids that are the target's.
    Ids(Vec<i64>),
    /// All but this many, the newest.
    AllButNewest(u64),
}

/// Deletes one action. One that is not there is deleted already.
pub async fn delete(ctx: &Ctx, id: i64) -> Result<()> {
    delete_selected(ctx, Selected::Ids(vec![id])).await
}

pub async fn delete_selected(ctx: &Ctx, selected: Selected) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    match selected {
        Selected::Ids(ids) => {
            permit(ctx, &ids).await?;
            delete_ids(ctx, &deletable(ctx).await?, &ids).await
        }
        Selected::Search(q) => {
            let found = search::condition(ctx, &fields::ENTITY, &q).await?;
            delete_where(ctx, &deletable(ctx).await?.add(found)).await
        }
    }
}

/// The actions of targets that the caller may see and change.
async fn deletable(ctx: &Ctx) -> Result<Condition> {
    let scope =
        super::scope(ctx, Permission::ReadTarget).await?.and(super::scope(ctx, Permission::UpdateTarget).await?);
    Ok(Condition::all().add_option(scope.condition().cloned()))
}

/// Fails if the caller may see the target of one of these actions, but not change it.
async fn permit(ctx: &Ctx, ids: &[i64]) -> Result<()> {
    if !ctx.limits_actions() {
        return Ok(());
    }
    let db = ctx.db().read();
    let visible = super::scope(ctx, Permission::ReadTarget).await?;
    let visible = Condition::all().add_option(visible.condition().cloned());
    for chunk in ids.chunks(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
        let which = visible.clone().add(Column::Id.is_in(chunk.iter().copied()));
        let found = store::matching(db, ctx.tenant_id(), &which, 0, BATCH).await?;
        let mut targets: Vec<i64> = found.into_iter().map(|(_, target)| target).collect();
        targets.sort_unstable();
        targets.dedup();
        search::permit(ctx, db, Permission::UpdateTarget, &targets).await?;
    }
    Ok(())
}

pub async fn delete_of_target(ctx: &Ctx, controller_id: &str, selected: SelectedOfTarget) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    let db = ctx.db().read();
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let target = targets::store::find(db, ctx.tenant_id(), &scope, controller_id).await?;
    if let Some(target) = &target {
        search::permit(ctx, db, Permission::UpdateTarget, &[target.id]).await?;
    }
    match (selected, target) {
        (SelectedOfTarget::Ids(ids), Some(target)) => {
            delete_ids(ctx, &Condition::all().add(Column::Target.eq(target.id)), &ids).await
        }
        // hawkBit: by ids, an unknown target is one without actions; otherwise the error does not name it.
        (SelectedOfTarget::Ids(_), None) => Ok(()),
        (SelectedOfTarget::AllButNewest(_), None) => {
            Err(Error::new(Kind::EntityNotFound, "The given entity does not exist in the repository"))
        }
        (SelectedOfTarget::AllButNewest(keep), Some(target)) => {
            let Some(newest) = store::newest_but(db, ctx.tenant_id(), target.id, keep).await? else {
                return Ok(());
            };
            delete_where(ctx, &Condition::all().add(Column::Target.eq(target.id)).add(Column::Id.lte(newest))).await
        }
    }
}

async fn delete_ids(ctx: &Ctx, which: &Condition, ids: &[i64]) -> Result<()> {
    for chunk in ids.chunks(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
        delete_where(ctx, &which.clone().add(Column::Id.is_in(chunk.iter().copied()))).await?;
    }
    Ok(())
}

/// Deletes the actions that `which` selects, batch by batch: what is deleted when this is broken off stays deleted.
async fn delete_where(ctx: &Ctx, which: &Condition) -> Result<()> {
    let mut last = 0;
    loop {
        let mut tx = ctx.begin().await?;
        let Some(next) = delete_batch(ctx, &mut tx, which, last).await? else { return Ok(()) };
        tx.commit().await?;
        last = next;
    }
}

/// Deletes the first actions with ids above `after` that `which` selects, and gives the last of their ids; `None`: there
/// was none left. Targets are locked first, as by all who write a target's actions.
pub(super) async fn delete_batch(ctx: &Ctx, tx: &mut Tx, which: &Condition, after: i64) -> Result<Option<i64>> {
    let found = store::matching(&**tx, ctx.tenant_id(), which, after, BATCH).await?;
    let Some(&(last, _)) = found.last() else { return Ok(None) };
    let (ids, mut targets): (Vec<i64>, Vec<i64>) = found.into_iter().unzip();
    targets.sort_unstable();
    targets.dedup();
    let controller_ids = targets::store::lock_ids(&**tx, ctx.tenant_id(), &targets).await?;
    store::delete_matching(&**tx, ctx.tenant_id(), which, &ids).await?;
    targets::changed(ctx, tx, controller_ids);
    Ok(Some(last))
}
