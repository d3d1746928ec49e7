//! `sp_action`, `sp_action_status` and its messages, and the integers they store (semantics.md G3).

use sea_orm::entity::prelude::*;

use super::Window;
use crate::coded::coded;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_action")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub created_at: Option<i64>,
    pub created_by: Option<String>,
    pub last_modified_at: Option<i64>,
    pub last_modified_by: Option<String>,
    pub optlock_revision: Option<i64>,
    pub tenant: String,
    pub active: Option<bool>,
    pub forced_time: Option<i64>,
    pub status: i32,
    pub distribution_set: i64,
    pub target: i64,
    pub rollout: Option<i64>,
    pub rollout_group: Option<i64>,
    pub action_type: i32,
    pub maintenance_cron_schedule: Option<String>,
    pub maintenance_duration: Option<String>,
    pub maintenance_time_zone: Option<String>,
    pub external_ref: Option<String>,
    pub weight: i32,
    pub initiated_by: String,
    pub last_action_status_code: Option<i32>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn status(&self) -> ActionStatus {
        ActionStatus::from_code(self.status)
    }

    pub fn action_type(&self) -> ActionType {
        ActionType::from_code(self.action_type)
    }

    pub fn is_active(&self) -> bool {
        self.active.unwrap_or(false)
    }

    /// Cancelled, or asked to be.
    pub fn is_canceling_or_canceled(&self) -> bool {
        matches!(self.status(), ActionStatus::Canceling | ActionStatus::Canceled)
    }

    /// The maintenance window, if the action has one.
    pub fn window(&self) -> Option<Window> {
        let Model { maintenance_cron_schedule, maintenance_duration, maintenance_time_zone, .. } = self;
        Window::stored(
            self.id,
            maintenance_cron_schedule.clone(),
            maintenance_duration.clone(),
            maintenance_time_zone.clone(),
        )
    }

    /// Forced, or time-forced and the time has come.
    pub fn is_forced(&self, now: i64) -> bool {
        match self.action_type() {
            ActionType::Forced => true,
            ActionType::TimeForced => now >= self.forced_time.unwrap_or(0),
            ActionType::Soft | ActionType::DownloadOnly => false,
        }
    }
}

pub mod status {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_action_status")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub created_at: Option<i64>,
        pub created_by: Option<String>,
        pub last_modified_at: Option<i64>,
        pub last_modified_by: Option<String>,
        pub optlock_revision: Option<i64>,
        pub tenant: String,
        pub target_occurred_at: i64,
        pub status: i32,
        pub action: i64,
        pub code: Option<i32>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

coded! {
    /// The status of an action, and of each report about it.
    ActionStatus {
        Finished = 0 "finished", Error = 1 "error", Warning = 2 "warning", Running = 3 "running",
        Canceled = 4 "canceled", Canceling = 5 "canceling", Retrieved = 6 "retrieved", Download = 7 "download",
        Scheduled = 8 "scheduled", CancelRejected = 9 "cancel_rejected", Downloaded = 10 "downloaded",
        WaitForConfirmation = 11 "wait_for_confirmation",
    } else Running
}

coded! {
    /// How urgently a device is to take an action.
    ActionType { Forced = 0 "forced", Soft = 1 "soft", TimeForced = 2 "timeforced", DownloadOnly = 3 "downloadonly" } else Forced
}
