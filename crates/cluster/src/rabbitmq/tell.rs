//! Telling: what this node commits, to the broker, right after the commit (semantics.md F1).
//!
//! Announcements are told at least once: what the broker has not confirmed is read from the outbox and published again, by
//! this node or, if it is gone, by another (`gone.rs`). Kettle's own events are told once: who misses one finds it in the
//! outbox within a second. So each has a lane of its own, and events don't wait until announcements are on a disk.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::try_join_all;
use kettle_db::Db;
use lapin::{
    Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use sea_orm::DbErr;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, timeout},
};

use super::{
    Settings,
    connection::{Backoff, Broken, Unreachable, connect, while_open},
    lane::{Lane, Work},
    link::Link,
    message::{self, Outgoing, Writer},
    topology,
};
use crate::{
    Events, Lease, metrics,
    outbox::{self, Row},
};

/// A broker that takes longer to confirm is as good as gone: it may be out of memory or disk.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// How many messages are on their way at once.
const MESSAGES: usize = 1_000;
/// How many rows of the outbox are read at once.
const PAGE: u64 = 200;
/// How many texts are said at once.
const TEXTS: usize = 256;
/// At most one wake-up for service events per this time.
const WAKE_EVERY: Duration = Duration::from_millis(5);
/// After a connection that lived so long, the next one is made without a growing pause.
const STABLE: Duration = Duration::from_secs(5);
/// What is committed last is told in this time, or by another node.
const GRACE: Duration = Duration::from_secs(5);
/// The database is asked again after this time.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// This node's way to the others.
pub struct Teller {
    db: Db,
    events: Events,
    link: Arc<Link>,
    settings: Arc<Settings>,
    writer: Writer,
    /// Kept while it lives, for who tells in another's place.
    connection: Mutex<Option<Arc<Connection>>>,
}

/// Publishes over a channel, and waits for the confirms.
pub struct Publisher {
    channel: Channel,
    connection: Arc<Connection>,
    writer: Writer,
}

#[derive(Debug, thiserror::Error)]
pub enum TellError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the broker did not take an event: {0}")]
    Broken(#[from] Broken),
    #[error("the broker did not confirm events in {CONFIRM_TIMEOUT:?}")]
    NotConfirmed,
    #[error("the broker refused an event")]
    Refused,
    #[error("events that wait could not be read: {0}")]
    Database(#[from] DbErr),
}

impl Teller {
    pub fn new(db: &Db, events: &Events, link: &Arc<Link>, settings: &Arc<Settings>) -> Teller {
        Teller {
            db: db.clone(),
            events: events.clone(),
            link: link.clone(),
            settings: settings.clone(),
            writer: Writer { channels: settings.channels.clone(), payload: settings.payload },
            connection: Mutex::default(),
        }
    }

    /// Tells until `stopped`. A broker that can't be reached is tried for ever.
    pub async fn run(self: Arc<Teller>, mut stopped: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let result = tokio::select! {
                result = self.session() => result,
                () = self.all_told(&mut stopped) => break,
            };
            *self.slot() = None;
            self.lanes().iter().for_each(|lane| lane.close());
            let Err(error) = result;
            self.link.tells(Err(error.to_string()));
            if begun.elapsed() >= STABLE {
                backoff.reset();
            }
            if backoff.tries() == 0 {
                tracing::warn!("other servers are told of changes later: {error}; trying again");
            }
            tokio::select! {
                () = backoff.pause() => {}
                () = wait_for(&mut stopped) => break,
            }
        }
        let connection = self.slot().take();
        if let Some(connection) = connection {
            let _ = while_open(&connection, connection.close(200, "stopped".into())).await;
        }
    }

    /// For who tells in the place of a node that is gone. `None`: the broker is away.
    pub async fn publisher(&self) -> Result<Option<Publisher>, TellError> {
        let connection = self.slot().clone();
        match connection {
            Some(connection) => Ok(Some(self.on(connection).await?)),
            None => Ok(None),
        }
    }

    /// As long as one connection lives.
    async fn session(&self) -> Result<std::convert::Infallible, TellError> {
        let broker = &self.settings.broker;
        let connection = Arc::new(connect(broker, &broker.virtual_host, "telling events").await?);
        while_open(&connection, topology::exchanges(&connection, self.settings.channels.as_ref())).await?;
        let (own, announcements) = (self.on(connection.clone()).await?, self.on(connection.clone()).await?);
        let (gossip, wakes) = (self.on(connection.clone()).await?, self.on(connection.clone()).await?);
        *self.slot() = Some(connection);
        self.lanes().iter().for_each(|lane| lane.open());
        self.link.tells(Ok(()));
        tracing::info!(virtual_host = broker.virtual_host, "telling other servers of changes over the broker");
        tokio::select! {
            result = self.tell_events(own) => result,
            result = self.tell_announcements(announcements) => result,
            result = self.tell_gossip(gossip) => result,
            result = self.tell_service_events(wakes) => result,
        }
    }

    async fn on(&self, connection: Arc<Connection>) -> Result<Publisher, TellError> {
        let channel = while_open(&connection, async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        });
        let channel = channel.await?;
        Ok(Publisher { channel, connection, writer: self.writer.clone() })
    }

    async fn tell_events(&self, publisher: Publisher) -> Result<std::convert::Infallible, TellError> {
        let lane = &self.link.events;
        loop {
            // What is in the outbox only, the others find there.
            if let Work::Rows(rows) = lane.take().await {
                publisher.rows(self.events.node(), &rows).await?;
            }
            lane.done();
        }
    }

    async fn tell_announcements(&self, publisher: Publisher) -> Result<std::convert::Infallible, TellError> {
        let (lane, node) = (&self.link.announcements, self.events.node());
        loop {
            match lane.take().await {
                Work::Rows(rows) => publisher.rows(node, &rows).await?,
                Work::Since(since) => {
                    tracing::debug!(since, "announcements are told from the outbox");
                    while let Err(error) = publisher.outbox(&self.db, node, since, None).await {
                        let TellError::Database(error) = error else { return Err(error) };
                        tracing::debug!(%error, "announcements that wait can't be read; trying again");
                        tokio::time::sleep(DATABASE_PAUSE).await;
                    }
                }
            }
            lane.done();
        }
    }

    async fn tell_gossip(&self, publisher: Publisher) -> Result<std::convert::Infallible, TellError> {
        let mut said = self.events.said();
        loop {
            let mut messages = Vec::new();
            match said.recv().await {
                Ok(gossip) => messages.push(message::of_gossip(&gossip)),
                Err(RecvError::Lagged(lost)) => tracing::debug!(lost, "some gossip was too much to tell"),
                // The channel lives as long as this node's events.
                Err(RecvError::Closed) => std::future::pending().await,
            }
            while messages.len() < TEXTS
                && let Ok(gossip) = said.try_recv()
            {
                messages.push(message::of_gossip(&gossip));
            }
            publisher.publish(&messages).await?;
        }
    }

    async fn tell_service_events(&self, publisher: Publisher) -> Result<std::convert::Infallible, TellError> {
        loop {
            self.link.service_events.notified().await;
            publisher.publish(&[message::of_service_events(self.events.node())]).await?;
            tokio::time::sleep(WAKE_EVERY).await;
        }
    }

    /// Returns once this node is to stop and has told everything, or has tried for long enough.
    async fn all_told(&self, stopped: &mut watch::Receiver<bool>) {
        wait_for(stopped).await;
        let empty = async {
            while self.lanes().iter().any(|lane| lane.since().is_some()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(GRACE, empty).await.is_err() {
            tracing::warn!(
                "the broker did not take all events before the end; another node, or the next start, tells them"
            );
        }
    }

    fn lanes(&self) -> [&Lane; 2] {
        [&self.link.events, &self.link.announcements]
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Publisher {
    /// Publishes the announcements of `node` that the outbox has since that time, page by page, and keeps the lease under which
    /// that is done.
    pub async fn outbox(&self, db: &Db, node: &str, since: i64, lease: Option<&Lease>) -> Result<(), TellError> {
        let mut after = 0;
        loop {
            let rows = outbox::announcements(db, node, since, after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id;
            self.rows(node, &rows).await?;
            if let Some(lease) = lease {
                // If it is lost, what was told can't be noted.
                lease.refresh(db).await?;
            }
        }
    }

    /// Returns when the broker has all messages of these rows. After an error any of them may have gone out.
    async fn rows(&self, node: &str, rows: &[Row]) -> Result<(), TellError> {
        let mut messages = Vec::new();
        for row in rows {
            messages.extend(self.writer.row(node, row));
            if messages.len() >= MESSAGES {
                self.publish(&messages).await?;
                messages.clear();
            }
        }
        self.publish(&messages).await
    }

    async fn publish(&self, messages: &[Outgoing]) -> Result<(), TellError> {
        if messages.is_empty() {
            return Ok(());
        }
        let publishing = while_open(&self.connection, self.try_publish(messages));
        match timeout(CONFIRM_TIMEOUT, publishing).await {
            Ok(Ok(true)) => {
                metrics::told(messages.len());
                Ok(())
            }
            Ok(Ok(false)) => Err(TellError::Refused),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(TellError::NotConfirmed),
        }
    }

    /// Whether the broker has confirmed all.
    async fn try_publish(&self, messages: &[Outgoing]) -> lapin::Result<bool> {
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let (exchange, key) = (message.exchange.clone(), message.routing_key.clone());
            let (options, properties) = (BasicPublishOptions::default(), message.properties.clone());
            let publishing = self.channel.basic_publish(exchange, key, options, &message.body, properties);
            confirms.push(publishing.await?);
        }
        Ok(try_join_all(confirms).await?.iter().all(Confirmation::is_ack))
    }
}

pub(super) async fn wait_for(stopped: &mut watch::Receiver<bool>) {
    // Without a sender nobody can stop it any more.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}
