//! The broker over TLS, which wants a certificate of its clients.

use std::time::Duration;

use super::PATIENCE;
use crate::{
    harness::{Broker, Engine, Gateway, RECEIVER, eventually, linger},
    tls::Certificates,
};

#[tokio::test]
async fn a_server_with_a_certificate_is_let_in_and_one_without_is_not() {
    let certificates = Certificates::new();
    certificates.sign("ca", "kettle");
    certificates.authority("strangers");
    let broker = Broker::start_with_tls(certificates.folder());
    let host = broker.virtual_host();
    let port = format!("spring.rabbitmq.port={}", broker.tls_port);
    let ca = |name: &str| format!("kettle.rabbitmq.tls.ca={}", certificates.path(name));
    let own = [
        format!("kettle.rabbitmq.tls.certificate={}", certificates.path("kettle.pem")),
        format!("kettle.rabbitmq.tls.private-key={}", certificates.path("kettle.key")),
    ];
    let tls = "spring.rabbitmq.ssl.enabled=true";
    // Nobody vouches for the broker, or for the server: it serves the rest, and says so.
    for settings in
        [vec![port.as_str(), tls, &ca("ca.pem")], vec![port.as_str(), tls, &ca("strangers.pem"), &own[0], &own[1]]]
    {
        let server = host.server(Engine::Sqlite, &settings).await;
        linger(Duration::from_secs(2)).await;
        assert_eq!(host.consumers(RECEIVER), 0, "{settings:?}");
        server.get("/rest/v1/targets").await.expect(200);
        assert!(server.log_text().contains("WARN"), "{}", server.log_text());
    }
    let addresses = format!("spring.rabbitmq.addresses=amqps://localhost:{}", broker.tls_port);
    for settings in [
        vec![port.as_str(), tls, &ca("ca.pem"), &own[0], &own[1]],
        vec![addresses.as_str(), &ca("ca.pem"), &own[0], &own[1]],
    ] {
        let server = host.server(Engine::Sqlite, &settings).await;
        let mut gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        gateway.register(&["d1"]).await;
        let set = server.set("fw", &[]).await;
        server.assign("d1", set).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        drop(server);
        eventually(PATIENCE, "it is gone", async || (host.consumers(RECEIVER) == 0).then_some(())).await;
    }
}
