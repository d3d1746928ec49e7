//! Messages that can never succeed: each goes to the dead letters at once, as it was and with the reason, and nothing of it
//! is done.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::harness::{Broker, DEAD_LETTERS, Engine, Gateway, Message, RECEIVER, Server, basic};

#[tokio::test]
async fn bad_messages_are_put_aside_as_they_were() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        let host = Broker::shared().virtual_host();
        let mut settings = Vec::new();
        for (name, tenant) in [("admin", "DEFAULT"), ("other", "OTHER")] {
            let user = format!("hawkbit.security.user.{name}");
            settings.push(format!("{user}.password={{noop}}admin"));
            settings.push(format!("{user}.tenant={tenant}"));
            settings.push(format!("{user}.roles=TENANT_ADMIN"));
        }
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = host.server(engine, &settings).await;
        let mut gateway = Gateway::connect(&host, "gw.ex").await;
        gateway.until_heard().await;
        let bad = prepare(&server, &gateway).await;
        let before = everything(&server).await;
        gateway.rest().await;

        let messages: Vec<Message> = bad.iter().map(|(name, message)| message.clone().correlated(name)).collect();
        gateway.publish_all(&messages).await;
        gateway.until_done().await;
        let mut found = BTreeMap::new();
        while let Some(letter) = gateway.take(DEAD_LETTERS).await {
            let name = letter.correlation_id();
            assert!(found.insert(name.clone(), letter).is_none(), "{name} came twice");
        }
        for sent in &messages {
            let name = sent.correlation_id();
            let letter = found.remove(&name).unwrap_or_else(|| panic!("{name} is no dead letter"));
            is_as_it_was(&name, sent, &letter);
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), Vec::<&String>::new(), "what else is dead");
        gateway.expect_silence().await;
        assert_eq!(everything(&server).await, before);
        assert_eq!(host.depth(RECEIVER), Some(0));
        // And the next good one is taken.
        gateway.register(&["still-there"]).await;
        server.get("/rest/v1/targets/still-there").await.expect(200);
    }
}

fn is_as_it_was(name: &str, sent: &Message, letter: &Message) {
    assert!(sent.body == letter.body, "{name}: the body is another");
    let reason = letter.header("x-exception-message");
    assert!(reason.len() > 10, "{name}: the reason is {reason:?}");
    assert_eq!(letter.header("x-original-exchange"), "dmf.exchange", "{name}");
    assert!(letter.headers().get("x-original-routingKey").is_some(), "{name}");
    let of = |message: &Message| {
        let properties = &message.properties;
        (properties.content_type().clone(), properties.delivery_mode().unwrap_or(1))
    };
    assert_eq!(of(sent), of(letter), "{name}");
    let headers = letter.properties.headers().as_ref().expect("headers");
    for (key, value) in sent.properties.headers().iter().flatten() {
        assert_eq!(headers.inner().get(key.as_str()), Some(value), "{name}: {key}");
    }
}

/// Things, actions and attributes to be bad about; and the bad messages by name.
async fn prepare(server: &Server, gateway: &Gateway<'_>) -> Vec<(String, Message)> {
    gateway.register(&["d1", "auto"]).await;
    let set = server.set("fw", &[]).await;
    let running = server.assign("d1", set).await;
    gateway.tell(gateway.event("UPDATE_AUTO_CONFIRM", "auto", json!({"enabled": true}))).await;
    let other = basic("other", "admin");
    server.get_as(&other, "/rest/v1/targets").await.expect(200);
    let theirs = Gateway::connect(gateway.host, "theirs.ex").await.of_tenant("OTHER");
    theirs.register(&["theirs"]).await;
    let their_action = their_action(server, &other).await;

    let mut all: Vec<(String, Message)> = Vec::new();
    let mut bad = |name: &str, message: Message| all.push((name.to_owned(), message));
    let created = |body: Value| gateway.message(json!({"type": "THING_CREATED", "thingId": "new"}), Some(body));
    let report = |body: Value| gateway.event("UPDATE_ACTION_STATUS", "d1", body);
    let attributes = |body: Value| gateway.event("UPDATE_ATTRIBUTES", "d1", body);

    let header = |headers: Value| Message::new(headers, Some(json!({})));
    bad("no headers", header(json!({})));
    bad("no type", header(json!({"tenant": "DEFAULT", "thingId": "new"})));
    bad("no tenant", header(json!({"type": "THING_CREATED", "thingId": "new"})));
    bad("empty type", header(json!({"tenant": "DEFAULT", "type": "", "thingId": "new"})));
    bad("empty tenant", header(json!({"tenant": "", "type": "THING_CREATED", "thingId": "new"})));
    bad("unknown type", gateway.message(json!({"type": "WHAT", "thingId": "new"}), None));
    bad("type in lower case", gateway.message(json!({"type": "thing_created", "thingId": "new"}), None));
    for name in ["THING_DELETED", "PING_RESPONSE"] {
        bad(name, gateway.message(json!({"type": name, "thingId": "d1"}), None));
    }
    let mut unknown = gateway.thing_created("new");
    unknown.properties = unknown
        .properties
        .with_headers(crate::harness::table(&json!({"type": "THING_CREATED", "thingId": "new", "tenant": "NOBODY"})));
    bad("unknown tenant", unknown);

    bad("created without an id", gateway.message(json!({"type": "THING_CREATED"}), None));
    bad("created with an id too long", gateway.thing_created(&"x".repeat(257)));
    let mut nowhere = gateway.thing_created("new");
    nowhere.properties = nowhere.properties.with_reply_to("".into());
    bad("created without an address", nowhere);
    let mut text = created(json!({"name": "n"}));
    text.properties = text.properties.with_content_type("text/plain".into());
    bad("created by plain text", text);
    bad("created by a list", created(json!([])));
    bad("created with a name that is an object", created(json!({"name": {}})));
    bad("created with a name too long", created(json!({"name": "x".repeat(129)})));

    bad("removed without an id", gateway.message(json!({"type": "THING_REMOVED"}), None));
    bad("removed what is not", gateway.message(json!({"type": "THING_REMOVED", "thingId": "nobody"}), None));
    bad("removed another's", gateway.message(json!({"type": "THING_REMOVED", "thingId": "theirs"}), None));

    bad("event without a topic", gateway.message(json!({"type": "EVENT", "thingId": "d1"}), Some(json!({}))));
    for topic in ["WHAT", "DOWNLOAD", "CANCEL_DOWNLOAD", "update_attributes"] {
        bad(topic, gateway.event(topic, "d1", json!({})));
    }
    let mut text = attributes(json!({"attributes": {"a": "1"}}));
    text.properties = text.properties.with_content_type("text/plain".into());
    bad("event in plain text", text);
    let mut untyped = gateway.message(json!({"type": "EVENT", "topic": "UPDATE_ATTRIBUTES", "thingId": "d1"}), None);
    untyped.body = br#"{"attributes":{"a":"1"}}"#.to_vec();
    bad("event without a content type", untyped);

    for (name, body) in [
        ("nothing", Vec::new()),
        ("half an object", br#"{"attributes":{"a""#.to_vec()),
        ("no UTF-8", b"\xff\xfe{}".to_vec()),
        ("a megabyte of garbage", crate::harness::bytes_of(1_000_000, 6)),
        ("a megabyte of brackets", b"[".repeat(1_000_000)),
    ] {
        for topic in ["UPDATE_ATTRIBUTES", "UPDATE_ACTION_STATUS", "UPDATE_AUTO_CONFIRM"] {
            let mut message = gateway.event(topic, "d1", json!({}));
            message.body.clone_from(&body);
            bad(&format!("{topic} of {name}"), message);
        }
    }

    let mut nobodys = gateway.message(json!({"type": "EVENT", "topic": "UPDATE_ATTRIBUTES"}), Some(json!({})));
    bad("attributes without an id", nobodys.clone());
    nobodys.properties = nobodys.properties.with_headers(crate::harness::table(
        &json!({"type": "EVENT", "topic": "UPDATE_AUTO_CONFIRM", "tenant": "DEFAULT"}),
    ));
    bad("auto-confirm without an id", nobodys);
    bad("attributes of nobody", gateway.attributes("nobody", json!({"a": "1"})));
    bad("attributes of another tenant's", gateway.attributes("theirs", json!({"a": "1"})));
    bad("attributes with a list", attributes(json!({"attributes": []})));
    bad("attributes with an unknown mode", attributes(json!({"attributes": {}, "mode": "merge"})));
    bad("a key too long", gateway.attributes("d1", json!({"x".repeat(129): "v"})));
    bad("a value too long", gateway.attributes("d1", json!({"k": "v".repeat(129)})));
    bad("a key with a tilde", gateway.attributes("d1", json!({"~": "v"})));
    let many = (0..101).map(|n| (format!("k{n}"), json!("v"))).collect();
    bad("attributes over the quota", gateway.attributes("d1", Value::Object(many)));

    bad("auto-confirm of nobody", gateway.event("UPDATE_AUTO_CONFIRM", "nobody", json!({"enabled": true})));
    bad("auto-confirm again", gateway.event("UPDATE_AUTO_CONFIRM", "auto", json!({"enabled": true})));
    let long = json!({"enabled": true, "initiator": "x".repeat(65)});
    bad("auto-confirm by a name too long", gateway.event("UPDATE_AUTO_CONFIRM", "d1", long));

    bad("a report of no action", report(json!({"actionStatus": "RUNNING"})));
    bad("a report without a status", report(json!({"actionId": running})));
    bad("a report of an unknown status", report(json!({"actionId": running, "actionStatus": "HAPPY"})));
    bad("a report of an unknown action", gateway.status("d1", 99_999, "RUNNING"));
    bad("a report of another tenant's action", gateway.status("d1", their_action, "FINISHED"));
    for status in ["CANCELED", "CANCEL_REJECTED", "CONFIRMED", "DENIED"] {
        bad(&format!("{status} of a running action"), gateway.status("d1", running, status));
    }
    let lines = vec!["x"; 51];
    bad("too many lines", report(json!({"actionId": running, "actionStatus": "RUNNING", "message": lines})));

    for (name, value) in [
        ("a number", AMQPValue::LongInt(7)),
        ("a table", AMQPValue::FieldTable(FieldTable::default())),
        ("bytes", AMQPValue::ByteArray(vec![0xff, 0xfe].into())),
        ("nothing", AMQPValue::Void),
        ("no UTF-8", AMQPValue::LongString(vec![0xff, 0xfe].into())),
    ] {
        for header in ["type", "tenant", "topic"] {
            let mut message = attributes(json!({"attributes": {"a": "1"}}));
            let mut headers = message.properties.headers().clone().unwrap();
            headers.insert(header.into(), value.clone());
            message.properties = message.properties.with_headers(headers);
            bad(&format!("{header} is {name}"), message);
        }
    }
    all
}

async fn their_action(server: &Server, login: &str) -> i64 {
    let post = async |path: &str, body: Value| server.json_as(login, reqwest::Method::POST, path, Some(body)).await;
    let module = post("/rest/v1/softwaremodules", json!([{"name": "m", "version": "1", "type": "os"}])).await;
    let body = json!([{"name": "s", "version": "1", "type": "os", "modules": [{"id": module.expect(201).id()}]}]);
    let set = post("/rest/v1/distributionsets", body).await.expect(201).id();
    let assigned = post("/rest/v1/targets/theirs/assignedDS", json!({"id": set})).await.expect(200).json();
    assigned["assignedActions"][0]["id"].as_i64().unwrap()
}

/// What the messages are about, in both tenants.
async fn everything(server: &Server) -> Value {
    let other = basic("other", "admin");
    let mut all = Vec::new();
    for (login, thing) in [(&server.admin, "d1"), (&server.admin, "auto"), (&other, "theirs")] {
        for path in ["", "/attributes", "/actions", "/autoConfirm"] {
            let answer = server.get_as(login, &format!("/rest/v1/targets/{thing}{path}")).await;
            all.push(json!([answer.status, String::from_utf8_lossy(&answer.bytes)]));
        }
        all.push(server.get_as(login, "/rest/v1/targets").await.expect(200).json()["total"].clone());
        let actions = server.get_as(login, "/rest/v1/actions?representation=full").await.expect(200).json();
        all.push(actions);
    }
    Value::Array(all)
}
