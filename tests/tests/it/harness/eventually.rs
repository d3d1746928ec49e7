//! Bounded waiting, the only place of the tests that looks at the wall clock.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(15);

/// Repeats `attempt` until it gives a value; panics with `what` after `within`.
pub async fn eventually<T>(within: Duration, what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(begin.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets time pass, to choose a moment or to be slow on purpose; never to wait for something.
pub async fn linger(time: Duration) {
    tokio::time::sleep(time).await;
}

/// How long a request or a start took.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begin = Instant::now();
    let result = work.await;
    (result, begin.elapsed())
}

/// The same for callers without a runtime.
pub fn eventually_within<T>(within: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begin.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
