//! Cluster events: what hawkBit told on its two channels while `shared/contract/dmf_replay.py` was at work
//! (`golden_amqp/cluster_events.json`), and what of it can be compared.

use serde_json::{Value, json};

use super::shared_folder;
use crate::harness::skip_visibly;

/// An event that other servers were told.
pub(crate) struct Told {
    /// The step of the work.
    pub during: String,
    /// Or on the service channel.
    pub fan_out: bool,
    /// As [`comparable`] has it.
    pub body: Value,
}

/// What hawkBit told; `None` without a recording.
pub(crate) fn recorded() -> Option<Vec<Told>> {
    let recording = shared_folder().join("contract/golden_amqp/cluster_events.json");
    let Ok(recorded) = std::fs::read(&recording) else {
        skip_visibly("the recorded cluster events", &format!("{} is absent", recording.display()));
        return None;
    };
    Some(read(serde_json::from_slice(&recorded).unwrap()))
}

/// Of what `dmf_replay.py --events` writes. All messages are JSON, and have the one header that all of hawkBit's have.
pub(crate) fn read(events: Vec<Value>) -> Vec<Told> {
    let told = |mut event: Value| {
        assert_eq!(event["headers"], json!({ "target-protocol": "amqp" }), "{event}");
        assert_eq!(event["type"], "application/remote-event-json", "{event}");
        assert_eq!(event["correlated"], false, "{event}");
        let fan_out = match event["exchange"].as_str().unwrap() {
            "fanoutEventChannel" => true,
            "serviceEventChannel" => false,
            other => panic!("hawkBit tells nothing on {other}"),
        };
        let during = event["during"].as_str().unwrap().to_owned();
        Told { during, fan_out, body: comparable(event["body"].take()) }
    };
    events.into_iter().map(told).collect()
}

/// Without what differs between any two runs.
pub(crate) fn comparable(mut body: Value) -> Value {
    if let Some(wrapped) = body.get_mut("remoteEvent") {
        *wrapped = comparable(wrapped.take());
    }
    let random = body["type"] == "4" || body["type"] == "1005";
    let of_action = body["cacheName"] == "JpaAction" || body["remoteEvent"]["cacheName"] == "JpaAction";
    let members = body.as_object_mut().unwrap();
    for (member, scrubbed) in [
        ("id", "#uuid"),
        ("timestamp", "#ts"),
        ("lastTargetPoll", "#ts"),
        ("entityId", "#id"),
        ("targetId", "#id"),
        ("distributionSetId", "#id"),
    ] {
        members.entry(member).and_modify(|value| *value = scrubbed.into());
    }
    if random {
        members.insert("source".into(), "#uuid".into());
    }
    // Which of two targets' actions is the first is the database's choice.
    for member in ["cacheKey", "source"].into_iter().filter(|_| of_action) {
        members.entry(member).and_modify(|value| *value = "#id".into());
    }
    for action in members.get_mut("actions").and_then(Value::as_object_mut).into_iter().flat_map(|a| a.values_mut()) {
        action["id"] = "#id".into();
    }
    body
}
