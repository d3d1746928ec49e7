//! Download ids: who gets one for what, and how long `/api/v1/downloadserver/downloadId` serves it. Issued in this process,
//! as a message would have it, and served by a server on the same database.

use std::{sync::Arc, time::Duration};

use kettle_cluster::{Clock, Events, JobContext, Lease};
use kettle_domain::{
    Ctx, Services, Tenant,
    access::Rules,
    artifacts::{
        self,
        urls::{ArtifactUrls, Own},
    },
    download_ids::{self, Named, Reply, Request, Wanted},
    settings::Settings,
    targets::{HeaderCredentials, ProxyHeaders},
    tenants::{self, configuration},
};
use reqwest::Method;
use tempfile::TempDir;

use crate::harness::{Answer, Connection, Engine, Server, Store, bytes_of, eventually, on_each_engine};

const PATIENCE: Duration = Duration::from_secs(10);
const SHA1_OF_ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

#[tokio::test]
async fn a_device_gets_an_id_for_a_file_that_an_action_brings_it() {
    on_each_engine(async |server: Server| {
        let issuer = Issuer::beside(&server).await;
        let (set, _) = server.pending("d1", &[("a.bin", b"abc"), ("b.bin", b"bcd")]).await;
        let token = server.get("/rest/v1/targets/d1").await.expect(200).json()["securityToken"].clone();
        let token = format!("TargetToken {}", token.as_str().unwrap());
        let artifact = issuer.number("SELECT id AS n FROM sp_artifact WHERE provided_file_name = 'a.bin'").await;
        let target = issuer.number("SELECT id AS n FROM sp_target").await;
        let tenant = issuer.number("SELECT id AS n FROM sp_tenant").await;
        let (by_name, by_id) = (Some(Named::ByName("d1")), Some(Named::ById(target)));
        for (tenant, target, authorization, wanted) in [
            (Named::ByName("DEFAULT"), by_name, token.as_str(), Wanted::Sha1(SHA1_OF_ABC)),
            (Named::ByName("default"), by_id, token.as_str(), Wanted::Filename("a.bin")),
            (Named::ById(tenant), by_name, GATEWAY, Wanted::Artifact(artifact)),
            (Named::ById(tenant), by_id, GATEWAY, Wanted::InModule { module: set.module, filename: "a.bin" }),
        ] {
            let asked = format!("{wanted:?}");
            let request = Request {
                tenant: Some(tenant),
                target,
                credentials: credentials(&[("Authorization", authorization)]),
                wanted: Some(wanted),
            };
            let Reply::Issued { url, artifact } = issuer.ask(&request).await else { panic!("{asked}: refused") };
            assert_eq!((artifact.sha1_hash.as_str(), artifact.file_size), (SHA1_OF_ABC, Some(3)), "{asked}");
            let id = url.rsplit('/').next().unwrap();
            assert_eq!(url, format!("{}/api/v1/downloadserver/downloadId/DEFAULT/{id}", server.base));
            let answer = fetch(&server, &url, &[]).await.expect(200);
            assert_eq!(answer.bytes, b"abc", "{asked}");
            assert_eq!(answer.header("content-disposition"), Some(format!("attachment;filename={id}").as_str()));
            assert_eq!(answer.header("etag"), Some(format!("\"{SHA1_OF_ABC}\"").as_str()));
            assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        }
    })
    .await;
}

#[tokio::test]
async fn others_get_none() {
    on_each_engine(async |server: Server| {
        let issuer = Issuer::beside(&server).await;
        server.pending("d1", &[("a.bin", b"abc")]).await;
        server.target("d2").await;
        server.set("unassigned", &[("c.bin", b"cde")]).await;
        let other = Ctx::system(&issuer.services, Tenant::new("OTHER"));
        tenants::ensure(&issuer.services, &other.tenant).await.unwrap();
        let text = |value: &str| configuration::Value::Text(value.into());
        let settings = [("enabled", configuration::Value::Boolean(true)), ("key", text("other-secret"))];
        let settings = settings.map(|(key, value)| (format!("authentication.gatewaytoken.{key}"), value));
        configuration::put(&other, settings.into()).await.unwrap();

        let (d1, d2, none) = (Some("d1"), Some("d2"), None);
        let file = Some(Wanted::Filename("a.bin"));
        for (tenant, target, authorization, wanted, expected) in [
            ("DEFAULT", d1, "TargetToken wrong", file, "refused"),
            ("DEFAULT", d1, "", file, "refused"),
            ("DEFAULT", d1, "GatewayToken other-secret", file, "refused"),
            ("DEFAULT", none, GATEWAY, file, "refused"),
            ("NOWHERE", d1, GATEWAY, file, "refused"),
            ("OTHER", d1, GATEWAY, file, "refused"),
            ("OTHER", d1, "GatewayToken other-secret", file, "unknown"),
            ("DEFAULT", d2, GATEWAY, file, "unknown"),
            ("DEFAULT", Some("d3"), GATEWAY, file, "unknown"),
            ("DEFAULT", d1, GATEWAY, Some(Wanted::Filename("c.bin")), "unknown"),
            ("DEFAULT", d1, GATEWAY, Some(Wanted::Sha1("00")), "unknown"),
            ("DEFAULT", d1, GATEWAY, Some(Wanted::Artifact(0)), "unknown"),
            ("DEFAULT", d1, GATEWAY, None, "unknown"),
        ] {
            let request = Request {
                tenant: Some(Named::ByName(tenant)),
                target: target.map(Named::ByName),
                credentials: credentials(&[("authorization", authorization)]),
                wanted,
            };
            let reply = match issuer.ask(&request).await {
                Reply::Issued { .. } => "issued",
                Reply::Refused => "refused",
                Reply::Unknown => "unknown",
            };
            assert_eq!(reply, expected, "{request:?}");
        }
        assert_eq!(issuer.number("SELECT count(*) AS n FROM kt_download_id").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_proxy_may_vouch_for_a_device_in_a_message_too() {
    on_each_engine(async |server: Server| {
        let issuer = Issuer::beside(&server).await;
        server.pending("d1", &[("a.bin", b"abc")]).await;
        server.configure("authentication.header.enabled", true).await;
        server.configure("authentication.header.authority", "lab").await;
        for (controller_id, issued) in [("d1", true), ("d2", false)] {
            let request = Request {
                credentials: credentials(&[("x-controller-id", controller_id), ("x-authority", "lab")]),
                ..wanted("a.bin")
            };
            assert_eq!(matches!(issuer.ask(&request).await, Reply::Issued { .. }), issued, "{controller_id}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_serves_until_the_last_byte_was_sent() {
    on_each_engine(async |server: Server| {
        let issuer = Issuer::beside(&server).await;
        let content = bytes_of(30_000_000, 21);
        server.pending("d1", &[("big.bin", &content)]).await;
        let url = issuer.url("big.bin").await;

        // Broken off, looked at, and read in parts that leave the end out.
        let mut connection = Connection::open(server.port).await;
        let path = url.strip_prefix(&server.base).unwrap();
        assert!(connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await);
        connection.read_some(100_000).await;
        drop(connection);
        let head = server.request(Method::HEAD, path, &[], None).await.expect(200);
        assert_eq!(head.header("content-length"), Some("30000000"));
        for range in ["bytes=0-9", "bytes=0-1,5-29999998"] {
            fetch(&server, &url, &[("range", range)]).await.expect(206);
        }
        fetch(&server, &url, &[("if-match", "\"00\"")]).await.expect(412);
        fetch(&server, &url, &[("range", "bytes=30000000-")]).await.expect(416);

        let rest = fetch(&server, &url, &[("range", "bytes=100000-")]).await.expect(206);
        assert!(rest.bytes == content[100_000..]);
        gone(&server, &url).await;
        assert_eq!(issuer.number("SELECT count(*) AS n FROM kt_download_id").await, 0);

        let url = issuer.url("big.bin").await;
        assert!(fetch(&server, &url, &[]).await.expect(200).bytes == content);
        gone(&server, &url).await;
        let url = issuer.url("big.bin").await;
        fetch(&server, &url, &[("range", "bytes=0-1,29999999-29999999")]).await.expect(206);
        gone(&server, &url).await;
    })
    .await;
}

#[tokio::test]
async fn an_id_is_of_one_tenant_and_of_its_time() {
    on_each_engine(async |server: Server| {
        let issuer = Issuer::beside(&server).await;
        server.pending("d1", &[("a.bin", b"abc")]).await;
        let (url, kept) = (issuer.url("a.bin").await, issuer.url("a.bin").await);
        assert_ne!(url, kept);
        let id = url.rsplit('/').next().unwrap();
        for path in ["OTHER/{id}", "DEFAULT/00000000-0000-4000-8000-000000000000", "DEFAULT/x", "DEFAULT/{id}x"] {
            let path = format!("/api/v1/downloadserver/downloadId/{}", path.replace("{id}", id));
            let answer = server.request(Method::GET, &path, &[], None).await.expect(404);
            assert_eq!(answer.bytes, b"", "{path}");
        }
        server.request(Method::POST, url.strip_prefix(&server.base).unwrap(), &[], None).await.expect(405);

        let left = issuer.number("SELECT max(expires_at) AS n FROM kt_download_id").await - now(&issuer).await;
        assert!((200_000..=300_000).contains(&left), "{left} ms are left");
        issuer.store.execute(&format!("UPDATE kt_download_id SET expires_at = 1 WHERE id = '{id}'")).await;
        fetch(&server, &url, &[]).await.expect(404);
        issuer.prune().await;
        assert_eq!(issuer.number("SELECT count(*) AS n FROM kt_download_id").await, 1);
        assert_eq!(fetch(&server, &kept, &[]).await.expect(200).bytes, b"abc");
    })
    .await;
}

#[tokio::test]
async fn any_node_serves_an_id() {
    let first = Server::start(Engine::Postgres).await;
    let second = first.another_node().await;
    let issuer = Issuer::beside(&first).await;
    first.pending("d1", &[("a.bin", b"abc")]).await;
    let url = issuer.url("a.bin").await;
    let there = url.replace(&first.base, &second.base);
    assert_eq!(fetch(&second, &there, &[]).await.expect(200).bytes, b"abc");
    gone(&first, &url).await;
}

/// Issues ids for the tenants of a server, whose devices may show a gateway token.
struct Issuer {
    services: Arc<Services>,
    store: Store,
    _folder: TempDir,
}

const GATEWAY: &str = "GatewayToken gw-secret";

impl Issuer {
    async fn beside(server: &Server) -> Issuer {
        server.allow_devices().await;
        let store = Store::of(server).await;
        let folder = tempfile::Builder::new().prefix("kettle-issuer-").tempdir().unwrap();
        let storage = artifacts::Storage::open(folder.path().to_owned()).unwrap();
        // Nothing tells it of changes, so it keeps nothing.
        let settings = Settings {
            cache_ttl: Duration::ZERO,
            artifact_urls: ArtifactUrls::new([], &Own { url: server.base.clone(), public: false }),
            ..Settings::default()
        };
        let (events, clock) = (Events::new("issuer".into()), Clock::system());
        let services = Services::new(store.db.clone(), events, clock, settings, storage, Rules::default());
        Issuer { services, store, _folder: folder }
    }

    async fn ask(&self, request: &Request<'_>) -> Reply {
        download_ids::issue(&self.services, request).await.unwrap()
    }

    async fn url(&self, filename: &str) -> String {
        match self.ask(&wanted(filename)).await {
            Reply::Issued { url, .. } => url,
            refused => panic!("{filename}: {refused:?}"),
        }
    }

    async fn number(&self, sql: &str) -> i64 {
        self.store.number(sql).await
    }

    async fn prune(&self) {
        let Services { db, events, clock, .. } = &*self.services;
        let lease = Lease::acquire(db, "prune", events.node(), PATIENCE).await.unwrap().unwrap();
        let ctx = JobContext {
            db: db.clone(),
            events: events.clone(),
            clock: clock.clone(),
            lease_time: Duration::from_secs(10),
        };
        download_ids::prune(&ctx, &lease).await.unwrap();
    }
}

/// A file for d1, whose gateway asks.
fn wanted(filename: &str) -> Request<'_> {
    Request {
        tenant: Some(Named::ByName("DEFAULT")),
        target: Some(Named::ByName("d1")),
        credentials: credentials(&[("authorization", GATEWAY)]),
        wanted: Some(Wanted::Filename(filename)),
    }
}

fn credentials<'h>(headers: &[(&str, &'h str)]) -> HeaderCredentials<'h> {
    let proxy = ProxyHeaders { controller_id: "X-Controller-Id".into(), authority: "X-Authority".into() };
    let header = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    HeaderCredentials::read(header, &proxy)
}

async fn now(issuer: &Issuer) -> i64 {
    issuer.number(&format!("SELECT {} AS n", issuer.store.db.engine().now_ms())).await
}

/// Without any login.
async fn fetch(server: &Server, url: &str, headers: &[(&str, &str)]) -> Answer {
    server.request(Method::GET, url.strip_prefix(&server.base).unwrap(), headers, None).await
}

async fn gone(server: &Server, url: &str) {
    eventually(PATIENCE, "the id is used up", async || {
        (server.request(Method::HEAD, url.strip_prefix(&server.base).unwrap(), &[], None).await.status == 404)
            .then_some(())
    })
    .await;
}
