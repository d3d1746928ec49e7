//! Rollouts: a distribution set for all targets that a search finds, group after group (semantics.md B).
//!
//! Operators create rollouts and move them on (`operate.rs`); the work in between is done by the scheduler, in passes
//! that are idempotent and go by bounded batches, so that any node can go on where another one died (`pass`). What a look
//! at a running rollout decides is `advance.rs`.

mod advance;
pub mod entity;
mod filter;
mod operate;
mod pass;
mod scheduler;
pub(crate) mod store;
#[cfg(test)]
mod testing;
mod wakes;

pub use entity::{GroupStatus, Model, RolloutStatus, SuccessAction, group::Model as Group};
pub(crate) use operate::end_all_of_set;
pub use operate::{decide, delete, pause, resume, start, stop, trigger_next_group};
pub use scheduler::run as schedule;
pub use wakes::Wakes;

use crate::actions::of_rollout::Wave;

/// What the actions of a group are to be.
fn wave(rollout: &Model, group: &Group) -> Wave {
    Wave {
        rollout: rollout.id,
        group: group.id,
        set: rollout.distribution_set,
        action_type: rollout.action_type,
        forced_time: rollout.forced_time.unwrap_or(0),
        weight: rollout.weight,
        initiated_by: rollout.created_by.clone().unwrap_or_default(),
        confirmation_required: group.confirmation_required.unwrap_or(false),
        message: format!("Initiated by Rollout Group '{}' [Rollout {}:{}]", group.name, rollout.name, rollout.id),
    }
}
