//! HTTP by hand over TCP, for what a client library repairs or refuses: path tricks, cut-off bodies, slow senders, and the
//! exact framing of answers.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Connection(TcpStream);

#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// False when the server has closed the connection.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Reads until the server closes; send `Connection: close` for an answer in time. `None` without a whole head.
    pub async fn answer(mut self) -> Option<RawAnswer> {
        let mut all = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut all)).await;
        assert!(read.is_ok(), "the server neither answers nor closes: {all:?}");
        RawAnswer::parse(&all)
    }

    /// Writes and reads at the same time, for a server that answers before it has read all; false if it stopped reading.
    pub async fn exchange(self, bytes: &[u8]) -> (bool, Option<RawAnswer>) {
        let (mut reader, mut writer) = self.0.into_split();
        let mut all = Vec::new();
        let write = async { writer.write_all(bytes).await.is_ok() };
        let both = async { tokio::join!(write, reader.read_to_end(&mut all)) };
        let (written, _) = timeout(PATIENCE, both).await.expect("an answer in time");
        (written, RawAnswer::parse(&all))
    }

    /// Sends byte after byte with a pause before each, until the server closes or the task is dropped.
    pub async fn drip(mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            super::linger(pause).await;
            if !self.send([*byte]).await {
                return;
            }
        }
    }

    /// Reads `length` bytes of the answer and leaves the rest.
    pub async fn read_some(&mut self, length: usize) -> Vec<u8> {
        let mut some = vec![0; length];
        let read = timeout(PATIENCE, self.0.read_exact(&mut some)).await;
        read.expect("bytes in time").expect("an open connection");
        some
    }
}

impl RawAnswer {
    pub fn parse(all: &[u8]) -> Option<Self> {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        Some(Self { status: head.split(' ').nth(1)?.parse().ok()?, head, body: all[end + 4..].to_vec() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {body:?} after {}", self.head))
    }
}
