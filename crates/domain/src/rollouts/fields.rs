//! What can be searched and sorted by in rollouts and their groups (semantics.md E4).

use kettle_ql::{Entity, Field, Kind, Step};

const STATUS: Kind = Kind::Enum(&[
    ("creating", 0),
    ("ready", 1),
    ("paused", 2),
    ("starting", 3),
    ("stopped", 4),
    ("running", 5),
    ("finished", 6),
    ("deleting", 9),
    ("deleted", 10),
    ("waiting_for_approval", 11),
    ("approval_denied", 12),
    ("stopping", 13),
]);
const SET: &[Step] = &[Step::new("sp_distribution_set", "id", "distribution_set")];
const SET_TYPE: &[Step] = &[
    Step::new("sp_distribution_set", "id", "distribution_set"),
    Step::new("sp_distribution_set_type", "id", "ds_type"),
];
const ID: Field = Field::column("id", Kind::Long, "id");
const NAME: Field = Field::column("name", Kind::Text, "name");
const DESCRIPTION: Field = Field::column("description", Kind::Text, "description");
const CREATED_AT: Field = Field::column("createdat", Kind::Long, "created_at");
const CREATED_BY: Field = Field::column("createdby", Kind::Text, "created_by");
const LAST_MODIFIED_AT: Field = Field::column("lastmodifiedat", Kind::Long, "last_modified_at");
const LAST_MODIFIED_BY: Field = Field::column("lastmodifiedby", Kind::Text, "last_modified_by");

pub const ENTITY: Entity = Entity {
    table: "sp_rollout",
    fields: &[
        ID,
        NAME,
        DESCRIPTION,
        CREATED_AT,
        CREATED_BY,
        LAST_MODIFIED_AT,
        LAST_MODIFIED_BY,
        Field::column("status", STATUS, "status"),
        Field::related("distributionset.id", Kind::Long, SET, "id"),
        Field::related("distributionset.name", Kind::Text, SET, "name"),
        Field::related("distributionset.version", Kind::Text, SET, "version"),
        Field::related("distributionset.type", Kind::Text, SET_TYPE, "type_key"),
    ],
};

pub const GROUPS: Entity = Entity {
    table: "sp_rollout_group",
    fields: &[ID, NAME, DESCRIPTION, CREATED_AT, CREATED_BY, LAST_MODIFIED_AT, LAST_MODIFIED_BY],
};

/// What a list of groups can be sorted by: the names of the fields of rollouts that groups have too.
pub const GROUPS_AS_ROLLOUTS: Entity = Entity {
    table: "sp_rollout_group",
    fields: &[
        ID,
        NAME,
        DESCRIPTION,
        CREATED_AT,
        CREATED_BY,
        LAST_MODIFIED_AT,
        LAST_MODIFIED_BY,
        Field::column("status", Kind::Long, "status"),
    ],
};
