//! Notes, in the transaction of a change, that gateways must hear of it. What no gateway is to hear of notes nothing, so
//! that fleets without gateways pay nothing: callers have the addresses at hand from what they read anyway.

use kettle_cluster::{ServiceEvent, Tx};

use super::AT_ONCE;
use crate::{actions, announcements, ctx::Ctx, targets};

/// Targets were given actions of `set`, as (action, controllerId), of those that a gateway speaks for.
pub(crate) fn note_assigned(ctx: &Ctx, tx: &mut Tx, set: i64, actions: Vec<(i64, String)>) {
    // Not cut into pieces: where a tenant wants batches, one event is one message.
    if !actions.is_empty() {
        tx.emit_service(ServiceEvent::Assigned { tenant: ctx.tenant_id().into(), set, actions });
    }
}

/// Devices were asked to cancel these actions, as (action, controllerId), of those that a gateway speaks for.
pub(crate) fn note_canceled(ctx: &Ctx, tx: &mut Tx, actions: &[(i64, String)]) {
    for actions in actions.chunks(AT_ONCE) {
        tx.emit_service(ServiceEvent::Canceled { tenant: ctx.tenant_id().into(), actions: actions.to_vec() });
    }
}

/// As [`note_canceled`], of one target, if a gateway speaks for it, and for everyone who listens. `action` is as it is now.
pub(crate) fn note_canceled_of(ctx: &Ctx, tx: &mut Tx, target: &targets::Model, action: &actions::Model) {
    announcements::canceled(ctx, tx, target, action);
    if targets::has_gateway(target.address.as_deref()) {
        note_canceled(ctx, tx, &[(action.id, target.controller_id.clone())]);
    }
}

/// A target is deleted.
pub(crate) fn note_deleted(ctx: &Ctx, tx: &mut Tx, target: &targets::Model) {
    announcements::target_deleted(ctx, tx, target);
    if let Some(address) = target.address.clone().filter(|address| targets::has_gateway(Some(address))) {
        let (tenant, controller_id) = (ctx.tenant_id().into(), target.controller_id.clone());
        tx.emit_service(ServiceEvent::TargetDeleted { tenant, controller_id, address });
    }
}

/// Targets that have ended an update are to report their attributes.
pub(crate) fn request_attributes<'a>(
    ctx: &Ctx,
    tx: &mut Tx,
    targets: impl IntoIterator<Item = &'a targets::Model, IntoIter: Clone>,
) {
    let targets = targets.into_iter();
    announcements::attributes_requested(ctx, tx, targets.clone());
    let of = |target: &targets::Model| {
        let address = target.address.clone().filter(|address| targets::has_gateway(Some(address)))?;
        Some((target.controller_id.clone(), address))
    };
    let targets: Vec<_> = targets.filter_map(of).collect();
    if !targets.is_empty() {
        tx.emit_service(ServiceEvent::AttributesRequested { tenant: ctx.tenant_id().into(), targets });
    }
}
