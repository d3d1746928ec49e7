//! What nodes tell each other of their counts: texts of gossip, each line a key's digest and its attempts.

use std::{collections::HashMap, fmt::Write as _};

use super::{Key, window::LIFE_MS};

/// What one text of gossip may hold, with its topic and the node's name.
const LONGEST_TEXT: usize = 7_800;
/// A node tells what is busy several times in this time. What it has told is forgotten after it.
const FORGOTTEN_AFTER_MS: u64 = LIFE_MS * 7 / 10;
/// A node that says nothing for this long is gone.
const GONE_AFTER_MS: u64 = 10_000;
/// Attempts that can be believed.
const MOST: u64 = 1 << 24;
/// What is remembered of the others, in keys.
const ROOM: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub key: Key,
    pub attempts: u64,
}

/// The lines as texts that are not too long; one at least, which may be empty.
pub(super) fn texts(lines: &[Line]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for Line { key, attempts } in lines {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = write!(line, "{:x} {attempts:x};", key.0);
        match texts.last_mut() {
            Some(text) if text.len() + line.len() <= LONGEST_TEXT => text.push_str(&line),
            _ => texts.push(line),
        }
    }
    texts
}

/// What can be read of a text. A newer node may say more on a line.
fn lines(text: &str) -> impl Iterator<Item = Line> {
    text.split_terminator(';').filter_map(|line| {
        let mut numbers = line.split(' ').map(|number| u64::from_str_radix(number, 16).ok());
        let (key, attempts) = (numbers.next()??, numbers.next()??);
        // No node does more in a second; sums and products of such numbers can't overflow.
        (attempts <= MOST).then_some(Line { key: Key(key), attempts })
    })
}

/// What the other nodes have told.
#[derive(Default)]
pub(super) struct Told {
    nodes: HashMap<String, Node>,
}

#[derive(Default)]
struct Node {
    heard_ms: u64,
    /// With the time when it was told.
    keys: HashMap<Key, (u64, u64)>,
}

impl Told {
    pub(super) fn hear(&mut self, node: &str, text: &str, now_ms: u64) {
        self.nodes.retain(|_, node| now_ms < node.heard_ms + GONE_AFTER_MS);
        let room = ROOM / (self.nodes.len() + 1);
        let node = self.nodes.entry(node.to_owned()).or_default();
        node.heard_ms = now_ms;
        if node.keys.len() >= room / 2 {
            node.keys.retain(|_, (told_ms, _)| now_ms < *told_ms + FORGOTTEN_AFTER_MS);
        }
        for line in lines(text) {
            if node.keys.len() < room || node.keys.contains_key(&line.key) {
                node.keys.insert(line.key, (now_ms, line.attempts));
            }
        }
    }

    /// The attempts of all others.
    pub(super) fn of(&self, key: Key, now_ms: u64) -> u64 {
        let told = self.nodes.values().filter_map(|node| node.keys.get(&key));
        let fresh = told.filter(|(told_ms, _)| now_ms < *told_ms + FORGOTTEN_AFTER_MS);
        fresh.map(|(_, attempts)| attempts).sum()
    }

    /// How many nodes there are, this one too.
    pub(super) fn nodes(&self, now_ms: u64) -> u64 {
        1 + self.nodes.values().filter(|node| now_ms < node.heard_ms + GONE_AFTER_MS).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_forgotten() {
        let line = |n: u64| Line { key: Key(u64::MAX - n), attempts: 200 + n };
        let told: Vec<Line> = (0..2_000).map(line).collect();
        let texts = texts(&told);
        assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= LONGEST_TEXT));
        let mut others = Told::default();
        for text in &texts {
            others.hear("b", text, 100);
            others.hear("c", text, 100);
        }
        for Line { key, attempts } in told {
            assert_eq!(others.of(key, 799), 2 * attempts);
            assert_eq!(others.of(key, 800), 0);
        }
        assert_eq!(others.nodes(799), 3);
        assert_eq!(others.nodes(10_100), 1);
    }

    #[test]
    fn a_text_that_cannot_be_read_says_nothing() {
        let mut others = Told::default();
        for text in ["", ";", "x 1;", "1", "1;2;", "1 ffffffffffffffff;", "1  1;", "ü"] {
            others.hear("b", text, 0);
            assert_eq!(others.of(Key(1), 0), 0, "{text}");
        }
        others.hear("b", "x;1 9 newer;", 0);
        assert_eq!(others.of(Key(1), 0), 9);
        assert_eq!(others.nodes(0), 2);
    }
}
