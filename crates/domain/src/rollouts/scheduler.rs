//! The scheduler of rollouts: takes up what is woken at once, and looks for all that may have something to do every now
//! and then. Any number of nodes may run one: each rollout has a lease of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use kettle_cluster::{Lease, LeaseError};
use tokio::{
    sync::watch,
    task::{self, JoinSet},
    time::MissedTickBehavior,
};

use super::{pass, store};
use crate::{
    ctx::{Services, Tenant},
    error::{Error, Kind, Result},
};

/// Reports of devices that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(250);
/// How often a pass is tried at once when other transactions are in its way.
const TRIES: u32 = 5;

/// The scheduler of this node.
pub struct Scheduler {
    stop: watch::Sender<bool>,
    task: task::JoinHandle<()>,
}

impl Scheduler {
    pub fn start(services: &Arc<Services>) -> Scheduler {
        let (stop, stopped) = watch::channel(false);
        Scheduler { stop, task: tokio::spawn(run(services.clone(), stopped)) }
    }

    /// Returns when nothing is worked on any more.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if self.task.await.is_err() {
            tracing::error!("the scheduler of rollouts had panicked");
        }
    }
}

/// Works on rollouts until `stopped`; passes under way end with the batch that they are at, and hand their leases over.
async fn run(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let mut work = Work {
        services,
        stopped: stopped.clone(),
        waiting: BTreeMap::new(),
        at_work: HashMap::new(),
        passes: JoinSet::new(),
    };
    let mut look = ticks(work.services.settings.rollouts.every);
    let mut gather = ticks(GATHER);
    loop {
        tokio::select! {
            () = told_to_stop(&mut stopped) => break,
            _ = look.tick() => work.look().await,
            _ = gather.tick() => work.waiting.append(&mut work.services.rollouts.take_reported()),
            () = work.services.rollouts.some() => work.waiting.append(&mut work.services.rollouts.take_woken()),
            Some(done) = work.passes.join_next_with_id() => {
                let id = done.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                work.at_work.remove(&id);
            }
        }
        work.begin();
    }
    while work.passes.join_next().await.is_some() {}
}

/// One look at all rollouts, and the passes that it asks for, one after the other and to their end.
pub async fn work_on_all(services: &Arc<Services>) -> Result<()> {
    let (_running, stopped) = watch::channel(false);
    for (rollout, tenant) in pass::active(&services.db, services.clock.now_ms()).await? {
        attempt(services, &stopped, &tenant, rollout).await?;
    }
    Ok(())
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Work {
    services: Arc<Services>,
    stopped: watch::Receiver<bool>,
    waiting: BTreeMap<i64, Tenant>,
    at_work: HashMap<task::Id, i64>,
    passes: JoinSet<()>,
}

impl Work {
    async fn look(&mut self) {
        let Services { db, clock, .. } = &*self.services;
        match pass::active(db, clock.now_ms()).await {
            Ok(active) => self.waiting.extend(active),
            Err(error) => tracing::warn!(%error, "active rollouts could not be looked up; that is tried again"),
        }
    }

    /// Begins passes over what waits, but not a second one over the same rollout.
    fn begin(&mut self) {
        let at_work: Vec<i64> = self.at_work.values().copied().collect();
        while self.passes.len() < self.services.settings.rollouts.parallel {
            let Some(rollout) = self.waiting.keys().find(|rollout| !at_work.contains(rollout)).copied() else { break };
            let Some(tenant) = self.waiting.remove(&rollout) else { break };
            let pass = self.passes.spawn(take_up(self.services.clone(), self.stopped.clone(), tenant, rollout));
            self.at_work.insert(pass.id(), rollout);
        }
    }
}

/// One pass over a rollout, if there is something to do and no other node does it.
async fn take_up(services: Arc<Services>, stopped: watch::Receiver<bool>, tenant: Tenant, rollout: i64) {
    for tries in 1..=TRIES {
        match attempt(&services, &stopped, &tenant, rollout).await {
            Ok(()) => return,
            Err(error) if error.is_conflict() && tries < TRIES => {
                tracing::debug!(rollout.id = rollout, %error, tries, "a pass met another transaction; trying again");
            }
            Err(error) => {
                tracing::warn!(
                    tenant = tenant.id(),
                    rollout.id = rollout,
                    cause = ?error.cause,
                    "a rollout could not be worked on: {error}; that is tried again"
                );
                return;
            }
        }
    }
}

async fn attempt(
    services: &Arc<Services>,
    stopped: &watch::Receiver<bool>,
    tenant: &Tenant,
    rollout: i64,
) -> Result<()> {
    if !pass::is_due(services, tenant, rollout).await? {
        return Ok(());
    }
    let (db, node) = (&services.db, services.events.node());
    let lease_time = services.settings.lease_time;
    let Some(lease) = Lease::acquire(db, &format!("rollout-{rollout}"), node, lease_time).await? else {
        return Ok(());
    };
    let Some(lock) = services.hawkbit_lock(&format!("{}-rollout", tenant.id())).await? else {
        lease.release(db).await?;
        return Ok(());
    };
    let result = pass::run(services, stopped, tenant, rollout, &lease).await;
    lock.release().await;
    match &result {
        Ok(()) => store::clear_failure(db.write(), db.engine(), tenant.id(), rollout).await?,
        Err(error) if !error.is_conflict() && !is_lost(error) => {
            let now = services.clock.now_ms();
            store::note_failure(db.write(), db.engine(), tenant.id(), rollout, &reason(error, node), now).await?;
        }
        Err(_) => {}
    }
    lease.release(db).await?;
    result
}

/// What the explanation of the rollout says. Causes are for the log.
fn reason(error: &Error, node: &str) -> String {
    match error.kind {
        Kind::Internal => format!("The server could not go on; the log of node {node} says why."),
        _ => error.message.clone(),
    }
}

fn is_lost(error: &Error) -> bool {
    let cause = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<LeaseError>());
    matches!(cause, Some(LeaseError::Lost(_)))
}
