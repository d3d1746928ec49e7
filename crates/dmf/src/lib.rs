//! The device API over AMQP (DMF, semantics.md D): what gateways speak.
//!
//! `incoming` and `outgoing` translate between messages and the domain, over the shapes of `wire`; `receive` brings
//! messages to `work`, which has the domain carry them out, `refuse` puts aside what can't be; `send` takes commands from
//! the database to the broker; `answer` gives download ids for questions. What messages do is the domain's.
//!
//! One connection per virtual host receives and one sends, so that a broker that slows senders down hears acknowledgements.

mod answer;
mod authentication;
pub mod incoming;
mod metrics;
mod outgoing;
mod publish;
mod receive;
mod refuse;
mod send;
mod settings;
mod state;
mod topology;
mod unparsable;
pub mod wire;
mod work;

use std::{sync::Arc, time::Duration};

use kettle_domain::Services;
use tokio::{sync::watch, task::JoinSet};

pub use settings::{Queues, Settings};
pub use state::State;

use crate::{publish::Publisher, receive::Receiver, send::Sender};

/// How long DMF has to end, with what it has taken.
const GRACE: Duration = Duration::from_secs(15);

/// DMF on this node.
pub struct Dmf {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    state: State,
}

impl Dmf {
    /// Connects, and goes on trying for as long as the node lives.
    pub fn start(services: &Arc<Services>, settings: Settings) -> Dmf {
        let settings = Arc::new(settings);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let state = State::default();
        for host in settings.hosts() {
            let publisher = || Arc::new(Publisher::new(settings.clone(), &host.name));
            let sender = Sender { services: services.clone(), host: host.clone(), publisher: publisher() };
            tasks.spawn(send::run(sender, stopped.clone()));
            let (services, publisher) = (services.clone(), publisher());
            state.begin(&host.name);
            let receiver = Receiver { services, settings: settings.clone(), host, publisher, state: state.clone() };
            tasks.spawn(receive::run(receiver, stopped.clone()));
        }
        Dmf { tasks, stop, state }
    }

    /// Whether its brokers answer; changes as they come and go.
    pub fn state(&self) -> State {
        self.state.clone()
    }

    /// Carries out and acknowledges what it has taken, and lets other nodes go on.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if ended.is_err() {
                    tracing::error!("a task of DMF had panicked");
                }
            }
        };
        // What is cut off is not acknowledged: the broker delivers it again, and the next sender sends it again.
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("DMF did not end in {GRACE:?}; it is cut off");
        }
    }
}
