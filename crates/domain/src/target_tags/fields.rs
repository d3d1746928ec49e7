//! What can be searched and sorted by in target tags (semantics.md E4).

use kettle_ql::Entity;

use crate::tags::FIELDS;

pub const ENTITY: Entity = Entity { table: "sp_target_tag", fields: &FIELDS };
