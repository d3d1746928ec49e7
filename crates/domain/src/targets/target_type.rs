//! The type of a target, given and taken away on its own.

use sea_orm::{ActiveModelTrait, Set};

use crate::{
    access::Permission,
    announcements::{self, Entity},
    ctx::Ctx,
    error::Result,
    target_types,
};

pub async fn assign(ctx: &Ctx, controller_id: &str, target_type: i64) -> Result<()> {
    set(ctx, controller_id, Some(target_type)).await
}

pub async fn unassign(ctx: &Ctx, controller_id: &str) -> Result<()> {
    set(ctx, controller_id, None).await
}

async fn set(ctx: &Ctx, controller_id: &str, target_type: Option<i64>) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    if let Some(id) = target_type {
        target_types::hold(ctx, &*tx, id).await?;
    }
    if target.target_type == target_type {
        return Ok(());
    }
    let mut row = super::touched(ctx, &target);
    row.target_type = Set(target_type);
    row.update(&*tx).await?;
    announcements::updated(ctx, &tx, Entity::Target, [target.id]);
    super::changed(ctx, &mut tx, vec![target.controller_id]);
    Ok(tx.commit().await?)
}
