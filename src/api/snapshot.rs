//! Snapshot: the store as a file, in pieces, and behind them its hash.
//!
//! A thread of its own writes the file into a short queue, and waits there for
//! the client; when the client goes away, its next piece finds nobody and it
//! ends. Nothing is written to disk, and writes to the store go on.

use std::io::{self, Write};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::proto::etcdserverpb::SnapshotResponse;
use crate::store::Reader;

/// Bytes of a piece; etcd's number.
const PIECE_BYTES: usize = 32 << 10;

/// Pieces that wait for a client; then the thread waits for it.
const PIECES_WAITING_MAX: usize = 8;

/// Snapshots under way, each of which has a thread and holds on to what the
/// store deletes; whoever asks for one more waits until one ends.
pub(super) const SNAPSHOTS_MAX: usize = 8;

/// The pieces of one snapshot.
pub(super) type Pieces = ReceiverStream<Result<SnapshotResponse, Status>>;

/// Begins a snapshot of a storage of some version; what is held on to during it
/// ends with it.
pub(super) fn begin(reader: Reader, version: String, held: impl Send + 'static) -> Pieces {
    let (out, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::task::spawn_blocking(move || {
        send(&reader, version, &out);
        drop(held);
    });
    ReceiverStream::new(pieces)
}

fn send(reader: &Reader, version: String, out: &mpsc::Sender<Result<SnapshotResponse, Status>>) {
    let begin = |bytes| Cutter {
        out: out.clone(),
        version,
        remaining: bytes,
        piece: Vec::new(),
        hash: Sha256::new(),
    };
    let outcome = reader.snapshot(begin).and_then(Cutter::finish);
    if let Err(why) = outcome {
        tracing::debug!(%why, "a snapshot ended early");
        // It is the client itself who has gone, or it hears the reason.
        out.blocking_send(Err(Status::internal(why.to_string()))).ok();
    }
}

/// Cuts a file into pieces.
struct Cutter {
    out: mpsc::Sender<Result<SnapshotResponse, Status>>,
    version: String,
    /// Bytes of the file that were not sent yet.
    remaining: u64,
    piece: Vec<u8>,
    hash: Sha256,
}

impl Cutter {
    fn send(&mut self, blob: Bytes) -> io::Result<()> {
        let (remaining_bytes, version) = (self.remaining, self.version.clone());
        let piece = SnapshotResponse { header: None, remaining_bytes, blob, version };
        self.out.blocking_send(Ok(piece)).map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }

    fn send_piece(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.hash.update(&piece);
        self.remaining -= piece.len() as u64;
        self.send(piece.into())
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.send_piece()?;
        }
        let hash = std::mem::take(&mut self.hash).finalize();
        self.send(Bytes::copy_from_slice(&hash))
    }
}

impl Write for Cutter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE_BYTES);
        }
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.send_piece()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts a file of some size.
    fn cut(bytes: usize) -> Vec<SnapshotResponse> {
        let (out, mut pieces) = mpsc::channel(64);
        let file: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
        let mut cutter = Cutter {
            out,
            version: "3.7.0".into(),
            remaining: bytes as u64,
            piece: Vec::new(),
            hash: Sha256::new(),
        };
        for part in file.chunks(1000) {
            cutter.write_all(part).unwrap();
        }
        cutter.finish().unwrap();
        let mut all = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            all.push(piece.unwrap());
        }
        let hash = all.last().unwrap();
        assert!(hash.blob == Sha256::digest(&file)[..], "the last piece is the hash");
        let sent: Vec<u8> =
            all[..all.len() - 1].iter().flat_map(|piece| piece.blob.clone()).collect();
        assert!(sent == file, "the pieces make up the file");
        all
    }

    #[test]
    fn pieces_count_down_to_zero_and_the_hash_comes_last() {
        for (bytes, remaining) in [
            (4096, vec![0, 0]),
            (PIECE_BYTES, vec![0, 0]),
            (2 * PIECE_BYTES + 4096, vec![36_864, 4096, 0, 0]),
        ] {
            let pieces = cut(bytes);
            let told: Vec<_> = pieces.iter().map(|piece| piece.remaining_bytes).collect();
            assert_eq!(told, remaining);
            assert!(pieces.iter().all(|piece| piece.version == "3.7.0"));
        }
    }

    #[test]
    fn a_client_that_has_gone_ends_the_file() {
        let (out, pieces) = mpsc::channel(1);
        drop(pieces);
        let version = String::new();
        let remaining = 2 * PIECE_BYTES as u64;
        let mut cutter = Cutter { out, version, remaining, piece: Vec::new(), hash: Sha256::new() };
        let outcome = cutter.write_all(&[0; PIECE_BYTES]);
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
