//! What the unit tests here share.

use axum::response::Response;
use kettle_domain::targets::ProxyHeaders;

use crate::HttpSettings;

pub(crate) fn http_settings() -> HttpSettings {
    HttpSettings {
        public_url: None,
        trusted_proxies: Vec::new(),
        basic_realm: "hawkBit".into(),
        max_body: 1 << 20,
        remote_ip_header: "X-Forwarded-For".into(),
        track_remote_ip: true,
        proxy_headers: ProxyHeaders { controller_id: "X-Controller-Id".into(), authority: "X-Authority".into() },
        ddi_trusted_ips: Vec::new(),
        require_ssl: false,
        allowed_hosts: Vec::new(),
        firewall_ignored_paths: Vec::new(),
        cors: None,
    }
}

pub(crate) async fn body_of(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn json_of(response: Response) -> serde_json::Value {
    serde_json::from_str(&body_of(response).await).unwrap()
}
