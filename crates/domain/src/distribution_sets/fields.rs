//! What can be searched and sorted by in distribution sets (semantics.md E4). `complete` is no column: see `mod.rs`.

use kettle_ql::{Entity, Field, Kind, Step};

const TYPE: &[Step] = &[Step::new("sp_distribution_set_type", "id", "ds_type")];
const MODULE: &[Step] = &[Step::new("sp_ds_sm", "ds_id", "id"), Step::new("sp_software_module", "id", "sm_id")];
const TAG: &[Step] = &[Step::new("sp_ds_tag", "ds", "id"), Step::new("sp_distribution_set_tag", "id", "tag")];

pub const ENTITY: Entity = Entity {
    table: "sp_distribution_set",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("name", Kind::Text, "name"),
        Field::column("description", Kind::Text, "description"),
        Field::column("version", Kind::Text, "version"),
        Field::column("valid", Kind::Bool, "valid"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
        Field::related("type", Kind::Text, TYPE, "type_key"),
        Field::related("type.key", Kind::Text, TYPE, "type_key"),
        Field::related("type.id", Kind::Long, TYPE, "id"),
        Field::related("type.name", Kind::Text, TYPE, "name"),
        Field::related("module.id", Kind::Long, MODULE, "id"),
        Field::related("module.name", Kind::Text, MODULE, "name"),
        Field::related("tag", Kind::Text, TAG, "name"),
        Field::related("tag.name", Kind::Text, TAG, "name"),
        Field::map("metadata", "sp_ds_metadata", "ds", "meta_key", "meta_value"),
    ],
};

/// What a list of a tag's sets can be sorted by: the names of a tag's fields that sets have too.
pub const AS_OF_TAG: Entity = Entity {
    table: "sp_distribution_set",
    fields: &[
        Field::column("id", Kind::Long, "id"),
        Field::column("name", Kind::Text, "name"),
        Field::column("description", Kind::Text, "description"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
    ],
};
