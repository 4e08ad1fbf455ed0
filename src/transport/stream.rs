//! One stream connection: what is known of it, reading, writing, framing. Its life is in [`super::connection`].
//!
//! Nothing is held for an idle connection: reads go through the shard's scratch buffers, and only the beginning of an
//! unfinished message is kept.

use core::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::budget::Holding;
use super::pool::{AliasKey, PoolKey};
use super::writer::{Queue, Written};
use super::{CloseReason, Transports};
use crate::sip::frame::{Frame, Framer};
use crate::sip::message::Framing;
use crate::sip::net::{FlowId, Source};

/// What one system call reads.
pub(super) const READ: usize = 64 * 1024;

/// The shard's buffers for reading, shared by all its connections.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Bytes as they come from a socket.
    wire: Vec<u8>,
    /// The same without TLS.
    plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            wire: vec![0; READ],
            plain: Vec::new(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) source: Source,
    pub(super) flow: FlowId,
    pub(super) socket: TcpStream,
    pub(super) tls: RefCell<Option<Box<rustls::Connection>>>,
    pub(super) queue: RefCell<Queue>,
    /// The pool entries that lead here.
    pub(super) pooled: RefCell<SmallVec<[PoolKey; 1]>>,
    /// What of a peer's it serves for although the peer opened it.
    pub(super) adopted: RefCell<Vec<AliasKey>>,
    /// Something for the connection's task: it must stop, or wait until the socket takes more.
    pub(super) wake: Notify,
    pub(super) stopped: RefCell<Option<CloseReason>>,
    /// On the list of connections to flush.
    pub(super) dirty: Cell<bool>,
    /// The socket took no more at the last try.
    pub(super) blocked: Cell<bool>,
    /// Clock of the shard at the last byte in or out.
    pub(super) active_ms: Cell<u64>,
    /// When bytes last went out, or began to wait.
    pub(super) progress_ms: Cell<u64>,
    /// When the message at the front began to arrive; 0 when there is none.
    pub(super) half_ms: Cell<u64>,
    /// When the other end stopped sending; 0 as long as it has not.
    pub(super) ended_ms: Cell<u64>,
    /// Its source has a rate: it is no trunk, and proves nothing by being connected.
    pub(super) limited: Cell<bool>,
    /// Requests taken less final responses sent: what a half-closed sender still waits for.
    pub(super) unanswered: Cell<u32>,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// Nothing now.
    Nothing,
    /// Bytes were handled.
    Some,
    /// Bytes were handled; the source sends too much, the rest is for later, in so many milliseconds.
    Later(u64),
    /// The other end sends no more.
    End,
}

impl Stream {
    pub(super) fn new(
        source: Source,
        flow: FlowId,
        socket: TcpStream,
        tls: Option<rustls::Connection>,
        now_ms: u64,
    ) -> Self {
        Self {
            source,
            flow,
            socket,
            tls: RefCell::new(tls.map(Box::new)),
            queue: RefCell::default(),
            pooled: RefCell::default(),
            adopted: RefCell::default(),
            wake: Notify::new(),
            stopped: RefCell::new(None),
            dirty: Cell::new(false),
            blocked: Cell::new(false),
            active_ms: Cell::new(now_ms),
            progress_ms: Cell::new(now_ms),
            half_ms: Cell::new(0),
            ended_ms: Cell::new(0),
            limited: Cell::new(false),
            unanswered: Cell::new(0),
        }
    }

    /// What the other end presented in the handshake.
    pub(super) fn chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let tls = self.tls.borrow();
        let chain = tls.as_ref()?.peer_certificates()?;
        Some(chain.iter().map(|c| c.clone().into_owned()).collect())
    }

    /// Ends the connection; the first reason counts.
    pub(super) fn stop(&self, why: CloseReason) {
        let mut stopped = self.stopped.borrow_mut();
        if stopped.is_none() {
            *stopped = Some(why);
            self.wake.notify_one();
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Notes a message that is sent, so that a half-closed connection knows when it is done.
    pub(super) fn note_sent(&self, wire: &[u8]) {
        if wire.starts_with(b"SIP/2.0 ") && wire.get(8) != Some(&b'1') {
            self.unanswered.set(self.unanswered.get().saturating_sub(1));
        }
    }

    fn note_received(&self, bytes: &[u8]) {
        if !bytes.starts_with(b"SIP/") && !bytes.starts_with(b"ACK ") {
            self.unanswered.set(self.unanswered.get().saturating_add(1));
        }
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&self, now_ms: u64) -> Result<(), CloseReason> {
        let mut queue = self.queue.borrow_mut();
        let before = queue.len();
        let written = match &mut *self.tls.borrow_mut() {
            None => queue.write_plain(&self.socket),
            Some(tls) => queue.write_tls(&self.socket, tls),
        };
        if queue.len() < before {
            self.active_ms.set(now_ms);
            self.progress_ms.set(now_ms);
        }
        match written {
            Ok(Written::All) => self.blocked.set(false),
            Ok(Written::Blocked) => {
                if !self.blocked.replace(true) {
                    self.progress_ms.set(now_ms);
                    self.wake.notify_one();
                }
            }
            Err(error) => return Err(CloseReason::Lost(error.to_string())),
        }
        Ok(())
    }

    /// Reads once from the socket into `into`. A read that does not fill the buffer has emptied the socket: telling the
    /// runtime so saves the call that would find nothing.
    fn read_socket(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut got = None;
        let result = self.socket.try_io(Interest::READABLE, || {
            let n = (&*SockRef::from(&self.socket)).read(into)?;
            got = Some(n);
            if n > 0 && n < into.len() {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(n)
            }
        });
        got.map_or(result, Ok)
    }

    /// Reads once; under TLS the plaintext goes to `scratch.plain`.
    fn fill(&self, scratch: &mut Scratch) -> Result<Filled, CloseReason> {
        scratch.plain.clear();
        let n = match self.read_socket(&mut scratch.wire) {
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(Filled::Bytes(0));
            }
            Err(e) => return Err(CloseReason::Lost(e.to_string())),
        };
        let mut tls = self.tls.borrow_mut();
        let Some(tls) = tls.as_deref_mut() else {
            return Ok(if n == 0 { Filled::End(0) } else { Filled::Bytes(n) });
        };
        let mut wire = &scratch.wire[..n];
        loop {
            let fed = tls.read_tls(&mut wire).map_err(|e| CloseReason::Lost(e.to_string()))?;
            if let Err(error) = tls.process_new_packets() {
                // The alert says why, if the socket takes it.
                let _ = Queue::default().write_tls(&self.socket, tls);
                return Err(CloseReason::Lost(error.to_string()));
            }
            if drain(tls, &mut scratch.plain) || n == 0 {
                return Ok(Filled::End(scratch.plain.len()));
            }
            if fed == 0 || wire.is_empty() {
                return Ok(Filled::Bytes(scratch.plain.len()));
            }
        }
    }

    /// Advances the handshake by what has arrived; true when it is done. Plaintext that came with its end goes to `rest`.
    pub(super) fn shake(&self, transports: &Transports, rest: &mut Vec<u8>) -> Result<bool, CloseReason> {
        let mut scratch = transports.0.scratch.borrow_mut();
        let filled = self.fill(&mut scratch)?;
        rest.extend_from_slice(&scratch.plain);
        self.write(transports.clock_ms())?;
        let shaking = self.tls.borrow().as_ref().is_some_and(|t| t.is_handshaking());
        match filled {
            _ if !shaking => Ok(true),
            Filled::End(_) => Err(CloseReason::Lost("it was closed in the handshake".to_owned())),
            Filled::Bytes(_) => Ok(false),
        }
    }
}

/// What one read brought, in bytes.
enum Filled {
    Bytes(usize),
    End(usize),
}

/// Moves plaintext out of TLS; true when the other end has said goodbye.
fn drain(tls: &mut rustls::Connection, plain: &mut Vec<u8>) -> bool {
    let mut reader = tls.reader();
    loop {
        let n = match reader.fill_buf() {
            Ok([]) => return true,
            Ok(bytes) => {
                plain.extend_from_slice(bytes);
                bytes.len()
            }
            Err(e) => return e.kind() != io::ErrorKind::WouldBlock,
        };
        reader.consume(n);
    }
}

/// The reading side of a connection: the framer and what it has not finished.
#[derive(Debug)]
pub(super) struct Reader {
    framer: Framer,
    rest: Vec<u8>,
    holding: Holding,
}

impl Reader {
    pub(super) fn new(transports: &Transports, stream: &Stream, rest: Vec<u8>) -> Self {
        Self {
            framer: Framer::new(transports.0.limits.get().frame),
            rest,
            holding: Holding::new(&transports.0.unfinished, stream.source.remote.ip()),
        }
    }

    /// Reads once and hands over what is complete, then ends the batch.
    pub(super) fn read(&mut self, transports: &Transports, stream: &Rc<Stream>) -> Result<Got, CloseReason> {
        let mut scratch = transports.0.scratch.take();
        let filled = stream.fill(&mut scratch);
        let under_tls = stream.tls.borrow().is_some();
        let bytes = |n: usize| {
            if under_tls {
                &scratch.plain[..]
            } else {
                scratch.wire.get(..n).unwrap_or_default()
            }
        };
        let got = match filled {
            Ok(Filled::Bytes(0)) => Ok(Got::Nothing),
            Ok(Filled::Bytes(n)) => self.take(transports, stream, bytes(n)),
            Ok(Filled::End(n)) => self.take(transports, stream, bytes(n)).map(|_| Got::End),
            Err(why) => Err(why),
        };
        if scratch.plain.capacity() > 4 * READ {
            scratch.plain = Vec::new();
        }
        transports.0.scratch.replace(scratch);
        got
    }

    /// Takes up again what waited because the source sent too much.
    pub(super) fn resume(&mut self, transports: &Transports, stream: &Rc<Stream>) -> Result<Got, CloseReason> {
        self.take(transports, stream, &[])
    }

    fn take(&mut self, transports: &Transports, stream: &Rc<Stream>, bytes: &[u8]) -> Result<Got, CloseReason> {
        let now_ms = transports.clock_ms();
        stream.active_ms.set(now_ms);
        let result = if self.rest.is_empty() {
            let result = self.frames(transports, stream, now_ms, bytes);
            self.rest
                .extend_from_slice(bytes.get(result.used..).unwrap_or_default());
            result
        } else {
            let mut all = core::mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            let result = self.frames(transports, stream, now_ms, &all);
            all.drain(..result.used.min(all.len()));
            self.rest = all;
            result
        };
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        if !self.holding.set(self.rest.len()) && stream.limited.get() {
            let why = "its source has too much that is unfinished";
            transports.note(stream.source.remote.ip(), why, "connection closed");
            return Err(CloseReason::Greedy);
        }
        match (&result.end, self.rest.is_empty()) {
            (Ok(Got::Later(_)), _) | (_, true) => stream.half_ms.set(0),
            _ if stream.half_ms.get() == 0 => stream.half_ms.set(now_ms),
            _ => {}
        }
        transports.0.handler.batch_done();
        transports.flush();
        result.end
    }

    /// Hands over every complete message at the front of `bytes`.
    fn frames(&mut self, transports: &Transports, stream: &Rc<Stream>, now_ms: u64, bytes: &[u8]) -> Framed {
        let (handler, source) = (&transports.0.handler, &stream.source);
        let rate = handler.message_rate(source);
        stream.limited.set(rate.is_some());
        let mut used = 0;
        loop {
            let front = bytes.get(used..).unwrap_or_default();
            match self.framer.next(front) {
                Frame::Incomplete => {
                    return Framed {
                        used,
                        end: Ok(Got::Some),
                    };
                }
                Frame::Ping(length) => {
                    used += length;
                    transports.enqueue(stream, Bytes::from_static(b"\r\n"), 0);
                }
                Frame::Pong(length) => used += length,
                Frame::Message(length) => {
                    if let Some(rate) = rate
                        && let Err(wait_ms) = transports.allowance(now_ms, source, rate)
                    {
                        // The framer has let go of the message: it finds it again from its start.
                        return Framed {
                            used,
                            end: Ok(Got::Later(wait_ms)),
                        };
                    }
                    let message = front.get(..length).unwrap_or_default();
                    stream.note_received(message);
                    transports
                        .0
                        .counters
                        .messages
                        .set(transports.0.counters.messages.get() + 1);
                    handler.message(source, message, Framing::Stream);
                    used += length;
                    stream.half_ms.set(0);
                }
                Frame::Broken { headers, problem } => {
                    if headers > 0 {
                        handler.broken(source, front.get(..headers).unwrap_or_default(), problem);
                    }
                    return Framed {
                        used,
                        end: Err(CloseReason::Unframable(problem.what)),
                    };
                }
            }
            if stream.is_stopped() {
                return Framed {
                    used,
                    end: Ok(Got::Some),
                };
            }
        }
    }
}

/// How far framing came.
struct Framed {
    used: usize,
    end: Result<Got, CloseReason>,
}
