//! The same in Redis: a hash per session, gone by itself when its time is over, and a set of each user's.

use std::sync::LazyLock;

use kettle_cluster::{Away, Redis, Script};

use super::{Lifetime, Session, Stored};

const NOW: &str = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) ";

/// `KEYS`: the session and the set of the user's; `ARGV`: user, proof, idle and longest time.
static INSERT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW} local left = math.min(ARGV[3], ARGV[4]) \
         redis.call('HSET', KEYS[1], 'username', ARGV[1], 'proof', ARGV[2], 'created_at', now, 'of', KEYS[2]) \
         redis.call('PEXPIRE', KEYS[1], left) \
         for _, other in ipairs(redis.call('SMEMBERS', KEYS[2])) do \
           if redis.call('EXISTS', other) == 0 then redis.call('SREM', KEYS[2], other) end \
         end \
         redis.call('SADD', KEYS[2], KEYS[1]) \
         redis.call('PEXPIRE', KEYS[2], ARGV[4]) \
         return {{now, now + left}}"
    ))
});

/// `ARGV`: idle and longest time.
static FIND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW} local s = redis.call('HMGET', KEYS[1], 'username', 'proof', 'created_at') \
         if not s[1] then return false end \
         local created = tonumber(s[3]) \
         local left = math.min(ARGV[1], created + ARGV[2] - now) \
         if left <= 0 then redis.call('DEL', KEYS[1]) return false end \
         redis.call('PEXPIRE', KEYS[1], left) \
         return {{s[1], s[2], created, now + left}}"
    ))
});

static DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local of = redis.call('HGET', KEYS[1], 'of') \
         if of then redis.call('SREM', of, KEYS[1]) end \
         return redis.call('DEL', KEYS[1])",
    )
});

static DELETE_OF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for _, session in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', session) end \
         return redis.call('DEL', KEYS[1])",
    )
});

pub(super) async fn insert(
    redis: &Redis,
    id: &str,
    username: &str,
    proof: &str,
    lifetime: Lifetime,
) -> Result<Session, Away> {
    let (idle, longest) = millis(lifetime);
    let args = [username, proof, &idle, &longest];
    let (created_at, expires_at) = redis.run(&INSERT, &[&key(id), &key_of(username)], &args).await?;
    Ok(Session { username: username.to_owned(), created_at, expires_at })
}

/// What `FIND` answers.
type Found = Option<(String, String, i64, i64)>;

pub(super) async fn find(redis: &Redis, id: &str, lifetime: Lifetime) -> Result<Option<Stored>, Away> {
    let (idle, longest) = millis(lifetime);
    let found: Found = redis.run(&FIND, &[&key(id)], &[&idle, &longest]).await?;
    Ok(stored(found))
}

/// As [`find`], also if Redis did not answer a moment ago.
pub(super) async fn find_still(redis: &Redis, id: &str, lifetime: Lifetime) -> Result<Option<Stored>, Away> {
    let (idle, longest) = millis(lifetime);
    let found: Found = redis.insist(&FIND, &[&key(id)], &[&idle, &longest]).await?;
    Ok(stored(found))
}

fn stored(found: Found) -> Option<Stored> {
    let (username, proof, created_at, expires_at) = found?;
    Some(Stored { session: Session { username, created_at, expires_at }, proof })
}

pub(super) async fn delete(redis: &Redis, id: &str) -> Result<(), Away> {
    redis.insist::<i64>(&DELETE, &[&key(id)], &[]).await.map(drop)
}

pub(super) async fn delete_of(redis: &Redis, username: &str) -> Result<(), Away> {
    redis.insist::<i64>(&DELETE_OF, &[&key_of(username)], &[]).await.map(drop)
}

fn millis(lifetime: Lifetime) -> (String, String) {
    (lifetime.idle.as_millis().to_string(), lifetime.longest.as_millis().to_string())
}

fn key(id: &str) -> String {
    format!("session:{id}")
}

fn key_of(username: &str) -> String {
    format!("sessions-of:{username}")
}
