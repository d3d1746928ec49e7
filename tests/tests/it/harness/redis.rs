//! A private Redis on the loopback device, of one test: it may be killed and made to hang.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

use super::launch::free_port;

pub struct Redis {
    pub port: u16,
    keeper: Mutex<Keeper>,
}

/// The script beside Redis, which stops when the script's input closes, at the latest with this process.
struct Keeper {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    complaints: ChildStderr,
}

impl Redis {
    #[expect(clippy::zombie_processes, reason = "it ends after this process, by the pipe that closes then")]
    pub fn start() -> Redis {
        let folder = tempfile::Builder::new().prefix("kettle-redis-").tempdir().unwrap().keep();
        let port = free_port();
        let mut script = Command::new("sh")
            .args(["-c", include_str!("redis.sh"), "redis.sh"])
            .arg(&folder)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let keeper = Keeper {
            commands: script.stdin.take().unwrap(),
            answers: BufReader::new(script.stdout.take().unwrap()),
            complaints: script.stderr.take().unwrap(),
        };
        let redis = Redis { port, keeper: Mutex::new(keeper) };
        redis.tell("start");
        redis
    }

    /// What makes a server use it, as arguments of `--set`.
    pub fn settings(&self) -> [String; 2] {
        ["spring.data.redis.host=127.0.0.1".to_owned(), format!("spring.data.redis.port={}", self.port)]
    }

    /// What it holds is lost.
    pub fn kill9(&self) {
        self.tell("kill");
    }

    pub fn restart(&self) {
        self.tell("start");
    }

    /// It takes connections and answers nothing.
    pub fn pause(&self) {
        self.tell("pause");
    }

    pub fn resume(&self) {
        self.tell("resume");
    }

    fn tell(&self, command: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        let mut line = String::new();
        let sent = writeln!(keeper.commands, "{command}");
        if sent.and_then(|()| keeper.answers.read_line(&mut line)).is_err() || line.trim() != command {
            let mut said = String::new();
            let _ = keeper.complaints.read_to_string(&mut said);
            panic!("the private Redis failed to {command}: {said}");
        }
    }
}
