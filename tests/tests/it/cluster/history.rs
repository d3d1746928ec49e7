//! Histories: operators and devices at work for a while, all they were told written down, while nodes, database and broker
//! fail at random. Afterwards nothing that was acknowledged is lost, nothing happened twice, and no answer was old.
//!
//! The moments are random by a seed, which a failure prints; `KETTLE_SEED` repeats one, as far as the machine does.

mod accidents;
mod checks;
mod commands;
mod devices;
mod gateway;
mod operators;
mod record;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rand::Rng as _;

use super::soak;
use crate::harness::{Broker, Client, Cluster, Gateway, Redis, linger, seeded};
use record::{Record, Target};

const NODES: usize = 3;
/// How long nodes and others fail, where no long run is wanted.
const SHORT: Duration = Duration::from_secs(20);
/// How many times as long, if little was done by then.
const LONGER: u32 = 4;
/// A client waits no longer for an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// From the last failure until all that was begun is done.
const QUIET: Duration = Duration::from_secs(90);
const DEVICES: usize = 20;
const THINGS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_done_twice_or_old_while_all_kinds_of_things_fail() {
    run(seed(), duration(), &[]).await;
}

/// The broker is one of what fails.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_done_twice_or_old_where_events_go_over_the_broker() {
    run(seed(), duration(), &["kettle.events.transport=rabbitmq"]).await;
}

fn seed() -> u64 {
    let seed = std::env::var("KETTLE_SEED").ok().map(|seed| seed.parse().expect("KETTLE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    eprintln!("KETTLE_SEED={seed}");
    seed
}

fn duration() -> Duration {
    soak().map_or(SHORT, |minutes| Duration::from_secs(minutes * 60))
}

/// What operators, devices and gateways share.
struct World {
    seed: u64,
    /// How long things fail.
    duration: Duration,
    /// Through the load balancer.
    client: Client,
    /// Past it, by node.
    nodes: Vec<Client>,
    targets: Vec<Arc<Target>>,
    record: Record,
    /// No work is begun any more; what was begun is ended.
    ending: AtomicBool,
    /// All is done.
    over: AtomicBool,
}

impl World {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// `more` are settings of all nodes. Every other seed has a Redis, in which nodes share what polls are answered from.
async fn run(seed: u64, duration: Duration, more: &[&str]) {
    let redis = (seed % 2 == 1).then(Redis::start);
    let of_redis = redis.as_ref().map(|redis| [&redis.settings()[..], &["kettle.redis.use=cache".to_owned()]].concat());
    let of_redis = of_redis.unwrap_or_default();
    let more: Vec<&str> = more.iter().copied().chain(of_redis.iter().map(String::as_str)).collect();
    let broker = Broker::start();
    let host = broker.virtual_host();
    let mut cluster = Cluster::of(NODES).on_its_own_postgres().on_broker(&host).with(&SETTINGS).with(&more).start();
    let client = cluster.client().clone();
    client.allow_devices().await;
    client.configure("repository.actions.autoclose.enabled", true).await;
    let devices: Vec<Arc<Target>> = (0..DEVICES).map(|n| Arc::new(Target::new(&format!("d{n:02}"), false))).collect();
    for device in &devices {
        client.target(&device.id).await;
    }
    let things: Vec<Arc<Target>> = (0..THINGS).map(|n| Arc::new(Target::new(&format!("thing-{n}"), true))).collect();
    let registering = Gateway::connect(&host, gateway::EXCHANGE).await;
    registering.until_heard().await;
    registering.register(&things.iter().map(|thing| thing.id.as_str()).collect::<Vec<_>>()).await;
    registering.leave().await;

    let world = Arc::new(World {
        seed,
        duration,
        client: Client::with_patience(cluster.balancer.port, ANSWER),
        nodes: cluster.nodes.iter().map(|node| Client::with_patience(node.port, ANSWER)).collect(),
        targets: devices.iter().chain(&things).cloned().collect(),
        record: Record::default(),
        ending: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let mut working = Vec::new();
    for number in 0..3 {
        working.push(tokio::spawn(operators::assign(world.clone(), number)));
    }
    for number in 0..2 {
        working.push(tokio::spawn(operators::roll_out(world.clone(), number)));
    }
    let mut acting: Vec<_> = devices.iter().map(|it| tokio::spawn(devices::live(world.clone(), it.clone()))).collect();
    acting.push(tokio::spawn(gateway::live(world.clone(), host.url())));

    // On a slow machine for longer, until enough is done to prove something.
    let goes_on = |since: Duration| since < duration || (since < duration * LONGER && !checks::is_enough(&world));
    accidents::happen(&mut cluster, (&broker, redis.as_ref()), seeded(seed), goes_on).await;
    cluster.balancer.until_in_use(NODES);
    world.ending.store(true, Ordering::Relaxed);
    for done in join_all(working).await {
        done.unwrap();
    }
    let store = cluster.store().await;
    let begin = Instant::now();
    let unread = || (host.depth(gateway::QUEUE) != Some(0)).then(|| "what the gateway has not read".to_owned());
    while let Some(left) = checks::under_way(&store).await.or_else(unread) {
        if begin.elapsed() > QUIET {
            world.record.violated(format!("after {QUIET:?} this is still under way: {left}"));
            break;
        }
        linger(Duration::from_millis(100)).await;
    }
    world.over.store(true, Ordering::Relaxed);
    for done in join_all(acting).await {
        done.unwrap();
    }
    linger(Duration::from_millis(500)).await;
    let logs: Vec<String> = cluster.nodes.iter().map(|node| node.log_text()).collect();
    checks::all(&world, &store, &logs).await;
}

/// The jobs of a node that dies are to go on while the test lasts. And a late word about an action that has ended is to be no
/// part of its history, which it is by default where it comes over AMQP.
const SETTINGS: [&str; 2] =
    ["kettle.cluster.lease-time=4s", "hawkbit.server.repository.rejectActionStatusForClosedAction=true"];
