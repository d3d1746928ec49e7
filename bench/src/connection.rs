//! One keep-alive HTTP/1.1 connection: a hand-made writer and reader that cost so little that the server is what gets
//! measured. Knows only what our servers send: answers with Content-Length or without a body; anything else is an error.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::timeout;

const MAX_HEAD: usize = 64 << 10;
/// Reads of a streamed body; also the room that a connection starts with.
const CHUNK: usize = 64 << 10;

pub struct Connection {
    stream: TcpStream,
    /// The answer being read, head and body; reused, so that a request allocates nothing.
    buffer: Vec<u8>,
}

pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Answer<'_> {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body if the request succeeded, else an error that quotes the answer.
    pub fn success(&self) -> Result<&[u8]> {
        if self.is_success() {
            return Ok(self.body);
        }
        let start = self.body.get(..400).unwrap_or(self.body);
        bail!("answered {} {}", self.status, String::from_utf8_lossy(start))
    }
}

impl Connection {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(CHUNK) })
    }

    /// Sends a whole request and reads the whole answer.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await.context("sending a request")?;
        self.buffer.clear();
        let head = read_head(&mut self.stream, &mut self.buffer).await?;
        read_body(&mut self.stream, &mut self.buffer, head).await
    }

    /// Lets `write` send a request piece by piece while watching for the answer, so that a refusal half-way is seen
    /// as what the server said, not as a broken pipe or a hang.
    pub async fn send_streamed<W>(&mut self, write: W) -> Result<Answer<'_>>
    where
        W: AsyncFnOnce(WriteHalf<'_>) -> std::io::Result<()>,
    {
        self.buffer.clear();
        let (mut reader, writer) = self.stream.split();
        let head = {
            let mut answered = pin!(read_head(&mut reader, &mut self.buffer));
            let mut written = pin!(write(writer));
            tokio::select! {
                head = &mut answered => head?,
                outcome = &mut written => match outcome {
                    Ok(()) => answered.await?,
                    Err(error) => match timeout(Duration::from_secs(2), answered).await {
                        Ok(Ok(head)) => head,
                        _ => return Err(anyhow!(error).context("sending a request body")),
                    },
                },
            }
        };
        read_body(&mut self.stream, &mut self.buffer, head).await
    }

    /// Sends a request and hands the body of its answer to `sink` piece by piece. Returns the size of the body.
    pub async fn receive_streamed(&mut self, request: &[u8], mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        self.stream.write_all(request).await.context("sending a request")?;
        self.buffer.clear();
        let head = read_head(&mut self.stream, &mut self.buffer).await?;
        if !(200..300).contains(&head.status) {
            read_body(&mut self.stream, &mut self.buffer, head).await?.success()?;
        }
        let size = u64::try_from(head.content_length)?;
        let mut left = head.content_length;
        self.buffer.drain(..head.size);
        loop {
            left = left.checked_sub(self.buffer.len()).context("the server sent more than the answer")?;
            sink(&self.buffer)?;
            if left == 0 {
                return Ok(size);
            }
            self.buffer.clear();
            fill(&mut self.stream, &mut self.buffer).await?;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes up to and including the empty line.
    size: usize,
    content_length: usize,
}

impl Head {
    /// `None` as long as the empty line hasn't arrived.
    fn parse(buffer: &[u8]) -> Result<Option<Self>> {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            ensure!(buffer.len() < MAX_HEAD, "no end of the answer's headers within {MAX_HEAD} bytes");
            return Ok(None);
        };
        let mut lines = buffer.get(..end).unwrap_or_default().split(|byte| *byte == b'\n');
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix(b"HTTP/1.1 "))
            .and_then(|line| line.get(..3))
            .and_then(|digits| str::from_utf8(digits).ok()?.parse::<u16>().ok())
            .context("the answer isn't HTTP/1.1")?;
        let length = lines.find_map(|line| value_of(line, b"content-length:"));
        let content_length = match length {
            Some(text) => text.trim().parse().context("the answer's Content-Length isn't a number")?,
            None if status == 204 || status == 304 => 0,
            None => bail!("an answer {status} without Content-Length, which this load generator doesn't read"),
        };
        Ok(Some(Self { status, size: end + 4, content_length }))
    }
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| str::from_utf8(value).ok())?
}

async fn read_head(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<Head> {
    loop {
        fill(reader, buffer).await?;
        if let Some(head) = Head::parse(buffer)? {
            return Ok(head);
        }
    }
}

async fn read_body<'a>(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &'a mut Vec<u8>,
    head: Head,
) -> Result<Answer<'a>> {
    let whole = head.size + head.content_length;
    buffer.reserve(whole.saturating_sub(buffer.len()));
    while buffer.len() < whole {
        fill(reader, buffer).await?;
    }
    ensure!(buffer.len() == whole, "the server sent more than the answer");
    Ok(Answer { status: head.status, body: buffer.get(head.size..).unwrap_or_default() })
}

async fn fill(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<()> {
    let read = reader.read_buf(buffer).await.context("reading an answer")?;
    ensure!(read > 0, "the server closed the connection");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whatever_the_case_of_its_names() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Type: a/b\r\ncontent-LENGTH:  12\r\n\r\nhello";
        for cut in 0..answer.len() - 5 {
            assert_eq!(Head::parse(&answer[..cut]).unwrap(), None);
        }
        let head = Head { status: 201, size: answer.len() - 5, content_length: 12 };
        assert_eq!(Head::parse(answer).unwrap(), Some(head));
    }

    #[test]
    fn answers_without_a_length_are_refused_unless_they_have_no_body() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        let head = Head { status: 204, size: 27, content_length: 0 };
        assert_eq!(Head::parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some(head));
    }
}
