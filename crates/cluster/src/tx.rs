//! A writing transaction together with the events that its changes cause.

use std::{
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use kettle_db::{Db, Engine};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use crate::{
    Announcement, Clock, Event, Events, Fact, ServiceEvent,
    events::Origin,
    outbox::{self, Row},
    service,
};

/// A transaction that knows what to tell once it is committed. Dropped without [`Tx::commit`], it is rolled back and
/// tells nothing.
pub struct Tx {
    inner: DatabaseTransaction,
    engine: Engine,
    events: Events,
    clock: Clock,
    pending: Vec<Event>,
    for_services: Vec<ServiceEvent>,
    announced: Mutex<Vec<Announcement>>,
}

impl Tx {
    pub async fn begin(db: &Db, events: &Events, clock: &Clock) -> Result<Tx, DbErr> {
        Ok(Tx {
            inner: db.begin().await?,
            engine: db.engine(),
            events: events.clone(),
            clock: clock.clone(),
            pending: Vec::new(),
            for_services: Vec::new(),
            announced: Mutex::default(),
        })
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Notes an event that the changes of this transaction cause. One event may stand for any number of rows.
    pub fn emit(&mut self, event: Event) {
        if !self.pending.contains(&event) {
            self.pending.push(event);
        }
    }

    /// Notes what one node of a role is to act on after this transaction; see [`service`].
    pub fn emit_service(&mut self, event: ServiceEvent) {
        self.for_services.push(event);
    }

    /// Whether anybody is told announcements: whatever has to be read for one is read only then.
    pub fn announces(&self) -> bool {
        self.events.announces()
    }

    /// Notes what hawkBit nodes and others are to be told of this transaction, if anybody is; see
    /// [`announcements`](crate::announcements). They are told in the order of these calls. Whoever works on the
    /// transaction may note some, so this takes no more than a reference.
    pub fn announce(&self, tenant: &str, fact: Fact) {
        if self.announces() {
            let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
            announced.push(Announcement { tenant: tenant.to_owned(), fact });
        }
    }

    /// The commit need not wait for the disk. See [`Engine::commit_lazily`].
    pub async fn commit_lazily(&self) -> Result<(), DbErr> {
        if let Some(sql) = self.engine.commit_lazily() {
            self.inner.execute_unprepared(sql).await?;
        }
        Ok(())
    }

    /// Writes the events beside the state, commits both, then tells them: this process at once, the others by the
    /// outbox. Returns when those that are alive have heard it, or after a bounded wait.
    ///
    /// A caller that goes away in the middle, as a request's client may, does not part the telling from the commit.
    pub async fn commit(self) -> Result<(), DbErr> {
        let announced = self.announced.into_inner().unwrap_or_else(PoisonError::into_inner);
        let rows = outbox::write(self.engine, &self.inner, self.events.node(), &self.pending, &announced).await?;
        service::write(self.engine, &self.inner, &self.for_services, self.clock.now_ms()).await?;
        if rows.is_empty() && self.for_services.is_empty() {
            return self.inner.commit().await;
        }
        let Tx { inner, events, pending, for_services, .. } = self;
        let told = Told { pending, rows, for_services: !for_services.is_empty() };
        let telling = tokio::spawn(commit_and_tell(inner, events, told));
        telling.await.map_err(|panicked| DbErr::Custom(panicked.to_string()))?
    }
}

/// What a transaction has to tell.
struct Told {
    pending: Vec<Event>,
    /// Of the outbox: one for each of those, then those of announcements.
    rows: Vec<Row>,
    for_services: bool,
}

async fn commit_and_tell(inner: DatabaseTransaction, events: Events, told: Told) -> Result<(), DbErr> {
    let Told { pending, rows, for_services } = told;
    let of_events: Vec<i64> = rows.iter().filter(|row| !row.is_announcement()).map(|row| row.id).collect();
    events.own().write(&of_events);
    let hearing = events.hearing().expect(&of_events);
    if let Err(error) = inner.commit().await {
        // The answer may have got lost, not the commit: then the rows are there, and the reader of the outbox tells them.
        events.own().leave(&of_events);
        events.commit_in_doubt(&rows);
        return Err(error);
    }
    for event in &pending {
        events.deliver(event, Origin::Here);
    }
    events.own().told(&of_events);
    if for_services {
        events.service_event_written();
    }
    events.committed(rows, for_services);
    if !of_events.is_empty() {
        hearing.wait().await;
    }
    Ok(())
}

impl Deref for Tx {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}
