//! What can be searched and sorted by in targets (semantics.md E4).

use kettle_ql::{Entity, Field, Kind, Step};

const STATUS: Kind = Kind::Enum(&[("unknown", 0), ("in_sync", 1), ("pending", 2), ("error", 3), ("registered", 4)]);
const ASSIGNED: &[Step] = &[Step::new("sp_distribution_set", "id", "assigned_distribution_set")];
const INSTALLED: &[Step] = &[Step::new("sp_distribution_set", "id", "installed_distribution_set")];
const TYPE: &[Step] = &[Step::new("sp_target_type", "id", "target_type")];
const TAG: &[Step] = &[Step::new("sp_target_target_tag", "target", "id"), Step::new("sp_target_tag", "id", "tag")];
const AUTO_CONFIRM: &[Step] = &[Step::new("sp_target_conf_status", "target", "id")];

pub const ENTITY: Entity = Entity {
    table: "sp_target",
    fields: &[
        Field::column("id", Kind::Text, "controller_id"),
        Field::column("controllerid", Kind::Text, "controller_id"),
        Field::column("name", Kind::Text, "name"),
        Field::column("description", Kind::Text, "description"),
        Field::column("createdat", Kind::Long, "created_at"),
        Field::column("createdby", Kind::Text, "created_by"),
        Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
        Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
        Field::column("updatestatus", STATUS, "update_status"),
        Field::column("ipaddress", Kind::Text, "address"),
        Field::column("group", Kind::Text, "target_group"),
        Field::column("lastcontrollerrequestat", Kind::Long, "last_target_query"),
        Field::map("attribute", "sp_target_attributes", "target", "attribute_key", "attribute_value"),
        Field::map("metadata", "sp_target_metadata", "target", "meta_key", "meta_value"),
        Field::related("assignedds.name", Kind::Text, ASSIGNED, "name"),
        Field::related("assignedds.version", Kind::Text, ASSIGNED, "version"),
        Field::related("installedds.name", Kind::Text, INSTALLED, "name"),
        Field::related("installedds.version", Kind::Text, INSTALLED, "version"),
        Field::related("tag", Kind::Text, TAG, "name"),
        Field::related("tag.name", Kind::Text, TAG, "name"),
        Field::related("type", Kind::Text, TYPE, "type_key"),
        Field::related("type.key", Kind::Text, TYPE, "type_key"),
        Field::related("type.id", Kind::Long, TYPE, "id"),
        Field::related("type.name", Kind::Text, TYPE, "name"),
        Field::related("targettype.key", Kind::Text, TYPE, "type_key"),
        Field::related("targettype.id", Kind::Long, TYPE, "id"),
        Field::related("targettype.name", Kind::Text, TYPE, "name"),
        Field::exists("autoconfirm", AUTO_CONFIRM),
    ],
};

/// What a list of the targets of a distribution set or of a tag can be sorted by: the names of the fields of those that
/// targets have too.
pub const AS_OF_ANOTHER: Entity = Entity {
    table: "sp_target",
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
