//! Child processes: started in a group of their own, watched through /proc, stopped by their id when their guard is
//! dropped, whatever ended the run. Also the scratch folder that they work in.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::load::now;

/// Linux reports CPU time to programs in this unit on every architecture.
const TICKS_PER_SECOND: u64 = 100;
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A folder that is removed with all it holds when the guard is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("kettle-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

#[derive(Clone, Copy)]
pub enum StopSignal {
    Interrupt,
    Terminate,
}

pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stop: StopSignal,
}

impl Process {
    /// Starts a program; what it prints goes to `NAME.log` in `folder`.
    pub fn start(name: &'static str, command: &mut Command, folder: &Path, stop: StopSignal) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A Ctrl-C at the terminal is for this program alone; it stops its children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        Ok(Self { name, child, log, stop })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds what it prints.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error, with the end of its log, if the process has ended.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}):\n{}", self.name, self.log_tail()),
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        complete(Command::new("kill").args(["-s", name, &self.id().to_string()])).map(drop)
    }

    /// Waits until it has ended, by itself or by a signal.
    pub async fn ended(&mut self, within: Duration) -> Result<()> {
        let started = now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > within {
                bail!("{} didn't end within {within:?}:\n{}", self.name, self.log_tail());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Resident memory in bytes, now.
    pub fn resident(&self) -> Result<u64> {
        memory(self.id(), "VmRSS:")
    }

    /// The largest resident memory in bytes since its start.
    pub fn resident_peak(&self) -> Result<u64> {
        memory(self.id(), "VmHWM:")
    }

    /// CPU time used since its start, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // The program's name, in parentheses, may hold spaces; utime and stime are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/PID/stat")?;
        let mut ticks = 0;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }

    /// Watches the resident memory until the sampler is dropped.
    pub fn sample_resident(&self) -> Sampler {
        let peak = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&peak);
        let id = self.id();
        let task = tokio::spawn(async move {
            // Ends with the process; that it ended is noticed by the requests to it.
            while let Ok(resident) = memory(id, "VmRSS:") {
                seen.fetch_max(resident, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
        });
        Sampler { peak, task }
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let signal = match self.stop {
            StopSignal::Interrupt => "INT",
            StopSignal::Terminate => "TERM",
        };
        let sent = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status();
        let asked = now();
        while sent.is_ok() && asked.elapsed() < STOP_WITHIN {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            pause();
        }
        eprintln!("{} didn't stop within {STOP_WITHIN:?} and is killed", self.name);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{}, process {}, may still run: {error:#}", self.name, self.id());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a guard's drop can't await, and by then nothing else is to be done")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

pub struct Sampler {
    peak: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Sampler {
    /// The most that was seen so far, in bytes.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn memory(id: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name} in {path}"))?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// Runs a short program to its end; an error quotes what it printed.
pub fn complete(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{name} isn't installed"),
        output => output.with_context(|| format!("running {name}"))?,
    };
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The user and group that a server runs as: those refuse to run as root, or should, so root becomes the package's user.
pub fn owner(package: &str) -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let entry = users.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix(':'));
    let mut fields = entry.with_context(|| format!("root needs a user `{package}` to run it as"))?.split(':').skip(1);
    match (fields.next(), fields.next()) {
        (Some(user), Some(group)) => Ok(Some((user.parse()?, group.parse()?))),
        _ => bail!("/etc/passwd has no ids for the user `{package}`"),
    }
}
