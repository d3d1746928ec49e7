//! Where log lines go, and in what form.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The client of AMQP calls each refusal an error, also those that this server asks for and handles. A filter may say
/// otherwise.
const QUIET: &str = "lapin=off";

/// Starts logging to standard output.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.filter));
    let filter = filter.with_context(|| format!("kettle.log.filter = {}", log.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
