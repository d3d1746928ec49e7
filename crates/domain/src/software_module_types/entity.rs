//! `sp_software_module_type`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_software_module_type")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub created_at: Option<i64>,
    pub created_by: Option<String>,
    pub last_modified_at: Option<i64>,
    pub last_modified_by: Option<String>,
    pub optlock_revision: Option<i64>,
    pub tenant: String,
    pub description: Option<String>,
    pub name: String,
    pub colour: Option<String>,
    pub deleted: Option<bool>,
    pub type_key: String,
    pub max_ds_assignments: i32,
    pub min_artifacts: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
