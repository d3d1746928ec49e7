//! The `pollingTime` value: an interval, and overrides by search (semantics.md A1, "pollingTime value format").

/// How often devices poll: a default, and intervals for targets that match a search, tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollingTime {
    pub default: Interval,
    /// A search over target fields, as written, and the interval of targets that match it.
    pub overrides: Vec<(String, Interval)>,
}

/// An interval in milliseconds and how much it may deviate, in percent. `text` is the interval as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    pub ms: i64,
    pub deviation: u8,
    pub text: String,
}

impl PollingTime {
    /// The default runs to the first comma; each override from there to the next comma after its `->`.
    pub fn parse(text: &str) -> Option<PollingTime> {
        let (default, mut rest) = match text.split_once(',') {
            Some((default, rest)) => (default, Some(rest)),
            None => (text, None),
        };
        let default = Interval::parse(default)?;
        let mut overrides = Vec::new();
        while let Some(text) = rest {
            let (search, tail) = text.split_once("->")?;
            let (interval, next) = match tail.split_once(',') {
                Some((interval, next)) => (interval, Some(next)),
                None => (tail, None),
            };
            overrides.push((search.trim().to_owned(), Interval::parse(interval.trim_start())?));
            rest = next;
        }
        Some(PollingTime { default, overrides })
    }
}

impl Interval {
    fn parse(text: &str) -> Option<Interval> {
        let trimmed = text.trim_end_matches(' ');
        if text.len() - trimmed.len() > 5 {
            return None;
        }
        let (duration, deviation) = match trimmed.split_once('~') {
            None => (trimmed, 0),
            Some((duration, percent)) => {
                let digits = percent.strip_suffix('%')?;
                if !(1..=2).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                (duration, digits.parse().ok()?)
            }
        };
        Some(Interval { ms: duration_ms(duration)?, deviation, text: format_ms(duration_ms(duration)?) })
    }

    /// What a device is told to sleep. `random` in 0..1 picks a point within the deviation, clamped to `range`.
    pub fn sleep(&self, random: f64, range: (i64, i64)) -> String {
        if self.deviation == 0 {
            return self.text.clone();
        }
        #[expect(clippy::cast_possible_truncation, reason = "intervals are far below 2^52 ms")]
        let deviated = (self.ms as f64 * (1.0 + (random * 2.0 - 1.0) * f64::from(self.deviation) / 100.0)) as i64;
        format_ms(deviated.max(range.0).min(range.1))
    }

    /// The longest a device may take to come back.
    pub fn latest_ms(&self) -> i64 {
        self.ms.saturating_add(self.ms.saturating_mul(self.deviation.into()) / 100)
    }
}

/// What a device sleeps that is to come back `polls` times until a maintenance window opens in `ms`: at most the
/// `interval`, at least `min` milliseconds.
pub fn sleep_before(ms: i64, polls: i64, interval: String, min: i64) -> String {
    let sleep = ms / 1000 * 1000 / polls.max(1);
    match duration_ms(&interval) {
        Some(interval_ms) if sleep <= interval_ms => format_ms(sleep.max(min)),
        _ => interval,
    }
}

/// `ss`, `mm:ss`, `HH:mm:ss`, or an ISO-8601 duration of days and time, in milliseconds.
pub fn duration_ms(text: &str) -> Option<i64> {
    if let Some(iso) = text.strip_prefix(['P', 'p']) {
        return iso_ms(iso);
    }
    let mut seconds: i64 = 0;
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    for part in parts {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    seconds.checked_mul(1000)
}

fn iso_ms(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    let (days, time) = match upper.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (upper.as_str(), ""),
    };
    let mut ms: i64 = 0;
    let mut any = false;
    for (part, units) in [(days, &[('D', 86_400_000)][..]), (time, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)])] {
        let mut rest = part;
        for (unit, factor) in units {
            if let Some((number, tail)) = rest.split_once(*unit) {
                let odd = |b: u8| !(b.is_ascii_digit() || b == b'.' && *unit == 'S');
                if number.bytes().any(odd) {
                    return None;
                }
                let value: f64 = number.parse().ok()?;
                #[expect(clippy::cast_possible_truncation, reason = "durations are far below 2^52 ms")]
                let value = (value * *factor as f64) as i64;
                ms = ms.checked_add(value)?;
                any = true;
                rest = tail;
            }
        }
        if !rest.is_empty() {
            return None;
        }
    }
    any.then_some(ms)
}

/// `HH:mm:ss` below a day, else ISO-8601 as the peer writes it.
pub fn format_ms(ms: i64) -> String {
    let seconds = ms / 1000;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h < 24 {
        return format!("{h:02}:{m:02}:{s:02}");
    }
    let mut text = format!("PT{h}H");
    if m > 0 {
        text.push_str(&format!("{m}M"));
    }
    if s > 0 {
        text.push_str(&format!("{s}S"));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_in_every_form() {
        for (text, ms) in [
            ("5", Some(5_000)),
            ("02:30", Some(150_000)),
            ("00:05:00", Some(300_000)),
            ("100:00:00", Some(360_000_000)),
            ("PT5M", Some(300_000)),
            ("P1DT1S", Some(86_401_000)),
            ("PT0.5S", Some(500)),
            ("", None),
            ("1:2:3:4", None),
            ("-5", None),
            ("P", None),
            ("PT", None),
            ("P1X", None),
            ("PTinfS", None),
            ("PTNaNS", None),
            ("PT1e3S", None),
            ("PT1.5M", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn overrides_may_hold_commas_and_the_default_may_not() {
        let polling = PollingTime::parse("00:05:00~10%, name==a,name==b -> 00:01:00, group==x -> PT2M").unwrap();
        assert_eq!((polling.default.ms, polling.default.deviation), (300_000, 10));
        let overrides: Vec<_> = polling.overrides.iter().map(|(q, i)| (q.as_str(), i.ms)).collect();
        assert_eq!(overrides, [("name==a,name==b", 60_000), ("group==x", 120_000)]);
        for bad in ["nonsense", "00:05:00~100%", "00:05:00,", "00:05:00, a==b", "00:05:00      "] {
            assert_eq!(PollingTime::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn devices_come_back_in_time_for_a_window() {
        for (ms, sleep) in [
            (86_400_000, "00:05:00"),
            (900_999, "00:05:00"),
            (899_000, "00:04:59"),
            (600_000, "00:03:20"),
            (90_999, "00:00:30"),
            (0, "00:00:30"),
        ] {
            assert_eq!(sleep_before(ms, 3, "00:05:00".into(), 30_000), sleep, "{ms}");
        }
        assert_eq!(sleep_before(60_000, 0, "00:05:00".into(), 30_000), "00:01:00");
        assert_eq!(sleep_before(86_400_000, 1, "PT25H".into(), 30_000), "PT24H");
    }

    #[test]
    fn a_deviated_sleep_stays_in_range() {
        let interval = Interval::parse("00:05:00~50%").unwrap();
        let range = (30_000, 86_399_000);
        assert_eq!(interval.sleep(0.0, range), "00:02:30");
        assert_eq!(interval.sleep(1.0, range), "00:07:30");
        assert_eq!(interval.sleep(0.0, (240_000, 86_399_000)), "00:04:00");
        assert_eq!(format_ms(90_061_000), "PT25H1M1S");
    }
    proptest! {
        #[test]
        fn any_text_is_a_polling_time_or_none(
            text in prop_oneof![any::<String>(), "[0-9PTDHMS:~%., >a=-]{0,20}", "(P?[0-9T.]{1,20}[DHMS]?(~[0-9]{0,3}%)?,?(a==b->)?){1,4}"],
            random in 0.0..1.0,
            now in any::<i64>(),
        ) {
            let Some(polling) = PollingTime::parse(&text) else { return Ok(()) };
            for interval in std::iter::once(&polling.default).chain(polling.overrides.iter().map(|(_, i)| i)) {
                prop_assert!(interval.latest_ms() >= interval.ms);
                prop_assert_eq!(duration_ms(&interval.text), Some(interval.ms / 1000 * 1000), "{}", interval.text);
                interval.sleep(random, (30_000, 86_399_000));
                sleep_before(now, 3, interval.text.clone(), 30_000);
            }
        }
    }
}
