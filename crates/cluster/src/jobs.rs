//! Background jobs: idempotent passes, each run by whichever node holds its lease.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use kettle_db::Db;
use tokio::{sync::watch, task::JoinSet};

use crate::{Clock, Events, Lease, LeaseError, outbox, rabbitmq};

/// What a pass works with.
#[derive(Clone)]
pub struct JobContext {
    pub db: Db,
    pub events: Events,
    pub clock: Clock,
    /// A node that dies in a pass holds up its job for no longer than this. A pass that may take longer refreshes its lease.
    pub lease_time: Duration,
}

type Pass =
    Arc<dyn Fn(JobContext, Lease) -> Pin<Box<dyn Future<Output = Result<(), LeaseError>> + Send>> + Send + Sync>;

/// A job: a name that is its lease's, how often it runs, and one pass of it.
pub struct Job {
    name: &'static str,
    every: Duration,
    pass: Pass,
}

impl Job {
    /// `pass` must be idempotent, bounded, and call [`Lease::fence`] in every transaction it writes in.
    pub fn new<F, Fut>(name: &'static str, every: Duration, pass: F) -> Job
    where
        F: Fn(JobContext, Lease) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), LeaseError>> + Send + 'static,
    {
        Job { name, every, pass: Arc::new(move |ctx, lease| Box::pin(pass(ctx, lease))) }
    }
}

/// The jobs of this node, running until [`Jobs::stop`].
pub struct Jobs {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Jobs {
    /// Starts `jobs` and the cluster's own: the pruning of the outbox and of what was taken from a broker.
    pub fn start(ctx: JobContext, jobs: Vec<Job>) -> Jobs {
        let prune = Job::new("outbox-prune", Duration::from_secs(60), |ctx, lease| async move {
            while outbox::prune(&ctx, &lease).await? > 0 {}
            Ok(())
        });
        let forget = Job::new("taken-events-prune", Duration::from_secs(3600), |ctx, lease| async move {
            while rabbitmq::prune_taken(&ctx, &lease).await? > 0 {}
            Ok(())
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for job in jobs.into_iter().chain([prune, forget]) {
            tasks.spawn(run(job, ctx.clone(), stopped.clone()));
        }
        Jobs { tasks, stop }
    }

    /// Lets running passes end, and hands their leases over.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn run(job: Job, ctx: JobContext, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(job.every) => {}
            _ = stopped.wait_for(|s| *s) => return,
        }
        match AssertUnwindSafe(once(&job, &ctx)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(job.name = job.name, %error, "a pass of a background job failed; it is tried again");
            }
            // Its transaction is gone with it, and its lease runs out.
            Err(_) => tracing::error!(job.name = job.name, "a pass of a background job panicked; it is tried again"),
        }
    }
}

async fn once(job: &Job, ctx: &JobContext) -> Result<(), LeaseError> {
    let Some(lease) = Lease::acquire(&ctx.db, job.name, ctx.events.node(), ctx.lease_time).await? else {
        return Ok(());
    };
    let result = (job.pass)(ctx.clone(), lease.clone()).await;
    lease.release(&ctx.db).await?;
    result
}
