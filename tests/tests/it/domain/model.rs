//! Random sequences of calls against a reference: how they are drawn, shrunk to the fewest calls that fail, and compared.

use std::fmt::Debug;

use kettle_domain::{Ctx, Kind, distribution_sets, software_modules, targets::UpdateStatus};
use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

/// Runs one sequence per seed; the first that fails is shrunk and shown. `run` gives why it failed.
pub fn each<S: Clone + Debug>(
    seeds: impl Iterator<Item = u64>,
    sequences: &impl Strategy<Value = Vec<S>>,
    run: impl Fn(u64, &[S]) -> Option<TestCaseError>,
) {
    for seed in seeds {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes(seed));
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let sequence = sequences.new_tree(&mut runner).unwrap().current();
        if let Some(why) = run(seed, &sequence) {
            eprintln!("seed {seed} fails: {why}\nlooking for the fewest calls that do");
            let (sequence, why) = shrunk(sequence, why, |sequence| run(seed, sequence));
            let calls: Vec<String> = sequence.iter().map(|step| format!("{step:?}")).collect();
            panic!("seed {seed}, shrunk to {} calls:\n{}\n{why}", calls.len(), calls.join("\n"));
        }
    }
}

fn bytes(seed: u64) -> [u8; 32] {
    let [low, high @ ..] = seed.to_le_bytes();
    std::array::from_fn(|n| low ^ high.get(n.wrapping_sub(1)).copied().unwrap_or(0))
}

/// Drops calls, first many at once, as long as the rest still fails.
fn shrunk<S: Clone>(
    mut sequence: Vec<S>,
    mut why: TestCaseError,
    run: impl Fn(&[S]) -> Option<TestCaseError>,
) -> (Vec<S>, TestCaseError) {
    let mut size = sequence.len().div_ceil(2);
    while size > 0 {
        let (mut start, before) = (0, sequence.len());
        while start < sequence.len() {
            let end = (start + size).min(sequence.len());
            let rest = [&sequence[..start], &sequence[end..]].concat();
            match run(&rest) {
                Some(still) => (sequence, why) = (rest, still),
                None => start = end,
            }
        }
        if size > 1 || sequence.len() == before {
            size /= 2;
        }
    }
    (sequence, why)
}

/// A complete set of the type `os`, the only one with this number.
pub async fn set(ctx: &Ctx, number: usize, required_migration_step: bool) -> i64 {
    let name = format!("fw-{number}");
    let module = software_modules::Create {
        name: name.clone(),
        version: "1".into(),
        module_type: "os".into(),
        vendor: None,
        description: None,
        encrypted: false,
    };
    let module = software_modules::create(ctx, vec![module]).await.unwrap()[0].module.id;
    let set = distribution_sets::Create {
        name,
        version: "1".into(),
        set_type: Some("os".into()),
        description: None,
        required_migration_step,
        modules: vec![module],
    };
    distribution_sets::create(ctx, vec![set]).await.unwrap()[0].set.id
}

pub fn update_status(code: i32) -> UpdateStatus {
    use UpdateStatus::*;
    [Unknown, InSync, Pending, Error, Registered].into_iter().find(|status| *status as i32 == code).unwrap()
}

pub fn kind<T>(result: kettle_domain::Result<T>) -> Result<T, Kind> {
    result.map_err(|error| error.kind)
}

pub fn same<T: Debug + PartialEq>(step: &impl Debug, what: &str, found: &T, expected: &T) -> Result<(), TestCaseError> {
    if found == expected {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("after {step:?}: {what}\n   found {found:?}\nexpected {expected:?}")))
}

pub fn holds(step: &impl Debug, holds: bool, rule: &str, found: &impl Debug) -> Result<(), TestCaseError> {
    if holds {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("after {step:?}: {rule}, but found {found:?}")))
}
