//! `kettle serve` and `kettle migrate`: from a configuration to a running node, and back down.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use axum::{Router, routing::get};
use kettle_cluster::{
    Clock, Events, Job, JobContext, Jobs, Lease, Membership,
    membership::{self, About},
    rabbitmq::Transport,
};
use kettle_db::{Db, Engine, migrate};
use kettle_dmf::Dmf;
use kettle_domain::{
    Services, Tenant,
    access::{Logins, failed_logins, sessions},
    actions, artifacts, commands, download_ids,
    error::Kind,
    rollouts, target_filters, targets, tenants, totals,
};
use kettle_rest::{AppState, HttpSettings};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::{
    config::{Config, Loaded},
    health::{self, Health},
    lifecycle::{self, Readiness, Timeouts},
    log, openapi,
    tls::Tls,
    ui, wiring,
};

/// What load balancers are given to notice that a node of a cluster stops.
const DRAIN: Duration = Duration::from_secs(5);
const FOLD_TOTALS_EVERY: Duration = Duration::from_secs(10);
const DROP_UNSENT_EVERY: Duration = Duration::from_secs(3600);
const PRUNE_DOWNLOAD_IDS_EVERY: Duration = Duration::from_secs(60);
const PRUNE_LOGINS_EVERY: Duration = Duration::from_secs(60);
const TIDY_METRICS_EVERY: Duration = Duration::from_secs(5);
const LOOK_AT_SCHEMA_EVERY: Duration = Duration::from_secs(5);

/// Runs the server until it is told to stop.
pub async fn serve(loaded: Loaded) -> anyhow::Result<()> {
    let Loaded { config, warnings, .. } = loaded;
    log::start(&config.log)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    refuse_open_default_user(&config)?;

    let stopped_early = lifecycle::stop_at_once()?;
    let metrics = PrometheusBuilder::new().install_recorder().context("setting up metrics")?;
    let tidying = tokio::spawn(tidy_metrics(metrics.clone()));
    let users = Arc::new(wiring::users(&config)?);
    let redis = wiring::redis(&config)?;
    let broker = wiring::broker(&config)?;
    let counts = wiring::counts(&config, redis.as_ref());
    let limits = wiring::request_limits(&config, counts.clone())?;
    let tls = config.server.ssl.clone().map(Tls::load).transpose()?.map(Arc::new);
    let db = connect(&config).await?;
    let done = migrate::run(&db).await?;
    for migration in &done.applied {
        tracing::info!(migration.version, migration.name, "applied a migration");
    }
    if let migrate::Found::Kettle { version, .. } = done.found
        && version > migrate::known()
    {
        tracing::warn!(version, known = migrate::known(), "the database is a newer Kettle's; this one works beside it");
    }
    totals::rebuild(&db).await.context("correcting the kept totals")?;
    Lease::free_all_alone(&db).await.context("freeing the leases of a server that has died")?;
    membership::forget_all_alone(&db).await.context("forgetting a server that has died")?;
    let node = uuid::Uuid::new_v4().to_string();
    let storage = artifacts::Storage::open(config.artifacts.clone())
        .with_context(|| format!("opening the artifact folder {}", config.artifacts.display()))?;
    let (events, clock) = (Events::waiting(node, config.cluster.write_wait), Clock::system());
    let (settings, rules) = (wiring::settings(&config), wiring::rules(&config)?);
    let services = Services::new(db.clone(), events.clone(), clock.clone(), settings, storage, rules);
    let sharing_views =
        wiring::shares_views(&config, redis.as_ref()).map(|redis| services.views.share(&services, redis));
    artifacts::sweep(&services).await.context("sweeping the artifact folder")?;
    let listener = TcpListener::bind(config.server.listen())
        .await
        .with_context(|| format!("listening on {}", config.server.listen()))?;
    let membership = join(&config, &services, listener.local_addr()?).await?;
    let transport = match wiring::events(&config, broker.as_ref()) {
        Some(settings) => Some(Transport::start(&db, &events, &clock, settings).await.context("joining the broker")?),
        None => None,
    };
    let following = if transport.is_none() { events.follow(&db) } else { None };
    membership.announce();
    let sharing = config.limits.enabled.then(|| counts.share(&events));
    let fold = Job::new("totals-fold", FOLD_TOTALS_EVERY, |ctx, lease| async move { totals::fold(&ctx, &lease).await });
    let unsent = Job::new("service-events-drop", DROP_UNSENT_EVERY, |ctx, lease| async move {
        commands::queue::drop_old(&ctx, &lease).await
    });
    let prune = Job::new("download-ids-prune", PRUNE_DOWNLOAD_IDS_EVERY, |ctx, lease| async move {
        download_ids::prune(&ctx, &lease).await
    });
    let failed = Job::new("failed-logins-prune", PRUNE_LOGINS_EVERY, |ctx, lease| async move {
        failed_logins::prune(&ctx, &lease).await
    });
    let over =
        Job::new("sessions-prune", PRUNE_LOGINS_EVERY, |ctx, lease| async move { sessions::prune(&ctx, &lease).await });
    let telling = transport.as_ref().map(Transport::job);
    let own = [fold, unsent, prune, failed, over].into_iter();
    let own = own.chain(clean_up(&config, &services)).chain(telling).collect();
    let lease_time = config.cluster.lease_time;
    let jobs = Jobs::start(JobContext { db: db.clone(), events: events.clone(), clock, lease_time }, own);
    let rolling_out = config.rollouts.enabled.then(|| rollouts::Scheduler::start(&services));
    let assigning = config.auto_assign.enabled.then(|| target_filters::Scheduler::start(&services));
    let dmf = start_dmf(&config, wiring::dmf(&config, broker.as_ref()), &services).await?;
    let flushing = tokio::spawn(flush_last_seen(services.clone()));
    let renewing = tls.clone().map(|tls| tokio::spawn(tls.renew()));

    let dmf_state = dmf.as_ref().map(Dmf::state);
    let background = Background { dmf, jobs, rolling_out, assigning };
    let readiness = Readiness::new();
    let handing_over = tokio::spawn(background.stop_after(readiness.clone(), db.clone()));
    let state = AppState {
        services: services.clone(),
        logins: Arc::new(Logins::new(users.clone(), wiring::failed_logins(&config, &db, redis.as_ref()))),
        sessions: Arc::new(wiring::sessions(&config, &db, redis.as_ref(), &users)),
        limits: Arc::new(limits),
        http: Arc::new(http(&config)),
    };
    let health =
        Health { services: services.clone(), readiness: readiness.clone(), dmf: dmf_state, told: Arc::default() };
    let router = router(&config, state, health, metrics);
    tracing::info!(
        address = %listener.local_addr()?,
        tls = tls.is_some(),
        database = ?db.engine(),
        data = %config.data.display(),
        mgmt = config.roles.mgmt,
        ddi = config.roles.ddi,
        dmf = config.roles.dmf,
        node = events.node(),
        "Kettle {} is ready",
        env!("CARGO_PKG_VERSION")
    );
    let drain = if db.engine() == Engine::Postgres { DRAIN } else { Duration::ZERO };
    let timeouts = Timeouts {
        header: config.server.header_timeout,
        drain: config.server.shutdown_drain.unwrap_or(drain),
        grace: config.server.shutdown_grace,
    };
    lifecycle::serve(listener, tls, router, readiness, timeouts, stopped_early).await?;

    if handing_over.await.is_err() {
        tracing::error!("the end of the background work had panicked");
    }
    membership.leave().await;
    flushing.abort();
    tidying.abort();
    for sharing in sharing.into_iter().chain(sharing_views) {
        sharing.abort();
    }
    if let Some(renewing) = renewing {
        renewing.abort();
    }
    if let Err(error) = targets::flush_last_seen(&services).await {
        tracing::warn!(%error, "the last polls' times could not be written");
    }
    if let Some(transport) = transport {
        transport.stop().await;
    }
    db.close().await;
    // Not before: it tells the others that this node goes.
    if let Some(following) = following {
        following.abort();
    }
    tracing::info!("stopped");
    Ok(())
}

/// Applies what is missing in the database, or prints it.
pub async fn migrate(config: &Config, dry_run: bool) -> anyhow::Result<()> {
    let settings = database(config);
    let outcome = if dry_run {
        migrate::plan_at(&settings).await?
    } else {
        let db = connect(config).await?;
        let outcome = migrate::run(&db).await?;
        db.close().await;
        outcome
    };
    match outcome.found {
        migrate::Found::Empty => println!("The database is empty."),
        migrate::Found::Hawkbit(Some(ref version)) => println!("The database is hawkBit's, schema {version}."),
        migrate::Found::Hawkbit(None) => println!("The database has hawkBit's tables, without their history."),
        migrate::Found::Kettle { version, .. } => println!("The database is Kettle's, schema {version}."),
    }
    let verb = if dry_run { "Would apply" } else { "Applied" };
    for migration in &outcome.applied {
        println!("{verb} {:04} {}", migration.version, migration.name);
        if dry_run {
            println!("{}", migration.sql(settings.engine()));
        }
    }
    if outcome.applied.is_empty() {
        println!("Nothing to apply.");
    }
    Ok(())
}

fn refuse_open_default_user(config: &Config) -> anyhow::Result<()> {
    if config.server.bind.is_loopback() || !config.roles.mgmt || !config.default_admin_in_use() {
        return Ok(());
    }
    bail!(
        "refusing to listen on {} with the default password of the user admin. Set a password, for example \
         hawkbit.security.user.admin.password={{noop}}… in kettle.toml or HAWKBIT_SECURITY_USER_ADMIN_PASSWORD in the \
         environment, or configure other users",
        config.server.bind
    )
}

fn database(config: &Config) -> kettle_db::Settings {
    kettle_db::Settings {
        url: config.database.connection_url().expose().to_owned(),
        max_connections: config.database.max_connections,
        acquire_timeout: config.database.acquire_timeout,
        idle_in_transaction: config.cluster.lease_time,
    }
}

pub async fn connect(config: &Config) -> anyhow::Result<Db> {
    Db::connect(&database(config))
        .await
        .with_context(|| format!("opening the {:?} database {}", config.database.engine, config.database.url))
}

fn http(config: &Config) -> HttpSettings {
    HttpSettings {
        public_url: config.server.public_url.clone(),
        trusted_proxies: config.server.trusted_proxies.clone(),
        basic_realm: config.server.basic_realm.clone(),
        max_body: config.server.max_body_bytes,
        remote_ip_header: config.clients.remote_ip_header.clone(),
        track_remote_ip: config.clients.track_remote_ip,
        proxy_headers: wiring::proxy_headers(config),
        ddi_trusted_ips: config.ddi.trusted_ips.clone(),
        require_ssl: config.security.require_ssl,
        allowed_hosts: config.security.allowed_host_names.clone(),
        firewall_ignored_paths: config.security.http_firewall_ignored_paths.clone(),
        cors: wiring::cors(&config.security.cors),
    }
}

fn router(config: &Config, state: AppState, health: Health, metrics: PrometheusHandle) -> Router {
    let health = health::routes(health).route("/metrics", get(async move || metrics.render()));
    let mut apis = Router::new();
    if config.roles.mgmt {
        apis = apis.merge(kettle_mgmt::routes());
    }
    if config.roles.ddi {
        apis = apis.merge(kettle_ddi::routes()).route(kettle_ddi::BY_DOWNLOAD_ID, get(kettle_ddi::by_download_id));
    }
    let own = ui::routes().merge(health).merge(openapi::routes(config.openapi));
    kettle_rest::finish(apis.merge(own), state, request_log(config))
}

fn request_log(config: &Config) -> kettle_rest::RequestLog {
    match config.log.requests {
        crate::config::RequestLog::Off => kettle_rest::RequestLog::Off,
        crate::config::RequestLog::Errors => kettle_rest::RequestLog::Errors,
        crate::config::RequestLog::Management => kettle_rest::RequestLog::Management,
        crate::config::RequestLog::All => kettle_rest::RequestLog::All,
    }
}

/// What works by itself.
struct Background {
    dmf: Option<Dmf>,
    jobs: Jobs,
    rolling_out: Option<rollouts::Scheduler>,
    assigning: Option<target_filters::Scheduler>,
}

impl Background {
    /// Hands all work over as soon as the node is told to stop, while requests are still taken; or when the database has become
    /// one that this version can't work with.
    async fn stop_after(self, readiness: Readiness, db: Db) {
        tokio::select! {
            () = readiness.ended() => {}
            () = outgrown(&db) => {}
        }
        let dmf = async {
            if let Some(dmf) = self.dmf {
                dmf.stop().await;
            }
        };
        let rolling_out = async {
            if let Some(rolling_out) = self.rolling_out {
                rolling_out.stop().await;
            }
        };
        let assigning = async {
            if let Some(assigning) = self.assigning {
                assigning.stop().await;
            }
        };
        tokio::join!(dmf, rolling_out, assigning, self.jobs.stop());
    }
}

/// Returns when a newer version has changed the database in a way that this one does not understand.
async fn outgrown(db: &Db) {
    loop {
        tokio::time::sleep(LOOK_AT_SCHEMA_EVERY).await;
        match migrate::check(db).await {
            // Who asks for this node's health is told.
            Ok(()) | Err(migrate::MigrateError::Database(_)) => {}
            Err(error) => {
                tracing::error!("{error}; this node leaves all jobs to others and is to be replaced");
                return;
            }
        }
    }
}

/// What is measured waits in memory to be summed up, whether anybody asks for it or not.
async fn tidy_metrics(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(TIDY_METRICS_EVERY).await;
        metrics.run_upkeep();
    }
}

/// Makes this node known to the others.
async fn join(config: &Config, services: &Services, listening: SocketAddr) -> anyhow::Result<Membership> {
    let about = About {
        address: config.cluster.address.clone().unwrap_or_else(|| listening.to_string()),
        roles: config.roles.names().join(","),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: migrate::known(),
    };
    let Services { db, events, clock, .. } = services;
    Membership::join(db, events, clock, about).await.context("joining the other nodes")
}

/// Prints the nodes of the cluster.
pub async fn nodes(config: &Config) -> anyhow::Result<()> {
    let db = connect(config).await?;
    let nodes = membership::nodes(&db).await.context("reading the nodes; has `kettle migrate` been run?")?;
    db.close().await;
    if nodes.is_empty() {
        println!("No node runs on this database.");
        return Ok(());
    }
    println!(
        "{:<36}  {:<5}  {:<21}  {:<12}  {:<8}  {:<20}  LAG",
        "NODE", "STATE", "ADDRESS", "ROLES", "VERSION", "SINCE"
    );
    for node in nodes {
        let state = if node.alive { "alive" } else { "lost" };
        let since =
            jiff::Timestamp::from_millisecond(node.started_at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ");
        let About { address, roles, version, .. } = node.about;
        println!(
            "{:<36}  {state:<5}  {address:<21}  {roles:<12}  {version:<8}  {since:<20}  {} ms",
            node.id, node.event_lag
        );
    }
    Ok(())
}

/// DMF, if this node serves it. Over HTTP a tenant comes to be with its first user's request; devices of gateways may come
/// before that, so the tenants of all users are made sure of.
async fn start_dmf(
    config: &Config,
    settings: Option<kettle_dmf::Settings>,
    services: &Arc<Services>,
) -> anyhow::Result<Option<Dmf>> {
    let Some(settings) = settings else { return Ok(None) };
    for tenant in config.users.iter().filter_map(|user| user.tenant.as_deref()) {
        match tenants::ensure(services, &Tenant::new(tenant)).await {
            Err(error) if error.kind != Kind::TenantNotExists => {
                return Err(error).context("creating the tenants of users");
            }
            _ => {}
        }
    }
    Ok(Some(Dmf::start(services, settings)))
}

/// The job that deletes the actions that tenants want to be rid of.
fn clean_up(config: &Config, services: &Arc<Services>) -> Option<Job> {
    let services = services.clone();
    let job = Job::new("action-cleanup", config.auto_cleanup.fixed_delay, move |_, lease| {
        let services = services.clone();
        async move { actions::clean_up(&services, &lease).await }
    });
    config.auto_cleanup.enabled.then_some(job)
}

async fn flush_last_seen(services: Arc<Services>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(services.settings.poll_persistence_flush) => {}
            () = services.last_seen.filled() => {}
        }
        if let Err(error) = targets::flush_last_seen(&services).await {
            tracing::warn!(cause = ?error.cause, "the times of the last polls could not be written; they are tried again");
        }
    }
}
