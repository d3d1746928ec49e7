//! The look into the outbox of a node that hears events over the broker: once a second, as a net; ten times as often while
//! the broker is away, and at once when it is back. No connection listens to the database.

use std::sync::Arc;

use kettle_db::Db;

use super::Link;
use crate::{
    Events,
    outbox::{self, LOOK_EVERY, Waking},
};

/// Looks for as long as the process lives.
pub async fn follow(events: Events, db: Db, link: Arc<Link>) {
    loop {
        if let Err(error) = outbox::look(&events, db.read(), Waking::Broker(link.clone())).await {
            db.doubt();
            tracing::warn!(%error, "the outbox can't be read; polls read the database until it can");
        }
        events.gap();
        tokio::time::sleep(LOOK_EVERY).await;
        events.service_event_written();
    }
}
