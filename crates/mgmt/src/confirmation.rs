//! `/rest/v1/targets/{controllerId}/…`: an operator's word on an action that waits for confirmation, and `autoConfirm`.

use axum::{
    Router,
    response::Response,
    routing::{get, post, put},
};
use kettle_domain::{
    actions,
    targets::auto_confirm::{self, Activate, Model},
};
use kettle_rest::{Accept, AppState, Base, Body, BodyOptional, Links, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};

use crate::targets;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/rest/v1/targets/{controllerId}/actions/{actionId}/confirmation", put(confirm))
        .route("/rest/v1/targets/{controllerId}/autoConfirm", get(status))
        .route("/rest/v1/targets/{controllerId}/autoConfirm/activate", post(activate))
        .route("/rest/v1/targets/{controllerId}/autoConfirm/deactivate", post(deactivate))
}

async fn confirm(
    User(ctx): User,
    Accept(_): Accept,
    Path((target, id)): Path<(String, i64)>,
    Body(answer): Body<ConfirmationBody>,
) -> Result<Response> {
    actions::confirm(&ctx, &target, id, answer.into()).await?;
    Ok(no_content())
}

async fn status(User(ctx): User, Accept(media): Accept, base: Base, Path(target): Path<String>) -> Result<Response> {
    let active = auto_confirm::get(&ctx, &target).await?;
    let href = format!("{}/autoConfirm", targets::href(&base, &target));
    Ok(media.ok(&AutoConfirm::new(active, &href)))
}

async fn activate(
    User(ctx): User,
    Path(target): Path<String>,
    BodyOptional(body): BodyOptional<Option<ActivateBody>>,
) -> Result<Response> {
    let wanted = body.flatten().map(|b| Activate { initiator: b.initiator, remark: b.remark });
    auto_confirm::activate(&ctx, &target, wanted.unwrap_or_default()).await?;
    Ok(no_content())
}

async fn deactivate(User(ctx): User, Path(target): Path<String>) -> Result<Response> {
    auto_confirm::deactivate(&ctx, &target).await?;
    Ok(no_content())
}

#[derive(Deserialize)]
struct ConfirmationBody {
    confirmation: Answer,
    code: Option<i32>,
    #[serde(default)]
    details: Option<Vec<Option<String>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Confirmed,
    Denied,
}

impl From<ConfirmationBody> for actions::Confirmation {
    fn from(body: ConfirmationBody) -> actions::Confirmation {
        actions::Confirmation {
            confirmed: body.confirmation == Answer::Confirmed,
            code: body.code,
            details: body.details.into_iter().flatten().flatten().collect(),
        }
    }
}

#[derive(Deserialize)]
struct ActivateBody {
    initiator: Option<String>,
    remark: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AutoConfirm {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<i64>,
    #[serde(rename = "_links")]
    links: Links,
}

impl AutoConfirm {
    fn new(active: Option<Model>, href: &str) -> AutoConfirm {
        let rel = if active.is_some() { "deactivate" } else { "activate" };
        let links = Links::default().with(rel, format!("{href}/{rel}"));
        match active {
            Some(row) => AutoConfirm {
                active: true,
                initiator: row.initiator,
                remark: row.remark,
                activated_at: row.created_at,
                links,
            },
            None => AutoConfirm { active: false, initiator: None, remark: None, activated_at: None, links },
        }
    }
}
