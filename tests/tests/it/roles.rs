//! What a node serves: all, or only some of the APIs.

use std::process::Stdio;

use crate::harness::{Engine, Server, kettle_command};

#[tokio::test]
async fn a_node_serves_the_apis_of_its_roles() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for (roles, mgmt) in [("all", 200), ("mgmt", 200), ("ddi", 404)] {
            let server = Server::start_with(engine, &[&format!("kettle.roles={roles}")]).await;
            for (path, status) in
                [("/rest/v1/targets", mgmt), ("/health/ready", 200), ("/v3/api-docs", 200), ("/", 200)]
            {
                assert_eq!(server.get(path).await.status, status, "{roles}: {path}");
            }
        }
    }
}

#[tokio::test]
async fn nodes_with_different_roles_are_one_server() {
    let mgmt = Server::start_with(Engine::Postgres, &["kettle.roles=mgmt"]).await;
    let ddi = mgmt.another_node_with(&["kettle.roles=ddi"]).await;
    mgmt.allow_devices().await;
    let (_, action) = mgmt.pending("d1", &[("a.bin", b"abc")]).await;
    assert_eq!(ddi.device("d1").offered().await, Some(action));
    mgmt.device("d1").get("").await.expect(404);
    ddi.get("/rest/v1/targets").await.expect(404);
}

#[test]
fn a_role_that_cannot_be_played_is_said_at_start() {
    let mut command = kettle_command();
    let out = command.args(["serve", "--roles", "dmf", "--port", "0"]).stdin(Stdio::null()).output().unwrap();
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("set spring.rabbitmq.host or spring.rabbitmq.addresses"), "{said}");
}
