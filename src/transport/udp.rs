//! Datagram sockets (RFC 3261 section 18): a batch is read, handled, and answered in another batch.

use core::cell::{Cell, OnceCell, RefCell};
use core::net::{IpAddr, SocketAddr};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::batch::{self, BATCH, Headers, Outgoing, Received};
use super::segments::{self, Segments};
use super::{SendError, Transports, options};
use crate::sip::message::Framing;
use crate::sip::net::{Destination, ListenerId, Source, Transport};

/// Datagrams that may wait for a socket.
const MAX_QUEUED: usize = 16_384;
/// Senders of which is known at which local address they reached us: twice this number at most.
const MAX_KNOWN: usize = 32_768;

/// One bound socket.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    pub(super) listener: ListenerId,
    pub(super) local: SocketAddr,
    headers: RefCell<Headers>,
    /// The kernel has no batches.
    single: Cell<bool>,
    segments: Segments,
    /// The code point of what has none of its own.
    usual: u8,
    /// The code point the socket is set to; it changes only where datagrams go one by one.
    marked: Cell<u8>,
    queue: RefCell<VecDeque<Outgoing>>,
    queued: Cell<usize>,
    blocked: Cell<bool>,
    wake: tokio::sync::Notify,
    /// Where senders reached the listener, shared by its sockets; kept only where there is a choice.
    pub(super) known: OnceCell<Rc<RefCell<Known>>>,
}

/// The local address that a sender used last, in two generations: the older one is forgotten when the younger is full.
#[derive(Debug, Default)]
pub(super) struct Known {
    young: HashMap<SocketAddr, SocketAddr>,
    old: HashMap<SocketAddr, SocketAddr>,
}

impl Known {
    fn learn(&mut self, remote: SocketAddr, local: SocketAddr) {
        if self.young.get(&remote) == Some(&local) {
            return;
        }
        if self.young.len() >= MAX_KNOWN {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(remote, local);
    }

    fn find(&self, remote: &SocketAddr) -> Option<SocketAddr> {
        self.young.get(remote).or_else(|| self.old.get(remote)).copied()
    }
}

impl Socket {
    /// `known` is shared with the other sockets of the listener; a socket that is `alone` and on one address needs none.
    pub(super) fn new(
        socket: socket2::Socket,
        listener: ListenerId,
        usual: u8,
        alone: bool,
        known: Rc<RefCell<Known>>,
    ) -> io::Result<Self> {
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        if local.ip().is_unspecified() {
            batch::tell_local(&socket, local.is_ipv4())?;
        }
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            listener,
            local,
            headers: RefCell::new(Headers::new(local.is_ipv4())),
            single: Cell::new(false),
            segments: Segments::default(),
            usual,
            marked: Cell::new(usual),
            queue: RefCell::default(),
            queued: Cell::new(0),
            blocked: Cell::new(false),
            wake: tokio::sync::Notify::new(),
            known: if alone && !local.ip().is_unspecified() {
                OnceCell::new()
            } else {
                OnceCell::from(known)
            },
        })
    }

    /// It has been joined by others of its listener and family: from now on there is a choice.
    pub(super) fn choose_among(&self, known: &Rc<RefCell<Known>>) {
        self.known.get_or_init(|| Rc::clone(known));
    }

    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.queued.get()
    }

    fn receive(&self, buffers: &mut batch::Buffers) -> io::Result<SmallVec<[Received; BATCH]>> {
        if self.single.get() {
            let (length, remote) = self.socket.try_recv_from(buffers.first())?;
            return Ok(SmallVec::from_iter([Received {
                length,
                remote,
                local: None,
            }]));
        }
        let mut got = None;
        let result = self.socket.try_io(Interest::READABLE, || {
            let batch = self.headers.borrow_mut().receive(&self.socket, buffers)?;
            // Fewer than asked for: the socket is empty, and the runtime need not look again.
            let emptied = batch.len() < BATCH;
            got = Some(batch);
            if emptied {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(())
            }
        });
        match (got, result) {
            (Some(batch), _) => Ok(batch),
            (None, Err(error)) if batch::is_unknown_call(&error) => {
                self.single.set(true);
                Ok(SmallVec::new())
            }
            (None, result) => result.map(|()| SmallVec::new()),
        }
    }

    /// Sends one batch from the front; `Ok(0)` when the socket takes no more.
    fn send_some(&self, queue: &mut VecDeque<Outgoing>) -> io::Result<usize> {
        if self.single.get() {
            let Some(first) = queue.front() else { return Ok(0) };
            let mark = first.mark.unwrap_or(self.usual);
            if self.marked.replace(mark) != mark {
                options::set_dscp(&self.socket, self.local.is_ipv4(), mark)?;
            }
            return self.socket.try_send_to(&first.wire, first.to).map(|_| 1);
        }
        let out = queue.make_contiguous();
        let run = self.segments.run(out);
        if run > 0 {
            let whole = || self.segments.send(&self.socket, &out[..run]);
            if self.socket.try_io(Interest::WRITABLE, whole)? {
                return Ok(run);
            }
        }
        let result = self
            .socket
            .try_io(Interest::WRITABLE, || self.headers.borrow_mut().send(&self.socket, out));
        match result {
            Err(error) if batch::is_unknown_call(&error) && error.raw_os_error() == Some(nix::libc::ENOSYS) => {
                self.single.set(true);
                self.send_some(queue)
            }
            other => other,
        }
    }

    /// Sends what waits; returns those that could not be sent.
    fn flush(&self) -> Vec<(Outgoing, io::Error)> {
        let mut failed = Vec::new();
        let mut queue = self.queue.borrow_mut();
        let mut retried = false;
        self.blocked.set(false);
        if !self.single.get() {
            segments::group(queue.make_contiguous());
        }
        while !queue.is_empty() {
            match self.send_some(&mut queue) {
                Ok(sent) => {
                    let sent = sent.clamp(1, queue.len());
                    for done in queue.drain(..sent) {
                        self.queued.set(self.queued.get().saturating_sub(done.wire.len()));
                    }
                    retried = false;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    self.wake.notify_one();
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Old news about an earlier datagram may stand in the way once.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && !retried => retried = true,
                Err(e) => {
                    if let Some(bad) = queue.pop_front() {
                        self.queued.set(self.queued.get().saturating_sub(bad.wire.len()));
                        failed.push((bad, e));
                    }
                    retried = false;
                }
            }
        }
        failed
    }
}

/// Serves a socket until its listener is removed.
pub(super) async fn serve(transports: Transports, socket: Rc<Socket>) {
    loop {
        let interest = if socket.blocked.get() {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let ready = tokio::select! {
            biased;
            () = socket.wake.notified() => continue,
            ready = socket.socket.ready(interest) => ready,
        };
        match ready {
            Ok(ready) => {
                if socket.blocked.get() && ready.is_writable() {
                    transports.flush_socket(&socket);
                }
                if ready.is_readable() {
                    read(&transports, &socket);
                }
            }
            // Only a runtime that shuts down says so.
            Err(_) => return,
        }
        // Others get their turn between batches of a flood.
        tokio::task::consume_budget().await;
    }
}

/// Reads one batch, hands it over, and ends the batch.
fn read(transports: &Transports, socket: &Socket) {
    let mut buffers = transports.0.received.borrow_mut();
    let batch = match socket.receive(&mut buffers) {
        Ok(batch) => batch,
        // An ICMP message about an earlier datagram, mostly: its sender hears of it by its timer. The socket lives on.
        Err(error) => {
            if error.kind() != io::ErrorKind::WouldBlock {
                tracing::debug!(local = %socket.local, %error, "reading datagrams");
            }
            return;
        }
    };
    let now_ms = transports.clock_ms();
    let mut last = None;
    for (at, received) in batch.iter().enumerate() {
        let local = received
            .local
            .map_or(socket.local, |ip| SocketAddr::new(ip, socket.local.port()));
        let source = Source {
            transport: Transport::Udp,
            remote: received.remote,
            local,
            listener: Some(socket.listener),
            flow: None,
        };
        let bytes = buffers.datagram(at, received.length);
        // Keep-alives and punched holes carry no start line.
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
            if bytes == b"\r\n\r\n" {
                transports.send_datagram(socket.listener, received.remote, Bytes::from_static(b"\r\n"), 0);
            }
            continue;
        }
        let rate = match last {
            Some((ip, rate)) if ip == received.remote.ip() => rate,
            _ => transports.0.handler.message_rate(&source),
        };
        last = Some((received.remote.ip(), rate));
        if rate.is_some_and(|rate| transports.allowance(now_ms, &source, rate).is_err()) {
            continue;
        }
        if let Some(known) = socket.known.get() {
            known.borrow_mut().learn(received.remote, local);
        }
        transports
            .0
            .counters
            .messages
            .set(transports.0.counters.messages.get() + 1);
        transports.0.handler.message(&source, bytes, Framing::Datagram);
    }
    drop(buffers);
    transports.0.handler.batch_done();
    transports.flush();
}

impl Transports {
    pub(super) fn send_datagram(&self, listener: ListenerId, to: SocketAddr, wire: Bytes, token: u64) {
        let sockets = self.0.udp.borrow();
        let destination = Destination::Datagram { listener, to };
        let Some((socket, from)) = choose(&sockets, listener, to) else {
            drop(sockets);
            return self.fail_later(token, destination, SendError::NoSocket);
        };
        let mut queue = socket.queue.borrow_mut();
        if queue.len() >= MAX_QUEUED {
            self.0
                .counters
                .datagrams_lost
                .set(self.0.counters.datagrams_lost.get() + 1);
            return self.fail_later(token, destination, SendError::Full);
        }
        socket.queued.set(socket.queued.get() + wire.len());
        let mark = self.0.marks.borrow().find(to.ip());
        queue.push_back(Outgoing {
            wire,
            to,
            from,
            mark,
            token,
        });
    }

    pub(super) fn flush_datagrams(&self) {
        let sockets = self.0.udp.borrow();
        for socket in sockets.iter().filter(|s| !s.blocked.get() && s.queued.get() > 0) {
            self.flush_socket(socket);
        }
    }

    fn flush_socket(&self, socket: &Socket) {
        for (bad, error) in socket.flush() {
            self.0
                .counters
                .datagrams_lost
                .set(self.0.counters.datagrams_lost.get() + 1);
            let to = Destination::Datagram {
                listener: socket.listener,
                to: bad.to,
            };
            self.fail_later(bad.token, to, SendError::Datagram(error.to_string()));
        }
    }
}

/// The socket to send by: of the listener and the right family, the one the receiver last reached us at. A listener
/// without that family borrows another's.
fn choose(sockets: &[Rc<Socket>], listener: ListenerId, to: SocketAddr) -> Option<(&Rc<Socket>, Option<IpAddr>)> {
    let fits = |s: &&Rc<Socket>| s.local.is_ipv4() == to.is_ipv4();
    let mut first = None;
    for socket in sockets.iter().filter(fits).filter(|s| s.listener == listener) {
        let Some(known) = socket.known.get() else {
            return Some((socket, None));
        };
        let local = known.borrow().find(&to);
        match local {
            Some(local) if socket.local == local => return Some((socket, None)),
            Some(local) if socket.local.ip().is_unspecified() && socket.local.port() == local.port() => {
                return Some((socket, Some(local.ip())));
            }
            _ => first = first.or(Some(socket)),
        }
    }
    first.or_else(|| sockets.iter().find(fits)).map(|socket| (socket, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_senders_is_bounded() {
        let mut known = Known::default();
        let (here, there) = (
            SocketAddr::from(([10, 0, 0, 1], 5060)),
            SocketAddr::from(([10, 0, 0, 2], 5060)),
        );
        for n in 0..200_000u32 {
            known.learn(SocketAddr::new(IpAddr::from(n.to_be_bytes()), 5060), here);
        }
        assert!(known.young.len() + known.old.len() <= 2 * MAX_KNOWN);
        let last = SocketAddr::new(IpAddr::from(199_999u32.to_be_bytes()), 5060);
        known.learn(last, there);
        assert_eq!(known.find(&last), Some(there));
    }
}
