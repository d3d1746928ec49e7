//! The table of keys: what may be configured, under which spellings, and what is nearest to a name nobody knows.
//! Defaults and meanings are in `config.default.toml`, types where `bind` reads a key; a test keeps the three in step.

use std::borrow::Cow;

use Form::{List, Scalar, Secret, Url, Urls};

/// What a value looks like in the sources, and how much of it may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Scalar,
    /// Array, text with commas, or indexed names.
    List,
    /// Never shown.
    Secret,
    /// Shown without credentials.
    Url,
    /// A list of URLs, shown without credentials.
    Urls,
}

impl Form {
    fn is_list(self) -> bool {
        matches!(self, List | Urls)
    }
}

pub const KEYS: &[(&str, Form)] = &[
    ("server.port", Scalar),
    ("server.servlet.session.timeout", Scalar),
    ("server.address", Scalar),
    ("server.ssl.enabled", Scalar),
    ("server.ssl.certificate", Scalar),
    ("server.ssl.certificate-private-key", Secret),
    ("server.ssl.client-auth", Scalar),
    ("server.ssl.trust-certificate", Scalar),
    ("kettle.data", Scalar),
    ("kettle.public-url", Url),
    ("kettle.trusted-proxies", List),
    ("kettle.shutdown-grace", Scalar),
    ("kettle.shutdown-drain", Scalar),
    ("kettle.http.max-body", Scalar),
    ("kettle.http.header-timeout", Scalar),
    ("kettle.log.filter", Scalar),
    ("kettle.log.format", Scalar),
    ("kettle.log.requests", Scalar),
    ("kettle.cache.targets", Scalar),
    ("kettle.roles", List),
    ("kettle.cluster.address", Scalar),
    ("kettle.cluster.lease-time", Scalar),
    ("kettle.cluster.write-wait", Scalar),
    ("kettle.cluster.hawkbit-locks", Scalar),
    ("hawkbit.repository.cluster.lock.ttl", Scalar),
    ("kettle.dmf.exclusive", Scalar),
    ("kettle.dmf.virtual-hosts", List),
    ("kettle.dmf.download-id-ttl", Scalar),
    ("kettle.events.transport", Scalar),
    ("kettle.events.payload", Scalar),
    ("kettle.events.announce", Scalar),
    ("kettle.rabbitmq.tls.ca", Scalar),
    ("kettle.rabbitmq.tls.certificate", Scalar),
    ("kettle.rabbitmq.tls.private-key", Secret),
    ("kettle.login.failures-per-user", Scalar),
    ("kettle.login.failures-per-address", Scalar),
    ("kettle.login.first-delay", Scalar),
    ("kettle.login.longest-delay-per-user", Scalar),
    ("kettle.login.longest-delay-per-address", Scalar),
    ("kettle.session.longest", Scalar),
    ("kettle.limits.allow", List),
    ("kettle.limits.deny", List),
    ("kettle.limits.device.maxRead", Scalar),
    ("kettle.limits.device.maxWrite", Scalar),
    ("kettle.redis.use", List),
    ("kettle.redis.prefix", Scalar),
    ("kettle.auto-assign.timed-every", Scalar),
    ("kettle.auto-assign.all-every", Scalar),
    ("spring.datasource.url", Url),
    ("spring.datasource.username", Scalar),
    ("spring.datasource.password", Secret),
    ("spring.datasource.hikari.maximum-pool-size", Scalar),
    ("spring.datasource.hikari.connection-timeout", Scalar),
    ("spring.data.redis.host", Scalar),
    ("spring.data.redis.port", Scalar),
    ("spring.data.redis.url", Url),
    ("spring.data.redis.username", Scalar),
    ("spring.data.redis.password", Secret),
    ("spring.data.redis.database", Scalar),
    ("spring.data.redis.ssl.enabled", Scalar),
    ("spring.data.redis.timeout", Scalar),
    ("spring.rabbitmq.host", Scalar),
    ("spring.rabbitmq.port", Scalar),
    ("spring.rabbitmq.addresses", Urls),
    ("spring.rabbitmq.username", Scalar),
    ("spring.rabbitmq.password", Secret),
    ("spring.rabbitmq.virtual-host", Scalar),
    ("spring.rabbitmq.ssl.enabled", Scalar),
    ("spring.rabbitmq.requested-heartbeat", Scalar),
    ("spring.rabbitmq.connection-timeout", Scalar),
    ("spring.rabbitmq.listener.simple.prefetch", Scalar),
    ("spring.rabbitmq.listener.simple.concurrency", Scalar),
    ("spring.rabbitmq.listener.simple.max-concurrency", Scalar),
    ("spring.cloud.stream.default.content-type", Scalar),
    ("hawkbit.events.remote.enabled", Scalar),
    ("hawkbit.events.remote.destination", Scalar),
    ("hawkbit.events.remote-service-enabled", Scalar),
    ("hawkbit.events.remote.service.destination", Scalar),
    ("hawkbit.dmf.enabled", Scalar),
    ("hawkbit.dmf.rabbitmq.receiverQueue", Scalar),
    ("hawkbit.dmf.rabbitmq.authenticationReceiverQueue", Scalar),
    ("hawkbit.dmf.rabbitmq.deadLetterExchange", Scalar),
    ("hawkbit.dmf.rabbitmq.deadLetterQueue", Scalar),
    ("hawkbit.dmf.rabbitmq.dead-letter.ttl", Scalar),
    ("hawkbit.dmf.rabbitmq.auto-declare", Scalar),
    ("org.eclipse.hawkbit.artifact.fs.path", Scalar),
    ("hawkbit.autoassign.scheduler.enabled", Scalar),
    ("hawkbit.autoassign.scheduler.fixedDelay", Scalar),
    ("hawkbit.autocleanup.scheduler.enabled", Scalar),
    ("hawkbit.autocleanup.scheduler.fixedDelay", Scalar),
    ("hawkbit.rollout.scheduler.enabled", Scalar),
    ("hawkbit.rollout.scheduler.fixedDelay", Scalar),
    ("hawkbit.rollout.executor.thread-pool.size", Scalar),
    ("hawkbit.repository.jpa.management.rollout.max.actions.per.transaction", Scalar),
    ("hawkbit.server.repository.dynamicRolloutsMinInvolvePeriodMS", Scalar),
    ("hawkbit.cache.ttl", Scalar),
    ("hawkbit.controller.pollingTime", Scalar),
    ("hawkbit.controller.pollingOverdueTime", Scalar),
    ("hawkbit.controller.maxPollingTime", Scalar),
    ("hawkbit.controller.minPollingTime", Scalar),
    ("hawkbit.controller.maintenanceWindowPollCount", Scalar),
    ("hawkbit.server.ddi.security.rp.controllerIdHeader", Scalar),
    ("hawkbit.server.ddi.security.rp.authorityHeader", Scalar),
    ("hawkbit.server.ddi.security.rp.trustedIPs", List),
    ("hawkbit.server.ddi.security.authentication.header.enabled", Scalar),
    ("hawkbit.server.ddi.security.authentication.header.authority", Scalar),
    ("hawkbit.server.ddi.security.authentication.targettoken.enabled", Scalar),
    ("hawkbit.server.ddi.security.authentication.gatewaytoken.enabled", Scalar),
    ("hawkbit.server.ddi.security.authentication.gatewaytoken.key", Secret),
    ("hawkbit.server.openapi.enabled", Scalar),
    ("hawkbit.server.openapi.mgmt.enabled", Scalar),
    ("hawkbit.server.openapi.ddi.enabled", Scalar),
    ("hawkbit.server.repository.pollPersistenceFlushTime", Scalar),
    ("hawkbit.server.repository.pollPersistenceQueueSize", Scalar),
    ("hawkbit.server.repository.eagerPollPersistence", Scalar),
    ("hawkbit.server.repository.rejectActionStatusForClosedAction", Scalar),
    ("hawkbit.server.repository.actionWeightIfAbsent", Scalar),
    ("hawkbit.server.repository.implicitTenantCreateAllowed", Scalar),
    ("hawkbit.server.repository.skipImplicitLockForTags", List),
    ("hawkbit.hierarchy", Scalar),
    ("hawkbit.hierarchy.ext", Scalar),
    ("hawkbit.acm.access-controller.enabled", Scalar),
    ("hawkbit.acm.access-controller.target.enabled", Scalar),
    ("hawkbit.acm.access-controller.action.enabled", Scalar),
    ("hawkbit.acm.access-controller.target-type.enabled", Scalar),
    ("hawkbit.acm.access-controller.software-module.enabled", Scalar),
    ("hawkbit.acm.access-controller.software-module-type.enabled", Scalar),
    ("hawkbit.acm.access-controller.distribution-set.enabled", Scalar),
    ("hawkbit.acm.access-controller.distribution-set-type.enabled", Scalar),
    ("hawkbit.server.security.basicRealm", Scalar),
    ("hawkbit.server.security.requireSsl", Scalar),
    ("hawkbit.server.security.allowedHostNames", List),
    ("hawkbit.server.security.httpFirewallIgnoredPaths", List),
    ("hawkbit.server.security.cors.enabled", Scalar),
    ("hawkbit.server.security.cors.allowedOrigins", List),
    ("hawkbit.server.security.cors.allowedHeaders", List),
    ("hawkbit.server.security.cors.allowedMethods", List),
    ("hawkbit.server.security.cors.exposedHeaders", List),
    ("hawkbit.server.security.cors.disable-for-ddi-api", Scalar),
    ("hawkbit.server.security.clients.trackRemoteIp", Scalar),
    ("hawkbit.server.security.clients.remoteIpHeader", Scalar),
    ("hawkbit.server.security.clients.blacklist", Scalar),
    ("hawkbit.server.security.dos.filter.enabled", Scalar),
    ("hawkbit.server.security.dos.filter.maxRead", Scalar),
    ("hawkbit.server.security.dos.filter.maxWrite", Scalar),
    ("hawkbit.server.security.dos.filter.whitelist", Scalar),
    ("hawkbit.server.security.dos.maxStatusEntriesPerAction", Scalar),
    ("hawkbit.server.security.dos.maxAttributeEntriesPerTarget", Scalar),
    ("hawkbit.server.security.dos.maxMessagesPerActionStatus", Scalar),
    ("hawkbit.server.security.dos.maxMetaDataEntriesPerSoftwareModule", Scalar),
    ("hawkbit.server.security.dos.maxMetaDataEntriesPerDistributionSet", Scalar),
    ("hawkbit.server.security.dos.maxMetaDataEntriesPerTarget", Scalar),
    ("hawkbit.server.security.dos.maxSoftwareModulesPerDistributionSet", Scalar),
    ("hawkbit.server.security.dos.maxSoftwareModuleTypesPerDistributionSetType", Scalar),
    ("hawkbit.server.security.dos.maxDistributionSetTypesPerTargetType", Scalar),
    ("hawkbit.server.security.dos.maxArtifactsPerSoftwareModule", Scalar),
    ("hawkbit.server.security.dos.maxActionsPerTarget", Scalar),
    ("hawkbit.server.security.dos.maxRolloutGroupsPerRollout", Scalar),
    ("hawkbit.server.security.dos.maxTargetsPerRolloutGroup", Scalar),
    ("hawkbit.server.security.dos.maxTargetDistributionSetAssignmentsPerManualAssignment", Scalar),
    ("hawkbit.server.security.dos.maxTargetsPerAutoAssignment", Scalar),
    ("hawkbit.server.security.dos.maxArtifactSize", Scalar),
    ("hawkbit.server.security.dos.maxArtifactStorage", Scalar),
];

/// Settings of things that the deployment gives names to: `PREFIX` `NAME` `.` `PROPERTY`.
struct Named {
    prefix: &'static str,
    properties: &'static [(&'static str, Form)],
    /// The name by which a spelling of it is known.
    name: fn(&str) -> String,
}

pub const USERS: &str = "hawkbit.security.user.";
pub const ARTIFACT_URLS: &str = "hawkbit.artifact.url.protocols.";
/// Those that hawkBit brings along, in the order of their links.
pub const STOCK_ARTIFACT_URLS: [&str; 2] = ["download-http", "md5sum-http"];

const NAMED: [Named; 2] = [
    Named {
        prefix: USERS,
        properties: &[("password", Secret), ("roles", List), ("permissions", List), ("tenant", Scalar)],
        name: str::to_owned,
    },
    Named {
        prefix: ARTIFACT_URLS,
        properties: &[
            ("enabled", Scalar),
            ("rel", Scalar),
            ("protocol", Scalar),
            ("hostname", Scalar),
            ("ip", Scalar),
            ("port", Scalar),
            ("supports", List),
            ("ref", Scalar),
        ],
        // The environment can't tell `my-cdn` from `mycdn`.
        name: |spelled| {
            let name = squashed(spelled);
            let stock = STOCK_ARTIFACT_URLS.into_iter().find(|stock| squashed(stock) == name);
            stock.map_or(name, str::to_owned)
        },
    },
];

const KEY_STORE: &str = "TLS reads PEM files. `openssl pkcs12 -in STORE -nodes -out server.pem` makes one of a PKCS12 store \
                         (of a JKS store, `keytool -importkeystore -deststoretype pkcs12` makes a PKCS12 store); set \
                         `server.ssl.certificate` and `server.ssl.certificate-private-key` to it";
const BROKER_STORE: &str =
    "the broker's TLS reads PEM files: `kettle.rabbitmq.tls`; `openssl pkcs12` makes them of a PKCS12 store";
const BROKER_VERIFIED: &str = "the broker's certificate and its name are always verified";
const TRUST_STORE: &str = "TLS reads PEM files. `openssl pkcs12 -in STORE -nokeys -out trusted.pem` makes one of a PKCS12 \
                           store; set `server.ssl.trust-certificate` to it";

/// Keys of hawkBit and Spring that are accepted without effect, and why. `.*` stands for everything below.
pub const IGNORED: &[(&str, &str)] = &[
    ("hawkbit.server.ddi.security.rp.authoritiesSeparatorRegex", "authorities are separated by a comma or a semicolon"),
    ("hawkbit.autoassign.executor.*", "a change is matched against all filters at once, in one task"),
    ("hawkbit.executor.*", "jobs run without thread pools of their own"),
    ("hawkbit.lock", "leases replace hawkBit's locks; see `kettle.cluster.hawkbit-locks`"),
    ("hawkbit.repository.cluster.lock.*", "a lock is renewed after a fifth of its time"),
    ("hawkbit.server.repository.dsInvalidationLockTimeout", "leases replace hawkBit's locks"),
    ("hawkbit.cache.*", "only `hawkbit.cache.ttl` sets the caches"),
    ("hawkbit.server.repository.publishTargetPollEvent", "polls are announced as everything else is"),
    ("hawkbit.events.*", "events have no such setting"),
    ("spring.cloud.*", "part of Spring; events have settings of their own"),
    ("spring.rabbitmq.ssl.bundle", BROKER_STORE),
    ("spring.rabbitmq.ssl.key-store", BROKER_STORE),
    ("spring.rabbitmq.ssl.key-store*", BROKER_STORE),
    ("spring.rabbitmq.ssl.trust-store", BROKER_STORE),
    ("spring.rabbitmq.ssl.trust-store*", BROKER_STORE),
    ("spring.rabbitmq.ssl.validate-server-certificate", BROKER_VERIFIED),
    ("spring.rabbitmq.ssl.verify-hostname", BROKER_VERIFIED),
    ("spring.rabbitmq.ssl.*", "TLS has no such setting"),
    ("spring.rabbitmq.publisher-*", "every message is published with a confirm"),
    (
        "spring.rabbitmq.listener.*",
        "messages are acknowledged when what they say is in the database, and tried again after a while",
    ),
    ("spring.rabbitmq.template.*", "part of Spring"),
    ("spring.rabbitmq.*", "the connection to the broker has no such setting"),
    ("hawkbit.dmf.rabbitmq.enabled", "`hawkbit.dmf.enabled` decides"),
    ("hawkbit.dmf.rabbitmq.declarationRetries", "a connection declares what it needs, and is made until it succeeds"),
    ("hawkbit.dmf.rabbitmq.missingQueuesFatal", "a missing queue is waited for, and stops nothing else"),
    (
        "hawkbit.dmf.rabbitmq.fatal-exception-types",
        "there are no Java exceptions: what can't succeed goes to the dead letters",
    ),
    (
        "hawkbit.dmf.rabbitmq.fatal-sql-exception-policy.*",
        "what a database can't ever take goes to the dead letters; the rest is tried again",
    ),
    ("hawkbit.dmf.*", "DMF has no such setting"),
    ("hawkbit.jpa.*", "part of hawkBit's database layer"),
    ("hawkbit.db.*", "the server migrates its own database"),
    ("spring.jpa.*", "part of Spring's database layer"),
    ("spring.flyway.*", "the server migrates its own database"),
    ("spring.sql.*", "part of Spring's database layer"),
    ("spring.data.redis.cluster.*", "one Redis is used, or a proxy before several"),
    ("spring.data.redis.sentinel.*", "one Redis is used, or a proxy before several"),
    ("spring.data.redis.*", "the connection to Redis has no such setting"),
    ("spring.data.*", "part of Spring's database layer"),
    ("spring.datasource.driver-class-name", "the URL names the engine"),
    ("spring.datasource.type", "part of Spring's database layer"),
    ("spring.datasource.hikari.*", "the connection pool has no such setting"),
    ("hawkbit.ql.*", "queries have no settings"),
    ("hawkbit.server.download.anonymous.*", "without effect in hawkBit 1.0 too"),
    ("hawkbit.server.tenant.configuration.*", "tenant configuration keys are fixed"),
    ("hawkbit.rest.*", "every resource is always served"),
    ("hawkbit.server.openapi.*", "the API document has no other settings"),
    ("hawkbit.metrics.*", "metrics have no settings"),
    ("hawkbit.mdc.*", "logging is set under `kettle.log`"),
    ("hawkbit.server.security.oauth2.*", "OpenID Connect is not in this version"),
    ("hawkbit.server.security.allowHttpBasicOnOAuthEnabled", "OpenID Connect is not in this version"),
    ("hawkbit.server.security.dos.ui-filter.*", "without effect in hawkBit 1.0 too"),
    ("spring.security.user.*", "users are `hawkbit.security.user.NAME`"),
    ("spring.security.oauth2.*", "OpenID Connect is not in this version"),
    ("server.ssl.key-store", KEY_STORE),
    ("server.ssl.key-store*", KEY_STORE),
    ("server.ssl.trust-store", TRUST_STORE),
    ("server.ssl.trust-store*", TRUST_STORE),
    ("server.ssl.key-password", "the private key is read without a password: `openssl pkey -in KEY -out key.pem`"),
    ("server.ssl.*", "TLS has no such setting"),
    ("server.forward-headers-strategy", "`kettle.trusted-proxies` decides"),
    ("server.tomcat.*", "there is no Tomcat"),
    ("server.servlet.*", "there are no servlets"),
    ("server.compression.*", "compression is the proxy's"),
    ("server.http2.*", "HTTP/2 is always offered over TLS"),
    ("server.shutdown", "shutdown is always graceful, see `kettle.shutdown-grace`"),
    ("spring.servlet.*", "there are no servlets"),
    ("spring.mvc.*", "part of Spring"),
    ("spring.threads.*", "part of Spring"),
    ("spring.main.*", "part of Spring"),
    ("spring.application.*", "part of Spring"),
    ("spring.autoconfigure.*", "part of Spring"),
    ("spring.config.*", "part of Spring"),
    ("spring.profiles.*", "part of Spring"),
    ("spring.lifecycle.*", "see `kettle.shutdown-grace`"),
    ("spring.port", "part of Spring"),
    ("management.*", "part of Spring"),
    ("springdoc.*", "the API document has no settings"),
    ("logging.*", "logging is set under `kettle.log`"),
];

/// What a name in a source stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The canonical name; the index when the name is that of a list's element.
    Key {
        name: String,
        form: Form,
        index: Option<usize>,
    },
    Ignored {
        reason: &'static str,
    },
    Unknown {
        nearest: Option<String>,
    },
}

/// Looks a dotted name up, as written in the file or on the command line.
pub fn dotted(spelled: &str) -> Lookup {
    let (base, index) = split_index(spelled);
    if let Some((name, form)) = key(base, canonical) {
        return match index {
            Some(_) if !form.is_list() => Lookup::Unknown { nearest: Some(name) },
            _ => Lookup::Key { name, form, index },
        };
    }
    ignored(spelled, canonical).unwrap_or_else(|| Lookup::Unknown { nearest: nearest(base) })
}

/// Looks an environment variable up. `None`: it isn't meant for Kettle.
pub fn environment(variable: &str) -> Option<Lookup> {
    let (head, _) = variable.split_once(['_', '.'])?;
    if !["HAWKBIT", "KETTLE", "SPRING", "SERVER", "ORG"].contains(&head.to_ascii_uppercase().as_str()) {
        return None;
    }
    let spelled = match named_variable(variable) {
        Some(dotted) => Cow::Owned(dotted),
        None => Cow::Borrowed(variable),
    };
    if let Some((name, form)) = key(&spelled, squashed) {
        return Some(Lookup::Key { name, form, index: None });
    }
    if let (base, index @ Some(_)) = split_index(&spelled)
        && let Some((name, form)) = key(base, squashed)
        && form.is_list()
    {
        return Some(Lookup::Key { name, form, index });
    }
    let ours = matches!(head, "HAWKBIT" | "KETTLE");
    ignored(&spelled, squashed).or_else(|| ours.then(|| Lookup::Unknown { nearest: nearest(&spelled) }))
}

/// The environment variable of a key, by Spring's rule.
pub fn variable(name: &str) -> String {
    name.replace('.', "_").replace('-', "").to_ascii_uppercase()
}

fn key(spelled: &str, same: fn(&str) -> String) -> Option<(String, Form)> {
    if let Some((named, name, property)) = named_property(spelled) {
        let &(property, form) = named.properties.iter().find(|(known, _)| *known == canonical(property))?;
        return Some((format!("{}{}.{property}", named.prefix, (named.name)(name)), form));
    }
    let wanted = same(spelled);
    KEYS.iter().find(|(name, _)| same(name) == wanted).map(|&(name, form)| (name.to_owned(), form))
}

fn ignored(spelled: &str, same: fn(&str) -> String) -> Option<Lookup> {
    let wanted = same(spelled);
    let &(_, reason) = IGNORED.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
        Some(above) => wanted.len() > same(above).len() && wanted.starts_with(&same(above)),
        None => wanted == same(pattern),
    })?;
    Some(Lookup::Ignored { reason })
}

/// The known name closest to one that isn't: few letters off, or the same last word elsewhere.
fn nearest(spelled: &str) -> Option<String> {
    let named = named_property(spelled).into_iter().flat_map(|(named, name, _)| {
        named.properties.iter().map(move |(known, _)| format!("{}{name}.{known}", named.prefix))
    });
    let names = KEYS.iter().map(|(name, _)| (*name).to_owned()).chain(named);
    let ignored = IGNORED.iter().filter(|(name, _)| !name.ends_with('*')).map(|(name, _)| (*name).to_owned());
    let wanted = squashed(spelled);
    let distance = |name: &String| strsim::osa_distance(&squashed(name), &wanted);
    let known: Vec<_> = names.chain(ignored).map(|name| (distance(&name), name)).collect();
    let last_word = |name: &str| squashed(name.rsplit('.').next().unwrap_or(name));
    let word = last_word(spelled);
    let close =
        known.iter().filter(|(distance, _)| *distance <= wanted.len() / 4).min_by_key(|(distance, _)| *distance);
    let elsewhere = || known.iter().filter(|(_, name)| last_word(name) == word).min_by_key(|(distance, _)| *distance);
    close.or_else(elsewhere).map(|(_, name)| name.clone())
}

/// Kind, name and property of `hawkbit.security.user.NAME.PROPERTY` and its like; a user's name keeps its case and may hold
/// dots.
fn named_property(spelled: &str) -> Option<(&'static Named, &str, &str)> {
    NAMED.iter().find_map(|named| {
        let (prefix, rest) = spelled.split_at_checked(named.prefix.len())?;
        let (name, property) = rest.rsplit_once('.')?;
        (prefix.eq_ignore_ascii_case(named.prefix) && !name.is_empty()).then_some((named, name, property))
    })
}

/// The dotted name of such a thing's environment variable: `HAWKBIT_SECURITY_USER_ADMIN_ROLES_0`.
fn named_variable(spelled: &str) -> Option<String> {
    NAMED.iter().find_map(|named| {
        let rest = spelled.strip_prefix(&variable(named.prefix))?.to_ascii_lowercase();
        let (rest, index) = match split_index(&rest) {
            (base, Some(index)) => (base, format!("[{index}]")),
            (base, None) => (base, String::new()),
        };
        let (name, property) = rest.rsplit_once('_')?;
        Some(format!("{}{name}.{property}{index}", named.prefix))
    })
}

/// Splits `name[0]`, `name.0` or `name_0`.
fn split_index(spelled: &str) -> (&str, Option<usize>) {
    let split = match spelled.strip_suffix(']') {
        Some(open) => open.rsplit_once('['),
        None => spelled.rsplit_once(['.', '_']),
    };
    match split.map(|(base, index)| (base, index.parse())) {
        Some((base, Ok(index))) => (base, Some(index)),
        _ => (spelled, None),
    }
}

/// A dotted name without what doesn't matter: case and dashes.
fn canonical(name: &str) -> String {
    name.replace(['-', '_'], "").to_ascii_lowercase()
}

/// A name as far as the environment can tell: letters and digits alone.
fn squashed(name: &str) -> String {
    name.replace(['-', '_', '.'], "").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_keys_share_an_environment_variable() {
        let distinct: HashSet<_> = KEYS.iter().map(|(name, _)| squashed(name)).collect();
        assert_eq!(distinct.len(), KEYS.len());
    }

    #[test]
    fn spellings_of_a_key_are_equal() {
        let known = |name: &str, index| {
            let (_, form) = key(name, canonical).unwrap();
            Some(Lookup::Key { name: name.to_owned(), form, index })
        };
        let polling = known("hawkbit.controller.pollingTime", None);
        for spelled in
            ["hawkbit.controller.pollingTime", "hawkbit.controller.polling-time", "HawkBit.controller.polling_time"]
        {
            assert_eq!(Some(dotted(spelled)), polling, "{spelled}");
        }
        let controller_id = known("hawkbit.server.ddi.security.rp.controllerIdHeader", None);
        let roles = |index| known("hawkbit.security.user.admin.roles", index);
        for (variable, expected) in [
            ("HAWKBIT_CONTROLLER_POLLINGTIME", polling.as_ref()),
            ("HAWKBIT_CONTROLLER_POLLING_TIME", polling.as_ref()),
            ("hawkbit.controller.pollingTime", polling.as_ref()),
            ("HAWKBIT_SERVER_DDI_SECURITY_RP_CONTROLLERIDHEADER", controller_id.as_ref()),
            ("HAWKBIT_SECURITY_USER_ADMIN_ROLES", roles(None).as_ref()),
            ("HAWKBIT_SECURITY_USER_ADMIN_ROLES_0", roles(Some(0)).as_ref()),
            ("KETTLE_TRUSTED_PROXIES_1", known("kettle.trusted-proxies", Some(1)).as_ref()),
            ("ORG_ECLIPSE_HAWKBIT_ARTIFACT_FS_PATH", known("org.eclipse.hawkbit.artifact.fs.path", None).as_ref()),
            ("SPRING_DATASOURCE_URL", known("spring.datasource.url", None).as_ref()),
            ("SERVER_NAME", None),
            ("SERVERPORT", None),
            ("PATH", None),
        ] {
            assert_eq!(environment(variable).as_ref(), expected, "{variable}");
        }
        for name in KEYS.iter().map(|(name, _)| *name) {
            assert_eq!(environment(&variable(name)), known(name, None), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_gets_its_nearest() {
        for (spelled, expected) in [
            ("hawkbit.controller.polingTime", Some("hawkbit.controller.pollingTime")),
            ("server.prot", Some("server.port")),
            ("pollingTime", Some("hawkbit.controller.pollingTime")),
            ("hawkbit.security.user.bob.pasword", Some("hawkbit.security.user.bob.password")),
            ("server.port[0]", Some("server.port")),
            ("hawkbit.lokc", Some("hawkbit.lock")),
            ("nothing.like.it", None),
        ] {
            let nearest = expected.map(str::to_owned);
            assert_eq!(dotted(spelled), Lookup::Unknown { nearest }, "{spelled}");
        }
    }

    #[test]
    fn settings_of_hawkbit_without_meaning_are_known() {
        for spelled in ["hawkbit.executor.coreThreads", "spring.jpa.show-sql", "hawkbit.lock", "hawkbit.cache.spec"] {
            assert!(matches!(dotted(spelled), Lookup::Ignored { .. }), "{spelled}");
            assert!(matches!(environment(&variable(spelled)), Some(Lookup::Ignored { .. })), "{spelled}");
        }
    }
}
