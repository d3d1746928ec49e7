//! Artifacts: the files of software modules, as rows and as content on the disk (semantics.md A2, C3).
//!
//! Content is stored once for each tenant and SHA-1. An upload is complete on the disk before the transaction that makes
//! it an artifact; a deletion commits before the content goes. Between the two steps a process may be killed, so what is
//! to be settled is noted first: a marker in the storage names the content, [`sweep`] finds it at the next start and
//! removes what no row needs. Putting and removing content both hold a lock of its name in the database, over the step on
//! the disk and the look at the rows: no upload loses its content to a deletion that comes at the same time, on this
//! node or another, and a marker of a living process settles itself.

pub mod entity;
mod storage;
pub mod store;
mod upload;
pub mod urls;

pub use entity::Model;
pub use storage::Storage;

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::Stream;
use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ActiveValue::NotSet, ConnectionTrait, Set};

use crate::{
    access::Permission,
    ctx::{Ctx, Services},
    error::{Error, Kind, Result, check_quota},
    search, software_modules, text,
};
use storage::Marker;
use upload::{Limit, Received};

const MAX_FILENAME: usize = 256;

/// What an upload says of its file. Hashes, in lower-case hexadecimal, are checked where given.
#[derive(Clone, Debug, Default)]
pub struct NewArtifact {
    pub filename: String,
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
}

/// An artifact as the Management API shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub artifact: Model,
    /// It went with its module: the row is there, the content is not.
    pub deleted: bool,
}

impl Shown {
    fn new(artifact: Model, module: &software_modules::Model) -> Shown {
        Shown { artifact, deleted: module.deleted == Some(true) }
    }
}

/// The artifacts of a module, in the order of their upload.
pub async fn list(ctx: &Ctx, module: i64) -> Result<Vec<Shown>> {
    let module = software_modules::find(ctx, module).await?;
    let found = store::of_module(ctx.db().read(), ctx.tenant_id(), module.id).await?;
    Ok(found.into_iter().map(|artifact| Shown::new(artifact, &module)).collect())
}

/// One artifact of a module, or `Artifact` not found.
pub async fn get(ctx: &Ctx, module: i64, id: i64) -> Result<Shown> {
    let module = software_modules::find(ctx, module).await?;
    Ok(Shown::new(find(ctx, ctx.db().read(), module.id, id).await?, &module))
}

/// One artifact and its content, for an operator. Of a deleted module it is gone.
pub async fn download(ctx: &Ctx, module: i64, id: i64) -> Result<(Model, tokio::fs::File)> {
    ctx.require(Permission::ReadSoftwareModule)?;
    ctx.require(Permission::ReadSoftwareModuleArtifact)?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    let found = software_modules::store::get(ctx.db().read(), ctx.tenant_id(), &scope, module).await?;
    let found = found.ok_or_else(|| Error::not_found("SoftwareModule", module))?;
    if found.deleted == Some(true) {
        return Err(Error::new(Kind::BinaryDeleted, "The artifact's binary was deleted with its software module."));
    }
    let artifact = find(ctx, ctx.db().read(), module, id).await?;
    let file = open(ctx, &artifact).await?;
    Ok((artifact, file))
}

/// The content of an artifact that the caller has found to be one the client may have.
pub async fn open(ctx: &Ctx, artifact: &Model) -> Result<tokio::fs::File> {
    let opened = async {
        let path = ctx.services().artifacts.path(&artifact.tenant, &artifact.sha1_hash)?;
        let file = tokio::fs::File::open(path).await?;
        let size = file.metadata().await?.len();
        if artifact.file_size.is_some_and(|expected| u64::try_from(expected) != Ok(size)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the file has {size} bytes")));
        }
        Ok(file)
    };
    opened.await.map_err(|cause| {
        let message = format!("The content of artifact {} could not be read.", artifact.id);
        Error { cause: Some(cause.into()), ..Error::new(Kind::LoadFailed, message) }
    })
}

/// Takes in a file. It becomes an artifact when all of it has come, fits its hashes and the limits, and is safe on the
/// disk; otherwise nothing of it stays, also if this future is dropped before the stream's end.
pub async fn create<S>(ctx: &Ctx, module: i64, new: NewArtifact, stream: S) -> Result<Model>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    ctx.require(Permission::CreateSoftwareModule)?;
    check_filename(&new.filename)?;
    let scope = search::scope(ctx, Permission::ReadSoftwareModule).await?;
    let found = software_modules::store::get(ctx.db().read(), ctx.tenant_id(), &scope, module).await?;
    check_room(ctx, ctx.db().read(), module, found.as_ref(), &new.filename).await?;
    // hawkBit: a new artifact is a change of its module, as far as scopes go.
    search::permit(ctx, ctx.db().read(), Permission::UpdateSoftwareModule, &[module]).await?;
    let limit = limit(ctx).await?;
    let part = blocking(ctx, |services| services.artifacts.new_part()).await.map_err(upload::failed)?;
    let received = upload::receive(part, stream, limit).await?;
    if received.size == 0 {
        return Err(Error::new(Kind::Refused, "The file is empty."));
    }
    check_hashes(&new, &received)?;
    // In a task of its own: a client that goes now does not stop this halfway.
    tokio::spawn(keep(ctx.clone(), module, new.filename, received)).await.map_err(Error::internal)?
}

/// Deletes an artifact and, after the commit, its content if no other module needs that.
pub async fn delete(ctx: &Ctx, module: i64, id: i64) -> Result<()> {
    ctx.require(Permission::ReadSoftwareModule)?;
    ctx.require(Permission::DeleteSoftwareModule)?;
    let tx = ctx.begin().await?;
    let found = software_modules::lock(ctx, &*tx, module).await?;
    let artifact = find(ctx, &*tx, module, id).await?;
    if found.locked {
        return Err(software_modules::locked("JpaSoftwareModule", module, "REMOVE_ARTIFACT"));
    }
    let removal = prepare_removal(ctx, &tx, vec![artifact]).await?;
    store::delete(&*tx, ctx.tenant_id(), id).await?;
    software_modules::touched(ctx, &found).update(&*tx).await?;
    software_modules::told(ctx, &tx, &found);
    tx.commit().await?;
    remove(ctx, removal).await;
    Ok(())
}

/// Finishes what killed processes have left in the storage. For the start of a node, and from time to time after that;
/// does no harm while others upload.
pub async fn sweep(services: &Arc<Services>) -> Result<()> {
    let storage = services.clone();
    let swept = tokio::task::spawn_blocking(move || storage.artifacts.sweep()).await.map_err(Error::internal)?;
    for marker in swept.map_err(Error::internal)? {
        settle(services, &marker).await?;
    }
    Ok(())
}

/// Content that has to be checked once the transaction that no longer needs it is committed.
pub(crate) struct Removal(Vec<Marker>);

/// Notes, in the transaction that is to delete these artifacts or their module, what [`remove`] has to do after it.
pub(crate) async fn prepare_removal(ctx: &Ctx, tx: &Tx, artifacts: Vec<Model>) -> Result<Removal> {
    let mut hashes: Vec<String> = artifacts.into_iter().map(|a| a.sha1_hash).collect();
    // In one order everywhere, so that two deletions can't block each other.
    hashes.sort_unstable();
    hashes.dedup();
    for sha1 in &hashes {
        store::lock_content(&**tx, ctx.engine(), ctx.tenant_id(), sha1).await?;
    }
    let tenant = ctx.tenant_id().to_owned();
    let markers = blocking(ctx, move |services| {
        hashes.iter().map(|sha1| services.artifacts.mark(&tenant, sha1)).collect::<io::Result<Vec<_>>>()
    });
    markers.await.map(Removal).map_err(Error::internal)
}

/// Removes the content that nobody needs any more. What can't be done now is left to [`sweep`].
pub(crate) async fn remove(ctx: &Ctx, removal: Removal) {
    for marker in removal.0 {
        if let Err(error) = settle(ctx.services(), &marker).await {
            let cause = error.cause.as_deref().map(tracing::field::display);
            tracing::warn!(%error, cause, artifact.sha1 = marker.sha1, "could not remove an artifact's content; it is tried again at the next start");
        }
    }
}

/// Removes the content that a marker names if no row needs it, then the marker.
async fn settle(services: &Arc<Services>, marker: &Marker) -> Result<()> {
    let tx = Tx::begin(&services.db, &services.events, &services.clock).await?;
    store::lock_content(&*tx, tx.engine(), &marker.tenant, &marker.sha1).await?;
    if !store::is_needed(&*tx, tx.engine(), &marker.tenant, &marker.sha1).await? {
        let (services, tenant, sha1) = (services.clone(), marker.tenant.clone(), marker.sha1.clone());
        let removed = tokio::task::spawn_blocking(move || services.artifacts.remove(&tenant, &sha1)).await;
        removed.map_err(Error::internal)?.map_err(Error::internal)?;
    }
    tx.commit().await?;
    marker.clear().map_err(Error::internal)
}

/// Makes a complete upload an artifact, or removes it.
async fn keep(ctx: Ctx, module: i64, filename: String, received: Received) -> Result<Model> {
    let tx = ctx.begin().await?;
    let scope = search::scope(&ctx, Permission::ReadSoftwareModule).await?;
    let found = software_modules::store::lock(&*tx, ctx.tenant_id(), &scope, module).await?;
    check_room(&ctx, &*tx, module, found.as_ref(), &filename).await?;
    store::lock_content(&*tx, ctx.engine(), ctx.tenant_id(), &received.sha1).await?;
    let (tenant, sha1) = (ctx.tenant_id().to_owned(), received.sha1.clone());
    let marker =
        blocking(&ctx, move |services| services.artifacts.mark(&tenant, &sha1)).await.map_err(upload::failed)?;
    let kept = place_and_insert(&ctx, tx, found, module, filename, received).await;
    match &kept {
        Ok(_) => marker.clear().map_err(Error::internal)?,
        // Whether the commit was done may be unknown: the rows say.
        Err(_) => remove(&ctx, Removal(vec![marker])).await,
    }
    kept
}

async fn place_and_insert(
    ctx: &Ctx,
    tx: Tx,
    found: Option<software_modules::Model>,
    module: i64,
    filename: String,
    received: Received,
) -> Result<Model> {
    let row = entity::ActiveModel {
        id: NotSet,
        created_at: Set(Some(ctx.now())),
        created_by: Set(Some(ctx.actor_name())),
        last_modified_at: Set(Some(ctx.now())),
        last_modified_by: Set(Some(ctx.actor_name())),
        optlock_revision: Set(Some(1)),
        tenant: Set(ctx.tenant_id().into()),
        md5_hash: Set(Some(received.md5)),
        file_size: Set(Some(i64::try_from(received.size).unwrap_or(i64::MAX))),
        provided_file_name: Set(Some(filename)),
        sha1_hash: Set(received.sha1.clone()),
        software_module: Set(module),
        sha256_hash: Set(Some(received.sha256)),
    };
    let (tenant, part, sha1) = (ctx.tenant_id().to_owned(), received.part, received.sha1);
    let placed = blocking(ctx, move |services| services.artifacts.place(&part, &tenant, &sha1)).await;
    placed.map_err(upload::failed)?;
    let inserted = row.insert(&*tx).await?;
    if let Some(found) = found {
        software_modules::touched(ctx, &found).update(&*tx).await?;
        software_modules::told(ctx, &tx, &found);
    }
    tx.commit().await?;
    Ok(inserted)
}

async fn find(ctx: &Ctx, db: &impl ConnectionTrait, module: i64, id: i64) -> Result<Model> {
    store::get(db, ctx.tenant_id(), module, id).await?.ok_or_else(|| Error::not_found("Artifact", id))
}

/// Whether the module takes one more artifact of this name.
async fn check_room(
    ctx: &Ctx,
    db: &impl ConnectionTrait,
    module: i64,
    found: Option<&software_modules::Model>,
    filename: &str,
) -> Result<()> {
    let found = found.filter(|m| m.deleted != Some(true)).ok_or_else(|| Error::not_found("SoftwareModule", module))?;
    let there = i64::try_from(store::count(db, ctx.tenant_id(), module).await?).unwrap_or(i64::MAX);
    check_quota(ctx.settings().quotas.artifacts_per_software_module, there, 1, "a software module")?;
    if found.locked {
        return Err(software_modules::locked("JpaSoftwareModule", module, "ADD_ARTIFACT"));
    }
    if store::by_filename(db, ctx.tenant_id(), module, filename).await?.is_some() {
        let message = "File with that name already exists in the Software Module";
        return Err(Error::new(Kind::EntityAlreadyExists, message));
    }
    Ok(())
}

/// How much may come: what one file may have, or what is left for the tenant if that is less. Uploads at the same time
/// don't see each other, as in the peer, and may together pass the tenant's limit.
async fn limit(ctx: &Ctx) -> Result<Limit> {
    let quotas = &ctx.settings().quotas;
    let bytes = |quota: i64| u64::try_from(quota).ok().filter(|n| *n > 0).unwrap_or(u64::MAX);
    let size = bytes(quotas.artifact_size);
    let stored = store::stored_bytes(ctx.db().read(), ctx.engine(), ctx.tenant_id()).await?;
    let total = bytes(quotas.artifact_storage);
    let left = total.saturating_sub(u64::try_from(stored).unwrap_or(0));
    Ok(if size <= left {
        let message = format!("Quota exceeded: an artifact may have {size} bytes.");
        Limit { bytes: size, exceeded: Error::new(Kind::FileSizeExceeded, message) }
    } else {
        let message = format!("Quota exceeded: all artifacts may have {total} bytes, and {stored} are used.");
        Limit { bytes: left, exceeded: Error::new(Kind::StorageExceeded, message) }
    })
}

fn check_hashes(new: &NewArtifact, received: &Received) -> Result<()> {
    for (kind, name, given, calculated) in [
        (Kind::Sha1Mismatch, "sha1", &new.sha1, &received.sha1),
        (Kind::Md5Mismatch, "md5", &new.md5, &received.md5),
        (Kind::Sha256Mismatch, "sha256", &new.sha256, &received.sha256),
    ] {
        if let Some(given) = given.as_ref().filter(|given| *given != calculated) {
            let message =
                format!("The given {name} hash {given} does not match the calculated {name} hash {calculated}");
            return Err(Error::new(kind, message));
        }
    }
    Ok(())
}

/// A name never becomes a path here; it does where devices and people store what they get.
fn check_filename(filename: &str) -> Result<()> {
    text::required("filename", filename, MAX_FILENAME)?;
    let harmful = filename.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) || matches!(filename, "." | "..");
    if harmful {
        return Err(Error::constraint("filename must be a plain name, without path or control characters."));
    }
    Ok(())
}

/// Runs work on the disk off the async threads.
async fn blocking<T: Send + 'static>(
    ctx: &Ctx,
    work: impl FnOnce(&Services) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let services = ctx.services().clone();
    tokio::task::spawn_blocking(move || work(&services)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filename_is_a_plain_name() {
        let long = "é".repeat(256);
        for good in ["kernel.img", "a b (1).tar.gz", "..hidden", "ü", long.as_str()] {
            assert!(check_filename(good).is_ok(), "{good:?}");
        }
        let longer = "é".repeat(257);
        for bad in ["", ".", "..", "a/b", "..\\b", "a\0", "a\nb", "<b>", longer.as_str()] {
            assert!(check_filename(bad).is_err(), "{bad:?}");
        }
    }
}
