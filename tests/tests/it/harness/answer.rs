//! An HTTP answer as tests look at it: read to the end, with assertions that print it when they fail.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// Integers from here on are times in epoch milliseconds.
const FIRST_TIME: i64 = 1_000_000_000_000;

#[derive(Debug)]
pub struct Answer {
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    pub base: String,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        let body = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.status, status, "{} answered: {body}", self.request);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let body = String::from_utf8_lossy(&self.bytes);
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{}: {e} in {body}", self.request))
    }

    /// The body with times as `#ts`, tokens as `#token` and the server's address as `{base}`.
    #[track_caller]
    pub fn scrubbed(&self) -> Value {
        let mut body = self.json();
        scrub(&mut body, "", &self.base);
        body
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().expect("a printable header"))
    }

    /// The `id` of the created thing, or of the first of several.
    #[track_caller]
    pub fn id(&self) -> i64 {
        let body = self.json();
        let id = body.get("id").or_else(|| body.get(0)?.get("id"));
        id.and_then(Value::as_i64).unwrap_or_else(|| panic!("{}: no id in {body}", self.request))
    }

    /// The peer's error body: the expected key, a message for people, and nothing but the four known members.
    #[track_caller]
    pub fn expect_error(self, status: u16, key: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["errorCode"], key, "{}: {body}", answer.request);
        let known = ["exceptionClass", "errorCode", "message", "info"];
        for member in body.as_object().unwrap().keys() {
            assert!(known.contains(&member.as_str()), "{}: {body}", answer.request);
        }
        answer
    }

    #[track_caller]
    pub fn expect_empty(self, status: u16) -> Self {
        let answer = self.expect(status);
        let body = String::from_utf8_lossy(&answer.bytes);
        assert_eq!(body, "", "{}", answer.request);
        answer
    }
}

fn scrub(value: &mut Value, key: &str, base: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                scrub(member, name, base);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scrub(item, key, base)),
        Value::Number(number) if number.as_i64().is_some_and(|n| n >= FIRST_TIME) => {
            *value = "#ts".into();
        }
        Value::String(_) if key == "securityToken" => *value = "#token".into(),
        Value::String(text) => *text = text.replace(base, "{base}"),
        _ => {}
    }
}
