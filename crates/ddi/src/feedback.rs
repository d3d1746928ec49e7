//! What devices report about their actions.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use kettle_domain::actions::{self, Execution, Feedback};
use kettle_rest::{DeviceBody, Path, Result};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::device::Device;

/// How an installation goes.
#[utoipa::path(
    post, path = "/{tenant}/controller/v1/{controllerId}/deploymentBase/{actionId}/feedback",
    request_body = FeedbackBody, responses((status = 200), (status = 410))
)]
pub async fn deployment(
    device: Device,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
    DeviceBody(body): DeviceBody<FeedbackBody>,
) -> Result<Response> {
    actions::update_feedback(&device.ctx, &device.controller_id, id, body.into()).await?;
    Ok(StatusCode::OK.into_response())
}

/// How a cancellation goes.
#[utoipa::path(
    post, path = "/{tenant}/controller/v1/{controllerId}/cancelAction/{actionId}/feedback",
    request_body = FeedbackBody, responses((status = 200), (status = 405))
)]
pub async fn cancel(
    device: Device,
    Path((_tenant, _controller, id)): Path<(String, String, i64)>,
    DeviceBody(body): DeviceBody<FeedbackBody>,
) -> Result<Response> {
    actions::cancel_feedback(&device.ctx, &device.controller_id, id, body.into()).await?;
    Ok(StatusCode::OK.into_response())
}

/// `id` and `time` of older clients are ignored: the path says which action, the server when.
#[derive(Deserialize, ToSchema)]
pub struct FeedbackBody {
    timestamp: Option<i64>,
    status: Status,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = FeedbackStatus)]
struct Status {
    execution: ExecutionBody,
    result: ResultBody,
    code: Option<i32>,
    #[serde(default)]
    details: Option<Vec<Option<String>>>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = FeedbackResult)]
struct ResultBody {
    finished: Finished,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Finished {
    Success,
    Failure,
    None,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExecutionBody {
    Closed,
    Proceeding,
    Canceled,
    Scheduled,
    Rejected,
    Resumed,
    Download,
    Downloaded,
}

impl From<FeedbackBody> for Feedback {
    fn from(body: FeedbackBody) -> Feedback {
        let execution = match body.status.execution {
            ExecutionBody::Closed => Execution::Closed,
            ExecutionBody::Proceeding => Execution::Proceeding,
            ExecutionBody::Canceled => Execution::Canceled,
            ExecutionBody::Scheduled => Execution::Scheduled,
            ExecutionBody::Rejected => Execution::Rejected,
            ExecutionBody::Resumed => Execution::Resumed,
            ExecutionBody::Download => Execution::Download,
            ExecutionBody::Downloaded => Execution::Downloaded,
        };
        Feedback {
            execution,
            failed: body.status.result.finished == Finished::Failure,
            code: body.status.code,
            details: body.status.details.into_iter().flatten().flatten().collect(),
            timestamp: body.timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{config_data::ConfigData, installed_base::AssignedVersion};

    /// JSON of which a part is a body of the device API.
    fn near_body() -> impl Strategy<Value = Vec<u8>> {
        let value = prop::sample::select(vec![
            "\"closed\"",
            "\"success\"",
            "\"none\"",
            "\"merge\"",
            "null",
            "5",
            "-1.5",
            "99999999999",
            "true",
            "\"\"",
            "[]",
            "{}",
            "[null,\"a\",5]",
            "{\"a\":1,\"b\":null}",
            "{\"a\":{}}",
            "\"x",
        ]);
        let names = vec!["execution", "result", "code", "details", "timestamp", "mode", "data", "name", "version"];
        let member = (prop::sample::select(names), value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        (prop::collection::vec(member, 0..6), any::<bool>()).prop_map(|(members, status)| {
            let members = members.join(",");
            let result = "\"result\":{\"finished\":\"failure\"}";
            if status {
                format!("{{\"status\":{{\"execution\":\"closed\",{result},{members}}}}}").into_bytes()
            } else {
                format!("{{{members}}}").into_bytes()
            }
        })
    }

    proptest! {
        #[test]
        fn any_body_of_a_device_is_taken_or_refused(
            bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..100), near_body()],
            cbor in any::<bool>(),
        ) {
            let refused = [
                DeviceBody::<FeedbackBody>::parse(&bytes, cbor).map(Feedback::from).err(),
                DeviceBody::<ConfigData>::parse(&bytes, cbor).and_then(ConfigData::attributes).err(),
                DeviceBody::<AssignedVersion>::parse(&bytes, cbor).err(),
            ];
            for refused in refused.into_iter().flatten() {
                prop_assert_eq!(refused.into_response().status(), StatusCode::BAD_REQUEST);
            }
        }
    }
}
