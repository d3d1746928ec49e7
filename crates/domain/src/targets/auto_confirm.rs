//! Auto-confirmation: a target whose actions confirm themselves, whether the tenant's confirmation flow is on or not
//! (semantics.md A5).

use std::collections::HashMap;

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, Set};

pub use super::entity::auto_confirm::Model;
use super::{entity::auto_confirm::ActiveModel, store};
use crate::{
    access::Permission,
    actions,
    announcements::{self, Entity as Told},
    ctx::Ctx,
    error::{Error, Kind, Result},
    text,
};

const MAX_INITIATOR: usize = 64;
const MAX_REMARK: usize = 512;

/// Who wants it, and why; empty is as good as absent.
#[derive(Clone, Debug, Default)]
pub struct Activate {
    pub initiator: Option<String>,
    pub remark: Option<String>,
}

/// `None`: not active.
pub async fn get(ctx: &Ctx, controller_id: &str) -> Result<Option<Model>> {
    let target = super::find(ctx, controller_id).await?;
    Ok(store::auto_confirmation(ctx.db().read(), ctx.tenant_id(), target.id).await?)
}

/// From now on all actions of the target confirm themselves, those that wait already too.
pub async fn activate(ctx: &Ctx, controller_id: &str, wanted: Activate) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    turn_on(ctx, controller_id, wanted, true).await
}

/// As [`activate`], from the device itself.
pub async fn activate_by_device(ctx: &Ctx, controller_id: &str, wanted: Activate) -> Result<()> {
    turn_on(ctx, controller_id, wanted, false).await
}

/// New actions wait again. Actions that were confirmed stay so; a target that is not auto-confirming is as wanted.
pub async fn deactivate(ctx: &Ctx, controller_id: &str) -> Result<()> {
    ctx.require(Permission::UpdateTarget)?;
    turn_off(ctx, controller_id, true).await
}

/// As [`deactivate`], from the device itself.
pub async fn deactivate_by_device(ctx: &Ctx, controller_id: &str) -> Result<()> {
    turn_off(ctx, controller_id, false).await
}

async fn turn_on(ctx: &Ctx, controller_id: &str, wanted: Activate, by_operator: bool) -> Result<()> {
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    if store::auto_confirmation(&*tx, ctx.tenant_id(), target.id).await?.is_some() {
        let message = format!("Auto confirmation is already active for device {controller_id}");
        return Err(Error::new(Kind::AutoConfirmationAlreadyActive, message));
    }
    wanted.initiator.as_deref().map_or(Ok(()), |text| text::fits("initiator", text, MAX_INITIATOR))?;
    wanted.remark.as_deref().map_or(Ok(()), |text| text::fits("remark", text, MAX_REMARK))?;
    let row = ActiveModel {
        id: NotSet,
        target: Set(target.id),
        initiator: Set(wanted.initiator.filter(|text| !text.is_empty())),
        remark: Set(wanted.remark.filter(|text| !text.is_empty())),
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        tenant: Set(ctx.tenant_id().into()),
    };
    let active = row.insert(&*tx).await?;
    if by_operator {
        super::touched(ctx, &target).update(&*tx).await?;
    }
    announcements::updated(ctx, &tx, Told::Target, [target.id]);
    actions::confirm_all(ctx, &tx, target.id, &message(&active), by_operator).await?;
    super::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

async fn turn_off(ctx: &Ctx, controller_id: &str, by_operator: bool) -> Result<()> {
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    let was_on = store::delete_auto_confirmation(&*tx, ctx.tenant_id(), target.id).await?;
    if by_operator {
        super::touched(ctx, &target).update(&*tx).await?;
    }
    announcements::updated(ctx, &tx, Told::Target, was_on.then_some(target.id));
    super::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

/// What the statuses of the auto-confirming ones among `targets` say, by target.
pub(crate) async fn messages(ctx: &Ctx, tx: &Tx, targets: &[i64]) -> Result<HashMap<i64, String>> {
    let active = store::auto_confirmations(&**tx, ctx.tenant_id(), targets).await?;
    Ok(active.iter().map(|row| (row.target, message(row))).collect())
}

fn message(active: &Model) -> String {
    let shown = |text: &Option<String>| match text {
        Some(text) if !text.trim().is_empty() => text.clone(),
        _ => "n/a".into(),
    };
    format!(
        "Assignment automatically confirmed by initiator '{}'. \n\nAuto confirmation activated by system user: '{}' \n\n\
         Remark: {}",
        shown(&active.initiator),
        shown(&active.created_by),
        shown(&active.remark),
    )
}
