//! [`Lenient`]: a connection whose client may call us what it likes.
//!
//! etcd does not look at the authority of a request; h2 refuses one that is none
//! by RFC 3986, before anybody can say a word. Yet there are such: version 3.5.0
//! of etcd's client sends `#initially=[http://127.0.0.1:2379]`, others the path
//! of a socket. What the first request of a connection has, all have: so a look at
//! that one costs the others nothing, unless it was bad. Then the name is replaced
//! in each request, and nobody here ever asks for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hpack;

/// What HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame: length, kind, flags, stream.
const HEAD_BYTES: usize = 9;
/// The kind that begins a request.
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// Larger frames are refused further on.
const FRAME_BYTES_MAX: usize = 16_384;
/// What is read at once while anybody looks.
const CHUNK_BYTES: usize = 4096;

/// A connection whose client may call us what it likes.
pub(super) struct Lenient<I> {
    io: I,
    /// Until the first request has told that the client knows a name.
    sieve: Option<Box<Sieve>>,
}

impl<I> Lenient<I> {
    /// Around a connection that has just begun.
    pub(super) fn new(io: I) -> Lenient<I> {
        Lenient { io, sieve: Some(Box::default()) }
    }
}

/// What came in, frame by frame.
#[derive(Default)]
struct Sieve {
    /// The beginning of a frame.
    raw: BytesMut,
    /// What may go on.
    ready: BytesMut,
    /// What comes next and goes on unseen.
    unseen: usize,
    has_begun: bool,
    /// The first name was bad.
    mends: bool,
    /// Whatever comes goes on unseen.
    is_done: bool,
}

impl Sieve {
    fn take(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        while !self.is_done && self.step() {}
        if self.is_done {
            self.end();
        }
    }

    /// There is no more to look at.
    fn end(&mut self) {
        self.is_done = true;
        let rest = self.raw.split();
        self.ready.extend_from_slice(&rest);
    }

    fn pass(&mut self, bytes: usize) {
        let passed = self.raw.split_to(bytes);
        self.ready.extend_from_slice(&passed);
    }

    /// Whether there may be more to do with what is there.
    fn step(&mut self) -> bool {
        if !self.has_begun {
            return self.begin();
        }
        if self.unseen > 0 {
            let bytes = self.unseen.min(self.raw.len());
            self.unseen -= bytes;
            self.pass(bytes);
            return self.unseen == 0;
        }
        let Some(head) = self.raw.first_chunk::<HEAD_BYTES>() else { return false };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] != HEADERS || length > FRAME_BYTES_MAX {
            self.unseen = HEAD_BYTES + length;
            return true;
        }
        if self.raw.len() < HEAD_BYTES + length {
            return false;
        }
        match mended(&self.raw[..HEAD_BYTES + length]) {
            Some(frame) => {
                self.mends = true;
                self.raw.advance(HEAD_BYTES + length);
                self.ready.extend_from_slice(&frame);
            }
            None => {
                self.is_done = !self.mends;
                self.pass(HEAD_BYTES + length);
            }
        }
        true
    }

    fn begin(&mut self) -> bool {
        let bytes = PREFACE.len().min(self.raw.len());
        self.is_done = self.raw[..bytes] != PREFACE[..bytes];
        self.has_begun = !self.is_done && bytes == PREFACE.len();
        if self.has_begun {
            self.pass(bytes);
        }
        self.has_begun
    }
}

/// A frame that begins a request, if it has a bad name, with another one.
fn mended(frame: &[u8]) -> Option<Vec<u8>> {
    let flags = frame[4];
    let (mut begin, mut end) = (HEAD_BYTES, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(HEAD_BYTES)?))?;
        begin += 1;
    }
    if flags & WITH_PRIORITY != 0 {
        begin += PRIORITY_BYTES;
    }
    let block = frame.get(begin..end)?;
    let authority = hpack::authority(block)?;
    if uri::Authority::try_from(&authority.text[..]).is_ok() {
        return None;
    }
    let block = authority.replaced_in(block);
    let length = frame.len() - HEAD_BYTES - (end - begin) + block.len();
    let length = u32::try_from(length).ok()?;
    let mut mended = length.to_be_bytes()[1..].to_vec();
    mended.extend_from_slice(&frame[3..begin]);
    mended.extend_from_slice(&block);
    mended.extend_from_slice(&frame[end..]);
    Some(mended)
}

impl<I: AsyncRead + Unpin> AsyncRead for Lenient<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while let Some(sieve) = &mut this.sieve {
            if !sieve.ready.is_empty() {
                let bytes = sieve.ready.len().min(buffer.remaining());
                buffer.put_slice(&sieve.ready.split_to(bytes));
                return Poll::Ready(Ok(()));
            }
            if sieve.is_done {
                this.sieve = None;
                break;
            }
            let mut chunk = [0; CHUNK_BYTES];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            match read.filled() {
                [] => sieve.end(),
                bytes => sieve.take(bytes),
            }
        }
        Pin::new(&mut this.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Lenient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        [&[0x83, 0x41, u8::try_from(name.len()).unwrap()], name, &[0x86]].concat()
    }

    /// What comes out of a sieve that is given so many bytes at a time.
    fn sifted(bytes: &[u8], at_once: usize) -> (Vec<u8>, Sieve) {
        let mut sieve = Sieve::default();
        for chunk in bytes.chunks(at_once) {
            sieve.take(chunk);
        }
        (sieve.ready.split().to_vec(), sieve)
    }

    #[test]
    fn bad_names_are_replaced_and_all_else_is_as_it_was() {
        let settings = frame(4, 0, &[0; 6]);
        let data = frame(0, 1, b"PRI and what else a body says");
        let padded = |name: &[u8]| {
            let block = [&[3, 0, 0, 0, 0, 9][..], &named(name), b"pad"].concat();
            frame(HEADERS, PADDED | WITH_PRIORITY | 4, &block)
        };
        let sent = |name: &[u8], other: &[u8]| {
            let first = frame(HEADERS, 4, &named(name));
            let again = frame(HEADERS, 4, &[0x83, 0xbe]);
            [PREFACE, &settings, &first, &data, &again, &padded(other), &data].concat()
        };
        let (bad, other) = (b"#initially=[http://127.0.0.1:2379]", b"%2Ftmp%2Fkat");
        for at_once in [1, 2, 7, 10_000] {
            let (out, sieve) = sifted(&sent(bad, other), at_once);
            assert_eq!(out, sent(&[b'a'; 34], &[b'a'; 12]), "{at_once}");
            assert!(!sieve.is_done);
            // After a good one nobody looks any more.
            let (out, sieve) = sifted(&sent(b"127.0.0.1:2379", other), at_once);
            assert_eq!(out, sent(b"127.0.0.1:2379", other), "{at_once}");
            assert!(sieve.is_done);
        }
    }

    #[test]
    fn what_is_no_request_goes_on_as_it_is() {
        for other in [
            &b"POST / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            &[PREFACE, &frame(HEADERS, PADDED | 4, &[200, 0x41, 1, b'#'])].concat(),
            &[PREFACE, &frame(HEADERS, PADDED | 4, &[])].concat(),
            &[PREFACE, &frame(HEADERS, 4, &[0x41, 99, b'#'])].concat(),
            &[PREFACE, &frame(HEADERS, 4, &[0; FRAME_BYTES_MAX + 1])].concat(),
        ] {
            for at_once in [1, 5, 100_000] {
                assert_eq!(sifted(other, at_once).0, other, "{at_once}");
            }
        }
        // Whoever falls silent in the middle is known to have.
        let (out, mut sieve) = sifted(&PREFACE[..5], 5);
        assert!(out.is_empty());
        sieve.end();
        assert_eq!(sieve.ready, PREFACE[..5]);
    }
}
