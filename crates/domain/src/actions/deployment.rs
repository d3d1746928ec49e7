//! What a device reads about its actions: what to install, what to cancel, what is installed (semantics.md C2, C3).

use std::sync::Arc;

use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Set};

use super::{
    ActionStatus, Chunk, Model, SERVER_PREFIX, cancel_lapsed, check_status_quota, chunks, entity::Column, note, store,
    touched,
};
use crate::{
    access::Scope,
    announcements, artifacts as artifact,
    ctx::Ctx,
    distribution_sets,
    error::{Error, Kind, Result},
    software_modules, targets,
};

const MAX_HISTORY: i64 = 100;

/// An action with all that a device needs to carry it out.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub action: Model,
    /// Whether the device is to start at once.
    pub forced: bool,
    /// Whether the maintenance window is open, if the action has one.
    pub window_available: Option<bool>,
    pub chunks: Vec<Chunk>,
    pub history: Option<History>,
}

/// The device's own messages, newest first.
#[derive(Clone, Debug)]
pub struct History {
    pub status: ActionStatus,
    pub messages: Vec<String>,
}

/// An action to carry out. The first read is noted as RETRIEVED, a repeated one writes nothing; a closed action is
/// readable and stays as it is. An active one whose maintenance window has lapsed is cancelled. `history` asks for so
/// many messages.
pub async fn deployment(ctx: &Ctx, controller_id: &str, id: i64, history: i64) -> Result<Deployment> {
    let action = find_unless_lapsed(ctx, controller_id, id).await?;
    if action.is_canceling_or_canceled() || action.status() == ActionStatus::WaitForConfirmation {
        return Err(Error::new(Kind::Absent, format!("Action {id} is not to be carried out now.")));
    }
    let found = read(ctx, action, history).await?;
    let message = "Target retrieved update action and should start now the download.";
    retrieved(ctx, controller_id, &found.action, message).await?;
    Ok(found)
}

/// An action that waits for confirmation. Reading it is not noted; one whose maintenance window has lapsed is cancelled.
pub async fn confirmation(ctx: &Ctx, controller_id: &str, id: i64, history: i64) -> Result<Deployment> {
    let action = find_unless_lapsed(ctx, controller_id, id).await?;
    if action.status() != ActionStatus::WaitForConfirmation {
        return Err(Error::new(Kind::Absent, format!("Action {id} does not wait for confirmation.")));
    }
    read(ctx, action, history).await
}

/// An action that is over. Reading it is not noted.
pub async fn installed(ctx: &Ctx, controller_id: &str, id: i64, history: i64) -> Result<Deployment> {
    let (_, action) = find(ctx, controller_id, id).await?;
    if action.is_active() || action.is_canceling_or_canceled() {
        return Err(Error::new(Kind::Absent, format!("Action {id} is not installed.")));
    }
    read(ctx, action, history).await
}

/// Fails unless the action is to be cancelled, or was.
pub async fn canceling(ctx: &Ctx, controller_id: &str, id: i64) -> Result<()> {
    let (_, action) = find(ctx, controller_id, id).await?;
    if !action.is_canceling_or_canceled() {
        return Err(Error::new(Kind::Absent, format!("Action {id} is not under cancellation.")));
    }
    let message = "Target retrieved cancel action and should start now the cancellation.";
    retrieved(ctx, controller_id, &action, message).await
}

/// The files of a module that one of the target's actions brings, or brought last.
pub async fn artifacts(ctx: &Ctx, controller_id: &str, module: i64) -> Result<Vec<artifact::Model>> {
    let target = find_target(ctx, controller_id).await?;
    let found = software_modules::store::get(ctx.db().read(), ctx.tenant_id(), &Scope::ALL, module).await?;
    found.ok_or_else(|| Error::not_found("SoftwareModule", module))?;
    if bringing(ctx, target.id, module).await?.is_none() && !last_brought(ctx, &target, module).await? {
        return Err(not_brought(controller_id, module));
    }
    Ok(artifact::store::of_modules(ctx.db().read(), ctx.tenant_id(), &[module]).await?)
}

/// A file of a module, for a device that is known. Whether it may have it, [`check_download`] says.
pub async fn find_download(ctx: &Ctx, controller_id: &str, module: i64, filename: &str) -> Result<artifact::Model> {
    find_target(ctx, controller_id).await?;
    let db = ctx.db().read();
    let known = software_modules::store::get(db, ctx.tenant_id(), &Scope::ALL, module).await?;
    known.ok_or_else(|| Error::not_found("SoftwareModule", module))?;
    let found = artifact::store::by_filename(db, ctx.tenant_id(), module, filename).await?;
    found.ok_or_else(|| Error::new(Kind::Absent, format!("Module {module} has no file {filename}.")))
}

/// The active action that a download belongs to; without one there is none.
pub async fn check_download(ctx: &Ctx, controller_id: &str, module: i64) -> Result<i64> {
    let target = find_target(ctx, controller_id).await?;
    bringing(ctx, target.id, module).await?.ok_or_else(|| not_brought(controller_id, module))
}

/// Notes a whole download in its action, with the `path` asked for.
pub async fn note_download(ctx: &Ctx, action: i64, path: &str) -> Result<()> {
    let tx = ctx.begin().await?;
    check_status_quota(ctx, &*tx, action).await?;
    note(ctx, &tx, action, ActionStatus::Download, &format!("{SERVER_PREFIX}Target downloads {path}")).await?;
    Ok(tx.commit().await?)
}

fn not_brought(controller_id: &str, module: i64) -> Error {
    let message =
        format!("No assignment found for SoftwareModule with id {{{module}}} to Target with id {{{controller_id}}}.");
    Error::new(Kind::EntityNotFound, message)
}

async fn find_target(ctx: &Ctx, controller_id: &str) -> Result<targets::Model> {
    let target = targets::store::find(ctx.db().read(), ctx.tenant_id(), &Scope::ALL, controller_id).await?;
    target.ok_or_else(|| Error::not_found("Target", controller_id))
}

async fn find(ctx: &Ctx, controller_id: &str, id: i64) -> Result<(targets::Model, Model)> {
    let target = find_target(ctx, controller_id).await?;
    let action = store::find(ctx.db().read(), ctx.tenant_id(), &Scope::ALL, id).await?;
    let action = super::of_target(action, id, &target)?;
    Ok((target, action))
}

/// The action as it is after it is cancelled, if its maintenance window has lapsed.
async fn find_unless_lapsed(ctx: &Ctx, controller_id: &str, id: i64) -> Result<Model> {
    let (_, action) = find(ctx, controller_id, id).await?;
    let under_way = action.is_active() && !action.is_canceling_or_canceled();
    if !under_way || !action.window().is_some_and(|window| window.lapsed(ctx.now())) {
        return Ok(action);
    }
    cancel_lapsed(ctx, controller_id, id).await?;
    Ok(find(ctx, controller_id, id).await?.1)
}

/// Notes that the device has read an action, if its newest status says something else.
async fn retrieved(ctx: &Ctx, controller_id: &str, action: &Model, message: &str) -> Result<()> {
    let newest = store::newest_status(ctx.db().read(), ctx.tenant_id(), action.id).await?;
    if newest == Some(ActionStatus::Retrieved.code()) {
        return Ok(());
    }
    let mut tx = ctx.begin().await?;
    targets::lock(ctx, &tx, controller_id).await?;
    let Some(action) = store::find(&*tx, ctx.tenant_id(), &Scope::ALL, action.id).await? else { return Ok(()) };
    let newest = store::newest_status(&*tx, ctx.tenant_id(), action.id).await?;
    if newest == Some(ActionStatus::Retrieved.code()) || !(action.is_active() || action.is_canceling_or_canceled()) {
        return Ok(());
    }
    if !action.is_canceling_or_canceled() {
        let mut row = touched(ctx, &action, false);
        row.status = Set(ActionStatus::Retrieved.code());
        row.update(&*tx).await?;
        let changed = action.status() != ActionStatus::Retrieved;
        announcements::actions_updated(ctx, &tx, Some(&action).filter(|_| changed));
    }
    note(ctx, &tx, action.id, ActionStatus::Retrieved, &format!("{SERVER_PREFIX}{message}")).await?;
    targets::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

async fn read(ctx: &Ctx, action: Model, history: i64) -> Result<Deployment> {
    let db = ctx.db().read();
    let mut brought = chunks::of_sets(db, ctx.tenant_id(), &[action.distribution_set]).await?;
    let chunks = brought.remove(&action.distribution_set).map(Arc::unwrap_or_clone).unwrap_or_default();
    let history = messages(ctx, &action, history).await?;
    let window_available = action.window().map(|window| window.available(ctx.now()));
    Ok(Deployment { forced: action.is_forced(ctx.now()), window_available, chunks, history, action })
}

/// The newest messages that came from the device. 0 asks for none; a negative or too large count for the most.
async fn messages(ctx: &Ctx, action: &Model, count: i64) -> Result<Option<History>> {
    if count == 0 {
        return Ok(None);
    }
    let count = if (1..MAX_HISTORY).contains(&count) { count } else { MAX_HISTORY };
    let sql = "SELECT m.detail_message FROM sp_action_status s \
               JOIN sp_action_status_messages m ON m.action_status = s.id \
               WHERE s.tenant = $1 AND s.action = $2 AND m.detail_message NOT LIKE $3 \
               ORDER BY s.target_occurred_at DESC, s.id DESC LIMIT $4";
    let values = [ctx.tenant_id().into(), action.id.into(), format!("{SERVER_PREFIX}%").into(), count.into()];
    let rows = ctx.db().read().query_all_raw(ctx.engine().statement(sql, values)).await?;
    let messages = rows.iter().map(|r| r.try_get("", "detail_message")).collect::<Result<Vec<String>, _>>()?;
    Ok((!messages.is_empty()).then(|| History { status: action.status(), messages }))
}

/// The active action that brings a module to a target, unless it is being cancelled.
async fn bringing(ctx: &Ctx, target: i64, module: i64) -> Result<Option<i64>> {
    let sql = "SELECT a.id FROM sp_action a JOIN sp_ds_sm m ON m.ds_id = a.distribution_set \
               WHERE a.tenant = $1 AND a.target = $2 AND m.sm_id = $3 AND a.active = true AND a.status NOT IN (4, 5) \
               ORDER BY a.weight DESC, a.id LIMIT 1";
    let values = [ctx.tenant_id().into(), target.into(), module.into()];
    let row = ctx.db().read().query_one_raw(ctx.engine().statement(sql, values)).await?;
    Ok(row.map(|r| r.try_get("", "id")).transpose()?)
}

/// Whether the set installed last holds the module.
async fn last_brought(ctx: &Ctx, target: &targets::Model, module: i64) -> Result<bool> {
    let Some(set) = target.installed_distribution_set else { return Ok(false) };
    let finished = store::of_tenant(ctx.tenant_id(), &Scope::ALL)
        .filter(Column::Target.eq(target.id))
        .filter(Column::DistributionSet.eq(set))
        .filter(Column::Status.eq(ActionStatus::Finished.code()))
        .order_by_desc(Column::Id)
        .one(ctx.db().read())
        .await?;
    if finished.is_none() {
        return Ok(false);
    }
    let held = distribution_sets::entity::module::Entity::find_by_id((set, module)).one(ctx.db().read()).await?;
    Ok(held.is_some())
}
