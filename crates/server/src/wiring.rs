//! The configuration in the terms of the crates it configures.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use kettle_cluster::{
    Limits as Counts, Redis, RedisSettings,
    announcements::Payload,
    rabbitmq::{self, Address, Broker, Channels, Password, Tls},
};
use kettle_db::Db;
use kettle_dmf::Queues;
use kettle_domain::{
    access::{
        FailedLogins, Hierarchy, Rules, Scoping, Sessions, User, Users,
        failed_logins::{Delay, Delays},
        sessions::Lifetime,
    },
    artifacts::urls::{ArtifactUrls, Own, Protocol},
    limits::{Limit, Limits},
    settings::{AutoAssign, Quotas, Rollouts, Settings, TenantDefaults},
    targets::ProxyHeaders,
};
use kettle_rest::{AddressRules, RequestLimits};

use crate::config::{self, Config, Cors, Transport};

/// The tenant of a user whose configuration names none is no tenant: such a user can log in nowhere. The stock
/// user has `DEFAULT`.
pub fn users(config: &Config) -> anyhow::Result<Users> {
    let users = config.users.iter().map(|user| User {
        name: user.name.clone(),
        password: user.password.expose().to_owned(),
        authorities: user.roles.iter().map(|role| format!("ROLE_{role}")).chain(user.permissions.clone()).collect(),
        tenant: user.tenant.clone(),
    });
    Users::new(users, &rules(config)?).map_err(anyhow::Error::msg).context("hawkbit.security.user")
}

/// `None`: there is none. To be called within the runtime.
pub fn redis(config: &Config) -> anyhow::Result<Option<Redis>> {
    let Some(redis) = &config.redis else { return Ok(None) };
    // Where more than one library for TLS is linked in, its client has to be told which to use. One that is told already
    // keeps what it has.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let (url, prefix) = (redis.url.expose().to_owned(), redis.prefix.clone());
    let redis = Redis::new(RedisSettings { url, timeout: redis.timeout, prefix });
    redis.map(Some).map_err(anyhow::Error::msg).context("spring.data.redis")
}

pub fn failed_logins(config: &Config, db: &Db, redis: Option<&Redis>) -> FailedLogins {
    let logins = &config.logins;
    let delay = |free, longest| Delay { free, first: logins.first_delay, longest };
    let delays = Delays {
        user: delay(logins.failures_per_user, logins.longest_delay_per_user),
        address: delay(logins.failures_per_address, logins.longest_delay_per_address),
    };
    let used = config.redis.as_ref().is_some_and(|redis| redis.logins);
    FailedLogins::new(db.clone(), redis.filter(|_| used).cloned(), delays)
}

pub fn sessions(config: &Config, db: &Db, redis: Option<&Redis>, users: &Arc<Users>) -> Sessions {
    let used = config.redis.as_ref().is_some_and(|redis| redis.sessions);
    let lifetime = Lifetime { idle: config.sessions.idle, longest: config.sessions.longest };
    Sessions::new(db.clone(), redis.filter(|_| used).cloned(), users.clone(), lifetime)
}

/// `None`: views are a node's own.
pub fn shares_views(config: &Config, redis: Option<&Redis>) -> Option<Redis> {
    let used = config.redis.as_ref().is_some_and(|redis| redis.cache) && !config.cache.ttl.is_zero();
    redis.filter(|_| used).cloned()
}

/// What this node counts requests with.
pub fn counts(config: &Config, redis: Option<&Redis>) -> Counts {
    let used = config.redis.as_ref().is_some_and(|redis| redis.limits);
    Counts::new(redis.filter(|_| used).cloned())
}

pub fn request_limits(config: &Config, counts: Counts) -> anyhow::Result<RequestLimits> {
    let limits = &config.limits;
    let rules = AddressRules {
        allowed_pattern: limits.whitelist.clone(),
        denied_pattern: limits.blacklist.clone(),
        allowed: limits.allow.clone(),
        denied: limits.deny.clone(),
    };
    let counted = limits.enabled.then_some(Limits {
        of_address: Limit { reads: limits.reads, writes: limits.writes },
        of_device: Limit { reads: limits.device_reads, writes: limits.device_writes },
        counts,
    });
    let limits = RequestLimits::new(&rules, counted).map_err(anyhow::Error::msg);
    limits.context("hawkbit.server.security.dos.filter.whitelist or hawkbit.server.security.clients.blacklist")
}

/// How the authorities of all users are read.
pub fn rules(config: &Config) -> anyhow::Result<Rules> {
    let access = &config.access;
    let hierarchy = Hierarchy::configured(&access.hierarchy, &access.hierarchy_extension);
    let scoping = access.scopes.then_some(Scoping {
        targets: access.target_scopes,
        actions: access.action_scopes,
        target_types: access.target_type_scopes,
        software_modules: access.software_module_scopes,
        software_module_types: access.software_module_type_scopes,
        distribution_sets: access.distribution_set_scopes,
        distribution_set_types: access.distribution_set_type_scopes,
    });
    Ok(Rules { hierarchy: hierarchy.map_err(anyhow::Error::msg).context("hawkbit.hierarchy")?, scoping })
}

pub fn cors(cors: &Cors) -> Option<kettle_rest::Cors> {
    cors.enabled.then(|| kettle_rest::Cors {
        origins: cors.allowed_origins.clone(),
        methods: cors.allowed_methods.clone(),
        headers: cors.allowed_headers.clone(),
        exposed: cors.exposed_headers.clone(),
        devices: !cors.disable_for_ddi_api,
    })
}

/// `None`: there is no broker.
pub fn broker(config: &Config) -> anyhow::Result<Option<Broker>> {
    let Some(broker) = &config.rabbitmq else { return Ok(None) };
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let tls = |tls: &config::Tls| {
        let authorities = tls.ca.as_deref().map(read).transpose()?.map(String::from_utf8).transpose();
        let identity = tls.client.as_ref();
        anyhow::Ok(Tls {
            authorities: authorities.context("kettle.rabbitmq.tls.ca is no PEM file")?,
            identity: identity.map(|of| anyhow::Ok((read(&of.certificate)?, read(&of.private_key)?))).transpose()?,
        })
    };
    Ok(Some(Broker {
        addresses: broker.nodes.iter().map(|node| Address { host: node.host.clone(), port: node.port }).collect(),
        username: broker.username.clone(),
        password: Password(broker.password.expose().to_owned()),
        virtual_host: broker.virtual_host.clone(),
        heartbeat: broker.heartbeat,
        connection_timeout: broker.connection_timeout,
        tls: broker.tls.as_ref().map(tls).transpose()?,
    }))
}

/// `None`: events do not go over the broker.
pub fn events(config: &Config, broker: Option<&Broker>) -> Option<rabbitmq::Settings> {
    let events = &config.events;
    let broker = broker.filter(|_| events.transport == Transport::Rabbitmq)?.clone();
    let channels = Channels { fan_out: events.fan_out.clone(), service: events.service.clone() };
    Some(rabbitmq::Settings {
        broker,
        channels: events.announce.then_some(channels),
        payload: match events.payload {
            config::Payload::Json => Payload::Json,
            config::Payload::Protobuf => Payload::Binary,
        },
        serves_dmf: config.roles.dmf,
    })
}

/// `None`: this node does not serve DMF.
pub fn dmf(config: &Config, broker: Option<&Broker>) -> Option<kettle_dmf::Settings> {
    let (limits, dmf) = (config.rabbitmq.as_ref()?, &config.dmf);
    let broker = broker.filter(|_| config.roles.dmf)?.clone();
    Some(kettle_dmf::Settings {
        broker,
        virtual_hosts: dmf.virtual_hosts.clone(),
        queues: Queues {
            declare: dmf.auto_declare,
            receiver: dmf.receiver_queue.clone(),
            authentication: dmf.authentication_receiver_queue.clone(),
            dead_letter_exchange: dmf.dead_letter_exchange.clone(),
            dead_letter: dmf.dead_letter_queue.clone(),
            dead_letter_ttl: dmf.dead_letter_ttl,
        },
        prefetch: limits.prefetch,
        workers: limits.workers,
        exclusive: dmf.exclusive,
        download_id_ttl: dmf.download_id_ttl,
    })
}

pub fn settings(config: &Config) -> Settings {
    let (quotas, authentication) = (&config.quotas, &config.ddi.authentication);
    Settings {
        quotas: Quotas {
            status_entries_per_action: quotas.max_status_entries_per_action,
            attributes_per_target: quotas.max_attribute_entries_per_target,
            messages_per_action_status: quotas.max_messages_per_action_status,
            metadata_per_software_module: quotas.max_meta_data_entries_per_software_module,
            metadata_per_distribution_set: quotas.max_meta_data_entries_per_distribution_set,
            metadata_per_target: quotas.max_meta_data_entries_per_target,
            software_modules_per_distribution_set: quotas.max_software_modules_per_distribution_set,
            software_module_types_per_distribution_set_type: quotas.max_software_module_types_per_distribution_set_type,
            distribution_set_types_per_target_type: quotas.max_distribution_set_types_per_target_type,
            artifacts_per_software_module: quotas.max_artifacts_per_software_module,
            actions_per_target: quotas.max_actions_per_target,
            groups_per_rollout: quotas.max_rollout_groups_per_rollout,
            targets_per_rollout_group: quotas.max_targets_per_rollout_group,
            assignments_per_request: quotas.max_target_distribution_set_assignments_per_manual_assignment,
            targets_per_auto_assignment: quotas.max_targets_per_auto_assignment,
            artifact_size: quotas.max_artifact_size,
            artifact_storage: quotas.max_artifact_storage,
        },
        tenant_defaults: TenantDefaults {
            polling_time: config.controller.polling_time.clone(),
            polling_overdue_time: config.controller.polling_overdue_time.clone(),
            maintenance_window_poll_count: config.controller.maintenance_window_poll_count,
            header_enabled: authentication.header_enabled,
            header_authority: authentication.header_authority.clone(),
            targettoken_enabled: authentication.targettoken_enabled,
            gatewaytoken_enabled: authentication.gatewaytoken_enabled,
            gatewaytoken_key: authentication.gatewaytoken_key.expose().to_owned(),
        },
        rollouts: Rollouts {
            scheduler: config.rollouts.enabled,
            every: config.rollouts.fixed_delay,
            parallel: config.rollouts.parallel,
            actions_per_transaction: config.rollouts.max_actions_per_transaction.max(1),
            dynamic_min_involve: config.rollouts.dynamic_min_involve,
        },
        max_polling_time: config.controller.max_polling_time,
        min_polling_time: config.controller.min_polling_time,
        action_weight_if_absent: config.repository.action_weight_if_absent,
        implicit_tenant_create_allowed: config.repository.implicit_tenant_create_allowed,
        reject_action_status_for_closed_action: config.repository.reject_action_status_for_closed_action,
        skip_implicit_lock_for_tags: config.repository.skip_implicit_lock_for_tags.clone(),
        poll_persistence_queue: config.repository.poll_persistence_queue_size,
        poll_persistence_flush: config.repository.poll_persistence_flush_time,
        eager_poll_persistence: config.repository.eager_poll_persistence,
        track_remote_ip: config.clients.track_remote_ip,
        cache_ttl: config.cache.ttl,
        cached_targets: config.cache.targets,
        auto_assign: AutoAssign {
            look_every: config.auto_assign.fixed_delay,
            timed_every: config.auto_assign.timed_every,
            all_every: config.auto_assign.all_every,
        },
        artifact_urls: artifact_urls(config),
        proxy_headers: proxy_headers(config),
        download_id_ttl: config.dmf.download_id_ttl,
        lease_time: config.cluster.lease_time,
        hawkbit_locks: config.cluster.hawkbit_locks.then_some(config.cluster.hawkbit_lock_ttl),
    }
}

pub fn proxy_headers(config: &Config) -> ProxyHeaders {
    ProxyHeaders {
        controller_id: config.ddi.controller_id_header.clone(),
        authority: config.ddi.authority_header.clone(),
    }
}

fn artifact_urls(config: &Config) -> ArtifactUrls {
    let protocols = config.artifact_urls.iter().cloned().map(|url| Protocol {
        rel: url.rel,
        protocol: url.protocol,
        hostname: url.hostname,
        ip: url.ip,
        port: url.port,
        ddi: url.supports.ddi,
        dmf: url.supports.dmf,
        mgmt: url.supports.mgmt,
        template: url.template,
    });
    let own = Own { url: config.server.url(), public: config.server.public_url.is_some() };
    ArtifactUrls::new(protocols, &own)
}
