//! A writing transaction together with the events that its changes cause.

use std::ops::Deref;

use kettle_db::{Db, Engine};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use crate::{Clock, Event, Events, ServiceEvent, events::Origin, outbox, service};

/// A transaction that knows what to tell once it is committed. Dropped without [`Tx::commit`], it is rolled back and
/// tells nothing.
pub struct Tx {
    inner: DatabaseTransaction,
    engine: Engine,
    events: Events,
    clock: Clock,
    pending: Vec<Event>,
    for_services: Vec<ServiceEvent>,
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

    /// The commit need not wait for the disk. See [`Engine::commit_lazily`].
    pub async fn commit_lazily(&self) -> Result<(), DbErr> {
        if let Some(sql) = self.engine.commit_lazily() {
            self.inner.execute_unprepared(sql).await?;
        }
        Ok(())
    }

    /// Writes the events beside the state, commits both, then tells them: this process at once, the others by the
    /// outbox. Returns when those that are alive have heard it, or after a bounded wait.
    pub async fn commit(self) -> Result<(), DbErr> {
        let mut last_row = None;
        for event in &self.pending {
            last_row = Some(outbox::write(self.engine, &self.inner, self.events.node(), event).await?);
        }
        service::write(self.engine, &self.inner, &self.for_services, self.clock.now_ms()).await?;
        // The rows of one transaction come to be seen together, and the last of them is told last.
        let hearing = last_row.and_then(|row| self.events.heard().expect(row));
        self.inner.commit().await?;
        for event in &self.pending {
            self.events.deliver(event, Origin::Here);
        }
        if !self.for_services.is_empty() {
            self.events.service_event_written();
        }
        if !(self.pending.is_empty() && self.for_services.is_empty()) {
            self.events.committed();
        }
        if let Some(hearing) = hearing {
            hearing.wait().await;
        }
        Ok(())
    }
}

impl Deref for Tx {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}
