//! What can be searched and sorted by in tags of distribution sets (semantics.md E4).

use kettle_ql::{Entity, Field, Kind, Step};

use crate::tags::FIELDS;

const TAGGED: &[Step] = &[Step::new("sp_ds_tag", "tag", "id"), Step::new("sp_distribution_set", "id", "ds")];
const WITH_SETS: [Field; 10] = {
    let [id, name, description, colour, created_at, created_by, modified_at, modified_by] = FIELDS;
    let set_id = Field::related("distributionset.id", Kind::Long, TAGGED, "id");
    let set_name = Field::related("distributionset.name", Kind::Text, TAGGED, "name");
    [id, name, description, colour, created_at, created_by, modified_at, modified_by, set_id, set_name]
};

pub const ENTITY: Entity = Entity { table: "sp_distribution_set_tag", fields: &WITH_SETS };
