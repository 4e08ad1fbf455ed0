//! The bytes that wait for one connection: many messages, one `writev` or one run of TLS records.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use tokio::net::TcpStream;

/// Slices given to one system call.
const SLICES: usize = 64;
/// Plaintext sealed before the socket is tried; TLS buffers no more than this.
const SEAL: usize = 64 * 1024;

/// Messages in order, each with the token of who waits for it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<(Bytes, u64)>,
    bytes: usize,
    /// Tokens of messages that TLS has sealed and the socket has not taken yet.
    sealed: Vec<u64>,
}

/// Whether everything was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing waits.
    All,
    /// The socket takes no more now.
    Blocked,
}

impl Queue {
    pub(super) fn push(&mut self, wire: Bytes, token: u64) {
        self.bytes += wire.len();
        self.chunks.push_back((wire, token));
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Takes the tokens of all that was not certainly written, and the queue with them.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = u64> + use<> {
        let rest = core::mem::take(self);
        rest.sealed
            .into_iter()
            .chain(rest.chunks.into_iter().map(|(_, token)| token))
            .filter(|t| *t != 0)
    }

    /// Writes to a plain socket.
    pub(super) fn write_plain(&mut self, socket: &TcpStream) -> io::Result<Written> {
        while !self.chunks.is_empty() {
            let slices = self.slices(usize::MAX);
            match socket.try_write_vectored(&slices) {
                Ok(n) => {
                    drop(slices);
                    self.advance(n, |_| {});
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.rest();
        Ok(Written::All)
    }

    /// Seals and writes to a socket under TLS.
    pub(super) fn write_tls(&mut self, socket: &TcpStream, tls: &mut rustls::Connection) -> io::Result<Written> {
        loop {
            while tls.wants_write() {
                match tls.write_tls(&mut Sock(socket)) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            self.sealed.clear();
            if self.chunks.is_empty() {
                self.rest();
                return Ok(Written::All);
            }
            let slices = self.slices(SEAL);
            let n = tls.writer().write_vectored(&slices)?;
            drop(slices);
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let mut sealed = core::mem::take(&mut self.sealed);
            self.advance(n, |token| sealed.push(token));
            self.sealed = sealed;
        }
    }

    fn slices(&self, most: usize) -> SmallVec<[IoSlice<'_>; SLICES]> {
        let mut room = most;
        let fits = |(wire, _): &&(Bytes, u64)| {
            let before = room;
            room = room.saturating_sub(wire.len());
            before > 0
        };
        self.chunks
            .iter()
            .take(SLICES)
            .take_while(fits)
            .map(|(wire, _)| IoSlice::new(wire))
            .collect()
    }

    /// Drops `n` bytes from the front; tells of every message that is through.
    fn advance(&mut self, mut n: usize, mut done: impl FnMut(u64)) {
        self.bytes = self.bytes.saturating_sub(n);
        while let Some((wire, token)) = self.chunks.front_mut() {
            if wire.len() > n {
                wire.advance(n);
                return;
            }
            n -= wire.len();
            if *token != 0 {
                done(*token);
            }
            self.chunks.pop_front();
        }
    }

    /// An empty queue that was long once gives its memory back.
    fn rest(&mut self) {
        if self.chunks.capacity() > SLICES {
            self.chunks = VecDeque::new();
            self.sealed = Vec::new();
        }
    }
}

/// A socket as TLS wants it: blocking reads and writes that never block.
pub(super) struct Sock<'a>(pub(super) &'a TcpStream);

impl Write for Sock<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_write_keeps_the_rest_and_its_token() {
        let mut queue = Queue::default();
        for (text, token) in [("aaaa", 1), ("bb", 0), ("cccc", 3)] {
            queue.push(Bytes::from_static(text.as_bytes()), token);
        }
        let mut done = Vec::new();
        queue.advance(7, |t| done.push(t));
        assert_eq!((done, queue.len()), (vec![1], 3));
        assert_eq!(
            queue.slices(usize::MAX).iter().map(|s| s.to_vec()).collect::<Vec<_>>(),
            [b"ccc"]
        );
        assert_eq!(queue.abandon().collect::<Vec<_>>(), [3]);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn one_call_gets_many_messages_but_no_more_than_is_sealed_at_once() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(Bytes::from(vec![0; 1000]), 0);
        }
        assert_eq!(queue.slices(usize::MAX).len(), SLICES);
        assert_eq!(queue.slices(2_500).len(), 3);
        queue.advance(100_000, |_| {});
        queue.rest();
        assert_eq!(queue.chunks.capacity(), 0);
    }
}
