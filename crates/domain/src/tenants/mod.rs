//! Tenants: that they exist, and their settings (semantics.md E2, E7).
//!
//! Settings are read on every poll, so each node keeps them parsed, dropped by the event of a change.

pub mod configuration;
pub mod entity;
pub mod polling;
mod store;

use std::{sync::Arc, time::Duration};

use kettle_cluster::{Event, Fact, Tx};
use kettle_db::{Db, Failure};
use sea_orm::DbErr;

use crate::{
    announcements::{Change, Entity},
    cached::Cached,
    ctx::{Services, Tenant},
    error::{Error, Kind, Result},
};
use polling::PollingTime;

pub(crate) use store::default_distribution_set_type;

/// A tenant's settings in the form that requests need.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    pub header_enabled: bool,
    /// Lower case, trimmed.
    pub header_authorities: Vec<String>,
    pub targettoken_enabled: bool,
    pub gatewaytoken_enabled: bool,
    pub gatewaytoken_key: String,
    pub polling: PollingTime,
    pub polling_overdue_ms: i64,
    pub maintenance_window_poll_count: i64,
    pub autoclose: bool,
    pub confirmation_flow: bool,
    pub implicit_lock: bool,
    /// Gateways get one command for all targets of an assignment.
    pub batch_assignments: bool,
    pub quota_hit_percent: i64,
    /// Rollouts wait for an approval, unless who creates them may approve.
    pub rollout_approval: bool,
    /// How old actions get before the automatic clean-up deletes them; below 0: it does not.
    pub cleanup_expiry_ms: i64,
    /// In which statuses, as the tenant wrote them.
    pub cleanup_status: String,
}

/// Settings of the tenants this node serves. `None` is remembered too: an unknown tenant costs one read.
pub struct Cache(Cached<Tenant, Option<Arc<TenantSettings>>>);

const CACHED_TENANTS: u64 = 10_000;
const SHARDS: usize = 64;

impl Cache {
    pub fn new(ttl: Duration) -> Cache {
        Cache(Cached::new(if ttl.is_zero() { 0 } else { CACHED_TENANTS }, ttl, SHARDS))
    }

    pub fn drop_tenant(&self, tenant: &str) {
        self.0.drop_one(&Tenant::new(tenant));
    }

    pub fn drop_all(&self) {
        self.0.drop_all();
    }
}

/// The tenant's settings, or `None` if there is no such tenant.
pub async fn settings(services: &Services, tenant: &Tenant) -> Result<Option<Arc<TenantSettings>>> {
    let read = async || {
        let rows = store::configuration(services.db.read(), tenant.id()).await?;
        Ok(rows.map(|rows| Arc::new(configuration::parse(&rows, &services.settings))))
    };
    services.tenants.0.get_or_read(&services.events, tenant, read).await
}

/// The tenant with this id in the database.
pub(crate) async fn by_id(db: &Db, id: i64) -> Result<Option<Tenant>, DbErr> {
    Ok(store::name(db.read(), id).await?.map(|name| Tenant::new(&name)))
}

/// All tenants there are.
pub(crate) async fn all(db: &Db) -> Result<Vec<Tenant>, DbErr> {
    Ok(store::all(db.read()).await?.iter().map(|name| Tenant::new(name)).collect())
}

/// Makes sure the tenant exists before a user of it does anything: creates it with its default types, or fails if the
/// server is set not to.
pub async fn ensure(services: &Arc<Services>, tenant: &Tenant) -> Result<()> {
    if settings(services, tenant).await?.is_some() {
        return Ok(());
    }
    if !services.settings.implicit_tenant_create_allowed {
        return Err(Error::new(Kind::TenantNotExists, format!("Tenant {} does not exist.", tenant.id())));
    }
    if tenant.id().is_empty() || tenant.id().chars().count() > 40 {
        return Err(Error::constraint("tenant size must be between 1 and 40."));
    }
    match create(services, tenant).await {
        // Another request of the same tenant, or another node, was quicker.
        Err(error) if kettle_db::failure(&error) == Failure::Duplicate => {
            services.tenants.drop_tenant(tenant.id());
            Ok(())
        }
        result => Ok(result?),
    }
}

async fn create(services: &Services, tenant: &Tenant) -> Result<(), DbErr> {
    let mut tx = Tx::begin(&services.db, &services.events, &services.clock).await?;
    let (of_modules, of_sets) = store::create(&*tx, tenant.id(), services.clock.now_ms()).await?;
    for (entity, ids) in [(Entity::SoftwareModuleType, of_modules.to_vec()), (Entity::DistributionSetType, of_sets)] {
        tx.announce(tenant.id(), Fact::Entities { entity, change: Change::Created, ids });
    }
    tx.emit(Event::TenantConfigurationChanged { tenant: tenant.id().into() });
    tx.commit().await
}
