//! `/rest/v1/system/failedlogins`: whose logins failed of late, and letting them try again. Ours; hawkBit has no such
//! resource.

use axum::{extract::State, response::Response};
use kettle_domain::access::failed_logins::{FailedLogin, Kind};
use kettle_rest::{Accept, AppState, Path, Result, User, no_content, one_of};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Object};
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(unlock))
}

/// Logins that failed one after the other, by user and by address, the last first.
#[utoipa::path(get, path = "/rest/v1/system/failedlogins", responses((status = 200, body = FailedLogins)))]
async fn list(User(ctx): User, State(state): State<AppState>, Accept(media): Accept) -> Result<Response> {
    let content: Vec<_> = state.logins.list(&ctx).await?.into_iter().map(ListedFailedLogin::from).collect();
    Ok(media.ok(&FailedLogins { total: content.len(), content }))
}

/// Forgets the failed logins of a user, or from an address: the next login is looked at at once.
#[utoipa::path(delete, path = "/rest/v1/system/failedlogins/{kind}/{subject}", responses((status = 204)))]
async fn unlock(
    User(ctx): User,
    State(state): State<AppState>,
    Path((kind, subject)): Path<(String, String)>,
) -> Result<Response> {
    state.logins.unlock(&ctx, &kind, &subject).await?;
    Ok(no_content())
}

#[derive(Serialize, ToSchema)]
struct FailedLogins {
    content: Vec<ListedFailedLogin>,
    total: usize,
}

/// Of one user name, as it was claimed, or one address.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ListedFailedLogin {
    #[schema(schema_with = kinds)]
    kind: &'static str,
    /// A user name; an IPv4 address; the network of an IPv6 address, `2001:db8::/64`.
    subject: String,
    failures: u64,
    /// When the last one failed.
    last_failed_at: i64,
    /// For how many milliseconds further logins are refused yet.
    locked_for: u64,
}

fn kinds() -> Object {
    one_of(&[Kind::Address.name(), Kind::User.name()])
}

impl From<FailedLogin> for ListedFailedLogin {
    fn from(failed: FailedLogin) -> ListedFailedLogin {
        ListedFailedLogin {
            kind: failed.subject.kind.name(),
            subject: failed.subject.text,
            failures: failed.failures,
            last_failed_at: failed.failed_at,
            locked_for: u64::try_from(failed.locked_for.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
