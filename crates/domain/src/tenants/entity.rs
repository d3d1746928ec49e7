//! `sp_tenant` and `sp_tenant_configuration`.

pub mod tenant {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_tenant")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub created_at: Option<i64>,
        pub created_by: Option<String>,
        pub last_modified_at: Option<i64>,
        pub last_modified_by: Option<String>,
        pub optlock_revision: Option<i64>,
        pub tenant: String,
        pub default_ds_type: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod configuration {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sp_tenant_configuration")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub created_at: Option<i64>,
        pub created_by: Option<String>,
        pub last_modified_at: Option<i64>,
        pub last_modified_by: Option<String>,
        pub optlock_revision: Option<i64>,
        pub tenant: String,
        pub conf_key: String,
        pub conf_value: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
