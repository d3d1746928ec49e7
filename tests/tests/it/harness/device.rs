//! A device: requests below `/{tenant}/controller/v1/{controllerId}`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Client};

pub struct Device<'c> {
    pub client: &'c Client,
    pub root: String,
    pub authorization: String,
}

impl Device<'_> {
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, None).await
    }

    pub async fn head(&self, path: &str) -> Answer {
        self.send(Method::HEAD, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, &[], Some(body)).await
    }

    /// A POST without a body.
    pub async fn send_empty(&self, path: &str) -> Answer {
        self.send(Method::POST, path, &[], None).await
    }

    pub async fn poll(&self) -> Value {
        self.get("").await.expect(200).json()
    }

    /// The action that the poll offers as `deploymentBase`, if any.
    pub async fn offered(&self) -> Option<i64> {
        let poll = self.poll().await;
        let href = poll["_links"]["deploymentBase"]["href"].as_str()?;
        let last = href.rsplit('/').next().unwrap();
        Some(last.split('?').next().unwrap().parse().unwrap())
    }

    /// Feedback with an execution and a result only, as the smallest clients send it.
    pub async fn feedback(&self, action: i64, execution: &str, finished: &str) -> Answer {
        let path = format!("/deploymentBase/{action}/feedback");
        self.post(&path, status(execution, finished)).await
    }

    pub async fn cancel_feedback(&self, action: i64, execution: &str, finished: &str) -> Answer {
        let path = format!("/cancelAction/{action}/feedback");
        self.post(&path, status(execution, finished)).await
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend(headers);
        let bytes = body.map(|b| serde_json::to_vec(&b).unwrap());
        if bytes.is_some() {
            all.push(("content-type", "application/json"));
        }
        let path = format!("{}{path}", self.root);
        self.client.request(method, &path, &all, bytes).await
    }
}

fn status(execution: &str, finished: &str) -> Value {
    json!({"status": {"execution": execution, "result": {"finished": finished}}})
}
