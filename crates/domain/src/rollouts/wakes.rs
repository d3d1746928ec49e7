//! Which rollouts this node has heard to have something to do, for the scheduler to take up at once.

use std::{collections::BTreeSet, sync::Mutex};

use tokio::sync::Notify;

/// Rollouts to look at. Waking one that is awake changes nothing, so the set is bounded by the number of rollouts.
#[derive(Default)]
pub struct Wakes {
    rollouts: Mutex<BTreeSet<i64>>,
    some: Notify,
}

impl Wakes {
    pub(crate) fn wake(&self, rollout: i64) {
        self.rollouts.lock().unwrap_or_else(|e| e.into_inner()).insert(rollout);
        self.some.notify_one();
    }

    /// Those that were woken since the last call.
    pub(super) fn take(&self) -> BTreeSet<i64> {
        std::mem::take(&mut self.rollouts.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Returns once there are some.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }
}
