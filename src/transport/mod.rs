//! Floor 4: sockets. UDP (RFC 3261 section 18), TCP and TLS listeners, one pool of outgoing connections, RFC 3263.
//!
//! Everything runs on one current-thread runtime inside a `LocalSet`; connection tasks call the [`Handler`] directly.
//! [`Transports::send`] only queues; [`Transports::flush`] writes each connection's queue in one go. What a certificate or
//! a message means is not judged here, nor which peers there are.

mod admission;
mod batch;
mod behind;
mod budget;
mod connection;
mod handler;
mod listener;
mod marks;
mod options;
mod pool;
pub mod proxy_protocol;
pub mod resolver;
mod segments;
mod stream;
#[cfg(test)]
mod tests;
mod udp;
mod writer;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::sip::frame;
use crate::sip::net::{Destination, FlowId, ListenerId, Source, Transport};
use stream::Stream;

pub use behind::Expect;
pub use handler::{CloseReason, Handler, SendError};
pub use listener::{ListenError, ListenerSpec};
pub use pool::PeerSpec;

/// Limits of all connections. What one source may do is the handler's: [`Handler::admit`], [`Handler::message_rate`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What a stream may hold.
    pub frame: frame::Limits,
    /// A connection without traffic is closed after this.
    pub idle: Duration,
    /// A half message is given up after this, and so is a reader that takes nothing.
    pub half: Duration,
    /// A TLS handshake, ours or theirs, is given up after this.
    pub handshake: Duration,
    /// Connecting is given up after this.
    pub connect: Duration,
    /// How long a half-closed connection waits for answers that are due.
    pub linger: Duration,
    /// Bytes that may wait for a slow reader, or for a connection that is being made.
    pub max_queued: usize,
    /// Handshakes of one source at once; one more ends the oldest.
    pub handshakes_per_source: u32,
    /// Handshakes at once; one more ends the oldest.
    pub handshakes: usize,
    /// Outgoing connections being made at once.
    pub connecting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: frame::Limits::default(),
            idle: Duration::from_secs(600),
            half: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            linger: Duration::from_secs(32),
            max_queued: 16 << 20,
            handshakes_per_source: 64,
            handshakes: 1024,
            connecting: 512,
        }
    }
}

/// What has been counted since the start, and what there is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open stream connections.
    pub connections: usize,
    /// Incoming handshakes under way.
    pub handshaking: usize,
    /// Bytes that wait to be written.
    pub queued: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused before the handshake.
    pub refused: u64,
    /// Incoming handshakes that failed.
    pub handshakes_failed: u64,
    /// Messages handed over.
    pub messages: u64,
    /// Messages dropped or held back since their source sent too many.
    pub over_rate: u64,
    /// Datagrams that could not be sent.
    pub datagrams_lost: u64,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: Cell<u64>,
    refused: Cell<u64>,
    handshakes_failed: Cell<u64>,
    messages: Cell<u64>,
    over_rate: Cell<u64>,
    datagrams_lost: Cell<u64>,
}

struct Shared {
    handler: Rc<dyn Handler>,
    limits: Cell<Limits>,
    started: std::time::Instant,
    udp: RefCell<Vec<Rc<udp::Socket>>>,
    received: RefCell<batch::Buffers>,
    marks: RefCell<marks::Marks>,
    tls: RefCell<HashMap<ListenerId, Arc<rustls::ServerConfig>>>,
    accepting: RefCell<HashMap<ListenerId, Vec<(core::net::SocketAddr, tokio::task::AbortHandle)>>>,
    pool: RefCell<pool::Pool>,
    streams: RefCell<HashMap<FlowId, Rc<Stream>>>,
    scratch: RefCell<stream::Scratch>,
    unfinished: Rc<budget::Budget>,
    dirty: RefCell<Vec<Rc<Stream>>>,
    sources: RefCell<admission::Sources>,
    counters: Counters,
}

/// All sockets of one shard; copies share them.
#[derive(Clone)]
pub struct Transports(Rc<Shared>);

impl core::fmt::Debug for Transports {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Transports({} streams)", self.0.streams.borrow().len())
    }
}

/// Bytes that may wait for all those together who prove nothing and do not read.
const MAX_UNREAD: usize = 64 << 20;
/// How much may be added to what waits for one of them before all is added up again.
const STRETCH: usize = 64 << 10;

static NEXT_FLOW: AtomicU64 = AtomicU64::new(1);

fn next_flow() -> FlowId {
    FlowId(NEXT_FLOW.fetch_add(1, Ordering::Relaxed))
}

impl Transports {
    /// No sockets yet. Must be called inside a `LocalSet`.
    #[must_use]
    pub fn new(handler: Rc<dyn Handler>, limits: Limits) -> Self {
        let transports = Self(Rc::new(Shared {
            handler,
            limits: Cell::new(limits),
            started: std::time::Instant::now(),
            udp: RefCell::default(),
            received: RefCell::default(),
            marks: RefCell::default(),
            tls: RefCell::default(),
            accepting: RefCell::default(),
            pool: RefCell::default(),
            streams: RefCell::default(),
            scratch: RefCell::default(),
            unfinished: Rc::default(),
            dirty: RefCell::default(),
            sources: RefCell::default(),
            counters: Counters::default(),
        }));
        connection::start_sweep(&transports);
        transports
    }

    /// New limits: sizes for connections from now on, times and numbers for all.
    pub fn set_limits(&self, limits: Limits) {
        self.0.limits.set(limits);
    }

    /// New TLS settings for handshakes from now on.
    pub fn set_server_tls(&self, listener: ListenerId, tls: Arc<rustls::ServerConfig>) {
        self.0.tls.borrow_mut().insert(listener, tls);
    }

    /// Queues bytes; nothing is written before [`Transports::flush`]. A failure comes back through
    /// [`Handler::send_failed`], later, if `token` is not 0.
    pub fn send(&self, to: Destination, wire: Bytes, token: u64) {
        match to {
            Destination::Datagram { listener, to: address } => self.send_datagram(listener, address, wire, token),
            Destination::Flow(flow) => self.send_flow(flow, to, wire, token),
            Destination::Peer {
                peer,
                transport,
                to: address,
            } => {
                self.send_pooled((Some(peer), transport, address), wire, token);
            }
            Destination::Contact { to: address } => self.send_pooled((None, Transport::Tcp, address), wire, token),
        }
    }

    fn send_flow(&self, flow: FlowId, to: Destination, wire: Bytes, token: u64) {
        let stream = self.0.streams.borrow().get(&flow).filter(|s| !s.is_stopped()).cloned();
        match stream {
            Some(stream) => self.enqueue(&stream, wire, token),
            None => self.fail_later(token, to, SendError::Gone),
        }
    }

    fn enqueue(&self, stream: &Rc<Stream>, wire: Bytes, token: u64) {
        let mut queue = stream.queue.borrow_mut();
        let waits = queue.len();
        let stretches = waits / STRETCH < (waits + wire.len()) / STRETCH;
        if waits.saturating_add(wire.len()) > self.0.limits.get().max_queued
            || (stretches && stream.limited.get() && stream.blocked.get() && self.queued_by_streams(stream, waits))
        {
            drop(queue);
            self.fail_later(
                token,
                Destination::Flow(stream.flow),
                SendError::Ended(CloseReason::SlowReader),
            );
            return stream.stop(CloseReason::SlowReader);
        }
        stream.note_sent(&wire);
        queue.push(wire, token);
        if !stream.dirty.replace(true) {
            self.0.dirty.borrow_mut().push(Rc::clone(stream));
        }
    }

    /// Whether so much waits for readers who prove nothing that another stretch is too much.
    #[cold]
    fn queued_by_streams(&self, but: &Rc<Stream>, its: usize) -> bool {
        let streams = self.0.streams.borrow();
        let others = streams.values().filter(|s| !Rc::ptr_eq(s, but) && s.limited.get());
        others.map(|s| s.queue.borrow().len()).sum::<usize>() + its > MAX_UNREAD
    }

    /// The handler is not called from inside its own call: failures are told from a task of their own.
    fn fail_later(&self, token: u64, to: Destination, why: SendError) {
        if token == 0 {
            return;
        }
        let handler = Rc::clone(&self.0.handler);
        tokio::task::spawn_local(async move {
            handler.send_failed(token, to, &why);
            handler.batch_done();
        });
    }

    /// Writes what has queued up since the last flush, as far as the sockets take it; their tasks write the rest.
    pub fn flush(&self) {
        let mut dirty = self.0.dirty.take();
        let now_ms = if dirty.is_empty() { 0 } else { self.clock_ms() };
        for stream in dirty.drain(..) {
            stream.dirty.set(false);
            // A blocked one is waited for already.
            if !stream.blocked.get()
                && let Err(why) = stream.write(now_ms)
            {
                stream.stop(why);
            }
            if stream.ended_ms.get() != 0 {
                stream.wake.notify_one();
            }
        }
        // Nothing above marks a connection dirty: the list keeps its memory.
        self.0.dirty.replace(dirty);
        self.flush_datagrams();
    }

    /// Closes a connection, after what is queued for it.
    pub fn close(&self, flow: FlowId, why: &'static str) {
        if let Some(stream) = self.0.streams.borrow().get(&flow) {
            stream.stop(CloseReason::Closed(why));
        }
    }

    /// Marks what a connection sends from now on with a differentiated services code point (0 to 63).
    ///
    /// # Errors
    /// What the operating system says. An unknown flow is none.
    pub fn set_dscp(&self, flow: FlowId, dscp: u8) -> std::io::Result<()> {
        match self.0.streams.borrow().get(&flow) {
            Some(stream) => options::set_dscp(&stream.socket, stream.source.local.is_ipv4(), dscp),
            None => Ok(()),
        }
    }

    /// Marks datagrams to these networks with these code points from now on, and no others. The first of an address counts.
    pub fn mark_datagrams(&self, all: impl IntoIterator<Item = (ipnet::IpNet, u8)>) {
        self.0.marks.replace(marks::Marks::of(all));
    }

    /// Whom the sockets call.
    #[must_use]
    pub fn handler(&self) -> Rc<dyn Handler> {
        Rc::clone(&self.0.handler)
    }

    /// Number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.streams.borrow().len()
    }

    /// Bytes that wait to be written on all connections and sockets.
    #[must_use]
    pub fn queued(&self) -> usize {
        let streams: usize = self.0.streams.borrow().values().map(|s| s.queue.borrow().len()).sum();
        streams + self.0.udp.borrow().iter().map(|s| s.queued()).sum::<usize>()
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.0.counters;
        Stats {
            connections: self.connections(),
            handshaking: self.0.sources.borrow().handshaking(),
            queued: self.queued(),
            accepted: counters.accepted.get(),
            refused: counters.refused.get(),
            handshakes_failed: counters.handshakes_failed.get(),
            messages: counters.messages.get(),
            over_rate: counters.over_rate.get(),
            datagrams_lost: counters.datagrams_lost.get(),
        }
    }

    /// Takes a message out of what its source may send, or says in how many milliseconds it may.
    fn allowance(&self, now_ms: u64, source: &Source, rate: u32) -> Result<(), u64> {
        let ip = source.remote.ip();
        let taken = self.0.sources.borrow_mut().take(now_ms, ip, rate);
        if taken.is_err() {
            self.0.counters.over_rate.set(self.0.counters.over_rate.get() + 1);
            self.note(ip, "it sends more messages a second than it may", "source is held back");
        }
        taken
    }

    /// Milliseconds since the start, never 0.
    fn clock_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}
