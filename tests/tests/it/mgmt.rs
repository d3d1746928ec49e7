//! `/rest/v1`: what the recorded contract has no step for.

mod actions;
mod actions_deleted;
mod confirmation;
mod distributionsets;
mod distributionsets_invalidate;
mod distributionsettags;
mod distributionsettypes;
mod methods;
mod rollout_explanation;
mod rollout_groups;
mod rollout_retry;
mod rollouts;
mod search;
mod softwaremodules;
mod system_configs;
mod targetfilters;
mod targetfilters_auto_assign;
mod targetgroups;
mod targets;
mod targettags;
mod targettypes;

pub use rollouts::{merged, rollout, until};
