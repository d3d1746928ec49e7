//! Nodes that count together, simulated: what gets through when attempts are spread over them in any way.

use proptest::prelude::*;

use super::*;

const KEY: &[u8] = b"192.0.2.1";
/// How long a text of gossip is under way at most.
const TRAVEL_MS: u64 = 50;

struct Node {
    limits: Limits,
    name: String,
    /// When it tells, within its period.
    phase: u64,
    /// Attempts in a second, and how they lie in it: in the parts of a second that the bits say.
    rate: u64,
    seed: u64,
}

/// Numbers that look random, from a seed: the same in every run.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// What nodes admit between `from` and `to`, in seconds, at `rates` attempts per second that vary by `jitter` percent.
/// Also: how many attempts there were.
fn run(limit: u32, rates: &[u64], jitter: u64, seed: u64, from: u64, to: u64) -> (u64, u64) {
    let mut seed = seed | 1;
    let mut nodes: Vec<Node> = rates
        .iter()
        .enumerate()
        .map(|(n, rate)| Node {
            limits: Limits::new(None),
            name: format!("node-{n}"),
            phase: next(&mut seed) % 150,
            rate: *rate,
            seed: next(&mut seed) | 1,
        })
        .collect();
    let key = Key::new(KEY);
    let mut under_way: Vec<(u64, usize, String)> = Vec::new();
    let (mut admitted, mut attempts) = (0, 0);
    for now in 0..to * 1_000 {
        for (n, node) in nodes.iter_mut().enumerate() {
            // So many attempts per millisecond on average, at times that no other node shares.
            let spread = 100 + next(&mut node.seed) % (2 * jitter + 1) - jitter;
            let due = node.rate * spread;
            let count = due / 100_000 + u64::from(next(&mut node.seed) % 100_000 < due % 100_000);
            for _ in 0..count {
                let passed = node.limits.admit_at(key, limit, now);
                if now >= from * 1_000 {
                    attempts += 1;
                    admitted += u64::from(passed);
                }
            }
            if now % 150 == node.phase {
                for text in told::texts(&node.limits.lines(now)) {
                    under_way.push((now + 1 + next(&mut node.seed) % TRAVEL_MS, n, text));
                }
            }
        }
        under_way.retain(|(arrives, from, text)| {
            if *arrives == now {
                for (n, node) in nodes.iter().enumerate() {
                    if n != *from {
                        node.limits.told().hear(&nodes[*from].name, text, now);
                    }
                }
            }
            *arrives > now
        });
    }
    (admitted, attempts)
}

fn alone(limit: u32, times: impl IntoIterator<Item = u64>) -> Vec<bool> {
    let limits = Limits::new(None);
    times.into_iter().map(|now| limits.admit_at(Key::new(KEY), limit, now)).collect()
}

#[test]
fn a_node_alone_counts_as_the_peer_does() {
    let passed = |answers: Vec<bool>| answers.iter().take_while(|passed| **passed).count();
    assert_eq!(passed(alone(10, [0; 100])), 12);
    assert_eq!(passed(alone(0, [0; 100])), 2);
    // The next second begins with the first request after this one's end.
    let answers = alone(10, (0..20).map(|_| 500).chain((0..20).map(|_| 1_499)).chain((0..20).map(|_| 1_500)));
    assert_eq!(answers.iter().filter(|passed| **passed).count(), 24);
    assert!(answers[40] && !answers[39]);
}

#[test]
fn equal_demand_on_three_nodes_is_a_third_for_each() {
    for rate in [100, 200, 1_000] {
        let (admitted, _) = run(100, &[rate; 3], 0, 7, 3, 13);
        assert!((850..=1_122).contains(&admitted), "{rate} on each: {admitted} in ten seconds");
    }
}

#[test]
fn demand_on_one_node_gets_the_whole_limit() {
    let (admitted, _) = run(100, &[1_000, 0, 0], 0, 7, 3, 13);
    assert!((950..=1_122).contains(&admitted), "{admitted} in ten seconds");
}

#[test]
fn what_moves_to_another_node_gets_the_whole_limit_there() {
    let (a, b) = (Limits::new(None), Limits::new(None));
    let key = Key::new(KEY);
    let mut passed = 0;
    for now in 0..8_000 {
        let node = if now < 4_000 { &a } else { &b };
        // 90 in a second, of a limit of 100.
        if now * 9 % 100 < 9 {
            let admitted = node.admit_at(key, 100, now);
            assert!(admitted || (4_000..7_000).contains(&now), "refused at {now}");
            passed += u32::from(admitted);
        }
        if now % 150 == 0 {
            for (from, to, name) in [(&a, &b, "a"), (&b, &a, "b")] {
                for text in told::texts(&from.lines(now)) {
                    to.told().hear(name, &text, now);
                }
            }
        }
    }
    assert!(passed > 600, "{passed} of 720");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The bound: over ten seconds, a tenth above what hawkBit admits on one node, however the attempts are spread.
    #[test]
    fn in_steady_state_a_tenth_over_the_limit_gets_through_at_most(
        limit in 10_u32..200,
        parts in prop::collection::vec(0_u64..300, 2..=5),
        jitter in 0_u64..50,
        seed: u64,
    ) {
        // Up to three times the limit on each node.
        let rates: Vec<u64> = parts.iter().map(|part| part * u64::from(limit) / 100).collect();
        let (admitted, attempts) = run(limit, &rates, jitter, seed, 3, 13);
        let whole = u64::from(limit) + SLACK;
        // Ten seconds see the beginnings of eleven windows.
        prop_assert!(admitted * 10 <= whole * 11 * 11, "{admitted} of {attempts} at {whole} a second");
        prop_assert!(admitted <= attempts);
    }

    /// Whose attempts, at their most on each node, are within the limit is never refused.
    #[test]
    fn in_steady_state_nothing_under_the_limit_is_refused(
        limit in 20_u32..200,
        parts in prop::collection::vec(1_u64..100, 2..=5),
        seed: u64,
    ) {
        let all: u64 = parts.iter().sum();
        let rates: Vec<u64> = parts.iter().map(|part| part * u64::from(limit) / all / 2).collect();
        let (admitted, attempts) = run(limit, &rates, 0, seed, 3, 13);
        prop_assert_eq!(admitted, attempts);
    }
}
