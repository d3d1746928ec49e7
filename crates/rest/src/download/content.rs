//! The bytes of a download, read ahead by one chunk: two chunks of memory for a file of any size.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
    vec,
};

use bytes::Bytes;
use futures_util::{Stream, stream::try_unfold};
use tokio::task::JoinHandle;

use super::range::Range;

pub(super) const MULTIPART: &str = "multipart/byteranges; boundary=THIS_STRING_SEPARATES_MULTIPART";
const CLOSING: &str = "\r\n--THIS_STRING_SEPARATES_MULTIPART--";
/// The first head has no line before it.
const BREAK: usize = "\r\n".len();
const CHUNK: u64 = 128 << 10;

/// What is sent, in order.
pub(super) struct Plan {
    ranges: vec::IntoIter<Range>,
    /// Where the current range goes on, and how much of it is left.
    position: u64,
    left: u64,
    /// The file's length, if each range has a head of its own.
    multipart: Option<u64>,
    begun: bool,
}

enum Step {
    Text(Bytes),
    Read { from: u64, len: u64 },
}

enum Ahead {
    Text(Bytes),
    Reading(JoinHandle<io::Result<Bytes>>),
}

impl Plan {
    pub(super) fn whole(len: u64) -> Plan {
        Plan { ranges: Vec::new().into_iter(), position: 0, left: len, multipart: None, begun: false }
    }

    pub(super) fn one(range: Range) -> Plan {
        Plan { ranges: Vec::new().into_iter(), position: range.first, left: range.len(), multipart: None, begun: false }
    }

    pub(super) fn several(ranges: Vec<Range>, total: u64) -> Plan {
        Plan { ranges: ranges.into_iter(), position: 0, left: 0, multipart: Some(total), begun: false }
    }

    /// Bytes of the body, heads and closing line included.
    pub(super) fn len(&self) -> u64 {
        match self.multipart {
            None => self.left,
            Some(total) => {
                let parts = self.ranges.as_slice().iter().map(|r| head(*r, total).len() as u64 + r.len());
                parts.sum::<u64>() + (CLOSING.len() - BREAK) as u64
            }
        }
    }

    fn step(&mut self) -> Option<Step> {
        if self.left > 0 {
            let len = self.left.min(CHUNK);
            let from = self.position;
            self.position += len;
            self.left -= len;
            return Some(Step::Read { from, len });
        }
        let total = self.multipart?;
        let Some(range) = self.ranges.next() else {
            self.multipart = None;
            return Some(Step::Text(Bytes::from_static(CLOSING.as_bytes())));
        };
        (self.position, self.left) = (range.first, range.len());
        let head = Bytes::from(head(range, total));
        let begun = std::mem::replace(&mut self.begun, true);
        Some(Step::Text(if begun { head } else { head.slice(BREAK..) }))
    }
}

fn head(range: Range, total: u64) -> String {
    format!(
        "\r\n--THIS_STRING_SEPARATES_MULTIPART\r\nContent-Type: application/octet-stream\r\nContent-Range: {}\r\n\r\n",
        range.content_range(total)
    )
}

/// Fails if the file is shorter than planned, which breaks the connection off: the client sees that bytes are missing.
/// `at_end` is called with the last chunk: a connection that knows the length asks for no more.
pub(super) fn stream(
    file: File,
    plan: Plan,
    at_end: Option<impl FnOnce() + Send + 'static>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let file = Arc::new(file);
    let ahead: Option<Ahead> = None;
    try_unfold((file, plan, ahead, at_end), |(file, mut plan, ahead, mut at_end)| async move {
        let Some(now) = ahead.or_else(|| start(&file, &mut plan)) else { return Ok(None) };
        let chunk = match now {
            Ahead::Text(text) => text,
            Ahead::Reading(reading) => reading.await.map_err(io::Error::other)??,
        };
        let ahead = start(&file, &mut plan);
        if ahead.is_none()
            && let Some(at_end) = at_end.take()
        {
            at_end();
        }
        Ok(Some((chunk, (file, plan, ahead, at_end))))
    })
}

fn start(file: &Arc<File>, plan: &mut Plan) -> Option<Ahead> {
    Some(match plan.step()? {
        Step::Text(text) => Ahead::Text(text),
        Step::Read { from, len } => {
            let file = file.clone();
            Ahead::Reading(tokio::task::spawn_blocking(move || read(&file, from, len)))
        }
    })
}

fn read(mut file: &File, from: u64, len: u64) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(from))?;
    let mut chunk = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
    file.take(len).read_to_end(&mut chunk)?;
    if chunk.len() as u64 != len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than its record says"));
    }
    Ok(chunk.into())
}
