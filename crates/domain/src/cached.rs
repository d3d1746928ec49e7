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

use moka::sync::Cache as Moka;

/// A bounded cache whose entries are dropped by events. Whether it may be answered from is for `Events::whole` to say.
pub(crate) struct Cached<K, V> {
    kept: Moka<K, V>,
    drops: Box<[Mutex<u64>]>,
    hasher: RandomState,
}

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

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = Cached::new(0, Duration::from_secs(60), 1);
        cache.keep(cache.begin(&"a"), "a", 1);
        assert_eq!(cache.get(&"a"), None);
    }
}
