//! Tags: names, each with a colour, that targets or distribution sets are grouped by (semantics.md A1).
//!
//! There are two kinds, with the same columns and the same rules. A [`TagKind`] says in which tables one kind lies and
//! who may change it; what tagging does to targets and to sets is in `target_tags` and `distribution_set_tags`.

pub(crate) mod store;

use kettle_cluster::{Event, Tx};
use kettle_ql::{Entity, Field, Kind};
use sea_orm::{FromQueryResult, Order};

use crate::{
    access::Permission,
    announcements,
    ctx::Ctx,
    error::{Error, Result},
    listing::{Listing, Page},
    search, targets, text,
};

const DEFAULT_SORT: (&str, Order) = ("id", Order::Asc);
const MAX_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 512;
const MAX_COLOUR: usize = 16;

/// What can be searched and sorted by in tags of either kind (semantics.md E4).
pub(crate) const FIELDS: [Field; 8] = [
    Field::column("id", Kind::Long, "id"),
    Field::column("name", Kind::Text, "name"),
    Field::column("description", Kind::Text, "description"),
    Field::column("colour", Kind::Text, "colour"),
    Field::column("createdat", Kind::Long, "created_at"),
    Field::column("createdby", Kind::Text, "created_by"),
    Field::column("lastmodifiedat", Kind::Long, "last_modified_at"),
    Field::column("lastmodifiedby", Kind::Text, "last_modified_by"),
];

/// One kind of tag.
pub struct TagKind {
    /// The peer's name of the type.
    pub(crate) name: &'static str,
    /// Its table, and what can be searched there.
    pub(crate) entity: Entity,
    /// The table of what is tagged.
    pub(crate) tagged: &'static str,
    /// The table of which has which tag, and its column for what is tagged.
    pub(crate) links: (&'static str, &'static str),
    /// What the tags, and what is tagged, are told as.
    pub(crate) told_as: announcements::Entity,
    pub(crate) tagged_told_as: announcements::Entity,
    /// Whether searches over targets, and so polling times, name tags of this kind.
    pub(crate) of_targets: bool,
    pub(crate) create: Permission,
    pub(crate) read: Permission,
    pub(crate) update: Permission,
    pub(crate) delete: Permission,
}

#[derive(Clone, Debug, PartialEq, FromQueryResult)]
pub struct Tag {
    pub id: i64,
    pub created_at: Option<i64>,
    pub created_by: Option<String>,
    pub last_modified_at: Option<i64>,
    pub last_modified_by: Option<String>,
    pub name: String,
    pub description: Option<String>,
    pub colour: Option<String>,
}

/// What a tag is made of, or what is changed of it; `None` leaves a value as it is. A new tag has a name.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub name: Option<String>,
    pub description: Option<String>,
    pub colour: Option<String>,
}

pub async fn list(ctx: &Ctx, kind: &TagKind, listing: &Listing) -> Result<Page<Tag>> {
    ctx.require(kind.read)?;
    let order = search::order(&kind.entity, listing.sort.as_deref(), DEFAULT_SORT)?;
    let select = store::of_tenant(kind, ctx.tenant_id());
    search::rows(ctx, select, &kind.entity, listing, order, None, |row| Tag::from_query_result(row, "")).await
}

/// One tag, or `TargetTag` or `DistributionSetTag` not found.
pub async fn get(ctx: &Ctx, kind: &TagKind, id: i64) -> Result<Tag> {
    ctx.require(kind.read)?;
    let found = store::find(ctx.db().read(), ctx.engine(), ctx.tenant_id(), kind, id).await?;
    found.ok_or_else(|| Error::not_found(kind.name, id))
}

/// Creates all tags or none; they come back in the order given.
pub async fn create(ctx: &Ctx, kind: &TagKind, tags: Vec<Edit>) -> Result<Vec<Tag>> {
    ctx.require(kind.create)?;
    let rows = tags.into_iter().map(new_row).collect::<Result<Vec<_>>>()?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let tx = ctx.begin().await?;
    let (by, now) = (ctx.actor_name(), ctx.now());
    let created = store::insert_all(&*tx, ctx.engine(), ctx.tenant_id(), kind, &rows, &by, now).await;
    let created = created.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    announcements::created(ctx, &tx, kind.told_as, created.iter().map(|tag| tag.id));
    tx.commit().await?;
    Ok(created)
}

pub async fn update(ctx: &Ctx, kind: &TagKind, id: i64, edit: Edit) -> Result<Tag> {
    ctx.require(kind.update)?;
    let edit = checked(edit)?;
    let mut tx = ctx.begin().await?;
    let found = store::lock(&*tx, ctx.engine(), ctx.tenant_id(), kind, id).await?;
    let found = found.ok_or_else(|| Error::not_found(kind.name, id))?;
    let mut tag = found.clone();
    tag.name = edit.name.unwrap_or(tag.name);
    tag.description = edit.description.or(tag.description);
    tag.colour = edit.colour.or(tag.colour);
    if tag == found {
        return Ok(found);
    }
    tag.last_modified_at = Some(ctx.now());
    tag.last_modified_by = Some(ctx.actor_name());
    let updated = store::update(&*tx, ctx.engine(), ctx.tenant_id(), kind, &tag).await;
    updated.map_err(|e| Error::duplicate_as(e, Error::already_exists))?;
    announcements::updated(ctx, &tx, kind.told_as, [id]);
    if tag.name != found.name {
        searches_change(ctx, &mut tx, kind);
    }
    tx.commit().await?;
    Ok(tag)
}

/// Deletes a tag and takes it off all that has it, which does not count as a change of that.
pub async fn delete(ctx: &Ctx, kind: &TagKind, id: i64) -> Result<()> {
    ctx.require(kind.delete)?;
    let mut tx = ctx.begin().await?;
    if !store::delete(&*tx, ctx.engine(), ctx.tenant_id(), kind, id).await? {
        return Err(Error::not_found_all(kind.name, &[id]));
    }
    announcements::deleted(ctx, &tx, kind.told_as, [id]);
    searches_change(ctx, &mut tx, kind);
    Ok(tx.commit().await?)
}

/// Makes sure that the tag is there until the transaction ends.
pub(crate) async fn hold(ctx: &Ctx, tx: &Tx, kind: &TagKind, id: i64) -> Result<()> {
    let found = store::hold(&**tx, ctx.engine(), ctx.tenant_id(), kind, id).await?;
    found.map(drop).ok_or_else(|| Error::not_found(kind.name, id))
}

/// Puts the tag on those rows that lack it, or takes it off those that have it, and notes that they were changed.
/// Gives their ids. The caller holds tag and rows.
pub(crate) async fn set(ctx: &Ctx, tx: &Tx, kind: &TagKind, id: i64, rows: &[i64], on: bool) -> Result<Vec<i64>> {
    let (engine, tenant) = (ctx.engine(), ctx.tenant_id());
    let changed = match on {
        true => store::link(&**tx, engine, kind, id, rows).await?,
        false => store::unlink(&**tx, engine, kind, id, rows).await?,
    };
    store::touch(&**tx, engine, tenant, kind, &changed, &ctx.actor_name(), ctx.now()).await?;
    announcements::updated(ctx, tx, kind.tagged_told_as, changed.iter().copied());
    Ok(changed)
}

/// A polling time may hold for the targets that a search finds, and the search may name a tag. Any number of targets
/// may have it, so what is known of the tenant's targets is dropped as after a change of its settings.
fn searches_change(ctx: &Ctx, tx: &mut Tx, kind: &TagKind) {
    if kind.of_targets {
        tx.emit(Event::TenantConfigurationChanged { tenant: ctx.tenant_id().into() });
        targets::searches_changed(ctx, tx, &["tag"]);
    }
}

fn new_row(edit: Edit) -> Result<store::NewTag> {
    let Edit { name, description, colour } = checked(edit)?;
    let name = name.ok_or_else(|| Error::constraint("name must not be null."))?;
    Ok(store::NewTag { name, description, colour })
}

/// The texts as they are stored: their lengths are those that were sent, and blanks around them are dropped.
fn checked(edit: Edit) -> Result<Edit> {
    if let Some(name) = &edit.name {
        text::filled("name", name, MAX_NAME)?;
    }
    text::optional("description", edit.description.as_deref(), MAX_DESCRIPTION)?;
    text::optional("colour", edit.colour.as_deref(), MAX_COLOUR)?;
    let Edit { name, description, colour } = edit;
    Ok(Edit { name: name.map(text::trim), description: description.map(text::trim), colour: colour.map(text::trim) })
}
