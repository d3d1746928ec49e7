//! What sets bring to devices: their modules with the files, and with the metadata that devices may see.

use std::{collections::HashMap, sync::Arc};

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder};

use crate::{
    access::Scope,
    artifacts as artifact,
    distribution_sets::store as sets,
    software_module_types,
    software_modules::{self, entity::metadata},
};

/// One software module of a set.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub module: software_modules::Model,
    pub type_key: String,
    /// The entries that devices may see, in the order of their keys.
    pub metadata: Vec<(String, String)>,
    pub artifacts: Vec<artifact::Model>,
}

/// What each of `sets` brings, in the order of the modules' ids; a set without modules is left out. The sets are those of
/// actions of the tenant. Five statements, however many sets there are.
pub(crate) async fn of_sets(
    db: &impl ConnectionTrait,
    tenant: &str,
    sets: &[i64],
) -> Result<HashMap<i64, Arc<Vec<Chunk>>>, DbErr> {
    if sets.is_empty() {
        return Ok(HashMap::new());
    }
    let modules = software_modules::store::of_sets(db, tenant, sets).await?;
    let ids: Vec<i64> = modules.iter().map(|m| m.id).collect();
    let mut type_ids: Vec<i64> = modules.iter().map(|m| m.sm_type).collect();
    type_ids.sort_unstable();
    type_ids.dedup();
    let types = software_module_types::store::get_all(db, tenant, &Scope::ALL, &type_ids).await?;
    let keys: HashMap<i64, String> = types.into_iter().map(|t| (t.id, t.type_key)).collect();
    let mut files: HashMap<i64, Vec<artifact::Model>> = HashMap::new();
    for file in artifact::store::of_modules(db, tenant, &ids).await? {
        files.entry(file.software_module).or_default().push(file);
    }
    let mut metadata = visible_metadata(db, &ids).await?;
    let mut chunk = |module: software_modules::Model| Chunk {
        type_key: keys.get(&module.sm_type).cloned().unwrap_or_default(),
        metadata: metadata.remove(&module.id).unwrap_or_default(),
        artifacts: files.remove(&module.id).unwrap_or_default(),
        module,
    };
    let chunks: HashMap<i64, Chunk> = modules.into_iter().map(|module| (module.id, chunk(module))).collect();
    let mut of_sets: HashMap<i64, Vec<Chunk>> = HashMap::new();
    for link in sets::modules(db, sets).await? {
        if let Some(chunk) = chunks.get(&link.sm_id) {
            of_sets.entry(link.ds_id).or_default().push(chunk.clone());
        }
    }
    Ok(of_sets.into_iter().map(|(set, chunks)| (set, Arc::new(chunks))).collect())
}

async fn visible_metadata(
    db: &impl ConnectionTrait,
    modules: &[i64],
) -> Result<HashMap<i64, Vec<(String, String)>>, DbErr> {
    use metadata::{Column, Entity};
    let mut found: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    for modules in modules.chunks(999) {
        let select = Entity::find().filter(Column::Sm.is_in(modules.iter().copied()));
        let select = select.filter(Column::TargetVisible.eq(true)).order_by_asc(Column::MetaKey);
        for row in select.all(db).await? {
            found.entry(row.sm).or_default().push((row.meta_key, row.meta_value.unwrap_or_default()));
        }
    }
    Ok(found)
}
