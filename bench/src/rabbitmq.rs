//! A private RabbitMQ: in the scratch folder, on free ports of 127.0.0.1, as the Debian package leaves it otherwise
//! (durable queues on disk), gone with its guard.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lapin::{Connection, ConnectionProperties};
use tokio::time::sleep;

use crate::load::now;
use crate::process::{Process, StopSignal, free_port, owner};

const START_WITHIN: Duration = Duration::from_secs(60);
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

pub struct RabbitMq {
    // Dropped in this order: the broker before what keeps the names of its nodes.
    broker: Process,
    _names: Process,
    pub port: u16,
}

impl RabbitMq {
    pub async fn start(scratch: &Path) -> Result<Self> {
        let owner = owner("rabbitmq")?;
        let [port, distribution, names] = [free_port()?, free_port()?, free_port()?];
        let folder = scratch.join(format!("rabbitmq-{port}"));
        fs::create_dir(&folder)?;
        let path = |name: &str| folder.join(name).display().to_string();
        fs::write(path("rabbitmq.conf"), format!("listeners.tcp.1 = 127.0.0.1:{port}\n"))?;
        fs::write(path("enabled_plugins"), "[].\n")?;
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group))?;
        }
        let program = |name: &str| {
            let mut command = Command::new(name);
            command.current_dir(&folder).env("HOME", &folder);
            command.env("ERL_EPMD_PORT", names.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let mut epmd = program("epmd");
        epmd.args(["-port", &names.to_string(), "-address", "127.0.0.1"]);
        let names = Process::start("epmd", &mut epmd, scratch, StopSignal::Terminate)?;
        let mut server = program(SERVER);
        server
            .env("RABBITMQ_NODENAME", format!("kettle-bench-{port}@localhost"))
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", path("none"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("mnesia"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            // The script then becomes the broker instead of watching over it.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput -kernel inet_dist_use_interface {127,0,0,1}");
        let mut broker = Process::start("rabbitmq", &mut server, scratch, StopSignal::Terminate)?;
        let url = url(port);
        let started = now();
        while let Err(error) = Connection::connect(&url, ConnectionProperties::default()).await {
            broker.check_running()?;
            if started.elapsed() > START_WITHIN {
                bail!("RabbitMQ wasn't ready within {START_WITHIN:?} ({error}):\n{}", broker.log_tail());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(Self { broker, _names: names, port })
    }

    pub async fn connect(&self) -> Result<Connection> {
        let connection = Connection::connect(&url(self.port), ConnectionProperties::default()).await;
        connection.with_context(|| format!("connecting to RabbitMQ:\n{}", self.broker.log_tail()))
    }
}

fn url(port: u16) -> String {
    format!("amqp://guest:guest@127.0.0.1:{port}/%2F")
}
