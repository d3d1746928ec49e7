//! Redis, where it is wanted: what nodes count together, and what may be lost. Nothing that must not be lost lives here alone.
//!
//! A Redis that is away, or hangs, must hold up no request: whoever asks gets [`Away`] within the timeout, and goes on
//! without it. After that nobody waits for it but one request each second, until it answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Client, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

/// After a failure, Redis is asked again after this long.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// A connection whose other end takes nothing for so long is given up: a machine that lost its power says no goodbye.
const TAKES_NOTHING: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss:` with TLS.
    pub url: String,
    /// How long an answer, or a connection, may take.
    pub timeout: Duration,
    /// What every key starts with.
    pub prefix: String,
}

/// Redis can't be used now. The log has it already.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Redis does not answer: {0}")]
pub struct Away(String);

/// What Redis is to do in one go, in Lua.
pub struct Script {
    lua: redis::Script,
    /// Whether the log has been told that Redis refuses it.
    refused: AtomicBool,
}

impl Script {
    pub fn new(lua: &str) -> Script {
        Script { lua: redis::Script::new(lua), refused: AtomicBool::new(false) }
    }
}

/// The connection of this node, made when it is needed first and again when it breaks.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    connection: ConnectionManager,
    settings: RedisSettings,
    started: Instant,
    /// Milliseconds after `started` before which nobody tries.
    left_alone_until: AtomicU64,
    away: AtomicBool,
}

impl Redis {
    /// Fails on an address that is none; Redis itself may be away. To be called within the runtime.
    pub fn new(settings: RedisSettings) -> Result<Redis, String> {
        let address = settings.url.as_str().into_connection_info().map_err(|e| e.to_string())?;
        let client = Client::open(address.set_tcp_settings(tcp())).map_err(|e| e.to_string())?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(|e| e.to_string())?;
        Ok(Redis(Arc::new(Inner {
            connection,
            settings,
            started: Instant::now(),
            left_alone_until: AtomicU64::new(0),
            away: AtomicBool::new(false),
        })))
    }

    /// Whether Redis answers; if not, why.
    pub async fn check(&self) -> Result<(), String> {
        let mut connection = self.0.connection.clone();
        let ping = redis::cmd("PING");
        let answer = tokio::time::timeout(self.0.settings.timeout, ping.query_async::<String>(&mut connection)).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", self.0.settings.timeout)),
        }
    }

    /// Runs a script. `keys` are without the prefix.
    pub async fn run<T: FromRedisValue>(&self, script: &Script, keys: &[&str], args: &[&str]) -> Result<T, Away> {
        if self.is_left_alone() {
            return Err(Away("it did not a moment ago".into()));
        }
        self.insist(script, keys, args).await
    }

    /// As [`Redis::run`], and also if it did not answer a moment ago: for those who would be wrong without it.
    pub async fn insist<T: FromRedisValue>(&self, script: &Script, keys: &[&str], args: &[&str]) -> Result<T, Away> {
        let mut call = script.lua.prepare_invoke();
        for key in keys {
            call.key(format!("{}{key}", self.0.settings.prefix));
        }
        for arg in args {
            call.arg(*arg);
        }
        let ask = async || call.invoke_async(&mut self.0.connection.clone()).await;
        let ask_twice = async {
            match ask().await {
                // That a connection broke, or could not be made, is what the next to use it is told first.
                Err(error) if !is_answer(&error) => ask().await,
                answer => answer,
            }
        };
        match tokio::time::timeout(self.0.settings.timeout, ask_twice).await {
            Ok(Ok(answer)) => {
                self.back();
                Ok(answer)
            }
            // It answers: what else it is used for goes on.
            Ok(Err(error)) if is_answer(&error) => {
                self.back();
                let error = error_text(&error);
                if !script.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error, "Redis refuses what it is asked; this node does without it");
                }
                Err(Away(error))
            }
            Ok(Err(error)) => Err(self.gone(error_text(&error))),
            Err(_) => Err(self.gone(format!("no answer within {:?}", self.0.settings.timeout))),
        }
    }

    /// Whether it is not to be asked now. Of many who want to know when its time is over, one is told that it is.
    fn is_left_alone(&self) -> bool {
        if !self.0.away.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.0.left_alone_until.load(Ordering::Relaxed);
        let again = self.leave_alone_until();
        let swap = |of: &AtomicU64| of.compare_exchange(until, again, Ordering::Relaxed, Ordering::Relaxed);
        self.now_ms() < until || swap(&self.0.left_alone_until).is_err()
    }

    fn leave_alone_until(&self) -> u64 {
        self.now_ms().saturating_add(millis(LEFT_ALONE))
    }

    fn back(&self) {
        if self.0.away.load(Ordering::Relaxed) && self.0.away.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis is back");
        }
    }

    fn gone(&self, error: String) -> Away {
        self.0.left_alone_until.store(self.leave_alone_until(), Ordering::Relaxed);
        if !self.0.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "Redis is away; until it is back, this node does without it");
        }
        Away(error)
    }

    fn now_ms(&self) -> u64 {
        millis(self.0.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(TAKES_NOTHING).with_interval(LEFT_ALONE);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(TAKES_NOTHING);
    settings
}

/// Whether Redis itself says it, as where its user may not do something, or its memory is full.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Without what it was asked: that may name users.
fn error_text(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{code}: {}", error.category()),
        None => error.to_string(),
    }
}
