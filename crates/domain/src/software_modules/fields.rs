//! What can be searched and sorted by in software modules (semantics.md E4).

use kettle_ql::{Entity, Field, Kind, Step};

const TYPE: &[Step] = &[Step::new("sp_software_module_type", "id", "sm_type")];

pub const ENTITY: Entity = Entity {
    table: "sp_software_module",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("name", Kind::Text, "name"),
        Field::column("description", Kind::Text, "description"),
        Field::column("version", Kind::Text, "version"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
        Field::related("type", Kind::Text, TYPE, "type_key"),
        Field::related("type.key", Kind::Text, TYPE, "type_key"),
        Field::related("type.id", Kind::Long, TYPE, "id"),
        Field::related("type.name", Kind::Text, TYPE, "name"),
        Field::map("metadata", "sp_sm_metadata", "sm", "meta_key", "meta_value"),
    ],
};
