//! Under which addresses files are offered: hawkBit's templates, read once and written for every file (semantics.md A5,
//! "Artifact URLs"). Pure: what an address is made of comes from the configuration and from the caller.

use std::{borrow::Cow, sync::Arc};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a path segment may not hold as it is.
pub const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'/')
    .add(b'\\')
    .add(b'^')
    .add(b'|')
    .add(b'[')
    .add(b']');

/// As the peer encodes the names of files, but for blanks.
const FILE: &AsciiSet = &SEGMENT
    .add(b'+')
    .add(b'&')
    .add(b'=')
    .add(b'$')
    .add(b',')
    .add(b':')
    .add(b';')
    .add(b'@')
    .add(b'!')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'~')
    .remove(b' ');

const DEFAULT: &str = "{protocolRequest}://{hostnameRequest}:{portRequest}{contextPath}/{tenant}/controller/v1/{controllerId}/softwaremodules/{softwareModuleId}/artifacts/{artifactFileName}";

/// This server's own address, for what the configuration leaves open.
#[derive(Clone, Debug)]
pub struct Own {
    /// `scheme://host:port/path`, without a slash at its end.
    pub url: String,
    /// Whether it is the one that everybody is to use: then it stands for the request where there is none.
    pub public: bool,
}

/// One address of each file, as configured. What is `None` is the server's own.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Name of the link where links have one.
    pub rel: String,
    pub protocol: Option<String>,
    pub hostname: Option<String>,
    pub ip: Option<String>,
    pub port: Option<u16>,
    /// To whose clients it is offered.
    pub ddi: bool,
    pub dmf: bool,
    pub mgmt: bool,
    /// With placeholders.
    pub template: String,
}

/// The addresses of files, in the order in which they are configured.
#[derive(Clone, Debug)]
pub struct ArtifactUrls {
    templates: Vec<Template>,
    own: String,
}

/// A file as templates name it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    pub module: i64,
    pub filename: &'a str,
    pub sha1: &'a str,
}

/// The addresses for one device's requests: the parts that are the same for all its files are encoded.
#[derive(Debug)]
pub struct DeviceUrls<'a> {
    urls: &'a ArtifactUrls,
    base: &'a str,
    tenant: Cow<'a, str>,
    controller_id: Cow<'a, str>,
}

#[derive(Clone, Debug)]
struct Template {
    rel: Arc<str>,
    /// Upper case.
    protocol: String,
    ddi: bool,
    dmf: bool,
    mgmt: bool,
    pieces: Vec<Piece>,
    /// What stands for the request where there is none.
    base: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Scheme, host, port and path of the request.
    Base,
    Scheme,
    Host,
    /// This label in the request's domain.
    Domain(String),
    /// With its colon.
    Port,
    Prefix,
    Tenant,
    ControllerId,
    Module,
    Filename,
    Sha1,
}

/// What a template is filled with.
struct Values<'a> {
    base: &'a str,
    tenant: &'a str,
    controller_id: &'a str,
    file: &'a File<'a>,
    filename: &'a str,
}

/// A name as a path segment, where a controllerId, for one, may hold any character but whitespace.
pub fn segment(name: &str) -> Cow<'_, str> {
    utf8_percent_encode(name, SEGMENT).into()
}

/// A file's name in an address, as the peer encodes it: a blank is `+`.
fn file_segment(name: &str) -> Cow<'_, str> {
    let encoded = Cow::from(utf8_percent_encode(name, FILE));
    if encoded.contains(' ') { encoded.replace(' ', "+").into() } else { encoded }
}

impl ArtifactUrls {
    pub fn new(protocols: impl IntoIterator<Item = Protocol>, own: &Own) -> ArtifactUrls {
        let templates = protocols.into_iter().map(|protocol| Template::new(protocol, own)).collect();
        ArtifactUrls { templates, own: own.url.clone() }
    }

    /// This server's own address, without a slash at its end.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// For a device's requests. `base` is the address that links start with, without a slash at its end; `tenant` is as
    /// the request has it.
    pub fn of_device<'a>(&'a self, base: &'a str, tenant: &'a str, controller_id: &'a str) -> DeviceUrls<'a> {
        DeviceUrls { urls: self, base, tenant: segment(tenant), controller_id: segment(controller_id) }
    }

    /// For messages to a device: protocols in upper case, and the addresses.
    pub fn dmf(
        &self,
        tenant: &str,
        controller_id: &str,
        module: i64,
        filename: &str,
        sha1: &str,
    ) -> Vec<(String, String)> {
        let file = File { module, filename, sha1 };
        let offered = self.templates.iter().filter(|template| template.dmf);
        offered.map(|t| (t.protocol.clone(), t.without_request(tenant, controller_id, &file))).collect()
    }

    /// For operators: names of links, and the addresses. No target is meant, so its id is empty.
    pub fn mgmt(&self, tenant: &str, file: &File<'_>) -> Vec<(Arc<str>, String)> {
        let offered = self.templates.iter().filter(|template| template.mgmt);
        offered.map(|t| (t.rel.clone(), t.without_request(tenant, "", file))).collect()
    }
}

impl Default for ArtifactUrls {
    /// hawkBit's own, on this machine.
    fn default() -> ArtifactUrls {
        let protocol = |rel: &str, dmf, end: &str| Protocol {
            rel: rel.to_owned(),
            protocol: None,
            hostname: None,
            ip: None,
            port: None,
            ddi: true,
            dmf,
            mgmt: false,
            template: format!("{DEFAULT}{end}"),
        };
        let own = Own { url: "http://localhost:8080".to_owned(), public: false };
        ArtifactUrls::new([protocol("download-http", true, ""), protocol("md5sum-http", false, ".MD5SUM")], &own)
    }
}

impl DeviceUrls<'_> {
    /// Names of links, and the addresses.
    pub fn links(&self, file: &File<'_>) -> Vec<(Arc<str>, String)> {
        let filename = file_segment(file.filename);
        let values = Values {
            base: self.base,
            tenant: &self.tenant,
            controller_id: &self.controller_id,
            file,
            filename: &filename,
        };
        let offered = self.urls.templates.iter().filter(|template| template.ddi);
        offered.map(|template| (template.rel.clone(), template.fill(&values))).collect()
    }
}

impl Template {
    fn new(protocol: Protocol, own: &Own) -> Template {
        let this = Parts::of(&own.url);
        let scheme = protocol.protocol.as_deref().unwrap_or(this.scheme);
        let host = protocol.hostname.as_deref().unwrap_or(this.host);
        let ip = protocol.ip.as_deref().unwrap_or(this.host);
        let port = protocol.port.map(|port| format!(":{port}")).unwrap_or_else(|| this.port.to_owned());
        Template {
            pieces: pieces(
                &protocol.template,
                &[
                    ("{protocol}", Piece::text(scheme)),
                    ("{hostname}", Piece::text(host)),
                    ("{ip}", Piece::text(ip)),
                    (":{port}", Piece::text(&port)),
                    ("{domainRequest}", Piece::domain(host)),
                ],
            ),
            protocol: scheme.to_uppercase(),
            base: if own.public { own.url.clone() } else { format!("{scheme}://{host}{port}{}", this.prefix) },
            rel: protocol.rel.into(),
            ddi: protocol.ddi,
            dmf: protocol.dmf,
            mgmt: protocol.mgmt,
        }
    }

    fn without_request(&self, tenant: &str, controller_id: &str, file: &File<'_>) -> String {
        self.fill(&Values {
            base: &self.base,
            tenant: &segment(tenant),
            controller_id: &segment(controller_id),
            file,
            filename: &file_segment(file.filename),
        })
    }

    fn fill(&self, values: &Values<'_>) -> String {
        let mut url = String::with_capacity(values.base.len() + values.filename.len() + 128);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => url.push_str(text),
                Piece::Base => url.push_str(values.base),
                Piece::Scheme => url.push_str(Parts::of(values.base).scheme),
                Piece::Host => url.push_str(Parts::of(values.base).host),
                Piece::Port => url.push_str(Parts::of(values.base).port),
                Piece::Prefix => url.push_str(Parts::of(values.base).prefix),
                // hawkBit: a host without a domain leaves the dot before it.
                Piece::Domain(label) => {
                    url.push_str(label);
                    url.push('.');
                    url.push_str(Parts::of(values.base).host.split_once('.').map_or("", |(_, domain)| domain));
                }
                Piece::Tenant => url.push_str(values.tenant),
                Piece::ControllerId => url.push_str(values.controller_id),
                Piece::Module => url.push_str(&values.file.module.to_string()),
                Piece::Filename => url.push_str(values.filename),
                Piece::Sha1 => url.push_str(values.file.sha1),
            }
        }
        url
    }
}

impl Piece {
    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn domain(host: &str) -> Piece {
        match host.split_once('.') {
            Some((label, _)) => Piece::Domain(label.to_owned()),
            None => Piece::text(host),
        }
    }
}

/// `scheme://host:port/prefix` in its parts.
struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    /// With its colon; empty if it is the scheme's own.
    port: &'a str,
    /// With its slash; may be empty.
    prefix: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Parts<'a> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // An IPv6 address holds colons, and ends with a bracket.
        let colon = authority.rfind(':').filter(|_| !authority.ends_with(']'));
        let (host, port) = authority.split_at(colon.unwrap_or(authority.len()));
        Parts { scheme, host, port, prefix }
    }
}

/// Reads a template. `fixed` are placeholders for what is known by now; what is no placeholder stays as it is.
fn pieces(template: &str, fixed: &[(&str, Piece)]) -> Vec<Piece> {
    // The first one holds others.
    let known = [
        ("{protocolRequest}://{hostnameRequest}:{portRequest}{contextPath}", Piece::Base),
        ("{protocolRequest}", Piece::Scheme),
        ("{hostnameRequest}", Piece::Host),
        (":{portRequest}", Piece::Port),
        ("{contextPath}", Piece::Prefix),
        ("{tenant}", Piece::Tenant),
        ("{controllerId}", Piece::ControllerId),
        ("{softwareModuleId}", Piece::Module),
        ("{artifactFileName}", Piece::Filename),
        ("{artifactSHA1}", Piece::Sha1),
    ];
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), template);
    while let Some(letter) = rest.chars().next() {
        let found = known.iter().chain(fixed).find_map(|(name, piece)| Some((piece, rest.strip_prefix(name)?)));
        rest = match found {
            Some((Piece::Text(known), rest)) => {
                text.push_str(known);
                rest
            }
            Some((piece, rest)) => {
                pieces.extend((!text.is_empty()).then(|| Piece::Text(std::mem::take(&mut text))));
                pieces.push(piece.clone());
                rest
            }
            None => {
                text.push(letter);
                rest.get(letter.len_utf8()..).unwrap_or_default()
            }
        };
    }
    pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: File<'_> = File { module: 3, filename: "a b+c.bin", sha1: "0a1b" };

    fn protocol(rel: &str, template: &str) -> Protocol {
        Protocol {
            rel: rel.to_owned(),
            protocol: Some("https".to_owned()),
            hostname: Some("cdn.example.com".to_owned()),
            ip: Some("192.0.2.1".to_owned()),
            port: Some(8443),
            ddi: true,
            dmf: true,
            mgmt: true,
            template: template.to_owned(),
        }
    }

    fn own(url: &str, public: bool) -> Own {
        Own { url: url.to_owned(), public }
    }

    #[test]
    fn devices_get_links_on_the_address_they_asked() {
        let urls = ArtifactUrls::default();
        for base in ["http://h:8080", "https://[2001:db8::1]", "https://updates.example.com/up"] {
            let file = format!("{base}/dEfAult/controller/v1/d%201/softwaremodules/3/artifacts/a+b%2Bc.bin");
            assert_eq!(
                urls.of_device(base, "dEfAult", "d 1").links(&FILE),
                [("download-http".into(), file.clone()), ("md5sum-http".into(), format!("{file}.MD5SUM"))]
            );
        }
    }

    #[test]
    fn messages_name_the_public_address_else_the_configured_one_else_the_servers() {
        let stock = || Protocol {
            protocol: None,
            hostname: None,
            ip: None,
            port: None,
            ddi: true,
            dmf: true,
            mgmt: false,
            ..protocol("download-http", DEFAULT)
        };
        let path = "/T/controller/v1/d1/softwaremodules/3/artifacts/a";
        let check = |protocol, own: &Own, key: &str, base: &str| {
            let found = ArtifactUrls::new([protocol], own).dmf("T", "d1", 3, "a", "0a");
            assert_eq!(found, [(key.to_owned(), format!("{base}{path}"))]);
        };
        let (here, public) = (own("http://127.0.0.1:8080", false), own("https://o.example/up", true));
        check(stock(), &here, "HTTP", "http://127.0.0.1:8080");
        check(stock(), &own("https://[::1]:8443", false), "HTTPS", "https://[::1]:8443");
        check(stock(), &public, "HTTPS", "https://o.example/up");
        check(Protocol { hostname: Some("h".to_owned()), ..stock() }, &here, "HTTP", "http://h:8080");
        check(protocol("x", DEFAULT), &here, "HTTPS", "https://cdn.example.com:8443");
        check(protocol("x", DEFAULT), &public, "HTTPS", "https://o.example/up");
    }

    #[test]
    fn placeholders_stand_for_what_is_configured_or_asked() {
        for (template, with_request, without) in [
            ("{protocol}://{hostname}:{port}/{artifactSHA1}", "https://cdn.example.com:8443/0a1b", None),
            ("{protocol}://{ip}/{softwareModuleId}", "https://192.0.2.1/3", None),
            (
                "{protocolRequest}://{hostname}:{portRequest}/",
                "http://cdn.example.com:81/",
                Some("https://cdn.example.com:8443/"),
            ),
            ("x://{domainRequest}{contextPath}/{tenant}", "x://cdn.my.net/up/T", Some("x://cdn.example.com/T")),
            ("{unknown}{port}ä{controllerId", "{unknown}{port}ä{controllerId", None),
            ("", "", None),
        ] {
            let urls = ArtifactUrls::new([protocol("x", template)], &own("http://o:1", false));
            let links = urls.of_device("http://h.my.net:81/up", "T", "d1").links(&FILE);
            assert_eq!(links, [("x".into(), with_request.to_owned())], "{template}");
            let without = without.unwrap_or(with_request).to_owned();
            assert_eq!(urls.dmf("T", "d1", 3, "a b+c.bin", "0a1b"), [("HTTPS".to_owned(), without.clone())]);
            assert_eq!(urls.mgmt("T", &FILE), [("x".into(), without)]);
        }
    }

    #[test]
    fn each_api_has_its_own() {
        let none = || Protocol { ddi: false, dmf: false, mgmt: false, ..protocol("none", "n") };
        let all = [
            Protocol { ddi: true, ..none() },
            Protocol { dmf: true, template: "m".to_owned(), ..none() },
            Protocol { mgmt: true, template: "o".to_owned(), ..none() },
        ];
        let urls = ArtifactUrls::new(all, &own("http://o", false));
        assert_eq!(urls.of_device("http://h", "T", "d").links(&FILE), [("none".into(), "n".to_owned())]);
        assert_eq!(urls.dmf("T", "d", 3, "a", "0a"), [("HTTPS".to_owned(), "m".to_owned())]);
        assert_eq!(urls.mgmt("T", &FILE), [("none".into(), "o".to_owned())]);
    }

    #[test]
    fn a_host_without_a_domain_leaves_a_dot() {
        let urls = ArtifactUrls::new([protocol("x", "{domainRequest}")], &own("http://o", false));
        assert_eq!(urls.of_device("http://h:81", "T", "d").links(&FILE), [("x".into(), "cdn.".to_owned())]);
        let short = Protocol { hostname: Some("cdn".to_owned()), ..protocol("x", "{domainRequest}") };
        let urls = ArtifactUrls::new([short], &own("http://o", false));
        assert_eq!(urls.of_device("http://h.my.net", "T", "d").links(&FILE), [("x".into(), "cdn".to_owned())]);
    }
}
