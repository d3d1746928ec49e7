//! Prepared views: what a poll of one target needs, from one read, kept per node.
//!
//! A view is dropped by the event of a change (`cached.rs`).

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::poll_status;
use crate::{
    actions::{ActionStatus, ActionType, Window},
    cached::Cached,
    ctx::Ctx,
    error::Result,
    tenants::{TenantSettings, polling::Interval},
};

/// What the device API answers from: the state of one target, without the address links are built on.
#[derive(Clone, Debug)]
pub struct DeviceView {
    pub target: i64,
    pub controller_id: String,
    pub token: String,
    pub update_status: i32,
    pub address: Option<String>,
    pub request_attributes: bool,
    pub next: Option<NextAction>,
    /// The finished action whose set is installed.
    pub installed_action: Option<i64>,
    pub interval: Interval,
}

/// The active action that the device is to handle: the highest weight, then the lowest id.
#[derive(Clone, Debug)]
pub struct NextAction {
    pub id: i64,
    pub kind: NextKind,
    pub revision: i64,
    pub action_type: ActionType,
    /// Epoch milliseconds; from then on a time-forced action is forced.
    pub forced_time: i64,
    /// The maintenance window, if the action has one; the clock says whether it is open.
    pub window: Option<Box<Window>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKind {
    Confirmation,
    Cancel,
    Deployment,
}

impl NextAction {
    /// The `c` of a link: changes with the action's state, so that caches between server and device don't.
    pub fn cache_buster(&self, now: i64) -> i64 {
        let forced = self.action_type == ActionType::TimeForced && now >= self.forced_time;
        let available = self.window.as_ref().is_some_and(|window| window.available(now));
        let hash = (self.id.wrapping_mul(31)).wrapping_add(self.revision) as i32;
        let state = match (available, forced) {
            (true, _) => 1249,
            (false, true) => 1231,
            (false, false) => 1237,
        };
        i64::from(hash.wrapping_mul(31).wrapping_add(state))
    }
}

const SHARDS: usize = 1024;
/// A net below the events: no view is older than this.
const LIVE: Duration = Duration::from_secs(60);

/// The views of the targets that this node heard of last.
pub struct ViewCache(Cached<Box<str>, Arc<DeviceView>>);

impl ViewCache {
    /// Keeps at most `capacity` views; with a time to live of zero, none.
    pub fn new(capacity: u64, ttl: Duration) -> ViewCache {
        ViewCache(Cached::new(if ttl.is_zero() { 0 } else { capacity }, LIVE, SHARDS))
    }

    pub fn drop_targets(&self, tenant: &str, controller_ids: &[String]) {
        for id in controller_ids {
            self.0.drop_one(&key(tenant, id));
        }
    }

    pub fn drop_all(&self) {
        self.0.drop_all();
    }
}

fn key(tenant: &str, controller_id: &str) -> Box<str> {
    // Neither part can hold a blank: tenants come from paths and users, controllerIds refuse whitespace.
    let mut key = String::with_capacity(tenant.len() + 1 + controller_id.len());
    key.push_str(tenant);
    key.push(' ');
    key.push_str(controller_id);
    key.into_boxed_str()
}

/// The view of a target: from the cache while the event channel is whole, else by one read. `None`: no such target.
pub(super) async fn get(ctx: &Ctx, settings: &TenantSettings, controller_id: &str) -> Result<Option<Arc<DeviceView>>> {
    let services = ctx.services();
    let key = key(ctx.tenant_id(), controller_id);
    if services.events.whole()
        && let Some(view) = services.views.0.get(&key)
    {
        return Ok(Some(view));
    }
    let reading = services.views.0.begin(&key);
    let Some(view) = read(ctx, settings, controller_id).await? else { return Ok(None) };
    let view = Arc::new(view);
    services.views.0.keep(reading, key, view.clone());
    Ok(Some(view))
}

const READ: &str = "SELECT t.id, t.sec_token, t.update_status, t.address, t.request_controller_attributes, \
     a.id AS action, a.status, a.action_type, a.forced_time, a.optlock_revision AS revision, \
     a.maintenance_cron_schedule, a.maintenance_duration, a.maintenance_time_zone, \
     (SELECT max(f.id) FROM sp_action f WHERE f.tenant = t.tenant AND f.target = t.id AND f.active = false \
        AND f.status = 0 AND f.distribution_set = t.installed_distribution_set) AS installed \
     FROM sp_target t LEFT JOIN sp_action a ON a.id = (SELECT x.id FROM sp_action x WHERE x.tenant = t.tenant \
        AND x.target = t.id AND x.active = true ORDER BY x.weight DESC, x.id LIMIT 1) \
     WHERE t.tenant = $1 AND t.controller_id = $2";

async fn read(ctx: &Ctx, settings: &TenantSettings, controller_id: &str) -> Result<Option<DeviceView>> {
    let values = [ctx.tenant_id().into(), controller_id.into()];
    let Some(row) = ctx.db().read().query_one_raw(ctx.engine().statement(READ, values)).await? else { return Ok(None) };
    let target = row.try_get("", "id")?;
    Ok(Some(DeviceView {
        target,
        controller_id: controller_id.into(),
        token: row.try_get("", "sec_token")?,
        update_status: row.try_get("", "update_status")?,
        address: row.try_get("", "address")?,
        request_attributes: row.try_get("", "request_controller_attributes")?,
        next: next_action(&row)?,
        installed_action: row.try_get("", "installed")?,
        interval: poll_status::interval(ctx, settings, target).await?,
    }))
}

fn next_action(row: &QueryResult) -> Result<Option<NextAction>, DbErr> {
    let Some(id) = row.try_get::<Option<i64>>("", "action")? else { return Ok(None) };
    let kind = match ActionStatus::from_code(row.try_get("", "status")?) {
        ActionStatus::WaitForConfirmation => NextKind::Confirmation,
        ActionStatus::Canceling | ActionStatus::Canceled => NextKind::Cancel,
        _ => NextKind::Deployment,
    };
    let window = Window::stored(
        id,
        row.try_get("", "maintenance_cron_schedule")?,
        row.try_get("", "maintenance_duration")?,
        row.try_get("", "maintenance_time_zone")?,
    );
    Ok(Some(NextAction {
        id,
        window: window.map(Box::new),
        kind,
        revision: row.try_get::<Option<i64>>("", "revision")?.unwrap_or(0),
        action_type: ActionType::from_code(row.try_get("", "action_type")?),
        forced_time: row.try_get::<Option<i64>>("", "forced_time")?.unwrap_or(0),
    }))
}
