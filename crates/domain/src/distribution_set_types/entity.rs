//! `sp_distribution_set_type` and the module types that each one holds.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_distribution_set_type")]
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
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub mod element {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_ds_type_element")]
    pub struct Model {
        pub mandatory: Option<bool>,
        #[sea_orm(primary_key, auto_increment = false)]
        pub distribution_set_type: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub software_module_type: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
