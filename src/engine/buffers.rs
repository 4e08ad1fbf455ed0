//! Where messages are written: large chunks, of which each message is a slice.
//!
//! A chunk lives as long as its longest-lived message. Responses are kept for Timer J, requests only until they are
//! answered; in one chunk a response would hold the requests around it for half a minute, so each kind has its own.

use bytes::{Bytes, BytesMut};

/// Size of a chunk.
const CHUNK: usize = 64 * 1024;
/// A chunk with less room than this is left to its messages.
const ROOM: usize = CHUNK / 16;

/// The chunks being filled.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    requests: BytesMut,
    answers: BytesMut,
}

impl Buffers {
    /// A buffer with room for a request; goes back by [`Buffers::finish`].
    pub(super) fn take(&mut self) -> BytesMut {
        with_room(&mut self.requests)
    }

    /// Splits what was written off the buffer, which goes back for the next message.
    pub(super) fn finish(&mut self, buffer: BytesMut) -> Bytes {
        split(&mut self.requests, buffer)
    }

    /// Takes back a buffer from which everything written was split off.
    pub(super) fn put_back(&mut self, buffer: BytesMut) {
        self.requests = buffer;
    }

    /// A buffer with room for a response; goes back by [`Buffers::finish_answer`].
    pub(super) fn take_answer(&mut self) -> BytesMut {
        with_room(&mut self.answers)
    }

    /// As [`Buffers::finish`], for responses.
    pub(super) fn finish_answer(&mut self, buffer: BytesMut) -> Bytes {
        split(&mut self.answers, buffer)
    }

    /// A copy of a request that outlives the receive buffer, without an allocation of its own.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Bytes {
        let mut buffer = self.take();
        buffer.extend_from_slice(bytes);
        self.finish(buffer)
    }
}

fn with_room(chunk: &mut BytesMut) -> BytesMut {
    let buffer = std::mem::take(chunk);
    if buffer.capacity() < ROOM {
        return BytesMut::with_capacity(CHUNK);
    }
    buffer
}

fn split(chunk: &mut BytesMut, mut buffer: BytesMut) -> Bytes {
    let wire = buffer.split().freeze();
    *chunk = buffer;
    wire
}
