//! Maintenance windows: when a device may install what it was assigned (semantics.md A3, "Maintenance window"). Pure: the
//! time comes as an argument. What a window does to an action is its callers' business.

use jiff::{Timestamp, tz::Offset};

use super::cron::Cron;
use crate::error::{Error, Kind, Result};

/// What the columns take.
const MAX_LENGTH: usize = 40;

/// A window as an operator writes it: a schedule in Quartz' cron dialect, a duration and an offset from UTC. What is
/// missing is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WindowText {
    pub schedule: String,
    pub duration: String,
    pub timezone: String,
}

impl WindowText {
    /// `None` if no part is given.
    pub fn new(schedule: Option<String>, duration: Option<String>, timezone: Option<String>) -> Option<WindowText> {
        let text = WindowText {
            schedule: schedule.unwrap_or_default(),
            duration: duration.unwrap_or_default(),
            timezone: timezone.unwrap_or_default(),
        };
        (text != WindowText::default()).then_some(text)
    }
}

/// A window that opens again and again, each time for the same duration. Without times it is one of a database that Kettle
/// can't read: it stays shut, and does not lapse, so that nothing is installed or cancelled by mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window(Option<Times>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Times {
    cron: Cron,
    duration_ms: i64,
    offset: Offset,
}

impl Window {
    /// Reads a window. One that will not open any more is read all the same.
    pub fn parse(text: &WindowText) -> Result<Window> {
        let parts = [("schedule", &text.schedule), ("duration", &text.duration), ("timezone", &text.timezone)];
        for (name, part) in parts {
            if part.is_empty() {
                return Err(invalid(format!(
                    "A maintenance window needs all of schedule, duration and timezone, or none of them; it has no {name}."
                )));
            }
            if part.chars().count() > MAX_LENGTH {
                return Err(invalid(format!(
                    "The {name} of a maintenance window has {MAX_LENGTH} characters at most."
                )));
            }
        }
        let wrong_duration = || invalid("The duration of a maintenance window must be HH:mm or HH:mm:ss, below 24:00.");
        let wrong_offset = || invalid("The timezone of a maintenance window must be an offset from UTC, as in +02:00.");
        Ok(Window(Some(Times {
            cron: Cron::parse(&text.schedule).map_err(invalid)?,
            duration_ms: duration_ms(text.duration.trim()).ok_or_else(wrong_duration)?,
            offset: offset(&text.timezone).ok_or_else(wrong_offset)?,
        })))
    }

    /// The window in the columns of an action. `None`: the action has none.
    pub(crate) fn stored(
        action: i64,
        schedule: Option<String>,
        duration: Option<String>,
        timezone: Option<String>,
    ) -> Option<Window> {
        schedule.as_ref()?;
        let window = Window::parse(&WindowText::new(schedule, duration, timezone).unwrap_or_default());
        Some(window.unwrap_or_else(|error| {
            tracing::warn!(action.id = action, %error, "an action's maintenance window can't be read; it stays shut");
            Window(None)
        }))
    }

    /// When the window opens next, or has opened if it is open. `None`: it will not open again.
    /// Times are epoch milliseconds.
    pub fn next_start(&self, now: i64) -> Option<i64> {
        let times = self.0.as_ref()?;
        let after = Timestamp::from_millisecond(now.checked_sub(times.duration_ms)?).ok()?;
        let start = times.cron.next_after(times.offset.to_datetime(after))?;
        Some(times.offset.to_timestamp(start).ok()?.as_millisecond())
    }

    /// Whether a device may install now.
    pub fn available(&self, now: i64) -> bool {
        let duration_ms = self.0.as_ref().map_or(0, |times| times.duration_ms);
        self.next_start(now).is_some_and(|start| start < now && now < start + duration_ms)
    }

    /// Whether the window has closed for the last time.
    pub fn lapsed(&self, now: i64) -> bool {
        self.0.is_some() && self.next_start(now).is_none()
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::MaintenanceScheduleInvalid, message)
}

/// `HH:mm`, `HH:mm:ss` or `HH:mm:ss.SSS`, as a time of day is written.
fn duration_ms(text: &str) -> Option<i64> {
    let (time, fraction) = text.split_once('.').map_or((text, None), |(time, fraction)| (time, Some(fraction)));
    let mut parts = time.split(':');
    let hours = two_digits(parts.next()?, 23)?;
    let minutes = two_digits(parts.next()?, 59)?;
    let seconds = match (parts.next(), fraction) {
        (Some(seconds), _) => two_digits(seconds, 59)?,
        (None, None) => 0,
        (None, Some(_)) => return None,
    };
    let ms = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{digits:0<3}").get(..3)?.parse().ok()?
        }
        Some(_) => return None,
    };
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + ms)
}

/// `Z`, or a sign and hours, with or without minutes and seconds; 18 hours at most. Colons are optional.
fn offset(text: &str) -> Option<Offset> {
    if text == "Z" {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let parts: Vec<&str> = match (rest.contains(':'), rest.len()) {
        (false, 1 | 2) => vec![rest],
        (true, 5 | 8) => rest.split(':').collect(),
        (false, 4) => vec![rest.get(..2)?, rest.get(2..)?],
        (false, 6) => vec![rest.get(..2)?, rest.get(2..4)?, rest.get(4..)?],
        _ => return None,
    };
    let hours = match parts.first()? {
        hours if hours.len() == 1 => hours.parse().ok().filter(|_| hours.bytes().all(|b| b.is_ascii_digit()))?,
        hours => two_digits(hours, 18)?,
    };
    let minutes = parts.get(1).map_or(Some(0), |minutes| two_digits(minutes, 59))?;
    let seconds = parts.get(2).map_or(Some(0), |seconds| two_digits(seconds, 59))?;
    let total = (hours * 60 + minutes) * 60 + seconds;
    let total = i32::try_from(sign * total).ok().filter(|total| total.abs() <= 18 * 3600)?;
    Offset::from_seconds(total).ok()
}

fn two_digits(text: &str, max: i64) -> Option<i64> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n <= max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn text(schedule: &str, duration: &str, timezone: &str) -> WindowText {
        WindowText { schedule: schedule.into(), duration: duration.into(), timezone: timezone.into() }
    }

    #[test]
    fn a_window_is_open_between_its_start_and_its_end_and_lapses_with_its_last_end() {
        let window = Window::parse(&text("0 0 3 1,2 7 ? 2026", "01:00", "+02:00")).unwrap();
        let (first, last) = (at("2026-07-01T01:00:00Z"), at("2026-07-02T01:00:00Z"));
        for (now, next, open) in [
            (at("2026-01-01T00:00:00Z"), Some(first), false),
            (first - 1, Some(first), false),
            (first, Some(first), false),
            (first + 1, Some(first), true),
            (first + HOUR - 1, Some(first), true),
            (first + HOUR, Some(last), false),
            (last + HOUR - 1, Some(last), true),
            (last + HOUR, None, false),
        ] {
            assert_eq!((window.next_start(now), window.available(now)), (next, open), "{now}");
            assert_eq!(window.lapsed(now), next.is_none(), "{now}");
        }
    }

    #[test]
    fn where_windows_overlap_the_oldest_that_is_open_counts() {
        let window = Window::parse(&text("0 0 * * * ?", "02:30", "+00:00")).unwrap();
        let now = at("2026-07-01T12:10:00Z");
        assert_eq!(window.next_start(now), Some(at("2026-07-01T10:00:00Z")));
        assert!(window.available(now));
    }

    #[test]
    fn offsets_from_utc_shift_the_days_of_the_schedule() {
        let now = at("2026-01-01T00:00:00Z");
        for (timezone, start) in [
            ("+00:00", "2026-01-04T20:00:00Z"),
            ("Z", "2026-01-04T20:00:00Z"),
            ("-08:00", "2026-01-05T04:00:00Z"),
            ("-8", "2026-01-05T04:00:00Z"),
            ("+14:00", "2026-01-04T06:00:00Z"),
            ("+0530", "2026-01-04T14:30:00Z"),
            ("+05:30:30", "2026-01-04T14:29:30Z"),
        ] {
            let window = Window::parse(&text("0 0 20 ? * SUN", "01:00", timezone)).unwrap();
            assert_eq!(window.next_start(now), Some(at(start)), "{timezone}");
        }
    }

    #[test]
    fn durations_are_written_like_times_of_day() {
        for (text, ms) in [
            ("00:00", Some(0)),
            ("01:30", Some(5_400_000)),
            ("23:59:59", Some(86_399_000)),
            ("00:00:00.25", Some(250)),
            ("24:00", None),
            ("1:00", None),
            ("00:60", None),
            ("01:00:00:00", None),
            ("01:00.5", None),
            ("PT1H", None),
            ("", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let missing = |name| {
            format!(
                "A maintenance window needs all of schedule, duration and timezone, or none of them; it has no {name}."
            )
        };
        let offset = "The timezone of a maintenance window must be an offset from UTC, as in +02:00.";
        let duration = "The duration of a maintenance window must be HH:mm or HH:mm:ss, below 24:00.";
        let long = format!("0 0 3 {}1 * ?", "1,".repeat(20));
        for (schedule, length, timezone, expected) in [
            ("", "01:00", "+02:00", missing("schedule")),
            ("0 0 3 * * ?", "", "+02:00", missing("duration")),
            ("0 0 3 * * ?", "01:00", "", missing("timezone")),
            (&long, "01:00", "+02:00", "The schedule of a maintenance window has 40 characters at most.".into()),
            ("0 0 3 * * *", "01:00", "+02:00", Cron::parse("0 0 3 * * *").unwrap_err()),
            ("0 0 3 * * ?", "24:00", "+02:00", duration.into()),
            ("0 0 3 * * ?", "01:00", "Europe/Berlin", offset.into()),
            ("0 0 3 * * ?", "01:00", "02:00", offset.into()),
            ("0 0 3 * * ?", "01:00", "+18:01", offset.into()),
            ("0 0 3 * * ?", "01:00", "+2:00", offset.into()),
        ] {
            let error = Window::parse(&text(schedule, length, timezone)).unwrap_err();
            assert_eq!((error.kind, error.message), (Kind::MaintenanceScheduleInvalid, expected));
        }
        assert_eq!(WindowText::new(None, Some(String::new()), None), None);
    }

    #[test]
    fn a_stored_window_that_cannot_be_read_stays_shut_and_does_not_lapse() {
        let stored =
            |schedule: &str| Window::stored(7, Some(schedule.into()), Some("01:00".into()), Some("+00:00".into()));
        let window = stored("0 0 3|4 * * ?").unwrap();
        assert_eq!((window.next_start(0), window.available(0), window.lapsed(0)), (None, false, false));
        assert_eq!(stored("0 0 3 * * ?").unwrap().next_start(0), Some(3 * HOUR));
        assert_eq!(Window::stored(7, None, None, None), None);
    }
    proptest! {
        #[test]
        fn any_texts_are_a_window_or_an_error(
            schedule in prop_oneof![Just("0 0 3 * * ?".to_owned()), "[0-9*?LW#/,-]{1,3}( [0-9*?LW#/,-]{1,3}){5}"],
            duration in prop_oneof!["[0-9]{1,2}(:[0-9]{1,2}){1,2}", any::<String>()],
            timezone in prop_oneof!["[+-][0-9]{2}:?[0-9]{2}", "Z", any::<String>()],
            now in prop_oneof![any::<i64>(), 0..4_102_444_800_000_i64],
        ) {
            if let Ok(window) = Window::parse(&text(&schedule, &duration, &timezone)) {
                let next = window.next_start(now);
                prop_assert!(next.is_some() || !window.available(now));
                window.lapsed(now);
            }
        }
    }
}
