//! Tenants with virtual hosts of their own: what comes there is theirs, and theirs is sent there.

use serde_json::json;

use crate::harness::{Broker, Engine, Gateway, Server, basic};

#[tokio::test]
async fn a_tenant_lives_in_its_own_and_all_others_in_the_common_one() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let (common, own) = (Broker::shared().virtual_host(), Broker::shared().virtual_host());
        let mut settings = vec![format!("kettle.dmf.virtual-hosts=OWN={}", own.name)];
        for (name, tenant) in [("admin", "DEFAULT"), ("own", "OWN")] {
            let user = format!("hawkbit.security.user.{name}");
            settings.push(format!("{user}.password={{noop}}admin"));
            settings.push(format!("{user}.tenant={tenant}"));
            settings.push(format!("{user}.roles=TENANT_ADMIN"));
        }
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = common.server(engine, &settings).await;
        let login = basic("own", "admin");
        server.get_as(&login, "/rest/v1/targets").await.expect(200);
        let mut ours = Gateway::connect(&common, "gw.ex").await;
        let mut theirs = Gateway::connect(&own, "gw.ex").await.of_tenant("OWN");
        ours.until_heard().await;
        theirs.until_heard().await;
        ours.register(&["d1"]).await;
        theirs.register(&["d1"]).await;
        let address =
            async |login: &str| server.get_as(login, "/rest/v1/targets/d1").await.expect(200).json()["address"].clone();
        assert_eq!(address(&server.admin).await, format!("amqp://{}/gw.ex", common.name));
        assert_eq!(address(&login).await, format!("amqp://{}/gw.ex", own.name));

        // Each tenant is told in its own.
        let set = server.set("fw", &[]).await;
        server.assign("d1", set).await;
        assert_eq!(ours.expect("DOWNLOAD_AND_INSTALL", "d1").await.header("tenant"), "DEFAULT");
        theirs.expect_silence().await;
        server.json_as(&login, reqwest::Method::DELETE, "/rest/v1/targets/d1", None).await.expect_empty(204);
        assert_eq!(theirs.next().await.headers()["tenant"], "OWN");
        ours.expect_silence().await;

        // And who speaks for another is refused, in both.
        refused(&server, &theirs, "DEFAULT").await;
        refused(&server, &ours, "OWN").await;
        let answer = theirs.message(json!({"type": "PING"}), None).correlated("c");
        theirs.tell(answer).await;
        assert_eq!(theirs.next().await.headers(), json!({"type": "PING_RESPONSE", "tenant": "OWN"}));
    }
}

async fn refused(server: &Server, gateway: &Gateway<'_>, tenant: &str) {
    let headers = json!({"type": "THING_CREATED", "thingId": "foreign", "tenant": tenant});
    gateway.tell(crate::harness::Message::new(headers, None)).await;
    let letter = gateway.dead_letter().await;
    assert_eq!(letter.header("tenant"), tenant);
    assert!(letter.header("x-exception-message").len() > 10, "{letter:?}");
    for login in [&server.admin, &basic("own", "admin")] {
        server.get_as(login, "/rest/v1/targets/foreign").await.expect(404);
    }
}
