//! One large artifact, up and down: made on the fly from a pattern, sent as a form, compared byte by byte with the
//! pattern when it comes back. Never held in memory, here as little as there.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::load::now;
use crate::server::management_request;

const BOUNDARY: &str = "kettle-bench-7d1f0a";
/// A prime, so that blocks of any usual size that got lost or swapped don't go unnoticed.
const PERIOD: usize = 262_139;
const PATIENCE: Duration = Duration::from_secs(90);

/// The content of an artifact: pseudo-random bytes, the same in every run, that repeat after `PERIOD`.
pub struct Pattern(Vec<u8>);

impl Pattern {
    pub fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let bytes = (0..PERIOD).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes().first().copied().unwrap_or_default()
        });
        Self(bytes.collect())
    }

    /// The longest piece from `offset` on, at most `most` bytes, that lies within one period.
    fn piece(&self, offset: u64, most: u64) -> &[u8] {
        let start = (offset % PERIOD as u64) as usize;
        let rest = self.0.get(start..).unwrap_or_default();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        rest.get(..most).unwrap_or(rest)
    }

    fn check(&self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let wanted = self.piece(offset, bytes.len() as u64);
            let (start, rest) = bytes.split_at(wanted.len());
            ensure!(start == wanted, "the artifact came back different near byte {offset}");
            offset += wanted.len() as u64;
            bytes = rest;
        }
        Ok(())
    }
}

/// Uploads `size` bytes to a software module. Returns the id of the artifact and how long it took.
pub async fn upload(address: SocketAddr, module: u64, pattern: &Pattern, size: u64) -> Result<(u64, Duration)> {
    let start = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"bench.bin\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let end = format!("\r\n--{BOUNDARY}--\r\n");
    let mut head = Vec::new();
    let path = format!("/rest/v1/softwaremodules/{module}/artifacts");
    let length = size + (start.len() + end.len()) as u64;
    let form = format!("multipart/form-data; boundary={BOUNDARY}");
    management_request(&mut head, "POST", &path, Some((&form, length)));

    let mut connection = Connection::connect(address).await?;
    let started = now();
    let exchange = connection.send_streamed(async |mut writer| {
        writer.write_all(&head).await?;
        writer.write_all(start.as_bytes()).await?;
        let mut sent = 0;
        while sent < size {
            let piece = pattern.piece(sent, size - sent);
            writer.write_all(piece).await?;
            sent += piece.len() as u64;
        }
        writer.write_all(end.as_bytes()).await
    });
    let answer = timeout(PATIENCE, exchange).await.context("the upload hangs")??;
    let elapsed = started.elapsed();
    let artifact: Value = serde_json::from_slice(answer.success()?).context("the answer to the upload")?;
    let stored = artifact.get("size").and_then(Value::as_u64);
    ensure!(stored == Some(size), "{size} bytes were uploaded, the server says {stored:?}");
    let id = artifact.get("id").and_then(Value::as_u64).context("the artifact has no id")?;
    Ok((id, elapsed))
}

/// Downloads the artifact and compares every byte. Returns how long it took.
pub async fn download(
    address: SocketAddr,
    module: u64,
    artifact: u64,
    pattern: &Pattern,
    size: u64,
) -> Result<Duration> {
    let mut request = Vec::new();
    let path = format!("/rest/v1/softwaremodules/{module}/artifacts/{artifact}/download");
    management_request(&mut request, "GET", &path, None);
    let mut connection = Connection::connect(address).await?;
    let started = now();
    let mut offset = 0;
    let exchange = connection.receive_streamed(&request, |bytes| {
        pattern.check(offset, bytes)?;
        offset += bytes.len() as u64;
        Ok(())
    });
    let received = timeout(PATIENCE, exchange).await.context("the download hangs")??;
    ensure!(received == size, "{size} bytes were uploaded, {received} came back");
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_knows_its_bytes_at_every_offset_and_cut() {
        let pattern = Pattern::new();
        let mut whole = Vec::new();
        while whole.len() < 3 * PERIOD {
            let piece = pattern.piece(whole.len() as u64, 100_000);
            whole.extend_from_slice(piece);
        }
        for offset in [0, 1, PERIOD - 1, PERIOD, PERIOD + 77] {
            pattern.check(offset as u64, &whole[offset..offset + PERIOD + 5]).unwrap();
        }
        assert!(pattern.check(4096, &whole[..8192]).is_err());
        whole[5000] ^= 1;
        assert!(pattern.check(0, &whole).is_err());
    }
}
