//! `sp_artifact`: the files of software modules. Their content is in the storage, by its SHA-1.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_artifact")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub created_at: Option<i64>,
    pub created_by: Option<String>,
    pub last_modified_at: Option<i64>,
    pub last_modified_by: Option<String>,
    pub optlock_revision: Option<i64>,
    pub tenant: String,
    pub md5_hash: Option<String>,
    pub file_size: Option<i64>,
    pub provided_file_name: Option<String>,
    pub sha1_hash: String,
    pub software_module: i64,
    pub sha256_hash: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
