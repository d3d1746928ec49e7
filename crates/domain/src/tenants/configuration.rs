//! The keys of a tenant's configuration: their types, defaults and checks (semantics.md E7).

use std::time::Duration;

use kettle_cluster::{Event, Fact};

use super::{TenantSettings, entity::configuration::Model, polling, polling::PollingTime, store};
use crate::{
    access::Permission,
    ctx::Ctx,
    distribution_set_types,
    error::{Error, Kind, Result},
    search,
    settings::Settings,
};

const GATEWAY_KEY: &str = "authentication.gatewaytoken.key";
const POLLING_TIME: &str = "pollingTime";
const OVERDUE_TIME: &str = "pollingOverdueTime";
/// Not a stored setting: the default type in the tenant's own row.
pub const DEFAULT_DS_TYPE: &str = "default.ds.type";
const MAX_VALUE: usize = 32_768;

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Boolean,
    Integer,
    Long,
    Text,
}

/// A value as clients send and get it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Boolean(bool),
    Number(i64),
    Text(String),
}

/// A key's value and where it comes from: `audit` is there if the tenant has set it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: &'static str,
    pub value: Value,
    /// The server's default is in force.
    pub global: bool,
    pub audit: Option<Model>,
}

type Fallback = fn(&Settings) -> String;

/// Every key, its type, and the server's default.
const KEYS: &[(&str, Type, Fallback)] = &[
    ("authentication.header.enabled", Type::Boolean, |s| s.tenant_defaults.header_enabled.to_string()),
    ("authentication.header.authority", Type::Text, |s| s.tenant_defaults.header_authority.clone()),
    ("authentication.targettoken.enabled", Type::Boolean, |s| s.tenant_defaults.targettoken_enabled.to_string()),
    ("authentication.gatewaytoken.enabled", Type::Boolean, |s| s.tenant_defaults.gatewaytoken_enabled.to_string()),
    (GATEWAY_KEY, Type::Text, |s| s.tenant_defaults.gatewaytoken_key.clone()),
    (POLLING_TIME, Type::Text, |s| s.tenant_defaults.polling_time.clone()),
    (OVERDUE_TIME, Type::Text, |s| s.tenant_defaults.polling_overdue_time.clone()),
    ("maintenanceWindowPollCount", Type::Integer, |s| s.tenant_defaults.maintenance_window_poll_count.to_string()),
    ("rollout.approval.enabled", Type::Boolean, |_| "false".into()),
    ("repository.actions.autoclose.enabled", Type::Boolean, |_| "false".into()),
    ("action.cleanup.auto.expiry", Type::Long, |_| "-1".into()),
    ("action.cleanup.auto.status", Type::Text, |_| "CANCELED,ERROR".into()),
    ("action.cleanup.onQuotaHit.percent", Type::Integer, |_| "0".into()),
    ("batch.assignments.enabled", Type::Boolean, |_| "false".into()),
    ("user.confirmation.flow.enabled", Type::Boolean, |_| "false".into()),
    ("implicit.lock.enabled", Type::Boolean, |_| "true".into()),
];

/// All keys with their values; the gateway's key only for those who may read it.
pub async fn list(ctx: &Ctx) -> Result<Vec<Entry>> {
    ctx.require(Permission::ReadTenantConfiguration)?;
    let rows = store::configuration(ctx.db().read(), ctx.tenant_id()).await?.unwrap_or_default();
    let mut entries = Vec::with_capacity(KEYS.len() + 1);
    for (key, kind, default) in KEYS {
        if *key == GATEWAY_KEY && !ctx.may(Permission::ReadGatewaySecurityToken) {
            continue;
        }
        let row = rows.iter().find(|r| r.conf_key == *key).cloned();
        entries.push(entry(key, *kind, default(ctx.settings()), row));
    }
    entries.push(default_ds_type(ctx).await?);
    Ok(entries)
}

pub async fn get(ctx: &Ctx, key: &str) -> Result<Entry> {
    ctx.require(Permission::ReadTenantConfiguration)?;
    if key == DEFAULT_DS_TYPE {
        return default_ds_type(ctx).await;
    }
    let (key, kind, default) = find_key(key)?;
    if key == GATEWAY_KEY {
        ctx.require(Permission::ReadGatewaySecurityToken)?;
    }
    let row = store::setting(ctx.db().read(), ctx.tenant_id(), key).await?;
    Ok(entry(key, kind, default(ctx.settings()), row))
}

/// Sets every given key, or none if one is wrong.
pub async fn put(ctx: &Ctx, values: Vec<(String, Value)>) -> Result<()> {
    ctx.require(Permission::UpdateTenantConfiguration)?;
    let mut tx = ctx.begin().await?;
    for (key, value) in values {
        if key == DEFAULT_DS_TYPE {
            let Value::Number(id) = value else {
                return Err(invalid(format!("{key} takes the id of a distribution set type.")));
            };
            let scope = search::scope(ctx, Permission::ReadDistributionSetType).await?;
            distribution_set_types::store::get(&*tx, ctx.tenant_id(), &scope, id)
                .await?
                .ok_or_else(|| Error::not_found("DistributionSetType", id))?;
            store::set_default_distribution_set_type(&*tx, ctx.tenant_id(), id, &ctx.actor_name(), ctx.now()).await?;
            continue;
        }
        let (key, kind, _) = find_key(&key)?;
        let text = convert(key, kind, value)?;
        validate(key, &text, ctx.settings())?;
        let put = store::put(&*tx, ctx.tenant_id(), key, &text, &ctx.actor_name(), ctx.now()).await?;
        let key = key.to_owned();
        match put {
            store::Put::Nothing => {}
            store::Put::Created(id) => tx.announce(ctx.tenant_id(), Fact::SettingCreated { id, key }),
            store::Put::Updated(id) => tx.announce(ctx.tenant_id(), Fact::SettingUpdated { id, key }),
        }
    }
    tx.emit(Event::TenantConfigurationChanged { tenant: ctx.tenant_id().into() });
    Ok(tx.commit().await?)
}

/// Takes a key back to the server's default. A key that was not set stays so.
pub async fn reset(ctx: &Ctx, key: &str) -> Result<()> {
    ctx.require(Permission::DeleteTenantConfiguration)?;
    if key == DEFAULT_DS_TYPE {
        return Err(Error::not_found("Configuration key not found", DEFAULT_DS_TYPE));
    }
    let (key, ..) = find_key(key)?;
    let mut tx = ctx.begin().await?;
    if let Some(found) = store::remove(&*tx, ctx.tenant_id(), key).await? {
        // hawkBit: tells the gateway token to all who listen. They need not know.
        let value = Some(found.conf_value).filter(|_| key != GATEWAY_KEY);
        tx.announce(ctx.tenant_id(), Fact::SettingDeleted { id: found.id, key: key.to_owned(), value });
    }
    tx.emit(Event::TenantConfigurationChanged { tenant: ctx.tenant_id().into() });
    Ok(tx.commit().await?)
}

/// The settings in the form that requests need; a stored value that can't be read counts as unset.
pub(super) fn parse(rows: &[Model], settings: &Settings) -> TenantSettings {
    let text = |key: &str| {
        let stored = rows.iter().find(|r| r.conf_key == key).map(|r| r.conf_value.clone());
        let default = KEYS.iter().find(|(k, ..)| *k == key).map(|(_, _, d)| d(settings));
        stored.or(default).unwrap_or_default()
    };
    let flag = |key: &str| text(key).eq_ignore_ascii_case("true");
    let number = |key: &str| text(key).parse::<i64>().unwrap_or(0);
    let polling = PollingTime::parse(&text(POLLING_TIME)).or_else(|| PollingTime::parse("00:05:00"));
    TenantSettings {
        header_enabled: flag("authentication.header.enabled"),
        header_authorities: text("authentication.header.authority")
            .to_lowercase()
            .split([',', ';'])
            .map(|a| a.trim().to_owned())
            .filter(|a| !a.is_empty())
            .collect(),
        targettoken_enabled: flag("authentication.targettoken.enabled"),
        gatewaytoken_enabled: flag("authentication.gatewaytoken.enabled"),
        gatewaytoken_key: text(GATEWAY_KEY),
        polling: polling.unwrap_or_else(|| PollingTime {
            default: polling::Interval { ms: 300_000, deviation: 0, text: "00:05:00".into() },
            overrides: Vec::new(),
        }),
        polling_overdue_ms: polling::duration_ms(&text(OVERDUE_TIME)).unwrap_or(300_000),
        maintenance_window_poll_count: number("maintenanceWindowPollCount"),
        autoclose: flag("repository.actions.autoclose.enabled"),
        confirmation_flow: flag("user.confirmation.flow.enabled"),
        implicit_lock: flag("implicit.lock.enabled"),
        batch_assignments: flag("batch.assignments.enabled"),
        rollout_approval: flag("rollout.approval.enabled"),
        quota_hit_percent: number("action.cleanup.onQuotaHit.percent"),
        cleanup_expiry_ms: text("action.cleanup.auto.expiry").parse().unwrap_or(-1),
        cleanup_status: text("action.cleanup.auto.status"),
    }
}

async fn default_ds_type(ctx: &Ctx) -> Result<Entry> {
    let id = store::default_distribution_set_type(ctx.db().read(), ctx.tenant_id()).await?;
    let value = Value::Number(id.ok_or_else(|| Error::not_found("Tenant", ctx.tenant_id()))?);
    Ok(Entry { key: DEFAULT_DS_TYPE, value, global: false, audit: None })
}

fn entry(key: &'static str, kind: Type, default: String, row: Option<Model>) -> Entry {
    let text = row.as_ref().map_or(default.as_str(), |r| r.conf_value.as_str());
    Entry { key, value: typed(kind, text), global: row.is_none(), audit: row }
}

fn typed(kind: Type, text: &str) -> Value {
    match kind {
        Type::Boolean => Value::Boolean(text.eq_ignore_ascii_case("true")),
        Type::Integer | Type::Long => text.parse().map_or_else(|_| Value::Text(text.into()), Value::Number),
        Type::Text => Value::Text(text.into()),
    }
}

fn find_key(key: &str) -> Result<(&'static str, Type, Fallback)> {
    KEYS.iter()
        .find(|(known, ..)| *known == key)
        .copied()
        .ok_or_else(|| Error::new(Kind::ConfigKeyInvalid, format!("The given configuration key {key} does not exist.")))
}

/// The value as text of its type, by the peer's conversion: `"on"`, `"yes"` and `"1"` are true, a number is also text.
fn convert(key: &str, kind: Type, value: Value) -> Result<String> {
    let text = match value {
        Value::Boolean(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::Text(t) => t,
    };
    let converted = match kind {
        Type::Text => Some(text.clone()),
        Type::Boolean => match text.trim().to_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Some("true".into()),
            "false" | "off" | "no" | "0" => Some("false".into()),
            _ => None,
        },
        Type::Integer => text.trim().parse::<i32>().ok().map(|n| n.to_string()),
        Type::Long => text.trim().parse::<i64>().ok().map(|n| n.to_string()),
    };
    converted.ok_or_else(|| invalid(format!("The value {text} is no {kind:?}, which {key} takes.")))
}

fn validate(key: &str, text: &str, settings: &Settings) -> Result<()> {
    if text.chars().count() > MAX_VALUE || text.contains('\0') {
        return Err(invalid(format!("{key} takes at most {MAX_VALUE} characters, without NUL.")));
    }
    match key {
        POLLING_TIME => {
            let polling = PollingTime::parse(text).ok_or_else(|| {
                invalid(format!(
                    "'{text}' is no polling time: expected HH:mm:ss or an ISO-8601 duration, optionally ~NN%."
                ))
            })?;
            let range = polling_range(settings);
            for interval in std::iter::once(&polling.default).chain(polling.overrides.iter().map(|(_, i)| i)) {
                if !(range.0..=range.1).contains(&interval.ms) {
                    return Err(invalid(format!(
                        "The polling time {} is out of range: {} to {}.",
                        interval.text,
                        polling::format_ms(range.0),
                        polling::format_ms(range.1)
                    )));
                }
            }
            for (q, _) in &polling.overrides {
                search::targets(q).map_err(|e| invalid(format!("The search '{q}' is wrong: {e}")))?;
            }
            Ok(())
        }
        OVERDUE_TIME if polling::duration_ms(text).is_none() => {
            Err(invalid(format!("'{text}' is no duration: expected HH:mm:ss or an ISO-8601 duration.")))
        }
        _ => Ok(()),
    }
}

/// The shortest and longest polling interval allowed, in milliseconds.
pub fn polling_range(settings: &Settings) -> (i64, i64) {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    (ms(settings.min_polling_time), ms(settings.max_polling_time))
}

fn invalid(message: String) -> Error {
    Error::new(Kind::ConfigValueInvalid, message)
}
