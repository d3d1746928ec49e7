//! Requests to one address: a node, or the load balancer in front of several.

use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Device};

const GATEWAY_TOKEN: &str = "gw-secret";

/// Each request is a connection of its own: a pooled one would end with the server that a test stops, and a balancer could
/// keep to one node.
#[derive(Clone)]
pub struct Client {
    pub base: String,
    /// The `Authorization` of the stock user.
    pub admin: String,
    http: reqwest::Client,
}

impl Client {
    pub fn to(port: u16) -> Self {
        Self::with_patience(port, Duration::from_secs(60))
    }

    /// A request that takes longer fails.
    pub fn with_patience(port: u16, patience: Duration) -> Self {
        let http = reqwest::Client::builder()
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0);
        let http = http.build().unwrap();
        Self { base: format!("http://127.0.0.1:{port}"), admin: basic("admin", "admin"), http }
    }

    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        let request = format!("{method} {path}");
        self.try_request(method, path, headers, body).await.unwrap_or_else(|e| panic!("{request}: {e:?}"))
    }

    /// For tests in which the connection may break.
    pub async fn try_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> reqwest::Result<Answer> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (header, value) in headers {
            request = request.header(*header, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        Ok(Answer {
            request: name,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: response.bytes().await?.to_vec(),
            base: self.base.clone(),
        })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_as(&self.admin, path).await
    }

    pub async fn get_as(&self, authorization: &str, path: &str) -> Answer {
        self.json_as(authorization, Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json_as(&self.admin, Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json_as(&self.admin, Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.json_as(&self.admin, Method::DELETE, path, None).await
    }

    pub async fn json_as(&self, authorization: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut headers = vec![("authorization", authorization)];
        let bytes = body.map(|b| serde_json::to_vec(&b).unwrap());
        if bytes.is_some() {
            headers.push(("content-type", "application/json"));
        }
        self.request(method, path, &headers, bytes).await
    }

    pub async fn configure(&self, key: &str, value: impl Into<Value>) {
        let path = format!("/rest/v1/system/configs/{key}");
        let value: Value = value.into();
        self.put(&path, json!({"value": value})).await.expect(204);
    }

    /// Turns both kinds of device tokens on.
    pub async fn allow_devices(&self) {
        self.configure("authentication.targettoken.enabled", true).await;
        self.configure("authentication.gatewaytoken.enabled", true).await;
        self.configure("authentication.gatewaytoken.key", GATEWAY_TOKEN).await;
    }

    /// A device of tenant DEFAULT that shows the gateway token.
    pub fn device(&self, controller_id: &str) -> Device<'_> {
        Device {
            client: self,
            root: format!("/DEFAULT/controller/v1/{controller_id}"),
            authorization: format!("GatewayToken {GATEWAY_TOKEN}"),
        }
    }
}

/// `Authorization` of a Management API user.
pub fn basic(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}
