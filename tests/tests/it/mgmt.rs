//! `/rest/v1`: what the recorded contract has no step for.

mod actions;
mod distributionsets;
mod distributionsettags;
mod distributionsettypes;
mod methods;
mod softwaremodules;
mod system_configs;
mod targetgroups;
mod targets;
mod targettags;
mod targettypes;
