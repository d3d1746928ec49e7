//! Commands: what gateways are told to have their targets do (semantics.md D5).
//!
//! `causes.rs` notes, in the transaction of a change, that gateways must hear of it. What they are told is made here when
//! it is sent, from what the tables hold then: so a command is never older than its sending, and one that has become
//! pointless is not sent. How commands look on the wire, and how they get there, is `dmf`'s business.
//!
//! These functions ask for no permission: devices and the server itself call them, for what they tell to devices.

mod causes;
pub mod queue;
mod store;

pub(crate) use causes::{note_assigned, note_canceled, note_canceled_of, note_deleted, request_attributes};

use std::{collections::HashMap, sync::Arc};

use kettle_cluster::ServiceEvent;
use sea_orm::DbErr;

use self::store::Found;
use crate::{
    actions::{ActionStatus, ActionType, Chunk, chunks},
    ctx::Ctx,
    error::{Error, Result},
    targets, tenants,
};

/// Targets of one statement.
const AT_ONCE: usize = 1000;

/// A command, and where to.
#[derive(Clone, Debug)]
pub struct Addressed {
    /// Whom it is for; of a [`Command::Batch`], the first of them, for whom links are made.
    pub controller_id: String,
    /// The target's address: a URI with the scheme `amqp`.
    pub address: String,
    pub command: Command,
}

#[derive(Clone, Debug)]
pub enum Command {
    /// Carry out an action, or part of it.
    Update { kind: UpdateKind, action: i64, security_token: String, modules: Arc<Vec<Chunk>> },
    /// As `Update` for several targets at once, in tenants that want it so: to install, or only to download.
    Batch { install: bool, recipients: Vec<Recipient>, modules: Arc<Vec<Chunk>> },
    /// Cancel an action.
    Cancel { action: i64 },
    /// Report attributes.
    RequestAttributes,
    /// The target is no more.
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    Confirm,
    Download,
    DownloadAndInstall,
}

/// One target of a [`Command::Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub action: i64,
    pub controller_id: String,
    pub security_token: String,
}

/// What these targets are to do next: the active action with the highest weight, then the lowest id. Nothing for those that
/// have none, that no gateway speaks for, or that there are not.
pub async fn next(ctx: &Ctx, controller_ids: &[String]) -> Result<Vec<Addressed>> {
    let mut found = Vec::new();
    for chunk in controller_ids.chunks(AT_ONCE) {
        found.extend(store::next(ctx.db().read(), ctx.engine(), ctx.tenant_id(), chunk).await?);
    }
    found.retain(|found| targets::has_gateway(Some(&found.address)));
    let sets = found.iter().filter(|found| !found.is_canceling_or_canceled()).map(|found| found.set).collect();
    let modules = modules(ctx, sets).await?;
    let batches = !modules.is_empty() && wants_batches(ctx).await?;
    let command = |found: Found| {
        if found.is_canceling_or_canceled() {
            return cancel(found);
        }
        let modules = modules.get(&found.set).cloned().unwrap_or_default();
        // hawkBit: where batches are on, a single update is a batch of one.
        if batches { batch(ctx, found, Vec::new(), modules) } else { update(ctx, found, modules) }
    };
    Ok(found.into_iter().map(command).collect())
}

/// The commands of an event of this tenant, as things are now.
pub async fn of_event(ctx: &Ctx, event: &ServiceEvent) -> Result<Vec<Addressed>> {
    if event.tenant() != ctx.tenant_id() {
        return Err(Error::internal(format!(
            "an event of tenant {} met a context of {}",
            event.tenant(),
            ctx.tenant_id()
        )));
    }
    match event {
        ServiceEvent::Assigned { set, actions, .. } => assigned(ctx, *set, actions).await,
        ServiceEvent::Canceled { actions, .. } => {
            let mut found = of_actions(ctx, actions).await?;
            // One that was closed by force meanwhile is still to be cancelled by the device. One that goes on, because the
            // device refused, or that has ended, is not.
            found.retain(Found::is_canceling_or_canceled);
            Ok(found.into_iter().map(cancel).collect())
        }
        ServiceEvent::TargetDeleted { controller_id, address, .. } => {
            Ok(vec![plain(controller_id, address, Command::Deleted)])
        }
        ServiceEvent::AttributesRequested { targets, .. } => {
            let command =
                |(controller_id, address): &(String, String)| plain(controller_id, address, Command::RequestAttributes);
            Ok(targets.iter().map(command).collect())
        }
    }
}

/// The updates of actions of `set` that are still to be carried out. A target that has to cancel first gets its update
/// when it has answered that.
async fn assigned(ctx: &Ctx, set: i64, actions: &[(i64, String)]) -> Result<Vec<Addressed>> {
    let mut found = of_actions(ctx, actions).await?;
    found.retain(|found| found.active && !found.cancels_first);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let modules = modules(ctx, vec![set]).await?.remove(&set).unwrap_or_default();
    if wants_batches(ctx).await? {
        let mut found = found.into_iter();
        // hawkBit: one message for all, to where the first of them is.
        return Ok(found.next().map(|first| batch(ctx, first, found.collect(), modules)).into_iter().collect());
    }
    Ok(found.into_iter().map(|found| update(ctx, found, modules.clone())).collect())
}

/// The actions of an event that there are, in its order, of those that a gateway speaks for.
async fn of_actions(ctx: &Ctx, actions: &[(i64, String)]) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(actions.len());
    for chunk in actions.chunks(AT_ONCE) {
        let ids: Vec<i64> = chunk.iter().map(|(action, _)| *action).collect();
        let rows = store::of_actions(ctx.db().read(), ctx.engine(), ctx.tenant_id(), &ids).await?;
        let mut rows: HashMap<i64, Found> = rows.into_iter().map(|found| (found.action, found)).collect();
        found.extend(ids.iter().filter_map(|action| rows.remove(action)));
    }
    found.retain(|found| targets::has_gateway(Some(&found.address)));
    Ok(found)
}

async fn modules(ctx: &Ctx, mut sets: Vec<i64>) -> Result<HashMap<i64, Arc<Vec<Chunk>>>, DbErr> {
    sets.sort_unstable();
    sets.dedup();
    chunks::of_sets(ctx.db().read(), ctx.tenant_id(), &sets).await
}

async fn wants_batches(ctx: &Ctx) -> Result<bool> {
    let settings = tenants::settings(ctx.services(), &ctx.tenant).await?;
    Ok(settings.is_some_and(|settings| settings.batch_assignments))
}

fn plain(controller_id: &str, address: &str, command: Command) -> Addressed {
    Addressed { controller_id: controller_id.into(), address: address.into(), command }
}

fn cancel(found: Found) -> Addressed {
    let command = Command::Cancel { action: found.action };
    Addressed { controller_id: found.controller_id, address: found.address, command }
}

fn update(ctx: &Ctx, found: Found, modules: Arc<Vec<Chunk>>) -> Addressed {
    let kind = match (found.status, found.may_install(ctx.now())) {
        (ActionStatus::WaitForConfirmation, _) => UpdateKind::Confirm,
        (_, true) => UpdateKind::DownloadAndInstall,
        (_, false) => UpdateKind::Download,
    };
    let command = Command::Update { kind, action: found.action, security_token: found.security_token, modules };
    Addressed { controller_id: found.controller_id, address: found.address, command }
}

/// hawkBit: what the first target may do, all may; and a batch does not tell what waits for a confirmation.
fn batch(ctx: &Ctx, first: Found, others: Vec<Found>, modules: Arc<Vec<Chunk>>) -> Addressed {
    let install = first.may_install(ctx.now());
    let (controller_id, address) = (first.controller_id.clone(), first.address.clone());
    let recipients = [first].into_iter().chain(others).map(|found| Recipient {
        action: found.action,
        controller_id: found.controller_id,
        security_token: found.security_token,
    });
    Addressed { controller_id, address, command: Command::Batch { install, recipients: recipients.collect(), modules } }
}

impl Found {
    fn is_canceling_or_canceled(&self) -> bool {
        matches!(self.status, ActionStatus::Canceling | ActionStatus::Canceled)
    }

    fn may_install(&self, now: i64) -> bool {
        self.action_type != ActionType::DownloadOnly && self.window.as_ref().is_none_or(|window| window.available(now))
    }
}
