//! `/rest/v1/system/configs`: the tenant's settings.

use std::collections::BTreeMap;

use axum::response::Response;
use kettle_domain::{
    Error, Kind,
    tenants::configuration::{self, Entry, Value as Setting},
};
use kettle_rest::{Accept, ApiError, AppState, Base, Body, Links, ListedLink, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{Object, ObjectBuilder, Type, schema::SchemaType},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::audit::{Audit, audit_of};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, put_all)).routes(routes!(one, put, reset))
}

/// The tenant's settings.
#[utoipa::path(get, path = "/rest/v1/system/configs", responses((status = 200, body = Configs)))]
async fn list(User(ctx): User, Accept(media): Accept, base: Base) -> Result<Response> {
    let entries = configuration::list(&ctx).await?.into_iter();
    Ok(media.ok(&Configs(entries.map(|e| (e.key, ListedConfig::new(e, &base))).collect())))
}

/// One of the tenant's settings.
#[utoipa::path(get, path = "/rest/v1/system/configs/{keyName}", responses((status = 200, body = Config)))]
async fn one(User(ctx): User, Accept(media): Accept, base: Base, Path(key): Path<String>) -> Result<Response> {
    let entry = configuration::get(&ctx, &key).await?;
    let links = Links::this(href(&base, entry.key));
    Ok(media.ok(&Config { setting: Shown::from(entry), links }))
}

/// Changes one of the tenant's settings.
#[utoipa::path(put, path = "/rest/v1/system/configs/{keyName}", request_body = ConfigBody, responses((status = 204)))]
async fn put(User(ctx): User, Path(key): Path<String>, Body(body): Body<ConfigBody>) -> Result<Response> {
    configuration::put(&ctx, vec![(key, setting(body.value)?)]).await?;
    Ok(no_content())
}

/// Changes several of the tenant's settings.
#[utoipa::path(put, path = "/rest/v1/system/configs", request_body = ConfigsBody, responses((status = 204)))]
async fn put_all(User(ctx): User, Body(ConfigsBody(body)): Body<ConfigsBody>) -> Result<Response> {
    let values = body.into_iter().map(|(key, value)| Ok((key, setting(value)?))).collect::<Result<_>>()?;
    configuration::put(&ctx, values).await?;
    Ok(no_content())
}

/// Gives one of the tenant's settings its default again.
#[utoipa::path(delete, path = "/rest/v1/system/configs/{keyName}", responses((status = 204)))]
async fn reset(User(ctx): User, Path(key): Path<String>) -> Result<Response> {
    configuration::reset(&ctx, &key).await?;
    Ok(no_content())
}

/// Settings by their keys.
#[derive(Deserialize, ToSchema)]
#[schema(value_type = BTreeMap<String, Value>)]
struct ConfigsBody(Map<String, Value>);

#[derive(Deserialize, ToSchema)]
struct ConfigBody {
    #[serde(default)]
    #[schema(schema_with = values, required)]
    value: Value,
}

/// The schema of a setting's value.
fn values() -> Object {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Boolean, Type::Integer, Type::String])).build()
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

#[derive(Serialize, ToSchema)]
#[schema(as = Setting)]
struct Shown {
    #[schema(schema_with = values)]
    value: Value,
    global: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Audit)]
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

/// Settings by their keys.
#[derive(Serialize, ToSchema)]
#[schema(value_type = BTreeMap<String, ListedConfig>)]
struct Configs(BTreeMap<&'static str, ListedConfig>);

#[derive(Serialize, ToSchema)]
struct Config {
    #[serde(flatten)]
    setting: Shown,
    #[serde(rename = "_links")]
    links: Links,
}

// hawkBit: in the map of all settings the links are a list, not HAL's map.
#[derive(Serialize, ToSchema)]
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
