//! A database that hawkBit filled (`shared/contract/adopt`): Kettle reads it as hawkBit did, and goes on where it left off.
//! The tests are skipped, visibly, where the recording is absent.

mod going_on;
mod peer;
mod rollouts;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    contract::shared_folder,
    harness::{Answer, Device, Server, Store, eventually, psql, psql_binary, skip_visibly},
    schema::adoption::{HISTORY, hawkbits_database},
};

/// Nothing moves by itself: what is read is what was loaded.
pub(crate) const AT_REST: [&str; 3] = [
    "hawkbit.rollout.scheduler.enabled=false",
    "hawkbit.autoassign.scheduler.enabled=false",
    "hawkbit.autocleanup.scheduler.enabled=false",
];

/// For whatever the server does by itself.
const WITHIN: Duration = Duration::from_secs(30);

/// The recorded rows and artifacts, before and while Kettle runs on them.
pub(crate) struct Adopted {
    pub(crate) store: Store,
    pub(crate) data: Arc<TempDir>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_peer_wrote_is_read_as_the_peer_reads_it() {
    let Some(adopted) = Adopted::load().await else { return };
    let server = adopted.serve(&AT_REST);
    let out = Command::new("python3")
        .arg(shared_folder().join("contract/adopt_replay.py"))
        .args(["check", "--base", &server.base])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 is needed");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));

    let module = server.get("/rest/v1/softwaremodules/3/artifacts?representation=full").await.expect(200).json();
    for artifact in module.as_array().unwrap() {
        let path = format!("/rest/v1/softwaremodules/3/artifacts/{}/download", artifact["id"]);
        let bytes = server.get(&path).await.expect(200).bytes;
        let file = file_of(artifact["hashes"]["sha1"].as_str().unwrap());
        assert!(bytes == std::fs::read(&file).unwrap(), "{path}");
    }
    assert_eq!(psql(&adopted.store.url, HISTORY).lines().count(), 2, "hawkBit's own history is left as found");
}

impl Adopted {
    pub(crate) async fn load() -> Option<Self> {
        let recording = shared_folder().join("contract/adopt");
        if !recording.exists() {
            let why = format!("{} is absent (KETTLE_SHARED)", recording.display());
            skip_visibly("the adopted database", &why);
            return None;
        }
        let store = hawkbits_database("1.20.0").await;
        load(&store.url, &recording.join("tables"));
        let data = tempfile::Builder::new().prefix("kettle-adopted-").tempdir().unwrap();
        copy(&recording.join("artifacts"), &data.path().join("artifactrepo"));
        Some(Self { store, data: Arc::new(data) })
    }

    fn serve(&self, settings: &[&str]) -> Server {
        Server::start_on(self.data.clone(), self.store.database(), settings)
    }

    /// What `psql` prints for a query.
    fn sql(&self, sql: &str) -> String {
        psql(&self.store.url, sql)
    }

    /// A device with the token that the peer gave it.
    fn device<'s>(&self, server: &'s Server, controller_id: &str) -> Device<'s> {
        let token = self.sql(&format!("SELECT sec_token FROM sp_target WHERE controller_id = '{controller_id}'"));
        Device { authorization: format!("TargetToken {token}"), ..server.device(controller_id) }
    }
}

/// `start` or another call of a rollout; none has a body.
async fn call(server: &Server, rollout: i64, verb: &str) -> Answer {
    let path = format!("/rest/v1/rollouts/{rollout}/{verb}");
    server.json_as(&server.admin, Method::POST, &path, None).await
}

/// The rollout, once it has that status.
async fn reaches(server: &Server, rollout: i64, status: &str) -> Value {
    let (path, what) = (format!("/rest/v1/rollouts/{rollout}"), format!("rollout {rollout} is {status}"));
    eventually(WITHIN, &what, async || {
        let rollout = server.get(&path).await.expect(200).json();
        (rollout["status"] == status).then_some(rollout)
    })
    .await
}

/// The peer's file of that content.
fn file_of(sha1: &str) -> PathBuf {
    let (last, before) = (&sha1[38..], &sha1[36..38]);
    shared_folder().join("contract/adopt/artifacts/DEFAULT").join(before).join(last).join(sha1)
}

/// Loads `TABLE.csv` files; references need not be in order. Then identities go on after the highest id.
fn load(url: &str, tables: &Path) {
    let mut script = String::from("SET session_replication_role = replica;\n");
    for entry in std::fs::read_dir(tables).unwrap() {
        let path = entry.unwrap().path();
        let table = path.file_stem().unwrap().to_str().unwrap();
        let rows = std::fs::read_to_string(&path).unwrap();
        let columns = rows.lines().next().unwrap();
        script +=
            &format!("COPY {table} ({columns}) FROM STDIN WITH (FORMAT csv, HEADER);\n{}\n\\.\n", rows.trim_end());
        if columns.starts_with("id,") {
            script += &format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table};\n");
        }
    }
    let mut psql = Command::new(psql_binary());
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"]);
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    psql.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let out = psql.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::write(to.join(name), std::fs::read(&path).unwrap()).unwrap();
        }
    }
}
