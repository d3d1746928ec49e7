//! Taking in a file: a stream of any length to a part on the disk, with its hashes, in constant memory.
//!
//! Hashing and writing are done by one blocking task behind a short channel. If the stream ends early, because the
//! client has gone or this future is dropped, the task finds the channel closed without a word and removes the part.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::storage::Part;
use crate::error::{Error, Kind, Result};

/// How much is handed over at once, and how often that may lie waiting.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_CHUNKS: usize = 256;
const BATCHES: usize = 4;

/// How many bytes an upload may have, and what is said to one with more.
pub(super) struct Limit {
    pub bytes: u64,
    pub exceeded: Error,
}

/// A complete upload: on the disk, not yet content.
pub(super) struct Received {
    pub part: Part,
    pub size: u64,
    pub md5: String,
    pub sha1: String,
    pub sha256: String,
}

enum Message {
    Data(Vec<Bytes>),
    End,
}

pub(super) async fn receive<S>(part: Part, stream: S, limit: Limit) -> Result<Received>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let (sender, receiver) = mpsc::channel(BATCHES);
    let writer = tokio::task::spawn_blocking(move || write(part, receiver));
    let sent = send(stream, sender, limit).await;
    // Also after a failure: when this returns, the part is complete or gone.
    let written = writer.await.map_err(Error::internal)?;
    sent?;
    written.map_err(failed)?.ok_or_else(|| Error::new(Kind::UploadFailed, "The upload was cut off."))
}

/// Takes the sender, so that the writer hears of every end. A writer that has failed tells why itself.
async fn send<S>(mut stream: S, sender: mpsc::Sender<Message>, limit: Limit) -> Result<()>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let (mut batch, mut held, mut size) = (Vec::new(), 0, 0_u64);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(failed)?;
        size += chunk.len() as u64;
        if size > limit.bytes {
            return Err(limit.exceeded);
        }
        held += chunk.len();
        batch.push(chunk);
        if held >= BATCH_BYTES || batch.len() >= BATCH_CHUNKS {
            held = 0;
            if sender.send(Message::Data(std::mem::take(&mut batch))).await.is_err() {
                return Ok(());
            }
        }
    }
    if sender.send(Message::Data(batch)).await.is_ok() {
        // If the writer is gone by now, it says why.
        sender.send(Message::End).await.ok();
    }
    Ok(())
}

/// `None` if the upload was cut off.
fn write(part: Part, mut receiver: mpsc::Receiver<Message>) -> io::Result<Option<Received>> {
    let (mut md5, mut sha1, mut sha256) = (Md5::new(), Sha1::new(), Sha256::new());
    let mut file = BufWriter::with_capacity(BATCH_BYTES, &part.file);
    let mut size = 0;
    loop {
        match receiver.blocking_recv() {
            None => return Ok(None),
            Some(Message::End) => break,
            Some(Message::Data(chunks)) => {
                for chunk in chunks {
                    md5.update(&chunk);
                    sha1.update(&chunk);
                    sha256.update(&chunk);
                    size += chunk.len() as u64;
                    file.write_all(&chunk)?;
                }
            }
        }
    }
    file.flush()?;
    drop(file);
    part.file.sync_all()?;
    let hashes = (hex::encode(md5.finalize()), hex::encode(sha1.finalize()), hex::encode(sha256.finalize()));
    Ok(Some(Received { part, size, md5: hashes.0, sha1: hashes.1, sha256: hashes.2 }))
}

/// The file could not be taken in or stored; the cause is for the log.
pub(super) fn failed(error: io::Error) -> Error {
    Error { cause: Some(error.into()), ..Error::new(Kind::UploadFailed, "The artifact could not be stored.") }
}
