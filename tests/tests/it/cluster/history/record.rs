//! What each participant was told, and what may be expected by that.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;

use crate::{
    cluster::BOUND,
    harness::{Answer, Client, NODE},
};

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    Done(Answer),
    /// By its status: it had no effect.
    Refused(Answer),
    /// No answer, or that of a server in trouble: it may have had its effect.
    Unknown,
}

/// One that carried something that can be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Done,
    Refused,
    Unknown,
}

impl Outcome {
    pub fn word(&self) -> Word {
        match self {
            Outcome::Done(_) => Word::Done,
            Outcome::Refused(_) => Word::Refused,
            Outcome::Unknown => Word::Unknown,
        }
    }

    pub fn done(self) -> Option<Answer> {
        match self {
            Outcome::Done(answer) => Some(answer),
            _ => None,
        }
    }
}

/// A request of an operator, or with a device's `authorization`.
pub async fn call(client: &Client, authorization: &str, method: Method, path: &str, body: Option<Value>) -> Outcome {
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    let body = body.map(|body| body.to_string().into_bytes());
    match client.try_request(method, path, &headers, body).await {
        Ok(answer) if answer.status < 300 => Outcome::Done(answer),
        Ok(answer) if answer.status < 500 => Outcome::Refused(answer),
        Ok(_) | Err(_) => Outcome::Unknown,
    }
}

/// What must, must not or may be found in the end.
#[derive(Default)]
pub struct Record {
    written: Mutex<Written>,
    violations: Mutex<Vec<String>>,
}

#[derive(Default)]
pub struct Written {
    /// By name.
    pub sets: HashMap<String, Word>,
    pub targets: HashMap<String, Word>,
    pub rollouts: HashMap<String, Word>,
    /// By target and set.
    pub assignments: HashMap<(String, i64), Assignment>,
    /// By action, with when it was asked for.
    pub cancelations: HashMap<i64, (Word, Instant)>,
    /// By a text that no other report has, with the action.
    pub reports: HashMap<String, (i64, Word)>,
    pub polls: usize,
    /// How late the latest answer was that did not show what it was to show.
    pub stalest: Duration,
    /// In the order in which gateways read them.
    pub commands: Vec<Command>,
}

/// A set was to be assigned to a target.
pub struct Assignment {
    pub word: Word,
    pub asked: Instant,
    /// The action of one that was done, and since when that is known.
    pub done: Option<(i64, Instant)>,
}

/// What a gateway was told about an action: to carry it out, or to cancel it.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub action: i64,
    pub cancels: bool,
    pub read: Instant,
    /// By what waits in its order to be sent; else as the answer to what the gateway said, which comes past that.
    pub in_order: bool,
}

impl Record {
    pub fn write<T>(&self, write: impl FnOnce(&mut Written) -> T) -> T {
        write(&mut self.written.lock().unwrap())
    }

    pub fn violated(&self, what: String) {
        eprintln!("VIOLATED: {what}");
        self.violations.lock().unwrap().push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// Whether an answer has to know what was acknowledged at `since`, if it was asked for at `asked`. No trouble of a node is an
    /// excuse: one that can't know what others did reads the database, or does not answer.
    fn must_know(&self, since: Instant, asked: Instant) -> bool {
        let late = asked.saturating_duration_since(since);
        self.write(|written| written.stalest = written.stalest.max(late));
        late > BOUND
    }
}

/// A target and what its polls have to show.
pub struct Target {
    pub id: String,
    /// It speaks through a gateway.
    pub is_thing: bool,
    known: Mutex<Known>,
    /// One operator at a time; holds the sets that it was given.
    pub operated: tokio::sync::Mutex<HashSet<i64>>,
}

#[derive(Default)]
struct Known {
    expects: Expects,
    /// Grows with whatever changes what is expected.
    version: u64,
    /// Actions that the device has said it is done with, or may have; since when it is known that it was heard.
    closed: HashMap<i64, Option<Instant>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expects {
    #[default]
    Anything,
    Deployment(i64, Instant),
    Cancelation(i64, Instant),
}

impl Target {
    pub fn new(id: &str, is_thing: bool) -> Self {
        Self { id: id.to_owned(), is_thing, known: Mutex::default(), operated: tokio::sync::Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap();
        known.version += 1;
        change(&mut known);
    }

    /// An operator is about to change something.
    pub fn is_being_changed(&self) {
        self.change(|known| known.expects = Expects::Anything);
    }

    /// That is what polls have to show from now on, unless the device has been quicker.
    pub fn shows(&self, expects: Expects) {
        self.change(|known| {
            let (Expects::Deployment(action, _) | Expects::Cancelation(action, _)) = expects else { return };
            if !known.closed.contains_key(&action) {
                known.expects = expects;
            }
        });
    }

    /// The action that an operator knows to be under way.
    pub fn at_work(&self) -> Option<i64> {
        match self.known.lock().unwrap().expects {
            Expects::Deployment(action, _) => Some(action),
            _ => None,
        }
    }

    /// The device is about to say that it is done with an action.
    pub fn closes(&self, action: i64) {
        self.change(|known| {
            known.closed.entry(action).or_insert(None);
            known.expects = match known.expects {
                Expects::Deployment(of, _) | Expects::Cancelation(of, _) if of == action => Expects::Anything,
                expects => expects,
            };
        });
    }

    /// It was heard.
    pub fn has_closed(&self, action: i64) {
        self.change(|known| {
            known.closed.insert(action, Some(Instant::now()));
        });
    }

    /// What a poll that is begun now has to show.
    pub fn asked(&self) -> (u64, Expects) {
        let known = self.known.lock().unwrap();
        (known.version, known.expects)
    }

    /// Looks at the answer of a poll: `offered` and `canceled` are its links' actions.
    pub fn judge(
        &self,
        record: &Record,
        answer: &Answer,
        (version, expects): (u64, Expects),
        asked: Instant,
        links: (Option<i64>, Option<i64>),
    ) {
        let known = self.known.lock().unwrap();
        let (offered, canceled) = links;
        let node = answer.header(NODE).unwrap_or("?");
        let what = format!("{}: node {node} answered {links:?}", self.id);
        let late = |since: Instant| asked.saturating_duration_since(since);
        for action in offered.iter().chain(&canceled) {
            if let Some(Some(closed)) = known.closed.get(action)
                && record.must_know(*closed, asked)
            {
                record.violated(format!("{what}, {:?} after the end of {action}", late(*closed)));
            }
        }
        if known.version != version {
            return;
        }
        match expects {
            Expects::Deployment(action, since) if offered != Some(action) && record.must_know(since, asked) => {
                record.violated(format!("{what}, {:?} after the assignment {action}", late(since)));
            }
            Expects::Cancelation(action, since) if canceled != Some(action) && record.must_know(since, asked) => {
                record.violated(format!("{what}, {:?} after the cancelation of {action}", late(since)));
            }
            _ => {}
        }
    }
}
