//! What of the configuration is about DMF: the broker, its queues, and which APIs this node serves.

use std::collections::BTreeSet;

use super::{
    super::{
        rabbitmq::{self, Address, ClientCertificate, Node, Rabbitmq, Tls},
        settings::{Dmf, Roles},
        value,
    },
    Reader,
};

#[derive(PartialEq, Eq)]
enum Role {
    All,
    Mgmt,
    Ddi,
    Dmf,
}

/// The broker, if there is one, and whether it is to serve DMF.
pub(super) fn rabbitmq(read: &mut Reader<'_>) -> (Option<Rabbitmq>, bool) {
    let host = read.optional("spring.rabbitmq.host", host);
    let port = read.optional("spring.rabbitmq.port", port);
    let mut addresses = read.list("spring.rabbitmq.addresses", rabbitmq::address);
    let configured = host.is_some() || !addresses.is_empty();
    let ssl = read.one("spring.rabbitmq.ssl.enabled", value::boolean);
    if addresses.is_empty() {
        // As with Spring, a broker that is wanted and has no address is on this machine.
        addresses.push(Address { host: host.unwrap_or_else(|| "localhost".to_owned()), port, ..Address::default() });
    }
    let secure = addresses.first().and_then(|address| address.secure).unwrap_or(ssl);
    if addresses.iter().any(|address| address.secure.is_some_and(|other| other != secure)) {
        let problem = "spring.rabbitmq.addresses: expected either amqp: or amqps: for all";
        read.findings.problems.push(problem.to_owned());
    }
    let own_port = if secure { 5671 } else { 5672 };
    let nodes: Vec<Node> = addresses
        .iter()
        .map(|address| Node { host: address.host.clone(), port: address.port.unwrap_or(own_port) })
        .collect();
    let first = addresses.into_iter().next().unwrap_or_default();
    let username = read.one("spring.rabbitmq.username", value::text);
    let password = read.secret("spring.rabbitmq.password").unwrap_or_default();
    let virtual_host = read.one("spring.rabbitmq.virtual-host", value::text);
    let concurrency: u16 = read.one("spring.rabbitmq.listener.simple.concurrency", value::positive);
    let max_concurrency = read.one("spring.rabbitmq.listener.simple.max-concurrency", value::positive);
    let rabbitmq = Rabbitmq {
        nodes,
        username: first.username.unwrap_or(username),
        password: first.password.unwrap_or(password),
        virtual_host: first.virtual_host.unwrap_or(virtual_host),
        tls: tls(read, secure),
        heartbeat: read.one("spring.rabbitmq.requested-heartbeat", heartbeat),
        connection_timeout: read.one("spring.rabbitmq.connection-timeout", value::duration),
        prefetch: read.one("spring.rabbitmq.listener.simple.prefetch", value::positive),
        workers: concurrency.max(max_concurrency),
    };
    let enabled = read.optional("hawkbit.dmf.enabled", value::boolean).unwrap_or(configured);
    ((configured || enabled).then_some(rabbitmq), enabled)
}

fn tls(read: &mut Reader<'_>, secure: bool) -> Option<Tls> {
    let ca = read.optional("kettle.rabbitmq.tls.ca", value::file);
    let certificate = read.optional("kettle.rabbitmq.tls.certificate", value::file);
    let private_key = read.file("kettle.rabbitmq.tls.private-key");
    if !secure {
        if ca.is_some() || certificate.is_some() || private_key.is_some() {
            let warning =
                "kettle.rabbitmq.tls has no effect: set spring.rabbitmq.ssl.enabled, or addresses with amqps:";
            read.findings.warnings.push(warning.to_owned());
        }
        return None;
    }
    let client = match (certificate, private_key) {
        (Some(certificate), Some(private_key)) => Some(ClientCertificate { certificate, private_key }),
        (None, None) => None,
        _ => {
            let problem =
                "a client certificate needs both kettle.rabbitmq.tls.certificate and kettle.rabbitmq.tls.private-key";
            read.findings.problems.push(problem.to_owned());
            None
        }
    };
    Some(Tls { ca, client })
}

/// What this node serves. `all` takes in DMF if there is a broker for it; asked for by name, it needs one.
pub(super) fn roles(read: &mut Reader<'_>, dmf: bool) -> Roles {
    let asked = read.list("kettle.roles", role);
    if asked.contains(&Role::Dmf) && !dmf {
        let problem = "kettle.roles: dmf needs a broker: set spring.rabbitmq.host or spring.rabbitmq.addresses, and \
                       hawkbit.dmf.enabled not to false";
        read.findings.problems.push(problem.to_owned());
    }
    let has = |role| asked.is_empty() || asked.contains(&Role::All) || asked.contains(&role);
    Roles { mgmt: has(Role::Mgmt), ddi: has(Role::Ddi), dmf: dmf && has(Role::Dmf) }
}

pub(super) fn dmf(read: &mut Reader<'_>, rabbitmq: Option<&Rabbitmq>) -> Dmf {
    let virtual_hosts = read.list("kettle.dmf.virtual-hosts", tenants_virtual_host);
    let (mut tenants, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    hosts.extend(rabbitmq.map(|broker| broker.virtual_host.as_str()));
    for (tenant, host) in &virtual_hosts {
        if !tenants.insert(tenant) || !hosts.insert(host) {
            let problem = format!("kettle.dmf.virtual-hosts: {tenant}={host} takes what another tenant has");
            read.findings.problems.push(problem);
        }
    }
    Dmf {
        receiver_queue: read.one("hawkbit.dmf.rabbitmq.receiverQueue", name),
        authentication_receiver_queue: read.one("hawkbit.dmf.rabbitmq.authenticationReceiverQueue", name),
        dead_letter_exchange: read.one("hawkbit.dmf.rabbitmq.deadLetterExchange", name),
        dead_letter_queue: read.one("hawkbit.dmf.rabbitmq.deadLetterQueue", name),
        dead_letter_ttl: read.one("hawkbit.dmf.rabbitmq.dead-letter.ttl", value::duration),
        auto_declare: read.one("hawkbit.dmf.rabbitmq.auto-declare", value::boolean),
        exclusive: read.one("kettle.dmf.exclusive", value::boolean),
        download_id_ttl: read.one("kettle.dmf.download-id-ttl", super::delay),
        virtual_hosts,
    }
}

fn role(text: &str) -> Result<Role, String> {
    match text.to_ascii_lowercase().as_str() {
        "all" => Ok(Role::All),
        "mgmt" => Ok(Role::Mgmt),
        "ddi" => Ok(Role::Ddi),
        "dmf" => Ok(Role::Dmf),
        _ => Err("expected all, or some of mgmt, ddi and dmf".to_owned()),
    }
}

fn host(text: &str) -> Result<String, String> {
    let bare = rabbitmq::address(text)
        .ok()
        .filter(|address| *address == Address { host: text.to_owned(), ..Address::default() });
    bare.map(|address| address.host).ok_or_else(|| "expected the name or the address of a host".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| "expected a port, 1 to 65535".to_owned())
}

fn heartbeat(text: &str) -> Result<u16, String> {
    let duration = value::seconds(text)?;
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u16::try_from(seconds).map_err(|_| "expected 65535 seconds at most".to_owned())
}

/// The name of a queue or an exchange.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = (1..=255).contains(&text.len());
    fits.then(|| text.to_owned()).ok_or_else(|| "expected a name of 1 to 255 bytes".to_owned())
}

/// `TENANT=VIRTUAL-HOST`; tenants are in upper case everywhere.
fn tenants_virtual_host(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(tenant, host)| (tenant.trim().to_uppercase(), host.trim().to_owned()));
    pair.filter(|(tenant, host)| !tenant.is_empty() && !host.is_empty())
        .ok_or_else(|| "expected TENANT=VIRTUAL-HOST, and more after commas".to_owned())
}
