//! Queries over `sp_tenant` and `sp_tenant_configuration`, and the types every new tenant starts with.

use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Set,
};

use super::entity::{configuration, tenant};
use crate::{distribution_set_types::entity as ds_type, software_module_types::entity as sm_type};

/// The settings a tenant has stored; `None` if there is no such tenant.
pub async fn configuration(
    db: &impl ConnectionTrait,
    tenant: &str,
) -> Result<Option<Vec<configuration::Model>>, DbErr> {
    let rows = configuration::Entity::find().filter(configuration::Column::Tenant.eq(tenant)).all(db).await?;
    if rows.is_empty() && find(db, tenant).await?.is_none() {
        return Ok(None);
    }
    Ok(Some(rows))
}

pub async fn find(db: &impl ConnectionTrait, tenant: &str) -> Result<Option<tenant::Model>, DbErr> {
    tenant::Entity::find().filter(tenant::Column::Tenant.eq(tenant)).one(db).await
}

/// The name of the tenant with this id.
pub async fn name(db: &impl ConnectionTrait, id: i64) -> Result<Option<String>, DbErr> {
    Ok(tenant::Entity::find_by_id(id).one(db).await?.map(|found| found.tenant))
}

/// The names of all tenants, in order.
pub async fn all(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let select = tenant::Entity::find().select_only().column(tenant::Column::Tenant);
    select.order_by_asc(tenant::Column::Tenant).into_tuple().all(db).await
}

pub async fn setting(
    db: &impl ConnectionTrait,
    tenant: &str,
    key: &str,
) -> Result<Option<configuration::Model>, DbErr> {
    configuration::Entity::find()
        .filter(configuration::Column::Tenant.eq(tenant))
        .filter(configuration::Column::ConfKey.eq(key))
        .one(db)
        .await
}

/// What writing a setting did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It had this value.
    Nothing,
    /// The row of this id is new.
    Created(i64),
    Updated(i64),
}

/// Writes a setting; its audit columns keep who first set it.
pub async fn put(
    db: &impl ConnectionTrait,
    tenant: &str,
    key: &str,
    value: &str,
    by: &str,
    now: i64,
) -> Result<Put, DbErr> {
    match setting(db, tenant, key).await? {
        Some(row) if row.conf_value == value => Ok(Put::Nothing),
        Some(row) => {
            let revision = row.optlock_revision.unwrap_or(0) + 1;
            let mut row: configuration::ActiveModel = row.into();
            row.conf_value = Set(value.into());
            row.last_modified_at = Set(Some(now));
            row.last_modified_by = Set(Some(by.into()));
            row.optlock_revision = Set(Some(revision));
            Ok(Put::Updated(row.update(db).await?.id))
        }
        None => {
            let row = configuration::ActiveModel {
                id: NotSet,
                created_at: Set(Some(now)),
                created_by: Set(Some(by.into())),
                last_modified_at: Set(Some(now)),
                last_modified_by: Set(Some(by.into())),
                optlock_revision: Set(Some(1)),
                tenant: Set(tenant.into()),
                conf_key: Set(key.into()),
                conf_value: Set(value.into()),
            };
            Ok(Put::Created(row.insert(db).await?.id))
        }
    }
}

/// Gives the setting that there was.
pub async fn remove(db: &impl ConnectionTrait, tenant: &str, key: &str) -> Result<Option<configuration::Model>, DbErr> {
    let found = setting(db, tenant, key).await?;
    configuration::Entity::delete_many()
        .filter(configuration::Column::Tenant.eq(tenant))
        .filter(configuration::Column::ConfKey.eq(key))
        .exec(db)
        .await?;
    Ok(found)
}

/// The id of the type that new distribution sets of the tenant get.
pub async fn default_distribution_set_type(db: &impl ConnectionTrait, tenant: &str) -> Result<Option<i64>, DbErr> {
    Ok(find(db, tenant).await?.map(|t| t.default_ds_type))
}

pub async fn set_default_distribution_set_type(
    db: &impl ConnectionTrait,
    tenant: &str,
    ds_type: i64,
    by: &str,
    now: i64,
) -> Result<(), DbErr> {
    if let Some(row) = find(db, tenant).await? {
        let revision = row.optlock_revision.unwrap_or(0) + 1;
        let mut row: tenant::ActiveModel = row.into();
        row.default_ds_type = Set(ds_type);
        row.last_modified_at = Set(Some(now));
        row.last_modified_by = Set(Some(by.into()));
        row.optlock_revision = Set(Some(revision));
        row.update(db).await?;
    }
    Ok(())
}

/// Creates the tenant with the peer's default types (semantics.md A2, "New tenant"). Gives the ids of its types of modules,
/// and of sets.
pub async fn create(db: &impl ConnectionTrait, tenant: &str, now: i64) -> Result<([i64; 2], Vec<i64>), DbErr> {
    let by = "system";
    let module_type = async |key: &str, name: &str, description: &str, max| {
        let row = sm_type::ActiveModel {
            id: NotSet,
            created_at: Set(Some(now)),
            created_by: Set(Some(by.into())),
            last_modified_at: Set(Some(now)),
            last_modified_by: Set(Some(by.into())),
            optlock_revision: Set(Some(1)),
            tenant: Set(tenant.into()),
            description: Set(Some(description.into())),
            name: Set(name.into()),
            colour: Set(None),
            deleted: Set(Some(false)),
            type_key: Set(key.into()),
            max_ds_assignments: Set(max),
            min_artifacts: Set(0),
        };
        row.insert(db).await.map(|row| row.id)
    };
    let app = module_type("application", "Application", "Application Addons", i32::MAX).await?;
    let os = module_type("os", "OS", "Core firmware or operating system", 1).await?;
    let mut types = Vec::new();
    for (key, name, description, elements) in [
        ("os", "OS only", "Default type with Firmware/OS only.", &[(os, true)][..]),
        ("app", "App(s) only", "Default type with app(s) only.", &[(app, true)]),
        ("os_app", "OS with app(s)", "Default type with Firmware/OS and optional app(s).", &[(os, true), (app, false)]),
    ] {
        let row = ds_type::ActiveModel {
            id: NotSet,
            created_at: Set(Some(now)),
            created_by: Set(Some(by.into())),
            last_modified_at: Set(Some(now)),
            last_modified_by: Set(Some(by.into())),
            optlock_revision: Set(Some(1)),
            tenant: Set(tenant.into()),
            description: Set(Some(description.into())),
            name: Set(name.into()),
            colour: Set(None),
            deleted: Set(Some(false)),
            type_key: Set(key.into()),
        };
        let row = row.insert(db).await?;
        for (module_type, mandatory) in elements {
            let element = ds_type::element::ActiveModel {
                mandatory: Set(Some(*mandatory)),
                distribution_set_type: Set(row.id),
                software_module_type: Set(*module_type),
            };
            ds_type::element::Entity::insert(element).exec_without_returning(db).await?;
        }
        types.push(row.id);
    }
    let default = types.last().copied().ok_or(DbErr::Custom("a tenant starts with a default type".into()))?;
    let row = tenant::ActiveModel {
        id: NotSet,
        created_at: Set(Some(now)),
        created_by: Set(Some(by.into())),
        last_modified_at: Set(Some(now)),
        last_modified_by: Set(Some(by.into())),
        optlock_revision: Set(Some(1)),
        tenant: Set(tenant.into()),
        default_ds_type: Set(default),
    };
    row.insert(db).await?;
    Ok(([app, os], types))
}
