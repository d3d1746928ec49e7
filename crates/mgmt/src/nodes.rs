//! `/rest/v1/system/nodes`: the nodes of the cluster. Ours; hawkBit has no such resource.

use axum::response::Response;
use kettle_domain::nodes::{self, Node};
use kettle_rest::{Accept, AppState, Result, User};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The nodes of the cluster, the oldest first; those that were lost are shown for a quarter of an hour.
#[utoipa::path(get, path = "/rest/v1/system/nodes", responses((status = 200, body = [ClusterNode])))]
async fn list(User(ctx): User, Accept(media): Accept) -> Result<Response> {
    let nodes: Vec<ClusterNode> = nodes::list(&ctx).await?.into_iter().map(ClusterNode::from).collect();
    Ok(media.ok(&nodes))
}

/// Times are epoch milliseconds of the database's clock.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterNode {
    id: String,
    address: String,
    /// Those of `mgmt`, `ddi` and `dmf` that it serves.
    roles: Vec<String>,
    version: String,
    /// The newest schema that its version knows.
    schema_version: i64,
    started_at: i64,
    last_seen_at: i64,
    alive: bool,
    /// How long the last events of other nodes were under way to it, in milliseconds.
    event_lag: i64,
    /// Since when events of it wait for the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    untold_since: Option<i64>,
}

impl From<Node> for ClusterNode {
    fn from(node: Node) -> ClusterNode {
        ClusterNode {
            id: node.id,
            address: node.about.address,
            roles: node.about.roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
            version: node.about.version,
            schema_version: node.about.schema_version,
            started_at: node.started_at,
            last_seen_at: node.seen_at,
            alive: node.alive,
            event_lag: node.event_lag,
            untold_since: node.untold_since,
        }
    }
}
