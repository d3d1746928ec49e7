//! The nodes of the cluster, for operators. They are the server's, not a tenant's.

use kettle_cluster::membership;
pub use kettle_cluster::membership::Node;

use crate::{access::Permission, ctx::Ctx, error::Result};

/// All nodes, also those that were lost a short while ago, the oldest first. Whoever may read the tenant's configuration may
/// see them: there is no permission of hawkBit's for the server itself that its stock roles hold.
pub async fn list(ctx: &Ctx) -> Result<Vec<Node>> {
    ctx.require(Permission::ReadTenantConfiguration)?;
    Ok(membership::nodes(ctx.db()).await?)
}
