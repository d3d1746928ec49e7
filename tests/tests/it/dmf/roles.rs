//! Nodes that serve some of the APIs only.

use std::{process::Stdio, time::Duration};

use crate::harness::{Broker, Engine, Gateway, RECEIVER, free_port, kettle_command, linger};

#[tokio::test]
async fn devices_of_one_node_are_managed_through_another() {
    let host = Broker::shared().virtual_host();
    let http = host.server(Engine::Postgres, &["kettle.roles=mgmt,ddi"]).await;
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    linger(Duration::from_secs(1)).await;
    assert_eq!(host.consumers(RECEIVER), 0, "it has no part in DMF");
    let own = host.settings();
    let settings: Vec<&str> = own.iter().map(String::as_str).chain(["kettle.roles=dmf"]).collect();
    let mut amqp = http.another_node_with(&settings).await;
    gateway.until_heard().await;
    gateway.register(&["d1"]).await;
    http.get("/rest/v1/targets/d1").await.expect(200);
    amqp.get("/rest/v1/targets/d1").await.expect(404);
    http.allow_devices().await;
    http.device("other").poll().await;
    let refused = amqp.device("other").get("").await.status;
    assert!([401, 404].contains(&refused), "{refused}");
    amqp.get("/health/ready").await.expect(200);

    // What is to be sent waits for a node that sends.
    amqp.stop();
    let set = http.set("fw", &[]).await;
    let action = http.assign("d1", set).await;
    gateway.expect_silence().await;
    amqp.restart();
    let sent = gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
    assert_eq!(sent.json()["actionId"], action);
}

#[test]
fn the_role_needs_a_broker() {
    let data = tempfile::tempdir().unwrap();
    let out = kettle_command()
        .args(["serve", "--roles", "dmf", "--port", &free_port().to_string(), "--data"])
        .arg(data.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(!out.status.success() && said.contains("spring.rabbitmq") && !said.contains("panicked"), "{said}");
}
