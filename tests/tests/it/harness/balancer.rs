//! A load balancer before several nodes: a private haproxy that gives each request to the next of those that are ready.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Client, Process, eventually_within};

const START: Duration = Duration::from_secs(20);
/// The header by which answers say which node they are of: its number.
pub const NODE: &str = "x-node";

pub struct Balancer {
    pub port: u16,
    pub client: Client,
    folder: TempDir,
    _process: Process,
}

impl Balancer {
    pub fn before(nodes: &[u16], port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("kettle-lb-").tempdir().unwrap();
        let settings = folder.path().join("haproxy.cfg");
        fs::write(&settings, configuration(port, nodes, &folder.path().join("admin"))).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&settings).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let balancer = Self { port, client: Client::to(port), folder, _process: Process::spawn(&mut command) };
        eventually_within(START, "the load balancer listens", || {
            let log = || fs::read_to_string(balancer.folder.path().join("log")).unwrap_or_default();
            assert!(!log().contains("[ALERT]"), "{}", log());
            // It comes to be a moment after the port does.
            UnixStream::connect(balancer.admin()).ok()
        });
        balancer
    }

    /// How many nodes it gives requests to.
    pub fn in_use(&self) -> usize {
        let mut admin = UnixStream::connect(self.admin()).unwrap();
        admin.write_all(b"show stat kettle 4 -1\n").unwrap();
        let mut table = String::new();
        admin.read_to_string(&mut table).unwrap();
        // Its column `status`: UP, DOWN, or how far it is on the way.
        table.lines().skip(1).filter(|line| line.split(',').nth(17) == Some("UP")).count()
    }

    pub fn until_in_use(&self, nodes: usize) {
        let what = format!("the load balancer uses {nodes} nodes");
        eventually_within(START, &what, || (self.in_use() == nodes).then_some(()));
    }

    fn admin(&self) -> PathBuf {
        self.folder.path().join("admin")
    }
}

/// A node that can't be connected to is passed over at once, one that is not ready within a quarter of a second.
fn configuration(port: u16, nodes: &[u16], admin: &std::path::Path) -> String {
    let mut text = format!(
        "global
    maxconn 4000
    stats socket {} level admin
defaults
    mode http
    timeout connect 2s
    timeout client 90s
    timeout server 90s
    timeout check 1s
listen kettle
    bind 127.0.0.1:{port}
    balance roundrobin
    option httpchk
    http-check send meth GET uri /health/ready/http ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    option redispatch 1
    retries 3
    http-response set-header {NODE} %s
    default-server check inter 200ms fastinter 100ms fall 2 rise 1
",
        admin.display()
    );
    for (number, node) in nodes.iter().enumerate() {
        text.push_str(&format!("    server {number} 127.0.0.1:{node}\n"));
    }
    text
}
