//! Rollouts: a distribution set for all targets that a search finds, group after group (semantics.md B).
//!
//! Operators create and move rollouts here; the steps in between are passes of the scheduler, each idempotent and in
//! bounded batches, so that any node can go on where another one died.

pub mod entity;
pub(crate) mod store;
mod wakes;

pub use entity::{GroupStatus, Model, RolloutStatus, SuccessAction, group::Model as Group};
pub use wakes::Wakes;
