//! What devices do with their targets: prove who they are, and poll (semantics.md A1, C1).

use std::sync::Arc;

use kettle_cluster::Event;
use sea_orm::{ActiveModelTrait, Set};
use subtle::ConstantTimeEq;

use super::{
    NextKind, UpdateStatus, auto_confirm,
    store::{self, NewTarget},
    view::{self, DeviceView},
};
use crate::{
    actions, announcements,
    ctx::{Ctx, Services, Tenant},
    error::{Error, Kind, Result},
    tenants::{self, TenantSettings, configuration::polling_range, polling},
};

/// What a device's request shows to prove itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    pub target_token: Option<&'a str>,
    pub gateway_token: Option<&'a str>,
    /// The controllerId that a trusted proxy vouches for, and the authorities it names.
    pub header_controller_id: Option<&'a str>,
    pub header_authorities: &'a [&'a str],
}

/// Checks the credentials in the peer's order: proxy header, target token, gateway token. A wrong one doesn't stop the
/// others. `None`: not authenticated, or no such tenant.
pub async fn authenticate(
    services: &Arc<Services>,
    tenant: Tenant,
    controller_id: &str,
    credentials: &Credentials<'_>,
) -> Result<Option<(Ctx, Arc<TenantSettings>)>> {
    let Some(settings) = tenants::settings(services, &tenant).await? else { return Ok(None) };
    let ctx = Ctx::device(services, tenant);
    if settings.header_enabled
        && credentials.header_controller_id == Some(controller_id)
        && credentials.header_authorities.iter().any(|a| settings.header_authorities.contains(&a.trim().to_lowercase()))
    {
        return Ok(Some((ctx, settings)));
    }
    if settings.targettoken_enabled
        && let Some(token) = credentials.target_token
        && let Some(view) = view::get(&ctx, controller_id).await?
        && same(&view.token, token)
    {
        return Ok(Some((ctx, settings)));
    }
    if settings.gatewaytoken_enabled
        && let Some(token) = credentials.gateway_token
        && !settings.gatewaytoken_key.is_empty()
        && same(&settings.gatewaytoken_key, token)
    {
        return Ok(Some((ctx, settings)));
    }
    Ok(None)
}

fn same(expected: &str, given: &str) -> bool {
    expected.as_bytes().ct_eq(given.as_bytes()).into()
}

/// The answer to a poll: the view, and how long to sleep.
#[derive(Clone, Debug)]
pub struct Poll {
    pub view: Arc<DeviceView>,
    /// `HH:mm:ss`.
    pub sleep: String,
}

/// A poll: creates the target if it is new, registers it if it was made by an operator, notes the time and the address,
/// cancels the action that it would offer if its maintenance window has lapsed. A poll that changes nothing writes
/// nothing.
pub async fn poll(ctx: &Ctx, settings: &TenantSettings, controller_id: &str, address: &str) -> Result<Poll> {
    let view = heard_of(ctx, controller_id, address).await?;
    let view = cancel_lapsed(ctx, view).await?;
    let sleep = sleep(ctx, settings, &view);
    Ok(Poll { view, sleep })
}

/// A poll for what there is to confirm: as [`poll`], but a lapsed maintenance window cancels nothing here. Also says how
/// the target confirms its actions itself, if it does.
pub async fn poll_confirmation(
    ctx: &Ctx,
    controller_id: &str,
    address: &str,
) -> Result<(Arc<DeviceView>, Option<auto_confirm::Model>)> {
    let view = heard_of(ctx, controller_id, address).await?;
    let auto_confirm = store::auto_confirmation(ctx.db().read(), ctx.tenant_id(), view.target).await?;
    Ok((view, auto_confirm))
}

/// The view, after noting that the device was heard of.
async fn heard_of(ctx: &Ctx, controller_id: &str, address: &str) -> Result<Arc<DeviceView>> {
    match view::get(ctx, controller_id).await? {
        Some(view) if needs_write(ctx, &view, address) => register(ctx, controller_id, address).await,
        Some(view) => {
            let room = ctx.services().last_seen.note(view.target, ctx.now());
            if !room || ctx.settings().eager_poll_persistence {
                super::flush_last_seen(ctx.services()).await?;
            }
            Ok(view)
        }
        None => plug_and_play(ctx, controller_id, address).await,
    }
}

/// The view after its next action is cancelled, if that action's maintenance window has lapsed.
async fn cancel_lapsed(ctx: &Ctx, view: Arc<DeviceView>) -> Result<Arc<DeviceView>> {
    let lapsed = |next: &&view::NextAction| next.window.as_ref().is_some_and(|window| window.lapsed(ctx.now()));
    let Some(next) = view.next.as_ref().filter(|next| next.kind != NextKind::Cancel).filter(lapsed) else {
        return Ok(view);
    };
    actions::cancel_lapsed(ctx, &view.controller_id, next.id).await?;
    reread(ctx, &view.controller_id).await
}

/// The polling interval, or less, so that the device comes back in time for the maintenance window.
fn sleep(ctx: &Ctx, settings: &TenantSettings, view: &DeviceView) -> String {
    let range = polling_range(ctx.settings());
    let interval = match view.interval.deviation {
        0 => view.interval.text.clone(),
        _ => view.interval.sleep(rand::random(), range),
    };
    let now = ctx.now();
    let window = view.next.as_ref().and_then(|next| next.window.as_ref());
    match window.and_then(|window| window.next_start(now)).filter(|start| *start >= now) {
        Some(start) => polling::sleep_before(start - now, settings.maintenance_window_poll_count, interval, range.0),
        None => interval,
    }
}

fn needs_write(ctx: &Ctx, view: &DeviceView, address: &str) -> bool {
    view.update_status == UpdateStatus::Unknown as i32 || view.address.as_deref() != Some(address_of(ctx, address))
}

fn address_of<'a>(ctx: &Ctx, address: &'a str) -> &'a str {
    if ctx.settings().track_remote_ip { address } else { "http://***" }
}

async fn register(ctx: &Ctx, controller_id: &str, address: &str) -> Result<Arc<DeviceView>> {
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    let unknown = target.is(UpdateStatus::Unknown);
    let revision = target.optlock_revision.unwrap_or(0);
    let mut row: super::entity::ActiveModel = target.into();
    if unknown {
        row.update_status = Set(UpdateStatus::Registered as i32);
    }
    row.optlock_revision = Set(Some(revision + 1));
    row.address = Set(Some(address_of(ctx, address).into()));
    row.last_target_query = Set(Some(ctx.now()));
    let target = row.update(&*tx).await?;
    announcements::polled(ctx, &tx, controller_id, address_of(ctx, address));
    // hawkBit: tells nothing of a new address alone.
    announcements::updated(ctx, &tx, announcements::Entity::Target, unknown.then_some(target.id));
    tx.emit(Event::TargetsChanged { tenant: ctx.tenant_id().into(), controller_ids: vec![controller_id.into()] });
    tx.commit().await?;
    reread(ctx, controller_id).await
}

async fn plug_and_play(ctx: &Ctx, controller_id: &str, address: &str) -> Result<Arc<DeviceView>> {
    super::check_controller_id(controller_id)?;
    let row = NewTarget {
        address: Some(address_of(ctx, address).into()),
        ..plug_and_play_row(controller_id, None, ctx.now())
    };
    let mut tx = ctx.begin().await?;
    announcements::polled(ctx, &tx, controller_id, address_of(ctx, address));
    match super::insert(ctx, &mut tx, &[row]).await {
        Ok(_) => tx.commit().await?,
        // The same device asked twice at once: the other request made it.
        Err(error) if error.kind == Kind::EntityAlreadyExists => drop(tx),
        Err(error) => return Err(error),
    }
    reread(ctx, controller_id).await
}

/// The row of a target that the server did not know before its device came.
pub(super) fn plug_and_play_row(controller_id: &str, name: Option<String>, now: i64) -> NewTarget {
    let description = format!("Plug and Play target: {controller_id}");
    NewTarget {
        controller_id: controller_id.into(),
        name: name.unwrap_or_else(|| controller_id.chars().take(super::MAX_NAME).collect()),
        description: Some(description.chars().take(super::MAX_DESCRIPTION).collect()),
        sec_token: super::new_token(),
        address: None,
        target_group: None,
        target_type: None,
        update_status: UpdateStatus::Registered as i32,
        last_target_query: Some(now),
    }
}

async fn reread(ctx: &Ctx, controller_id: &str) -> Result<Arc<DeviceView>> {
    view::get(ctx, controller_id).await?.ok_or_else(|| Error::not_found("Target", controller_id))
}
