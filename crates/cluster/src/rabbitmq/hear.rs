//! Hearing: what Kettle's other nodes tell on their exchange, and hawkBit's on the fan-out channel (semantics.md F1).
//!
//! Nothing here is needed for caches to be right: what Kettle nodes commit, a node finds in the outbox too. What hawkBit
//! nodes commit it hears only here; so while the broker is away, their changes are seen when the caches' time is up, as
//! with hawkBit itself.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use kettle_db::Db;
use lapin::{Consumer, message::Delivery, options::BasicAckOptions};
use tokio::{sync::watch, time::Instant};

use super::{
    Settings,
    connection::{Backoff, Broken, Unreachable, connect, ended, while_open},
    link::Link,
    message::{self, Heard},
    take::Taker,
    tell::wait_for,
    topology, unparsable,
};
use crate::{Clock, Events, Gossip, Origin, announcements, metrics};

/// After a connection that lived so long, the next one is made without a growing pause.
const STABLE: Duration = Duration::from_secs(5);
/// How many messages are worked on at once.
const BATCH: usize = 256;

/// This node's ear.
pub struct Hearer {
    events: Events,
    clock: Clock,
    link: Arc<Link>,
    settings: Arc<Settings>,
    taker: Taker,
}

#[derive(Debug, thiserror::Error)]
pub enum HearError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Hearer {
    pub fn new(db: &Db, events: &Events, clock: &Clock, link: &Arc<Link>, settings: &Arc<Settings>) -> Hearer {
        let taker = Taker { db: db.clone(), events: events.clone(), clock: clock.clone() };
        let (events, clock) = (events.clone(), clock.clone());
        Hearer { events, clock, link: link.clone(), settings: settings.clone(), taker }
    }

    /// Hears until `stopped`. A broker that can't be reached is tried for ever.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let result = tokio::select! {
                result = self.session() => result,
                () = wait_for(&mut stopped) => return,
            };
            let Err(error) = result;
            if let HearError::Broken(broken) = &error
                && unparsable::is_cause(broken)
            {
                self.put_aside().await;
            }
            self.link.hears(Err(error.to_string()));
            if begun.elapsed() >= STABLE {
                backoff.reset();
            }
            if backoff.tries() == 0 {
                tracing::warn!("other servers are not heard over the broker: {error}; trying again");
            }
            tokio::select! {
                () = backoff.pause() => {}
                () = wait_for(&mut stopped) => return,
            }
        }
    }

    /// As long as one connection lives.
    async fn session(&self) -> Result<std::convert::Infallible, HearError> {
        let broker = &self.settings.broker;
        let connection = connect(broker, &broker.virtual_host, "hearing events").await?;
        let channels = self.settings.channels.as_ref();
        while_open(&connection, topology::exchanges(&connection, channels)).await?;
        let own = while_open(&connection, topology::copy_of(&connection, topology::KETTLE)).await?;
        let fan_out = match channels {
            Some(channels) => Some(while_open(&connection, topology::copy_of(&connection, &channels.fan_out)).await?),
            None => None,
        };
        let service = match channels.and_then(|channels| channels.service.as_deref()) {
            Some(exchange) if self.settings.serves_dmf => {
                Some(while_open(&connection, topology::share_of(&connection, exchange)).await?)
            }
            _ => None,
        };
        // Whatever hawkBit nodes told before can't be known any more; what Kettle nodes did is in the outbox.
        if fan_out.is_some() {
            self.events.doubt();
        }
        self.link.hears(Ok(()));
        tracing::info!(virtual_host = broker.virtual_host, "hearing other servers over the broker");
        let broken = tokio::select! {
            broken = self.hear_own(own) => broken,
            broken = self.hear_peers(fan_out) => broken,
            broken = self.taker.take(service) => broken,
            () = ended(&connection) => Broken::Ended,
        };
        Err(broken.into())
    }

    async fn hear_own(&self, mut consumer: Consumer) -> Broken {
        while let Some(delivery) = consumer.next().await {
            let heard = async {
                let delivery = delivery?;
                self.kettle_says(&delivery);
                delivery.ack(BasicAckOptions::default()).await
            };
            if let Err(error) = heard.await {
                return error.into();
            }
        }
        Broken::Ended
    }

    fn kettle_says(&self, delivery: &Delivery) {
        let Some(node) = message::node(delivery) else {
            tracing::debug!(exchange = topology::KETTLE, "a message that names no node is passed over");
            return;
        };
        if node == self.events.node() {
            return;
        }
        metrics::heard("kettle");
        match message::read(delivery) {
            Ok(Heard::Event { row, at, event }) => {
                let tell = || {
                    self.events.deliver(&event, Origin::Elsewhere);
                    if let Some(at) = at {
                        self.events.lagged(self.clock.now_ms().saturating_sub(at).max(0));
                    }
                };
                match row {
                    Some(row) => {
                        self.link.once(row, tell);
                        self.events.applied(&node, row);
                    }
                    None => tell(),
                }
            }
            Ok(Heard::Gossip { topic, text }) => self.events.hear(Gossip { node, topic, text }),
            Ok(Heard::ServiceEvents) => self.events.service_event_written(),
            // A newer node may send kinds that this one does not know: then nothing cached can be trusted.
            Err(error) => {
                tracing::warn!(%error, node, "an event of another node can't be read here; dropping all caches");
                self.events.doubt();
            }
        }
    }

    async fn hear_peers(&self, consumer: Option<Consumer>) -> Broken {
        let Some(mut consumer) = consumer else { return std::future::pending().await };
        loop {
            let result = async {
                let Some(deliveries) = next_batch(&mut consumer).await? else { return Ok(false) };
                self.peers_say(&deliveries).await;
                for delivery in deliveries {
                    delivery.ack(BasicAckOptions::default()).await?;
                }
                Ok(true)
            };
            match result.await {
                Ok(true) => {}
                Ok(false) => return Broken::Ended,
                Err(error) => return Broken::Broker(error),
            }
        }
    }

    async fn peers_say(&self, deliveries: &[Delivery]) {
        let mut heard = Vec::new();
        for delivery in deliveries.iter().filter(|delivery| message::node(delivery).is_none()) {
            metrics::heard("fan-out");
            match announcements::read(&message::content_type(delivery), &delivery.data) {
                Ok(announced) => heard.push(announced),
                Err(error) => {
                    tracing::warn!(%error, "an event of another server can't be read; dropping all caches");
                    self.events.doubt();
                }
            }
        }
        if let Err(error) = self.events.heard(&heard).await {
            tracing::warn!(%error, "the targets of other servers' events could not be looked up; dropping all caches");
            self.events.doubt();
        }
    }

    async fn put_aside(&self) {
        let channels = self.settings.channels.as_ref().filter(|_| self.settings.serves_dmf);
        let Some(exchange) = channels.and_then(|channels| channels.service.as_deref()) else { return };
        let queue = topology::dmf_queue(exchange);
        match unparsable::throw_away(&self.settings.broker, &queue).await {
            Ok(true) => tracing::warn!(queue, "a message was thrown away: its properties or headers are not UTF-8"),
            Ok(false) => {}
            Err(error) => tracing::warn!(queue, "a message that can't be parsed could not be thrown away: {error}"),
        }
    }
}

/// What has come, and is here already: at least one, and not more than is worked on at once. `None`: the channel is closed.
pub(super) async fn next_batch(consumer: &mut Consumer) -> lapin::Result<Option<Vec<Delivery>>> {
    let Some(first) = consumer.next().await else { return Ok(None) };
    let mut batch = vec![first?];
    while batch.len() < BATCH
        && let Some(Some(next)) = consumer.next().now_or_never()
    {
        batch.push(next?);
    }
    Ok(Some(batch))
}
