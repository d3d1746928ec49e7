//! Exchanges and queues on the broker: the peer's, in every argument, whoever declares them first.

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use crate::harness::{Broker, Engine, Gateway, VirtualHost};

const DEAD_LETTER_EXCHANGE: &str = "dmf.connector.deadletter";

#[tokio::test]
async fn everything_is_declared_as_the_peer_does() {
    let host = Broker::shared().virtual_host();
    let gateway = Gateway::connect(&host, "gw.ex").await;
    let server = host.server(Engine::Sqlite, &[]).await;
    gateway.until_heard().await;
    assert_eq!(queues(&host), QUEUES);
    assert_eq!(exchanges(&host), EXCHANGES);
    assert_eq!(bindings(&host), BINDINGS);
    declare(&gateway.channel().await).await;
    drop(server);
}

#[tokio::test]
async fn what_the_peer_declared_is_taken_as_it_is() {
    let host = Broker::shared().virtual_host();
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    let channel = gateway.channel().await;
    declare(&channel).await;
    let server = host.server(Engine::Sqlite, &[]).await;
    gateway.until_heard().await;
    gateway.register(&["d1"]).await;
    let set = server.set("fw", &[]).await;
    server.assign("d1", set).await;
    gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
    assert_eq!(queues(&host), QUEUES);
    assert_eq!(bindings(&host), BINDINGS);
}

#[tokio::test]
async fn names_and_the_time_of_dead_letters_are_settings() {
    let host = Broker::shared().virtual_host();
    let gateway = Gateway::connect(&host, "gw.ex").await;
    let settings = [
        "hawkbit.dmf.rabbitmq.receiverQueue=in",
        "hawkbit.dmf.rabbitmq.deadLetterQueue=dead",
        "hawkbit.dmf.rabbitmq.deadLetterExchange=dead.ex",
        "hawkbit.dmf.rabbitmq.authenticationReceiverQueue=auth",
        "hawkbit.dmf.rabbitmq.dead-letter.ttl=60000",
    ];
    let server = host.server(Engine::Sqlite, &settings).await;
    crate::harness::eventually(super::PATIENCE, "a server listens", async || (host.consumers("in") > 0).then_some(()))
        .await;
    let expected = [
        "{auth,false,true,[{x-max-length,1000},{x-message-ttl,30000}]}",
        "{dead,true,false,[{x-message-ttl,60000}]}",
        "{in,true,false,[{x-dead-letter-exchange,dead.ex}]}",
    ];
    assert_eq!(queues(&host), expected);
    let mut message = gateway.thing_created("d1");
    message.properties = message.properties.with_headers(FieldTable::default());
    gateway.publish(&message).await;
    crate::harness::eventually(super::PATIENCE, "the dead letter", async || gateway.take("dead").await).await;
    drop(server);
}

/// Names of objects do not depend on who may declare: an operator who forbids it declares them.
#[tokio::test]
async fn declaring_can_be_left_to_the_operator() {
    let host = Broker::shared().virtual_host();
    let gateway = Gateway::connect(&host, "gw.ex").await;
    let server = host.server(Engine::Sqlite, &["hawkbit.dmf.rabbitmq.auto-declare=false"]).await;
    assert_eq!(queues(&host), [""; 0]);
    let channel = gateway.channel().await;
    declare(&channel).await;
    gateway.until_heard().await;
    gateway.register(&["d1"]).await;
    server.get("/rest/v1/targets/d1").await.expect(200);
}

/// Name, durable, removed when unused, arguments.
const QUEUES: [&str; 3] = [
    "{authentication_receiver,false,true,[{x-max-length,1000},{x-message-ttl,30000}]}",
    "{dmf_connector_deadletter_ttl,true,false,[{x-message-ttl,1814400000}]}",
    "{dmf_receiver,true,false,[{x-dead-letter-exchange,dmf.connector.deadletter}]}",
];
const EXCHANGES: [&str; 2] = ["{dmf.connector.deadletter,fanout,true,false,[]}", "{dmf.exchange,fanout,true,false,[]}"];
const BINDINGS: [&str; 2] =
    ["{dmf.connector.deadletter,dmf_connector_deadletter_ttl,[]}", "{dmf.exchange,dmf_receiver,[]}"];

/// With the arguments that a hawkBit 1.0.4 node uses; a broker refuses if there is something else of the name.
async fn declare(channel: &Channel) {
    let number = |n: i64| AMQPValue::LongLongInt(n);
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    for name in ["dmf.exchange", DEAD_LETTER_EXCHANGE] {
        channel.exchange_declare(name.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await.unwrap();
    }
    let kept = QueueDeclareOptions { durable: true, ..Default::default() };
    let passing = QueueDeclareOptions { auto_delete: true, ..Default::default() };
    for (name, options, arguments) in [
        ("dmf_receiver", kept, vec![("x-dead-letter-exchange", AMQPValue::LongString(DEAD_LETTER_EXCHANGE.into()))]),
        ("dmf_connector_deadletter_ttl", kept, vec![("x-message-ttl", number(1_814_400_000))]),
        (
            "authentication_receiver",
            passing,
            vec![("x-message-ttl", number(30_000)), ("x-max-length", AMQPValue::LongInt(1_000))],
        ),
    ] {
        let mut table = FieldTable::default();
        for (key, value) in arguments {
            table.insert(key.into(), value);
        }
        channel.queue_declare(name.into(), options, table).await.unwrap();
    }
    for (queue, exchange) in [("dmf_receiver", "dmf.exchange"), ("dmf_connector_deadletter_ttl", DEAD_LETTER_EXCHANGE)]
    {
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), exchange.into(), "".into(), options, FieldTable::default()).await.unwrap();
    }
}

/// What the broker holds, apart from its own and from the gateway's.
fn queues(host: &VirtualHost) -> Vec<String> {
    let name = &host.name;
    listed(
        host,
        &format!(
            "[{{element(4, proplists:get_value(name, I)), proplists:get_value(durable, I), \
             proplists:get_value(auto_delete, I), \
             lists:sort([{{K, V}} || {{K, _, V}} <- proplists:get_value(arguments, I)])}} \
             || I <- rabbit_amqqueue:info_all(<<\"{name}\">>, [name, durable, auto_delete, arguments])]"
        ),
    )
}

fn exchanges(host: &VirtualHost) -> Vec<String> {
    let name = &host.name;
    listed(
        host,
        &format!(
            "[{{element(4, proplists:get_value(name, I)), proplists:get_value(type, I), \
             proplists:get_value(durable, I), proplists:get_value(auto_delete, I), \
             proplists:get_value(arguments, I)}} \
             || I <- rabbit_exchange:info_all(<<\"{name}\">>, [name, type, durable, auto_delete, arguments])]"
        ),
    )
}

fn bindings(host: &VirtualHost) -> Vec<String> {
    let name = &host.name;
    listed(
        host,
        &format!(
            "[{{S, D, A}} || {{binding, {{resource, _, exchange, S}}, _, {{resource, _, queue, D}}, A}} \
             <- rabbit_binding:list(<<\"{name}\">>)]"
        ),
    )
}

/// The tuples of a list, sorted; those of downloads over ids are not the peer's.
fn listed(host: &VirtualHost, expression: &str) -> Vec<String> {
    let all = host.broker.eval(&format!(
        "lists:flatten(lists:join(\"\\n\", lists:sort([lists:flatten(io_lib:format(\"~0tp\", [X])) || X <- {expression}])))"
    ));
    let plain = all.trim_matches('"').replace("<<\\\"", "").replace("\\\">>", "").replace("\\n", "\n");
    let foreign = ["{amq.", "{<<>>", "{gw.ex", "{authentication.exchange"];
    plain.lines().filter(|line| !foreign.iter().any(|start| line.starts_with(start))).map(str::to_owned).collect()
}
