//! What a device confirms: actions that wait for it, one by one, or all that come from now on.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use kettle_domain::{
    actions::{self, Confirmation, Deployment},
    artifacts::urls::DeviceUrls,
    targets::{
        self, DeviceView, NextKind,
        auto_confirm::{self, Activate},
    },
};
use kettle_rest::{ApiError, Base, DeviceAccept, DeviceBody, DeviceBodyOptional, Params, Path, RemoteAddress, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    deployment::{ActionHistory, DeploymentBody},
    device::Device,
    poll::{Href, confirmation_href, device_href},
};

const REMARK: &str = "Initiated using the Device Direct Integration API without providing a remark.";

/// Whether actions confirm themselves, and which one waits. Counts as a poll.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/confirmationBase",
    responses((status = 200, body = ConfirmationBase))
)]
pub async fn base(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    base: Base,
    address: RemoteAddress,
) -> Result<Response> {
    let Device { ctx, controller_id, .. } = &device;
    let (view, active) = targets::poll_confirmation(ctx, controller_id, &address.0).await?;
    let links = Links::new(&view, active.is_some(), &device_href(&base, &device), ctx.now());
    Ok(media.ok(&ConfirmationBase { auto_confirm: AutoConfirm::new(active), links }))
}

/// An action that waits for its confirmation.
#[utoipa::path(
    get, path = "/{tenant}/controller/v1/{controllerId}/confirmationBase/{actionId}",
    params(("c" = Option<i32>, Query), ("actionHistory" = Option<i32>, Query)),
    responses((status = 200, body = WaitingAction))
)]
pub async fn action(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    base: Base,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
    params: Params,
) -> Result<Response> {
    // hawkBit: `c` must be a number, and means nothing.
    params.int("c")?;
    let history = i64::from(params.int("actionHistory")?.unwrap_or(0));
    let found = actions::confirmation(&device.ctx, &device.controller_id, id, history).await?;
    Ok(media.ok(&WaitingAction::new(found, &device.artifact_urls(&base))))
}

/// The words where an action's id should be are none.
pub async fn no_action(_: Device) -> ApiError {
    ApiError::not_readable("The id of an action is a number.")
}

/// Confirms an action, or denies it.
#[utoipa::path(
    post, path = "/{tenant}/controller/v1/{controllerId}/confirmationBase/{actionId}/feedback",
    request_body = FeedbackBody, responses((status = 200), (status = 410))
)]
pub async fn feedback(
    device: Device,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
    DeviceBody(body): DeviceBody<FeedbackBody>,
) -> Result<Response> {
    actions::confirmation_feedback(&device.ctx, &device.controller_id, id, body.into()).await?;
    Ok(StatusCode::OK.into_response())
}

/// Confirms what waits, and all that comes.
#[utoipa::path(
    post, path = "/{tenant}/controller/v1/{controllerId}/confirmationBase/activateAutoConfirm",
    request_body = Option<ActivateBody>, responses((status = 200))
)]
pub async fn activate(
    device: Device,
    DeviceBodyOptional(body): DeviceBodyOptional<Option<ActivateBody>>,
) -> Result<Response> {
    let wanted = match body.flatten() {
        Some(body) => Activate { initiator: body.initiator, remark: body.remark },
        None => Activate { initiator: None, remark: Some(REMARK.into()) },
    };
    auto_confirm::activate_by_device(&device.ctx, &device.controller_id, wanted).await?;
    Ok(StatusCode::OK.into_response())
}

/// Lets actions wait for their confirmation again.
#[utoipa::path(
    post, path = "/{tenant}/controller/v1/{controllerId}/confirmationBase/deactivateAutoConfirm",
    responses((status = 200))
)]
pub async fn deactivate(device: Device) -> Result<Response> {
    auto_confirm::deactivate_by_device(&device.ctx, &device.controller_id).await?;
    Ok(StatusCode::OK.into_response())
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ConfirmationFeedback)]
pub struct FeedbackBody {
    confirmation: Answer,
    code: Option<i32>,
    #[serde(default)]
    details: Option<Vec<Option<String>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConfirmationAnswer)]
enum Answer {
    Confirmed,
    Denied,
}

impl From<FeedbackBody> for Confirmation {
    fn from(body: FeedbackBody) -> Confirmation {
        Confirmation {
            confirmed: body.confirmation == Answer::Confirmed,
            code: body.code,
            details: body.details.into_iter().flatten().flatten().collect(),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[schema(as = DdiAutoConfirmActivation)]
pub struct ActivateBody {
    #[schema(max_length = 64)]
    initiator: Option<String>,
    #[schema(max_length = 512)]
    remark: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ConfirmationBase {
    auto_confirm: AutoConfirm,
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DdiAutoConfirm)]
struct AutoConfirm {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    /// Epoch milliseconds; 0 if it is not active.
    activated_at: i64,
}

impl AutoConfirm {
    fn new(active: Option<auto_confirm::Model>) -> AutoConfirm {
        match active {
            Some(row) => AutoConfirm {
                active: true,
                initiator: row.initiator,
                remark: row.remark,
                activated_at: row.created_at.unwrap_or(0),
            },
            None => AutoConfirm { active: false, initiator: None, remark: None, activated_at: 0 },
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConfirmationLinks)]
struct Links {
    #[serde(skip_serializing_if = "Option::is_none")]
    deactivate_auto_confirm: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activate_auto_confirm: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_base: Option<Href>,
}

impl Links {
    fn new(view: &DeviceView, active: bool, device: &str, now: i64) -> Links {
        let href = |verb| Href { href: format!("{device}/confirmationBase/{verb}AutoConfirm") };
        let waiting = view.next.as_ref().filter(|next| next.kind == NextKind::Confirmation);
        Links {
            deactivate_auto_confirm: active.then(|| href("deactivate")),
            activate_auto_confirm: (!active).then(|| href("activate")),
            confirmation_base: waiting.map(|next| confirmation_href(device, next, now)),
        }
    }
}

/// As in `deploymentBase`, under another name.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WaitingAction {
    id: String,
    confirmation: DeploymentBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_history: Option<ActionHistory>,
}

impl WaitingAction {
    fn new(mut found: Deployment, urls: &DeviceUrls<'_>) -> WaitingAction {
        let action_history = found.history.take().map(ActionHistory::from);
        WaitingAction {
            id: found.action.id.to_string(),
            confirmation: DeploymentBody::new(found, urls),
            action_history,
        }
    }
}
