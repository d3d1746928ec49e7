//! UPDATE_ATTRIBUTES.

use serde_json::{Value, json};

use crate::harness::{DEAD_LETTERS, Gateway, Server, on_each_engine_with_gateway};

#[tokio::test]
async fn the_mode_says_what_becomes_of_those_that_there_are() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        gateway.register(&["d1"]).await;
        for (body, after, requested) in [
            // The flag that a new target has is cleared by what it asks for.
            (json!({"attributes": {"x": "1"}, "mode": "REMOVE"}), json!({}), true),
            (json!({"attributes": {"a": "1", "b": "2"}}), json!({"a": "1", "b": "2"}), false),
            (
                json!({"attributes": {"b": "3", "c": "4"}, "mode": "MERGE"}),
                json!({"a": "1", "b": "3", "c": "4"}),
                false,
            ),
            (json!({"attributes": {"a": null}, "mode": null}), json!({"b": "3", "c": "4"}), false),
            (json!({"attributes": {"b": "other"}, "mode": "REMOVE"}), json!({"c": "4"}), false),
            (json!({"attributes": {"d": "5", "e": null}, "mode": "REPLACE"}), json!({"d": "5"}), false),
            // As Jackson reads them.
            (json!({"attributes": {"n": 5, "t": true}}), json!({"d": "5", "n": "5", "t": "true"}), false),
            (json!({"mode": "REPLACE"}), json!({}), false),
            (json!({"attributes": null, "unknown": [1]}), json!({}), false),
        ] {
            gateway.tell(gateway.event("UPDATE_ATTRIBUTES", "d1", body.clone())).await;
            assert_eq!(gateway.take(DEAD_LETTERS).await.map(|letter| letter.headers()), None, "{body}");
            assert_eq!(attributes(&server).await, after, "{body}");
            let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
            assert_eq!(target["requestAttributes"], requested, "{body}");
        }
        gateway.expect_silence().await;
    })
    .await;
}

/// Any content type with `json` in it will do.
#[tokio::test]
async fn other_content_types_of_json_are_taken() {
    on_each_engine_with_gateway(async |server: Server, gateway: Gateway| {
        gateway.register(&["d1"]).await;
        for (n, content_type) in
            ["application/hal+json", "application/json;charset=UTF-8", "text/x-json"].iter().enumerate()
        {
            let mut message = gateway.attributes("d1", json!({"n": n.to_string()}));
            message.properties = message.properties.with_content_type((*content_type).into());
            gateway.tell(message).await;
            assert_eq!(attributes(&server).await, json!({"n": n.to_string()}), "{content_type}");
        }
    })
    .await;
}

async fn attributes(server: &Server) -> Value {
    let answer = server.get("/rest/v1/targets/d1/attributes").await;
    if answer.status == 204 { json!({}) } else { answer.expect(200).json() }
}
