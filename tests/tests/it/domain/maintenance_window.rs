//! A maintenance window as a device and an operator see it while the clock goes on.

use kettle_domain::{
    Kind,
    actions::{self, ActionStatus, ActionType, Request, WindowText},
    distribution_sets, software_modules,
    targets::NextKind,
};

use super::*;

/// 2023-11-14 23:30 UTC, half past midnight in the time zone of [`window`].
const START: i64 = NOW + 4_600_000;
const HOUR: i64 = 60 * MINUTE;

#[tokio::test]
async fn a_device_is_told_by_the_clock_alone_whether_the_window_is_open() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let action = node.assign("d1", window("0 30 0 15 11 ? 2023")).await.unwrap();
        let token = node.poll("d1").await.view.token.clone();
        store.execute("UPDATE sp_target SET sec_token = 'changed behind the view'").await;
        let mut shut = None;
        for (now, sleep, open) in [
            (NOW, "00:05:00", false),
            (START - 15 * MINUTE, "00:05:00", false),
            (START - 9 * MINUTE, "00:03:00", false),
            (START - MINUTE, "00:00:30", false),
            (START + 1, "00:05:00", true),
            (START + HOUR - 1, "00:05:00", true),
        ] {
            node.clock.advance(now - node.ctx.now());
            let poll = node.poll("d1").await;
            assert_eq!((poll.sleep.as_str(), &poll.view.token), (sleep, &token), "at {now}");
            let c = poll.view.next.as_ref().unwrap().cache_buster(now);
            assert_eq!(*shut.get_or_insert(c) != c, open, "c at {now}");
            assert_eq!(node.shown_action(action).await.window_next_start, Some(START), "at {now}");
        }
        for (now, expected) in
            [(START, Ok(Some(false))), (START + 1, Ok(Some(true))), (START + HOUR, Err(Kind::Absent))]
        {
            node.clock.advance(now - node.ctx.now());
            assert_eq!(node.deployment(action).await, expected, "at {now}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_poll_after_the_last_window_cancels_the_action() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let action = node.assign("d1", window("0 30 0 15 11 ? 2023")).await.unwrap();
        node.clock.advance(START + HOUR - NOW);
        assert_eq!(node.shown_action(action).await.action.status(), ActionStatus::Running, "nobody asked yet");
        for _ in 0..2 {
            let poll = node.poll("d1").await;
            assert_eq!(poll.view.next.as_ref().map(|next| (next.id, next.kind)), Some((action, NextKind::Cancel)));
            assert_eq!(poll.sleep, "00:05:00");
        }
        assert_eq!(node.statuses(action).await, ["manual cancelation requested", INITIATED]);
        assert_eq!(node.shown_action(action).await.window_next_start, None);
    })
    .await;
}

#[tokio::test]
async fn reading_an_action_whose_window_has_lapsed_cancels_it_unless_it_is_closed() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let action = node.assign("d1", window("0 30 0 15 11 ? 2023")).await.unwrap();
        node.clock.advance(START + HOUR - NOW);
        store.execute("UPDATE sp_action SET active = false, status = 0").await;
        assert_eq!(node.deployment(action).await.unwrap(), Some(false), "closed");
        store.execute("UPDATE sp_action SET active = true, status = 3").await;
        assert_eq!(node.deployment(action).await.unwrap_err(), Kind::Absent);
        assert_eq!(node.shown_action(action).await.action.status(), ActionStatus::Canceling);
        assert_eq!(node.statuses(action).await, ["manual cancelation requested", INITIATED]);
    })
    .await;
}

#[tokio::test]
async fn a_window_that_is_wrong_or_over_assigns_nothing() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let partial = WindowText { duration: String::new(), ..window("0 30 0 * * ?") };
        let wrong = [window("every day"), window("0 30 0 14 11 ? 2023"), partial];
        for window in &wrong {
            let error = node.assign("d1", window.clone()).await.unwrap_err();
            assert_eq!(error, Kind::MaintenanceScheduleInvalid, "{window:?}");
        }
        assert_eq!(store.number("SELECT count(*) AS n FROM sp_action").await, 0);
        let [window, ..] = wrong;
        let set = node.set().await;
        let outcome = actions::assign(&node.ctx, vec![request("d1", set, window)], true).await.unwrap();
        let offline = node.shown_action(outcome.actions[0].action).await.action;
        assert_eq!((offline.status(), offline.maintenance_cron_schedule), (ActionStatus::Finished, None));
    })
    .await;
}

#[tokio::test]
async fn a_stored_window_that_cannot_be_read_neither_installs_nor_cancels() {
    on_each_store(async |store| {
        let node = Node::start(&store.db).await;
        let action = node.assign("d1", window("0 30 0 15 11 ? 2023")).await.unwrap();
        store.execute("UPDATE sp_action SET maintenance_cron_schedule = '0 30 0|1 * * ?'").await;
        let poll = node.poll("d1").await;
        assert_eq!(poll.view.next.as_ref().map(|next| next.kind), Some(NextKind::Deployment));
        assert_eq!(poll.sleep, "00:05:00");
        assert_eq!(node.deployment(action).await.unwrap(), Some(false));
    })
    .await;
}

const INITIATED: &str = "Assignment initiated by user 'system'";

/// An hour at a time of UTC+1.
fn window(schedule: &str) -> WindowText {
    WindowText { schedule: schedule.into(), duration: "01:00:00".into(), timezone: "+01:00".into() }
}

fn request(controller_id: &str, set: i64, window: WindowText) -> Request {
    Request {
        controller_id: controller_id.into(),
        set,
        action_type: ActionType::Forced,
        forced_time: 0,
        weight: None,
        confirmation_required: None,
        window: Some(window),
    }
}

impl Node {
    /// Assigns a set to a device that has polled, and gives the action.
    async fn assign(&self, controller_id: &str, window: WindowText) -> Result<i64, Kind> {
        self.poll(controller_id).await;
        let set = self.set().await;
        let outcome = actions::assign(&self.ctx, vec![request(controller_id, set, window)], false).await;
        Ok(outcome.map_err(|error| error.kind)?.actions[0].action)
    }

    pub(super) async fn set(&self) -> i64 {
        let name = format!("fw-{}", rand::random::<u64>());
        let module = software_modules::Create {
            name: name.clone(),
            version: "1".into(),
            module_type: "os".into(),
            vendor: None,
            description: None,
            encrypted: false,
        };
        let module = software_modules::create(&self.ctx, vec![module]).await.unwrap()[0].module.id;
        let set = distribution_sets::Create {
            name,
            version: "1".into(),
            set_type: Some("os".into()),
            description: None,
            required_migration_step: false,
            modules: vec![module],
        };
        distribution_sets::create(&self.ctx, vec![set]).await.unwrap()[0].set.id
    }

    /// What deploymentBase of `d1` says of the window.
    async fn deployment(&self, action: i64) -> Result<Option<bool>, Kind> {
        let device = Ctx::device(&self.services, self.ctx.tenant.clone());
        let found = actions::deployment(&device, "d1", action, 0).await;
        found.map(|deployment| deployment.window_available).map_err(|error| error.kind)
    }

    async fn shown_action(&self, action: i64) -> actions::Shown {
        actions::get(&self.ctx, action).await.unwrap()
    }

    /// The messages of an action of `d1`, newest first.
    async fn statuses(&self, action: i64) -> Vec<String> {
        let listing = Listing::new(0, 50, Some("id:DESC".into()), None);
        let page = actions::statuses(&self.ctx, "d1", action, &listing).await.unwrap();
        page.content.into_iter().flat_map(|status| status.messages).collect()
    }
}
