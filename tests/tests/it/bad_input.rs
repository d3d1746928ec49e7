//! Input that is wrong, hostile or cut off: the peer's error body, nothing left behind, and everyone else served meanwhile.

mod full_disk;
mod ids;
mod json;
mod slow;
mod uploads;
