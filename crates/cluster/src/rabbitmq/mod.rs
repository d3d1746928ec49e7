//! Events over the message broker (semantics.md F1), and how a connection to it is made.
//!
//! A commit is told on two ways (docs/decisions/012): Kettle's own events on an exchange of their own, which other nodes hear
//! in milliseconds and find in the outbox otherwise; announcements on hawkBit's exchanges, for hawkBit nodes and whoever else
//! listens there. `tell.rs` tells, `gone.rs` in the place of nodes that are gone, `hear.rs` and `take.rs` hear. The outbox stays
//! the truth: nothing here decides what a node knows. Must not know what an event means.

pub mod connection;
mod gone;
mod hear;
mod lane;
mod link;
mod look;
mod message;
mod settings;
mod take;
mod tell;
mod topology;
mod unparsable;

use std::sync::Arc;

use kettle_db::Db;
use sea_orm::DbErr;
use tokio::{sync::watch, task::JoinSet};

pub(crate) use link::Link;
pub use settings::{Address, Broker, Channels, Password, Settings, Tls};
pub use take::prune as prune_taken;

use crate::{Clock, Events, Job};
use hear::Hearer;
use tell::Teller;

/// The broker as this node's way to the others.
pub struct Transport {
    db: Db,
    events: Events,
    link: Arc<Link>,
    teller: Arc<Teller>,
    tasks: JoinSet<()>,
    following: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Transport {
    /// Joins this node to the others on the same broker; on PostgreSQL also to those on the same database. A broker that
    /// can't be reached is tried for as long as the node lives.
    pub async fn start(db: &Db, events: &Events, clock: &Clock, settings: Settings) -> Result<Transport, DbErr> {
        let (settings, link) = (Arc::new(settings), Arc::new(Link::default()));
        let (stop, stopped) = watch::channel(false);
        let (mut tasks, mut following) = (JoinSet::new(), JoinSet::new());
        events.tell_over(link.clone());
        if settings.channels.is_some() {
            // Before the first announcement, so that it is found if this node dies with it.
            gone::note(db, events.node(), &link).await?;
            tasks.spawn(gone::keep_noting(db.clone(), events.node().to_owned(), link.clone(), stopped.clone()));
            events.announce_from_now_on();
        }
        if !db.engine().is_of_one_process() {
            events.gap();
            following.spawn(look::follow(events.clone(), db.clone(), link.clone()));
        }
        following.spawn(events.clone().say_what_is_heard());
        let teller = Arc::new(Teller::new(db, events, &link, &settings));
        tasks.spawn(teller.clone().run(stopped.clone()));
        tasks.spawn(Hearer::new(db, events, clock, &link, &settings).run(stopped));
        Ok(Transport { db: db.clone(), events: events.clone(), link, teller, tasks, following, stop })
    }

    /// Telling in the place of nodes that are gone.
    pub fn job(&self) -> Job {
        gone::job(self.teller.clone())
    }

    /// Tells what waits, if the broker takes it, and goes.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.following.shutdown().await;
        if self.link.untold_since().is_none() {
            gone::forget(&self.db, self.events.node()).await;
        }
    }
}
