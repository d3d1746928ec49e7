//! How nodes hear of one another's changes: in one process, by the database, or over the broker.

use super::{
    super::{
        database::Engine,
        settings::{Events, Payload, Transport},
        value,
    },
    Reader, dmf,
};

/// `broker`: whether there is one.
pub(super) fn events(read: &mut Reader<'_>, engine: Engine, broker: bool) -> Events {
    let asked = read.one("kettle.events.transport", transport);
    let remote = read.optional("hawkbit.events.remote.enabled", value::boolean).unwrap_or(false);
    let service = read.one("hawkbit.events.remote.service.destination", dmf::name);
    let services = read.one("hawkbit.events.remote-service-enabled", value::boolean);
    let of_spring = read.one("spring.cloud.stream.default.content-type", content_type);
    if asked.is_none() && remote && !broker {
        let warning = "hawkbit.events.remote.enabled has no effect: there is no broker. Set spring.rabbitmq.host or \
                       spring.rabbitmq.addresses";
        read.findings.warnings.push(warning.to_owned());
    }
    let transport = match (asked, engine) {
        (Some(asked), _) => asked,
        (None, _) if remote && broker => Transport::Rabbitmq,
        (None, Engine::Sqlite) => Transport::Local,
        (None, Engine::Postgres) => Transport::Postgres,
    };
    let problem = match (transport, engine) {
        (Transport::Rabbitmq, _) if !broker => {
            Some("rabbitmq needs a broker: set spring.rabbitmq.host or spring.rabbitmq.addresses")
        }
        (Transport::Postgres, Engine::Sqlite) => {
            Some("postgres needs a PostgreSQL database: set spring.datasource.url, or take local or auto")
        }
        (Transport::Local, Engine::Postgres) => {
            Some("local is for one process alone, and PostgreSQL may have several: take postgres, rabbitmq or auto")
        }
        _ => None,
    };
    read.findings.problems.extend(problem.map(|problem| format!("kettle.events.transport: {problem}")));
    Events {
        transport,
        announce: read.one("kettle.events.announce", value::boolean),
        fan_out: read.one("hawkbit.events.remote.destination", dmf::name),
        service: services.then_some(service),
        payload: read.optional("kettle.events.payload", payload).unwrap_or(of_spring),
    }
}

/// `None`: whatever fits.
fn transport(text: &str) -> Result<Option<Transport>, String> {
    match text {
        "auto" => Ok(None),
        "local" => Ok(Some(Transport::Local)),
        "postgres" => Ok(Some(Transport::Postgres)),
        "rabbitmq" => Ok(Some(Transport::Rabbitmq)),
        _ => Err("expected auto, local, postgres or rabbitmq".to_owned()),
    }
}

fn payload(text: &str) -> Result<Payload, String> {
    match text {
        "json" => Ok(Payload::Json),
        "protobuf" => Ok(Payload::Protobuf),
        _ => Err("expected json or protobuf".to_owned()),
    }
}

fn content_type(text: &str) -> Result<Payload, String> {
    match text {
        "application/remote-event-json" => Ok(Payload::Json),
        "application/binary+protostuff" => Ok(Payload::Protobuf),
        _ => Err("expected application/remote-event-json or application/binary+protostuff".to_owned()),
    }
}
