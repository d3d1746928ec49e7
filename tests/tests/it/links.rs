//! Links are built on the address that the client used, also behind a proxy that says so.

use serde_json::json;

use crate::harness::{Engine, Server, on_each_engine};

#[tokio::test]
async fn links_follow_host_and_forwarded_headers_of_a_trusted_proxy() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let device = server.device("d1");
        let host = format!("127.0.0.1:{}", server.port);
        let cases: [(&[(&str, &str)], String); 8] = [
            (&[], format!("http://{host}")),
            (&[("host", "updates.example.com")], "http://updates.example.com".into()),
            (&[("host", "updates.example.com:8443")], "http://updates.example.com:8443".into()),
            (&[("x-forwarded-proto", "https"), ("x-forwarded-host", "u.example.com")], "https://u.example.com".into()),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "u.example.com"), ("x-forwarded-port", "8443")],
                "https://u.example.com:8443".into(),
            ),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "u.example.com"), ("x-forwarded-port", "443")],
                "https://u.example.com".into(),
            ),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-host", "first.example.com, second")],
                "https://first.example.com".into(),
            ),
            (
                &[("forwarded", "for=192.0.2.1;proto=https;host=\"f.example.com:9443\"")],
                "https://f.example.com:9443".into(),
            ),
        ];
        for (headers, base) in cases {
            let poll = device.get_with("", headers).await.expect(200).json();
            let expected = format!("{base}/DEFAULT/controller/v1/d1/configData");
            assert_eq!(poll["_links"]["configData"]["href"], expected, "{headers:?}");
            let mut all = vec![("authorization", server.admin.as_str())];
            all.extend(headers);
            let target = server.request(reqwest::Method::GET, "/rest/v1/targets/d1", &all, None).await;
            let expected = format!("{base}/rest/v1/targets/d1");
            assert_eq!(target.expect(200).json()["_links"]["self"]["href"], expected, "{headers:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn download_links_carry_the_scheme_under_the_http_relation() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let headers = [("x-forwarded-proto", "https"), ("x-forwarded-host", "u.example.com")];
        let path = format!("/deploymentBase/{action}");
        let base = server.device("d1").get_with(&path, &headers).await.expect(200).json();
        let links = base["deployment"]["chunks"][0]["artifacts"][0]["_links"].as_object().unwrap().clone();
        let mut relations: Vec<&str> = links.keys().map(String::as_str).collect();
        relations.sort_unstable();
        assert_eq!(relations, ["download-http", "md5sum-http"], "hawkBit 1.0 has no https relations by default");
        let href = links["download-http"]["href"].as_str().unwrap();
        assert!(href.starts_with("https://u.example.com/DEFAULT/controller/v1/d1/"), "{href}");
    })
    .await;
}

#[tokio::test]
async fn links_echo_the_tenant_as_the_client_wrote_it() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let mut device = server.device("d1");
        device.root = "/default/controller/v1/d1".to_owned();
        let poll = device.get("").await.expect(200).scrubbed();
        let expected = "{base}/default/controller/v1/d1/configData";
        assert_eq!(poll["_links"]["configData"]["href"], expected);
    })
    .await;
}

#[tokio::test]
async fn a_configured_address_wins_over_what_requests_say() {
    let server = Server::start_with(Engine::Sqlite, &["kettle.public-url=https://updates.example.com"]).await;
    server.allow_devices().await;
    for headers in [&[("host", "other.example.com")][..], &[("x-forwarded-host", "evil.example.com")]] {
        let poll = server.device("d1").get_with("", headers).await.expect(200).json();
        let expected = "https://updates.example.com/DEFAULT/controller/v1/d1/configData";
        assert_eq!(poll["_links"]["configData"]["href"], expected, "{headers:?}");
    }
}

#[tokio::test]
async fn forwarded_headers_of_anyone_else_are_not_believed() {
    let server = Server::start_with(Engine::Sqlite, &["kettle.trusted-proxies=192.0.2.0/24"]).await;
    server.allow_devices().await;
    for headers in [
        &[("x-forwarded-host", "evil.example.com"), ("x-forwarded-proto", "https")][..],
        &[("forwarded", "host=evil.example.com;proto=https")],
    ] {
        let poll = server.device("d1").get_with("", headers).await.expect(200).scrubbed();
        let expected = "{base}/DEFAULT/controller/v1/d1/configData";
        assert_eq!(poll["_links"]["configData"]["href"], expected, "{headers:?}");
    }
}

#[tokio::test]
async fn files_are_offered_where_the_configuration_says() {
    let settings = [
        "md5sum-http.enabled=false",
        "cdn.rel=download",
        "cdn.protocol=https",
        "cdn.hostname=cdn.example.com",
        "cdn.supports=DDI,MGMT",
        "cdn.ref={protocol}://{hostname}/{tenant}/{controllerId}/{artifactSHA1}",
        "mirror.rel=download",
        "mirror.supports=DDI",
        "mirror.ref={protocolRequest}://mirror:{portRequest}/{artifactFileName}",
        "gateways.supports=DMF",
        "gateways.protocol=coap",
    ]
    .map(|setting| format!("hawkbit.artifact.url.protocols.{setting}"));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start_with(Engine::Sqlite, &settings).await;
    server.allow_devices().await;
    let (set, action) = server.pending("d1", &[("a b.bin", b"abc")]).await;
    let offered = server.device("d1").get(&format!("/deploymentBase/{action}")).await.expect(200).json();
    let (base, port, module) = (&server.base, server.port, set.module);
    assert_eq!(
        offered["deployment"]["chunks"][0]["artifacts"][0]["_links"],
        json!({
            "download-http": {
                "href": format!("{base}/DEFAULT/controller/v1/d1/softwaremodules/{module}/artifacts/a+b.bin"),
            },
            "download": [
                {"href": "https://cdn.example.com/DEFAULT/d1/a9993e364706816aba3e25717850c26c9cd0d89d"},
                {"href": format!("http://mirror:{port}/a+b.bin")},
            ],
        })
    );
    let artifacts = format!("/rest/v1/softwaremodules/{module}/artifacts");
    let listed = server.get(&format!("{artifacts}?representation=full&useartifacturlhandler=true")).await.expect(200);
    let listed = listed.json();
    assert_eq!(
        listed[0]["_links"],
        json!({
            "self": {"href": format!("{base}{artifacts}/{}", listed[0]["id"])},
            "download": {"href": "https://cdn.example.com/DEFAULT//a9993e364706816aba3e25717850c26c9cd0d89d"},
        })
    );
}
