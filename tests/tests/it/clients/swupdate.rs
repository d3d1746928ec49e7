//! Debian's `swupdate` as a device: it polls, downloads a signed image, installs a file, reports, and confirms after a
//! restart. Debian's build accepts signed images only, so the test is its own certificate authority.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Process, Server, bytes_of, eventually, on_each_engine, skip_visibly};

const TOKEN: &str = "23456789abcdef0123456789abcdef01";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn swupdate_installs_an_update_and_confirms_it_after_a_restart() {
    if !installed("swupdate") {
        assert!(
            std::env::var_os("KETTLE_ALLOW_SKIP").is_some(),
            "swupdate is not installed (Debian: apt-get install swupdate); KETTLE_ALLOW_SKIP=1 goes on without"
        );
        return skip_visibly("swupdate", "not installed, KETTLE_ALLOW_SKIP is set");
    }
    on_each_engine(async |server: Server| {
        let device = Swupdate::new(&server);
        let payload = bytes_of(300_000, 1);
        let image = device.image(&payload);

        server.configure("authentication.targettoken.enabled", true).await;
        let body = json!([{"controllerId": "dev-1", "securityToken": TOKEN}]);
        server.post("/rest/v1/targets", body).await.expect(201);
        let set = server.set("fw", &[("update.swu", &image)]).await;
        let action = server.assign("dev-1", set).await;

        let mut first_run = device.run(&[], &[]);
        eventually(PATIENCE, "swupdate reports the installation", async || {
            let rows = server.status_rows("dev-1", action).await;
            let mut messages = rows.iter().flat_map(|(_, messages)| messages);
            messages.any(|m| m == "All Chunks Installed.").then_some(())
        })
        .await;
        first_run.terminate(PATIENCE);
        assert!(std::fs::read(device.installed_file()).unwrap() == payload, "other bytes were installed");
        assert_eq!(server.update_status("dev-1").await, "pending");

        let config = device.path("swupdate.cfg");
        let identify = ["-f", config.to_str().unwrap()];
        let mut second_run = device.run(&identify, &["-c", "2"]);
        eventually(PATIENCE, "swupdate confirms and sends its attributes", async || {
            let attributes = server.get("/rest/v1/targets/dev-1/attributes").await;
            let confirmed = server.update_status("dev-1").await == "in_sync";
            (confirmed && attributes.status == 200).then_some(())
        })
        .await;
        second_run.terminate(PATIENCE);

        let installed = server.get("/rest/v1/targets/dev-1/installedDS").await;
        assert_eq!(installed.expect(200).id(), set.id);
        let attributes = server.get("/rest/v1/targets/dev-1/attributes").await;
        assert_eq!(attributes.expect(200).json(), json!({"board": "kettle"}));
        let rows = server.status_rows("dev-1", action).await;
        let confirmation = ("finished".to_owned(), vec!["Update Installed.".to_owned()]);
        assert_eq!(rows.last(), Some(&confirmation));
        let state = std::fs::read(device.installed_file()).unwrap();
        assert!(state == payload, "the confirming run must not install again");
    })
    .await;
}

/// The device's own folder: certificate, image, socket folder, what it installs.
struct Swupdate {
    folder: TempDir,
    url: String,
}

impl Swupdate {
    fn new(server: &Server) -> Self {
        let folder = tempfile::Builder::new().prefix("swupdate-").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::fs::create_dir(folder.path().join("root")).unwrap();
        let identify = "globals :\n{\n\tverbose = true;\n};\n\
                        identify : (\n\t{ name = \"board\"; value = \"kettle\"; }\n);\n";
        std::fs::write(folder.path().join("swupdate.cfg"), identify).unwrap();
        Self { folder, url: server.base.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn installed_file(&self) -> PathBuf {
        self.path("root/installed.bin")
    }

    /// A `.swu`: cpio with checksums, description and signature first.
    fn image(&self, payload: &[u8]) -> Vec<u8> {
        std::fs::write(self.path("payload.bin"), payload).unwrap();
        let description = format!(
            "software =\n{{\n\tversion = \"1.0\";\n\thardware-compatibility: [ \"1.0\" ];\n\tfiles: (\n\t\t{{\n\
             \t\t\tfilename = \"payload.bin\";\n\t\t\tpath = \"{}\";\n\t\t\tsha256 = \"{}\";\n\t\t}}\n\t);\n}}\n",
            self.installed_file().display(),
            sha256(payload)
        );
        std::fs::write(self.path("sw-description"), description).unwrap();
        self.tool(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=kettle-tests \
             -addext extendedKeyUsage=emailProtection",
        );
        self.tool(
            "openssl cms -sign -in sw-description -out sw-description.sig -signer cert.pem -inkey key.pem \
             -outform DER -nosmimecap -binary",
        );
        self.tool("printf 'sw-description\\nsw-description.sig\\npayload.bin\\n' | cpio -o -H crc >update.swu");
        std::fs::read(self.path("update.swu")).unwrap()
    }

    fn tool(&self, script: &str) {
        let out = Command::new("sh").args(["-c", script]).current_dir(self.folder.path()).output().unwrap();
        let complaint = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{script}: {complaint}");
    }

    /// In the foreground, until it is told to stop. A run that sends attributes (they come from a configuration file)
    /// then sleeps for the server's polling time before it looks for work.
    fn run(&self, options: &[&str], suricatta: &[&str]) -> Process {
        let suricatta = format!("-t DEFAULT -u {} -i dev-1 -k {TOKEN} -p 1 {}", self.url, suricatta.join(" "));
        let log = std::fs::File::options().create(true).append(true).open(self.path("swupdate.log")).unwrap();
        Process::spawn(
            Command::new("swupdate")
                .args(options)
                .args(["-v", "-H", "kettle:1.0"])
                .arg("-k")
                .arg(self.path("cert.pem"))
                .args(["-u", suricatta.trim_end()])
                .env("TMPDIR", self.path("run"))
                .current_dir(self.path("run"))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        )
    }
}

impl Drop for Swupdate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("swupdate.log")).unwrap_or_default();
            eprintln!("swupdate said:\n{log}");
        }
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).exists())
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}
