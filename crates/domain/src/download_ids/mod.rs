//! Download ids, as hawkBit's older releases had them: who proves over AMQP to be a device, or its gateway, gets a short-lived
//! address of one file, which needs no other login. An id is random, of one tenant, in the database that all nodes share,
//! and used up when the last byte of its file was sent.

mod store;

use std::sync::Arc;

use kettle_cluster::{JobContext, Lease, LeaseError, Tx};
use uuid::Uuid;

use crate::{
    artifacts,
    ctx::{Ctx, Services, Tenant},
    error::Result,
    targets::{self, HeaderCredentials},
    tenants,
};

pub use store::Wanted;

const PRUNED_AT_ONCE: i64 = 10_000;

/// A tenant or a target, as a request names it.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    ByName(&'a str),
    /// By its id in the database.
    ById(i64),
}

/// Who wants which file.
#[derive(Debug)]
pub struct Request<'a> {
    pub tenant: Option<Named<'a>>,
    /// `None`: an anonymous download, which no tenant allows.
    pub target: Option<Named<'a>>,
    pub credentials: HeaderCredentials<'a>,
    pub wanted: Option<Wanted<'a>>,
}

#[derive(Debug)]
pub enum Reply {
    Issued {
        url: String,
        artifact: Box<artifacts::Model>,
    },
    /// The login failed; it doesn't say why.
    Refused,
    /// There is no such artifact, or no action of the target brings it.
    Unknown,
}

/// Issues an id for one download.
pub async fn issue(services: &Arc<Services>, request: &Request<'_>) -> Result<Reply> {
    let Some((ctx, controller_id)) = log_in(services, request).await? else { return Ok(Reply::Refused) };
    let Some(wanted) = request.wanted else { return Ok(Reply::Unknown) };
    let (db, engine, tenant) = (ctx.db().read(), ctx.engine(), ctx.tenant_id());
    let Some(artifact) = store::assigned(db, engine, tenant, &controller_id, wanted).await? else {
        return Ok(Reply::Unknown);
    };
    let Some(artifact) = artifacts::store::by_id(db, tenant, artifact).await? else { return Ok(Reply::Unknown) };
    let id = Uuid::new_v4().to_string();
    let tx = ctx.begin().await?;
    let ttl = ctx.settings().download_id_ttl;
    store::insert(&*tx, engine, tenant, &id, &controller_id, artifact.id, ttl).await?;
    tx.commit().await?;
    let url = format!(
        "{}/api/v1/downloadserver/downloadId/{}/{id}",
        ctx.settings().artifact_urls.own(),
        artifacts::urls::segment(tenant)
    );
    Ok(Reply::Issued { url, artifact: artifact.into() })
}

/// The artifact that an id is for and its content; `None` if the tenant has no such id, or has it no more.
pub async fn open(ctx: &Ctx, id: &str) -> Result<Option<(artifacts::Model, tokio::fs::File)>> {
    let (db, tenant) = (ctx.db().read(), ctx.tenant_id());
    let Some(artifact) = store::find(db, ctx.engine(), tenant, id).await? else { return Ok(None) };
    let Some(artifact) = artifacts::store::by_id(db, tenant, artifact).await? else { return Ok(None) };
    let file = artifacts::open(ctx, &artifact).await?;
    Ok(Some((artifact, file)))
}

/// Notes that the whole file was sent: the id is used up.
pub async fn use_up(ctx: &Ctx, id: &str) -> Result<()> {
    let tx = ctx.begin().await?;
    store::delete(&*tx, ctx.engine(), ctx.tenant_id(), id).await?;
    Ok(tx.commit().await?)
}

/// Deletes the ids whose time is over. A job's pass.
pub async fn prune(ctx: &JobContext, lease: &Lease) -> std::result::Result<(), LeaseError> {
    loop {
        let tx = Tx::begin(&ctx.db, &ctx.events, &ctx.clock).await?;
        lease.fence(&tx).await?;
        let gone = store::delete_expired(&*tx, tx.engine(), PRUNED_AT_ONCE).await?;
        tx.commit().await?;
        if gone == 0 {
            return Ok(());
        }
    }
}

/// The device's context and its controllerId. `None`: the login failed.
async fn log_in(services: &Arc<Services>, request: &Request<'_>) -> Result<Option<(Ctx, String)>> {
    let db = services.db.read();
    let tenant = match request.tenant {
        Some(Named::ByName(name)) => Some(Tenant::new(name)),
        Some(Named::ById(id)) => tenants::by_id(&services.db, id).await?,
        None => None,
    };
    let (Some(tenant), Some(target)) = (tenant, request.target) else { return Ok(None) };
    let controller_id = match target {
        Named::ByName(name) => Some(name.to_owned()),
        Named::ById(id) => store::controller_id(db, services.db.engine(), tenant.id(), id).await?,
    };
    let Some(controller_id) = controller_id else { return Ok(None) };
    let credentials = request.credentials.as_domain();
    let device = targets::authenticate(services, tenant, &controller_id, &credentials).await?;
    Ok(device.map(|(ctx, _)| (ctx, controller_id)))
}
