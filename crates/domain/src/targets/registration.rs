//! Devices behind gateways coming online: any number of them at once (semantics.md D3, THING_CREATED).

use std::collections::{BTreeSet, HashMap};

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, Set};

use super::{
    Model, UpdateStatus,
    attributes::{self, Mode, Reported},
    entity,
    store::{self, Known, NewTarget},
};
use crate::{
    announcements::{self, Entity},
    ctx::Ctx,
    error::{Error, Kind, Result},
    target_types, text,
};

/// How often a registration is tried when someone else creates one of the targets meanwhile.
const TRIES: u32 = 3;

/// What a device says of itself.
#[derive(Clone, Debug)]
pub struct Registration {
    pub controller_id: String,
    /// Where messages to it go.
    pub address: String,
    /// Blank leaves the name as it is.
    pub name: Option<String>,
    /// The name of a target type; blank takes the type away, an unknown one is passed over.
    pub target_type: Option<String>,
    pub attributes: Option<(Mode, Reported)>,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// There was no such target; it can't have anything to do yet.
    Created,
    Known,
}

/// Creates the targets that are new, notes of all that they were heard of, and takes what they say of themselves. Each
/// target is there once. Every registration has its own result; the whole fails when the database does.
pub async fn register(ctx: &Ctx, wanted: &[Registration]) -> Result<Vec<Result<Registered>>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(ctx, wanted).await {
            Err(error) if error.kind == Kind::EntityAlreadyExists && tries < TRIES => {
                tracing::debug!(tries, "a target was created by someone else meanwhile; trying again");
            }
            result => return result,
        }
    }
}

async fn attempt(ctx: &Ctx, wanted: &[Registration]) -> Result<Vec<Result<Registered>>> {
    let fit: Vec<&Registration> = wanted.iter().filter(|registration| check(registration).is_ok()).collect();
    let ids: Vec<&str> = fit.iter().map(|registration| registration.controller_id.as_str()).collect();
    let known = store::known(ctx.db().read(), ctx.engine(), ctx.tenant_id(), &ids).await?;
    let types = types(ctx, &fit).await?;
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for registration in fit {
        match known.get(registration.controller_id.as_str()) {
            None => new.push(registration),
            Some(known) if differs(registration, known, &types) || registration.attributes.is_some() => {
                changed.push(registration);
            }
            Some(known) => heard_of(ctx, known).await?,
        }
    }
    let mut refused = match new.is_empty() && changed.is_empty() {
        true => HashMap::new(),
        false => write(ctx, &new, &changed, &types).await?,
    };
    let result = |registration: &Registration| {
        check(registration)?;
        // hawkBit: the target is registered although what it says of itself is refused.
        refused.remove(registration.controller_id.as_str()).map_or(Ok(()), Err)?;
        let known = known.contains_key(registration.controller_id.as_str());
        Ok(if known { Registered::Known } else { Registered::Created })
    };
    Ok(wanted.iter().map(result).collect())
}

fn check(registration: &Registration) -> Result<()> {
    super::check_controller_id(&registration.controller_id)?;
    super::check_address(Some(&registration.address))?;
    text::optional("name", registration.name.as_deref(), super::MAX_NAME)?;
    registration.target_type.as_deref().map_or(Ok(()), |name| text::no_nul("type", name))
}

/// The ids of the target types that are named.
async fn types(ctx: &Ctx, wanted: &[&Registration]) -> Result<HashMap<String, i64>> {
    let names: BTreeSet<&str> = wanted.iter().filter_map(|w| w.target_type.as_deref()).filter(|n| filled(n)).collect();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = names.into_iter().collect();
    let found = target_types::store::by_names(ctx.db().read(), ctx.tenant_id(), &names).await?;
    for name in names.iter().filter(|name| !found.contains_key(**name)) {
        tracing::warn!(target_type.name = name, "a device names a target type that does not exist; it is passed over");
    }
    Ok(found)
}

fn filled(text: &str) -> bool {
    !text.trim().is_empty()
}

/// The type that a target has after the registration.
fn type_after(registration: &Registration, before: Option<i64>, types: &HashMap<String, i64>) -> Option<i64> {
    match registration.target_type.as_deref() {
        None => before,
        Some(name) if filled(name) => types.get(name).copied().or(before),
        Some(_) => None,
    }
}

fn differs(registration: &Registration, known: &Known, types: &HashMap<String, i64>) -> bool {
    known.address.as_deref() != Some(registration.address.as_str())
        || registration.name.as_deref().is_some_and(|name| filled(name) && name != known.name)
        || type_after(registration, known.target_type, types) != known.target_type
        || known.update_status == UpdateStatus::Unknown as i32
}

async fn heard_of(ctx: &Ctx, known: &Known) -> Result<()> {
    let room = ctx.services().last_seen.note(known.id, ctx.now());
    if !room || ctx.settings().eager_poll_persistence {
        super::flush_last_seen(ctx.services()).await?;
    }
    Ok(())
}

/// Gives what was refused of what targets say of themselves, by controllerId.
async fn write(
    ctx: &Ctx,
    new: &[&Registration],
    changed: &[&Registration],
    types: &HashMap<String, i64>,
) -> Result<HashMap<String, Error>> {
    let mut tx = ctx.begin().await?;
    let ids: Vec<String> = changed.iter().map(|r| r.controller_id.clone()).collect();
    let held = store::lock_many(&*tx, ctx.tenant_id(), &crate::access::Scope::ALL, &ids).await?;
    let by_id: HashMap<&str, &&Registration> = changed.iter().map(|r| (r.controller_id.as_str(), r)).collect();
    let mut targets = Vec::with_capacity(new.len() + held.len());
    for target in held {
        let Some(registration) = by_id.get(target.controller_id.as_str()) else { continue };
        let known = Known::from(&target);
        if differs(registration, &known, types) {
            targets.push(update(ctx, &tx, target, registration, types).await?);
        } else {
            heard_of(ctx, &known).await?;
            targets.push(target);
        }
    }
    super::changed(ctx, &mut tx, ids);
    if !new.is_empty() {
        for registration in new {
            announcements::polled(ctx, &tx, &registration.controller_id, &registration.address);
        }
        let rows: Vec<NewTarget> = new.iter().map(|r| row(ctx, r, types)).collect();
        targets.extend(super::insert(ctx, &mut tx, &rows).await?);
    }
    let reported: HashMap<&str, _> =
        new.iter().chain(changed).filter_map(|r| Some((r.controller_id.as_str(), r.attributes.as_ref()?))).collect();
    let mut refused = HashMap::new();
    for target in targets {
        let Some((mode, report)) = reported.get(target.controller_id.as_str()) else { continue };
        let controller_id = target.controller_id.clone();
        match attributes::write(ctx, &tx, target, *mode, report.clone()).await {
            Err(error) if !error.is_internal() => refused.insert(controller_id, error),
            result => result.map(|()| None)?,
        };
    }
    tx.commit().await?;
    Ok(refused)
}

fn row(ctx: &Ctx, registration: &Registration, types: &HashMap<String, i64>) -> NewTarget {
    let name = registration.name.clone().filter(|name| filled(name));
    NewTarget {
        address: Some(registration.address.clone()),
        target_type: type_after(registration, None, types),
        ..super::device::plug_and_play_row(&registration.controller_id, name, ctx.now())
    }
}

async fn update(
    ctx: &Ctx,
    tx: &Tx,
    target: Model,
    registration: &Registration,
    types: &HashMap<String, i64>,
) -> Result<Model> {
    let unknown = target.is(UpdateStatus::Unknown);
    let target_type = type_after(registration, target.target_type, types);
    let before = (target.name.clone(), target.target_type);
    let revision = target.optlock_revision.unwrap_or(0);
    let mut row: entity::ActiveModel = target.into();
    if unknown {
        row.update_status = Set(UpdateStatus::Registered as i32);
    }
    if let Some(name) = registration.name.as_ref().filter(|name| filled(name)) {
        row.name = Set(name.clone());
    }
    row.target_type = Set(target_type);
    row.address = Set(Some(registration.address.clone()));
    row.last_target_query = Set(Some(ctx.now()));
    row.optlock_revision = Set(Some(revision + 1));
    let target = row.update(&**tx).await?;
    announcements::polled(ctx, tx, &target.controller_id, &registration.address);
    // hawkBit: tells nothing of a new address alone.
    let told = unknown || (&target.name, target.target_type) != (&before.0, before.1);
    announcements::updated(ctx, tx, Entity::Target, told.then_some(target.id));
    Ok(target)
}
