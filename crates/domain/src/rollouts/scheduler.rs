//! The scheduler of rollouts: takes up what is woken at once, and looks for all that may have something to do every now
//! and then. Any number of nodes may run one: each rollout has a lease of its own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kettle_cluster::{Event, Lease, LeaseError};
use tokio::{
    sync::watch,
    task::{self, JoinSet},
    time::MissedTickBehavior,
};

use super::{pass, store};
use crate::{
    ctx::{Ctx, Services, Tenant},
    error::{Error, Kind, Result},
};

/// Reports of devices that come within this time are looked at together.
const GATHER: Duration = Duration::from_millis(250);
/// How often a pass is tried at once when other transactions are in its way.
const TRIES: u32 = 5;
/// After a lease has run out, the database may still be ending what its holder had open.
const AFTER_LEASE: Duration = Duration::from_millis(50);

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
        held: HashSet::new(),
        waits: JoinSet::new(),
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
                let (id, held) = done.map_or_else(|panicked| (panicked.id(), None), |(id, held)| (id, held));
                work.at_work.remove(&id);
                work.wait_for(held);
            }
            Some(Ok((tenant, rollout))) = work.waits.join_next() => {
                work.held.remove(&rollout);
                work.waiting.insert(rollout, tenant);
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

/// A rollout that another node is at, or was when it died: it is looked at again when the lease runs out.
struct Held {
    tenant: Tenant,
    rollout: i64,
    lease_left: Duration,
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
    passes: JoinSet<Option<Held>>,
    held: HashSet<i64>,
    waits: JoinSet<(Tenant, i64)>,
}

impl Work {
    async fn look(&mut self) {
        let Services { db, clock, .. } = &*self.services;
        match pass::active(db, clock.now_ms()).await {
            Ok(active) => self.waiting.extend(active),
            Err(error) => tracing::warn!(%error, "active rollouts could not be looked up; that is tried again"),
        }
    }

    fn wait_for(&mut self, held: Option<Held>) {
        let Some(Held { tenant, rollout, lease_left }) = held else { return };
        if self.held.insert(rollout) {
            self.waits.spawn(async move {
                tokio::time::sleep(lease_left + AFTER_LEASE).await;
                (tenant, rollout)
            });
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
async fn take_up(
    services: Arc<Services>,
    stopped: watch::Receiver<bool>,
    tenant: Tenant,
    rollout: i64,
) -> Option<Held> {
    for tries in 1..=TRIES {
        match attempt(&services, &stopped, &tenant, rollout).await {
            Ok(lease_left) => return lease_left.map(|lease_left| Held { tenant, rollout, lease_left }),
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
                return None;
            }
        }
    }
    None
}

/// How long another node's lease lasts yet, if there is something to do and one has it.
async fn attempt(
    services: &Arc<Services>,
    stopped: &watch::Receiver<bool>,
    tenant: &Tenant,
    rollout: i64,
) -> Result<Option<Duration>> {
    if !pass::is_due(services, tenant, rollout).await? {
        return Ok(None);
    }
    let (db, node) = (&services.db, services.events.node());
    let lease_time = services.settings.lease_time;
    let name = format!("rollout-{rollout}");
    let Some(lease) = Lease::acquire(db, &name, node, lease_time).await? else {
        return Ok(Some(Lease::left(db, &name).await?));
    };
    let Some(lock) = services.hawkbit_lock(&format!("{}-rollout", tenant.id())).await? else {
        lease.release(db).await?;
        return Ok(None);
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
    if *stopped.borrow() {
        hand_over(services, tenant, rollout).await?;
    }
    result.map(|()| None)
}

/// Tells the other nodes that there may be something left to do, so that one goes on at once.
async fn hand_over(services: &Arc<Services>, tenant: &Tenant, rollout: i64) -> Result<()> {
    let mut tx = Ctx::system(services, tenant.clone()).begin().await?;
    tx.emit(Event::RolloutChanged { tenant: tenant.id().to_owned(), rollout });
    Ok(tx.commit().await?)
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
