//! Configuration: defaults, `kettle.toml`, environment and flags, merged in this order, each value with its origin.
//! `config.default.toml` holds the defaults and is the manual; `keys` the names, `bind` the types. The environment is
//! handed in and every problem is reported at once. Nothing here prints or logs; no secret leaves unmasked.

mod bind;
mod database;
mod keys;
#[cfg(test)]
mod manual;
mod rabbitmq;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod value;

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use sources::{Findings, Raw, Setting, Settings};

pub use self::{
    rabbitmq::Tls,
    settings::{ClientAuth, Config, Cors, Log, LogFormat, OpenApi, Payload, RequestLog, Ssl, Transport},
    sources::Origin,
};

const DEFAULTS: &str = include_str!("../../config.default.toml");

/// What the command line says. No `Debug`: a value may be a secret.
#[derive(Default, clap::Args)]
pub struct Overrides {
    /// Configuration file [default: ./kettle.toml, else kettle.toml in the data folder]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// IP address to listen on (server.address)
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,
    /// TCP port to listen on (server.port)
    #[arg(long)]
    pub port: Option<u16>,
    /// Data folder (kettle.data)
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Database: postgres://…, sqlite:PATH or a JDBC URL (spring.datasource.url)
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// Which APIs to serve: all, or some of mgmt, ddi and dmf with commas (kettle.roles)
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<String>,
    /// Any other setting, as in the configuration file; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The configuration in force, and what to tell about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Every setting in force, by name.
    pub entries: Vec<Entry>,
    /// For the log at start: settings without effect, unknown environment variables.
    pub warnings: Vec<String>,
}

/// A setting in force, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// Secrets are masked.
    pub value: String,
    pub origin: Origin,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.origin)
    }
}

/// Everything that is wrong with the configuration, a sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// Loads the configuration. `cwd` is where `kettle.toml` is looked for.
pub fn load(args: &Overrides, env: impl Iterator<Item = (String, String)>, cwd: &Path) -> Result<Loaded, ConfigError> {
    let mut findings = Findings::default();
    let mut settings = sources::toml(DEFAULTS, |_| Origin::Default, &mut findings);
    let environment = sources::environment(env, &mut findings);
    let flags = sources::flags(args, &mut findings);
    let data = [&flags, &environment, &settings].into_iter().find_map(data_folder).unwrap_or_default();
    let file = file(args, &cwd.join(data), cwd, &mut findings);

    let mut configured = file;
    configured.extend(environment);
    configured.extend(flags);
    drop_stock_users(&mut settings, &configured);
    settings.extend(configured);
    fill_in_data_folder(&mut settings);
    fill_in_artifact_urls(&mut settings);

    let config = bind::config(&settings, &mut findings);
    if !findings.problems.is_empty() {
        return Err(ConfigError { problems: findings.problems });
    }
    let entry = |(key, Setting { form, raw, origin })| Entry { key, value: raw.shown(form), origin };
    Ok(Loaded { config, entries: settings.into_iter().map(entry).collect(), warnings: findings.warnings })
}

/// Reads the file named on the command line, else the first `kettle.toml` there is.
fn file(args: &Overrides, data: &Path, cwd: &Path, findings: &mut Findings) -> Settings {
    let named = args.config.as_ref().map(|path| cwd.join(path));
    let path =
        named.or_else(|| [cwd, data].map(|folder| folder.join("kettle.toml")).into_iter().find(|path| path.exists()));
    let Some(path) = path else { return Settings::new() };
    match std::fs::read_to_string(&path) {
        Ok(text) => sources::toml(&text, |line| Origin::File { path: path.clone(), line }, findings),
        Err(error) => {
            findings.problems.push(format!("{} cannot be read: {error}", path.display()));
            Settings::new()
        }
    }
}

/// The stock user goes as soon as a user is configured; the one configured may be the stock user, then it keeps the rest.
fn drop_stock_users(defaults: &mut Settings, configured: &Settings) {
    let users: Vec<_> = configured.keys().filter_map(|key| bind::user_of(key)).collect();
    if !users.is_empty() {
        defaults.retain(|key, _| bind::user_of(key).is_none_or(|stock| users.contains(&stock)));
    }
}

fn fill_in_data_folder(settings: &mut Settings) {
    let Some(folder) = data_folder(settings) else { return };
    for setting in settings.values_mut() {
        if let Raw::Text(text) = &mut setting.raw {
            *text = text.replace("${kettle.data}", &folder);
        }
    }
}

/// hawkBit's own artifact URLs are made of each other: `${…}` of one stands for what another says.
fn fill_in_artifact_urls(settings: &mut Settings) {
    let ours = |key: &str| key.starts_with(keys::ARTIFACT_URLS);
    let texts: Vec<_> = settings
        .iter()
        .filter(|(key, _)| ours(key))
        .filter_map(|(key, setting)| match &setting.raw {
            Raw::Text(text) => Some((format!("${{{key}}}"), text.clone())),
            Raw::List(_) => None,
        })
        .collect();
    for setting in settings.iter_mut().filter_map(|(key, setting)| ours(key).then_some(setting)) {
        if let Raw::Text(text) = &mut setting.raw
            && text.contains("${")
        {
            *text = texts.iter().fold(std::mem::take(text), |text, (name, value)| text.replace(name, value));
        }
    }
}

fn data_folder(settings: &Settings) -> Option<String> {
    match &settings.get("kettle.data")?.raw {
        Raw::Text(folder) => Some(folder.clone()),
        Raw::List(_) => None,
    }
}
