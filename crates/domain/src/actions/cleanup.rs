//! The automatic clean-up: deletes actions that ended long ago, where a tenant wants that (semantics.md A6).

use std::sync::Arc;

use kettle_cluster::{Lease, LeaseError, Tx};
use sea_orm::{ColumnTrait, Condition};

use super::{ActionStatus, delete::delete_batch, entity::Column};
use crate::{
    ctx::{Ctx, Services},
    error::Result,
    tenants::{self, TenantSettings},
};

/// One pass over all tenants. What goes wrong with one tenant is logged, and the next one's turn.
pub async fn clean_up(services: &Arc<Services>, lease: &Lease) -> Result<(), LeaseError> {
    for tenant in tenants::all(&services.db).await? {
        let ctx = Ctx::system(services, tenant);
        match expired(&ctx).await {
            Ok(Some(which)) => {
                let name = format!("auto-cleanup.action-cleanup.{}", ctx.tenant_id());
                match services.hawkbit_lock(&name).await {
                    Ok(Some(lock)) => {
                        let deleted = delete_expired(&ctx, lease, &which).await;
                        lock.release().await;
                        deleted?;
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(tenant = ctx.tenant_id(), cause = ?error.cause, "{CAN_NOT}: {error}"),
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(tenant = ctx.tenant_id(), cause = ?error.cause, "{CAN_NOT}: {error}"),
        }
    }
    Ok(())
}

const CAN_NOT: &str = "the actions of a tenant could not be cleaned up; that is tried again in the next pass";

async fn delete_expired(ctx: &Ctx, lease: &Lease, which: &Condition) -> Result<(), LeaseError> {
    let services = ctx.services();
    let mut last = 0;
    loop {
        let mut tx = Tx::begin(&services.db, &services.events, &services.clock).await?;
        lease.fence(&tx).await?;
        match delete_batch(ctx, &mut tx, which, last).await {
            Ok(Some(next)) => last = next,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(tenant = ctx.tenant_id(), cause = ?error.cause, "{CAN_NOT}: {error}");
                return Ok(());
            }
        }
        tx.commit().await?;
        // Many batches may take longer than a lease lasts. One that has passed on is noticed by the next fence.
        lease.refresh(&services.db).await?;
    }
}

/// Which actions the tenant wants to be rid of; `None`: it keeps all.
async fn expired(ctx: &Ctx) -> Result<Option<Condition>> {
    let Some(settings) = tenants::settings(ctx.services(), &ctx.tenant).await? else { return Ok(None) };
    let TenantSettings { cleanup_expiry_ms, cleanup_status, .. } = &*settings;
    if *cleanup_expiry_ms < 0 {
        return Ok(None);
    }
    let Some(statuses) = statuses(cleanup_status) else {
        tracing::warn!(
            tenant = ctx.tenant_id(),
            "action.cleanup.auto.status is '{cleanup_status}', which are not all statuses of actions: none is cleaned up"
        );
        return Ok(None);
    };
    let before = ctx.now().saturating_sub(*cleanup_expiry_ms);
    let which = Condition::all().add(Column::Status.is_in(statuses)).add(Column::LastModifiedAt.lt(before));
    Ok(Some(which))
}

/// Names of statuses, separated by commas or semicolons, in capitals and without blanks: as the peer reads them.
fn statuses(text: &str) -> Option<Vec<i32>> {
    let known = |name: &str| {
        let status = ActionStatus::from_name(&name.to_ascii_lowercase())?;
        (status.name().to_ascii_uppercase() == name).then_some(status.code())
    };
    text.trim_end_matches([',', ';']).split([',', ';']).map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_the_peer_reads_them() {
        for (text, expected) in [
            ("CANCELED,ERROR", Some(vec![4, 1])),
            ("FINISHED;CANCEL_REJECTED,", Some(vec![0, 9])),
            ("", None),
            ("canceled", None),
            ("CANCELED, ERROR", None),
            ("CANCELED,GONE", None),
        ] {
            assert_eq!(statuses(text), expected, "{text:?}");
        }
    }
}
