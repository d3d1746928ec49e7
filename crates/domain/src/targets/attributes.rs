//! Attributes that devices report of themselves (semantics.md A1, "Controller attributes").

use kettle_cluster::Tx;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter, Set, sea_query::OnConflict};

use super::{Model, entity::attribute, store};
use crate::{
    announcements::{self, Entity},
    ctx::Ctx,
    error::{Error, Kind, Result, check_quota},
};

const MAX: usize = 128;

/// How reported attributes meet those already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// New and changed ones are put, those without a value removed, the rest stays.
    #[default]
    Merge,
    /// Only the reported ones remain.
    Replace,
    /// The reported keys are removed.
    Remove,
}

/// Attributes as a device reports them: keys, and values for those that it has.
pub type Reported = Vec<(String, Option<String>)>;

/// All attributes of a target, in the order of their keys.
pub async fn list(ctx: &Ctx, controller_id: &str) -> Result<Vec<attribute::Model>> {
    let target = super::find(ctx, controller_id).await?;
    Ok(store::attributes(ctx.db().read(), target.id).await?)
}

/// Takes a device's report. The server's wish for attributes is fulfilled by a report, not by a removal.
pub async fn report(ctx: &Ctx, controller_id: &str, mode: Mode, reported: Reported) -> Result<()> {
    check_all(&reported)?;
    let mut tx = ctx.begin().await?;
    let target = super::lock(ctx, &tx, controller_id).await?;
    write(ctx, &tx, target, mode, reported).await?;
    super::changed(ctx, &mut tx, vec![controller_id.into()]);
    Ok(tx.commit().await?)
}

/// As [`report`], of a target that is held. What is refused is refused before anything is written.
pub(super) async fn write(ctx: &Ctx, tx: &Tx, target: Model, mode: Mode, reported: Reported) -> Result<()> {
    check_all(&reported)?;
    let before = match mode {
        Mode::Replace if !tx.announces() => Vec::new(),
        _ => store::attributes(&**tx, target.id).await?,
    };
    let mut kept: Vec<String> = match mode {
        Mode::Replace => Vec::new(),
        _ => before.iter().map(|a| a.attribute_key.clone()).collect(),
    };
    let (mut put, mut removed, mut differs) = (Vec::new(), Vec::new(), false);
    for (key, value) in reported {
        let keep = value.is_some() && mode != Mode::Remove;
        kept.retain(|k| *k != key);
        if keep {
            kept.push(key.clone());
            differs |= !before.iter().any(|a| a.attribute_key == key && a.attribute_value == value);
            put.push(attribute::ActiveModel {
                target: Set(target.id),
                attribute_key: Set(key),
                attribute_value: Set(value),
            });
        } else {
            differs |= before.iter().any(|a| a.attribute_key == key);
            removed.push(key);
        }
    }
    differs |= mode == Mode::Replace && before.iter().any(|a| !kept.contains(&a.attribute_key));
    if mode != Mode::Remove {
        let count = i64::try_from(kept.len()).unwrap_or(i64::MAX);
        check_quota(ctx.settings().quotas.attributes_per_target, 0, count, "the attributes of a target")?;
    }
    let mut delete = attribute::Entity::delete_many().filter(attribute::Column::Target.eq(target.id));
    if mode != Mode::Replace {
        delete = delete.filter(attribute::Column::AttributeKey.is_in(removed));
    }
    delete.exec(&**tx).await?;
    for chunk in put.chunks(300) {
        let overwrite = OnConflict::columns([attribute::Column::Target, attribute::Column::AttributeKey])
            .update_column(attribute::Column::AttributeValue)
            .to_owned();
        attribute::Entity::insert_many(chunk.to_vec()).on_conflict(overwrite).exec_without_returning(&**tx).await?;
    }
    let fulfilled = mode != Mode::Remove && target.request_controller_attributes;
    announcements::updated(ctx, tx, Entity::Target, (differs || fulfilled).then_some(target.id));
    if fulfilled {
        let revision = target.optlock_revision.unwrap_or(0);
        let mut row: super::entity::ActiveModel = target.into();
        row.request_controller_attributes = Set(false);
        row.optlock_revision = Set(Some(revision + 1));
        row.update(&**tx).await?;
    }
    Ok(())
}

fn check_all(reported: &[(String, Option<String>)]) -> Result<()> {
    reported.iter().try_for_each(|(key, value)| check(key, value.as_deref()))
}

fn check(key: &str, value: Option<&str>) -> Result<()> {
    let fits = |text: &str| text.chars().count() <= MAX && text.chars().all(allowed);
    if fits(key) && value.is_none_or(fits) {
        return Ok(());
    }
    let message = format!(
        "The attribute {} is invalid: keys and values take up to {MAX} characters, letters, digits, blanks and \
         _-!@#$%^&*()+=[]{{}}|;:'\",.<>/\\? only.",
        key.chars().take(MAX).collect::<String>()
    );
    Err(Error::new(Kind::InvalidTargetAttributes, message))
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '\t'..='\r' | ' ') || "_-!@#$%^&*()+=[]{}|;:'\",.<>/\\?".contains(c)
}
