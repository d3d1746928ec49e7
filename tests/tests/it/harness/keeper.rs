//! A script beside a server of somebody else's, which starts and ends it when told. Its input is the server's life line: the
//! server stops when that closes, at the latest with this process, however this process ends.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

pub struct Keeper {
    of: &'static str,
    pipes: Mutex<Pipes>,
}

struct Pipes {
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    complaints: ChildStderr,
}

impl Keeper {
    /// `script` answers each line of its input with the same line, once it has done it.
    #[expect(clippy::zombie_processes, reason = "it ends after this process, by the pipe that closes then")]
    pub fn new(of: &'static str, script: &str, arguments: &[&dyn AsRef<OsStr>]) -> Self {
        let mut script = Command::new("sh")
            .args(["-c", script, of])
            .args(arguments.iter().map(|argument| argument.as_ref()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pipes = Pipes {
            commands: script.stdin.take().unwrap(),
            answers: BufReader::new(script.stdout.take().unwrap()),
            complaints: script.stderr.take().unwrap(),
        };
        Self { of, pipes: Mutex::new(pipes) }
    }

    pub fn tell(&self, command: &str) {
        let mut pipes = self.pipes.lock().unwrap();
        let mut line = String::new();
        let sent = writeln!(pipes.commands, "{command}");
        if sent.and_then(|()| pipes.answers.read_line(&mut line)).is_err() || line.trim() != command {
            let mut said = String::new();
            let _ = pipes.complaints.read_to_string(&mut said);
            panic!("the private {} failed to {command}: {said}", self.of);
        }
    }
}
