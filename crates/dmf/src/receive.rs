//! Receiving: from the queue to batches that workers carry out, each thing's messages in their order (semantics.md D3).
//!
//! One node at a time consumes, so the order holds between nodes too; the others stand by and take over within a second
//! of its end. Within the node a thing's messages always go to the same worker. What is received is acknowledged by the
//! worker, after its effect is committed; when the connection is lost before, the broker delivers it again.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use kettle_cluster::rabbitmq::connection::{Backoff, Broken, connect, ended, refused, while_open};
use kettle_domain::{Services, Tenant};
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    protocol::AMQPSoftError,
    types::FieldTable,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    answer::Answerer,
    incoming::{self, Order},
    metrics,
    publish::Publisher,
    refuse::{Refusal, Refuser},
    settings::{Host, Settings},
    state::State,
    topology, unparsable,
    work::{Job, Worker},
};

const CONSUMER: &str = "kettle";
/// How often a node that stands by asks whether it may receive.
const STAND_BY: Duration = Duration::from_secs(1);
/// How long a node that stops goes on with what it has taken.
const GRACE: Duration = Duration::from_secs(10);
/// How many messages a worker takes at once.
const BATCH: usize = 256;

/// What a receiver of one virtual host works with.
#[derive(Clone)]
pub struct Receiver {
    pub services: Arc<Services>,
    pub settings: Arc<Settings>,
    pub host: Host,
    pub publisher: Arc<Publisher>,
    pub state: State,
}

/// Receives until `stopped`. A broker that can't be reached is tried for ever.
pub async fn run(receiver: Receiver, mut stopped: watch::Receiver<bool>) {
    let mut backoff = Backoff::default();
    while !*stopped.borrow() {
        match receiver.session(&mut stopped, &mut backoff).await {
            Ok(()) => return,
            Err(error) if unparsable::is_cause(&error) => {
                if let Err(error) = unparsable::put_aside(&receiver.settings, &receiver.host).await {
                    tracing::warn!("a message that can't be parsed could not be put aside: {error}; trying again");
                }
            }
            Err(error) => {
                receiver.state.is_wrong(&receiver.host.name, error.to_string());
                tracing::warn!(
                    virtual_host = receiver.host.name,
                    tries = backoff.tries(),
                    "messages of devices are not received: {error}; trying again"
                );
            }
        }
        tokio::select! {
            () = backoff.pause() => {}
            () = told_to_stop(&mut stopped) => {}
        }
    }
}

impl Receiver {
    /// As long as one connection lives; `Ok` when it was told to stop.
    async fn session(&self, stopped: &mut watch::Receiver<bool>, backoff: &mut Backoff) -> Result<(), SessionError> {
        let connection = connect(&self.settings.broker, &self.host.name, "receiving").await?;
        while_open(&connection, topology::declare(&connection, &self.settings.queues)).await?;
        backoff.reset();
        self.state.is_right(&self.host.name);
        let (refuse, refusals) = mpsc::channel(usize::from(self.settings.taken()));
        let (_session, living) = watch::channel(false);
        let answerer = Answerer {
            services: self.services.clone(),
            settings: self.settings.clone(),
            publisher: self.publisher.clone(),
            refuse,
        };
        let mut beside = JoinSet::new();
        beside.spawn(Refuser::new(self.publisher.clone(), &self.settings.queues).run(refusals, living));
        beside.spawn(answerer.run(while_open(&connection, connection.create_channel()).await?));
        let Some((channel, consumer)) = self.consume(&connection, stopped).await? else { return Ok(()) };
        tracing::info!(virtual_host = self.host.name, queue = self.settings.queues.receiver, "receiving from devices");
        self.receive(&connection, &channel, consumer, stopped).await?;
        // What was acknowledged last is heard before the end.
        Ok(while_open(&connection, connection.close(200, "stopped".into())).await?)
    }

    /// Begins to consume, as soon as no other node does. `None`: told to stop.
    async fn consume(
        &self,
        connection: &Connection,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Option<(Channel, Consumer)>, SessionError> {
        let mut told = false;
        loop {
            match while_open(connection, self.begin(connection)).await {
                Ok(begun) => return Ok(Some(begun)),
                Err(Broken::Broker(error))
                    if refused(&error, AMQPSoftError::ACCESSREFUSED) && self.settings.exclusive =>
                {
                    if !told {
                        tracing::info!(
                            virtual_host = self.host.name,
                            "another node receives from devices; standing by"
                        );
                    }
                    told = true;
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = tokio::time::sleep(STAND_BY) => {}
                () = told_to_stop(stopped) => return Ok(None),
            }
        }
    }

    async fn begin(&self, connection: &Connection) -> lapin::Result<(Channel, Consumer)> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(self.settings.taken(), BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: self.settings.exclusive, ..BasicConsumeOptions::default() };
        let queue = self.settings.queues.receiver.as_str();
        let consumer = channel.basic_consume(queue.into(), CONSUMER.into(), options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }

    async fn receive(
        &self,
        connection: &Connection,
        channel: &Channel,
        mut consumer: Consumer,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let (over, session) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let (refuse, refusals) = mpsc::channel(usize::from(self.settings.taken()));
        let refuser = Refuser::new(self.publisher.clone(), &self.settings.queues);
        tasks.spawn(refuser.run(refusals, session.clone()));
        let mut workers = Vec::new();
        for _ in 0..self.settings.workers.max(1) {
            let (jobs, waiting) = mpsc::channel(usize::from(self.settings.taken()));
            let worker = Worker {
                services: self.services.clone(),
                host: self.host.clone(),
                publisher: self.publisher.clone(),
                refuse: refuse.clone(),
            };
            tasks.spawn(worker.run(waiting, BATCH, session.clone()));
            workers.push(jobs);
        }
        let spread = Spread { host: self.host.clone(), workers, refuse, hasher: RandomState::new() };
        let lost = ended(connection);
        tokio::pin!(lost);
        let result = loop {
            tokio::select! {
                biased;
                () = told_to_stop(stopped) => break Ok(()),
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => spread.hand_out(delivery).await,
                    Some(Err(error)) => break Err(Broken::Broker(error).into()),
                    None => break Err(Broken::Ended.into()),
                },
                // A worker ends only when it can't acknowledge any more.
                Some(_) = tasks.join_next() => break Err(Broken::Ended.into()),
                () = &mut lost => break Err(Broken::Ended.into()),
            }
        };
        if result.is_ok() {
            // What is taken is carried out and acknowledged; the rest goes back to the queue.
            let _ = while_open(connection, channel.basic_cancel(CONSUMER.into(), BasicCancelOptions::default())).await;
        } else {
            over.send_replace(true);
        }
        drop(spread);
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("messages that could not be carried out yet go back to the queue");
            over.send_replace(true);
            while tasks.join_next().await.is_some() {}
        }
        result
    }
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Unreachable(#[from] kettle_cluster::rabbitmq::connection::Unreachable),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Hands messages to the workers.
struct Spread {
    host: Host,
    workers: Vec<mpsc::Sender<Job>>,
    refuse: mpsc::Sender<Refusal>,
    hasher: RandomState,
}

impl Spread {
    /// What is full or gone has ended with the session: the broker delivers the message again.
    async fn hand_out(&self, delivery: Delivery) {
        metrics::received();
        let incoming = match incoming::decode(&delivery.properties, &delivery.data) {
            Ok(incoming) => incoming,
            Err(why) => return self.refuse(delivery, "unreadable", why.to_string()).await,
        };
        let tenant = Tenant::new(&incoming.tenant);
        if !self.host.carries(tenant.id()) {
            let why =
                format!("messages of tenant {} do not belong on the virtual host {}", tenant.id(), self.host.name);
            return self.refuse(delivery, "virtual_host", why).await;
        }
        let order = match incoming.request.order() {
            Order::Any => self.hasher.hash_one(delivery.delivery_tag),
            order => self.hasher.hash_one((tenant.id(), order)),
        };
        let count = u64::try_from(self.workers.len()).unwrap_or(u64::MAX).max(1);
        let worker = usize::try_from(order % count).ok().and_then(|index| self.workers.get(index));
        if let Some(worker) = worker {
            let _ = worker.send(Job { delivery, tenant, incoming }).await;
        }
    }

    async fn refuse(&self, delivery: Delivery, reason: &'static str, message: String) {
        let _ = self.refuse.send(Refusal { delivery, reason, message }).await;
    }
}
