//! The rows of views in Redis, shared by all nodes where that is wanted (`kettle.redis.use`).
//!
//! What is found was read from the database wholly after the last time that whoever finds it dropped it: a miss leaves a
//! token before the database is read, what was read is kept only if that token is there, and a drop takes view and token away.
//! So a read that overlaps a drop is not kept, and nobody depends on the drops of others: not on those of a node that dies
//! between commit and drop, nor on those of one that does not reach Redis. All that is asked of a node is that it does not look
//! here for what it has heard of before its own drop is through; until then it reads the database, and no commit waits.
//! What a node can't have heard of, it drops before it looks here first: by the outbox when it starts, else everything.
//!
//! To drop everything is to end a generation. Its name holds that of the Redis process, so what one has forgotten (a drop that was
//! not on its disk, or not on its replica) no generation outlives. And where another process answers than the one that has this node's
//! drops, everything is dropped there first. Model: `tests/it/model/shared.rs`.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Duration,
};

use kettle_cluster::{Event, Events, Redis, Script, outbox};
use kettle_db::{Db, Engine};
use tokio::sync::Notify;

use super::view::{Row, key};

/// The form of [`Row`], to be counted up when it changes: a node does not know those of others.
const FORM: u32 = 1;
/// No view lives longer, however long one may that a node keeps for itself.
const LONGEST: Duration = Duration::from_secs(60);
/// The part of a view's life that a read of the database may take to be kept.
const FILL: u32 = 6;
/// How far back changes are looked for that views may be older than: what a view lives, and a commit that hangs.
const MISSED_WITHIN: Duration = Duration::from_secs(240);
/// More than these, and everything is dropped.
const MOST_DROPS: usize = 10_000;
const BATCH: usize = 256;
const AGAIN: Duration = Duration::from_secs(1);
const GENERATION: &str = "views";

/// In Lua: the process, from one time that it took over to the next. A replica that became one keeps its `run_id`.
const PROCESS: &str = "string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. \
     (string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '')";

/// `KEYS`: generation, view, token; `ARGV`: something new, milliseconds for the token. Returns the process, and the view and how
/// long it lives; or whether the token was left.
static FIND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "local process = {PROCESS} \
         local generation = redis.call('GET', KEYS[1]) \
         if not generation or string.sub(generation, 1, #process) ~= process then \
           generation = process .. ':' .. ARGV[1] \
           redis.call('SET', KEYS[1], generation) \
         end \
         local view = redis.call('HMGET', KEYS[2], 'generation', 'row') \
         if view[1] == generation then return {{process, view[2], redis.call('PTTL', KEYS[2])}} end \
         if redis.call('SET', KEYS[3], generation .. ' ' .. ARGV[1], 'NX', 'PX', ARGV[2]) then return {{process, false, 1}} end \
         return {{process, false, 0}}"
    ))
});

/// `KEYS`: the same; `ARGV`: what was new, the view, milliseconds for it.
static FILL_IN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local generation = redis.call('GET', KEYS[1]) \
         if not generation or redis.call('GET', KEYS[3]) ~= generation .. ' ' .. ARGV[1] then return 0 end \
         redis.call('DEL', KEYS[3]) \
         redis.call('HSET', KEYS[2], 'generation', generation, 'row', ARGV[2]) \
         return redis.call('PEXPIRE', KEYS[2], ARGV[3])",
    )
});

/// Returns the process.
static DROP: LazyLock<Script> =
    LazyLock::new(|| Script::new(&format!("redis.call('DEL', unpack(KEYS)) return {PROCESS}")));

pub(super) struct Shared {
    redis: Redis,
    live: Duration,
    todo: Mutex<Todo>,
    wanted: Notify,
    /// The Redis process that has this node's drops.
    process: Mutex<Option<String>>,
}

/// What was heard of and is not dropped in Redis yet.
#[derive(Default)]
struct Todo {
    waiting: Drops,
    under_way: Drops,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Drops {
    all: bool,
    /// What the outbox tells.
    missed: bool,
    keys: HashSet<Box<str>>,
}

impl Drops {
    fn are_none(&self) -> bool {
        !self.all && !self.missed && self.keys.is_empty()
    }

    fn cover(&self, key: &str) -> bool {
        self.all || self.missed || self.keys.contains(key)
    }

    fn add(&mut self, drops: Drops) {
        self.all |= drops.all;
        self.missed |= drops.missed;
        if !self.all {
            self.keys.extend(drops.keys);
        }
        if self.keys.len() > MOST_DROPS {
            self.all = true;
        }
        if self.all {
            *self = Drops { all: true, ..Drops::default() };
        }
    }
}

impl Todo {
    fn cover(&self, key: &str) -> bool {
        self.waiting.cover(key) || self.under_way.cover(key)
    }

    /// What is to be done next; it counts as heard of until it is done.
    fn take(&mut self) -> Drops {
        self.under_way = std::mem::take(&mut self.waiting);
        self.under_way.clone()
    }

    fn done(&mut self, well: bool) {
        let drops = std::mem::take(&mut self.under_way);
        if !well {
            self.waiting.add(drops);
        }
    }
}

/// The right to keep what is read of the database now.
pub(super) struct Filling {
    token: String,
}

pub(super) enum Found {
    /// And for how long it may be answered from.
    Row(Box<Row>, Duration),
    /// To be read from the database, and kept by those who may.
    Nothing(Option<Filling>),
}

impl Shared {
    /// Of a node that has heard of nothing yet.
    pub fn new(redis: Redis, live: Duration) -> Arc<Shared> {
        let waiting = Drops { missed: true, ..Drops::default() };
        let todo = Todo { waiting, ..Todo::default() };
        Arc::new(Shared {
            redis,
            live: live.min(LONGEST),
            todo: Mutex::new(todo),
            wanted: Notify::new(),
            process: Mutex::default(),
        })
    }

    pub async fn find(&self, key: &str) -> Found {
        if self.todo().cover(key) {
            return Found::Nothing(None);
        }
        let token = uuid::Uuid::new_v4().to_string();
        let (view, fill) = names(key);
        let (keys, fill_ms) = ([GENERATION, &view, &fill], (self.live / FILL).as_millis().to_string());
        // Before it is asked: this may become the process that answers while the answer is under way.
        let known = self.process().clone();
        match self.redis.run::<(String, Option<String>, i64)>(&FIND, &keys, &[&token, &fill_ms]).await {
            Ok((process, ..))
                if known.as_ref().unwrap_or(self.process().get_or_insert(process.clone())) != &process =>
            {
                self.drop_all();
                Found::Nothing(None)
            }
            Ok((_, Some(row), left)) => match serde_json::from_str(&row) {
                Ok(row) => Found::Row(Box::new(row), Duration::from_millis(u64::try_from(left).unwrap_or(0))),
                Err(error) => {
                    tracing::warn!(%error, "a view in Redis can't be read");
                    Found::Nothing(None)
                }
            },
            Ok((_, None, left)) => Found::Nothing((left > 0).then_some(Filling { token })),
            Err(_) => Found::Nothing(None),
        }
    }

    pub async fn keep(&self, filling: Filling, key: &str, row: &Row) {
        let Ok(text) = serde_json::to_string(row) else { return };
        let (view, fill) = names(key);
        // It was read up to so long ago.
        let live_ms = (self.live - self.live / FILL).as_millis().to_string();
        let keys = [GENERATION, &view, &fill];
        // Without it, the next one reads the database.
        let _ = self.redis.run::<i64>(&FILL_IN, &keys, &[&filling.token, &text, &live_ms]).await;
    }

    pub fn drop_keys(&self, keys: impl Iterator<Item = Box<str>>) {
        self.add(Drops { keys: keys.collect(), ..Drops::default() });
    }

    /// What this node has not heard of because it did not follow the events yet; from now on it does.
    pub fn drop_missed(&self) {
        self.add(Drops { missed: true, ..Drops::default() });
    }

    pub fn drop_all(&self) {
        self.add(Drops { all: true, ..Drops::default() });
    }

    fn add(&self, drops: Drops) {
        self.todo().waiting.add(drops);
        self.wanted.notify_one();
    }

    /// Drops in Redis what was heard of, for as long as the process lives. While Redis is away, all of it waits.
    pub async fn follow(self: Arc<Self>, db: Db, events: Events) {
        loop {
            let drops = self.todo().take();
            if drops.are_none() {
                self.wanted.notified().await;
                continue;
            }
            let well = self.drop_now(drops, &db, &events).await;
            self.todo().done(well);
            if !well {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Whether all of it is done.
    async fn drop_now(&self, mut drops: Drops, db: &Db, events: &Events) -> bool {
        if drops.missed {
            drops.add(missed(db, events).await);
        }
        if drops.all {
            return self.drop_names(&[GENERATION]).await;
        }
        let names: Vec<String> = drops.keys.iter().flat_map(|key| <[String; 2]>::from(names(key))).collect();
        for names in names.chunks(2 * BATCH) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if !self.drop_names(&names).await {
                return false;
            }
        }
        true
    }

    async fn drop_names(&self, names: &[&str]) -> bool {
        let Ok(process) = self.redis.run::<String>(&DROP, names, &[]).await else { return false };
        let known = self.process().clone();
        if known.is_some_and(|known| known != process) {
            // It has not what was dropped before.
            match self.redis.run::<String>(&DROP, &[GENERATION], &[]).await {
                Ok(still) if still == process => {}
                _ => return false,
            }
        }
        *self.process() = Some(process);
        true
    }

    fn process(&self) -> MutexGuard<'_, Option<String>> {
        self.process.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn todo(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What a node that starts can't have heard of. What hawkBit's nodes have told is in no outbox, and a process that is alone on its
/// database has nobody to share with.
async fn missed(db: &Db, events: &Events) -> Drops {
    let all = Drops { all: true, ..Drops::default() };
    if db.engine() == Engine::Sqlite || events.announces() {
        return all;
    }
    let mut drops = Drops::default();
    match outbox::lately(db, MISSED_WITHIN, MOST_DROPS as u64).await {
        Ok(told) if told.len() < MOST_DROPS => {
            for event in told {
                match event {
                    Event::TargetsChanged { tenant, controller_ids } => {
                        drops.keys.extend(controller_ids.iter().map(|id| key(&tenant, id)));
                    }
                    Event::TenantConfigurationChanged { .. } => return all,
                    _ => {}
                }
                if drops.keys.len() > MOST_DROPS {
                    return all;
                }
            }
            drops
        }
        Ok(_) => all,
        Err(error) => {
            tracing::warn!(%error, "what changed lately can't be read; no view in Redis is used");
            all
        }
    }
}

/// The keys of a view and of its token.
fn names(key: &str) -> (String, String) {
    (format!("view:{FORM}:{key}"), format!("fill:{FORM}:{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str) -> Drops {
        Drops { keys: [key.into()].into(), ..Drops::default() }
    }

    #[test]
    fn what_is_heard_of_counts_until_it_is_dropped() {
        let mut todo = Todo::default();
        todo.waiting.add(of("a"));
        assert_eq!(todo.take(), of("a"));
        assert!(todo.cover("a") && !todo.cover("b"), "it is under way");
        todo.waiting.add(of("b"));
        todo.done(false);
        assert!(todo.cover("a") && todo.cover("b"), "Redis was away");
        todo.take();
        todo.waiting.add(of("a"));
        todo.done(true);
        assert!(todo.cover("a"), "it was heard of again meanwhile");
        assert!(!todo.cover("b"));
        todo.take();
        todo.done(true);
        assert!(todo.take().are_none());
    }

    #[test]
    fn what_is_too_much_is_everything() {
        let mut drops = Drops { missed: true, ..Drops::default() };
        assert!(drops.cover("a"));
        for n in 0..=MOST_DROPS {
            drops.add(of(&n.to_string()));
        }
        assert_eq!(drops, Drops { all: true, ..Drops::default() });
        drops.add(of("a"));
        assert_eq!(drops, Drops { all: true, ..Drops::default() });
    }
}
