//! The tags of a target, to be read. Making and assigning tags is not part of this version.

use sea_orm::{ConnectionTrait, entity::prelude::*};

use crate::{ctx::Ctx, error::Result};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sp_target_tag")]
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
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub async fn of_target(ctx: &Ctx, controller_id: &str) -> Result<Vec<Model>> {
    let target = super::find(ctx, controller_id).await?;
    read(ctx.db().read(), ctx, target.id).await
}

async fn read(db: &impl ConnectionTrait, ctx: &Ctx, target: i64) -> Result<Vec<Model>> {
    let sql = "SELECT t.* FROM sp_target_tag t JOIN sp_target_target_tag x ON x.tag = t.id \
               WHERE t.tenant = $1 AND x.target = $2 ORDER BY t.id";
    let statement = ctx.engine().statement(sql, [ctx.tenant_id().into(), target.into()]);
    Ok(Entity::find().from_raw_sql(statement).all(db).await?)
}
