//! `/rest/v1/system/configs`: the tenant's settings.

use axum::{Router, response::Response, routing::get};
use kettle_domain::{
    Error, Kind,
    tenants::configuration::{self, Entry, Value as Setting},
};
use kettle_rest::{Accept, ApiError, AppState, Base, Body, Links, ListedLink, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::audit::{Audit, audit_of};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/rest/v1/system/configs", get(list).put(put_all))
        .route("/rest/v1/system/configs/{key}", get(one).put(put).delete(reset))
}

async fn list(User(ctx): User, Accept(media): Accept, base: Base) -> Result<Response> {
    let entries = configuration::list(&ctx).await?.into_iter();
    let shown: Vec<_> = entries.map(|e| (e.key, ListedConfig::new(e, &base))).collect();
    Ok(media.ok(&shown.into_iter().collect::<std::collections::BTreeMap<_, _>>()))
}

async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(key): Path<String>) -> Result<Response> {
    let entry = configuration::get(&ctx, &key).await?;
    let links = Links::this(href(&base, entry.key));
    Ok(media.ok(&Config { setting: Shown::from(entry), links }))
}

async fn put(User(ctx): User, Path(key): Path<String>, Body(body): Body<ConfigBody>) -> Result<Response> {
    configuration::put(&ctx, vec![(key, setting(body.value)?)]).await?;
    Ok(no_content())
}

async fn put_all(User(ctx): User, Body(body): Body<Map<String, Value>>) -> Result<Response> {
    let values = body.into_iter().map(|(key, value)| Ok((key, setting(value)?))).collect::<Result<_>>()?;
    configuration::put(&ctx, values).await?;
    Ok(no_content())
}

async fn reset(User(ctx): User, Path(key): Path<String>) -> Result<Response> {
    configuration::reset(&ctx, &key).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
struct ConfigBody {
    #[serde(default)]
    value: Value,
}

/// A setting's value is a boolean, a whole number or a text.
fn setting(value: Value) -> Result<Setting> {
    match value {
        Value::Bool(b) => Ok(Setting::Boolean(b)),
        Value::String(text) => Ok(Setting::Text(text)),
        Value::Number(n) => Ok(n.as_i64().map_or_else(|| Setting::Text(n.to_string()), Setting::Number)),
        Value::Null => Err(ApiError::not_readable("A setting's value is a boolean, a number or a text.")),
        Value::Array(_) | Value::Object(_) => {
            Err(Error::new(Kind::ConfigValueInvalid, "A setting's value is a boolean, a number or a text.").into())
        }
    }
}

fn href(base: &Base, key: &str) -> String {
    base.href(&format!("/rest/v1/system/configs/{key}"))
}

#[derive(Serialize)]
struct Shown {
    value: Value,
    global: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    audit: Option<Audit>,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Shown {
        Shown {
            value: match entry.value {
                Setting::Boolean(b) => b.into(),
                Setting::Number(n) => n.into(),
                Setting::Text(text) => text.into(),
            },
            global: entry.global,
            audit: entry.audit.map(|row| audit_of!(row)),
        }
    }
}

#[derive(Serialize)]
struct Config {
    #[serde(flatten)]
    setting: Shown,
    #[serde(rename = "_links")]
    links: Links,
}

// hawkBit: in the map of all settings the links are a list, not HAL's map.
#[derive(Serialize)]
struct ListedConfig {
    #[serde(flatten)]
    setting: Shown,
    links: Vec<ListedLink>,
}

impl ListedConfig {
    fn new(entry: Entry, base: &Base) -> ListedConfig {
        let links = Links::this(href(base, entry.key)).listed();
        ListedConfig { setting: Shown::from(entry), links }
    }
}
