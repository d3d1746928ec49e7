//! `deploy/`: the balancers' files run before real nodes, compose files and manifests are valid, and what they set is what
//! Kettle knows.

mod balancers;
mod files;
