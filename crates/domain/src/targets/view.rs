//! Prepared views: what a poll of one target needs, from one read, kept per node and, where that is wanted, in Redis.
//!
//! A view is dropped by the event of a change (`cached.rs`, `shared.rs`).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kettle_cluster::Redis;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{
    poll_status,
    shared::{Found, Shared},
};
use crate::{
    actions::{ActionStatus, ActionType, Window},
    cached::Cached,
    ctx::{Ctx, Services},
    error::Result,
    tenants::{self, polling::Interval},
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

/// The views of the targets that this node heard of last.
pub struct ViewCache {
    kept: Cached<Box<str>, Kept>,
    /// A net below the events: no view is older than this.
    live: Duration,
    shared: OnceLock<Arc<Shared>>,
    started: AtomicBool,
}

#[derive(Clone)]
struct Kept {
    view: Arc<DeviceView>,
    until: Instant,
}

impl ViewCache {
    /// Keeps at most `capacity` views, and none longer than `live`; with zero, none.
    pub fn new(capacity: u64, live: Duration) -> ViewCache {
        ViewCache {
            kept: Cached::new(if live.is_zero() { 0 } else { capacity }, live, SHARDS),
            live,
            shared: OnceLock::new(),
            started: AtomicBool::new(false),
        }
    }

    /// Shares what is read with other nodes, from now on, for as long as what is returned runs.
    pub fn share(&self, services: &Services, redis: Redis) -> JoinHandle<()> {
        let shared = self.shared.get_or_init(|| Shared::new(redis, self.live)).clone();
        tokio::spawn(shared.follow(services.db.clone(), services.events.clone()))
    }

    pub fn drop_targets(&self, tenant: &str, controller_ids: &[String]) {
        // First there: who finds nothing here any more must not find there what was dropped.
        if let Some(shared) = self.shared.get() {
            shared.drop_keys(controller_ids.iter().map(|id| key(tenant, id)));
        }
        for id in controller_ids {
            self.kept.drop_one(&key(tenant, id));
        }
    }

    pub fn drop_all(&self) {
        if let Some(shared) = self.shared.get() {
            shared.drop_all();
        }
        self.kept.drop_all();
    }

    /// What is looked for by others' names (a tag's, a type's) may find others now, and with it the polling times.
    pub fn drop_intervals(&self) {
        self.kept.drop_all();
    }

    /// Events may have been missed: the first time, those from before this node followed them.
    pub fn lose_track(&self) {
        if self.started.swap(true, Ordering::AcqRel) {
            return self.drop_all();
        }
        if let Some(shared) = self.shared.get() {
            shared.drop_missed();
        }
        self.kept.drop_all();
    }
}

pub(super) fn key(tenant: &str, controller_id: &str) -> Box<str> {
    // Neither part can hold a blank: tenants come from paths and users, controllerIds refuse whitespace.
    let mut key = String::with_capacity(tenant.len() + 1 + controller_id.len());
    key.push_str(tenant);
    key.push(' ');
    key.push_str(controller_id);
    key.into_boxed_str()
}

/// The view of a target: from the caches while the event channel is whole, else by one read. `None`: no such target.
pub(super) async fn get(ctx: &Ctx, controller_id: &str) -> Result<Option<Arc<DeviceView>>> {
    let Services { events, views, .. } = &**ctx.services();
    let key = key(ctx.tenant_id(), controller_id);
    let begun = Instant::now();
    let whole = events.whole();
    if whole
        && let Some(kept) = views.kept.get(&key)
        && begun < kept.until
    {
        return Ok(Some(kept.view));
    }
    let reading = views.kept.begin(&key);
    // Not before: a change of theirs that this node hears of now drops what is read here.
    let Some(settings) = tenants::settings(ctx.services(), &ctx.tenant).await? else { return Ok(None) };
    let shared = views.shared.get().filter(|_| whole);
    let found = match shared {
        Some(shared) => shared.find(&key).await,
        None => Found::Nothing(None),
    };
    let (row, live) = match found {
        Found::Row(row, left) => (row, left),
        Found::Nothing(filling) => {
            let Some(row) = read(ctx, controller_id).await? else { return Ok(None) };
            if let (Some(shared), Some(filling)) = (shared, filling) {
                shared.keep(filling, &key, &row).await;
            }
            (Box::new(row), views.live)
        }
    };
    // Not shared: what a tenant's polling time is, another node may not have heard yet.
    let interval = poll_status::interval(ctx, &settings, row.id).await?;
    let view = Arc::new(row.view(controller_id, interval));
    views.kept.keep(reading, key, Kept { view: view.clone(), until: begun + live });
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

/// What one read finds of a target, and of its next action.
#[derive(Debug, FromQueryResult, Serialize, Deserialize)]
pub(super) struct Row {
    id: i64,
    sec_token: String,
    update_status: i32,
    address: Option<String>,
    request_controller_attributes: bool,
    action: Option<i64>,
    status: Option<i32>,
    action_type: Option<i32>,
    forced_time: Option<i64>,
    revision: Option<i64>,
    maintenance_cron_schedule: Option<String>,
    maintenance_duration: Option<String>,
    maintenance_time_zone: Option<String>,
    installed: Option<i64>,
}

async fn read(ctx: &Ctx, controller_id: &str) -> Result<Option<Row>, DbErr> {
    let values = [ctx.tenant_id().into(), controller_id.into()];
    let row = ctx.db().read().query_one_raw(ctx.engine().statement(READ, values)).await?;
    row.map(|row| Row::from_query_result(&row, "")).transpose()
}

impl Row {
    fn view(self, controller_id: &str, interval: Interval) -> DeviceView {
        let next = self.next_action();
        DeviceView {
            target: self.id,
            controller_id: controller_id.into(),
            token: self.sec_token,
            update_status: self.update_status,
            address: self.address,
            request_attributes: self.request_controller_attributes,
            next,
            installed_action: self.installed,
            interval,
        }
    }

    fn next_action(&self) -> Option<NextAction> {
        let (id, status, action_type) = (self.action?, self.status?, self.action_type?);
        let kind = match ActionStatus::from_code(status) {
            ActionStatus::WaitForConfirmation => NextKind::Confirmation,
            ActionStatus::Canceling | ActionStatus::Canceled => NextKind::Cancel,
            _ => NextKind::Deployment,
        };
        let window = Window::stored(
            id,
            self.maintenance_cron_schedule.clone(),
            self.maintenance_duration.clone(),
            self.maintenance_time_zone.clone(),
        );
        Some(NextAction {
            id,
            window: window.map(Box::new),
            kind,
            revision: self.revision.unwrap_or(0),
            action_type: ActionType::from_code(action_type),
            forced_time: self.forced_time.unwrap_or(0),
        })
    }
}
