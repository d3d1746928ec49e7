//! The tasks of a node that assign by themselves: one reacts to changed targets, one makes the passes. Neither holds up
//! the other.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{
    reaction::react,
    sweep::{Rounds, sweep},
};
use crate::ctx::Services;

/// After a reaction changes gather for so long: many that come one by one are read together.
const GATHER: Duration = Duration::from_millis(10);

/// Auto-assignment on one node, running until [`Scheduler::stop`].
pub struct Scheduler {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Scheduler {
    pub fn start(services: &Arc<Services>) -> Scheduler {
        services.auto_assign.turn_on();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(reacting(services.clone(), stopped.clone()));
        tasks.spawn(sweeping(services.clone(), stopped));
        Scheduler { tasks, stop }
    }

    /// Lets transactions under way end, and hands leases over. What still waits here is found by other nodes, which
    /// have heard of it too, or by this one when it starts again.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_err() {
                tracing::error!("a task of auto-assignment had panicked");
            }
        }
    }
}

async fn reacting(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        if react(&services).await {
            tokio::time::sleep(GATHER).await;
            continue;
        }
        tokio::select! {
            () = services.auto_assign.targets_wait() => {}
            _ = stopped.wait_for(|s| *s) => {}
        }
    }
}

async fn sweeping(services: Arc<Services>, mut stopped: watch::Receiver<bool>) {
    let mut rounds = Rounds::new(&services.settings.auto_assign, services.clock.now_ms());
    while !*stopped.borrow() {
        if let Err(error) = sweep(&services, &mut rounds, &stopped).await {
            tracing::warn!(cause = ?error.cause, "the passes of target filters are tried again: {error}");
        }
        tokio::select! {
            () = services.auto_assign.passes_wait() => {}
            () = tokio::time::sleep(services.settings.auto_assign.look_every) => {}
            _ = stopped.wait_for(|s| *s) => {}
        }
    }
}
