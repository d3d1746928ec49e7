//! How often something may be done in a second, counted over all nodes: exactly in Redis, else by each node for itself and
//! by what the others say of their counts. See docs/decisions/013.
//!
//! Alone, a node counts as hawkBit does (semantics.md F5). What is counted, and what the limit is, is the caller's.

mod table;
#[cfg(test)]
mod tests;
mod told;
mod window;

use std::{
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use crate::{
    Events,
    redis::{Redis, Script},
};
use table::Table;
use told::{Line, Told};
use window::{LIFE_MS, SLACK};

const TOPIC: &str = "limits";
const TELL_EVERY: Duration = Duration::from_millis(150);
/// A node with nothing to tell says that it is there, so that others know how many they are.
const HELLO_EVERY: Duration = Duration::from_secs(2);
const SHARDS: usize = 64;
/// Of each shard: 65,536 keys, of about a hundred bytes, in all.
const KEYS_OF_A_SHARD: usize = 1_024;

/// What is counted, as a digest that is the same on all nodes and that nobody can find another text for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    pub fn new(text: &[u8]) -> Key {
        Key(Uuid::new_v5(&Uuid::NAMESPACE_OID, text).as_u64_pair().0)
    }
}

/// One more, and how many there were since the key's second began.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local n = redis.call('INCR', KEYS[1]) \
         if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
         return n",
    )
});

/// The counts of one node.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    started: Instant,
    redis: Option<Redis>,
    shards: Vec<Mutex<Table>>,
    told: Mutex<Told>,
}

impl Limits {
    pub fn new(redis: Option<Redis>) -> Limits {
        let shards = (0..SHARDS).map(|_| Mutex::new(Table::new(KEYS_OF_A_SHARD))).collect();
        Limits(Arc::new(Inner { started: Instant::now(), redis, shards, told: Mutex::default() }))
    }

    /// Counts an attempt, and says whether it may go on: `limit` in a second may, and two more, as with hawkBit.
    pub async fn admit(&self, key: Key, limit: u32) -> bool {
        if let Some(redis) = &self.0.redis {
            let name = format!("limit:{:x}", key.0);
            let life = LIFE_MS.to_string();
            if let Ok(count) = redis.run::<u64>(&COUNT, &[&name], &[&life]).await {
                return count <= u64::from(limit) + SLACK;
            }
        }
        self.admit_at(key, limit, self.now_ms())
    }

    fn admit_at(&self, key: Key, limit: u32, now_ms: u64) -> bool {
        let others = self.told().of(key, now_ms);
        let Some(mut shard) = self.shard(key) else { return true };
        shard.counter(key, now_ms).admit(u64::from(limit), others, now_ms)
    }

    /// Tells the other nodes what is counted here, and hears what they count, for as long as the process lives.
    pub fn share(&self, events: &Events) -> JoinHandle<()> {
        let (limits, events) = (self.clone(), events.clone());
        tokio::spawn(async move {
            let mut heard = events.gossip();
            let mut tick = interval(TELL_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut said = 0;
            loop {
                tokio::select! {
                    gossip = heard.recv() => match gossip {
                        Ok(gossip) if gossip.topic == TOPIC => limits.hear(&gossip.node, &gossip.text),
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                    _ = tick.tick() => {
                        let now = limits.now_ms();
                        let lines = limits.lines(now);
                        if lines.is_empty() && now < said + HELLO_EVERY.as_millis() as u64 {
                            continue;
                        }
                        said = now;
                        for text in told::texts(&lines) {
                            events.say(TOPIC, text);
                        }
                    }
                }
            }
        })
    }

    fn hear(&self, node: &str, text: &str) {
        self.told().hear(node, text, self.now_ms());
    }

    /// What others have to know: of keys that are used so much that it matters.
    fn lines(&self, now_ms: u64) -> Vec<Line> {
        let nodes = self.told().nodes(now_ms);
        let shards = self.0.shards.iter().map(|shard| shard.lock().unwrap_or_else(|e| e.into_inner()));
        shards.flat_map(|shard| shard.busy(nodes, now_ms)).collect()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn shard(&self, key: Key) -> Option<MutexGuard<'_, Table>> {
        let shard = self.0.shards.get(key.0 as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
