//! Schedules in Quartz' cron dialect, as the peer takes them: second, minute, hour, day of month, month, day of week and
//! optionally year. Pure: text to schedule, and a local time to the next one. Days of the week count from SUN = 1, one
//! of the two day fields is `?`, and ranges may run over the end (`FRI-MON`).

use jiff::civil::{Date, DateTime, Weekday};

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    seconds: Set,
    minutes: Set,
    hours: Set,
    /// The schedule runs on days that any of these names.
    days: Vec<Day>,
    months: Set,
    years: Set,
}

/// Days, as one item of a day field names them. Weekdays count from SUN = 1.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Day {
    OfMonth(Set),
    OfWeek(Set),
    /// So many days before the last of the month.
    BeforeLast(i16),
    /// The weekday nearest to a day of the month, within the month.
    NearestWeekday(i16),
    /// The weekday nearest to the day that is so many before the last.
    NearestWeekdayBeforeLast(i16),
    /// The month's last of a day of the week.
    LastOfWeek(i16),
    /// A day of the week, for the n-th time in the month.
    NthOfWeek(i16, i16),
}

impl Cron {
    /// Reads a schedule; the error is a sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Cron, String> {
        let text = text.to_ascii_uppercase();
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, minute, hour, day, month, weekday, year) = match fields[..] {
            [second, minute, hour, day, month, weekday] => (second, minute, hour, day, month, weekday, "*"),
            [second, minute, hour, day, month, weekday, year] => (second, minute, hour, day, month, weekday, year),
            _ => {
                return Err(format!(
                    "The schedule has {} fields; it must have 6 or 7: second minute hour day-of-month month day-of-week, \
                     and year if wanted.",
                    fields.len()
                ));
            }
        };
        Ok(Cron {
            seconds: SECOND.set(second)?,
            minutes: MINUTE.set(minute)?,
            hours: HOUR.set(hour)?,
            days: days(day, weekday)?,
            months: MONTH.set(month)?,
            years: YEAR.set(year)?,
        })
    }

    /// The first run strictly after a local time. `None`: there is none before the year 2100.
    pub fn next_after(&self, after: DateTime) -> Option<DateTime> {
        let first = after.with().subsec_nanosecond(0).build().ok()?.checked_add(jiff::Span::new().seconds(1)).ok()?;
        let mut date = first.date();
        let mut from = (first.hour().into(), first.minute().into(), first.second().into());
        while date.year() <= YEAR.max {
            if !self.years.has(date.year()) {
                date = date.last_of_year();
            } else if !self.months.has(date.month().into()) {
                date = date.last_of_month();
            } else if self.days.iter().any(|day| day.has(date))
                && let Some((hour, minute, second)) = self.time_from(from)
            {
                let part = |n: i16| i8::try_from(n).ok();
                return Some(date.at(part(hour)?, part(minute)?, part(second)?, 0));
            }
            date = date.tomorrow().ok()?;
            from = (0, 0, 0);
        }
        None
    }

    /// The first time of day, as hour, minute and second, that is not before another.
    fn time_from(&self, (hour, minute, second): (i16, i16, i16)) -> Option<(i16, i16, i16)> {
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.from(second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = self.minutes.from(minute + 1) {
                return Some((hour, minute, self.seconds.from(0)?));
            }
        }
        Some((self.hours.from(hour + 1)?, self.minutes.from(0)?, self.seconds.from(0)?))
    }
}

impl Day {
    fn of_month(item: &str) -> Result<Day, String> {
        if item == "L" {
            return Ok(Day::BeforeLast(0));
        }
        if item == "LW" {
            return Ok(Day::NearestWeekdayBeforeLast(0));
        }
        if let Some(before) = item.strip_prefix("L-") {
            let (before, weekday) = before.strip_suffix('W').map_or((before, false), |before| (before, true));
            let before = number(before, 0, 30)
                .ok_or_else(|| format!("'{item}' in the schedule is wrong: L- takes 0 to 30 days before the last."))?;
            return Ok(if weekday { Day::NearestWeekdayBeforeLast(before) } else { Day::BeforeLast(before) });
        }
        match item.strip_suffix('W') {
            Some(day) => Ok(Day::NearestWeekday(DAY_OF_MONTH.value(day)?)),
            None => Ok(Day::OfMonth(DAY_OF_MONTH.set(item)?)),
        }
    }

    fn of_week(item: &str) -> Result<Day, String> {
        if item == "L" {
            return Ok(Day::OfWeek(DAY_OF_WEEK.set("SAT")?));
        }
        if let Some((weekday, nth)) = item.split_once('#') {
            let nth = number(nth, 1, 5)
                .ok_or_else(|| format!("'{item}' in the schedule is wrong: # takes 1 to 5, the week of the month."))?;
            return Ok(Day::NthOfWeek(DAY_OF_WEEK.value(weekday)?, nth));
        }
        match item.strip_suffix('L') {
            Some(weekday) => Ok(Day::LastOfWeek(DAY_OF_WEEK.value(weekday)?)),
            None => Ok(Day::OfWeek(DAY_OF_WEEK.set(item)?)),
        }
    }

    fn has(&self, date: Date) -> bool {
        let (day, last) = (i16::from(date.day()), i16::from(date.days_in_month()));
        let weekday = i16::from(date.weekday().to_sunday_one_offset());
        match self {
            Day::OfMonth(days) => days.has(day),
            Day::OfWeek(weekdays) => weekdays.has(weekday),
            Day::BeforeLast(before) => day == last - before,
            Day::NearestWeekday(wanted) => Some(day) == nearest_weekday(date, *wanted),
            Day::NearestWeekdayBeforeLast(before) => Some(day) == nearest_weekday(date, last - before),
            Day::LastOfWeek(wanted) => weekday == *wanted && day + 7 > last,
            Day::NthOfWeek(wanted, nth) => weekday == *wanted && (day - 1) / 7 + 1 == *nth,
        }
    }
}

fn days(day: &str, weekday: &str) -> Result<Vec<Day>, String> {
    match (day == "?", weekday == "?") {
        (false, true) => day.split(',').map(Day::of_month).collect(),
        (true, false) => weekday.split(',').map(Day::of_week).collect(),
        _ => Err("In the schedule, one of day-of-month and day-of-week must be ?, and only one.".into()),
    }
}

/// The day from Monday to Friday that is nearest to a day of a date's month. `None`: the month has no such day.
fn nearest_weekday(date: Date, day: i16) -> Option<i16> {
    let wanted = date.with().day(i8::try_from(day).ok()?).build().ok()?;
    Some(match wanted.weekday() {
        Weekday::Saturday if day == 1 => 3,
        Weekday::Saturday => day - 1,
        Weekday::Sunday if wanted == date.last_of_month() => day - 2,
        Weekday::Sunday => day + 1,
        _ => day,
    })
}

/// What one field of a schedule takes.
struct Field {
    name: &'static str,
    min: i16,
    max: i16,
    /// Names of the values, from `min` on.
    names: &'static [&'static str],
    /// Whether a range may run over the end, as from Friday to Monday.
    round: bool,
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[], round: true };
const MINUTE: Field = Field { name: "minute", ..SECOND };
const HOUR: Field = Field { name: "hour", max: 23, ..SECOND };
const DAY_OF_MONTH: Field = Field { name: "day-of-month", min: 1, max: 31, ..SECOND };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    round: true,
};
const DAY_OF_WEEK: Field = Field {
    name: "day-of-week",
    min: 1,
    max: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    round: true,
};
const YEAR: Field = Field { name: "year", min: 1970, max: 2099, names: &[], round: false };

impl Field {
    fn set(&self, text: &str) -> Result<Set, String> {
        let mut set = Set { min: self.min, bits: [0; 3] };
        for item in text.split(',') {
            self.add(&mut set, item)?;
        }
        Ok(set)
    }

    /// Adds an item: `*`, `5`, `1-5`, each with `/2` or without. A single value with a step runs to the end.
    fn add(&self, set: &mut Set, item: &str) -> Result<(), String> {
        let count = self.max - self.min + 1;
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some((range, step)) => {
                let most = count.min(self.max);
                let wrong = || format!("'{item}' in the schedule is wrong: a step of {}s is 1 to {most}.", self.name);
                (range, Some(number(step, 1, most).ok_or_else(wrong)?))
            }
        };
        let (from, mut to) = match range.split_once('-') {
            _ if range == "*" || (range.is_empty() && step.is_some()) => (self.min, self.max),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.max } else { value })
            }
        };
        if to < from {
            if !self.round {
                return Err(format!("'{item}' in the schedule is wrong: {}s can't run backwards.", self.name));
            }
            to += count;
        }
        let mut value = from;
        while value <= to {
            set.add(self.min + (value - self.min) % count);
            value += step.unwrap_or(1);
        }
        Ok(())
    }

    fn value(&self, text: &str) -> Result<i16, String> {
        let named = self.names.iter().position(|name| *name == text).and_then(|at| i16::try_from(at).ok());
        let value = named.map(|at| self.min + at).or_else(|| number(text, self.min, self.max));
        value.ok_or_else(|| self.wrong(text))
    }

    fn wrong(&self, text: &str) -> String {
        let names = match (self.names.first(), self.names.last()) {
            (Some(first), Some(last)) => format!(", or {first} to {last}"),
            _ => String::new(),
        };
        format!("'{text}' in the schedule is no {}: that field takes {} to {}{names}.", self.name, self.min, self.max)
    }
}

fn number(text: &str, min: i16, max: i16) -> Option<i16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && (min..=max).contains(n))
}

/// Some of the values of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    min: i16,
    bits: [u64; 3],
}

impl Set {
    fn add(&mut self, value: i16) {
        if let Some((word, bit)) = self.place(value)
            && let Some(word) = self.bits.get_mut(word)
        {
            *word |= bit;
        }
    }

    fn has(&self, value: i16) -> bool {
        self.place(value).is_some_and(|(word, bit)| self.bits.get(word).is_some_and(|word| word & bit != 0))
    }

    /// The least value that is not below another.
    fn from(&self, value: i16) -> Option<i16> {
        (value..self.min + 192).find(|value| self.has(*value))
    }

    fn place(&self, value: i16) -> Option<(usize, u64)> {
        let at = usize::try_from(value - self.min).ok()?;
        Some((at / 64, 1 << (at % 64)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The next three runs of a schedule, as Quartz 2.3.2 and cron-utils 9.2.1 both have them.
    fn check(schedule: &str, after: &str, expected: [&str; 3]) {
        let cron = Cron::parse(schedule).unwrap();
        let mut at: DateTime = after.parse().unwrap();
        for expected in expected {
            at = cron.next_after(at).unwrap();
            assert_eq!(at.to_string(), expected.parse::<DateTime>().unwrap().to_string(), "{schedule} after {after}");
        }
    }

    #[test]
    fn times_of_day_go_up_and_roll_over() {
        let noon = "2026-01-01T12:00";
        check("0 0 12 * * ?", noon, ["2026-01-02T12:00", "2026-01-03T12:00", "2026-01-04T12:00"]);
        check("0 0 12 * * ?", "2026-01-01T11:59:59", ["2026-01-01T12:00", "2026-01-02T12:00", "2026-01-03T12:00"]);
        check("* * * * * ? *", "2015-01-31T23:59:59", ["2015-02-01", "2015-02-01T00:00:01", "2015-02-01T00:00:02"]);
        check("0 0/5 14,18 * * ?", "2026-01-01T14:54", ["2026-01-01T14:55", "2026-01-01T18:00", "2026-01-01T18:05"]);
        check("0 /15 3 * * ?", "2026-01-01T03:15", ["2026-01-01T03:30", "2026-01-01T03:45", "2026-01-02T03:00"]);
        check("0 0/59 3 * * ?", noon, ["2026-01-02T03:00", "2026-01-02T03:59", "2026-01-03T03:00"]);
        check("0 0 0/23 * * ?", noon, ["2026-01-01T23:00", "2026-01-02T00:00", "2026-01-02T23:00"]);
        check("30/20 10-20/5 9 * * ?", noon, ["2026-01-02T09:10:30", "2026-01-02T09:10:50", "2026-01-02T09:15:30"]);
    }

    #[test]
    fn days_of_the_week_count_from_sunday_as_one() {
        let new_year = "2026-01-01";
        check("0 0 3 ? * 1", new_year, ["2026-01-04T03:00", "2026-01-11T03:00", "2026-01-18T03:00"]);
        check("0 0 3 ? * mon", new_year, ["2026-01-05T03:00", "2026-01-12T03:00", "2026-01-19T03:00"]);
        check("0 0 3 ? * MON-FRI", new_year, ["2026-01-01T03:00", "2026-01-02T03:00", "2026-01-05T03:00"]);
        check("0 0 3 ? * FRI-MON", new_year, ["2026-01-02T03:00", "2026-01-03T03:00", "2026-01-04T03:00"]);
        check("0 5 3 ? * 1-7/3", new_year, ["2026-01-03T03:05", "2026-01-04T03:05", "2026-01-07T03:05"]);
        check("0 0 3 ? * */7", new_year, ["2026-01-04T03:00", "2026-01-11T03:00", "2026-01-18T03:00"]);
        check("0 0 0 ? * L *", "2016-12-22", ["2016-12-24", "2016-12-31", "2017-01-07"]);
        check("0 15 10 ? * 6L", new_year, ["2026-01-30T10:15", "2026-02-27T10:15", "2026-03-27T10:15"]);
        check("0 0 3 ? * FRIL", new_year, ["2026-01-30T03:00", "2026-02-27T03:00", "2026-03-27T03:00"]);
        check("0 15 10 ? * 6#3", new_year, ["2026-01-16T10:15", "2026-02-20T10:15", "2026-03-20T10:15"]);
        check("0 0 3 ? * THU#5", new_year, ["2026-01-29T03:00", "2026-04-30T03:00", "2026-07-30T03:00"]);
    }

    #[test]
    fn days_of_the_month_are_there_or_are_left_out() {
        let new_year = "2026-01-01";
        check("0 15 10 15 * ?", new_year, ["2026-01-15T10:15", "2026-02-15T10:15", "2026-03-15T10:15"]);
        check("0 0 12 1/5 * ?", "2026-01-27", ["2026-01-31T12:00", "2026-02-01T12:00", "2026-02-06T12:00"]);
        check("0 0 3 31 * ?", new_year, ["2026-01-31T03:00", "2026-03-31T03:00", "2026-05-31T03:00"]);
        check("0 0 3 29 2 ?", new_year, ["2028-02-29T03:00", "2032-02-29T03:00", "2036-02-29T03:00"]);
        check("0 15 10 L * ?", new_year, ["2026-01-31T10:15", "2026-02-28T10:15", "2026-03-31T10:15"]);
        check("0 15 10 L-2 * ?", new_year, ["2026-01-29T10:15", "2026-02-26T10:15", "2026-03-29T10:15"]);
        check("0 0 3 L-30 * ?", new_year, ["2026-01-01T03:00", "2026-03-01T03:00", "2026-05-01T03:00"]);
        check("0 0 3 LW * ?", "2026-01-30T04:00", ["2026-02-27T03:00", "2026-03-31T03:00", "2026-04-30T03:00"]);
        check("0 30 15 1W * ?", "2025-05-31", ["2025-06-02T15:30", "2025-07-01T15:30", "2025-08-01T15:30"]);
        check("0 0 5 4W * ?", "2025-05-01", ["2025-05-05T05:00", "2025-06-04T05:00", "2025-07-04T05:00"]);
    }

    #[test]
    fn months_and_years_bound_the_search() {
        check("0 11 11 11 11 ?", "2015-04-15", ["2015-11-11T11:11", "2016-11-11T11:11", "2017-11-11T11:11"]);
        check(
            "0 0 3 1 JAN,JUL ? 2027-2028",
            "2026-01-01",
            ["2027-01-01T03:00", "2027-07-01T03:00", "2028-01-01T03:00"],
        );
        check("0 0 3 1 */6 ?", "2026-01-01T03:00", ["2026-07-01T03:00", "2027-01-01T03:00", "2027-07-01T03:00"]);
        check("0 0 3 ? 5 1 2099", "2016-03-06", ["2099-05-03T03:00", "2099-05-10T03:00", "2099-05-17T03:00"]);
        for never in ["0 0 3 30 2 ?", "0 0 3 * * ? 1999", "0 0 3 31 4 ?"] {
            assert_eq!(Cron::parse(never).unwrap().next_after("2026-01-01".parse().unwrap()), None, "{never}");
        }
    }

    /// Where the peer's library gives up or strays, Quartz is followed; a list may hold any items.
    #[test]
    fn ranges_run_over_the_end_and_nearest_weekdays_are_no_sundays() {
        check("0 0 22-1 * * ?", "2026-01-01T22:00", ["2026-01-01T23:00", "2026-01-02", "2026-01-02T01:00"]);
        check("0 0 3 * NOV-FEB ?", "2026-02-28", ["2026-02-28T03:00", "2026-11-01T03:00", "2026-11-02T03:00"]);
        check("0 0 3 31W * ?", "2026-03-31T03:00", ["2026-05-29T03:00", "2026-07-31T03:00", "2026-08-31T03:00"]);
        check("0 0 3 L-3W * ?", "2026-01-01", ["2026-01-28T03:00", "2026-02-25T03:00", "2026-03-27T03:00"]);
        check("0 0 3 15,L * ?", "2026-01-01", ["2026-01-15T03:00", "2026-01-31T03:00", "2026-02-15T03:00"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let one_day = "In the schedule, one of day-of-month and day-of-week must be ?, and only one.";
        for (schedule, expected) in [
            (
                "every day",
                "The schedule has 2 fields; it must have 6 or 7: second minute hour day-of-month month day-of-week, and year if wanted.",
            ),
            ("0 0 3 * * *", one_day),
            ("0 0 3 ? * ?", one_day),
            ("60 0 3 * * ?", "'60' in the schedule is no second: that field takes 0 to 59."),
            ("0 ? 3 * * ?", "'?' in the schedule is no minute: that field takes 0 to 59."),
            ("0 0 -1 * * ?", "'' in the schedule is no hour: that field takes 0 to 23."),
            ("0 0 +1 * * ?", "'+1' in the schedule is no hour: that field takes 0 to 23."),
            ("0 0/60 3 * * ?", "'0/60' in the schedule is wrong: a step of minutes is 1 to 59."),
            ("0 0/0 3 * * ?", "'0/0' in the schedule is wrong: a step of minutes is 1 to 59."),
            ("0 0 3 32 * ?", "'32' in the schedule is no day-of-month: that field takes 1 to 31."),
            ("0 0 3 1, * ?", "'' in the schedule is no day-of-month: that field takes 1 to 31."),
            ("0 0 3 L-31 * ?", "'L-31' in the schedule is wrong: L- takes 0 to 30 days before the last."),
            ("0 0 3 * JANUARY ?", "'JANUARY' in the schedule is no month: that field takes 1 to 12, or JAN to DEC."),
            ("0 0 3 ? * 0", "'0' in the schedule is no day-of-week: that field takes 1 to 7, or SUN to SAT."),
            ("0 0 3 ? * 2#6", "'2#6' in the schedule is wrong: # takes 1 to 5, the week of the month."),
            ("0 0 3 * * ? 2100", "'2100' in the schedule is no year: that field takes 1970 to 2099."),
            ("0 0 3 * * ? 2030-2020", "'2030-2020' in the schedule is wrong: years can't run backwards."),
        ] {
            assert_eq!(Cron::parse(schedule), Err(expected.to_owned()), "{schedule}");
        }
    }
    proptest! {
        #[test]
        fn any_text_is_a_schedule_or_an_error(
            text in prop_oneof![
                any::<String>(),
                "([0-9*?LW#/,-]{1,5} ){5,6}([0-9*?LW#/,-]{1,5}|MON-FRI|2#5|JAN|1970-2099)",
                "[0-5]?[0-9] [0-9*]/[0-9] [0-9]{1,2} ([?*LW]|[0-3]?[0-9]W?) (1?[0-9]|[*]|FEB) ([?*]|[1-7](L|#[1-5])?)",
            ],
            year in 1i16..9999,
            day in 1i16..365,
        ) {
            match Cron::parse(&text) {
                Ok(cron) => {
                    let after = DateTime::constant(year, 1, 1, 12, 59, 59, 0).checked_add(jiff::Span::new().days(day));
                    if let Some(next) = after.as_ref().ok().and_then(|after| cron.next_after(*after)) {
                        prop_assert!(after.is_ok_and(|after| next > after));
                    }
                }
                Err(message) => prop_assert!(!message.is_empty()),
            }
        }
    }
}
