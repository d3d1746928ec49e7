//! What can be searched and sorted by in target types (semantics.md E4).

use kettle_ql::{Entity, Field, Kind};

pub const ENTITY: Entity = Entity {
    table: "sp_target_type",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("key", Kind::Text, "type_key"),
        Field::column("name", Kind::Text, "name"),
        Field::column("description", Kind::Text, "description"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
    ],
};
