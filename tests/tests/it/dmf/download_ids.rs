//! Downloads over ids: asked for over AMQP, fetched over HTTP on any node, without another login.

use std::time::Duration;

use lapin::BasicProperties;
use reqwest::Method;
use serde_json::{Value, json};

use super::PATIENCE;
use crate::harness::{
    Answer, Broker, Engine, Gateway, Message, Server, Set, eventually, linger, on_each_engine_with_gateway,
};

const QUEUE: &str = "authentication_receiver";
const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";

/// One asked directly in the queue, as the exchange of old does it.
fn request(body: &Value, id: &str) -> Message {
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_correlation_id(id.into())
        .with_delivery_mode(2);
    Message { exchange: String::new(), routing_key: QUEUE.to_owned(), properties, body: body.to_string().into_bytes() }
}

struct World {
    set: Set,
    token: String,
    artifact: Value,
}

impl World {
    /// A thing with a file to install, that shows its own token.
    async fn create(server: &Server, gateway: &mut Gateway<'_>) -> Self {
        server.allow_devices().await;
        eventually(PATIENCE, "requests are heard", async || (gateway.host.consumers(QUEUE) > 0).then_some(())).await;
        gateway.register(&["d1", "d2"]).await;
        let set = server.set("fw", &[("a.bin", b"0123456789")]).await;
        server.assign("d1", set).await;
        gateway.expect("DOWNLOAD_AND_INSTALL", "d1").await;
        let target = server.get("/rest/v1/targets/d1").await.expect(200).json();
        let artifacts = server.get(&format!("/rest/v1/softwaremodules/{}/artifacts", set.module)).await.expect(200);
        let token = target["securityToken"].as_str().unwrap().to_owned();
        World { set, token, artifact: artifacts.json()[0].clone() }
    }

    fn body(&self, file: Value) -> Value {
        let token = format!("TargetToken {}", self.token);
        json!({"tenant": "DEFAULT", "controllerId": "d1", "headers": {"Authorization": token}, "fileResource": file})
    }

    fn sha1(&self) -> Value {
        json!({"sha1": self.artifact["hashes"]["sha1"]})
    }
}

async fn ask(gateway: &mut Gateway<'_>, body: &Value) -> Value {
    gateway.publish(&request(body, "r-1")).await;
    let answer = gateway.next().await;
    assert_eq!((answer.correlation_id().as_str(), answer.content_type().as_str()), ("r-1", "application/json"));
    answer.json()
}

async fn fetch(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.request(Method::GET, path, headers, None).await
}

/// The path of a URL that was answered.
fn path_of(answer: &Value) -> String {
    let url = answer["downloadUrl"].as_str().unwrap_or_else(|| panic!("no URL: {answer}"));
    let (_, path) = url.split_once("/api/v1/").unwrap_or_else(|| panic!("{url}"));
    format!("/api/v1/{path}")
}

#[tokio::test]
async fn an_id_is_given_and_good_for_one_whole_download() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let world = World::create(&server, &mut gateway).await;
        let mut answer = ask(&mut gateway, &world.body(world.sha1())).await;
        let path = path_of(&answer);
        let id = path
            .strip_prefix("/api/v1/downloadserver/downloadId/DEFAULT/")
            .unwrap_or_else(|| panic!("{path}"))
            .to_owned();
        assert_eq!(id.len(), 36, "{id}");
        answer["downloadUrl"].take();
        let hashes = json!({"sha1": world.artifact["hashes"]["sha1"], "md5": world.artifact["hashes"]["md5"]});
        let expected = json!({
            "downloadUrl": null,
            "artifact": {"size": 10, "lastModified": world.artifact["lastModifiedAt"], "hashes": hashes},
            "responseCode": 200,
        });
        assert_eq!(answer, expected);

        // Of another tenant, or of nobody: there is none.
        for other in [path.replace("DEFAULT", "OTHER"), path.replace(&id, NOBODYS), path.replace(&id, "x")] {
            fetch(&server, &other, &[]).await.expect(404);
        }
        // A part, and the rest of it: the last byte uses it up.
        let part = fetch(&server, &path, &[("range", "bytes=0-3")]).await.expect(206);
        assert_eq!(part.bytes, b"0123");
        let whole = fetch(&server, &path, &[]).await.expect(200);
        assert_eq!(whole.bytes, b"0123456789");
        assert!(whole.header("content-disposition").unwrap().contains(&id), "{:?}", whole.headers);
        assert!(
            whole.header("etag").is_some_and(|tag| tag.contains(world.artifact["hashes"]["sha1"].as_str().unwrap()))
        );
        eventually(Duration::from_secs(5), "it is used up", async || {
            (fetch(&server, &path, &[]).await.status == 404).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_file_has_several_names() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let world = World::create(&server, &mut gateway).await;
        let gateway_token = json!({"Authorization": server.device("d1").authorization});
        for file in [
            world.sha1(),
            json!({"filename": "a.bin"}),
            json!({"artifactId": world.artifact["id"]}),
            json!({"softwareModuleFilenameResource": {"softwareModuleId": world.set.module, "filename": "a.bin"}}),
        ] {
            let answer = ask(&mut gateway, &world.body(file.clone())).await;
            assert_eq!(fetch(&server, &path_of(&answer), &[]).await.expect(200).bytes, b"0123456789", "{file}");
            let mut body = world.body(file.clone());
            body["headers"] = gateway_token.clone();
            body["unknown"] = json!([1]);
            assert_eq!(ask(&mut gateway, &body).await["responseCode"], 200, "{file}");
        }
    })
    .await;
}

#[tokio::test]
async fn who_may_not_have_it_is_told_so() {
    on_each_engine_with_gateway(async |server: Server, mut gateway: Gateway| {
        let world = World::create(&server, &mut gateway).await;
        let good = world.body(world.sha1());
        let with = |path: &str, value: Value| {
            let mut body = good.clone();
            *body.pointer_mut(path).unwrap() = value;
            body
        };
        let gateway_token = server.device("d1").authorization.clone();
        let mut anonymous = good.clone();
        anonymous.as_object_mut().unwrap().remove("controllerId");
        let mut of_another = with("/controllerId", json!("d2"));
        of_another["headers"] = json!({"Authorization": gateway_token});
        for (what, body, code) in [
            ("a wrong token", with("/headers", json!({"Authorization": "TargetToken wrong"})), 403),
            ("no token", with("/headers", json!({})), 403),
            ("another's token", with("/controllerId", json!("d2")), 403),
            ("nobody", with("/controllerId", json!("nobody")), 403),
            ("another tenant", with("/tenant", json!("OTHER")), 403),
            ("anonymous", anonymous, 403),
            ("an unknown file", with("/fileResource", json!({"sha1": "00"})), 404),
            ("no file", with("/fileResource", json!({})), 404),
            ("a file that is not for it", of_another, 404),
        ] {
            let answer = ask(&mut gateway, &body).await;
            assert_eq!(answer["responseCode"], code, "{what}: {answer}");
            assert_eq!(answer.get("downloadUrl"), None, "{what}");
            assert!(answer["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {answer}");
        }
        // What can't be read is put aside.
        for body in ["", "no JSON", "[]"] {
            let mut message = request(&json!({}), "bad");
            message.body = body.as_bytes().to_vec();
            gateway.publish(&message).await;
            let letter = gateway.dead_letter().await;
            assert_eq!(letter.body, body.as_bytes());
        }
        gateway.expect_silence().await;
    })
    .await;
}

#[tokio::test]
async fn any_node_serves_it_and_no_one_when_its_time_is_over() {
    let host = Broker::shared().virtual_host();
    let a = host.server(Engine::Postgres, &["kettle.dmf.download-id-ttl=3s"]).await;
    let mut gateway = Gateway::connect(&host, "gw.ex").await;
    gateway.until_heard().await;
    let b = a.another_node().await;
    let world = World::create(&a, &mut gateway).await;
    let first = path_of(&ask(&mut gateway, &world.body(world.sha1())).await);
    let second = path_of(&ask(&mut gateway, &world.body(world.sha1())).await);
    assert_ne!(first, second);
    assert_eq!(fetch(&b, &first, &[]).await.expect(200).bytes, b"0123456789");
    eventually(Duration::from_secs(5), "it is used up everywhere", async || {
        (fetch(&a, &first, &[]).await.status == 404).then_some(())
    })
    .await;
    linger(Duration::from_secs(4)).await;
    fetch(&a, &second, &[]).await.expect(404);
}
