//! What can be searched and sorted by in target filters (semantics.md E4).

use kettle_ql::{Entity, Field, Kind, Step};

const SET: &[Step] = &[Step::new("sp_distribution_set", "id", "auto_assign_distribution_set")];

pub const ENTITY: Entity = Entity {
    table: "sp_target_filter_query",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("name", Kind::Text, "name"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
        Field::related("autoassigndistributionset.name", Kind::Text, SET, "name"),
        Field::related("autoassigndistributionset.version", Kind::Text, SET, "version"),
    ],
};
