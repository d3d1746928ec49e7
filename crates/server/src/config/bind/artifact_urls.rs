//! Under which addresses files are offered to devices: `hawkbit.artifact.url.protocols.NAME.…`.

use std::collections::{BTreeSet, HashSet};

use super::{
    super::{
        keys::{ARTIFACT_URLS, STOCK_ARTIFACT_URLS},
        settings::{Apis, ArtifactUrl, Roles},
        value,
    },
    Reader, port,
};

/// What hawkBit gives to those that aren't its own.
const REL: &str = "download-http";
pub(in super::super) const REF: &str = "{protocolRequest}://{hostnameRequest}:{portRequest}{contextPath}/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts/{artifactFileName}";

/// Those that are on, hawkBit's own first. `own` is this server's address.
pub(super) fn artifact_urls(read: &mut Reader<'_>, roles: Roles, own: &str) -> Vec<ArtifactUrl> {
    let names: BTreeSet<&str> = read.settings.keys().filter_map(|key| name_of(key)).collect();
    let (stock, others): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| STOCK_ARTIFACT_URLS.contains(name));
    let found: Vec<_> = stock.into_iter().chain(others).filter_map(|name| artifact_url(read, name)).collect();
    if roles.dmf {
        check_protocols(read, &found, own.split(':').next().unwrap_or_default());
        warn_of_own_address(read, &found, own);
    }
    found
}

/// The name of what a key belongs to.
pub(in super::super) fn name_of(key: &str) -> Option<&str> {
    Some(key.strip_prefix(ARTIFACT_URLS)?.rsplit_once('.')?.0)
}

/// `None`: it is off.
fn artifact_url(read: &mut Reader<'_>, name: &str) -> Option<ArtifactUrl> {
    let settings = read.settings;
    let key = |property| Some(format!("{ARTIFACT_URLS}{name}.{property}")).filter(|key| settings.contains_key(key));
    let mut text = |property| key(property).and_then(|key| read.optional(&key, value::text));
    let (rel, template) = (text("rel"), text("ref"));
    let (protocol, hostname, ip) = (text("protocol"), text("hostname"), text("ip"));
    let supports =
        key("supports").map(|key| read.list(&key, api)).unwrap_or_else(|| vec![Api::Ddi, Api::Dmf, Api::Mgmt]);
    let url = ArtifactUrl {
        rel: rel.unwrap_or_else(|| REL.to_owned()),
        protocol,
        hostname,
        ip,
        port: key("port").and_then(|key| read.optional(&key, port)),
        supports: Apis {
            ddi: supports.contains(&Api::Ddi),
            dmf: supports.contains(&Api::Dmf),
            mgmt: supports.contains(&Api::Mgmt),
        },
        template: template.unwrap_or_else(|| REF.to_owned()),
    };
    key("enabled").is_none_or(|key| read.one(&key, value::boolean)).then_some(url)
}

/// No request says where this server is for those who get messages.
fn warn_of_own_address(read: &mut Reader<'_>, urls: &[ArtifactUrl], own: &str) {
    let public = read.optional("kettle.public-url", value::base_url).is_some();
    if !public && urls.iter().any(|url| url.supports.dmf && url.hostname.is_none()) {
        let warning =
            format!("messages of DMF offer files on {own}: set kettle.public-url to where others reach this server");
        read.findings.warnings.push(warning);
    }
}

/// A message has one address of each protocol.
fn check_protocols(read: &mut Reader<'_>, urls: &[ArtifactUrl], scheme: &str) {
    let mut seen = HashSet::new();
    for url in urls.iter().filter(|url| url.supports.dmf) {
        let protocol = url.protocol.as_deref().unwrap_or(scheme).to_uppercase();
        if seen.contains(&protocol) {
            let problem = format!(
                "{ARTIFACT_URLS}*: two for DMF have the protocol {protocol}, and a message can hold one: take DMF out of \
                 the `supports` of one, or give it another `protocol`"
            );
            read.findings.problems.push(problem);
        }
        seen.insert(protocol);
    }
}

#[derive(PartialEq, Eq)]
enum Api {
    Ddi,
    Dmf,
    Mgmt,
}

fn api(text: &str) -> Result<Api, String> {
    match text.to_ascii_uppercase().as_str() {
        "DDI" => Ok(Api::Ddi),
        "DMF" => Ok(Api::Dmf),
        "MGMT" => Ok(Api::Mgmt),
        _ => Err("expected some of DDI, DMF and MGMT".to_owned()),
    }
}
