//! Clients that others wrote, updated end to end.

mod hawkbit_crate;
mod swupdate;
