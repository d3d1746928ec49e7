//! Which rollouts this node has heard to have something to do.

use std::{collections::BTreeMap, sync::Mutex};

use tokio::sync::Notify;

use crate::ctx::Tenant;

/// Rollouts to look at, and whose they are. One that is noted twice is noted once, so this does not grow with what
/// happens.
#[derive(Default)]
pub struct Wakes {
    woken: Mutex<BTreeMap<i64, Tenant>>,
    reported: Mutex<BTreeMap<i64, Tenant>>,
    some: Notify,
}

impl Wakes {
    /// An operator moved a rollout: it is looked at at once.
    pub(crate) fn wake(&self, tenant: Tenant, rollout: i64) {
        add(&self.woken, tenant, rollout);
        self.some.notify_one();
    }

    /// An action of a rollout has ended: it is looked at soon, together with what else ends until then.
    pub(crate) fn report(&self, tenant: &Tenant, rollout: i64) {
        add(&self.reported, tenant.clone(), rollout);
    }

    /// Returns once one was woken.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }

    /// Those that were woken since the last call.
    pub(super) fn take_woken(&self) -> BTreeMap<i64, Tenant> {
        take(&self.woken)
    }

    /// Those that were reported since the last call.
    pub(super) fn take_reported(&self) -> BTreeMap<i64, Tenant> {
        take(&self.reported)
    }
}

fn add(rollouts: &Mutex<BTreeMap<i64, Tenant>>, tenant: Tenant, rollout: i64) {
    rollouts.lock().unwrap_or_else(|e| e.into_inner()).insert(rollout, tenant);
}

fn take(rollouts: &Mutex<BTreeMap<i64, Tenant>>) -> BTreeMap<i64, Tenant> {
    std::mem::take(&mut rollouts.lock().unwrap_or_else(|e| e.into_inner()))
}
