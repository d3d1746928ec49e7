//! The things that most tests begin with, made through the Management API: sets with files, targets, assignments.

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{Answer, Client};

/// A complete distribution set with one module of type `os`.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    pub id: i64,
    pub module: i64,
}

pub fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Bytes that do not compress and differ by seed.
pub fn bytes_of(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    seeded(seed ^ seeded(seed).random::<u64>()).fill_bytes(&mut bytes);
    bytes
}

impl Client {
    pub async fn module(&self, name: &str) -> i64 {
        let body = json!([{"name": name, "version": "1", "type": "os", "vendor": "v"}]);
        let created = self.post("/rest/v1/softwaremodules", body).await;
        created.expect(201).id()
    }

    pub async fn set(&self, name: &str, files: &[(&str, &[u8])]) -> Set {
        let module = self.module(&format!("{name}-os")).await;
        for (file, bytes) in files {
            self.upload(module, file, bytes).await.expect(201);
        }
        let body = json!([{"name": name, "version": "1", "type": "os", "modules": [{"id": module}]}]);
        let created = self.post("/rest/v1/distributionsets", body).await;
        let id = created.expect(201).id();
        Set { id, module }
    }

    pub async fn upload(&self, module: i64, file: &str, bytes: &[u8]) -> Answer {
        self.upload_with(module, file, bytes, "").await
    }

    /// `query` as `?sha1sum=…`, or empty.
    pub async fn upload_with(&self, module: i64, file: &str, bytes: &[u8], query: &str) -> Answer {
        let sent = self.send_file(&self.admin, module, file, bytes, query).await;
        sent.unwrap_or_else(|e| panic!("upload of {file}: {e:?}"))
    }

    pub async fn upload_as(&self, authorization: &str, module: i64, file: &str, bytes: &[u8]) -> Answer {
        let sent = self.send_file(authorization, module, file, bytes, "").await;
        sent.unwrap_or_else(|e| panic!("upload of {file}: {e:?}"))
    }

    pub async fn try_upload(&self, module: i64, file: &str, bytes: &[u8]) -> reqwest::Result<Answer> {
        self.send_file(&self.admin, module, file, bytes, "").await
    }

    async fn send_file(
        &self,
        authorization: &str,
        module: i64,
        file: &str,
        bytes: &[u8],
        query: &str,
    ) -> reqwest::Result<Answer> {
        let path = format!("/rest/v1/softwaremodules/{module}/artifacts{query}");
        let (content_type, body) = multipart(file, bytes);
        let headers = [("authorization", authorization), ("content-type", content_type.as_str())];
        self.try_request(reqwest::Method::POST, &path, &headers, Some(body)).await
    }

    pub async fn target(&self, controller_id: &str) -> Value {
        let body = json!([{"controllerId": controller_id}]);
        let created = self.post("/rest/v1/targets", body).await;
        created.expect(201).json()[0].clone()
    }

    /// Assigns as `forced` and gives the new action's id.
    pub async fn assign(&self, controller_id: &str, set: Set) -> i64 {
        let path = format!("/rest/v1/targets/{controller_id}/assignedDS");
        let body = json!({"id": set.id, "type": "forced"});
        let result = self.post(&path, body).await.expect(200).json();
        let id = result["assignedActions"][0]["id"].as_i64();
        id.unwrap_or_else(|| panic!("nothing assigned: {result}"))
    }

    /// A target with a set of `files` assigned: what a device finds when there is work.
    pub async fn pending(&self, controller_id: &str, files: &[(&str, &[u8])]) -> (Set, i64) {
        self.target(controller_id).await;
        let set = self.set(&format!("fw-{controller_id}"), files).await;
        (set, self.assign(controller_id, set).await)
    }

    pub async fn update_status(&self, controller_id: &str) -> String {
        let path = format!("/rest/v1/targets/{controller_id}");
        let target = self.get(&path).await.expect(200).json();
        target["updateStatus"].as_str().unwrap().to_owned()
    }

    /// Type and messages of every status row of an action, oldest first.
    pub async fn status_rows(&self, controller_id: &str, action: i64) -> Vec<(String, Vec<String>)> {
        let path = format!("/rest/v1/targets/{controller_id}/actions/{action}/status?sort=id:ASC&limit=500");
        let list = self.get(&path).await.expect(200).json();
        let rows = list["content"].as_array().unwrap().iter();
        rows.map(|row| {
            let messages = row["messages"].as_array().into_iter().flatten();
            let messages = messages.map(|m| m.as_str().unwrap().to_owned()).collect();
            (row["type"].as_str().unwrap().to_owned(), messages)
        })
        .collect()
    }

    pub async fn status_types(&self, controller_id: &str, action: i64) -> Vec<String> {
        let rows = self.status_rows(controller_id, action).await;
        rows.into_iter().map(|(kind, _)| kind).collect()
    }
}

/// Content type and body of a form with one file; names go out as they are, for the tests that try tricks.
fn multipart(file: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    let boundary = "----kettle-tests";
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
