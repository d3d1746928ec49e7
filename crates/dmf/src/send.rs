//! Sending what operators and the server cause: from the database to the broker, in order, by one node at a time
//! (semantics.md D5).
//!
//! A command is taken from the database when the broker has confirmed it. So it is sent at least once, and a repeat has
//! the correlation id of what it repeats. A broker that is away stops nothing: commands wait.

use std::{sync::Arc, time::Duration};

use kettle_cluster::rabbitmq::connection::Backoff;
use kettle_domain::{
    Services,
    commands::queue::{Queue, Waiting},
    error::Error,
};
use tokio::{sync::watch, time::timeout};

use crate::{
    metrics, outgoing,
    publish::{Outgoing, PublishError, Publisher},
    settings::Host,
};

/// How many causes are read at once. One may stand for thousands of commands.
const CAUSES: usize = 100;
/// How many messages are on their way at once.
const MESSAGES: usize = 500;
/// How often the right to send is asked for by those who stand by.
const STAND_BY: Duration = Duration::from_secs(1);
/// What may be waiting is looked for this often without having been woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A cause that fails so often, while others do not, is given up.
const TRIES: u32 = 8;

/// What a sender to one virtual host works with.
#[derive(Clone)]
pub struct Sender {
    pub services: Arc<Services>,
    pub host: Host,
    pub publisher: Arc<Publisher>,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Broker(#[from] PublishError),
    #[error("{0}")]
    Database(#[from] Error),
    #[error("another node sends now")]
    Lost,
}

/// Sends until `stopped`.
pub async fn run(sender: Sender, mut stopped: watch::Receiver<bool>) {
    let (mut backoff, mut failing) = (Backoff::default(), Failing::default());
    while !*stopped.borrow() {
        let pause = match sender.turn(&mut stopped, &mut backoff, &mut failing).await {
            Ok(()) => STAND_BY,
            Err(error) => {
                if backoff.tries() == 0 || matches!(error, SendError::Database(_)) {
                    let host = sender.host.name.as_str();
                    tracing::warn!(virtual_host = host, cause = ?error, "commands to devices wait: {error}");
                }
                backoff.next_pause()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

impl Sender {
    /// Sends while this node has the right to, and the broker takes what is sent. Then another node may.
    async fn turn(
        &self,
        stopped: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
        failing: &mut Failing,
    ) -> Result<(), SendError> {
        let name = format!("dmf-send-{}", self.host.name);
        let Some(queue) = Queue::acquire(&self.services, &name, self.host.tenants.clone()).await? else {
            return Ok(());
        };
        let result = tokio::select! {
            result = self.send_all(&queue, stopped, backoff, failing) => result,
            lost = queue.lost() => lost.map_err(SendError::from),
        };
        queue.release().await?;
        match result {
            Err(SendError::Lost) => Ok(()),
            result => result,
        }
    }

    async fn send_all(
        &self,
        queue: &Queue,
        stopped: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
        failing: &mut Failing,
    ) -> Result<(), SendError> {
        let mut written = self.services.events.service_events();
        while !*stopped.borrow() {
            written.mark_unchanged();
            let waiting = queue.waiting(CAUSES, &failing.given_up).await?;
            let some = !waiting.is_empty();
            self.send(queue, waiting, failing).await?;
            backoff.reset();
            if !some {
                tokio::select! {
                    _ = timeout(LOOK_EVERY, written.changed()) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            }
        }
        Ok(())
    }

    /// Publishes the commands of all causes, in their order, and takes the causes away.
    async fn send(&self, queue: &Queue, waiting: Vec<Waiting>, failing: &mut Failing) -> Result<(), SendError> {
        let mut done = Vec::with_capacity(waiting.len());
        let mut messages = Vec::new();
        for Waiting { id, cause, ctx, commands } in waiting {
            let commands = match commands {
                Ok(commands) => commands,
                // What comes before it goes out first; what comes after it waits.
                Err(error) if failing.again(id) => {
                    self.publish(queue, &mut messages, 0).await?;
                    queue.sent(&done).await?;
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::error!(service_event.id = id, cause = ?error.cause, "commands can't be made: {error}; others go on");
                    failing.given_up.push(id);
                    continue;
                }
            };
            for addressed in &commands {
                let (thing, command) = (&addressed.controller_id, &addressed.command);
                let of_cause = || outgoing::repeatable(&format!("{cause} {thing} {}", outgoing::sort(command)));
                let correlation_id = outgoing::own_id(command).unwrap_or_else(of_cause);
                messages.extend(outgoing::of_command(&ctx, addressed, correlation_id));
                self.publish(queue, &mut messages, MESSAGES).await?;
            }
            done.push(id);
        }
        self.publish(queue, &mut messages, 0).await?;
        Ok(queue.sent(&done).await?)
    }

    /// Publishes what has come together, if it is more than `least`.
    async fn publish(&self, queue: &Queue, messages: &mut Vec<Outgoing>, least: usize) -> Result<(), SendError> {
        if messages.len() <= least {
            return Ok(());
        }
        // Another node may have told devices since that they need not do what this one would tell them to.
        if !queue.may_send().await? {
            return Err(SendError::Lost);
        }
        self.publisher.publish(messages).await?;
        metrics::sent(messages.len());
        messages.clear();
        Ok(())
    }
}

/// Causes of which no commands can be made, over all turns of this node: each ends with the first that fails.
#[derive(Default)]
struct Failing {
    id: i64,
    tries: u32,
    given_up: Vec<i64>,
}

impl Failing {
    /// Whether to try again.
    fn again(&mut self, id: i64) -> bool {
        if self.id != id {
            *self = Failing { id, tries: 0, given_up: std::mem::take(&mut self.given_up) };
        }
        self.tries += 1;
        self.tries < TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_given_up_after_some_tries_of_its_own() {
        let mut failing = Failing::default();
        assert_eq!((1..=TRIES).filter(|_| failing.again(7)).count(), 7);
        assert!(!failing.again(7));
        assert!(failing.again(8), "another one starts anew");
    }
}
