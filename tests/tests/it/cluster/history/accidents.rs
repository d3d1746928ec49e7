//! What fails, one after the other and now and then two at once, each mended before the next.

use std::time::{Duration, Instant};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::harness::{Broker, Cluster, Redis, linger};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accident {
    /// kill -9, and a start some time later.
    Kill,
    /// SIGTERM, and a start.
    Stop,
    /// SIGSTOP for less than its leases last, or for longer.
    Nap,
    Sleep,
    /// Of its way to the database.
    Cut,
    Silence,
    Slow,
    /// Of its way to the broker.
    CutFromBroker,
    /// Of all.
    Database,
    Broker,
    /// Killed, or silent, where there is one.
    Redis,
    RedisHangs,
}

const ALL: [Accident; 12] = [
    Accident::Kill,
    Accident::Stop,
    Accident::Nap,
    Accident::Sleep,
    Accident::Cut,
    Accident::Silence,
    Accident::Slow,
    Accident::CutFromBroker,
    Accident::Database,
    Accident::Broker,
    Accident::Redis,
    Accident::RedisHangs,
];

/// What nodes share beside the database.
type Shared<'a> = (&'a Broker, Option<&'a Redis>);

pub async fn happen(cluster: &mut Cluster, shared: Shared<'_>, mut random: StdRng, goes_on: impl Fn(Duration) -> bool) {
    let begin = Instant::now();
    // Each kind comes at least once in a while.
    let mut bag: Vec<Accident> = Vec::new();
    while goes_on(begin.elapsed()) {
        linger(Duration::from_millis(random.random_range(200..1500))).await;
        if bag.is_empty() {
            bag = ALL.to_vec();
            let redis = |it: &Accident| matches!(it, Accident::Redis | Accident::RedisHangs);
            bag.retain(|it| shared.1.is_some() || !redis(it));
        }
        let accident = bag.swap_remove(random.random_range(0..bag.len()));
        let nodes: Vec<usize> = (0..cluster.nodes.len()).collect();
        let node = *nodes.choose(&mut random).expect("nodes");
        let other = *nodes.choose(&mut random).expect("nodes");
        let other = Some(other).filter(|other| *other != node && random.random_bool(0.3));
        let long = Duration::from_millis(random.random_range(300..2500));
        eprintln!("{:6.1?}: {accident:?} of {node}, and {other:?} pauses", begin.elapsed().as_secs_f64());
        if let Some(other) = other {
            cluster.nodes[other].pause();
        }
        happens(cluster, shared, accident, node, long).await;
        if let Some(other) = other {
            cluster.nodes[other].resume();
        }
    }
}

async fn happens(
    cluster: &mut Cluster,
    (broker, redis): Shared<'_>,
    accident: Accident,
    number: usize,
    long: Duration,
) {
    let node = &mut cluster.nodes[number];
    match accident {
        Accident::Kill => {
            node.kill9();
            linger(long).await;
            tokio::task::block_in_place(|| node.restart());
        }
        Accident::Stop => {
            tokio::task::block_in_place(|| node.stop());
            linger(long).await;
            tokio::task::block_in_place(|| node.restart());
        }
        Accident::Nap | Accident::Sleep => {
            node.pause();
            linger(if accident == Accident::Sleep { long + Duration::from_secs(4) } else { long }).await;
            node.resume();
        }
        Accident::Cut | Accident::Silence | Accident::Slow => {
            match accident {
                Accident::Cut => node.database.cut(),
                Accident::Silence => node.database.silence(),
                _ => node.database.slow(Duration::from_millis(30)),
            }
            linger(long * 2).await;
            node.database.mend();
        }
        Accident::CutFromBroker => {
            let link = node.broker.as_ref().expect("a broker");
            link.cut();
            linger(long).await;
            link.mend();
        }
        Accident::Database => {
            let postgres = cluster.database.server.clone().expect("a PostgreSQL of its own");
            tokio::task::block_in_place(|| postgres.crash());
            linger(long).await;
            tokio::task::block_in_place(|| postgres.restart());
        }
        Accident::Broker => {
            tokio::task::block_in_place(|| broker.kill9());
            linger(long).await;
            tokio::task::block_in_place(|| broker.restart());
        }
        Accident::Redis => {
            let redis = redis.expect("a Redis");
            tokio::task::block_in_place(|| redis.kill9());
            linger(long).await;
            tokio::task::block_in_place(|| redis.restart());
        }
        Accident::RedisHangs => {
            let redis = redis.expect("a Redis");
            redis.pause();
            linger(long).await;
            redis.resume();
        }
    }
}
