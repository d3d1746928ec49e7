//! What DMF messages say, without a broker: every recorded body is read and written back as it was, and nothing that a
//! device may send brings the reader down.

use kettle_dmf::{
    incoming::{self, Order, Request, Unreadable},
    wire::{
        ActionRequest, ActionStatus, ActionUpdateStatus, AttributeUpdate, AutoConfirmation, BatchUpdateRequest,
        CreateThing, UpdateMode, UpdateRequest,
    },
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{contract::shared_folder, harness::skip_visibly};

/// Reads a body as `T`, and writes it again.
fn again<T: DeserializeOwned + Serialize>(body: &Value) -> Value {
    let read: T = serde_json::from_value(body.clone()).unwrap_or_else(|e| panic!("{e}: {body}"));
    serde_json::to_value(read).unwrap()
}

#[test]
fn recorded_bodies_are_written_as_they_were_read() {
    let recording = shared_folder().join("contract/golden_amqp/dmf.json");
    let Ok(text) = std::fs::read_to_string(&recording) else {
        return skip_visibly("the recorded messages", &format!("{} is absent (KETTLE_SHARED)", recording.display()));
    };
    // Where the recording has placeholders the wire has numbers.
    let text = text.replace("\"#id\"", "137").replace("\"#ts\"", "1700000000000");
    let recording: Value = serde_json::from_str(&text).unwrap();
    let steps = recording["messages"].as_array().unwrap();
    let mut topics = Vec::new();
    for message in steps.iter().flat_map(|step| step["received"].as_array().unwrap()) {
        let body = &message["body"];
        let topic = message["headers"]["topic"].as_str().unwrap_or_default();
        let written = match topic {
            "CONFIRM" | "DOWNLOAD" | "DOWNLOAD_AND_INSTALL" => again::<UpdateRequest>(body),
            "BATCH_DOWNLOAD" | "BATCH_DOWNLOAD_AND_INSTALL" => again::<BatchUpdateRequest>(body),
            "CANCEL_DOWNLOAD" => again::<ActionRequest>(body),
            _ => continue,
        };
        assert_eq!(written, *body, "{topic}");
        topics.push(topic.to_owned());
    }
    for topic in ["CONFIRM", "DOWNLOAD", "DOWNLOAD_AND_INSTALL", "CANCEL_DOWNLOAD"] {
        assert!(topics.iter().any(|t| t == topic), "{topic} is not recorded");
    }
}

#[test]
fn bodies_of_each_kind_are_written_as_they_were_read() {
    let thing = json!({
        "name": "pump 7", "type": "pump", "attributeUpdate": {"attributes": {"hw": "2", "gone": null}, "mode": "MERGE"},
    });
    assert_eq!(again::<CreateThing>(&thing), thing);
    let update = json!({"attributes": {"hw": "2"}, "mode": "REPLACE"});
    assert_eq!(again::<AttributeUpdate>(&update), update);
    let status = json!({
        "actionId": 137, "actionStatus": "CANCEL_REJECTED", "timestamp": 1_700_000_000_000_i64, "softwareModuleId": 4,
        "message": ["half done"], "code": 200,
    });
    assert_eq!(again::<ActionUpdateStatus>(&status), status);
    let confirm = json!({"enabled": true, "initiator": "joe", "remark": "lab"});
    assert_eq!(again::<AutoConfirmation>(&confirm), confirm);
    let batch = json!({
        "timestamp": 1_700_000_000_000_i64,
        "targets": [{"actionId": 137, "controllerId": "dev1", "targetSecurityToken": "0a1b"}],
        "softwareModules": [{
            "moduleId": 4, "moduleType": "os", "moduleVersion": "1.2", "encrypted": true,
            "metadata": [{"key": "k", "value": "v"}],
            "artifacts": [{
                "filename": "fw.bin", "urls": {"HTTP": "http://h/fw.bin"}, "hashes": {"sha1": "a", "md5": null},
                "size": 11, "lastModified": 1_700_000_000_000_i64,
            }],
        }],
    });
    assert_eq!(again::<BatchUpdateRequest>(&batch), batch);
}

fn properties(headers: &[(&str, &str)], content_type: Option<&str>, reply_to: Option<&str>) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    let mut properties = BasicProperties::default().with_headers(table);
    if let Some(content_type) = content_type {
        properties = properties.with_content_type(content_type.into());
    }
    if let Some(reply_to) = reply_to {
        properties = properties.with_reply_to(reply_to.into());
    }
    properties
}

const JSON: Option<&str> = Some("application/json");

fn status_headers() -> [(&'static str, &'static str); 4] {
    [("type", "EVENT"), ("topic", "UPDATE_ACTION_STATUS"), ("tenant", "T"), ("thingId", "d")]
}

#[test]
fn json_is_read_as_the_peer_reads_it() {
    let body = br#"{"actionId":"137","actionStatus":"DOWNLOADED","code":"7","message":[1,true,null],"more":[{}]}"#;
    let read = incoming::decode(&properties(&status_headers(), Some("text/json;charset=UTF-8"), None), body).unwrap();
    assert_eq!(read.tenant, "T");
    assert_eq!(read.request.order(), Order::Thing("d"));
    let Request::Status { thing, status, correlation_id } = read.request else { panic!("{:?}", read.request) };
    assert_eq!((thing.as_deref(), correlation_id), (Some("d"), None));
    let message = Some(vec![Some("1".to_owned()), Some("true".to_owned()), None]);
    let (timestamp, software_module_id) = (None, None);
    let action_status = ActionStatus::Downloaded;
    let expected =
        ActionUpdateStatus { action_id: 137, action_status, timestamp, software_module_id, message, code: Some(7) };
    assert_eq!(status, expected);
}

#[test]
fn a_thing_may_come_without_a_body() {
    let properties = properties(&[("type", "THING_CREATED"), ("tenant", "T"), ("thingId", "d")], None, Some("to"));
    for empty in ["", "\"\""] {
        let read = incoming::decode(&properties, empty.as_bytes()).unwrap();
        assert_eq!(
            read.request,
            Request::ThingCreated { thing: "d".to_owned(), reply_to: "to".to_owned(), body: None }
        );
    }
}

#[test]
fn what_can_never_be_carried_out_says_why() {
    let thing = [("type", "THING_CREATED"), ("tenant", "T"), ("thingId", "d")];
    let event = |topic: &'static str| [("type", "EVENT"), ("tenant", "T"), ("topic", topic)];
    let cases: [(BasicProperties, &[u8], Unreadable); 12] = [
        (BasicProperties::default(), b"", Unreadable::NoTypeOrTenant),
        (properties(&[("type", "PING")], None, None), b"", Unreadable::NoTypeOrTenant),
        (properties(&[("type", "PING"), ("tenant", "")], None, None), b"", Unreadable::NoTypeOrTenant),
        (properties(&[("type", "ping"), ("tenant", "T")], None, None), b"", Unreadable::UnknownType("ping".to_owned())),
        (properties(&thing[..2], None, Some("to")), b"", Unreadable::NoThing),
        (properties(&thing, None, None), b"", Unreadable::NoReplyTo),
        (properties(&thing, None, Some("to")), b"{}", Unreadable::NotJson),
        (properties(&[("type", "THING_REMOVED"), ("tenant", "T")], None, None), b"", Unreadable::NoThing),
        (properties(&event("UPDATE_ATTRIBUTES"), Some("text/plain"), None), b"{}", Unreadable::NotJson),
        (properties(&event("UPDATE_ATTRIBUTES")[..2], JSON, None), b"{}", Unreadable::NoTopic),
        (properties(&event("CONFIRM"), JSON, None), b"{}", Unreadable::UnknownTopic("CONFIRM".to_owned())),
        (properties(&event("UPDATE_ATTRIBUTES"), JSON, None), b"{}", Unreadable::NoThing),
    ];
    for (properties, body, expected) in cases {
        assert_eq!(incoming::decode(&properties, body), Err(expected));
    }
    for body in
        ["", "\"\"", "null", "[]", "{}", "{\"actionId\":1}", "{\"actionId\":1,\"actionStatus\":\"FINE\"}", "\u{1}"]
    {
        let read = incoming::decode(&properties(&status_headers(), JSON, None), body.as_bytes());
        assert!(matches!(read, Err(Unreadable::Body(_))), "{body}: {read:?}");
    }
}

/// A header of any type.
fn any_value() -> impl Strategy<Value = AMQPValue> {
    let name = prop::sample::select(vec![
        "EVENT",
        "THING_CREATED",
        "THING_REMOVED",
        "PING",
        "UPDATE_ACTION_STATUS",
        "UPDATE_ATTRIBUTES",
        "UPDATE_AUTO_CONFIRM",
    ]);
    prop_oneof![
        4 => name.prop_map(|name| AMQPValue::LongString(name.into())),
        1 => any::<Vec<u8>>().prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        1 => any::<i64>().prop_map(AMQPValue::LongLongInt),
        1 => any::<bool>().prop_map(AMQPValue::Boolean),
        1 => any::<f64>().prop_map(AMQPValue::Double),
        1 => Just(AMQPValue::Void),
        1 => Just(AMQPValue::FieldTable(FieldTable::default())),
    ]
}

proptest! {
    #[test]
    fn no_bytes_bring_the_reader_down(
        headers in prop::collection::vec((prop::sample::select(vec!["type", "tenant", "thingId", "topic", "other"]), any_value()), 0..6),
        body in prop_oneof![
            any::<Vec<u8>>(),
            "\\PC*".prop_map(String::into_bytes),
            "[\\[\\]{}:,\"0-9a-z]{0,200}".prop_map(String::into_bytes),
        ],
        json in any::<bool>(),
        reply_to in prop::option::of("\\PC{0,60}"),
    ) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(name.into(), value);
        }
        let mut properties = BasicProperties::default().with_headers(table);
        if json {
            properties = properties.with_content_type("application/json".into());
        }
        if let Some(reply_to) = reply_to {
            properties = properties.with_reply_to(reply_to.into());
        }
        if let Ok(read) = incoming::decode(&properties, &body) {
            prop_assert!(!read.tenant.is_empty());
            let _ = read.request.order();
        }
    }

    #[test]
    fn reports_are_read_as_they_were_written(
        action_id in any::<i64>(),
        code in any::<Option<i32>>(),
        timestamp in any::<Option<i64>>(),
        message in prop::option::of(prop::collection::vec(prop::option::of("\\PC{0,20}"), 0..4)),
    ) {
        let (action_status, software_module_id) = (ActionStatus::Finished, None);
        let written = ActionUpdateStatus { action_id, action_status, timestamp, software_module_id, message, code };
        let bytes = serde_json::to_vec(&written).unwrap();
        let read = incoming::decode(&properties(&status_headers(), JSON, None), &bytes).unwrap();
        let expected = Request::Status { thing: Some("d".to_owned()), status: written, correlation_id: None };
        prop_assert_eq!(read.request, expected);
    }

    #[test]
    fn attributes_are_read_as_they_were_written(
        attributes in prop::collection::btree_map("\\PC{0,20}", prop::option::of("\\PC{0,20}"), 0..6),
        mode in prop::option::of(prop::sample::select(vec![UpdateMode::Merge, UpdateMode::Replace, UpdateMode::Remove])),
    ) {
        let written = AttributeUpdate { attributes: Some(attributes), mode };
        let read = again::<AttributeUpdate>(&serde_json::to_value(&written).unwrap());
        prop_assert_eq!(read, serde_json::to_value(&written).unwrap());
    }
}
