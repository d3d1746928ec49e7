//! PING, the question whether anybody is there.

use serde_json::json;

use crate::harness::{Gateway, Server, on_each_engine_with_gateway};

#[tokio::test]
async fn a_ping_is_answered_with_the_time() {
    on_each_engine_with_gateway(async |_server: Server, mut gateway: Gateway| {
        gateway.publish(&gateway.message(json!({"type": "PING"}), None).correlated("c-1")).await;
        let answer = gateway.next().await;
        assert_eq!(answer.headers(), json!({"tenant": "DEFAULT", "type": "PING_RESPONSE"}));
        assert_eq!((answer.content_type().as_str(), answer.correlation_id().as_str()), ("text/plain", "c-1"));
        assert!(answer.json().as_i64().unwrap() > 1_700_000_000_000, "{answer:?}");
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn a_ping_without_a_correlation_id_is_taken_and_not_answered() {
    on_each_engine_with_gateway(async |_server: Server, mut gateway: Gateway| {
        gateway.tell(gateway.message(json!({"type": "PING"}), None)).await;
        gateway.expect_silence().await;
        assert!(gateway.take(crate::harness::DEAD_LETTERS).await.is_none());
    })
    .await;
}
