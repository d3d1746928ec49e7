//! The cluster's protocols as models, checked in every order of steps that three nodes can take: leases, the outbox, service
//! events and announcements, caches, hearing, shared views. Each model also has variants with one thing left out, and those
//! must be found broken: a model that can't fail proves nothing. See docs/decisions/014-the-protocols-are-model-checked.md.
//!
//! Steps have the names of what they stand for in `crates/cluster` and `crates/domain`.

mod cache;
mod hearing;
mod lease;
mod outbox;
mod redelivery;
mod shared;
mod telling;

use std::{fmt::Debug, hash::Hash};

use stateright::{Checker, CheckerBuilder, Expectation, HasDiscoveries, Model};

const NODES: usize = 3;

/// Visits every state that can be reached.
fn holds<M>(model: CheckerBuilder<M>)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checked = model.spawn_dfs().join();
    eprintln!("{} different states, by {} steps", checked.unique_state_count(), checked.state_count());
    for property in checked.model().properties() {
        match (property.expectation, checked.discovery(property.name)) {
            (Expectation::Sometimes, None) => panic!("never: {}", property.name),
            (Expectation::Always, Some(path)) => {
                panic!("not always: {}\n{}", property.name, told(path.into_vec()));
            }
            _ => {}
        }
    }
}

/// Finds a short way to a state in which `property` is broken.
fn fails<M>(model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let wanted = HasDiscoveries::AnyOf([property].into());
    let checked = model.checker().finish_when(wanted).spawn_bfs().join();
    let Some(path) = checked.discovery(property) else { panic!("nothing breaks: {property}") };
    eprintln!("found: not always: {property}\n{}", told(path.into_vec()));
}

fn told<S: Debug, A: Debug>(path: Vec<(S, Option<A>)>) -> String {
    let line = |(state, action): (S, Option<A>)| match action {
        Some(action) => format!("  {action:?}"),
        None => format!("  => {state:?}"),
    };
    path.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
