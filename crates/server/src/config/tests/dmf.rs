//! The broker, the roles of a node, and the addresses of files.

use std::time::Duration;

use super::{
    super::{
        rabbitmq::{ClientCertificate, Node, Rabbitmq, Tls},
        settings::{Apis, ArtifactUrl, Roles},
    },
    *,
};

fn rabbitmq(set: &[&str]) -> Option<Rabbitmq> {
    loaded("", &[], set).config.rabbitmq
}

fn node(host: &str, port: u16) -> Node {
    Node { host: host.to_owned(), port }
}

#[test]
fn there_is_a_broker_when_one_is_named_and_it_serves_dmf_unless_that_is_off() {
    let local = || vec![node("localhost", 5672)];
    for (set, nodes, dmf) in [
        (&[][..], None, false),
        (&["spring.rabbitmq.host=localhost"], Some(local()), true),
        (&["spring.rabbitmq.addresses=localhost"], Some(local()), true),
        (&["hawkbit.dmf.enabled=true"], Some(local()), true),
        (&["spring.rabbitmq.port=5672"], None, false),
        (&["spring.rabbitmq.host=localhost", "hawkbit.dmf.enabled=false"], Some(local()), false),
    ] {
        assert_eq!(rabbitmq(set).map(|broker| broker.nodes), nodes, "{set:?}");
        assert_eq!(loaded("", &[], set).config.roles.dmf, dmf, "{set:?}");
    }
}

#[test]
fn a_broker_has_springs_defaults() {
    let expected = Rabbitmq {
        nodes: vec![node("mq", 5672)],
        username: "guest".to_owned(),
        password: Secret::new("guest"),
        virtual_host: "/".to_owned(),
        tls: None,
        heartbeat: 10,
        connection_timeout: Duration::from_secs(60),
        prefetch: 250,
        workers: 10,
    };
    assert_eq!(rabbitmq(&["spring.rabbitmq.host=mq"]), Some(expected));
    let Loaded { config: Config { dmf, .. }, .. } = loaded("", &[], &[]);
    assert_eq!(dmf.dead_letter_ttl, Duration::from_millis(1_814_400_000));
    assert!(dmf.exclusive && dmf.auto_declare && dmf.virtual_hosts.is_empty());
    assert_eq!(dmf.download_id_ttl, Duration::from_secs(300));
}

#[test]
fn a_deployments_variables_are_taken() {
    let env = &[
        ("SPRING_RABBITMQ_HOST", "mq"),
        ("SPRING_RABBITMQ_PORT", "5673"),
        ("SPRING_RABBITMQ_USERNAME", "me"),
        ("SPRING_RABBITMQ_PASSWORD", "pw"),
        ("SPRING_RABBITMQ_VIRTUALHOST", "vh"),
        ("SPRING_RABBITMQ_REQUESTED_HEARTBEAT", "60"),
        ("SPRING_RABBITMQ_LISTENER_SIMPLE_PREFETCH", "20"),
        ("SPRING_RABBITMQ_LISTENER_SIMPLE_CONCURRENCY", "12"),
        ("HAWKBIT_DMF_RABBITMQ_RECEIVERQUEUE", "q"),
        ("HAWKBIT_DMF_RABBITMQ_DEAD_LETTER_TTL", "1000"),
        ("KETTLE_ROLES", "dmf"),
    ];
    let config = loaded("", env, &[]).config;
    let broker = config.rabbitmq.unwrap();
    assert_eq!((broker.nodes, broker.username.as_str()), (vec![node("mq", 5673)], "me"));
    assert_eq!((broker.password.expose(), broker.virtual_host.as_str()), ("pw", "vh"));
    assert_eq!((broker.heartbeat, broker.prefetch, broker.workers), (60, 20, 12));
    assert_eq!((config.dmf.receiver_queue.as_str(), config.dmf.dead_letter_ttl), ("q", Duration::from_secs(1)));
    assert_eq!(config.roles, Roles { mgmt: false, ddi: false, dmf: true });
}

#[test]
fn addresses_beat_host_and_port_and_the_first_says_who_logs_in() {
    let others = [
        "spring.rabbitmq.host=h",
        "spring.rabbitmq.port=1",
        "spring.rabbitmq.username=u",
        "spring.rabbitmq.password=p",
    ];
    let with = |addresses: &str| {
        let address = format!("spring.rabbitmq.addresses={addresses}");
        rabbitmq(&[&others[..], &[address.as_str()]].concat()).unwrap()
    };
    let plain = with("a,b:5673");
    assert_eq!((plain.nodes, plain.username.as_str(), plain.tls), (vec![node("a", 5672), node("b", 5673)], "u", None));
    let whole = with("amqps://me:pw@a/vh, amqps://you:word@b:1/other");
    assert_eq!(whole.nodes, [node("a", 5671), node("b", 1)]);
    assert_eq!((whole.username.as_str(), whole.password.expose(), whole.virtual_host.as_str()), ("me", "pw", "vh"));
    assert_eq!(whole.tls, Some(Tls { ca: None, client: None }));
}

#[test]
fn tls_takes_pem_files() {
    let file = "spring.rabbitmq.host = 'h'\nkettle.public-url = 'http://o'\n[kettle.rabbitmq.tls]\nca = '/ca.pem'\ncertificate = '/c.pem'\nprivate-key = '/k.pem'";
    let Loaded { config, warnings, .. } = loaded(file, &[], &[]);
    assert_eq!(config.rabbitmq.unwrap().tls, None);
    assert_eq!(
        warnings,
        ["kettle.rabbitmq.tls has no effect: set spring.rabbitmq.ssl.enabled, or addresses with amqps:"]
    );
    let Loaded { config, warnings, .. } = loaded(file, &[("SPRING_RABBITMQ_SSL_ENABLED", "true")], &[]);
    assert_eq!(warnings, Vec::<String>::new());
    let broker = config.rabbitmq.unwrap();
    assert_eq!(broker.nodes, [node("h", 5671)]);
    let client = ClientCertificate { certificate: "/c.pem".into(), private_key: "/k.pem".into() };
    assert_eq!(broker.tls, Some(Tls { ca: Some("/ca.pem".into()), client: Some(client) }));
}

#[test]
fn java_key_stores_are_known_and_have_no_effect() {
    let set = &["spring.rabbitmq.ssl.key-store=a.p12", "spring.rabbitmq.ssl.verifyHostname=false"];
    let warnings = loaded("", &[], set).warnings;
    assert!(warnings[0].contains("`kettle.rabbitmq.tls`"), "{warnings:?}");
    assert!(warnings[1].ends_with("the broker's certificate and its name are always verified"), "{warnings:?}");
}

#[test]
fn roles_say_what_a_node_serves() {
    let roles = |mgmt, ddi, dmf| Roles { mgmt, ddi, dmf };
    for (asked, without, with) in [
        ("", roles(true, true, false), roles(true, true, true)),
        ("all", roles(true, true, false), roles(true, true, true)),
        ("mgmt", roles(true, false, false), roles(true, false, false)),
        ("DDI, mgmt", roles(true, true, false), roles(true, true, false)),
    ] {
        let args = |set: &[&str]| Overrides {
            roles: Some(asked.to_owned()),
            set: set.iter().map(|&pair| pair.to_owned()).collect(),
            ..Overrides::default()
        };
        let of = |args| load(&args, std::iter::empty(), Path::new("/nonexistent")).unwrap().config.roles;
        assert_eq!(of(args(&[])), without, "{asked}");
        assert_eq!(of(args(&["spring.rabbitmq.host=h"])), with, "{asked}");
    }
}

#[test]
fn a_tenant_may_have_a_virtual_host_of_its_own() {
    let hosts = loaded("kettle.dmf.virtual-hosts = ['acme=vh1', 'B = v=2']", &[], &[]).config.dmf.virtual_hosts;
    assert_eq!(hosts, [("ACME".to_owned(), "vh1".to_owned()), ("B".to_owned(), "v=2".to_owned())]);
}

#[test]
fn problems_of_dmf_say_what_to_do() {
    let needs = "kettle.roles: dmf needs a broker: set spring.rabbitmq.host or spring.rabbitmq.addresses, and \
                 hawkbit.dmf.enabled not to false";
    let taken = "kettle.dmf.virtual-hosts: B=v takes what another tenant has";
    let host = "spring.rabbitmq.host=h";
    for (set, expected) in [
        (&["kettle.roles=mgmt,dmf"][..], needs),
        (&["kettle.roles=dmf", host, "hawkbit.dmf.enabled=no"], needs),
        (&["kettle.roles=ui"], "kettle.roles = ui (from --set): expected all, or some of mgmt, ddi and dmf"),
        (
            &["spring.rabbitmq.addresses=amqp://me:geheim@h:port"],
            "spring.rabbitmq.addresses = amqp://********@h:port (from --set): expected addresses such as h1:5672 or \
             amqps://USER:PASSWORD@h1:5671/VIRTUAL-HOST",
        ),
        (
            &["spring.rabbitmq.addresses=amqps://a,amqp://b"],
            "spring.rabbitmq.addresses: expected either amqp: or amqps: for all",
        ),
        (
            &["spring.rabbitmq.host=amqp://h"],
            "spring.rabbitmq.host = amqp://h (from --set): expected the name or the address of a host",
        ),
        (&["spring.rabbitmq.port=0"], "spring.rabbitmq.port = 0 (from --set): expected a port, 1 to 65535"),
        (
            &["spring.rabbitmq.ssl.enabled=true", host, "kettle.rabbitmq.tls.certificate=c.pem"],
            "a client certificate needs both kettle.rabbitmq.tls.certificate and kettle.rabbitmq.tls.private-key",
        ),
        (
            &["kettle.rabbitmq.tls.private-key=-----BEGIN geheim"],
            "kettle.rabbitmq.tls.private-key: expected the path of a PEM file",
        ),
        (&["kettle.dmf.virtual-hosts=A=v,B=v"], taken),
        (&["kettle.dmf.virtual-hosts=B=v,B=w"], "kettle.dmf.virtual-hosts: B=w takes what another tenant has"),
        (&["kettle.dmf.virtual-hosts=B=v", host, "spring.rabbitmq.virtual-host=v"], taken),
        (
            &["kettle.dmf.virtual-hosts=v"],
            "kettle.dmf.virtual-hosts = v (from --set): expected TENANT=VIRTUAL-HOST, and more after commas",
        ),
        (
            &[host, "hawkbit.artifact.url.protocols.cdn.protocol=HTTP"],
            "hawkbit.artifact.url.protocols.*: two for DMF have the protocol HTTP, and a message can hold one: take DMF out \
             of the `supports` of one, or give it another `protocol`",
        ),
        (
            &["hawkbit.artifact.url.protocols.cdn.supports=UI"],
            "hawkbit.artifact.url.protocols.cdn.supports = UI (from --set): expected some of DDI, DMF and MGMT",
        ),
    ] {
        assert_eq!(problems("", &[], set), [expected], "{set:?}");
    }
}

#[test]
fn the_addresses_of_files_are_hawkbits_and_those_one_adds() {
    let template = "{protocolRequest}://{hostnameRequest}:{portRequest}{contextPath}/{tenant}/controller/v1/\
                    {controllerId}/softwaremodules/{softwareModuleId}/artifacts/{artifactFileName}";
    let stock = |rel: &str, dmf, end: &str| ArtifactUrl {
        rel: rel.to_owned(),
        protocol: None,
        hostname: None,
        ip: None,
        port: None,
        supports: Apis { ddi: true, dmf, mgmt: false },
        template: format!("{template}{end}"),
    };
    let both = [stock("download-http", true, ""), stock("md5sum-http", false, ".MD5SUM")];
    assert_eq!(loaded("", &[], &[]).config.artifact_urls, both);

    let file = "\
[hawkbit.artifact.url.protocols.'a-cdn']
rel = 'download'
protocol = 'https'
hostname = 'cdn.example.com'
supports = 'DDI'
ref = '{protocol}://{hostname}/{artifactSHA1}'
[hawkbit.artifact.url.protocols.off]
enabled = false
[hawkbit.artifact.url.protocols.download-http]
port = 81
";
    let env = &[
        ("HAWKBIT_ARTIFACT_URL_PROTOCOLS_DOWNLOADHTTP_HOSTNAME", "h"),
        ("HAWKBIT_ARTIFACT_URL_PROTOCOLS_ACDN_PORT", "443"),
        ("HAWKBIT_ARTIFACT_URL_PROTOCOLS_MORE_PROTOCOL", "coap"),
    ];
    let urls = loaded(file, env, &[]).config.artifact_urls;
    let at = |url: &ArtifactUrl| ArtifactUrl { hostname: Some("h".to_owned()), port: Some(81), ..url.clone() };
    assert_eq!(urls[..2], [at(&both[0]), at(&both[1])]);
    let cdn = ArtifactUrl {
        rel: "download".to_owned(),
        protocol: Some("https".to_owned()),
        hostname: Some("cdn.example.com".to_owned()),
        ip: None,
        port: Some(443),
        supports: Apis { ddi: true, dmf: false, mgmt: false },
        template: "{protocol}://{hostname}/{artifactSHA1}".to_owned(),
    };
    let supports = Apis { ddi: true, dmf: true, mgmt: true };
    let more = ArtifactUrl { protocol: Some("coap".to_owned()), supports, ..both[0].clone() };
    assert_eq!(urls[2..], [cdn, more]);
    assert_eq!(
        loaded("hawkbit.artifact.url.protocols.md5sumHttp.enabled = false", &[], &[]).config.artifact_urls,
        both[..1]
    );
}

#[test]
fn messages_that_name_this_servers_own_address_are_warned_of() {
    let broker = "spring.rabbitmq.host=h";
    let warning =
        "messages of DMF offer files on http://127.0.0.1:8080: set kettle.public-url to where others reach this server";
    for (set, expected) in [
        (&[broker][..], &[warning][..]),
        (&[], &[]),
        (&[broker, "kettle.roles=ddi"], &[]),
        (&[broker, "kettle.public-url=https://o.example"], &[]),
        (&[broker, "hawkbit.artifact.url.protocols.download-http.hostname=o.example"], &[]),
    ] {
        assert_eq!(loaded("", &[], set).warnings, expected, "{set:?}");
    }
}

#[test]
fn a_brokers_password_is_never_shown() {
    let file =
        "spring.rabbitmq.addresses = ['amqp://me:geheim@a', 'me:gehe,im@b']\nspring.rabbitmq.password = 'geheim'";
    let loaded = loaded(file, &[], &[]);
    let shown = loaded.entries.iter().map(|entry| format!("{entry}\n")).collect::<String>();
    assert!(shown.contains("spring.rabbitmq.addresses = amqp://********@a, ********@b (/"), "{shown}");
    for text in [shown, format!("{loaded:?}")] {
        assert!(!text.contains("geheim") && !text.contains("gehe,im"), "{text}");
    }
}
