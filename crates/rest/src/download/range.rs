//! Which bytes of a file are asked for.

use http::{
    HeaderMap,
    header::{IF_RANGE, RANGE},
};
use jiff::fmt::rfc2822::DateTimeParser;

use super::FileMeta;

/// First and last byte, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requested {
    Whole,
    One(Range),
    /// In the order of the file.
    Several(Vec<Range>),
    Unsatisfiable,
}

impl Range {
    pub(super) fn len(self) -> u64 {
        self.last - self.first + 1
    }

    pub(super) fn content_range(self, total: u64) -> String {
        format!("bytes {}-{}/{total}", self.first, self.last)
    }
}

/// Reads `Range` and `If-Range` of a GET.
pub(super) fn requested(headers: &HeaderMap, meta: &FileMeta) -> Requested {
    let Some(range) = headers.get(RANGE) else { return Requested::Whole };
    let parsed = range.to_str().ok().and_then(|range| parse(range, meta.len));
    match parsed {
        None => Requested::Unsatisfiable,
        Some(_) if !still_valid(headers, meta) => Requested::Whole,
        Some(ranges) => match ranges.as_slice() {
            [one] => Requested::One(*one),
            _ => Requested::Several(ranges),
        },
    }
}

/// `If-Range`: the file's ETag, or a date that is not before its last modification.
fn still_valid(headers: &HeaderMap, meta: &FileMeta) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else { return true };
    let Ok(condition) = condition.to_str() else { return false };
    if condition.strip_prefix('"').and_then(|c| c.strip_suffix('"')) == Some(meta.sha1.as_str()) {
        return true;
    }
    let date = DateTimeParser::new().parse_timestamp(condition);
    date.is_ok_and(|date| date.as_second() >= meta.last_modified_ms.div_euclid(1000))
}

/// `bytes=0-99,200-,-50`, each range within the file and none in another; `None` if there is anything else.
fn parse(header: &str, total: u64) -> Option<Vec<Range>> {
    let mut ranges = Vec::new();
    for part in header.strip_prefix("bytes=")?.split(',') {
        ranges.push(one(part, total)?);
    }
    ranges.sort_unstable();
    let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.last < b.first);
    apart.then_some(ranges)
}

fn one(part: &str, total: u64) -> Option<Range> {
    let (first, last) = part.split_once('-')?;
    let end = total.checked_sub(1)?;
    let range = match (number(first)?, number(last)?) {
        (Some(first), last) => Range { first, last: last.unwrap_or(end).min(end) },
        (None, Some(suffix)) if suffix > 0 => Range { first: total.saturating_sub(suffix), last: end },
        (None, _) => return None,
    };
    (range.first <= range.last).then_some(range)
}

/// Outer `None`: no number. A number too large to be one is as good as infinite.
fn number(text: &str) -> Option<Option<u64>> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(if text.is_empty() { None } else { Some(text.parse().unwrap_or(u64::MAX)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(len: u64) -> FileMeta {
        // Sat, 01 Jan 2000 00:00:00.500 GMT
        FileMeta { len, sha1: "abc".into(), last_modified_ms: 946_684_800_500, filename: "f".into() }
    }

    #[track_caller]
    fn check(len: u64, header: &str, expected: Requested) {
        let headers = HeaderMap::from_iter([(RANGE, header.parse().unwrap())]);
        assert_eq!(requested(&headers, &meta(len)), expected, "{header} of {len}");
    }

    fn one(first: u64, last: u64) -> Requested {
        Requested::One(Range { first, last })
    }

    fn several(ranges: &[(u64, u64)]) -> Requested {
        Requested::Several(ranges.iter().map(|&(first, last)| Range { first, last }).collect())
    }

    #[test]
    fn one_range() {
        check(5000, "bytes=100-199", one(100, 199));
        check(5000, "bytes=0-0", one(0, 0));
        check(5000, "bytes=4990-", one(4990, 4999));
        check(5000, "bytes=0-", one(0, 4999));
        check(5000, "bytes=4990-9999", one(4990, 4999));
        check(5000, "bytes=-10", one(4990, 4999));
        check(5000, "bytes=-9999", one(0, 4999));
        check(5000, "bytes=10-99999999999999999999999", one(10, 4999));
    }

    #[test]
    fn several_ranges_are_sorted() {
        check(5000, "bytes=0-99,200-299", several(&[(0, 99), (200, 299)]));
        check(5000, "bytes=-1,0-0,10-20", several(&[(0, 0), (10, 20), (4999, 4999)]));
        check(5000, "bytes=0-99,100-199", several(&[(0, 99), (100, 199)]));
    }

    #[test]
    fn what_cannot_be_served_is_416() {
        for header in [
            "bytes=9000-9999",
            "bytes=5000-",
            "bytes=200-100",
            "bytes=-0",
            "bytes=-",
            "bytes=",
            "bytes",
            "bytes=a-b",
            "bytes=0-1-2",
            "bytes=0-99,50-150",
            "bytes=0-99,99-150",
            "bytes=0-1,9000-",
            "bytes=0-1,",
            "bytes=0-1, 3-4",
            "Bytes=0-1",
            "octets=0-1",
            "bytes=+1-2",
            "bytes=99999999999999999999999-",
        ] {
            check(5000, header, Requested::Unsatisfiable);
        }
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            check(0, header, Requested::Unsatisfiable);
        }
    }

    #[test]
    fn if_range_decides_between_part_and_whole() {
        for (condition, part) in [
            ("\"abc\"", true),
            ("abc", false),
            ("W/\"abc\"", false),
            ("\"other\"", false),
            ("Sat, 01 Jan 2000 00:00:00 GMT", true),
            ("Sat, 01 Jan 2000 00:00:01 GMT", true),
            ("Fri, 31 Dec 1999 23:59:59 GMT", false),
            ("yesterday", false),
        ] {
            let headers =
                HeaderMap::from_iter([(RANGE, "bytes=0-1".parse().unwrap()), (IF_RANGE, condition.parse().unwrap())]);
            let expected = if part { one(0, 1) } else { Requested::Whole };
            assert_eq!(requested(&headers, &meta(100)), expected, "{condition}");
        }
    }
}
