//! Targets: the devices that the server knows (semantics.md A1).
//!
//! Creation and edits by operators here; what devices do themselves is in `device.rs` (polls, registration) and
//! `attributes.rs`, and behind gateways in `registration.rs`; confirming by itself in `auto_confirm.rs`. The assignment of sets is `actions`' business.

pub mod attributes;
pub mod auto_confirm;
mod credentials;
mod device;
pub mod entity;
pub mod fields;
pub mod groups;
mod last_seen;
pub mod metadata;
mod poll_status;
mod registration;
mod shared;
pub(crate) mod store;
pub mod target_type;
mod view;

pub use credentials::{HeaderCredentials, ProxyHeaders};
pub use device::{Credentials, Poll, authenticate, poll, poll_confirmation};
pub use entity::{Model, UpdateStatus};
pub use last_seen::{LastSeen, flush as flush_last_seen};
pub use poll_status::PollStatus;
pub use registration::{Registered, Registration, register};
pub use view::{DeviceView, NextAction, NextKind, ViewCache};

use std::collections::BTreeSet;

use kettle_cluster::{Event, Tx};
use kettle_db::Db;
use sea_orm::{ActiveModelTrait, Condition, DbErr, Order, QueryFilter, Set};

use crate::{
    access::{Permission, Scope},
    announcements::{self, Entity},
    audit::touched,
    commands,
    ctx::Ctx,
    error::{Error, Kind, Result},
    listing::{Listing, Page},
    search, target_types, text, totals,
};
use store::NewTarget;

const DEFAULT_SORT: (&str, Order) = ("controller_id", Order::Asc);
const MAX_CONTROLLER_ID: usize = 256;
const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 512;
const MAX_TOKEN: usize = 128;
const MAX_ADDRESS: usize = 512;
const MAX_GROUP: usize = 256;

/// A target as the Management API shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub target: Model,
    pub poll_status: Option<PollStatus>,
    pub type_name: Option<String>,
    /// Whether actions confirm themselves; only there while the tenant's confirmation flow is on.
    pub auto_confirm_active: Option<bool>,
    /// The token may be shown to this caller.
    pub token_visible: bool,
}

/// What an operator gives to create a target.
#[derive(Clone, Debug, Default)]
pub struct Create {
    pub controller_id: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub security_token: Option<String>,
    pub address: Option<String>,
    pub group: Option<String>,
    pub target_type: Option<i64>,
}

/// What an operator changes; `None` leaves a value as it is.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub name: Option<String>,
    pub description: Option<String>,
    pub security_token: Option<String>,
    pub address: Option<String>,
    pub request_attributes: Option<bool>,
    /// -1 takes the type away.
    pub target_type: Option<i64>,
}

pub async fn list(ctx: &Ctx, listing: &Listing) -> Result<Page<Shown>> {
    ctx.require(Permission::ReadTarget)?;
    let order = search::order(&fields::ENTITY, listing.sort.as_deref(), DEFAULT_SORT)?;
    page(ctx, None, listing, order).await
}

/// One page of the targets that `which` selects, for other lists of targets.
async fn list_where(ctx: &Ctx, which: Condition, listing: &Listing) -> Result<Page<Shown>> {
    let order = search::order(&fields::ENTITY, listing.sort.as_deref(), DEFAULT_SORT)?;
    page(ctx, Some(which), listing, order).await
}

/// The targets that have a distribution set or a tag, as `which` says.
pub(crate) async fn list_of(ctx: &Ctx, which: Condition, listing: &Listing) -> Result<Page<Shown>> {
    // hawkBit: these lists are searched by the fields of targets, and sorted by those of sets or tags.
    let order = search::order(&fields::AS_OF_ANOTHER, listing.sort.as_deref(), ("id", Order::Asc))?;
    page(ctx, Some(which), listing, order).await
}

/// One page of the targets that the caller may read, or of those among them that `which` selects.
async fn page(
    ctx: &Ctx,
    which: Option<Condition>,
    listing: &Listing,
    order: Vec<(&'static str, Order)>,
) -> Result<Page<Shown>> {
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    // The kept total is that of all targets.
    let known_total = match listing.q.is_none() && which.is_none() && scope.is_all() {
        true => Some(totals::read(ctx.db().read(), ctx.engine(), ctx.tenant_id(), totals::TARGETS).await?),
        false => None,
    };
    let mut select = store::of_tenant(ctx.tenant_id(), &scope);
    if let Some(which) = which {
        select = select.filter(which);
    }
    let decode = store::decode;
    let page = search::ordered_page(ctx, select, &fields::ENTITY, listing, order, known_total, decode).await?;
    Ok(Page { content: poll_status::show(ctx, page.content).await?, total: page.total })
}

/// One target, or `Target` not found.
pub async fn get(ctx: &Ctx, controller_id: &str) -> Result<Shown> {
    show_one(ctx, find(ctx, controller_id).await?).await
}

async fn show_one(ctx: &Ctx, target: Model) -> Result<Shown> {
    let shown = poll_status::show(ctx, vec![target]).await?.pop();
    shown.ok_or_else(|| Error::internal("one target in, none out"))
}

/// The row of a target that the caller may read.
pub async fn find(ctx: &Ctx, controller_id: &str) -> Result<Model> {
    ctx.require(Permission::ReadTarget)?;
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let found = store::find(ctx.db().read(), ctx.tenant_id(), &scope, controller_id).await?;
    found.ok_or_else(|| Error::not_found("Target", controller_id))
}

/// The row of a target that the caller may change, locked for the rest of `tx`.
pub(crate) async fn lock(ctx: &Ctx, tx: &Tx, controller_id: &str) -> Result<Model> {
    lock_for(ctx, tx, Permission::UpdateTarget, controller_id).await
}

/// The row of a target that the caller may work on under `permission`, locked for the rest of `tx`.
async fn lock_for(ctx: &Ctx, tx: &Tx, permission: Permission, controller_id: &str) -> Result<Model> {
    let scope = search::scope(ctx, Permission::ReadTarget).await?;
    let found = store::lock(&**tx, ctx.tenant_id(), &scope, controller_id).await?;
    let found = found.ok_or_else(|| Error::not_found("Target", controller_id))?;
    search::permit(ctx, &**tx, permission, &[found.id]).await?;
    Ok(found)
}

/// The targets that the caller may change, of those that it may read: for work that leaves all others out.
pub(crate) async fn updatable(ctx: &Ctx) -> Result<Scope> {
    Ok(search::scope(ctx, Permission::ReadTarget).await?.and(search::scope(ctx, Permission::UpdateTarget).await?))
}

/// Creates all targets or none; they come back in the order given.
pub async fn create(ctx: &Ctx, targets: Vec<Create>) -> Result<Vec<Shown>> {
    ctx.require(Permission::CreateTarget)?;
    // hawkBit: what is shown of a target needs this, also right after its creation.
    ctx.require(Permission::ReadTarget)?;
    let rows = targets.into_iter().map(new_row).collect::<Result<Vec<_>>>()?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = ctx.begin().await?;
    let types: BTreeSet<i64> = rows.iter().filter_map(|r| r.target_type).collect();
    for id in types {
        target_types::hold(ctx, &*tx, id).await?;
    }
    let created = insert(ctx, &mut tx, &rows).await?;
    let ids: Vec<i64> = created.iter().map(|target| target.id).collect();
    search::permit(ctx, &*tx, Permission::CreateTarget, &ids).await?;
    tx.commit().await?;
    poll_status::show(ctx, created).await
}

async fn insert(ctx: &Ctx, tx: &mut Tx, rows: &[NewTarget]) -> Result<Vec<Model>> {
    let created = store::insert_all(&**tx, ctx.engine(), ctx.tenant_id(), rows, &ctx.actor_name(), ctx.now()).await;
    let created = created.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    totals::add(tx, ctx.tenant_id(), totals::TARGETS, i64::try_from(created.len()).unwrap_or(i64::MAX)).await?;
    announcements::created(ctx, tx, Entity::Target, created.iter().map(|t| t.id));
    changed(ctx, tx, created.iter().map(|t| t.controller_id.clone()).collect());
    Ok(created)
}

pub async fn update(ctx: &Ctx, controller_id: &str, update: Update) -> Result<Shown> {
    if update.request_attributes == Some(false) {
        // hawkBit: refused without a body, whoever asks and for whatever target.
        return Err(Error::new(Kind::Refused, "requestAttributes can be set to true only."));
    }
    ctx.require(Permission::ReadTarget)?;
    ctx.require(Permission::UpdateTarget)?;
    if let Some(name) = &update.name {
        text::filled("name", name, MAX_NAME)?;
    }
    text::optional("description", update.description.as_deref(), MAX_DESCRIPTION)?;
    if let Some(token) = &update.security_token {
        text::filled("securityToken", token, MAX_TOKEN)?;
    }
    check_address(update.address.as_deref())?;
    let mut tx = ctx.begin().await?;
    let found = lock(ctx, &tx, controller_id).await?;
    if let Some(id) = update.target_type.filter(|id| *id != -1) {
        target_types::hold(ctx, &*tx, id).await?;
    }
    let edited = edited(&found, update);
    if edited == found {
        drop(tx);
        return show_one(ctx, found).await;
    }
    // hawkBit: tells nothing of a new address alone.
    let told = (edited != Model { address: edited.address.clone(), ..found.clone() }).then_some(found.id);
    let mut row = touched(ctx, &found);
    row.name = Set(edited.name);
    row.description = Set(edited.description);
    row.sec_token = Set(edited.sec_token);
    row.address = Set(edited.address);
    row.request_controller_attributes = Set(edited.request_controller_attributes);
    row.target_type = Set(edited.target_type);
    let target = row.update(&*tx).await?;
    search::permit(ctx, &*tx, Permission::UpdateTarget, &[target.id]).await?;
    announcements::updated(ctx, &tx, Entity::Target, told);
    changed(ctx, &mut tx, vec![target.controller_id.clone()]);
    tx.commit().await?;
    show_one(ctx, target).await
}

/// The row as the update leaves it, but for its audit columns.
fn edited(found: &Model, update: Update) -> Model {
    let mut row = found.clone();
    row.name = update.name.map_or(row.name, text::trim);
    row.description = update.description.map(text::trim).or(row.description);
    row.sec_token = update.security_token.map_or(row.sec_token, text::trim);
    row.address = update.address.map(text::trim).or(row.address);
    row.request_controller_attributes = update.request_attributes.unwrap_or(row.request_controller_attributes);
    row.target_type = update.target_type.map_or(row.target_type, |id| (id != -1).then_some(id));
    row
}

/// Deletes a target with everything about it: actions, attributes, metadata.
pub async fn delete(ctx: &Ctx, controller_id: &str) -> Result<()> {
    ctx.require(Permission::DeleteTarget)?;
    delete_by_device(ctx, controller_id).await
}

/// As [`delete`], because the device itself, or its gateway, says that it is gone.
pub async fn delete_by_device(ctx: &Ctx, controller_id: &str) -> Result<()> {
    let mut tx = ctx.begin().await?;
    let target = lock_for(ctx, &tx, Permission::DeleteTarget, controller_id).await?;
    store::delete(&*tx, ctx.tenant_id(), target.id).await?;
    totals::add(&tx, ctx.tenant_id(), totals::TARGETS, -1).await?;
    commands::note_deleted(ctx, &mut tx, &target);
    changed(ctx, &mut tx, vec![target.controller_id]);
    Ok(tx.commit().await?)
}

/// The row with its audit columns set to this actor and moment, for further changes.
pub(crate) fn touched(ctx: &Ctx, target: &Model) -> entity::ActiveModel {
    touched!(ctx, target)
}

/// Whether a gateway speaks for a target: its address is then the exchange through which the gateway hears.
pub(crate) fn has_gateway(address: Option<&str>) -> bool {
    address.is_some_and(|address| address.starts_with("amqp:"))
}

/// The controllerIds of a tenant's targets that other servers tell of by their ids.
pub(crate) async fn names_of(db: &Db, tenant: &str, ids: &[i64]) -> std::result::Result<Vec<String>, DbErr> {
    store::names_of(db.read(), db.engine(), tenant, ids).await
}

/// Notes that what these targets' devices see, or what searches see of them, may have changed.
pub(crate) fn changed(ctx: &Ctx, tx: &mut Tx, controller_ids: Vec<String>) {
    tx.emit(Event::TargetsChanged { tenant: ctx.tenant_id().into(), controller_ids });
}

/// Notes that searches over targets by these fields may find others than before, though no target was changed: what it
/// refers to was. Without fields, any search.
pub(crate) fn searches_changed(ctx: &Ctx, tx: &mut Tx, fields: &[&str]) {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    tx.emit(Event::TargetSearchesChanged { tenant: ctx.tenant_id().into(), fields });
}

fn new_row(target: Create) -> Result<NewTarget> {
    let Some(controller_id) = target.controller_id else {
        return Err(Error::constraint("controllerId must not be null."));
    };
    text::filled("controllerId", &controller_id, MAX_CONTROLLER_ID)?;
    // hawkBit: an empty name or token is as an absent one. The name is then made of the controllerId as it was sent.
    let name = target.name.filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| controller_id.chars().take(MAX_NAME).collect());
    text::filled("name", &name, MAX_NAME)?;
    let token = target.security_token.filter(|token| !token.is_empty()).unwrap_or_else(new_token);
    text::filled("securityToken", &token, MAX_TOKEN)?;
    let controller_id = text::trim(controller_id);
    check_controller_id(&controller_id)?;
    text::optional("description", target.description.as_deref(), MAX_DESCRIPTION)?;
    // hawkBit: of a group, unlike of other texts, what is stored must not be too long.
    let group = target.group.map(text::trim);
    text::optional("group", group.as_deref(), MAX_GROUP)?;
    check_address(target.address.as_deref())?;
    Ok(NewTarget {
        name: text::trim(name),
        controller_id,
        description: target.description.map(text::trim),
        sec_token: text::trim(token),
        address: target.address.map(text::trim),
        target_group: group,
        target_type: target.target_type,
        update_status: UpdateStatus::Unknown as i32,
        last_target_query: None,
    })
}

fn check_controller_id(id: &str) -> Result<()> {
    if id.is_empty() || id.chars().count() > MAX_CONTROLLER_ID {
        return Err(Error::constraint(format!("controllerId size must be between 1 and {MAX_CONTROLLER_ID}.")));
    }
    if id.chars().any(|c| c.is_whitespace() || c == '\0') {
        return Err(Error::constraint("controllerId must not contain whitespace."));
    }
    text::no_markup("controllerId", id)
}

fn check_address(address: Option<&str>) -> Result<()> {
    let Some(address) = address else { return Ok(()) };
    text::optional("address", Some(address), MAX_ADDRESS)?;
    let odd = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '{' | '}' | '|' | '\\' | '^' | '`')
    };
    if address.trim_matches(|c| c <= ' ').chars().any(odd) {
        return Err(Error::new(Kind::InvalidTargetAddress, format!("The address {address} is no URI.")));
    }
    Ok(())
}

/// 16 random bytes as 32 lower-case hex digits.
pub(crate) fn new_token() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
