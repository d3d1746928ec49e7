//! Processes: which binary, on which port, with which environment, and signals to it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use super::eventually_within;

/// `KETTLE_BIN`, else the workspace's debug build, else its release build.
pub fn kettle_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KETTLE_BIN") {
        return std::path::absolute(path).unwrap();
    }
    let target = workspace().join("target");
    ["debug", "release"]
        .map(|profile| target.join(profile).join("kettle"))
        .into_iter()
        .find(|path| path.exists())
        .expect("no kettle binary: run `cargo build` first, or set KETTLE_BIN")
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The binary with nothing of the caller's environment, and no `kettle.toml` around, that could configure it.
pub fn kettle_command() -> Command {
    let mut command = Command::new(kettle_binary());
    command.env_clear().stdin(Stdio::null()).current_dir("/");
    for name in ["PATH", "HOME", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A port that nothing listens on, below the range from which the kernel serves outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 11_000) as u16;
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start + offset % 11_000) % 11_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Sends a signal by name to one process that the test started.
pub fn signal(pid: u32, name: &str) {
    let status =
        Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).stderr(Stdio::null()).status();
    assert!(status.is_ok(), "sh could not be started");
}

/// A child that does not outlive its test.
pub struct Process(Child);

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        let spawned = command.spawn();
        Self(spawned.unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program())))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub fn kill9(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        signal(self.id(), "TERM");
        eventually_within(within, "the process ends after SIGTERM", || self.exited())
    }

    /// Resident memory now, and its highest since the start, in KiB.
    pub fn resident_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
