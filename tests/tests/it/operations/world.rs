//! A tenant that is full of everything that is served, and the ids to ask for it.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::table::{Body, OPERATIONS, Operation};
use crate::harness::{Answer, Server, eventually};

pub const FILE: &str = "a.bin";

/// What stands for the names in braces.
#[derive(Clone)]
pub struct World {
    pub login: String,
    pub gateway: String,
    pub values: BTreeMap<&'static str, String>,
}

/// Names that are no ids of the tenant's things, or that tenants share.
const NO_IDS: [&str; 5] = ["tenant", "metadataKey", "keyName", "group", "fileName"];

impl World {
    /// Fills the tenant of `login`, whose devices are named after `prefix`. Every step must work.
    pub async fn create(server: &Server, tenant: &str, login: String, prefix: &str) -> World {
        let gateway = format!("{prefix}-secret");
        let values = BTreeMap::from([
            ("tenant", tenant.to_owned()),
            ("targetId", format!("{prefix}-device")),
            ("controllerId", format!("{prefix}-device")),
            ("metadataKey", "key".into()),
            ("keyName", "pollingTime".into()),
            ("group", format!("{prefix}-group")),
            ("fileName", FILE.into()),
        ]);
        let mut world = World { login, gateway, values };
        world.configure(server).await;
        world.software(server).await;
        world.targets(server).await;
        world.assignment(server).await;
        world.rollout(server).await;
        world.links(server).await;
        world
    }

    /// The same with ids that nobody has.
    pub fn of_nobody(&self) -> World {
        let unknown = |(name, value): (&&'static str, &String)| {
            let value = match *name {
                name if NO_IDS.contains(&name) => value.clone(),
                "targetId" | "controllerId" => "nobody".into(),
                _ => "987654".into(),
            };
            (*name, value)
        };
        World { values: self.values.iter().map(unknown).collect(), ..self.clone() }
    }

    /// This world, but for what it has under `name`, which is taken from `other`.
    pub fn with(&self, name: &'static str, other: &World) -> World {
        let mut world = self.clone();
        world.values.insert(name, other.values[name].clone());
        world
    }

    /// The ids that an operation takes, in its path, query or body.
    pub fn ids(operation: &Operation) -> Vec<&'static str> {
        let body = if let Body::Json(text) = operation.body { text } else { "" };
        let text = format!("{} {} {body}", operation.path, operation.query);
        let names = [
            "targetId",
            "controllerId",
            "actionId",
            "distributionSetId",
            "distributionsetId",
            "distributionSetTypeId",
            "distributionsetTagId",
            "softwareModuleId",
            "softwareModuleTypeId",
            "artifactId",
            "targetTypeId",
            "targetTagId",
            "filterId",
            "rolloutId",
            "groupId",
        ];
        names.into_iter().filter(|name| text.contains(&format!("{{{name}}}"))).collect()
    }

    pub fn fill(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// Asks for an operation on this world's things, with these credentials if any.
    pub async fn ask(&self, server: &Server, operation: &Operation, authorization: Option<&str>) -> Answer {
        let path = self.fill(operation.path) + &self.fill(operation.query);
        let method: Method = operation.method.parse().unwrap();
        let mut headers: Vec<(&str, &str)> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        let body = match operation.body {
            Body::Nothing => None,
            Body::Json(text) => {
                headers.push(("content-type", "application/json"));
                Some(self.fill(text).into_bytes())
            }
            Body::File => {
                headers.push(("content-type", "multipart/form-data; boundary=b"));
                let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new.bin\"\r\n\
                            Content-Type: application/octet-stream\r\n\r\nabc\r\n--b--\r\n";
                Some(form.into())
            }
        };
        server.request(method, &path, &headers, body).await
    }

    async fn post(&self, server: &Server, path: &str, body: Value) -> Answer {
        server.json_as(&self.login, Method::POST, &self.fill(&format!("/rest/v1/{path}")), Some(body)).await
    }

    /// Creates one thing and keeps its id.
    async fn make(&mut self, server: &Server, name: &'static str, path: &'static str, body: Value) {
        let id = self.post(server, path, body).await.expect(201).id().to_string();
        self.values.insert(name, id);
    }

    async fn configure(&self, server: &Server) {
        for (key, value) in [
            ("authentication.gatewaytoken.enabled", json!(true)),
            ("authentication.gatewaytoken.key", json!(self.gateway)),
        ] {
            let path = format!("/rest/v1/system/configs/{key}");
            server.json_as(&self.login, Method::PUT, &path, Some(json!({"value": value}))).await.expect(204);
        }
    }

    async fn software(&mut self, server: &Server) {
        let metadata = json!([{"key": "key", "value": "v"}]);
        let kind = json!([{"name": "kind", "key": "kind", "maxAssignments": 1}]);
        self.make(server, "softwareModuleTypeId", "softwaremoduletypes", kind).await;
        let module = json!([{"name": "fw-os", "version": "1", "type": "os"}]);
        self.make(server, "softwareModuleId", "softwaremodules", module).await;
        let module: i64 = self.values["softwareModuleId"].parse().unwrap();
        let artifact = server.upload_as(&self.login, module, FILE, b"abc").await.expect(201).id();
        self.values.insert("artifactId", artifact.to_string());
        self.post(server, "softwaremodules/{softwareModuleId}/metadata", metadata.clone()).await.expect(201);
        let module_type: i64 = self.values["softwareModuleTypeId"].parse().unwrap();
        let kind = json!([{
            "name": "kind", "key": "kind",
            "mandatorymodules": [{"id": module_type}],
        }]);
        self.make(server, "distributionSetTypeId", "distributionsettypes", kind).await;
        let set = json!([{"name": "fw", "version": "1", "type": "os", "modules": [{"id": module}]}]);
        self.make(server, "distributionSetId", "distributionsets", set).await;
        self.values.insert("distributionsetId", self.values["distributionSetId"].clone());
        self.post(server, "distributionsets/{distributionSetId}/metadata", metadata).await.expect(201);
        self.make(server, "distributionsetTagId", "distributionsettags", json!([{"name": "tag"}])).await;
    }

    async fn targets(&mut self, server: &Server) {
        let (id, group) = (self.values["targetId"].clone(), self.values["group"].clone());
        let target = json!([{"controllerId": id, "group": group}]);
        self.post(server, "targets", target).await.expect(201);
        let metadata = json!([{"key": "key", "value": "v"}]);
        self.post(server, "targets/{targetId}/metadata", metadata).await.expect(201);
        self.make(server, "targetTypeId", "targettypes", json!([{"name": "kind", "key": "kind"}])).await;
        self.make(server, "targetTagId", "targettags", json!([{"name": "tag"}])).await;
        let filter = json!({"name": "all", "query": "id==*"});
        self.make(server, "filterId", "targetfilters", filter).await;
    }

    /// An action under way, and what the device says of itself.
    async fn assignment(&mut self, server: &Server) {
        let set: i64 = self.values["distributionSetId"].parse().unwrap();
        let assigned = self.post(server, "targets/{targetId}/assignedDS", json!({"id": set})).await.expect(200).json();
        self.values.insert("actionId", assigned["assignedActions"][0]["id"].to_string());
        for name in
            ["GET /{tenant}/controller/v1/{controllerId}", "PUT /{tenant}/controller/v1/{controllerId}/configData"]
        {
            let operation = OPERATIONS.iter().find(|o| o.name() == name).unwrap();
            self.ask(server, operation, Some(&self.device())).await.expect(200);
        }
    }

    /// A rollout that is ready, over a target of its own.
    async fn rollout(&mut self, server: &Server) {
        let target = format!("{}-waiting", self.values["targetId"]);
        self.post(server, "targets", json!([{"controllerId": target}])).await.expect(201);
        let set: i64 = self.values["distributionSetId"].parse().unwrap();
        let rollout = json!({"name": "wave", "distributionSetId": set, "targetFilterQuery": format!("id=={target}")});
        self.make(server, "rolloutId", "rollouts", rollout).await;
        let rollout = self.fill("/rest/v1/rollouts/{rolloutId}");
        let is_ready = async || {
            let found = server.get_as(&self.login, &rollout).await.expect(200).json();
            (found["status"] == "ready").then_some(())
        };
        eventually(Duration::from_secs(20), "the rollout is ready", is_ready).await;
        let groups = server.get_as(&self.login, &format!("{rollout}/deploygroups")).await.expect(200).json();
        self.values.insert("groupId", groups["content"][0]["id"].to_string());
    }

    /// Tags and types that are in use, and a target that confirms by itself.
    async fn links(&self, server: &Server) {
        let set_type: i64 = self.values["distributionSetTypeId"].parse().unwrap();
        for (path, body) in [
            ("distributionsettags/{distributionsetTagId}/assigned/{distributionsetId}", Value::Null),
            ("targettags/{targetTagId}/assigned/{targetId}", Value::Null),
            ("targettypes/{targetTypeId}/compatibledistributionsettypes", json!([{"id": set_type}])),
            ("targets/{targetId}/autoConfirm/activate", json!({})),
        ] {
            self.post(server, path, body).await.expect(204);
        }
    }

    /// What a device of this tenant shows.
    pub fn device(&self) -> String {
        format!("GatewayToken {}", self.gateway)
    }
}
