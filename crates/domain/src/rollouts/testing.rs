//! Rows for tests of rules that need no database.

use super::{Group, GroupStatus, Model, RolloutStatus};

/// A rollout without anything special.
pub(super) fn rollout(status: RolloutStatus) -> Model {
    Model {
        id: 1,
        created_at: Some(1_000),
        created_by: Some("maker".into()),
        last_modified_at: Some(2_000),
        last_modified_by: Some("mover".into()),
        optlock_revision: Some(1),
        tenant: "DEFAULT".into(),
        description: None,
        name: "wave".into(),
        last_check: Some(0),
        status: status.code(),
        distribution_set: 1,
        target_filter: Some("name==*".into()),
        forced_time: Some(0),
        total_targets: Some(0),
        rollout_groups_created: Some(1),
        start_at: None,
        deleted: Some(false),
        action_type: 0,
        approval_decided_by: None,
        approval_remark: None,
        weight: 1000,
        access_control_context: None,
        is_dynamic: Some(false),
    }
}

/// A group that comes after the one with the id before its own, with both thresholds at 50.
pub(super) fn group(id: i64, status: GroupStatus) -> Group {
    Group {
        id,
        created_at: Some(1_000),
        created_by: Some("maker".into()),
        last_modified_at: Some(2_000),
        last_modified_by: Some("maker".into()),
        optlock_revision: Some(1),
        tenant: "DEFAULT".into(),
        description: None,
        name: format!("group-{id}"),
        error_condition: Some(0),
        error_condition_exp: Some("50".into()),
        error_action: Some(0),
        error_action_exp: Some(String::new()),
        success_condition: 0,
        success_condition_exp: "50".into(),
        success_action: 0,
        success_action_exp: Some(String::new()),
        status: status.code(),
        parent: (id > 1).then_some(id - 1),
        rollout: 1,
        total_targets: Some(0),
        target_percentage: Some(100.0),
        target_filter: Some(String::new()),
        confirmation_required: Some(false),
        is_dynamic: false,
    }
}
