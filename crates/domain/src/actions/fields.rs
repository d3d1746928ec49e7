//! What can be searched and sorted by in actions and their statuses (semantics.md E4).

use kettle_ql::{Entity, Field, Kind, Step};

const STATUS: Kind = Kind::Enum(&[
    ("finished", 0),
    ("error", 1),
    ("warning", 2),
    ("running", 3),
    ("canceled", 4),
    ("canceling", 5),
    ("retrieved", 6),
    ("download", 7),
    ("scheduled", 8),
    ("cancel_rejected", 9),
    ("downloaded", 10),
    ("wait_for_confirmation", 11),
]);
const TARGET_STATUS: Kind =
    Kind::Enum(&[("unknown", 0), ("in_sync", 1), ("pending", 2), ("error", 3), ("registered", 4)]);
const TARGET: &[Step] = &[Step::new("sp_target", "id", "target")];
const SET: &[Step] = &[Step::new("sp_distribution_set", "id", "distribution_set")];
const SET_TYPE: &[Step] = &[
    Step::new("sp_distribution_set", "id", "distribution_set"),
    Step::new("sp_distribution_set_type", "id", "ds_type"),
];
const ROLLOUT: &[Step] = &[Step::new("sp_rollout", "id", "rollout")];
const GROUP: &[Step] = &[Step::new("sp_rollout_group", "id", "rollout_group")];

pub const ENTITY: Entity = Entity {
    table: "sp_action",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("active", Kind::Bool, "active"),
        Field::column("status", STATUS, "status"),
        Field::column("laststatuscode", Kind::Long, "last_action_status_code"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
        Field::column("weight", Kind::Long, "weight"),
        Field::column("externalref", Kind::Text, "external_ref"),
        Field::related("target.controllerid", Kind::Text, TARGET, "controller_id"),
        Field::related("target.name", Kind::Text, TARGET, "name"),
        Field::related("target.updatestatus", TARGET_STATUS, TARGET, "update_status"),
        Field::related("target.address", Kind::Text, TARGET, "address"),
        Field::related("distributionset.id", Kind::Long, SET, "id"),
        Field::related("distributionset.name", Kind::Text, SET, "name"),
        Field::related("distributionset.version", Kind::Text, SET, "version"),
        Field::related("distributionset.type", Kind::Text, SET_TYPE, "type_key"),
        Field::related("rollout.id", Kind::Long, ROLLOUT, "id"),
        Field::related("rollout.name", Kind::Text, ROLLOUT, "name"),
        Field::related("rolloutgroup.id", Kind::Long, GROUP, "id"),
        Field::related("rolloutgroup.name", Kind::Text, GROUP, "name"),
    ],
};

/// Statuses can be sorted, not searched.
pub const STATUS_ENTITY: Entity = Entity {
    table: "sp_action_status",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("timestamp", Kind::Long, "target_occurred_at"),
        Field::column("reportedat", Kind::Long, "created_at"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
    ],
};
