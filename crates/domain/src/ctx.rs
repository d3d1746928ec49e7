//! The first argument of everything: whose request this is, and what it may use.

use std::sync::Arc;

use kettle_cluster::{Clock, Event, Events, PeerLock, PeerLocks, Tx};
use kettle_db::{Db, Engine};
use kettle_ql::Node;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Authorities, Login, Permission, Rules},
    artifacts,
    error::{Error, Result},
    rollouts,
    settings::Settings,
    target_filters, targets, tenants,
};

/// The audit name of everything that devices cause.
pub const CONTROLLER: &str = "CONTROLLER_PLUG_AND_PLAY";

/// The authority of the server itself in stored access contexts.
const SYSTEM_ROLE: &str = "ROLE_SYSTEM_CODE";

/// What one node has to work with, shared by all requests.
pub struct Services {
    pub db: Db,
    pub events: Events,
    pub clock: Clock,
    pub settings: Settings,
    pub artifacts: artifacts::Storage,
    pub tenants: tenants::Cache,
    pub views: targets::ViewCache,
    pub last_seen: targets::LastSeen,
    /// How authorities are read that were stored with what is done later in someone's name.
    pub rules: Rules,
    /// Which rollouts have something to do.
    pub rollouts: rollouts::Wakes,
    /// What waits to be assigned by target filters.
    pub auto_assign: target_filters::Waiting,
    hawkbit_locks: Option<Arc<PeerLocks>>,
}

impl Services {
    /// Wires the caches to the events that drop what they hold.
    pub fn new(
        db: Db,
        events: Events,
        clock: Clock,
        settings: Settings,
        artifacts: artifacts::Storage,
        rules: Rules,
    ) -> Arc<Services> {
        let services = Arc::new(Services {
            tenants: tenants::Cache::new(settings.cache_ttl),
            views: targets::ViewCache::new(settings.cached_targets, settings.cache_ttl),
            auto_assign: target_filters::Waiting::new(clock.clone(), settings.cache_ttl),
            last_seen: targets::LastSeen::new(settings.poll_persistence_queue),
            hawkbit_locks: settings.hawkbit_locks.map(|ttl| PeerLocks::new(db.clone(), ttl)),
            db,
            events,
            clock,
            settings,
            artifacts,
            rules,
            rollouts: rollouts::Wakes::default(),
        });
        let (hears, loses) = (Arc::downgrade(&services), Arc::downgrade(&services));
        services.events.listen(
            move |event, origin| {
                let Some(services) = hears.upgrade() else { return };
                match event {
                    Event::TargetsChanged { tenant, controller_ids } => {
                        services.views.drop_targets(tenant, controller_ids);
                        services.auto_assign.targets_changed(tenant, controller_ids, origin);
                    }
                    // Views hold their polling interval, so they go too. Settings change seldom.
                    Event::TenantConfigurationChanged { tenant } => {
                        services.tenants.drop_tenant(tenant);
                        services.views.drop_all();
                    }
                    Event::RolloutChanged { tenant, rollout } => {
                        services.rollouts.wake(Tenant::new(tenant), *rollout);
                    }
                    Event::TargetFiltersChanged { tenant, filter } => {
                        services.auto_assign.filters_changed(tenant, *filter, origin);
                    }
                    Event::TargetSearchesChanged { tenant, fields } => {
                        services.views.drop_intervals();
                        services.auto_assign.searches_changed(tenant, fields, origin);
                    }
                }
            },
            move || {
                let Some(services) = loses.upgrade() else { return };
                services.views.lose_track();
                services.tenants.drop_all();
                services.auto_assign.lose_track();
            },
        );
        let finds = Arc::downgrade(&services);
        services.events.find_target_names_by(move |tenant, ids| {
            let finds = finds.clone();
            async move {
                let Some(services) = finds.upgrade() else { return Ok(Vec::new()) };
                targets::names_of(&services.db, &tenant, &ids).await
            }
        });
        services
    }

    /// The right to a tenant's job among hawkBit's nodes, where such are to be expected; `None`: one of them is at it.
    pub(crate) async fn hawkbit_lock(&self, name: &str) -> Result<Option<HawkbitLock>> {
        let Some(locks) = &self.hawkbit_locks else { return Ok(Some(HawkbitLock(None))) };
        Ok(locks.acquire(name).await?.map(|lock| HawkbitLock(Some(lock))))
    }
}

/// The right to a tenant's job among hawkBit's nodes.
pub(crate) struct HawkbitLock(Option<PeerLock>);

impl HawkbitLock {
    pub async fn release(self) {
        let Some(lock) = self.0 else { return };
        if let Err(error) = lock.release().await {
            tracing::warn!(%error, "a lock of hawkBit's could not be given back; it runs out");
        }
    }
}

/// A tenant: its id as the database has it, upper case. Links echo the form that a request used; that is the API's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    pub fn new(name: &str) -> Tenant {
        if name.bytes().any(|b| b.is_ascii_lowercase() || !b.is_ascii()) {
            Tenant(name.to_uppercase().into())
        } else {
            Tenant(name.into())
        }
    }

    pub fn id(&self) -> &str {
        &self.0
    }
}

/// Who acts: the name that audit columns take, and what it may do.
#[derive(Clone, Debug)]
pub struct Actor {
    pub name: Arc<str>,
    authorities: Option<Arc<Authorities>>,
}

/// What is read of [`AccessContext`]; other members of other versions of the peer are passed over.
#[derive(Deserialize)]
struct StoredAccess {
    auditor: Option<String>,
    #[serde(default)]
    authorities: Vec<String>,
}

/// In the peer's form and order.
#[derive(Serialize)]
struct AccessContext<'a> {
    tenant: &'a str,
    auditor: &'a str,
    authorities: &'a [String],
}

/// The context of one request.
#[derive(Clone)]
pub struct Ctx {
    services: Arc<Services>,
    pub tenant: Tenant,
    pub actor: Actor,
}

impl Ctx {
    /// For a logged-in user of `tenant`.
    pub fn user(services: &Arc<Services>, tenant: Tenant, login: &Login) -> Ctx {
        let actor = Actor { name: login.name.clone(), authorities: Some(login.authorities.clone()) };
        Ctx { services: services.clone(), tenant, actor }
    }

    /// For an authenticated device, which holds no permission: it may do what the device API offers, to its target.
    pub fn device(services: &Arc<Services>, tenant: Tenant) -> Ctx {
        let actor = Actor { name: CONTROLLER.into(), authorities: Some(Arc::default()) };
        Ctx { services: services.clone(), tenant, actor }
    }

    /// For the server's own work, which may do everything.
    pub fn system(services: &Arc<Services>, tenant: Tenant) -> Ctx {
        let actor = Actor { name: "system".into(), authorities: None };
        Ctx { services: services.clone(), tenant, actor }
    }

    /// For the server's own work in the name of another.
    pub fn system_as(services: &Arc<Services>, tenant: Tenant, name: &str) -> Ctx {
        let actor = Actor { name: name.into(), authorities: None };
        Ctx { services: services.clone(), tenant, actor }
    }

    /// For the server's work in the name of who started it: with the authorities stored in `access`
    /// ([`Ctx::access_context`]), or with all in the name of `creator` where nothing is stored.
    pub fn stored(services: &Arc<Services>, tenant: Tenant, access: Option<&str>, creator: &str) -> Result<Ctx> {
        let Some(access) = access else { return Ok(Ctx::system_as(services, tenant, creator)) };
        let stored: StoredAccess = serde_json::from_str(access).map_err(Error::internal)?;
        let name = stored.auditor.unwrap_or_else(|| creator.into());
        if stored.authorities.iter().any(|authority| authority == SYSTEM_ROLE) {
            return Ok(Ctx::system_as(services, tenant, &name));
        }
        let authorities = Authorities::new(stored.authorities, &services.rules).map_err(Error::internal)?;
        let actor = Actor { name: name.into(), authorities: Some(Arc::new(authorities)) };
        Ok(Ctx { services: services.clone(), tenant, actor })
    }

    /// The same authorities under another name.
    pub fn named(&self, name: &str) -> Ctx {
        let actor = Actor { name: name.into(), authorities: self.actor.authorities.clone() };
        Ctx { actor, ..self.clone() }
    }

    /// The authority with this name, to the letter: neither roles nor the hierarchy grant it, nor has the server it.
    pub(crate) fn has_authority(&self, authority: &str) -> bool {
        self.actor.authorities.as_ref().is_some_and(|a| a.raw().iter().any(|raw| raw == authority))
    }

    pub fn require(&self, permission: Permission) -> Result<()> {
        self.actor.authorities.as_ref().map_or(Ok(()), |a| a.require(permission))
    }

    /// Fails unless one of `permissions` is there.
    pub fn require_any(&self, permissions: &[Permission]) -> Result<()> {
        let mut refused = Ok(());
        for permission in permissions {
            refused = self.require(*permission);
            if refused.is_ok() {
                break;
            }
        }
        refused
    }

    /// Whether the permission is there outright: not by an authority with a scope.
    pub fn may(&self, permission: Permission) -> bool {
        self.actor.authorities.as_ref().is_none_or(|a| a.has(permission))
    }

    /// The search that a permission is limited to; `None` if it is not. For `search::scope`: ask that.
    pub(crate) fn limit(&self, permission: Permission) -> Option<&Node> {
        self.actor.authorities.as_ref()?.limit(permission)
    }

    /// Whether actions follow the limits on their targets.
    pub(crate) fn limits_actions(&self) -> bool {
        self.actor.authorities.as_ref().is_some_and(|a| a.limits_actions())
    }

    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    pub fn settings(&self) -> &Settings {
        &self.services.settings
    }

    pub fn tenant_id(&self) -> &str {
        self.tenant.id()
    }

    /// The actor as audit columns hold it: 64 characters at most.
    pub fn actor_name(&self) -> String {
        self.actor.name.chars().take(64).collect()
    }

    /// Who acts, and with which authorities, as the peer stores it beside what is done later in their name:
    /// auto-assignments, rollouts.
    pub fn access_context(&self) -> Result<String> {
        let system = [SYSTEM_ROLE.to_owned()];
        let authorities = self.actor.authorities.as_ref().map_or(&system[..], |a| a.raw());
        let context = AccessContext { tenant: self.tenant_id(), auditor: &self.actor.name, authorities };
        serde_json::to_string(&context).map_err(Error::internal)
    }

    /// Epoch milliseconds.
    pub fn now(&self) -> i64 {
        self.services.clock.now_ms()
    }

    pub fn db(&self) -> &Db {
        &self.services.db
    }

    pub fn engine(&self) -> Engine {
        self.services.db.engine()
    }

    pub async fn begin(&self) -> Result<Tx> {
        Ok(Tx::begin(&self.services.db, &self.services.events, &self.services.clock).await?)
    }
}
