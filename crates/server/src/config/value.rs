//! Text of a source to a value of a setting. An error completes the sentence "KEY = VALUE (from ORIGIN): …".

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use url::Url;

/// A value that is never shown: its `Debug` masks it, and it has no `Display`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// What is shown in place of a secret.
pub const MASK: &str = "********";

/// What separates the parameters of a URL, JDBC's kinds included.
const SEPARATORS: [char; 3] = ['?', '&', ';'];

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

pub fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Spring's spellings of true and false.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

pub fn integer<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number".to_owned())
}

pub fn count<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number from 0".to_owned())
}

/// A whole number of at least 1.
pub fn positive<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number >= T::from(1));
    number.ok_or_else(|| "expected a whole number from 1".to_owned())
}

pub fn bytes(text: &str) -> Result<i64, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "kib" => 1 << 10,
        "mb" | "mib" => 1 << 20,
        "gb" | "gib" => 1 << 30,
        "tb" | "tib" => 1 << 40,
        _ => 0,
    };
    let bytes = number.parse::<i64>().ok().filter(|_| factor > 0).and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| "expected a number of bytes, such as 1048576 or 1MiB".to_owned())
}

/// Milliseconds, a number with a unit, or ISO-8601.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let milliseconds: u64 = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let number = number.parse::<u64>().ok().filter(|_| milliseconds > 0);
    let duration = number.and_then(|number| number.checked_mul(milliseconds)).map(Duration::from_millis);
    duration
        .or_else(|| iso8601(text))
        .ok_or_else(|| "expected a duration, such as 10s, 500ms or a number of milliseconds".to_owned())
}

/// As [`duration`], but a bare number is seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let bare = text.parse::<u64>().ok().map(Duration::from_secs);
    bare.map_or_else(|| duration(text), Ok)
        .map_err(|_| "expected a duration, such as 10s or a number of seconds".to_owned())
}

/// hawkBit's time of polling settings, semantics A1: `HH:mm:ss`, `mm:ss`, seconds, or ISO-8601.
pub fn polling(text: &str) -> Result<Duration, String> {
    let clock = || {
        let parts: Vec<u64> = text.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
        let seconds = parts.iter().try_fold(0u64, |sum, part| sum.checked_mul(60)?.checked_add(*part))?;
        (parts.len() <= 3).then_some(Duration::from_secs(seconds))
    };
    iso8601(text).or_else(clock).ok_or_else(|| "expected a time such as 00:05:00, 300 or PT5M".to_owned())
}

pub fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "expected an IP address".to_owned())
}

/// A network, or a single address.
pub fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| single())
        .map_err(|_| "expected IP addresses or networks such as 10.0.0.0/8".to_owned())
}

pub fn header(text: &str) -> Result<String, String> {
    let valid =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    valid.then(|| text.to_owned()).ok_or_else(|| "expected the name of an HTTP header".to_owned())
}

/// The path of a file, or its `file:` URL as Spring has it.
pub fn file(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
    let usable = !path.is_empty() && !path.starts_with("-----BEGIN") && !path.starts_with("classpath:");
    usable.then(|| PathBuf::from(path)).ok_or_else(|| "expected the path of a PEM file".to_owned())
}

/// Where a page comes from, such as `https://example.com`, without a slash at its end.
pub fn origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err(
            "a page that may use logins has to be named: expected origins such as https://example.com".to_owned()
        );
    }
    let text = text.trim_end_matches('/');
    let valid = text.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains(['/', '?', '#']));
    let valid = valid && text.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then(|| text.to_owned()).ok_or_else(|| "expected origins such as https://example.com".to_owned())
}

/// A base address, without the slash at its end.
pub fn base_url(text: &str) -> Result<String, String> {
    let usable = |url: &Url| {
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        plain && url.has_host() && matches!(url.scheme(), "http" | "https")
    };
    let url = Url::parse(text).ok().filter(usable);
    url.map(|url| url.as_str().trim_end_matches('/').to_owned())
        .ok_or_else(|| "expected an address such as https://updates.example.com".to_owned())
}

/// `text` as it may be shown: without user, password, and the values of parameters that are passwords.
pub fn without_credentials(text: &str) -> String {
    let piece = |piece: &str| match piece.split_once('=') {
        Some((name, value)) if name.to_ascii_lowercase().contains("password") => {
            let separator = value.chars().last().filter(|last| SEPARATORS.contains(last));
            format!("{name}={MASK}{}", separator.map(String::from).unwrap_or_default())
        }
        _ => piece.to_owned(),
    };
    let text: String = text.split_inclusive(SEPARATORS).map(piece).collect();
    // The last `@` ends the credentials, even if a password holds `?`, `/` or `@`, as it should not.
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{MASK}@{host}"),
        _ => text,
    }
}

/// Addresses of a broker, of which each may be no more than `USER:PASSWORD@HOST`, as they may be shown. What separates
/// them may be part of a password, so all from the first password to the last host goes.
pub fn addresses_without_credentials(text: &str) -> String {
    let Some((credentials, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match credentials.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://{MASK}@{host}"),
        None => format!("{MASK}@{host}"),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit).unwrap_or((text, ""));
    (number.trim(), unit.trim())
}

/// `PnDTnHnMnS` in whole seconds.
fn iso8601(text: &str) -> Option<Duration> {
    let (mut seconds, mut digits, mut in_time, mut parts) = (0u64, String::new(), false, 0);
    for c in text.to_ascii_uppercase().strip_prefix('P')?.chars() {
        let unit = match (c, in_time) {
            ('0'..='9', _) => {
                digits.push(c);
                continue;
            }
            ('T', false) if digits.is_empty() => {
                in_time = true;
                continue;
            }
            ('D', false) => 86_400,
            ('H', true) => 3600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        let number: u64 = std::mem::take(&mut digits).parse().ok()?;
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        parts += 1;
    }
    (parts > 0 && digits.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("500ms", Some(500)),
            ("10000", Some(10_000)),
            ("2 h", Some(7_200_000)),
            ("0s", Some(0)),
            ("PT1M30S", Some(90_000)),
            ("P1DT1H", Some(90_000_000)),
            ("-1s", None),
            ("10 parsecs", None),
            ("P", None),
            ("", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
        for (text, expected) in [("10", Some(10)), ("10s", Some(10)), ("PT1M", Some(60)), ("0", Some(0)), ("-1", None)]
        {
            assert_eq!(seconds(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
        for (text, expected) in [
            ("00:05:00", Some(300)),
            ("23:59:59", Some(86_399)),
            ("1:30", Some(90)),
            ("45", Some(45)),
            ("PT5M", Some(300)),
            ("1:2:3:4", None),
            ("5m", None),
        ] {
            assert_eq!(polling(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn files_and_origins() {
        for (text, expected) in [("/a b.pem", "/a b.pem"), ("file:/a.pem", "/a.pem"), ("file:///a.pem", "/a.pem")] {
            assert_eq!(file(text), Ok(PathBuf::from(expected)), "{text}");
        }
        for text in ["file:", "classpath:a.pem", "-----BEGIN PRIVATE KEY-----"] {
            assert!(file(text).is_err(), "{text}");
        }
        assert_eq!(origin("https://a.example:8443/").as_deref(), Ok("https://a.example:8443"));
        for text in ["*", "a.example", "https://", "https://a/b", "https://a b"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1073741824", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("20 MB", Some(20 << 20)),
            ("-1", Some(-1)),
            ("abc", None),
            ("1.5GiB", None),
            ("9999999TiB", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("::1", Some("::1/128")),
            ("localhost", None),
            ("10.0.0.0/33", None),
        ] {
            assert_eq!(network(text).ok().map(|network| network.to_string()).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("https://a.example/", Some("https://a.example")),
            ("http://a:8080/up/", Some("http://a:8080/up")),
            ("a.example", None),
            ("ftp://a", None),
            ("https://u:p@a", None),
            ("https://a/?q", None),
        ] {
            assert_eq!(base_url(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn credentials_are_cut_out_of_urls() {
        for (text, expected) in [
            ("postgres://u:pw@h/db?sslmode=require", "postgres://********@h/db?sslmode=require"),
            ("postgres://u:p/w@x?y@h/db", "postgres://********@h/db"),
            (
                "jdbc:postgresql://h/db?user=u&password=p@w&sslmode=require",
                "jdbc:postgresql://h/db?user=u&password=********&sslmode=require",
            ),
            ("jdbc:h2:mem:db;USER=sa;PASSWORD=pw;MODE=x", "jdbc:h2:mem:db;USER=sa;PASSWORD=********;MODE=x"),
            ("sqlite:./data/kettle.db", "sqlite:./data/kettle.db"),
        ] {
            assert_eq!(without_credentials(text), expected, "{text}");
        }
        for (text, expected) in [
            ("u:p@h:5672/v", "********@h:5672/v"),
            ("amqps://u:p@h1,amqp://v:q@h2", "amqps://********@h2"),
            ("u:a,b@h", "********@h"),
            ("amqp://h:1, h2", "amqp://h:1, h2"),
        ] {
            assert_eq!(addresses_without_credentials(text), expected, "{text}");
        }
        assert_eq!(format!("{:?}", Secret::new("pw")), MASK);
    }
}
