//! Carrying out what devices send: in batches, each message to its end (semantics.md D3, D4, D6).
//!
//! A message ends in one of two ways: its effect is committed, or it is refused for good. Whatever else happens, a fault
//! of the database say, is tried again with growing pauses for as long as the connection to the broker lives.

use std::{collections::HashSet, sync::Arc};

use kettle_cluster::rabbitmq::connection::Backoff;
use kettle_domain::{
    Ctx, Services, Tenant,
    actions::{self, Answer, Report},
    commands::{self, Addressed},
    error::{Error, Kind},
    targets::{self, Registered, Registration, attributes, auto_confirm},
    tenants,
};
use lapin::{message::Delivery, options::BasicAckOptions};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::{
    incoming::{Incoming, Request},
    metrics, outgoing,
    publish::{Outgoing, PublishError, Publisher},
    refuse::Refusal,
    settings::Host,
    wire::{ActionStatus, AttributeUpdate, UpdateMode},
};

/// A batch that fails so often is taken apart: one of its messages may be what the database can't bear.
const TRIES_TOGETHER: u32 = 2;
/// A message that fails so often by itself, while the database answers, never succeeds.
const TRIES_ALONE: u32 = 8;

/// hawkBit: what the server says where a device does not.
const AUTO_CONFIRM_REMARK: &str = "Activated using Device Management Federation API.";

/// A message to carry out.
pub struct Job {
    pub delivery: Delivery,
    pub tenant: Tenant,
    pub incoming: Incoming,
}

pub struct Worker {
    pub services: Arc<Services>,
    pub host: Host,
    pub publisher: Arc<Publisher>,
    pub refuse: mpsc::Sender<Refusal>,
}

/// The session is over: nothing can be acknowledged any more, and the broker delivers again.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the connection to the broker is lost")]
    Lost,
    #[error(transparent)]
    NotPublished(#[from] PublishError),
}

/// What became of a message.
enum Fate {
    /// Done; with the target that is to be told what to do next.
    Done(Option<String>),
    Refused(Error),
}

/// Messages that are carried out together.
enum Group {
    Registrations,
    Reports,
    /// One message.
    Other,
}

impl Worker {
    /// Until nothing comes any more, or the session is over.
    pub async fn run(self, mut jobs: mpsc::Receiver<Job>, at_once: usize, mut session: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        while jobs.recv_many(&mut batch, at_once).await > 0 {
            for (group, jobs) in groups(std::mem::take(&mut batch)) {
                if *session.borrow() {
                    return;
                }
                if let Err(over) = self.settle(&group, jobs, &mut session).await {
                    tracing::debug!(%over, "messages are left to be delivered again");
                    return;
                }
            }
        }
    }

    /// Carries messages out, however long it takes.
    async fn settle(&self, group: &Group, jobs: Vec<Job>, session: &mut watch::Receiver<bool>) -> Result<(), Over> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.carry_out(group, &jobs).await {
                Ok(fates) => return self.finish(jobs, fates, session).await,
                Err(error) => error,
            };
            if jobs.len() > 1 && backoff.tries() >= TRIES_TOGETHER {
                for job in jobs {
                    Box::pin(self.settle(group, vec![job], session)).await?;
                }
                return Ok(());
            }
            let hopeless = jobs.len() == 1 && backoff.tries() >= TRIES_ALONE && self.services.db.ping().await.is_ok();
            if hopeless {
                tracing::error!(cause = ?error.cause, "a message failed {TRIES_ALONE} times; it is refused");
                let refused =
                    Error::new(Kind::Internal, "the server failed to carry the message out; its log says why");
                return self.finish(jobs, vec![Fate::Refused(refused)], session).await;
            }
            metrics::retried();
            tracing::warn!(
                count = jobs.len(),
                tries = backoff.tries(),
                cause = ?error.cause,
                "messages of devices could not be carried out: {error}; trying again"
            );
            pause(&mut backoff, session).await?;
        }
    }

    /// One try. Messages that are refused are not an error.
    async fn carry_out(&self, group: &Group, jobs: &[Job]) -> Result<Vec<Fate>, Error> {
        let Some(first) = jobs.first() else { return Ok(Vec::new()) };
        let pings = matches!(first.incoming.request, Request::Ping { .. });
        if !pings && tenants::settings(&self.services, &first.tenant).await?.is_none() {
            let unknown = || Error::new(Kind::TenantNotExists, format!("tenant {} does not exist", first.tenant.id()));
            return Ok(jobs.iter().map(|_| Fate::Refused(unknown())).collect());
        }
        let ctx = Ctx::device(&self.services, first.tenant.clone());
        match group {
            Group::Registrations => {
                let wanted: Vec<Registration> = jobs.iter().filter_map(|job| self.registration(job)).collect();
                let results = targets::register(&ctx, &wanted).await?;
                let fate = |(result, wanted): (Result<Registered, Error>, Registration)| {
                    // A new target can't have anything to do yet.
                    result.map(|was| Some(wanted.controller_id).filter(|_| was == Registered::Known))
                };
                results.into_iter().zip(wanted).map(fate).map(settled).collect()
            }
            Group::Reports => {
                let reports: Vec<_> = jobs.iter().filter_map(report).collect();
                let results = actions::report(&ctx, &reports).await?;
                let fate = |result: Result<actions::Taken, Error>| {
                    result.map(|taken| Some(taken.controller_id).filter(|_| taken.proceeds))
                };
                results.into_iter().map(fate).map(settled).collect()
            }
            Group::Other => {
                let result = self.one(&ctx, first).await;
                Ok(vec![settled(result.or_else(|error| done_before(first, error)))?])
            }
        }
    }

    fn registration(&self, job: &Job) -> Option<Registration> {
        let Request::ThingCreated { thing, reply_to, body } = &job.incoming.request else { return None };
        let body = body.clone().unwrap_or_default();
        Some(Registration {
            controller_id: thing.clone(),
            address: outgoing::address(&self.host.name, reply_to),
            name: body.name,
            target_type: body.target_type,
            attributes: body.attribute_update.map(reported),
        })
    }

    /// A message that is carried out by itself.
    async fn one(&self, ctx: &Ctx, job: &Job) -> Result<Option<String>, Error> {
        match &job.incoming.request {
            Request::ThingRemoved { thing } => targets::delete_by_device(ctx, thing).await?,
            Request::Attributes { thing, update } => {
                let (mode, attributes) = reported(update.clone());
                attributes::report(ctx, thing, mode, attributes).await?;
            }
            Request::AutoConfirm { thing, wanted } if wanted.enabled => {
                let remark = wanted.remark.clone().unwrap_or_else(|| AUTO_CONFIRM_REMARK.to_owned());
                let wanted = auto_confirm::Activate { initiator: wanted.initiator.clone(), remark: Some(remark) };
                auto_confirm::activate_by_device(ctx, thing, wanted).await?;
            }
            Request::AutoConfirm { thing, .. } => auto_confirm::deactivate_by_device(ctx, thing).await?,
            Request::Status { .. } => {
                let Some(answer) = answer(job) else { return Ok(None) };
                let taken = actions::answer(ctx, answer).await?;
                return Ok(Some(taken.controller_id).filter(|_| taken.proceeds));
            }
            // A PING is answered when it is finished; registrations come in groups.
            Request::Ping { .. } | Request::ThingCreated { .. } => {}
        }
        Ok(None)
    }

    /// Tells targets what to do next, then acknowledges, or refuses.
    async fn finish(&self, jobs: Vec<Job>, fates: Vec<Fate>, session: &mut watch::Receiver<bool>) -> Result<(), Over> {
        let Some(tenant) = jobs.first().map(|job| job.tenant.clone()) else { return Ok(()) };
        let mut next = Vec::new();
        let mut answers = Vec::new();
        for (job, fate) in jobs.iter().zip(&fates) {
            match (fate, &job.incoming.request) {
                (Fate::Done(Some(controller_id)), _) => next.push((controller_id.clone(), Asked::of(&job.delivery))),
                (Fate::Done(None), Request::Ping { answer: Some(answer) }) => {
                    answers.push(outgoing::ping_response(&job.incoming.tenant, answer, self.services.clock.now_ms()));
                }
                _ => {}
            }
        }
        answers.extend(self.commands(&tenant, next, session).await?);
        self.publisher.publish(&answers).await?;
        for (Job { delivery, .. }, fate) in jobs.into_iter().zip(fates) {
            match fate {
                Fate::Done(_) => {
                    delivery.acker.ack(BasicAckOptions::default()).await.map_err(|_| Over::Lost)?;
                    metrics::done();
                }
                Fate::Refused(error) => {
                    let refusal = Refusal { delivery, reason: reason(error.kind), message: error.message };
                    self.refuse.send(refusal).await.map_err(|_| Over::Lost)?;
                }
            }
        }
        Ok(())
    }

    async fn commands(
        &self,
        tenant: &Tenant,
        next: Vec<(String, Asked)>,
        session: &mut watch::Receiver<bool>,
    ) -> Result<Vec<Outgoing>, Over> {
        if next.is_empty() {
            return Ok(Vec::new());
        }
        let ctx = Ctx::device(&self.services, tenant.clone());
        let ids: Vec<String> = next.iter().map(|(id, _)| id).collect::<HashSet<_>>().into_iter().cloned().collect();
        let mut backoff = Backoff::default();
        let found = loop {
            match commands::next(&ctx, &ids).await {
                Ok(found) => break found,
                Err(error) => {
                    tracing::warn!(cause = ?error.cause, "what devices are to do next can't be read; trying again");
                    pause(&mut backoff, session).await?;
                }
            }
        };
        let message = |addressed: &Addressed| {
            let asked = next.iter().rev().find(|(id, _)| *id == addressed.controller_id);
            let correlation_id = asked.map_or_else(Uuid::new_v4, |(_, asked)| asked.correlation_id(tenant, addressed));
            outgoing::of_command(&ctx, addressed, correlation_id)
        };
        Ok(found.iter().filter_map(message).collect())
    }
}

/// Errors of the database are for another try; all others are the message's.
fn settled(result: Result<Option<String>, Error>) -> Result<Fate, Error> {
    match result {
        Ok(next) => Ok(Fate::Done(next)),
        Err(error) if error.is_internal() => Err(error),
        Err(error) => Ok(Fate::Refused(error)),
    }
}

/// A message that the broker delivers again may have been carried out, and its answer lost: then that it can't be carried
/// out a second time is no reason to refuse it.
fn done_before(job: &Job, error: Error) -> Result<Option<String>, Error> {
    let next = match (&job.incoming.request, error.kind) {
        _ if !job.delivery.redelivered => None,
        (Request::ThingRemoved { .. }, Kind::EntityNotFound) => Some(None),
        (Request::AutoConfirm { .. }, Kind::AutoConfirmationAlreadyActive) => Some(None),
        (Request::Status { thing, status, .. }, Kind::Absent | Kind::Gone)
            if status.action_status == ActionStatus::Confirmed =>
        {
            Some(thing.clone())
        }
        _ => None,
    };
    next.ok_or(error)
}

/// Messages that can go together, in their order: of one tenant and one sort, no thing twice among registrations.
fn groups(jobs: Vec<Job>) -> Vec<(Group, Vec<Job>)> {
    let mut groups: Vec<(Group, Vec<Job>)> = Vec::new();
    for job in jobs {
        let group = match &job.incoming.request {
            Request::ThingCreated { .. } => Group::Registrations,
            Request::Status { .. } if report(&job).is_some() => Group::Reports,
            _ => Group::Other,
        };
        match groups.last_mut() {
            Some((last, jobs)) if goes_with(last, &group, jobs, &job) => jobs.push(job),
            _ => groups.push((group, vec![job])),
        }
    }
    groups
}

fn goes_with(last: &Group, group: &Group, jobs: &[Job], job: &Job) -> bool {
    let one_tenant = jobs.first().is_some_and(|first| first.tenant == job.tenant);
    match (last, group) {
        (Group::Registrations, Group::Registrations) => {
            one_tenant && !jobs.iter().any(|other| other.incoming.request.order() == job.incoming.request.order())
        }
        (Group::Reports, Group::Reports) => one_tenant,
        _ => false,
    }
}

/// The report about an update that a message is, if it is one.
fn report(job: &Job) -> Option<Report<actions::ActionStatus>> {
    let Request::Status { status, .. } = &job.incoming.request else { return None };
    let what = match status.action_status {
        ActionStatus::Download => actions::ActionStatus::Download,
        ActionStatus::Retrieved => actions::ActionStatus::Retrieved,
        ActionStatus::Running => actions::ActionStatus::Running,
        ActionStatus::Finished => actions::ActionStatus::Finished,
        ActionStatus::Error => actions::ActionStatus::Error,
        ActionStatus::Warning => actions::ActionStatus::Warning,
        ActionStatus::Downloaded => actions::ActionStatus::Downloaded,
        ActionStatus::Canceled | ActionStatus::CancelRejected | ActionStatus::Confirmed | ActionStatus::Denied => {
            return None;
        }
    };
    of(job, what)
}

/// The answer that a message is, if it is one.
fn answer(job: &Job) -> Option<Report<Answer>> {
    let Request::Status { status, .. } = &job.incoming.request else { return None };
    let what = match status.action_status {
        ActionStatus::Canceled => Answer::Canceled,
        ActionStatus::CancelRejected => Answer::CancelRejected,
        ActionStatus::Confirmed => Answer::Confirmed,
        ActionStatus::Denied => Answer::Denied,
        _ => return None,
    };
    of(job, what)
}

fn of<What>(job: &Job, what: What) -> Option<Report<What>> {
    let Request::Status { status, correlation_id, .. } = &job.incoming.request else { return None };
    Some(Report {
        action: status.action_id,
        what,
        code: status.code,
        messages: status.message.iter().flatten().flatten().cloned().collect(),
        correlation_id: correlation_id.clone(),
    })
}

fn reported(update: AttributeUpdate) -> (attributes::Mode, attributes::Reported) {
    let mode = match update.mode {
        Some(UpdateMode::Replace) => attributes::Mode::Replace,
        Some(UpdateMode::Remove) => attributes::Mode::Remove,
        Some(UpdateMode::Merge) | None => attributes::Mode::Merge,
    };
    (mode, update.attributes.unwrap_or_default().into_iter().collect())
}

/// What makes the answer to a message known as a repeat, if that message comes again.
#[derive(Clone, Debug)]
enum Asked {
    /// With what tells it from others.
    ByMessage(String),
    /// The broker delivers it again: it may have been answered.
    Again,
    Once,
}

impl Asked {
    fn of(delivery: &Delivery) -> Asked {
        let id = delivery.properties.message_id().as_ref().or(delivery.properties.correlation_id().as_ref());
        match id.map(ToString::to_string).filter(|id| !id.is_empty()) {
            Some(id) => Asked::ByMessage(id),
            None if delivery.redelivered => Asked::Again,
            None => Asked::Once,
        }
    }

    fn correlation_id(&self, tenant: &Tenant, addressed: &Addressed) -> Uuid {
        let (thing, command) = (&addressed.controller_id, &addressed.command);
        match self {
            Asked::ByMessage(id) => {
                outgoing::repeatable(&format!("{} {id} {thing} {}", tenant.id(), outgoing::sort(command)))
            }
            Asked::Again => outgoing::own_id(command).unwrap_or_else(Uuid::new_v4),
            Asked::Once => Uuid::new_v4(),
        }
    }
}

async fn pause(backoff: &mut Backoff, session: &mut watch::Receiver<bool>) -> Result<(), Over> {
    tokio::select! {
        () = backoff.pause() => Ok(()),
        _ = session.wait_for(|over| *over) => Err(Over::Lost),
    }
}

/// What refused messages are counted by.
fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::EntityNotFound => "not_found",
        Kind::TenantNotExists => "tenant",
        Kind::TooManyEntries | Kind::FileSizeExceeded | Kind::StorageExceeded => "quota",
        Kind::Internal => "internal",
        Kind::ActionNotCancelable | Kind::Gone | Kind::Absent | Kind::AutoConfirmationAlreadyActive => "state",
        _ => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ActionUpdateStatus, AutoConfirmation};

    fn job(request: Request, redelivered: bool) -> Job {
        let delivery = Delivery::mock(1, "dmf.exchange".into(), "".into(), redelivered, Vec::new());
        Job { delivery, tenant: Tenant::new("T"), incoming: Incoming { tenant: "T".into(), request } }
    }

    fn created(thing: &str) -> Request {
        Request::ThingCreated { thing: thing.into(), reply_to: "to".into(), body: None }
    }

    fn status(action_status: ActionStatus) -> Request {
        let (timestamp, software_module_id, message, code) = (None, None, None, None);
        let status = ActionUpdateStatus { action_id: 7, action_status, timestamp, software_module_id, message, code };
        Request::Status { thing: Some("d".into()), status, correlation_id: None }
    }

    #[test]
    fn what_was_done_before_is_not_refused_when_it_comes_again() {
        let removed = || Request::ThingRemoved { thing: "d".into() };
        let confirming = || Request::AutoConfirm {
            thing: "d".into(),
            wanted: AutoConfirmation { enabled: true, initiator: None, remark: None },
        };
        let confirmed = || status(ActionStatus::Confirmed);
        let d = || Some("d".to_owned());
        for (request, kind, next) in [
            (removed(), Kind::EntityNotFound, None),
            (confirming(), Kind::AutoConfirmationAlreadyActive, None),
            (confirmed(), Kind::Absent, d()),
            (confirmed(), Kind::Gone, d()),
        ] {
            let error = || Error::new(kind, "it is so already");
            assert!(done_before(&job(request.clone(), false), error()).is_err(), "{request:?}");
            assert_eq!(done_before(&job(request, true), error()).unwrap(), next);
        }
        for request in [confirming(), confirmed(), status(ActionStatus::Canceled)] {
            let error = Error::new(Kind::EntityNotFound, "no such thing");
            assert!(done_before(&job(request.clone(), true), error).is_err(), "{request:?}");
        }
    }

    #[test]
    fn messages_go_together_as_long_as_no_order_is_lost() {
        let jobs = [
            created("a"),
            created("b"),
            created("a"),
            status(ActionStatus::Running),
            status(ActionStatus::Finished),
            status(ActionStatus::Confirmed),
            status(ActionStatus::Running),
        ];
        let groups = groups(jobs.into_iter().map(|request| job(request, false)).collect());
        let sizes: Vec<usize> = groups.iter().map(|(_, jobs)| jobs.len()).collect();
        assert_eq!(sizes, [2, 1, 2, 1, 1]);
    }
}
