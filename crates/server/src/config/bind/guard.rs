//! What of the configuration keeps clients in bounds: request limits, failed logins, sessions, and Redis, which may count
//! and keep them.

use url::Url;

use super::{
    super::{
        settings::{Limits, Logins, Redis, Sessions},
        value::{self, Secret},
    },
    Reader,
};

pub(super) fn limits(read: &mut Reader<'_>) -> Limits {
    let reads = read.one("hawkbit.server.security.dos.filter.maxRead", value::count);
    let writes = read.one("hawkbit.server.security.dos.filter.maxWrite", value::count);
    Limits {
        enabled: read.one("hawkbit.server.security.dos.filter.enabled", value::boolean),
        reads,
        writes,
        device_reads: read.optional("kettle.limits.device.maxRead", value::count).unwrap_or(reads),
        device_writes: read.optional("kettle.limits.device.maxWrite", value::count).unwrap_or(writes),
        whitelist: read.one("hawkbit.server.security.dos.filter.whitelist", value::text),
        blacklist: read.one("hawkbit.server.security.clients.blacklist", value::text),
        allow: read.list("kettle.limits.allow", value::network),
        deny: read.list("kettle.limits.deny", value::network),
    }
}

pub(super) fn logins(read: &mut Reader<'_>) -> Logins {
    Logins {
        failures_per_user: read.one("kettle.login.failures-per-user", value::count),
        failures_per_address: read.one("kettle.login.failures-per-address", value::count),
        first_delay: read.one("kettle.login.first-delay", value::duration),
        longest_delay_per_user: read.one("kettle.login.longest-delay-per-user", value::duration),
        longest_delay_per_address: read.one("kettle.login.longest-delay-per-address", value::duration),
    }
}

pub(super) fn sessions(read: &mut Reader<'_>) -> Sessions {
    let timeout = |text: &str| {
        let timeout = value::seconds(text)?;
        if timeout.is_zero() { Err("expected a duration above 0".to_owned()) } else { Ok(timeout) }
    };
    Sessions {
        idle: read.one("server.servlet.session.timeout", timeout),
        longest: read.one("kettle.session.longest", super::delay),
    }
}

#[derive(PartialEq, Eq)]
enum Use {
    Limits,
    Logins,
    Sessions,
    Cache,
}

/// `None`: there is none.
pub(super) fn redis(read: &mut Reader<'_>) -> Option<Redis> {
    let url = read.secret("spring.data.redis.url").map(|url| whole(url.expose()));
    let host = read.optional("spring.data.redis.host", host);
    let port: u16 = read.one("spring.data.redis.port", value::positive);
    let username = read.one("spring.data.redis.username", value::text);
    let password = read.secret("spring.data.redis.password");
    let database: u32 = read.one("spring.data.redis.database", value::count);
    let tls = read.one("spring.data.redis.ssl.enabled", value::boolean);
    let timeout = read.one("spring.data.redis.timeout", super::delay);
    let prefix = read.one("kettle.redis.prefix", value::text);
    let uses = read.list("kettle.redis.use", |text| match text {
        "limits" => Ok(Use::Limits),
        "logins" => Ok(Use::Logins),
        "sessions" => Ok(Use::Sessions),
        "cache" => Ok(Use::Cache),
        _ => Err("expected some of limits, logins, sessions and cache".to_owned()),
    });
    let url = match (url, host) {
        (Some(Ok(url)), _) => url,
        (Some(Err(problem)), _) => {
            // Not with its value, which may hold a password.
            read.findings.problems.push(format!("spring.data.redis.url: {problem}"));
            return None;
        }
        (None, Some(host)) => {
            let scheme = if tls { "rediss" } else { "redis" };
            let mut url = Url::parse(&format!("{scheme}://{host}:{port}/{database}")).ok()?;
            // These fail only for addresses that can't have any.
            let _ = url.set_username(&username);
            let _ = url.set_password(password.as_ref().map(Secret::expose));
            url
        }
        (None, None) => return None,
    };
    Some(Redis {
        url: Secret::new(url),
        timeout,
        prefix,
        limits: uses.contains(&Use::Limits),
        logins: uses.contains(&Use::Logins),
        sessions: uses.contains(&Use::Sessions),
        cache: uses.contains(&Use::Cache),
    })
}

fn whole(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss") && url.has_host());
    url.ok_or_else(|| "expected an address such as redis://USER:PASSWORD@HOST:6379/0".to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let usable = Url::parse(&format!("redis://{text}")).is_ok_and(|url| url.host_str() == Some(text));
    usable.then(|| text.to_owned()).ok_or_else(|| "expected the name or the address of a host".to_owned())
}
