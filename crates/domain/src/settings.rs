//! What the configuration says of the domain's rules. Names follow the peer's properties (semantics.md E7, E8, F7).

use std::time::Duration;

use crate::{artifacts::urls::ArtifactUrls, targets::ProxyHeaders};

/// Rules and limits that hold for every tenant of this node.
#[derive(Clone, Debug)]
pub struct Settings {
    pub quotas: Quotas,
    /// Starting values of tenant settings, before a tenant sets its own.
    pub tenant_defaults: TenantDefaults,
    /// Tenants may have their devices poll no slower and no faster than these.
    pub max_polling_time: Duration,
    pub min_polling_time: Duration,
    pub action_weight_if_absent: i32,
    pub rollouts: Rollouts,
    pub implicit_tenant_create_allowed: bool,
    pub reject_action_status_for_closed_action: bool,
    pub skip_implicit_lock_for_tags: Vec<String>,
    /// How many targets' last-seen times may wait to be written, and for how long at most.
    pub poll_persistence_queue: usize,
    pub poll_persistence_flush: Duration,
    pub eager_poll_persistence: bool,
    /// Whether a target's address is taken from the connection; otherwise it is `http://***`.
    pub track_remote_ip: bool,
    /// After this time a cached setting or view is read anew even if no event dropped it.
    pub cache_ttl: Duration,
    pub cached_targets: u64,
    pub auto_assign: AutoAssign,
    pub artifact_urls: ArtifactUrls,
    /// In messages; requests over HTTP have the same.
    pub proxy_headers: ProxyHeaders,
    /// How long a download id can be used.
    pub download_id_ttl: Duration,
    /// How long a node that dies holds up what it worked on.
    pub lease_time: Duration,
    /// For a while in which hawkBit's nodes work on the same database: how long its locks hold. `None`: they are not taken.
    pub hawkbit_locks: Option<Duration>,
}

/// When target filters assign by themselves (semantics.md A7, F3).
#[derive(Clone, Copy, Debug)]
pub struct AutoAssign {
    /// How often a node looks whether a pass over all targets is due.
    pub look_every: Duration,
    /// Passes without a cause, of filters whose searches are about time; zero for none.
    pub timed_every: Duration,
    /// Passes without a cause, of all filters; zero for none.
    pub all_every: Duration,
}

impl Default for AutoAssign {
    fn default() -> AutoAssign {
        AutoAssign {
            look_every: Duration::from_secs(2),
            timed_every: Duration::from_secs(30),
            all_every: Duration::from_secs(3600),
        }
    }
}

/// Limits on counts and sizes; 0 or less means none.
#[derive(Clone, Debug)]
pub struct Quotas {
    pub status_entries_per_action: i64,
    pub attributes_per_target: i64,
    pub messages_per_action_status: i64,
    pub metadata_per_software_module: i64,
    pub metadata_per_distribution_set: i64,
    pub metadata_per_target: i64,
    pub software_modules_per_distribution_set: i64,
    pub software_module_types_per_distribution_set_type: i64,
    pub distribution_set_types_per_target_type: i64,
    pub artifacts_per_software_module: i64,
    pub actions_per_target: i64,
    pub groups_per_rollout: i64,
    pub targets_per_rollout_group: i64,
    pub assignments_per_request: i64,
    pub targets_per_auto_assignment: i64,
    pub artifact_size: i64,
    pub artifact_storage: i64,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            status_entries_per_action: 1000,
            attributes_per_target: 100,
            messages_per_action_status: 50,
            metadata_per_software_module: 100,
            metadata_per_distribution_set: 100,
            metadata_per_target: 100,
            software_modules_per_distribution_set: 100,
            software_module_types_per_distribution_set_type: 50,
            distribution_set_types_per_target_type: 50,
            artifacts_per_software_module: 50,
            actions_per_target: 2000,
            groups_per_rollout: 500,
            targets_per_rollout_group: 20_000,
            assignments_per_request: 5000,
            targets_per_auto_assignment: 20_000,
            artifact_size: 1 << 30,
            artifact_storage: 20 << 30,
        }
    }
}

/// How this node works on rollouts.
#[derive(Clone, Debug)]
pub struct Rollouts {
    /// Whether it does at all; others may.
    pub scheduler: bool,
    /// From one look at all active rollouts to the next.
    pub every: Duration,
    /// How many rollouts are worked on at the same time.
    pub parallel: usize,
    pub actions_per_transaction: u64,
    /// A dynamic rollout that found no new targets looks again after this time.
    pub dynamic_min_involve: Duration,
}

impl Default for Rollouts {
    fn default() -> Rollouts {
        Rollouts {
            scheduler: true,
            every: Duration::from_secs(2),
            parallel: 2,
            actions_per_transaction: 5000,
            dynamic_min_involve: Duration::from_secs(60),
        }
    }
}

#[derive(Clone, Debug)]
pub struct TenantDefaults {
    pub polling_time: String,
    pub polling_overdue_time: String,
    pub maintenance_window_poll_count: i32,
    pub header_enabled: bool,
    pub header_authority: String,
    pub targettoken_enabled: bool,
    pub gatewaytoken_enabled: bool,
    pub gatewaytoken_key: String,
}

impl Default for TenantDefaults {
    fn default() -> TenantDefaults {
        TenantDefaults {
            polling_time: "00:05:00".into(),
            polling_overdue_time: "00:05:00".into(),
            maintenance_window_poll_count: 3,
            header_enabled: false,
            header_authority: String::new(),
            targettoken_enabled: false,
            gatewaytoken_enabled: false,
            gatewaytoken_key: String::new(),
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            quotas: Quotas::default(),
            tenant_defaults: TenantDefaults::default(),
            max_polling_time: Duration::from_secs(86_399),
            min_polling_time: Duration::from_secs(30),
            action_weight_if_absent: 1000,
            rollouts: Rollouts::default(),
            implicit_tenant_create_allowed: true,
            reject_action_status_for_closed_action: false,
            skip_implicit_lock_for_tags: [
                "skip-implicit-lock",
                "skip_implicit_lock",
                "SKIP_IMPLICIT_LOCK",
                "SKIP-IMPLICIT-LOCK",
            ]
            .map(Into::into)
            .into(),
            poll_persistence_queue: 100_000,
            poll_persistence_flush: Duration::from_secs(10),
            eager_poll_persistence: false,
            track_remote_ip: true,
            cache_ttl: Duration::from_secs(60),
            cached_targets: 100_000,
            auto_assign: AutoAssign::default(),
            artifact_urls: ArtifactUrls::default(),
            proxy_headers: ProxyHeaders { controller_id: "X-Controller-Id".into(), authority: "X-Authority".into() },
            download_id_ttl: Duration::from_secs(300),
            lease_time: Duration::from_secs(10),
            hawkbit_locks: None,
        }
    }
}
