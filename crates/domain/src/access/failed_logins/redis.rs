//! The same in Redis: a hash per subject, gone by itself when its time is over, and an index of all by time.

use std::{sync::LazyLock, time::Duration};

use kettle_cluster::{Away, Redis, Script};

use super::{Count, Kind, Subject};

const INDEX: &str = "failed-logins";

const NOW: &str = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) ";

static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW} local found = {{}} \
         for i, key in ipairs(KEYS) do \
           local c = redis.call('HMGET', key, 'failures', 'failed_at') \
           if c[1] then found[#found + 1] = {{i - 1, tonumber(c[1]), tonumber(c[2]), now - tonumber(c[2])}} end \
         end return found"
    ))
});

/// `KEYS`: the subjects' and the index; `ARGV`: how long to keep, how many, and each subject's kind and text.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW} local index = KEYS[#KEYS] local added = {{}} \
         for i = 1, #KEYS - 1 do \
           local n = redis.call('HINCRBY', KEYS[i], 'failures', 1) \
           redis.call('HSET', KEYS[i], 'failed_at', now, 'kind', ARGV[1 + 2 * i], 'subject', ARGV[2 + 2 * i]) \
           redis.call('PEXPIRE', KEYS[i], ARGV[1]) \
           redis.call('ZADD', index, now, KEYS[i]) \
           added[i] = {{i - 1, n, now, 0}} \
         end \
         redis.call('ZREMRANGEBYSCORE', index, '-inf', now - ARGV[1]) \
         local more = redis.call('ZCARD', index) - ARGV[2] \
         if more > 0 then \
           local oldest = redis.call('ZPOPMIN', index, math.min(more, 100)) \
           for i = 1, #oldest, 2 do redis.call('DEL', oldest[i]) end \
         end return added"
    ))
});

static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new("redis.call('ZREM', KEYS[2], KEYS[1]) return redis.call('DEL', KEYS[1])"));

static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{NOW} local found = {{}} \
         for _, key in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)) do \
           local c = redis.call('HMGET', key, 'kind', 'subject', 'failures', 'failed_at') \
           if c[1] then found[#found + 1] = {{c[1], c[2], tonumber(c[3]), tonumber(c[4]), now - tonumber(c[4])}} end \
         end return found"
    ))
});

pub(super) async fn read(redis: &Redis, subjects: &[Subject]) -> Result<Vec<Count>, Away> {
    let keys: Vec<String> = subjects.iter().map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found: Vec<(usize, u64, i64, i64)> = redis.run(&READ, &keys, &[]).await?;
    Ok(counts(subjects, found))
}

pub(super) async fn add(redis: &Redis, subjects: &[Subject], keep: Duration, most: i64) -> Result<Vec<Count>, Away> {
    let keys: Vec<String> = subjects.iter().map(key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).chain([INDEX]).collect();
    let (keep, most) = (keep.as_millis().to_string(), most.to_string());
    let of_subjects = subjects.iter().flat_map(|subject| [subject.kind.name(), subject.text.as_str()]);
    let args: Vec<&str> = [keep.as_str(), &most].into_iter().chain(of_subjects).collect();
    let added: Vec<(usize, u64, i64, i64)> = redis.run(&ADD, &keys, &args).await?;
    Ok(counts(subjects, added))
}

pub(super) async fn forget(redis: &Redis, subject: &Subject) -> Result<bool, Away> {
    let gone: u64 = redis.run(&FORGET, &[&key(subject), INDEX], &[]).await?;
    Ok(gone > 0)
}

pub(super) async fn list(redis: &Redis, limit: i64) -> Result<Vec<Count>, Away> {
    let found: Vec<(String, String, u64, i64, i64)> = redis.run(&LIST, &[INDEX], &[&limit.to_string()]).await?;
    let count = |(kind, text, failures, failed_at, ago): (String, String, u64, i64, i64)| {
        Some(Count { subject: Subject { kind: Kind::parse(&kind)?, text }, failures, failed_at, ago })
    };
    Ok(found.into_iter().filter_map(count).collect())
}

fn counts(subjects: &[Subject], found: Vec<(usize, u64, i64, i64)>) -> Vec<Count> {
    let count = |(place, failures, failed_at, ago): (usize, u64, i64, i64)| {
        Some(Count { subject: subjects.get(place)?.clone(), failures, failed_at, ago })
    };
    found.into_iter().filter_map(count).collect()
}

fn key(subject: &Subject) -> String {
    format!("failed-login:{}:{}", subject.kind.name(), subject.text)
}
