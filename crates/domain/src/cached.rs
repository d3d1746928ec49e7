//! What was read from the database and is kept until an event says that it has changed.
//!
//! A read that was under way when the event came must not put the older state back: each shard of the keys counts drops, and
//! what was read is kept only if none happened since the read began. Counting and keeping are one step, so that nobody
//! is answered with what was dropped meanwhile. Checked by the model of invalidation (`tests/tests/it/model`).

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use kettle_cluster::Events;
use moka::sync::Cache as Moka;
use tokio::{
    sync::{Mutex as Turn, MutexGuard as TurnGuard},
    time::timeout,
};

/// A bounded cache whose entries are dropped by events. Whether it may be answered from is for `Events::whole` to say.
pub(crate) struct Cached<K, V> {
    kept: Moka<K, V>,
    drops: Box<[Mutex<u64>]>,
    /// Who reads.
    turns: Box<[Turn<()>]>,
    hasher: RandomState,
}

/// Who waits for longer than this for what another reads, reads itself.
const LONGEST_TURN: Duration = Duration::from_millis(200);

/// A read of the database that began at some time.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    shard: usize,
    drops: u64,
}

impl<K, V> Cached<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Keeps at most `capacity` entries, and none longer than `live`. Keys of one of the `shards` are dropped together, as far
    /// as reads under way are concerned.
    pub fn new(capacity: u64, live: Duration, shards: usize) -> Cached<K, V> {
        Cached {
            kept: Moka::builder().max_capacity(capacity).time_to_live(live).build(),
            drops: (0..shards.max(1)).map(|_| Mutex::new(0)).collect(),
            turns: (0..shards.max(1)).map(|_| Turn::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        self.kept.get(key)
    }

    /// To be called before what is to be kept is read.
    pub fn begin(&self, key: &K) -> Reading {
        let shard = self.shard(key);
        Reading { shard, drops: *self.drops(shard) }
    }

    pub fn keep(&self, reading: Reading, key: K, value: V) {
        let drops = self.drops(reading.shard);
        if *drops == reading.drops {
            self.kept.insert(key, value);
        }
    }

    /// What is kept, while the caches may be answered from, or else what `read` finds. Of those who miss a key at the same time
    /// one reads it and the others wait: one that all ask for costs one read when its time is over.
    pub async fn get_or_read<E>(
        &self,
        events: &Events,
        key: &K,
        read: impl AsyncFnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        K: Clone,
    {
        // In this order: what is found while no event can be missed is not older than the question.
        let get = || events.whole().then(|| self.get(key)).flatten();
        if let Some(kept) = get() {
            return Ok(kept);
        }
        let keeps = events.whole() && self.kept.policy().max_capacity() != Some(0);
        let _turn = if keeps { timeout(LONGEST_TURN, self.turn(key)).await.ok() } else { None };
        if let Some(kept) = get() {
            return Ok(kept);
        }
        let reading = self.begin(key);
        let value = read().await?;
        self.keep(reading, key.clone(), value.clone());
        Ok(value)
    }

    pub fn drop_one(&self, key: &K) {
        let mut drops = self.drops(self.shard(key));
        *drops += 1;
        self.kept.invalidate(key);
    }

    pub fn drop_all(&self) {
        for shard in 0..self.drops.len() {
            *self.drops(shard) += 1;
        }
        self.kept.invalidate_all();
    }

    fn shard(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % self.drops.len() as u64).unwrap_or(0)
    }

    #[expect(clippy::indexing_slicing, reason = "shards are numbers below their count")]
    async fn turn(&self, key: &K) -> TurnGuard<'_, ()> {
        self.turns[self.shard(key)].lock().await
    }

    #[expect(clippy::indexing_slicing, reason = "shards are numbers below their count")]
    fn drops(&self, shard: usize) -> MutexGuard<'_, u64> {
        self.drops[shard].lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> Cached<&'static str, u32> {
        Cached::new(10, Duration::from_secs(60), 4)
    }

    #[test]
    fn what_was_read_is_kept_until_it_is_dropped() {
        let cache = cache();
        cache.keep(cache.begin(&"a"), "a", 1);
        assert_eq!(cache.get(&"a"), Some(1));
        cache.drop_one(&"a");
        assert_eq!(cache.get(&"a"), None);
        cache.keep(cache.begin(&"a"), "a", 2);
        cache.drop_all();
        assert_eq!(cache.get(&"a"), None);
    }

    #[test]
    fn a_read_that_overlaps_a_drop_is_not_kept() {
        let cache = cache();
        let (one, all) = (cache.begin(&"a"), cache.begin(&"b"));
        cache.drop_one(&"a");
        cache.keep(one, "a", 1);
        assert_eq!(cache.get(&"a"), None);
        cache.drop_all();
        cache.keep(all, "b", 1);
        assert_eq!(cache.get(&"b"), None);
    }

    /// Ten ask at once; how often it was read, by a read that takes as long.
    async fn reads(cache: &Cached<&'static str, u32>, takes: Duration) -> u32 {
        let (events, read) = (Events::new("a".into()), Mutex::new(0));
        let ask = || {
            cache.get_or_read(&events, &"a", async || {
                *read.lock().unwrap() += 1;
                tokio::time::sleep(takes).await;
                Ok::<_, ()>(7)
            })
        };
        let answers = futures_util::future::join_all((0..10).map(|_| ask())).await;
        assert_eq!(answers, [Ok(7); 10]);
        read.into_inner().unwrap()
    }

    #[tokio::test]
    async fn of_those_who_miss_a_key_one_reads_it() {
        let cache = cache();
        assert_eq!(reads(&cache, Duration::from_millis(1)).await, 1);
        assert_eq!(reads(&cache, Duration::ZERO).await, 0, "it is kept");
        cache.drop_all();
        assert_eq!(reads(&cache, LONGEST_TURN * 2).await, 10, "none waits for long");
        let nothing_kept = Cached::new(0, Duration::from_secs(60), 1);
        assert_eq!(reads(&nothing_kept, Duration::from_millis(1)).await, 10);
    }

    #[tokio::test]
    async fn a_read_that_fails_or_that_a_drop_overlaps_leaves_it_to_the_next() {
        let (cache, events) = (cache(), Events::new("a".into()));
        assert_eq!(cache.get_or_read(&events, &"a", async || Err("away")).await, Err("away"));
        let overlapped = async || {
            cache.drop_one(&"a");
            Ok::<_, ()>(1)
        };
        assert_eq!(cache.get_or_read(&events, &"a", overlapped).await, Ok(1));
        assert_eq!(cache.get_or_read(&events, &"a", async || Ok::<_, ()>(2)).await, Ok(2));
        assert_eq!(cache.get_or_read(&events, &"a", async || Ok::<_, ()>(3)).await, Ok(2));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = Cached::new(0, Duration::from_secs(60), 1);
        cache.keep(cache.begin(&"a"), "a", 1);
        assert_eq!(cache.get(&"a"), None);
    }
}
