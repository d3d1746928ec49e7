//! When devices were last heard of: kept in memory, written in batches, never one write per poll.
//!
//! What is not yet written when a node dies is lost: up to one flush interval (design.md, invariant 1).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use kettle_cluster::{Fact, Tx};
use sea_orm::DbErr;
use tokio::sync::Notify;

use super::store;
use crate::{announcements, ctx::Services, error::Result};

const SHARDS: usize = 16;

/// The times waiting to be written, by target id.
pub struct LastSeen {
    shards: [Mutex<HashMap<i64, i64>>; SHARDS],
    waiting: AtomicUsize,
    capacity: usize,
    full: Notify,
}

impl LastSeen {
    pub fn new(capacity: usize) -> LastSeen {
        LastSeen {
            shards: std::array::from_fn(|_| Mutex::default()),
            waiting: AtomicUsize::new(0),
            capacity: capacity.max(1),
            full: Notify::new(),
        }
    }

    /// Notes that `target` was heard of at `at`. Wakes the writer early when much is waiting; returns `false` when so
    /// much is that the caller should write first.
    pub(super) fn note(&self, target: i64, at: i64) -> bool {
        let new = self.shard(target).insert(target, at).is_none();
        let waiting = self.waiting.fetch_add(usize::from(new), Ordering::Relaxed) + usize::from(new);
        if new && waiting.is_multiple_of(self.capacity) {
            self.full.notify_one();
        }
        waiting < self.capacity.saturating_mul(10)
    }

    /// Resolves when enough is waiting that the next flush should not be waited for.
    pub async fn filled(&self) {
        self.full.notified().await;
    }

    fn shard(&self, target: i64) -> MutexGuard<'_, HashMap<i64, i64>> {
        let index = usize::try_from(target.unsigned_abs() % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "the index is taken modulo the number of shards")]
        self.shards[index].lock().unwrap_or_else(|e| e.into_inner())
    }

    fn take(&self) -> Vec<(i64, i64)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let taken = std::mem::take(&mut *shard.lock().unwrap_or_else(|e| e.into_inner()));
            self.waiting.fetch_sub(taken.len(), Ordering::Relaxed);
            all.extend(taken);
        }
        all.sort_unstable();
        all
    }

    /// Back into the queue, unless a newer time is there by now.
    fn put_back(&self, seen: &[(i64, i64)]) {
        for &(target, at) in seen {
            if let std::collections::hash_map::Entry::Vacant(free) = self.shard(target).entry(target) {
                free.insert(at);
                self.waiting.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Writes what is waiting. What can't be written stays for the next time.
pub async fn flush(services: &Services) -> Result<()> {
    let seen = services.last_seen.take();
    if seen.is_empty() {
        return Ok(());
    }
    let written = match services.events.announces() {
        false => store::write_last_seen(services.db.write(), services.db.engine(), &seen).await,
        true => write_and_announce(services, &seen).await,
    };
    if written.is_err() {
        services.last_seen.put_back(&seen);
    }
    Ok(written?)
}

/// Part by part, so that no more rows are held at once than otherwise.
async fn write_and_announce(services: &Services, seen: &[(i64, i64)]) -> Result<(), DbErr> {
    for part in seen.chunks(announcements::AT_ONCE) {
        let tx = Tx::begin(&services.db, &services.events, &services.clock).await?;
        store::write_last_seen(&*tx, tx.engine(), part).await?;
        let ids: Vec<i64> = part.iter().map(|(id, _)| *id).collect();
        let mut of_tenants: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (tenant, controller_id) in store::names(&*tx, tx.engine(), &ids).await? {
            of_tenants.entry(tenant).or_default().push(controller_id);
        }
        // hawkBit: the time of the batch stands for that of each poll.
        let at_ms = services.clock.now_ms();
        for (tenant, controller_ids) in of_tenants {
            tx.announce(&tenant, Fact::Polled { controller_ids, address: None, at_ms });
        }
        tx.commit().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_time_of_a_target_waits_once() {
        let seen = LastSeen::new(10);
        seen.note(1, 100);
        seen.note(1, 200);
        seen.note(2, 50);
        let taken = seen.take();
        assert_eq!(taken, [(1, 200), (2, 50)]);
        seen.note(1, 300);
        seen.put_back(&taken);
        assert_eq!(seen.take(), [(1, 300), (2, 50)]);
        assert_eq!(seen.waiting.load(Ordering::Relaxed), 0);
    }
}
