//! The way that events take between nodes.

use super::{
    super::settings::{Events, Payload, Transport},
    *,
};

const BROKER: &str = "spring.rabbitmq.host=h";
const POSTGRES: &str = "spring.datasource.url=postgres://h/d";
const REMOTE: &str = "hawkbit.events.remote.enabled=true";
const EXPLICIT: &str = "kettle.events.transport=rabbitmq";

fn events(set: &[&str]) -> Events {
    loaded("", &[], set).config.events
}

#[test]
fn the_broker_is_taken_when_it_is_asked_for_else_the_database_decides() {
    for (set, expected) in [
        (&[][..], Transport::Local),
        (&[BROKER], Transport::Local),
        (&[POSTGRES], Transport::Postgres),
        (&[POSTGRES, BROKER], Transport::Postgres),
        (&[POSTGRES, BROKER, REMOTE], Transport::Rabbitmq),
        (&[BROKER, REMOTE], Transport::Rabbitmq),
        (&[BROKER, REMOTE, "hawkbit.dmf.enabled=false"], Transport::Rabbitmq),
        (&[BROKER, EXPLICIT], Transport::Rabbitmq),
        (&[BROKER, EXPLICIT, "hawkbit.events.remote.enabled=false"], Transport::Rabbitmq),
        (&[POSTGRES, BROKER, REMOTE, "kettle.events.transport=postgres"], Transport::Postgres),
        (&[BROKER, REMOTE, "kettle.events.transport=local"], Transport::Local),
    ] {
        assert_eq!(events(set).transport, expected, "{set:?}");
    }
    let warning = "hawkbit.events.remote.enabled has no effect: there is no broker. Set spring.rabbitmq.host or \
                   spring.rabbitmq.addresses";
    let loaded = loaded("", &[], &[REMOTE]);
    assert_eq!((loaded.config.events.transport, &loaded.warnings[..]), (Transport::Local, &[warning.to_owned()][..]));
}

#[test]
fn channels_and_payload_are_hawkbits_unless_told_otherwise() {
    let stock = Events {
        transport: Transport::Rabbitmq,
        announce: true,
        fan_out: "fanoutEventChannel".to_owned(),
        service: Some("serviceEventChannel".to_owned()),
        payload: Payload::Json,
    };
    assert_eq!(events(&[BROKER, REMOTE]), stock);
    let own = ["hawkbit.events.remote.destination=f", "hawkbit.events.remote.service.destination=s"];
    let own = events(&[&[BROKER, REMOTE][..], &own].concat());
    assert_eq!(own, Events { fan_out: "f".to_owned(), service: Some("s".to_owned()), ..stock.clone() });
    let less = events(&[BROKER, REMOTE, "hawkbit.events.remote-service-enabled=false", "kettle.events.announce=no"]);
    assert_eq!(less, Events { service: None, announce: false, ..stock });
    let spring = "spring.cloud.stream.default.content-type=application/binary+protostuff";
    assert_eq!(events(&[spring]).payload, Payload::Protobuf);
    assert_eq!(events(&["kettle.events.payload=protobuf"]).payload, Payload::Protobuf);
    assert_eq!(events(&[spring, "kettle.events.payload=json"]).payload, Payload::Json);
}

#[test]
fn problems_of_events_say_what_to_do() {
    for (set, expected) in [
        (
            &[EXPLICIT][..],
            "kettle.events.transport: rabbitmq needs a broker: set spring.rabbitmq.host or spring.rabbitmq.addresses",
        ),
        (
            &["kettle.events.transport=postgres"],
            "kettle.events.transport: postgres needs a PostgreSQL database: set spring.datasource.url, or take local or auto",
        ),
        (
            &[POSTGRES, "kettle.events.transport=local"],
            "kettle.events.transport: local is for one process alone, and PostgreSQL may have several: take postgres, \
             rabbitmq or auto",
        ),
        (
            &["kettle.events.transport=kafka"],
            "kettle.events.transport = kafka (from --set): expected auto, local, postgres or rabbitmq",
        ),
        (&["kettle.events.payload=xml"], "kettle.events.payload = xml (from --set): expected json or protobuf"),
        (
            &["spring.cloud.stream.default.content-type=text/plain"],
            "spring.cloud.stream.default.content-type = text/plain (from --set): expected application/remote-event-json or \
             application/binary+protostuff",
        ),
        (
            &["hawkbit.events.remote.destination="],
            "hawkbit.events.remote.destination =  (from --set): expected a name of 1 to 255 bytes",
        ),
    ] {
        assert_eq!(problems("", &[], set), [expected], "{set:?}");
    }
}
