//! Bodies that are no JSON, of the wrong shape, too deep or too large.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Connection, Server, on_each_engine};

const UNREADABLE: &str = "hawkbit.server.error.rest.body.notReadable";
const MEMORY_LIMIT_KIB: u64 = 150 * 1024;

#[tokio::test]
async fn malformed_bodies_are_400_everywhere_and_create_nothing() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[]).await;
        let before = totals(&server).await;
        let endpoints = [
            (Method::POST, "/rest/v1/targets".to_owned()),
            (Method::PUT, "/rest/v1/targets/d1".to_owned()),
            (Method::POST, "/rest/v1/targets/d1/metadata".to_owned()),
            (Method::POST, "/rest/v1/targets/d1/assignedDS".to_owned()),
            (Method::PUT, format!("/rest/v1/targets/d1/actions/{action}")),
            (Method::POST, "/rest/v1/softwaremodules".to_owned()),
            (Method::PUT, format!("/rest/v1/softwaremodules/{}", set.module)),
            (Method::POST, "/rest/v1/softwaremoduletypes".to_owned()),
            (Method::POST, "/rest/v1/distributionsets".to_owned()),
            (Method::POST, format!("/rest/v1/distributionsets/{}/assignedTargets", set.id)),
            (Method::PUT, "/rest/v1/system/configs/pollingTime".to_owned()),
        ];
        let bodies: [&[u8]; 6] = [b"", b"{", b"[{\"name\": }]", b"\xff\xfe", b"nonsense", b"\"text\""];
        for (method, path) in &endpoints {
            for body in bodies {
                let answer = send(&server, method, path, &server.admin, body).await;
                answer.expect_error(400, UNREADABLE);
            }
        }
        let device = server.device("d1");
        for (method, path) in [
            (Method::POST, format!("{}/deploymentBase/{action}/feedback", device.root)),
            (Method::PUT, format!("{}/configData", device.root)),
        ] {
            for body in bodies {
                let answer = send(&server, &method, &path, &device.authorization, body).await;
                answer.expect_error(400, UNREADABLE);
            }
        }
        assert_eq!(totals(&server).await, before);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}

#[tokio::test]
async fn wrong_types_are_400() {
    on_each_engine(async |server: Server| {
        for (path, body) in [
            ("/rest/v1/targets", json!([{"controllerId": {"a": 1}}])),
            ("/rest/v1/targets", json!([{"controllerId": ["a"]}])),
            ("/rest/v1/targets", json!([["a"]])),
            ("/rest/v1/targets", json!([{"controllerId": "a", "requestAttributes": "perhaps"}])),
            ("/rest/v1/softwaremoduletypes", json!([{"name": "n", "key": "k", "maxAssignments": "many"}])),
            ("/rest/v1/distributionsets", json!([{"name": "n", "version": "1", "modules": [{"id": "x"}]}])),
            ("/rest/v1/distributionsets", json!([{"name": "n", "version": "1", "modules": 7}])),
        ] {
            server.post(path, body).await.expect_error(400, UNREADABLE);
        }
        server.target("d1").await;
        for body in [json!({"id": "x"}), json!({"id": 1, "type": "gently"}), json!({"id": [1]})] {
            server.post("/rest/v1/targets/d1/assignedDS", body).await.expect_error(400, UNREADABLE);
        }
        assert_eq!(totals(&server).await, [1, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn what_can_be_converted_is_taken() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let body = json!([{"controllerId": 17, "name": true}]);
        let target = server.post("/rest/v1/targets", body).await.expect(201).json();
        assert_eq!((&target[0]["controllerId"], &target[0]["name"]), (&json!("17"), &json!("true")));
        let set = server.set("fw", &[]).await;
        let body = json!({"id": set.id.to_string(), "weight": "5", "type": "timeforced", "forcetime": "7"});
        let assigned = server.post("/rest/v1/targets/17/assignedDS", body).await.expect(200).json();
        let action = assigned["assignedActions"][0]["id"].as_i64().unwrap();
        let shown = server.get(&format!("/rest/v1/actions/{action}")).await.expect(200).json();
        assert_eq!((&shown["weight"], &shown["forceTime"]), (&json!(5), &json!(7)));
        let status =
            json!({"execution": "proceeding", "result": {"finished": "none"}, "code": "3", "details": [1, null]});
        let device = server.device("17");
        let path = format!("/deploymentBase/{action}/feedback");
        device.post(&path, json!({"status": status})).await.expect_empty(200);
        let messages = vec!["1".to_owned(), "Device reported status code: 3".to_owned()];
        assert_eq!(server.status_rows("17", action).await[1], ("running".to_owned(), messages));
        let status = json!({"execution": "proceeding", "result": {"finished": "none"}, "details": [{}]});
        device.post(&path, json!({"status": status})).await.expect_error(400, UNREADABLE);
    })
    .await;
}

#[tokio::test]
async fn a_list_with_one_bad_entry_creates_none() {
    on_each_engine(async |server: Server| {
        let constraint = "hawkbit.server.error.repo.constraintViolation";
        let exists = "hawkbit.server.error.repo.entityAlreadyExists";
        server.target("taken").await;
        let bad = json!([{"controllerId": "good"}, {"controllerId": "with blank"}]);
        server.post("/rest/v1/targets", bad).await.expect_error(400, constraint);
        let doubled = json!([{"controllerId": "good"}, {"controllerId": "taken"}]);
        server.post("/rest/v1/targets", doubled).await.expect_error(409, exists);
        let twice = json!([{"controllerId": "twin"}, {"controllerId": "twin"}]);
        server.post("/rest/v1/targets", twice).await.expect_error(409, exists);
        assert_eq!(totals(&server).await, [1, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn nesting_of_any_depth_is_taken_calmly() {
    on_each_engine(async |server: Server| {
        let body = "[".repeat(200_000).into_bytes();
        let answer = send(&server, &Method::POST, "/rest/v1/targets", &server.admin, &body).await;
        assert!([400, 413].contains(&answer.status), "{answer:?}");
        let mut nested = b"[{\"controllerId\":\"a\",\"unknown\":".to_vec();
        nested.extend("[".repeat(50_000).bytes());
        nested.extend("]".repeat(50_000).bytes());
        nested.extend(b"}]");
        let answer = send(&server, &Method::POST, "/rest/v1/targets", &server.admin, &nested).await;
        // The member is unknown and skipped, however deep it is.
        assert_eq!(answer.status, 201, "{answer:?}");
        server.get("/rest/v1/targets").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn fifty_megabytes_of_json_are_refused_in_little_memory() {
    on_each_engine(async |server: Server| {
        server.allow_devices().await;
        let (_, action) = server.pending("d1", &[]).await;
        let device = server.device("d1");
        let mut body = b"[{\"controllerId\":\"".to_vec();
        body.resize(50_000_000, b'x');
        body.extend(b"\"}]");
        for (method, path, authorization) in [
            ("POST", "/rest/v1/targets".to_owned(), &server.admin),
            ("POST", format!("{}/deploymentBase/{action}/feedback", device.root), &device.authorization),
            ("PUT", format!("{}/configData", device.root), &device.authorization),
        ] {
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let request = [head.as_bytes(), &body].concat();
            let connection = Connection::open(server.port).await;
            let (_, answer) = connection.exchange(&request).await;
            let answer = answer.expect("an answer, not a broken connection");
            assert!([400, 413].contains(&answer.status), "{path}: {}", answer.head);
            assert!(answer.json()["errorCode"].is_string(), "{path}: {}", answer.json());
        }
        let (_, highest) = server.process().resident_kib();
        assert!(highest < MEMORY_LIMIT_KIB, "{highest} KiB");
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}

async fn send(server: &Server, method: &Method, path: &str, authorization: &str, body: &[u8]) -> Answer {
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    server.request(method.clone(), path, &headers, Some(body.to_vec())).await
}

/// How many targets, modules and sets there are.
async fn totals(server: &Server) -> [i64; 3] {
    let mut totals = [0; 3];
    for (total, kind) in totals.iter_mut().zip(["targets", "softwaremodules", "distributionsets"]) {
        let list = server.get(&format!("/rest/v1/{kind}")).await.expect(200).json();
        *total = list["total"].as_i64().unwrap();
    }
    totals
}

#[tokio::test]
async fn a_list_is_no_object_and_null_in_a_list_of_ids_is_an_unknown_one() {
    on_each_engine(async |server: Server| {
        let set = server.set("fw", &[]).await;
        server.target("d1").await;
        server.post("/rest/v1/targets/d1/targettype", json!([1])).await.expect_error(400, UNREADABLE);
        server.put("/rest/v1/targets/d1", json!(["d1", "n"])).await.expect_error(400, UNREADABLE);
        server.post("/rest/v1/targets", json!([["x", "n"]])).await.expect_error(400, UNREADABLE);
        server.post("/rest/v1/targets/d1/assignedDS", json!([[set.id]])).await.expect_error(400, UNREADABLE);
        let sets = "/rest/v1/distributionsettags";
        let tag = server.post(sets, json!([{"name": "t"}])).await.expect(201).id();
        let missing = "hawkbit.server.error.repo.entityNotFound";
        let answer = server.post(&format!("{sets}/{tag}/assigned"), json!([set.id, null])).await;
        let info = json!({"type": "DistributionSet", "entityId": [null]});
        assert_eq!(answer.expect_error(404, missing).json()["info"], info);
        let targets = "/rest/v1/targettags";
        let tag = server.post(targets, json!([{"name": "t"}])).await.expect(201).id();
        let answer = server.post(&format!("{targets}/{tag}/assigned"), json!(["d1", null])).await;
        let info = json!({"type": "Target", "entityId": [null]});
        assert_eq!(answer.expect_error(404, missing).json()["info"], info);
        server.put("/rest/v1/targetgroups/eu/assigned", json!([null, "d1"])).await.expect_empty(204);
        assert_eq!(server.get("/rest/v1/targets/d1").await.expect(200).json()["group"], "eu");
        server.post("/rest/v1/targets", json!([null])).await.expect_error(400, UNREADABLE);
    })
    .await;
}

#[tokio::test]
async fn the_body_of_a_delete_in_another_media_type_counts_as_left_out() {
    on_each_engine(async |server: Server| {
        let tag = |kind: &'static str| {
            let server = &server;
            async move { server.post(&format!("/rest/v1/{kind}"), json!([{"name": "t"}])).await.expect(201).id() }
        };
        let (sets, targets) = (tag("distributionsettags").await, tag("targettags").await);
        let constraint = "hawkbit.server.error.repo.constraintViolation";
        for (path, status, key) in [
            (format!("/rest/v1/distributionsettags/{sets}/assigned"), 400, Some(UNREADABLE)),
            ("/rest/v1/targetgroups/assigned".to_owned(), 400, Some(constraint)),
            ("/rest/v1/actions".to_owned(), 400, Some(UNREADABLE)),
            ("/rest/v1/actions?q=id==0".to_owned(), 204, None),
            (format!("/rest/v1/targettags/{targets}/assigned"), 415, None),
        ] {
            let headers = [("authorization", server.admin.as_str()), ("content-type", "text/plain")];
            let answer = server.request(Method::DELETE, &path, &headers, Some(b"[1]".to_vec())).await;
            match key {
                Some(key) => drop(answer.expect_error(status, key)),
                None => assert_eq!(answer.status, status, "{path}"),
            }
        }
    })
    .await;
}
