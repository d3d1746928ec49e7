//! The poll: the one request that every device makes again and again. It answers from the prepared view.

use axum::response::Response;
use kettle_domain::targets::{self, NextAction, NextKind};
use kettle_rest::{Base, DeviceAccept, RemoteAddress, Result, segment};
use serde::Serialize;
use utoipa::ToSchema;

use crate::device::Device;

/// What a device has to do next, and when it asks again.
#[utoipa::path(get, path = "/{tenant}/controller/v1/{controllerId}", responses((status = 200, body = ControllerBase)))]
pub async fn poll(
    device: Device,
    DeviceAccept(media): DeviceAccept,
    base: Base,
    address: RemoteAddress,
) -> Result<Response> {
    let answer = targets::poll(&device.ctx, &device.settings, &device.controller_id, &address.0).await?;
    metrics::counter!("kettle_ddi_polls_total").increment(1);
    let links = Links::new(&answer.view, &device_href(&base, &device), device.ctx.now());
    Ok(media.ok(&ControllerBase {
        config: Config { polling: Polling { sleep: &answer.sleep } },
        links: (!links.is_empty()).then_some(links),
    }))
}

/// Where everything of a device lies.
pub fn device_href(base: &Base, device: &Device) -> String {
    base.href(&format!("/{}/controller/v1/{}", segment(&device.tenant), segment(&device.controller_id)))
}

#[derive(Serialize, ToSchema)]
struct ControllerBase<'a> {
    config: Config<'a>,
    #[serde(rename = "_links", skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DdiConfig)]
struct Config<'a> {
    polling: Polling<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DdiPolling)]
struct Polling<'a> {
    sleep: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DdiHref)]
pub struct Href {
    pub href: String,
}

/// Where an action is that waits for confirmation.
pub fn confirmation_href(device: &str, next: &NextAction, now: i64) -> Href {
    Href { href: format!("{device}/confirmationBase/{}?c={}", next.id, next.cache_buster(now)) }
}

/// At most one of the first three is there.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DdiLinks)]
struct Links {
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmation_base: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_action: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment_base: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    installed_base: Option<Href>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_data: Option<Href>,
}

impl Links {
    fn new(view: &targets::DeviceView, device: &str, now: i64) -> Links {
        let mut links = Links::default();
        if let Some(next) = &view.next {
            let (id, c) = (next.id, next.cache_buster(now));
            match next.kind {
                NextKind::Confirmation => links.confirmation_base = Some(confirmation_href(device, next, now)),
                NextKind::Cancel => links.cancel_action = Some(Href { href: format!("{device}/cancelAction/{id}") }),
                NextKind::Deployment => {
                    links.deployment_base = Some(Href { href: format!("{device}/deploymentBase/{id}?c={c}") });
                }
            }
        }
        links.installed_base = view.installed_action.map(|id| Href { href: format!("{device}/installedBase/{id}") });
        links.config_data = view.request_attributes.then(|| Href { href: format!("{device}/configData") });
        links
    }

    fn is_empty(&self) -> bool {
        self.confirmation_base.is_none()
            && self.cancel_action.is_none()
            && self.deployment_base.is_none()
            && self.installed_base.is_none()
            && self.config_data.is_none()
    }
}
