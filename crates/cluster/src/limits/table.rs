//! The counters of a node, as many as there is room for. A flood of keys displaces those that are used least.

use std::collections::HashMap;

use super::{Key, told::Line, window::Counter};

/// How many counters are looked at to find one to displace.
const LOOKED_AT: usize = 8;

pub(super) struct Table {
    counters: HashMap<Key, Counter>,
    room: usize,
    /// Until then nothing is over: no need to look.
    full_until_ms: u64,
}

impl Table {
    pub(super) fn new(room: usize) -> Table {
        Table { counters: HashMap::new(), room, full_until_ms: 0 }
    }

    pub(super) fn counter(&mut self, key: Key, now_ms: u64) -> &mut Counter {
        if self.counters.len() >= self.room && !self.counters.contains_key(&key) {
            self.make_room(now_ms);
        }
        self.counters.entry(key).or_insert_with(|| Counter::new(now_ms))
    }

    pub(super) fn busy(&self, nodes: u64, now_ms: u64) -> Vec<Line> {
        let busy = self.counters.iter().filter(|(_, counter)| counter.is_busy(nodes, now_ms));
        busy.map(|(key, counter)| Line { key: *key, attempts: counter.recent(now_ms) }).collect()
    }

    fn make_room(&mut self, now_ms: u64) {
        if now_ms >= self.full_until_ms {
            self.counters.retain(|_, counter| !counter.is_over(now_ms));
            self.full_until_ms = now_ms + 100;
        }
        while self.counters.len() >= self.room {
            // The order of a map is as good as any to choose some by.
            let some = self.counters.iter().take(LOOKED_AT);
            let Some(least) = some.min_by_key(|(_, counter)| counter.weight()).map(|(key, _)| *key) else { return };
            self.counters.remove(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_keys_takes_no_more_room_and_displaces_no_heavy_user() {
        let mut table = Table::new(100);
        let heavy = Key::new(b"heavy");
        let mut admitted = 0;
        for n in 0..10_000_u32 {
            admitted += u32::from(table.counter(heavy, 0).admit(50, 0, 0));
            table.counter(Key::new(&n.to_le_bytes()), 0).admit(50, 0, 0);
            assert!(table.counters.len() <= 100);
        }
        assert_eq!(admitted, 52);
    }

    #[test]
    fn counters_that_are_over_make_room_first() {
        let mut table = Table::new(10);
        for n in 0..10_u32 {
            table.counter(Key::new(&n.to_le_bytes()), 0).admit(5, 0, 0);
        }
        table.counter(Key::new(b"new"), 2_000).admit(5, 0, 2_000);
        assert_eq!(table.counters.len(), 1);
    }
}
