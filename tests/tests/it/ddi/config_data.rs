//! `configData`.

use serde_json::{Map, json};

use crate::harness::{Server, on_each_engine};

const ATTRIBUTES: &str = "/rest/v1/targets/d1/attributes";

#[tokio::test]
async fn what_swupdate_and_zephyr_send_is_accepted() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let status = json!({"result": {"finished": "success"}, "execution": "closed", "details": [""]});
        let bodies = [
            json!({"id": "", "time": "20261122T031920", "status": status, "data": {"board": "kettle"}}),
            json!({"id": "", "time": "", "status": status, "data": {"VIN": "1"}, "mode": "merge", "extra": [1, {}]}),
            json!({"data": {"board": "b2"}}),
            json!({"data": {"board": "b3"}, "mode": null}),
        ];
        let device = server.device("d1");
        for body in bodies {
            device.put("/configData", body).await.expect_empty(200);
        }
        let attributes = server.get(ATTRIBUTES).await.expect(200).json();
        assert_eq!(attributes, json!({"board": "b3", "VIN": "1"}));
    })
    .await;
}

#[tokio::test]
async fn the_three_modes() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let steps = [
            ("replace", json!({"a": "1", "b": "2"}), json!({"a": "1", "b": "2"})),
            ("merge", json!({"b": "3", "c": "4"}), json!({"a": "1", "b": "3", "c": "4"})),
            ("remove", json!({"a": "any", "nothing": ""}), json!({"b": "3", "c": "4"})),
            ("merge", json!({"b": null}), json!({"c": "4"})),
            ("replace", json!({"d": "5"}), json!({"d": "5"})),
        ];
        for (mode, data, expected) in steps {
            let body = json!({"mode": mode, "data": data});
            server.device("d1").put("/configData", body).await.expect_empty(200);
            let attributes = server.get(ATTRIBUTES).await.expect(200).json();
            assert_eq!(attributes, expected, "after {mode}");
        }
    })
    .await;
}

#[tokio::test]
async fn bad_attributes_change_nothing() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        server.target("d1").await;
        let device = server.device("d1");
        let good = json!({"data": {"keep": "me"}});
        device.put("/configData", good).await.expect_empty(200);
        let invalid = "hawkbit.server.error.repo.invalidTargetAttributes";
        let unreadable = "hawkbit.server.error.rest.body.notReadable";
        let too_many: Map<_, _> = (0..101).map(|n| (format!("k{n}"), json!("v"))).collect();
        for (data, status, key) in [
            (json!({"k~": "v"}), 400, invalid),
            (json!({"k": "ü"}), 400, invalid),
            (json!({"k".repeat(129): "v"}), 400, invalid),
            (json!({"k": "v".repeat(129)}), 400, invalid),
            (json!(["not", "a", "map"]), 400, unreadable),
            (json!(too_many), 429, "hawkbit.server.error.quota.tooManyEntries"),
        ] {
            device.put("/configData", json!({"data": data})).await.expect_error(status, key);
        }
        let bogus = json!({"mode": "bogus", "data": {"a": "b"}});
        device.put("/configData", bogus).await.expect_error(400, unreadable);
        device.put("/configData", json!({"data": {}})).await.expect(400);
        device.put("/configData", json!({})).await.expect(400);
        let attributes = server.get(ATTRIBUTES).await.expect(200).json();
        assert_eq!(attributes, json!({"keep": "me"}));
    })
    .await;
}

#[tokio::test]
async fn only_a_poll_registers() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let body = json!({"data": {"a": "b"}});
        let key = "hawkbit.server.error.repo.entityNotFound";
        server.device("ghost").put("/configData", body).await.expect_error(404, key);
        server.get("/rest/v1/targets/ghost").await.expect(404);
    })
    .await;
}
