//! The audit columns that every entity has.

/// A row of an entity, to be changed further, with its audit columns set to this actor and moment and its revision
/// counted up. A macro, because each entity's row is a type of its own.
macro_rules! touched {
    ($ctx:expr, $found:expr) => {{
        let (ctx, found) = ($ctx, $found);
        let mut row: entity::ActiveModel = found.clone().into();
        row.last_modified_at = sea_orm::Set(Some(ctx.now()));
        row.last_modified_by = sea_orm::Set(Some(ctx.actor_name()));
        row.optlock_revision = sea_orm::Set(Some(found.optlock_revision.unwrap_or(0) + 1));
        row
    }};
}
pub(crate) use touched;
