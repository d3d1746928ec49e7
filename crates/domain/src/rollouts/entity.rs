//! `sp_rollout`, `sp_rollout_group` and who is in a group, and the integers they store (semantics.md G3).

use sea_orm::entity::prelude::*;

use crate::{actions::ActionType, coded::coded};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_rollout")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub created_at: Option<i64>,
    pub created_by: Option<String>,
    pub last_modified_at: Option<i64>,
    pub last_modified_by: Option<String>,
    pub optlock_revision: Option<i64>,
    pub tenant: String,
    pub description: Option<String>,
    pub name: String,
    /// The peer's has no use for this column but setting it to 0. Here: when a dynamic rollout last looked for targets,
    /// epoch milliseconds.
    pub last_check: Option<i64>,
    pub status: i32,
    pub distribution_set: i64,
    pub target_filter: Option<String>,
    pub forced_time: Option<i64>,
    pub total_targets: Option<i64>,
    pub rollout_groups_created: Option<i64>,
    pub start_at: Option<i64>,
    pub deleted: Option<bool>,
    pub action_type: i32,
    pub approval_decided_by: Option<String>,
    pub approval_remark: Option<String>,
    pub weight: i32,
    /// Who created it, and with which authorities: [`crate::Ctx::access_context`].
    pub access_control_context: Option<String>,
    /// NULL: made before the peer knew dynamic rollouts; percentages of its groups are of the rest then.
    pub is_dynamic: Option<bool>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    pub fn status(&self) -> RolloutStatus {
        RolloutStatus::from_code(self.status)
    }

    pub fn action_type(&self) -> ActionType {
        ActionType::from_code(self.action_type)
    }

    pub fn is_dynamic(&self) -> bool {
        self.is_dynamic.unwrap_or(false)
    }

    /// Targets in all groups, as kept.
    pub fn total(&self) -> i64 {
        self.total_targets.unwrap_or(0)
    }
}

pub mod group {
    use sea_orm::entity::prelude::*;

    use super::{GroupStatus, SuccessAction};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_rollout_group")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub created_at: Option<i64>,
        pub created_by: Option<String>,
        pub last_modified_at: Option<i64>,
        pub last_modified_by: Option<String>,
        pub optlock_revision: Option<i64>,
        pub tenant: String,
        pub description: Option<String>,
        pub name: String,
        /// The one condition there is, `THRESHOLD`, is 0; NULL: none.
        pub error_condition: Option<i32>,
        pub error_condition_exp: Option<String>,
        /// The one action there is, `PAUSE`, is 0.
        pub error_action: Option<i32>,
        pub error_action_exp: Option<String>,
        pub success_condition: i32,
        pub success_condition_exp: String,
        pub success_action: i32,
        pub success_action_exp: Option<String>,
        pub status: i32,
        pub parent: Option<i64>,
        pub rollout: i64,
        pub total_targets: Option<i64>,
        /// Percent of the rollout's targets; of a dynamic group, how many targets it takes.
        pub target_percentage: Option<f64>,
        pub target_filter: Option<String>,
        pub confirmation_required: Option<bool>,
        pub is_dynamic: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    impl Model {
        pub fn status(&self) -> GroupStatus {
            GroupStatus::from_code(self.status)
        }

        pub fn success_action(&self) -> SuccessAction {
            SuccessAction::from_code(self.success_action)
        }

        /// Targets in the group, as kept.
        pub fn total(&self) -> i64 {
            self.total_targets.unwrap_or(0)
        }

        pub fn percentage(&self) -> f64 {
            self.target_percentage.unwrap_or(100.0)
        }

        /// How many targets a dynamic group takes.
        pub fn capacity(&self) -> i64 {
            #[expect(clippy::cast_possible_truncation, reason = "the peer keeps a count in this column")]
            let count = self.percentage() as i64;
            count.max(1)
        }

        /// The search of the group alone; empty: all of the rollout's.
        pub fn filter(&self) -> &str {
            self.target_filter.as_deref().unwrap_or("")
        }
    }
}

pub mod membership {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_rollout_target_group")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub rollout_group: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub target: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

coded! {
    /// Where a rollout is (semantics.md B3).
    RolloutStatus {
        Creating = 0 "creating", Ready = 1 "ready", Paused = 2 "paused", Starting = 3 "starting", Stopped = 4 "stopped",
        Running = 5 "running", Finished = 6 "finished", Deleting = 9 "deleting", Deleted = 10 "deleted",
        WaitingForApproval = 11 "waiting_for_approval", ApprovalDenied = 12 "approval_denied", Stopping = 13 "stopping",
    } else Stopped
}

coded! {
    /// Where a group of a rollout is (semantics.md B4).
    GroupStatus {
        Ready = 0 "ready", Scheduled = 1 "scheduled", Finished = 2 "finished", Error = 3 "error", Running = 4 "running",
        Creating = 5 "creating",
    } else Finished
}

coded! {
    /// What happens when a group's success condition holds.
    SuccessAction { NextGroup = 0 "NEXTGROUP", Pause = 1 "PAUSE" } else NextGroup
}

impl RolloutStatus {
    /// Neither over nor on its way to be.
    pub fn is_stoppable(self) -> bool {
        use RolloutStatus::*;
        matches!(self, Creating | Ready | Paused | Starting | Running | WaitingForApproval | ApprovalDenied)
    }
}
