//! From settings to the typed configuration: the one place that says which type a key has. A value that doesn't parse is
//! reported and replaced by any value of its type, for the other problems to be found too; the caller gives up then.

mod artifact_urls;
mod dmf;
mod events;
mod guard;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use super::{
    database::{self, Database},
    keys::USERS,
    settings::{
        Access, Authentication, AutoAssign, AutoCleanup, Cache, ClientAuth, Clients, Cluster, Config, Controller, Cors,
        Ddi, Log, LogFormat, OpenApi, Quotas, Repository, RequestLog, Rollouts, Security, Server, Ssl, User,
    },
    sources::{Findings, Raw, Setting, Settings},
    value::{self, Secret},
};

pub fn config(settings: &Settings, findings: &mut Findings) -> Config {
    let mut read = Reader { settings, findings };
    let (rabbitmq, dmf) = dmf::rabbitmq(&mut read);
    let roles = dmf::roles(&mut read, dmf);
    let database = database(&mut read);
    let server = server(&mut read);
    Config {
        dmf: dmf::dmf(&mut read, rabbitmq.as_ref()),
        events: events::events(&mut read, database.engine, rabbitmq.is_some()),
        rabbitmq,
        artifact_urls: artifact_urls::artifact_urls(&mut read, roles, &server.url()),
        roles,
        server,
        security: security(&mut read),
        log: Log {
            filter: read.one("kettle.log.filter", value::text),
            format: read.one("kettle.log.format", log_format),
            requests: read.one("kettle.log.requests", request_log),
        },
        data: PathBuf::from(read.one("kettle.data", value::text)),
        database,
        artifacts: PathBuf::from(read.one("org.eclipse.hawkbit.artifact.fs.path", value::text)),
        cluster: Cluster {
            address: read.optional("kettle.cluster.address", value::text),
            lease_time: read.one("kettle.cluster.lease-time", lease_time),
            write_wait: read.one("kettle.cluster.write-wait", value::duration),
            hawkbit_locks: read.one("kettle.cluster.hawkbit-locks", value::boolean),
            hawkbit_lock_ttl: read.one("hawkbit.repository.cluster.lock.ttl", lease_time),
        },
        cache: Cache {
            ttl: read.one("hawkbit.cache.ttl", value::duration),
            targets: read.one("kettle.cache.targets", value::count),
        },
        ddi: ddi(&mut read),
        controller: controller(&mut read),
        openapi: openapi(&mut read),
        repository: repository(&mut read),
        clients: Clients {
            track_remote_ip: read.one("hawkbit.server.security.clients.trackRemoteIp", value::boolean),
            remote_ip_header: read.one("hawkbit.server.security.clients.remoteIpHeader", value::header),
        },
        limits: guard::limits(&mut read),
        logins: guard::logins(&mut read),
        sessions: guard::sessions(&mut read),
        redis: guard::redis(&mut read),
        auto_assign: AutoAssign {
            enabled: read.one("hawkbit.autoassign.scheduler.enabled", value::boolean),
            fixed_delay: read.one("hawkbit.autoassign.scheduler.fixedDelay", delay),
            timed_every: read.one("kettle.auto-assign.timed-every", value::duration),
            all_every: read.one("kettle.auto-assign.all-every", value::duration),
        },
        auto_cleanup: AutoCleanup {
            enabled: read.one("hawkbit.autocleanup.scheduler.enabled", value::boolean),
            fixed_delay: read.one("hawkbit.autocleanup.scheduler.fixedDelay", delay),
        },
        rollouts: Rollouts {
            enabled: read.one("hawkbit.rollout.scheduler.enabled", value::boolean),
            fixed_delay: read.one("hawkbit.rollout.scheduler.fixedDelay", delay),
            parallel: read.one("hawkbit.rollout.executor.thread-pool.size", parallel),
            max_actions_per_transaction: read
                .one("hawkbit.repository.jpa.management.rollout.max.actions.per.transaction", value::count),
            dynamic_min_involve: read
                .one("hawkbit.server.repository.dynamicRolloutsMinInvolvePeriodMS", value::duration),
        },
        access: access(&mut read),
        quotas: quotas(&mut read),
        users: users(&mut read),
    }
}

fn lease_time(text: &str) -> Result<Duration, String> {
    let time = value::duration(text)?;
    if time < Duration::from_secs(2) {
        return Err("a lease is refreshed after a third of its time: give it 2s at least".to_owned());
    }
    Ok(time)
}

fn server(read: &mut Reader<'_>) -> Server {
    Server {
        bind: read.optional("server.address", value::ip).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: read.one("server.port", port),
        public_url: read.optional("kettle.public-url", value::base_url),
        trusted_proxies: read.list("kettle.trusted-proxies", value::network),
        basic_realm: read.one("hawkbit.server.security.basicRealm", realm),
        max_body_bytes: read.one("kettle.http.max-body", size),
        header_timeout: read.one("kettle.http.header-timeout", value::duration),
        shutdown_grace: read.one("kettle.shutdown-grace", value::duration),
        shutdown_drain: read.optional("kettle.shutdown-drain", value::duration),
        ssl: ssl(read),
    }
}

/// As Spring has it, a certificate turns TLS on unless `enabled` says otherwise.
fn ssl(read: &mut Reader<'_>) -> Option<Ssl> {
    let certificate = read.optional("server.ssl.certificate", value::file);
    let private_key = read.file("server.ssl.certificate-private-key");
    let trusted = read.optional("server.ssl.trust-certificate", value::file);
    let client_auth = read.one("server.ssl.client-auth", |text| match text.to_ascii_lowercase().as_str() {
        auth @ ("none" | "want" | "need") => Ok(auth.to_owned()),
        _ => Err("expected none, want or need".to_owned()),
    });
    if !read.optional("server.ssl.enabled", value::boolean).unwrap_or(certificate.is_some()) {
        return None;
    }
    let (Some(certificate), Some(private_key)) = (certificate, private_key) else {
        let problem = "TLS needs PEM files: set server.ssl.certificate and server.ssl.certificate-private-key";
        read.findings.problems.push(problem.to_owned());
        return None;
    };
    let client_auth = match (client_auth.as_str(), trusted) {
        ("want", Some(trusted)) => ClientAuth::Want(trusted),
        ("need", Some(trusted)) => ClientAuth::Need(trusted),
        ("want" | "need", None) => {
            let problem = "server.ssl.client-auth: set server.ssl.trust-certificate to whose certificates are taken";
            read.findings.problems.push(problem.to_owned());
            return None;
        }
        _ => ClientAuth::None,
    };
    Some(Ssl { certificate, private_key, client_auth })
}

fn security(read: &mut Reader<'_>) -> Security {
    Security {
        require_ssl: read.one("hawkbit.server.security.requireSsl", value::boolean),
        allowed_host_names: read.list("hawkbit.server.security.allowedHostNames", value::text),
        http_firewall_ignored_paths: read.list("hawkbit.server.security.httpFirewallIgnoredPaths", value::text),
        cors: Cors {
            enabled: read.one("hawkbit.server.security.cors.enabled", value::boolean),
            allowed_origins: read.list("hawkbit.server.security.cors.allowedOrigins", value::origin),
            allowed_headers: read.list("hawkbit.server.security.cors.allowedHeaders", value::header),
            allowed_methods: read.list("hawkbit.server.security.cors.allowedMethods", value::header),
            exposed_headers: read.list("hawkbit.server.security.cors.exposedHeaders", value::header),
            disable_for_ddi_api: read.one("hawkbit.server.security.cors.disable-for-ddi-api", value::boolean),
        },
    }
}

fn database(read: &mut Reader<'_>) -> Database {
    const URL: &str = "spring.datasource.url";
    let address = read.one(URL, database::address);
    for parameter in &address.ignored {
        read.findings
            .warnings
            .push(format!("{URL}: the parameter {parameter} has no effect: the database driver has none like it"));
    }
    let username = read.optional("spring.datasource.username", value::text);
    let password = read.secret("spring.datasource.password");
    Database {
        engine: address.engine,
        url: address.url,
        username: address.username.or(username),
        password: address.password.or(password),
        max_connections: read.one("spring.datasource.hikari.maximum-pool-size", value::positive),
        acquire_timeout: read.one("spring.datasource.hikari.connection-timeout", value::duration),
    }
}

fn ddi(read: &mut Reader<'_>) -> Ddi {
    Ddi {
        controller_id_header: read.one("hawkbit.server.ddi.security.rp.controllerIdHeader", value::header),
        authority_header: read.one("hawkbit.server.ddi.security.rp.authorityHeader", value::header),
        trusted_ips: read.list("hawkbit.server.ddi.security.rp.trustedIPs", value::network),
        authentication: Authentication {
            header_enabled: read.one("hawkbit.server.ddi.security.authentication.header.enabled", value::boolean),
            header_authority: read.one("hawkbit.server.ddi.security.authentication.header.authority", value::text),
            targettoken_enabled: read
                .one("hawkbit.server.ddi.security.authentication.targettoken.enabled", value::boolean),
            gatewaytoken_enabled: read
                .one("hawkbit.server.ddi.security.authentication.gatewaytoken.enabled", value::boolean),
            gatewaytoken_key: read
                .secret("hawkbit.server.ddi.security.authentication.gatewaytoken.key")
                .unwrap_or_default(),
        },
    }
}

fn controller(read: &mut Reader<'_>) -> Controller {
    Controller {
        polling_time: read.one("hawkbit.controller.pollingTime", polling_time),
        polling_overdue_time: read
            .one("hawkbit.controller.pollingOverdueTime", |text| value::polling(text).map(|_| text.to_owned())),
        max_polling_time: read.one("hawkbit.controller.maxPollingTime", value::polling),
        min_polling_time: read.one("hawkbit.controller.minPollingTime", value::polling),
        maintenance_window_poll_count: read.one("hawkbit.controller.maintenanceWindowPollCount", value::positive),
    }
}

fn openapi(read: &mut Reader<'_>) -> OpenApi {
    let mut enabled = |key| read.one(key, value::boolean);
    let any = enabled("hawkbit.server.openapi.enabled");
    let (mgmt, ddi) = (enabled("hawkbit.server.openapi.mgmt.enabled"), enabled("hawkbit.server.openapi.ddi.enabled"));
    OpenApi { mgmt: any && mgmt, ddi: any && ddi }
}

fn repository(read: &mut Reader<'_>) -> Repository {
    Repository {
        poll_persistence_flush_time: read.one("hawkbit.server.repository.pollPersistenceFlushTime", value::duration),
        poll_persistence_queue_size: read.one("hawkbit.server.repository.pollPersistenceQueueSize", value::count),
        eager_poll_persistence: read.one("hawkbit.server.repository.eagerPollPersistence", value::boolean),
        reject_action_status_for_closed_action: read
            .one("hawkbit.server.repository.rejectActionStatusForClosedAction", value::boolean),
        action_weight_if_absent: read.one("hawkbit.server.repository.actionWeightIfAbsent", weight),
        implicit_tenant_create_allowed: read
            .one("hawkbit.server.repository.implicitTenantCreateAllowed", value::boolean),
        skip_implicit_lock_for_tags: read.list("hawkbit.server.repository.skipImplicitLockForTags", value::text),
    }
}

fn access(read: &mut Reader<'_>) -> Access {
    Access {
        hierarchy: read.one("hawkbit.hierarchy", value::text),
        hierarchy_extension: read.one("hawkbit.hierarchy.ext", value::text),
        scopes: read.one("hawkbit.acm.access-controller.enabled", value::boolean),
        target_scopes: read.one("hawkbit.acm.access-controller.target.enabled", value::boolean),
        action_scopes: read.one("hawkbit.acm.access-controller.action.enabled", value::boolean),
        target_type_scopes: read.one("hawkbit.acm.access-controller.target-type.enabled", value::boolean),
        software_module_scopes: read.one("hawkbit.acm.access-controller.software-module.enabled", value::boolean),
        software_module_type_scopes: read
            .one("hawkbit.acm.access-controller.software-module-type.enabled", value::boolean),
        distribution_set_scopes: read.one("hawkbit.acm.access-controller.distribution-set.enabled", value::boolean),
        distribution_set_type_scopes: read
            .one("hawkbit.acm.access-controller.distribution-set-type.enabled", value::boolean),
    }
}

fn quotas(read: &mut Reader<'_>) -> Quotas {
    use value::{bytes, integer};
    Quotas {
        max_status_entries_per_action: read.one("hawkbit.server.security.dos.maxStatusEntriesPerAction", integer),
        max_attribute_entries_per_target: read.one("hawkbit.server.security.dos.maxAttributeEntriesPerTarget", integer),
        max_messages_per_action_status: read.one("hawkbit.server.security.dos.maxMessagesPerActionStatus", integer),
        max_meta_data_entries_per_software_module: read
            .one("hawkbit.server.security.dos.maxMetaDataEntriesPerSoftwareModule", integer),
        max_meta_data_entries_per_distribution_set: read
            .one("hawkbit.server.security.dos.maxMetaDataEntriesPerDistributionSet", integer),
        max_meta_data_entries_per_target: read.one("hawkbit.server.security.dos.maxMetaDataEntriesPerTarget", integer),
        max_software_modules_per_distribution_set: read
            .one("hawkbit.server.security.dos.maxSoftwareModulesPerDistributionSet", integer),
        max_software_module_types_per_distribution_set_type: read
            .one("hawkbit.server.security.dos.maxSoftwareModuleTypesPerDistributionSetType", integer),
        max_distribution_set_types_per_target_type: read
            .one("hawkbit.server.security.dos.maxDistributionSetTypesPerTargetType", integer),
        max_artifacts_per_software_module: read
            .one("hawkbit.server.security.dos.maxArtifactsPerSoftwareModule", integer),
        max_actions_per_target: read.one("hawkbit.server.security.dos.maxActionsPerTarget", integer),
        max_rollout_groups_per_rollout: read.one("hawkbit.server.security.dos.maxRolloutGroupsPerRollout", integer),
        max_targets_per_rollout_group: read.one("hawkbit.server.security.dos.maxTargetsPerRolloutGroup", integer),
        max_target_distribution_set_assignments_per_manual_assignment: read
            .one("hawkbit.server.security.dos.maxTargetDistributionSetAssignmentsPerManualAssignment", integer),
        max_targets_per_auto_assignment: read.one("hawkbit.server.security.dos.maxTargetsPerAutoAssignment", integer),
        max_artifact_size: read.one("hawkbit.server.security.dos.maxArtifactSize", bytes),
        max_artifact_storage: read.one("hawkbit.server.security.dos.maxArtifactStorage", bytes),
    }
}

fn users(read: &mut Reader<'_>) -> Vec<User> {
    let names: BTreeSet<&str> = read.settings.keys().filter_map(|key| user_of(key)).collect();
    names.into_iter().map(|name| user(read, name)).collect()
}

fn user(read: &mut Reader<'_>, name: &str) -> User {
    let settings = read.settings;
    let key = |property| Some(format!("{USERS}{name}.{property}")).filter(|key| settings.contains_key(key));
    let password = key("password").and_then(|key| read.secret(&key));
    if password.is_none() {
        read.findings.problems.push(format!("the user {name} has no password: set {USERS}{name}.password"));
    }
    User {
        name: name.to_owned(),
        password: password.unwrap_or_default(),
        roles: key("roles").map(|key| read.list(&key, value::text)).unwrap_or_default(),
        permissions: key("permissions").map(|key| read.list(&key, value::text)).unwrap_or_default(),
        tenant: key("tenant").and_then(|key| read.optional(&key, value::text)),
    }
}

/// The user a key belongs to.
pub fn user_of(key: &str) -> Option<&str> {
    Some(key.strip_prefix(USERS)?.rsplit_once('.')?.0)
}

struct Reader<'a> {
    settings: &'a Settings,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn one<T: Default>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.read(key, |raw| match raw {
            Raw::Text(text) => parse(text.trim()),
            Raw::List(_) => Err("expected one value, not a list".to_owned()),
        })
        .unwrap_or_default()
    }

    /// A value that may be left empty.
    fn optional<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.one(key, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
    }

    /// A secret, to the letter. `None` if left empty.
    fn secret(&mut self, key: &str) -> Option<Secret> {
        let secret = self.read(key, |raw| match raw {
            Raw::Text(text) => Ok(Secret::new(text)),
            Raw::List(_) => Err("expected one value, not a list".to_owned()),
        });
        secret.filter(|secret| !secret.expose().is_empty())
    }

    /// The file of a key, whose text may be the key itself by mistake: it is never shown.
    fn file(&mut self, key: &str) -> Option<PathBuf> {
        let file = value::file(self.secret(key)?.expose());
        let file = file.map_err(|problem| self.findings.problems.push(format!("{key}: {problem}")));
        Some(file.unwrap_or_default())
    }

    fn list<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.read(key, |raw| match raw {
            Raw::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(&parse).collect(),
            Raw::List(items) => items.iter().map(|item| parse(item.trim())).collect(),
        })
        .unwrap_or_default()
    }

    fn read<T>(&mut self, key: &str, parse: impl Fn(&Raw) -> Result<T, String>) -> Option<T> {
        let Some(Setting { form, raw, origin }) = self.settings.get(key) else {
            self.findings.problems.push(format!("{key} has no default: config.default.toml lacks it"));
            return None;
        };
        let problem = |error| format!("{key} = {} (from {origin}): {error}", raw.shown(*form));
        parse(raw).map_err(|error| self.findings.problems.push(problem(error))).ok()
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "expected a port, 0 to 65535".to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_owned()),
    }
}

fn request_log(text: &str) -> Result<RequestLog, String> {
    match text {
        "off" => Ok(RequestLog::Off),
        "errors" => Ok(RequestLog::Errors),
        "management" => Ok(RequestLog::Management),
        "all" => Ok(RequestLog::All),
        _ => Err("expected off, errors, management or all".to_owned()),
    }
}

/// Text that fits between the quotes of a `WWW-Authenticate` header.
fn realm(text: &str) -> Result<String, String> {
    let fits = text.chars().all(|c| matches!(c, ' '..='~') && c != '"' && c != '\\');
    fits.then(|| text.to_owned()).ok_or_else(|| "expected ASCII text without quotes and backslashes".to_owned())
}

/// The time between two runs of a job.
fn delay(text: &str) -> Result<Duration, String> {
    let delay = value::duration(text)?;
    if delay.is_zero() { Err("expected a duration above 0".to_owned()) } else { Ok(delay) }
}

fn parallel(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number from 1".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = value::bytes(text)?;
    usize::try_from(bytes).map_err(|_| "expected a number of bytes from 0".to_owned())
}

fn weight(text: &str) -> Result<i32, String> {
    let weight = text.parse().ok().filter(|weight| (0..=1000).contains(weight));
    weight.ok_or_else(|| "expected a whole number from 0 to 1000".to_owned())
}

/// The tenant's default interval; overrides need the query language, which isn't ours to check.
fn polling_time(text: &str) -> Result<String, String> {
    let interval = text.split([',', '~']).next().unwrap_or(text);
    value::polling(interval.trim_end()).map(|_| text.to_owned())
}
