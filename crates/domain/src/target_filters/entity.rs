//! `sp_target_filter_query`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_target_filter_query")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub created_at: Option<i64>,
    pub created_by: Option<String>,
    pub last_modified_at: Option<i64>,
    pub last_modified_by: Option<String>,
    pub optlock_revision: Option<i64>,
    pub tenant: String,
    pub name: String,
    pub query: String,
    pub auto_assign_distribution_set: Option<i64>,
    pub auto_assign_action_type: Option<i32>,
    pub auto_assign_weight: i32,
    pub auto_assign_initiated_by: Option<String>,
    pub confirmation_required: Option<bool>,
    /// Who set the auto-assignment, and with which authorities: [`crate::Ctx::access_context`].
    pub access_control_context: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
