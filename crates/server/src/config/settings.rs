//! The configuration as the rest of the server reads it: plain data, checked.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::{database::Database, rabbitmq::Rabbitmq, value::Secret};

#[derive(Clone, Debug)]
pub struct Config {
    pub roles: Roles,
    pub server: Server,
    pub security: Security,
    pub log: Log,
    /// Folder of everything kept on disk by default.
    pub data: PathBuf,
    pub database: Database,
    /// Folder of the artifacts.
    pub artifacts: PathBuf,
    /// Those that are on; hawkBit's own come first.
    pub artifact_urls: Vec<ArtifactUrl>,
    /// `None`: there is no broker. There may be one and nothing that needs it.
    pub rabbitmq: Option<Rabbitmq>,
    pub events: Events,
    pub dmf: Dmf,
    pub cluster: Cluster,
    pub cache: Cache,
    pub ddi: Ddi,
    pub controller: Controller,
    pub openapi: OpenApi,
    pub repository: Repository,
    pub clients: Clients,
    pub limits: Limits,
    pub logins: Logins,
    pub sessions: Sessions,
    /// `None`: there is none.
    pub redis: Option<Redis>,
    pub auto_assign: AutoAssign,
    pub auto_cleanup: AutoCleanup,
    pub rollouts: Rollouts,
    pub access: Access,
    pub quotas: Quotas,
    /// By name.
    pub users: Vec<User>,
}

impl Config {
    /// Whether anyone can log in with the password that is written in the manual.
    pub fn default_admin_in_use(&self) -> bool {
        self.users.iter().any(|user| user.name == "admin" && matches!(user.password.expose(), "{noop}admin" | "admin"))
    }
}

/// Which APIs this node serves. Schedulers have settings of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub mgmt: bool,
    pub ddi: bool,
    /// Only ever with a broker.
    pub dmf: bool,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub bind: IpAddr,
    pub port: u16,
    /// Without a slash at its end.
    pub public_url: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub basic_realm: String,
    pub max_body_bytes: usize,
    pub header_timeout: Duration,
    pub shutdown_grace: Duration,
    /// `None`: as long as suits the database.
    pub shutdown_drain: Option<Duration>,
    /// `None`: plain HTTP.
    pub ssl: Option<Ssl>,
}

impl Roles {
    pub fn names(self) -> Vec<&'static str> {
        let roles = [("mgmt", self.mgmt), ("ddi", self.ddi), ("dmf", self.dmf)];
        roles.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
    }
}

/// How this node lives with others on the same database.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What other nodes and people are shown. `None`: the address it listens on.
    pub address: Option<String>,
    pub lease_time: Duration,
    /// Zero: not at all.
    pub write_wait: Duration,
    pub hawkbit_locks: bool,
    pub hawkbit_lock_ttl: Duration,
}

/// TLS; all files are PEM.
#[derive(Clone, Debug)]
pub struct Ssl {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    pub client_auth: ClientAuth,
}

/// Whether clients show a certificate, and whose they may be.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    None,
    Want(PathBuf),
    Need(PathBuf),
}

/// What is refused before anyone logs in, and what pages from elsewhere may do; semantics C1, E2.
#[derive(Clone, Debug)]
pub struct Security {
    pub require_ssl: bool,
    /// Empty: any.
    pub allowed_host_names: Vec<String>,
    pub http_firewall_ignored_paths: Vec<String>,
    pub cors: Cors,
}

#[derive(Clone, Debug)]
pub struct Cors {
    pub enabled: bool,
    pub allowed_origins: Vec<String>,
    pub allowed_headers: Vec<String>,
    pub allowed_methods: Vec<String>,
    pub exposed_headers: Vec<String>,
    pub disable_for_ddi_api: bool,
}

impl Server {
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }

    /// The address of this server where no request says one: the public one, else that it listens on.
    pub fn url(&self) -> String {
        let host = match self.bind {
            any if any.is_unspecified() => "localhost".to_owned(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        self.public_url.clone().unwrap_or_else(|| match (self.ssl.is_some(), self.port) {
            (false, 80) => format!("http://{host}"),
            (true, 443) => format!("https://{host}"),
            (false, port) => format!("http://{host}:{port}"),
            (true, port) => format!("https://{host}:{port}"),
        })
    }
}

#[derive(Clone, Debug)]
pub struct Log {
    /// Directives of `tracing_subscriber::EnvFilter`, not checked yet.
    pub filter: String,
    pub format: LogFormat,
    pub requests: RequestLog,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Which requests get a line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestLog {
    Off,
    Errors,
    #[default]
    Management,
    All,
}

/// An address under which files are offered, semantics A5. What is `None` is this server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactUrl {
    pub rel: String,
    pub protocol: Option<String>,
    pub hostname: Option<String>,
    pub ip: Option<String>,
    pub port: Option<u16>,
    pub supports: Apis,
    /// With placeholders.
    pub template: String,
}

/// To which APIs' clients it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apis {
    pub ddi: bool,
    pub dmf: bool,
    pub mgmt: bool,
}

/// The device API over AMQP, semantics D.
#[derive(Clone, Debug)]
pub struct Dmf {
    pub receiver_queue: String,
    pub authentication_receiver_queue: String,
    pub dead_letter_exchange: String,
    pub dead_letter_queue: String,
    pub dead_letter_ttl: Duration,
    /// Whether exchanges, queues and bindings are declared.
    pub auto_declare: bool,
    /// Tenants, in upper case, with virtual hosts of their own: no two share one, nor one with all others.
    pub virtual_hosts: Vec<(String, String)>,
    /// Whether only one node at a time takes messages in.
    pub exclusive: bool,
    /// How long a download id can be used.
    pub download_id_ttl: Duration,
}

/// How nodes hear of one another's changes, semantics F1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    pub transport: Transport,
    /// Whether hawkBit's exchanges are used beside Kettle's own.
    pub announce: bool,
    pub fan_out: String,
    /// `None`: nothing is told to services.
    pub service: Option<String>,
    pub payload: Payload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Local,
    Postgres,
    /// Only ever with a broker.
    Rabbitmq,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    #[default]
    Json,
    Protobuf,
}

#[derive(Clone, Debug)]
pub struct Cache {
    /// Zero: caches are off.
    pub ttl: Duration,
    pub targets: u64,
}

/// Authentication of devices, semantics C1.
#[derive(Clone, Debug)]
pub struct Ddi {
    pub controller_id_header: String,
    pub authority_header: String,
    /// Empty: devices may come from anywhere.
    pub trusted_ips: Vec<IpNet>,
    pub authentication: Authentication,
}

/// What a tenant has before it sets its own `authentication.…` configuration.
#[derive(Clone, Debug)]
pub struct Authentication {
    pub header_enabled: bool,
    pub header_authority: String,
    pub targettoken_enabled: bool,
    pub gatewaytoken_enabled: bool,
    pub gatewaytoken_key: Secret,
}

#[derive(Clone, Debug)]
pub struct Controller {
    /// As a tenant would write it, semantics A1; overrides in it are not checked yet.
    pub polling_time: String,
    /// As a tenant would write it.
    pub polling_overdue_time: String,
    pub max_polling_time: Duration,
    pub min_polling_time: Duration,
    pub maintenance_window_poll_count: i32,
}

/// Which APIs have a document.
#[derive(Clone, Copy, Debug)]
pub struct OpenApi {
    pub mgmt: bool,
    pub ddi: bool,
}

#[derive(Clone, Debug)]
pub struct Repository {
    pub poll_persistence_flush_time: Duration,
    pub poll_persistence_queue_size: usize,
    pub eager_poll_persistence: bool,
    pub reject_action_status_for_closed_action: bool,
    pub action_weight_if_absent: i32,
    pub implicit_tenant_create_allowed: bool,
    pub skip_implicit_lock_for_tags: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Clients {
    pub track_remote_ip: bool,
    pub remote_ip_header: String,
}

/// How many requests a client may make, semantics F5.
#[derive(Clone, Debug)]
pub struct Limits {
    pub enabled: bool,
    /// In a second.
    pub reads: u32,
    pub writes: u32,
    pub device_reads: u32,
    pub device_writes: u32,
    /// hawkBit's regular expressions, not checked yet; empty: none.
    pub whitelist: String,
    pub blacklist: String,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// How long logins are refused after failures.
#[derive(Clone, Debug)]
pub struct Logins {
    pub failures_per_user: u32,
    pub failures_per_address: u32,
    pub first_delay: Duration,
    pub longest_delay_per_user: Duration,
    pub longest_delay_per_address: Duration,
}

#[derive(Clone, Debug)]
pub struct Sessions {
    /// Without being used.
    pub idle: Duration,
    pub longest: Duration,
}

/// Redis, and what it is used for.
#[derive(Clone, Debug)]
pub struct Redis {
    /// With user and password.
    pub url: Secret,
    pub timeout: Duration,
    pub prefix: String,
    pub limits: bool,
    pub logins: bool,
    pub sessions: bool,
    pub cache: bool,
}

/// When target filters assign by themselves, semantics A7.
#[derive(Clone, Debug)]
pub struct AutoAssign {
    pub enabled: bool,
    /// From one look whether there is something to do to the next.
    pub fixed_delay: Duration,
    /// From one pass without a cause to the next: of filters about time, and of all; zero for none.
    pub timed_every: Duration,
    pub all_every: Duration,
}

/// The job that deletes old actions, semantics A6. Which are old, tenants say.
#[derive(Clone, Debug)]
pub struct AutoCleanup {
    pub enabled: bool,
    /// From one run to the next.
    pub fixed_delay: Duration,
}

/// The scheduler of rollouts, semantics B7.
#[derive(Clone, Debug)]
pub struct Rollouts {
    pub enabled: bool,
    /// From one look at all active rollouts to the next.
    pub fixed_delay: Duration,
    /// How many rollouts are worked on at the same time.
    pub parallel: usize,
    pub max_actions_per_transaction: u64,
    /// A dynamic rollout that found no new targets looks again after this time.
    pub dynamic_min_involve: Duration,
}

/// How authorities are read, semantics E1.
#[derive(Clone, Debug)]
pub struct Access {
    /// Takes the place of the stock hierarchy; empty: it does not. Not checked yet.
    pub hierarchy: String,
    /// Adds to the stock hierarchy. Not checked yet.
    pub hierarchy_extension: String,
    /// Whether permissions may carry scopes at all, and below: which.
    pub scopes: bool,
    pub target_scopes: bool,
    pub action_scopes: bool,
    pub target_type_scopes: bool,
    pub software_module_scopes: bool,
    pub software_module_type_scopes: bool,
    pub distribution_set_scopes: bool,
    pub distribution_set_type_scopes: bool,
}

/// Limits, semantics E8; 0 or less means unlimited.
#[derive(Clone, Debug)]
pub struct Quotas {
    pub max_status_entries_per_action: i64,
    pub max_attribute_entries_per_target: i64,
    pub max_messages_per_action_status: i64,
    pub max_meta_data_entries_per_software_module: i64,
    pub max_meta_data_entries_per_distribution_set: i64,
    pub max_meta_data_entries_per_target: i64,
    pub max_software_modules_per_distribution_set: i64,
    pub max_software_module_types_per_distribution_set_type: i64,
    pub max_distribution_set_types_per_target_type: i64,
    pub max_artifacts_per_software_module: i64,
    pub max_actions_per_target: i64,
    pub max_rollout_groups_per_rollout: i64,
    pub max_targets_per_rollout_group: i64,
    pub max_target_distribution_set_assignments_per_manual_assignment: i64,
    pub max_targets_per_auto_assignment: i64,
    /// Bytes.
    pub max_artifact_size: i64,
    /// Bytes.
    pub max_artifact_storage: i64,
}

/// A user of the Management API, semantics E2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// With its `{scheme}`; plain text without one.
    pub password: Secret,
    pub roles: Vec<String>,
    pub permissions: Vec<String>,
    pub tenant: Option<String>,
}
