//! Taking in a file: a stream of any length to a part on the disk, with its hashes, in constant memory.
//!
//! Hashing and writing are done by two blocking tasks behind short channels. If the stream ends early, because the client
//! has gone or this future is dropped, the writing task finds its channel closed without a word and removes the part.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

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

/// Part of the stream, for both tasks.
type Batch = Arc<[Bytes]>;

enum Message {
    Data(Batch),
    End,
}

pub(super) async fn receive<S>(part: Part, stream: S, limit: Limit) -> Result<Received>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let (to_writer, for_writer) = mpsc::channel(BATCHES);
    let (to_md5, for_md5) = mpsc::channel(BATCHES);
    let writer = tokio::task::spawn_blocking(move || write(part, for_writer));
    let md5 = tokio::task::spawn_blocking(move || md5(for_md5));
    let sent = send(stream, to_writer, to_md5, limit).await;
    // Also after a failure: when this returns, the part is complete or gone.
    let written = writer.await.map_err(Error::internal)?;
    let md5 = md5.await.map_err(Error::internal)?;
    sent?;
    let written = written.map_err(failed)?.ok_or_else(|| Error::new(Kind::UploadFailed, "The upload was cut off."))?;
    Ok(Received { part: written.part, size: written.size, md5, sha1: written.sha1, sha256: written.sha256 })
}

/// Takes the senders, so that the tasks hear of every end. A writer that has failed tells why itself.
async fn send<S>(mut stream: S, writer: mpsc::Sender<Message>, md5: mpsc::Sender<Batch>, limit: Limit) -> Result<()>
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let (mut batch, mut held, mut size) = (Vec::new(), 0, 0_u64);
    loop {
        let chunk = stream.next().await.transpose().map_err(failed)?;
        let last = chunk.is_none();
        if let Some(chunk) = chunk {
            size += chunk.len() as u64;
            if size > limit.bytes {
                return Err(limit.exceeded);
            }
            held += chunk.len();
            batch.push(chunk);
        }
        if last || held >= BATCH_BYTES || batch.len() >= BATCH_CHUNKS {
            held = 0;
            let full: Batch = std::mem::take(&mut batch).into();
            if md5.send(full.clone()).await.is_err() || writer.send(Message::Data(full)).await.is_err() {
                return Ok(());
            }
        }
        if last {
            // If the writer is gone by now, it says why.
            writer.send(Message::End).await.ok();
            return Ok(());
        }
    }
}

struct Written {
    part: Part,
    size: u64,
    sha1: String,
    sha256: String,
}

/// `None` if the upload was cut off.
fn write(part: Part, mut batches: mpsc::Receiver<Message>) -> io::Result<Option<Written>> {
    let (mut sha1, mut sha256) = (Sha1::new(), Sha256::new());
    let mut file = BufWriter::with_capacity(BATCH_BYTES, &part.file);
    let mut size = 0;
    loop {
        match batches.blocking_recv() {
            None => return Ok(None),
            Some(Message::End) => break,
            Some(Message::Data(batch)) => {
                for chunk in &*batch {
                    sha1.update(chunk);
                    sha256.update(chunk);
                    size += chunk.len() as u64;
                    file.write_all(chunk)?;
                }
            }
        }
    }
    file.flush()?;
    drop(file);
    part.file.sync_all()?;
    let (sha1, sha256) = (hex::encode(sha1.finalize()), hex::encode(sha256.finalize()));
    Ok(Some(Written { part, size, sha1, sha256 }))
}

/// The slowest of the hashes, so it has a task of its own.
fn md5(mut batches: mpsc::Receiver<Batch>) -> String {
    let mut md5 = Md5::new();
    while let Some(batch) = batches.blocking_recv() {
        batch.iter().for_each(|chunk| md5.update(chunk));
    }
    hex::encode(md5.finalize())
}

/// The file could not be taken in or stored; the cause is for the log.
pub(super) fn failed(error: io::Error) -> Error {
    Error { cause: Some(error.into()), ..Error::new(Kind::UploadFailed, "The artifact could not be stored.") }
}
