//! `sp_software_module` and the table of its metadata.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_software_module")]
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
    pub version: String,
    pub deleted: Option<bool>,
    pub vendor: Option<String>,
    pub sm_type: i64,
    pub encrypted: Option<bool>,
    pub locked: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub mod metadata {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_sm_metadata")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub meta_key: String,
        pub meta_value: Option<String>,
        #[sea_orm(primary_key, auto_increment = false)]
        pub sm: i64,
        pub target_visible: Option<bool>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
