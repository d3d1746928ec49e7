//! Configured users: passwords, roles, permissions; and tenants, which never see each other.

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Device, Engine, Server, basic, stored_files, timed};

const FORBIDDEN: &str = "hawkbit.server.error.insufficientPermission";
/// bcrypt and argon2id of "correct horse", at the cost that hawkBit's Spring stack has by default.
const PASSWORD: &str = "correct horse";

#[tokio::test]
async fn a_reader_of_targets_reads_targets_and_nothing_else() {
    for_each_engine(&[("viewer", "permissions=READ_TARGET")], async |server| {
        let (set, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let viewer = basic("viewer", "x");
        let info = server.get_as(&viewer, "/rest/v1/userinfo").await.expect(200).json();
        assert_eq!(info, json!({"tenant": "DEFAULT", "username": "viewer", "permissions": ["READ_TARGET"]}));

        let mut expected = server.get("/rest/v1/targets/d1").await.expect(200).json();
        expected.as_object_mut().unwrap().remove("securityToken").expect("the administrator sees it");
        assert_eq!(server.get_as(&viewer, "/rest/v1/targets/d1").await.expect(200).json(), expected);
        let list = server.get_as(&viewer, "/rest/v1/targets").await.expect(200).json();
        assert_eq!(list["content"][0].get("securityToken"), None);
        for path in
            ["targets/d1/actions", "targets/d1/metadata", "targets/d1/tags", "actions", "targetgroups", "targettags"]
        {
            server.get_as(&viewer, &format!("/rest/v1/{path}")).await.expect(200);
        }

        let module = format!("softwaremodules/{}", set.module);
        let sets = format!("distributionsets/{}", set.id);
        for (method, path, body) in [
            (Method::POST, "targets".to_owned(), Some(json!([{"controllerId": "d2"}]))),
            (Method::PUT, "targets/d1".into(), Some(json!({"name": "x"}))),
            (Method::DELETE, "targets/d1".into(), None),
            (Method::POST, "targets/d1/metadata".into(), Some(json!([{"key": "k", "value": "v"}]))),
            (Method::POST, "targets/d1/assignedDS".into(), Some(json!({"id": set.id}))),
            (Method::PUT, "targetgroups/assigned?group=g".into(), Some(json!(["d1"]))),
            (Method::POST, "targettags".into(), Some(json!([{"name": "t"}]))),
            (Method::PUT, "targettags/4711".into(), Some(json!({"name": "t"}))),
            (Method::POST, "targettags/4711/assigned".into(), Some(json!(["d1"]))),
            (Method::DELETE, "targettags/4711/assigned/d1".into(), None),
            (Method::GET, "distributionsettags".into(), None),
            (Method::GET, "distributionsettags/4711".into(), None),
            (Method::GET, "distributionsettags/4711/assigned".into(), None),
            (Method::POST, "distributionsettags".into(), Some(json!([{"name": "t"}]))),
            (Method::PUT, "distributionsettags/4711".into(), Some(json!({"name": "t"}))),
            (Method::DELETE, "distributionsettags/4711".into(), None),
            (Method::POST, "distributionsettags/4711/assigned/1".into(), None),
            (Method::DELETE, "distributionsettags/4711/assigned".into(), Some(json!([1]))),
            (Method::DELETE, format!("targets/d1/actions/{action}"), None),
            (Method::PUT, format!("targets/d1/actions/{action}"), Some(json!({"forceType": "forced"}))),
            (Method::GET, "softwaremodules".into(), None),
            (Method::GET, module.clone(), None),
            (Method::GET, format!("{module}/artifacts"), None),
            (Method::DELETE, module.clone(), None),
            (Method::POST, "softwaremodules".into(), Some(json!([{"name": "n", "version": "1", "type": "os"}]))),
            (Method::GET, "softwaremoduletypes".into(), None),
            (Method::POST, "softwaremoduletypes".into(), Some(json!([{"name": "n", "key": "k", "maxAssignments": 1}]))),
            (Method::GET, "distributionsets".into(), None),
            (Method::GET, sets.clone(), None),
            (Method::GET, format!("{sets}/assignedTargets"), None),
            (Method::POST, format!("{sets}/assignedTargets"), Some(json!([{"id": "d1"}]))),
            (Method::POST, "distributionsets".into(), Some(json!([{"name": "n", "version": "1", "type": "os"}]))),
            (Method::GET, "system/configs".into(), None),
            (Method::GET, "system/configs/pollingTime".into(), None),
            (Method::PUT, "system/configs/pollingTime".into(), Some(json!({"value": "00:01:00"}))),
        ] {
            let path = format!("/rest/v1/{path}");
            server.json_as(&viewer, method, &path, body).await.expect_error(403, FORBIDDEN);
        }
        assert_eq!(server.get("/rest/v1/targets").await.expect(200).json()["total"], 1);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}

#[tokio::test]
async fn roles_imply_their_permissions() {
    let users = [
        ("fleet", "roles=TARGET_ADMIN"),
        ("repo", "roles=REPOSITORY_ADMIN"),
        ("config", "permissions=READ_TENANT_CONFIGURATION"),
    ];
    for_each_engine(&users, async |server| {
        server.allow_devices().await;
        let fleet = basic("fleet", "x");
        let body = json!([{"controllerId": "d1"}]);
        let created = server.json_as(&fleet, Method::POST, "/rest/v1/targets", Some(body)).await;
        assert!(created.expect(201).json()[0]["securityToken"].is_string());
        server.get_as(&fleet, "/rest/v1/softwaremodules").await.expect_error(403, FORBIDDEN);
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let path = "/rest/v1/targets/d1/assignedDS";
        let assign = server.json_as(&fleet, Method::POST, path, Some(json!({"id": set.id}))).await;
        assign.expect_error(403, FORBIDDEN);

        let repo = basic("repo", "x");
        server.get_as(&repo, "/rest/v1/targets").await.expect_error(403, FORBIDDEN);
        let artifacts = format!("/rest/v1/softwaremodules/{}/artifacts", set.module);
        let artifact = server.get_as(&repo, &artifacts).await.expect(200).id();
        let content = server.get_as(&repo, &format!("{artifacts}/{artifact}/download")).await;
        assert_eq!(content.expect(200).bytes, b"abc");

        let config = basic("config", "x");
        let values = server.get_as(&config, "/rest/v1/system/configs").await.expect(200).json();
        assert_eq!(values.get("authentication.gatewaytoken.key"), None, "{values}");
        assert!(values.get("pollingTime").is_some(), "{values}");
        let key = "/rest/v1/system/configs/authentication.gatewaytoken.key";
        server.get_as(&config, key).await.expect_error(403, FORBIDDEN);
        let change = server.json_as(&config, Method::PUT, key, Some(json!({"value": "mine"}))).await;
        change.expect_error(403, FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn some_changes_of_tags_need_the_permission_to_read_too() {
    let users = [("updater", "permissions=UPDATE_DISTRIBUTION_SET"), ("deleter", "permissions=DELETE_TARGET")];
    for_each_engine(&users, async |server| {
        let set = server.set("fw", &[]).await;
        let body = json!([{"name": "t"}]);
        let set_tag = server.post("/rest/v1/distributionsettags", body.clone()).await.expect(201).id();
        let target_tag = server.post("/rest/v1/targettags", body).await.expect(201).id();
        let (updater, deleter) = (basic("updater", "x"), basic("deleter", "x"));
        let path = format!("/rest/v1/distributionsettags/{set_tag}");
        let assigned = format!("{path}/assigned/{}", set.id);
        server.json_as(&updater, Method::POST, &assigned, None).await.expect_error(403, FORBIDDEN);
        let renamed = server.json_as(&updater, Method::PUT, &path, Some(json!({"name": "u"}))).await;
        assert_eq!(renamed.expect(200).json()["name"], "u");
        let path = format!("/rest/v1/targettags/{target_tag}");
        server.json_as(&deleter, Method::DELETE, &path, None).await.expect_error(403, FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn artifacts_need_their_own_permission() {
    let users = [
        ("reader", "permissions=READ_SOFTWARE_MODULE"),
        ("writer", "permissions=CREATE_SOFTWARE_MODULE,READ_SOFTWARE_MODULE"),
    ];
    for_each_engine(&users, async |server| {
        let set = server.set("fw", &[("a.bin", b"abc")]).await;
        let artifacts = format!("/rest/v1/softwaremodules/{}/artifacts", set.module);
        let (reader, writer) = (basic("reader", "x"), basic("writer", "x"));
        let artifact = server.get_as(&reader, &artifacts).await.expect(200).id();
        let one = format!("{artifacts}/{artifact}");
        server.get_as(&reader, &format!("{one}/download")).await.expect_error(403, FORBIDDEN);
        server.json_as(&writer, Method::DELETE, &one, None).await.expect_error(403, FORBIDDEN);
        server.get_as(&reader, "/rest/v1/softwaremoduletypes").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn passwords_may_be_plain_bcrypt_or_argon2id() {
    let bcrypt = format!("{{bcrypt}}{}", bcrypt::hash(PASSWORD, 10).unwrap());
    let argon2 = format!("{{argon2}}{}", argon2id(PASSWORD));
    let settings = [
        "hawkbit.security.user.plain.password=correct horse".to_owned(),
        "hawkbit.security.user.noop.password={noop}correct horse".to_owned(),
        format!("hawkbit.security.user.bcrypt.password={bcrypt}"),
        format!("hawkbit.security.user.argon.password={argon2}"),
    ];
    let users = ["plain", "noop", "bcrypt", "argon"];
    let mut all: Vec<String> = settings.to_vec();
    for user in users {
        all.push(format!("hawkbit.security.user.{user}.tenant=DEFAULT"));
        all.push(format!("hawkbit.security.user.{user}.roles=TENANT_ADMIN"));
    }
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let server = Server::start_with(engine, &all).await;
        for user in users {
            for (password, status) in [(PASSWORD, 200), ("wrong", 401), ("", 401), (PASSWORD, 200)] {
                let answer = server.get_as(&basic(user, password), "/rest/v1/userinfo").await;
                assert_eq!(answer.status, status, "{user} with {password:?}");
            }
        }
        for (user, hash) in [("bcrypt", &bcrypt), ("argon", &argon2)] {
            let with_hash = server.get_as(&basic(user, hash), "/rest/v1/userinfo").await;
            with_hash.expect(401);
        }
        server.get_as(&basic("PLAIN", PASSWORD), "/rest/v1/userinfo").await.expect(401);
    }
}

/// A hash costs tens of milliseconds by design; a hundred requests must not pay it a hundred times.
#[tokio::test]
async fn a_verified_login_is_remembered_for_a_while() {
    let password = format!("hawkbit.security.user.argon.password={{argon2}}{}", argon2id(PASSWORD));
    let rest = ["hawkbit.security.user.argon.tenant=DEFAULT", "hawkbit.security.user.argon.roles=TENANT_ADMIN"];
    let server = Server::start_with(Engine::Sqlite, &[&password, rest[0], rest[1]]).await;
    let login = basic("argon", PASSWORD);
    let (_, first) = timed(server.get_as(&login, "/rest/v1/userinfo")).await;
    let hundred = async {
        for _ in 0..100 {
            server.get_as(&login, "/rest/v1/userinfo").await.expect(200);
        }
    };
    let ((), took) = timed(hundred).await;
    assert!(took < first * 50, "the first took {first:?}, a hundred more {took:?}");
}

/// For every id of one tenant the other gets the answer that an id of nobody gets.
#[tokio::test]
async fn another_tenants_things_look_as_if_they_were_not_there() {
    for_each_engine(&[("other", "roles=TENANT_ADMIN\ntenant=OTHER")], async |server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let artifacts = format!("/rest/v1/softwaremodules/{}/artifacts", set.module);
        let artifact = server.get(&artifacts).await.expect(200).id();
        let kind = json!([{"name": "mine", "key": "mine", "maxAssignments": 1}]);
        let kind = server.post("/rest/v1/softwaremoduletypes", kind).await.expect(201).id();
        let other = basic("other", "x");
        let own = json!([{"controllerId": "own"}]);
        server.json_as(&other, Method::POST, "/rest/v1/targets", Some(own)).await.expect(201);

        let (module, set_id) = (set.module.to_string(), set.id.to_string());
        let (action_id, artifact_id, kind_id) = (action.to_string(), artifact.to_string(), kind.to_string());
        let rename = json!({"name": "taken", "description": "taken"});
        let body = json!([{"name": "t"}]);
        let target_tag = server.post("/rest/v1/targettags", body.clone()).await.expect(201).id().to_string();
        let set_tag = server.post("/rest/v1/distributionsettags", body).await.expect(201).id().to_string();
        let by_number = [
            (Method::GET, "targettags/{}", &target_tag, None),
            (Method::PUT, "targettags/{}", &target_tag, Some(rename.clone())),
            (Method::DELETE, "targettags/{}", &target_tag, None),
            (Method::GET, "targettags/{}/assigned", &target_tag, None),
            (Method::POST, "targettags/{}/assigned", &target_tag, Some(json!(["own"]))),
            (Method::DELETE, "targettags/{}/assigned/own", &target_tag, None),
            (Method::GET, "distributionsettags/{}", &set_tag, None),
            (Method::PUT, "distributionsettags/{}", &set_tag, Some(rename.clone())),
            (Method::DELETE, "distributionsettags/{}", &set_tag, None),
            (Method::GET, "distributionsettags/{}/assigned", &set_tag, None),
            (Method::GET, "softwaremodules/{}", &module, None),
            (Method::PUT, "softwaremodules/{}", &module, Some(rename.clone())),
            (Method::DELETE, "softwaremodules/{}", &module, None),
            (Method::GET, "softwaremodules/{}/artifacts", &module, None),
            (Method::GET, "softwaremodules/{}/metadata", &module, None),
            (Method::GET, "softwaremoduletypes/{}", &kind_id, None),
            (Method::DELETE, "softwaremoduletypes/{}", &kind_id, None),
            (Method::GET, "distributionsets/{}", &set_id, None),
            (Method::GET, "distributionsets/{}/assignedTargets", &set_id, None),
            (Method::GET, "distributionsets/{}/installedTargets", &set_id, None),
            (Method::GET, "distributionsets/{}/statistics", &set_id, None),
            (Method::POST, "distributionsets/{}/assignedTargets", &set_id, Some(json!([{"id": "own"}]))),
            (Method::GET, "actions/{}", &action_id, None),
            (Method::GET, "targets/own/actions/{}", &action_id, None),
            (Method::GET, "targets/own/actions/{}/status", &action_id, None),
            (Method::DELETE, "targets/own/actions/{}", &action_id, None),
        ];
        for (method, template, id, body) in by_number {
            same_as_unknown(&server, &other, method, template, id, "987654", body).await;
        }
        let by_name = [
            (Method::GET, "targets/{}", None),
            (Method::PUT, "targets/{}", Some(json!({"name": "taken"}))),
            (Method::DELETE, "targets/{}", None),
            (Method::GET, "targets/{}/actions", None),
            (Method::GET, "targets/{}/assignedDS", None),
            (Method::GET, "targets/{}/metadata", None),
        ];
        for (method, template, body) in by_name {
            same_as_unknown(&server, &other, method, template, "d1", "nobody", body).await;
        }
        let body = json!([{"name": "t"}]);
        let tag =
            server.json_as(&other, Method::POST, "/rest/v1/targettags", Some(body.clone())).await.expect(201).id();
        let template = format!("targettags/{tag}/assigned/{{}}");
        same_as_unknown(&server, &other, Method::POST, &template, "d1", "nobody", None).await;
        let tag =
            server.json_as(&other, Method::POST, "/rest/v1/distributionsettags", Some(body)).await.expect(201).id();
        let template = format!("distributionsettags/{tag}/assigned/{{}}");
        same_as_unknown(&server, &other, Method::POST, &template, &set_id, "987654", None).await;
        let template = format!("softwaremodules/{module}/artifacts/{{}}/download");
        same_as_unknown(&server, &other, Method::GET, &template, &artifact_id, &artifact_id, None).await;
        let assign = |id: Value| {
            server.json_as(&other, Method::POST, "/rest/v1/targets/own/assignedDS", Some(json!({"id": id})))
        };
        let (theirs, nobodys) = (assign(json!(set.id)).await, assign(json!(987_654)).await);
        assert_eq!(
            (theirs.status, theirs.json()["errorCode"].clone()),
            (nobodys.status, nobodys.json()["errorCode"].clone())
        );

        for (list, total) in [
            ("targets", 1),
            ("targettags", 1),
            ("distributionsettags", 1),
            ("softwaremodules", 0),
            ("distributionsets", 0),
            ("actions", 0),
        ] {
            let found = server.get_as(&other, &format!("/rest/v1/{list}")).await.expect(200).json();
            assert_eq!(found["total"], total, "{list}: {found}");
        }
        let found = server.get_as(&other, "/rest/v1/targets?q=controllerid==d1").await.expect(200).json();
        assert_eq!(found["total"], 0);
        assert_eq!(server.get("/rest/v1/targets/d1").await.expect(200).json()["name"], "d1");
        assert_eq!(server.status_types("d1", action).await, ["running"]);
    })
    .await;
}

#[tokio::test]
async fn devices_of_one_tenant_cannot_reach_into_another() {
    for_each_engine(&[("other", "roles=TENANT_ADMIN\ntenant=OTHER")], async |server| {
        server.allow_devices().await;
        let (set, action) = server.pending("d1", &[("a.bin", b"abc")]).await;
        let other = basic("other", "x");
        for (key, value) in [
            ("authentication.gatewaytoken.enabled", json!(true)),
            ("authentication.gatewaytoken.key", json!("other-secret")),
        ] {
            let path = format!("/rest/v1/system/configs/{key}");
            server.json_as(&other, Method::PUT, &path, Some(json!({"value": value}))).await.expect(204);
        }
        let in_default = server.device("d1");
        let in_other = Device {
            client: &server,
            root: "/OTHER/controller/v1/d1".into(),
            authorization: "GatewayToken other-secret".into(),
        };
        let crossed =
            Device { root: in_default.root.clone(), authorization: in_other.authorization.clone(), client: &server };
        crossed.get("").await.expect_empty(401);
        assert_eq!(in_other.offered().await, None, "a target of the same name in the other tenant");
        assert_eq!(in_default.offered().await, Some(action));
        in_other.get(&format!("/deploymentBase/{action}")).await.expect(404);
        in_other.get(&format!("/softwaremodules/{}/artifacts/a.bin", set.module)).await.expect(404);
        in_other.feedback(action, "closed", "success").await.expect(404);
        assert_eq!(server.status_types("d1", action).await, ["running"]);
        let theirs = server.get_as(&other, "/rest/v1/targets/d1").await.expect(200).json();
        assert_eq!(theirs["updateStatus"], "registered");
    })
    .await;
}

#[tokio::test]
async fn equal_content_of_two_tenants_is_stored_for_each() {
    for_each_engine(&[("other", "roles=TENANT_ADMIN\ntenant=OTHER")], async |server| {
        let mine = server.module("m").await;
        server.upload(mine, "a.bin", b"abc").await.expect(201);
        let other = basic("other", "x");
        let body = json!([{"name": "m", "version": "1", "type": "os"}]);
        let module = server.json_as(&other, Method::POST, "/rest/v1/softwaremodules", Some(body)).await;
        let module = module.expect(201).id();
        server.upload_as(&other, module, "a.bin", b"abc").await.expect(201);
        let stored = stored_files(server.data.path());
        let tenants: Vec<bool> = ["DEFAULT", "OTHER"]
            .map(|tenant| stored.iter().any(|path| path.components().any(|part| part.as_os_str() == tenant)))
            .to_vec();
        assert_eq!((stored.len(), tenants), (2, vec![true, true]), "{stored:?}");
        let path = format!("/rest/v1/softwaremodules/{module}");
        server.json_as(&other, Method::DELETE, &path, None).await.expect_empty(204);
        let artifacts = format!("/rest/v1/softwaremodules/{mine}/artifacts");
        let id = server.get(&artifacts).await.expect(200).id();
        let content = server.get(&format!("{artifacts}/{id}/download")).await;
        assert_eq!(content.expect(200).bytes, b"abc");
    })
    .await;
}

/// Starts a server per engine with the stock administrator and more users, all with the password `x`.
/// A user's second half is settings of that user, one a line; tenant DEFAULT unless it says otherwise.
pub(crate) async fn for_each_engine(users: &[(&str, &str)], test: impl AsyncFn(Server)) {
    let mut settings = vec![
        "hawkbit.security.user.admin.password={noop}admin".to_owned(),
        "hawkbit.security.user.admin.tenant=DEFAULT".to_owned(),
        "hawkbit.security.user.admin.roles=TENANT_ADMIN".to_owned(),
    ];
    for (name, lines) in users {
        settings.push(format!("hawkbit.security.user.{name}.password={{noop}}x"));
        settings.extend(lines.lines().map(|line| format!("hawkbit.security.user.{name}.{line}")));
        if !lines.contains("tenant=") {
            settings.push(format!("hawkbit.security.user.{name}.tenant=DEFAULT"));
        }
    }
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        eprintln!("on {engine:?}:");
        test(Server::start_with(engine, &settings).await).await;
    }
}

/// `template` with the id of another tenant answers like `template` with an id that nobody has.
async fn same_as_unknown(
    server: &Server,
    login: &str,
    method: Method,
    template: &str,
    id: &str,
    unknown: &str,
    body: Option<Value>,
) {
    let ask = async |id: &str| -> Answer {
        let path = format!("/rest/v1/{}", template.replace("{}", id));
        server.json_as(login, method.clone(), &path, body.clone()).await
    };
    let (theirs, nobodys) = (ask(id).await, ask(unknown).await);
    let shape = |answer: &Answer, id: &str| {
        let text = String::from_utf8_lossy(&answer.bytes).replace(&format!("{{{id}}}"), "{ID}");
        let text = text.replace(&format!("\"{id}\""), "ID").replace(&format!("[{id}]"), "[ID]");
        (answer.status, text.replace(&format!(":{id}"), ":ID"))
    };
    assert_eq!(shape(&theirs, id), shape(&nobodys, unknown), "{}", theirs.request);
}

fn argon2id(password: &str) -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version, password_hash::SaltString};
    let salt = base64::engine::general_purpose::STANDARD_NO_PAD.encode(b"sixteen bytes ok");
    let salt = SaltString::from_b64(&salt).unwrap();
    let params = Params::new(16_384, 2, 1, None).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}
