//! `sp_target` and the tables of its attributes, metadata and auto-confirmation.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_target")]
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
    pub controller_id: String,
    pub sec_token: String,
    pub assigned_distribution_set: Option<i64>,
    pub install_date: Option<i64>,
    pub address: Option<String>,
    pub last_target_query: Option<i64>,
    pub request_controller_attributes: bool,
    pub installed_distribution_set: Option<i64>,
    pub update_status: i32,
    pub target_type: Option<i64>,
    pub target_group: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub mod attribute {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_target_attributes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub target: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub attribute_key: String,
        pub attribute_value: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod metadata {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_target_metadata")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub target: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub meta_key: String,
        pub meta_value: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod auto_confirm {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_target_conf_status")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub target: i64,
        pub initiator: Option<String>,
        pub remark: Option<String>,
        pub created_at: Option<i64>,
        pub created_by: Option<String>,
        pub last_modified_at: Option<i64>,
        pub last_modified_by: Option<String>,
        pub optlock_revision: Option<i64>,
        pub tenant: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// `update_status` of a target (semantics.md A1, G3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum UpdateStatus {
    Unknown = 0,
    InSync = 1,
    Pending = 2,
    Error = 3,
    Registered = 4,
}

impl UpdateStatus {
    /// All names that clients see.
    pub const NAMES: &'static [&'static str] = &["unknown", "in_sync", "pending", "error", "registered"];

    /// The name that clients see and search by.
    pub fn name(code: i32) -> &'static str {
        match code {
            1 => "in_sync",
            2 => "pending",
            3 => "error",
            4 => "registered",
            _ => "unknown",
        }
    }
}

impl Model {
    pub fn is(&self, status: UpdateStatus) -> bool {
        self.update_status == status as i32
    }
}
