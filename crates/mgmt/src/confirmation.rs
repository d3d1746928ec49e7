//! `/rest/v1/targets/{targetId}/…`: an operator's word on an action that waits for confirmation, and `autoConfirm`.

use axum::response::Response;
use kettle_domain::{
    actions,
    targets::auto_confirm::{self, Activate, Model},
};
use kettle_rest::{Accept, AppState, Base, Body, BodyOptional, Links, Path, Result, User, no_content};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::targets;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(confirm))
        .routes(routes!(status))
        .routes(routes!(activate))
        .routes(routes!(deactivate))
}

/// Confirms an action in the name of its target, or denies it.
#[utoipa::path(
    put, path = "/rest/v1/targets/{targetId}/actions/{actionId}/confirmation",
    request_body = ConfirmationBody,
    responses(
        (status = 204),
        (status = 404, description = "No body, if the action is another target's or does not wait for confirmation."),
        (status = 406),
        (status = 410, description = "No body: the action is closed.")
    )
)]
async fn confirm(
    User(ctx): User,
    _: Accept,
    Path((target, id)): Path<(String, i64)>,
    Body(answer): Body<ConfirmationBody>,
) -> Result<Response> {
    actions::confirm(&ctx, &target, id, answer.into()).await?;
    Ok(no_content())
}

/// Whether a target confirms its actions by itself.
#[utoipa::path(get, path = "/rest/v1/targets/{targetId}/autoConfirm", responses((status = 200, body = AutoConfirm)))]
async fn status(User(ctx): User, Accept(media): Accept, base: Base, Path(target): Path<String>) -> Result<Response> {
    let active = auto_confirm::get(&ctx, &target).await?;
    let href = format!("{}/autoConfirm", targets::href(&base, &target));
    Ok(media.ok(&AutoConfirm::new(active, &href)))
}

/// Confirms what waits, and all that comes.
#[utoipa::path(
    post, path = "/rest/v1/targets/{targetId}/autoConfirm/activate",
    request_body = Option<ActivateBody>, responses((status = 204))
)]
async fn activate(
    User(ctx): User,
    Path(target): Path<String>,
    BodyOptional(body): BodyOptional<Option<ActivateBody>>,
) -> Result<Response> {
    let wanted = body.flatten().map(|b| Activate { initiator: b.initiator, remark: b.remark });
    auto_confirm::activate(&ctx, &target, wanted.unwrap_or_default()).await?;
    Ok(no_content())
}

/// Lets actions wait for their confirmation again.
#[utoipa::path(post, path = "/rest/v1/targets/{targetId}/autoConfirm/deactivate", responses((status = 204)))]
async fn deactivate(User(ctx): User, Path(target): Path<String>) -> Result<Response> {
    auto_confirm::deactivate(&ctx, &target).await?;
    Ok(no_content())
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ActionConfirmation)]
struct ConfirmationBody {
    confirmation: Answer,
    code: Option<i32>,
    #[serde(default)]
    details: Option<Vec<Option<String>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActionConfirmationAnswer)]
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

#[derive(Deserialize, ToSchema)]
#[schema(as = AutoConfirmActivation)]
struct ActivateBody {
    #[schema(max_length = 64)]
    initiator: Option<String>,
    #[schema(max_length = 512)]
    remark: Option<String>,
}

#[derive(Serialize, ToSchema)]
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
