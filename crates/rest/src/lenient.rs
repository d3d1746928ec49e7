//! JSON as the peer reads it where a value has another type than its member: texts hold numbers and flags, numbers and
//! flags are texts, fractions are cut off. Of a member that comes twice, the last one counts.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Value};

pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    T::deserialize(Lenient(serde_json::from_slice(json)?))
}

/// The same for CBOR that holds nothing but what JSON has.
pub fn from_cbor<T: DeserializeOwned>(cbor: &[u8]) -> Option<T> {
    T::deserialize(Lenient(ciborium::from_reader(cbor).ok()?)).ok()
}

struct Lenient(Value);

impl Lenient {
    fn number(self) -> Value {
        let whole = match &self.0 {
            Value::String(text) => text.trim().parse().ok(),
            Value::Number(n) if n.as_i64().is_none() => {
                n.as_f64().map(f64::trunc).and_then(|n| n.to_string().parse().ok())
            }
            _ => None,
        };
        whole.map_or(self.0, |n: i64| n.into())
    }

    fn fraction(self) -> Value {
        let fraction = self.0.as_str().and_then(|text| serde_json::Number::from_f64(text.trim().parse().ok()?));
        fraction.map_or(self.0, Value::Number)
    }

    fn flag(self) -> Value {
        let flag = match &self.0 {
            Value::String(text) => match text.trim() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            Value::Number(n) => n.as_i64().map(|n| n != 0),
            _ => None,
        };
        flag.map_or(self.0, Value::Bool)
    }

    fn text(self) -> Value {
        match self.0 {
            Value::Number(_) | Value::Bool(_) => Value::String(self.0.to_string()),
            other => other,
        }
    }
}

/// As one of the types named, after a conversion.
macro_rules! read_as {
    ($($method:ident: $conversion:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$conversion().$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Lenient))),
            Value::Object(members) => {
                visitor.visit_map(MapDeserializer::new(members.into_iter().map(|(name, value)| (name, Lenient(value)))))
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A list is no object, whatever is in it.
        if self.0.is_object() {
            self.deserialize_any(visitor)
        } else {
            Value::Null.deserialize_struct(name, fields, visitor)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    read_as! {
        deserialize_bool: flag,
        deserialize_i32: number,
        deserialize_i64: number,
        deserialize_f64: fraction,
        deserialize_str: text,
        deserialize_string: text,
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Lenient {
    type Deserializer = Lenient;

    fn into_deserializer(self) -> Lenient {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Body {
        text: Option<String>,
        number: Option<i64>,
        flag: Option<bool>,
        fraction: Option<f64>,
        #[serde(default)]
        list: Vec<Option<String>>,
    }

    #[track_caller]
    fn check(json: &str, text: Option<&str>, number: Option<i64>, flag: Option<bool>) {
        let expected = Body { text: text.map(Into::into), number, flag, fraction: None, list: Vec::new() };
        assert_eq!(from_slice::<Body>(json.as_bytes()).unwrap(), expected, "{json}");
    }

    #[test]
    fn values_are_taken_as_what_their_member_is() {
        check(r#"{"text": 5, "number": "7", "flag": "true"}"#, Some("5"), Some(7), Some(true));
        check(r#"{"text": true, "number": 1.9, "flag": 0}"#, Some("true"), Some(1), Some(false));
        check(r#"{"text": 1.5, "number": -2.5, "flag": "FALSE"}"#, Some("1.5"), Some(-2), Some(false));
        check(r#"{"text": null, "number": null, "flag": null, "other": [{}]}"#, None, None, None);
        check(r#"{"number": 1, "number": 2}"#, None, Some(2), None);
        for (json, fraction) in [(r#"{"fraction": "12.5"}"#, 12.5), (r#"{"fraction": 3}"#, 3.0)] {
            assert_eq!(from_slice::<Body>(json.as_bytes()).unwrap().fraction, Some(fraction), "{json}");
        }
        let list: Body = from_slice(br#"{"list": ["a", 1, null]}"#).unwrap();
        assert_eq!(list.list, [Some("a".into()), Some("1".into()), None]);
    }

    #[test]
    fn what_is_something_else_stays_an_error() {
        for json in [
            r#"{"text": {}}"#,
            r#"{"text": []}"#,
            r#"{"number": "x"}"#,
            r#"{"number": true}"#,
            r#"{"number": 1e300}"#,
            r#"{"flag": "yes"}"#,
            r#"{"fraction": "half"}"#,
            r#"{"list": {}}"#,
            r#"["a", 1, true]"#,
            "7",
            "{",
        ] {
            assert!(from_slice::<Body>(json.as_bytes()).is_err(), "{json}");
        }
    }
}
